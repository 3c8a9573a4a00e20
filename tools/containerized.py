"""Run the provisioner's image on a directory of this machine, with this shell's settings: ``make provision`` with an engine.

    python -m tools.containerized --image IMAGE --data DIR [ARGUMENT ...]

Every setting of this shell is passed by its name, so that no value appears on a command line; files that settings name
are mounted. The container runs as this user in group 0: its files belong to this user, and the image's own user can
continue with them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from provisioner.settings.setting import PREFIX
from provisioner.settings.settings import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_FILES: Final = {"HF_TOKEN_FILE", "CATALOG_PATH", "CONFIG_PATH", "SSL_CERT_FILE"}
"""Settings that name a file of this machine."""
_LEFT_OUT: Final = {"DATA_DIR", "HF_HOME", "HF_HUB_CACHE", "HF_TOKEN_PATH", "STAGING_DIR", "TERMINATION_LOG"}
"""Settings that name a directory of this machine; the image has directories of its own."""


def command(image: str, data: Path, arguments: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """Return the command line of ``docker``."""
    words = ["docker", "run", "--rm", "--volume", f"{data.absolute()}:/data"]
    if sys.stderr.isatty() and sys.stdin.isatty():
        words += ["--interactive", "--tty"]
    if hasattr(os, "getuid"):
        words += ["--user", f"{os.getuid()}:0"]
    names = dict.fromkeys(name for setting in SETTINGS if setting.name not in _LEFT_OUT for name in _all_names(setting.names))
    for name in names:
        value = environ.get(name, "")
        if not value:
            continue
        if name.removeprefix(PREFIX) in _FILES:
            # CATALOG_PATH may name several files; an empty path is the image's own catalog.
            files = {path: f"/run/host/{name}{number or ''}" for number, path in enumerate(value.split(":")) if path}
            for path, inside in files.items():
                words += ["--volume", f"{Path(path).absolute()}:{inside}:ro"]
            words += ["--env", f"{name}={':'.join(files.get(path, '') for path in value.split(':'))}"]
        else:
            words += ["--env", name]
    return [*words, image, *arguments]


def _all_names(names: Sequence[str]) -> tuple[str, ...]:
    return (*names, *(f"{name}_FILE" for name in names if name.endswith("HF_TOKEN")))


def main(arguments: Sequence[str]) -> int:
    """Run the container and return its exit code."""
    parser = argparse.ArgumentParser(prog="containerized", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--image", required=True)
    parser.add_argument("--data", type=Path, required=True)
    options, words = parser.parse_known_args(arguments)
    data: Path = options.data
    # Here, or the engine would make it, and as root.
    data.mkdir(parents=True, exist_ok=True)
    return subprocess.run(command(options.image, data, words, os.environ), check=False).returncode  # noqa: S603 - no shell, our words


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
