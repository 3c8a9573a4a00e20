"""Unpack one archive with the program's own unpacker, and do nothing else.

python -m benchmarks.unpack_alone ARCHIVE FORMAT DIR
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

from provisioner.volume.archive.target import UnpackTarget
from provisioner.volume.archive.unpack import unpack
from provisioner.volume.staging.incoming import LocalFile

if TYPE_CHECKING:
    from provisioner.catalog.artifact import UnpackFormat


def main(archive: str, form: str, target: str) -> None:
    """Do it."""
    with LocalFile(Path(archive)) as file:
        known = cast("UnpackFormat", form)
        unpack(file, known, UnpackTarget(Path(target)), check_cancelled=lambda: None, advance=lambda _: None)


if __name__ == "__main__":
    main(*sys.argv[1:])
