"""Build the images twice without a cache, and compare their digests.

    python -m tools.reproducible [slim full portable]

The digest is that of the image's configuration, which contains the digests of all layers. If the two differ, the files that
differ are listed.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

TARGETS: Final = ("slim", "full", "portable")
CHECKOUT: Final = Path(__file__).parents[1]
_SHOWN: Final = 20


def build(target: str, epoch: int, arguments: Mapping[str, str]) -> str:
    """Build one target without a cache, and return its digest.

    Args:
        target: a stage of the Dockerfile.
        epoch: the time of all files in the image, in seconds since 1970.
        arguments: its build arguments.
    """
    words = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    with tempfile.TemporaryDirectory() as scratch:
        written = Path(scratch, "digest")
        command = ["docker", "build", "--quiet", "--no-cache", "--network=host", "--iidfile", str(written), "--target", target]
        environ = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}
        subprocess.run(  # noqa: S603 - the words above
            [*command, *words, "."], cwd=CHECKOUT, env=environ, check=True, stdout=subprocess.DEVNULL
        )
        return written.read_text("ascii").strip()


def differences(one: str, other: str) -> list[str]:
    """Return the names of files that differ between two images in content, time, mode or owner."""
    found = _entries(one), _entries(other)
    return sorted(name for name in found[0].keys() | found[1].keys() if found[0].get(name) != found[1].get(name))


def _entries(image: str) -> dict[str, tuple[object, ...]]:
    with tempfile.TemporaryDirectory() as scratch:
        saved = Path(scratch, "image.tar")
        subprocess.run(["docker", "save", "--output", str(saved), image], check=True)  # noqa: S603, S607 - as above
        found: dict[str, tuple[object, ...]] = {}
        with tarfile.open(saved) as archive:
            manifest = json.loads(_read(archive, "manifest.json"))
            for number, layer in enumerate(manifest[0]["Layers"]):
                with tarfile.open(fileobj=archive.extractfile(layer)) as tree:
                    for entry in tree:
                        digest = hashlib.sha256(_read(tree, entry)).hexdigest() if entry.isfile() else entry.linkname
                        found[f"{number}: {entry.name}"] = (digest, entry.mtime, entry.mode, entry.uid, entry.gid)
        return found


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo | str) -> bytes:
    file = archive.extractfile(member)
    return file.read() if file else b""


def main(targets: list[str]) -> int:
    """Compare two builds of each target."""
    command = ["git", "log", "-1", "--format=%ct"]
    commit = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False).stdout  # noqa: S603 - as above
    failed = 0
    for target in targets or TARGETS:
        one, other = (build(target, int(commit or 0), {}) for _ in range(2))
        print(f"{target}: {one}" if one == other else f"{target}: {one} and {other} differ")
        if one != other:
            failed = 1
            print(*(f"  {name}" for name in differences(one, other)[:_SHOWN]), sep="\n")
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
