"""Run the provisioner's image on a local directory with this shell's settings: ``make provision`` with a container engine.

    python -m tools.containerized --image IMAGE --data DIR [ARGUMENT ...]

Settings of this shell are passed by name, so that no value appears on a command line; files named by settings are
mounted. The container runs with this user's id in group 0: its files belong to this user, and the image's own user can
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

_PATHS: Final = {
    "HF_TOKEN_FILE": ":",
    "CATALOG_PATH": ":",
    "CONFIG_PATH": ":",
    "SSL_CERT_FILE": ":",
    "PINS": ":",
    "SEARCH_DIRS": ":",
    "PEERS": ";",
}
"""Settings that name local files and directories, with the separator if they take several."""
_LEFT_OUT: Final = {"DATA_DIR", "HF_HOME", "HF_HUB_CACHE", "HF_TOKEN_PATH", "STAGING_DIR", "TERMINATION_LOG"}
"""Settings that name a local directory; the image has its own directories."""


def command(image: str, data: Path, arguments: Sequence[str], environ: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Return the command line of ``docker``, and the environment variables that must be changed for it."""
    words = ["docker", "run", "--rm", "--volume", f"{data.absolute()}:/data"]
    if sys.stderr.isatty() and sys.stdin.isatty():
        words += ["--interactive", "--tty"]
    if hasattr(os, "getuid"):
        words += ["--user", f"{os.getuid()}:0"]
    names = dict.fromkeys(name for setting in SETTINGS if setting.name not in _LEFT_OUT for name in _all_names(setting.names))
    changed: dict[str, str] = {}
    for name in names:
        value = environ.get(name, "")
        if not value:
            continue
        words += ["--env", name]
        if (separator := _PATHS.get(name.removeprefix(PREFIX))) is None:
            continue
        parts = value.split(separator)
        # An empty path stands for the image's own catalog, and a peer may be an address rather than a path.
        paths = {path: f"/run/host/{name}{number or ''}" for number, path in enumerate(parts) if path and "://" not in path}
        for path, inside in paths.items():
            words += ["--volume", f"{Path(path).absolute()}:{inside}:ro"]
        changed[name] = separator.join(paths.get(path, path) for path in parts)
    return [*words, image, *arguments], changed


def _all_names(names: Sequence[str]) -> tuple[str, ...]:
    return (*names, *(f"{name}_FILE" for name in names if name.endswith("HF_TOKEN")))


def main(arguments: Sequence[str]) -> int:
    """Run the container and return its exit code."""
    parser = argparse.ArgumentParser(prog="containerized", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--image", required=True)
    parser.add_argument("--data", type=Path, required=True)
    options, words = parser.parse_known_args(arguments)
    data: Path = options.data
    # Otherwise the engine would create it, owned by root.
    data.mkdir(parents=True, exist_ok=True)
    line, changed = command(options.image, data, words, os.environ)
    return subprocess.run(line, env={**os.environ, **changed}, check=False).returncode  # noqa: S603 - no shell, our words


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
