"""Scan the command lines of all processes of this machine continuously while tests run.

    python -m tests.support.command_lines FILE <secrets.json

A process of its own rather than a thread, because some tests count their threads and open files.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

_SECONDS: Final = 0.1


class CommandLines:
    """Searches command lines for secrets, including those of processes in containers."""

    def __init__(self, report: Path, *secrets: str) -> None:
        """Start the scanning process."""
        self._report = report
        command = [sys.executable, "-m", __spec__.name, str(report)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE)
        assert self._process.stdin is not None
        with self._process.stdin as pipe:
            pipe.write(json.dumps(secrets).encode())

    def _read(self) -> Any:
        with contextlib.suppress(FileNotFoundError):
            return json.loads(self._report.read_bytes())
        return {"looks": 0, "found": {}}

    def looks(self) -> int:
        """Return how many scans have been made."""
        return int(self._read()["looks"])

    def found(self, secret: str) -> str | None:
        """Return a command line that contained a secret, with the secret removed, or ``None``."""
        found: str | None = self._read()["found"].get(secret)
        return found

    def end(self) -> None:
        """Stop scanning."""
        self._process.kill()
        self._process.wait()


def main(report: Path) -> None:
    """Scan until terminated."""
    secrets = {secret: secret.encode() for secret in json.load(sys.stdin)}
    found: dict[str, str] = {}
    looks = 0
    while True:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = path.read_bytes()
                for secret, raw in secrets.items():
                    if raw in words:
                        found[secret] = words.replace(b"\0", b" ").decode(errors="replace").replace(secret, "SECRET")
        looks += 1
        new = report.with_suffix(".new")
        new.write_text(json.dumps({"looks": looks, "found": found}), "utf-8")
        new.replace(report)
        time.sleep(_SECONDS)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
