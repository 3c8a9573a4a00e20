"""A look at the command lines of all processes of this machine, over and over, while tests run."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Final

_SECONDS: Final = 0.1


class CommandLines:
    """Looks for secrets on command lines, containers' processes included."""

    def __init__(self, *secrets: str) -> None:
        """Begin."""
        self._secrets = {secret: secret.encode() for secret in secrets}
        self._found: dict[str, str] = {}
        self._looks = 0
        self._changed = threading.Condition()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(_SECONDS):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    words = path.read_bytes()
                    for secret, raw in self._secrets.items():
                        if raw in words:
                            self._found[secret] = words.replace(b"\0", b" ").decode(errors="replace").replace(secret, "SECRET")
            with self._changed:
                self._looks += 1
                self._changed.notify_all()

    def wait_look(self) -> None:
        """Wait until it has looked at all of them once more."""
        with self._changed:
            begun = self._looks
            assert self._changed.wait_for(lambda: self._looks > begun + 1, 30)

    def found(self, secret: str) -> str | None:
        """Give a command line on which a secret was, without it."""
        return self._found.get(secret)

    def end(self) -> None:
        """Look no more."""
        self._ended.set()
        self._thread.join()
