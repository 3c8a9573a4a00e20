"""The program under test as a process: start it, wait for its lines, and search what it writes for secrets."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.support import tally

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CHECKOUT: Final = Path(__file__).parents[2]
REAL_CATALOG: Final = CHECKOUT / "config" / "catalog.yaml"
TOKEN: Final = "hf_" + "RmFrZVRva2VuRm9yVGVzdHNPbmx5WFla"
"""A token that looks real, so that code that redacts tokens is really tested."""
CANARY: Final = "hf_" + "Q2FuYXJ5T25BQ29tbWFuZExpbmU"
"""Looks equally real; it is put on a command line to show that the scan would find it there."""
SIGNATURE: Final = "X-Amz-Signature"
"""A part of the query of every signed link that the test server gives out."""
PATIENCE: Final = 30.0
"""Timeout in seconds for anything that a test waits for."""
_TICK: Final = 0.005


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait for something that another process does without announcing it.

    Raises:
        AssertionError: it did not happen in time.
    """
    deadline = time.monotonic() + PATIENCE
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        pause.wait(_TICK)


@dataclass(frozen=True)
class Outcome:
    """How a process ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Return its standard output, which must be one JSON document."""
        return json.loads(self.out)

    def errors(self) -> list[str]:
        """Return the messages that name an error's reference."""
        return [line for line in self.err.splitlines() if re.search(r"ERROR \[[a-z-]+\] ", line)]


class Running:
    """A process of the program under test, whose lines can be waited for."""

    def __init__(self, command: list[str], environ: Mapping[str, str], cwd: Path = CHECKOUT) -> None:
        """Start the process."""
        self._process = subprocess.Popen(
            command, env=dict(environ), cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        tally.count("processes")
        self._counted = False
        self._changed = threading.Condition()
        self._text = {"out": b"", "err": b""}
        self._readers = [
            threading.Thread(target=self._read, args=(name, stream), daemon=True)
            for name, stream in (("out", self._process.stdout), ("err", self._process.stderr))
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._process.pid

    def _read(self, name: str, stream: Any) -> None:
        with stream:
            while piece := os.read(stream.fileno(), 1 << 16):
                with self._changed:
                    self._text[name] += piece
                    self._changed.notify_all()

    def wait_line(self, pattern: str) -> None:
        """Wait until its log matches a pattern."""
        with self._changed:
            found = self._changed.wait_for(lambda: re.search(pattern.encode(), self._text["err"]), PATIENCE)
        assert found, f"{pattern!r} never came: {self._text['err'].decode()}"

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def ended(self) -> bool:
        """Return whether the process has ended."""
        return self._process.poll() is not None

    def wait(self) -> Outcome:
        """Wait until it has ended; its output must not contain a secret."""
        code = self._process.wait(PATIENCE)
        self._count(code)
        for reader in self._readers:
            reader.join(PATIENCE)
        outcome = Outcome(code, self._text["out"].decode(), self._text["err"].decode())
        for secret in (TOKEN, SIGNATURE):
            assert secret not in outcome.out + outcome.err
        return outcome

    def end(self) -> None:
        """Kill it if it is still running."""
        if self._process.poll() is None:
            self._process.kill()
        self._count(self._process.wait())
        for reader in self._readers:
            reader.join(PATIENCE)

    def _count(self, code: int) -> None:
        if code == -signal.SIGKILL and not self._counted:
            self._counted = True
            tally.count("kills")
