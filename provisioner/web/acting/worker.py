"""The process that carries out requested actions: one at a time, ended with the page's own process, with limited output.

It runs the same command line that a user would write. An error in it ends only that process, and never the page.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from provisioner.redaction import Redactor

_LOGGER = logging.getLogger(__name__)

MOST_LINES: Final = 200
_LONGEST_LINE: Final = 4096
_LARGEST_RESULT: Final = 16 << 20
"""Bytes of a result: the status of a volume with thousands of data sets has some megabytes."""
END_SECONDS: Final = 3.0
"""Maximum seconds that a command may take to tidy up when ``serve`` ends; it needs less than one."""
_ROOT: Final = Path(__file__).parents[3]
_CODE: Final = "import sys; sys.path.insert(0, sys.argv.pop(1)); from provisioner.cli.attended import main; main()"


class BusyError(Exception):
    """Another command is running."""


@dataclass(slots=True)
class Job:
    """A command that is running or has ended."""

    title: str
    words: tuple[str, ...]
    started: float
    """Seconds since the epoch."""
    seconds: float | None = None
    """The duration, or ``None`` while it is running."""
    code: int | None = None
    result: Mapping[str, Any] | None = None
    """The document that it wrote to standard output."""
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=MOST_LINES))
    """The end of its log."""
    is_cancelled: bool = False

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self.seconds is None


class Worker:
    """Runs one command at a time; safe for several threads."""

    def __init__(
        self, options: Sequence[str], environ: Mapping[str, str], redactor: Redactor, emit: Callable[[str], None]
    ) -> None:
        """Prepare; nothing is running yet.

        Args:
            options: arguments for every command line, such as ``--data-dir``.
            environ: the environment of the commands.
            redactor: removes secrets from all their output.
            emit: writes each line of their logs.
        """
        self._options = tuple(options)
        self._environ = dict(environ)
        self._redactor = redactor
        self._emit = emit
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._job: Job | None = None
        self._is_closed = False
        self._waiter: threading.Thread | None = None

    @property
    def job(self) -> Job | None:
        """The command that is running, or that ran last."""
        return self._job

    def start(self, title: str, words: Sequence[str], settings: Mapping[str, str]) -> Job:
        """Start a command.

        Args:
            title: a description of the command.
            words: the command and its own arguments.
            settings: additional variables for its environment.

        Raises:
            BusyError: another one is running.
            OSError: no process can be started.
        """
        with self._lock:
            if self._is_closed or (self._job is not None and self._job.runs):
                raise BusyError
            job = Job(title, tuple(words), time.time())
            _LOGGER.info("Asked for on the page: %s", title)
            command = [sys.executable, *(("-I",) if sys.flags.isolated else ()), "-c", _CODE, str(_ROOT), *words, *self._options]
            process = subprocess.Popen(  # noqa: S603 - this program, without a shell
                [*command, "--json"],
                env={**self._environ, **settings},
                stdin=subprocess.PIPE,  # closed to cancel it, or by the kernel if this process dies
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C in a terminal is for this process, which then cancels the command
            )
            self._job, self._process = job, process
            self._waiter = threading.Thread(target=self._follow, args=(job, process), name="job", daemon=True)
            self._waiter.start()
            return job

    def cancel(self) -> None:
        """Ask the running command to end; it tidies up first."""
        with self._lock:
            if self._job is not None and self._job.runs and self._process is not None and self._process.stdin is not None:
                self._job.is_cancelled = True
                self._process.stdin.close()

    def forget(self) -> None:
        """Forget the command that ran last."""
        with self._lock:
            if self._job is not None and not self._job.runs:
                self._job = None

    def close(self) -> None:
        """Prevent further starts, and end the running command."""
        with self._lock:
            self._is_closed = True
        self.cancel()
        if self._waiter is not None:
            self._waiter.join(END_SECONDS)
        if self._process is not None and self._process.poll() is None:
            self._process.kill()

    def _follow(self, job: Job, process: subprocess.Popen[bytes]) -> None:
        """Read the output of the command until it ends."""
        begun = time.monotonic()
        assert process.stdout is not None  # noqa: S101 - for the type checker
        assert process.stderr is not None  # noqa: S101 - the same
        reader = threading.Thread(target=self._read_log, args=(job, process.stderr), name="job log", daemon=True)
        reader.start()
        with process.stdout as stream:
            output = stream.read(_LARGEST_RESULT + 1)
            while stream.read(1 << 16):
                pass  # output beyond what is shown must not stop it
        reader.join()
        job.code = process.wait()
        job.result = self._redactor.redact_value(_document(output))
        with self._lock:
            if process.stdin is not None:
                process.stdin.close()
            job.seconds = time.monotonic() - begun
        _LOGGER.info("%s: ended with exit code %d after %.1f s", job.title, job.code, job.seconds)

    def _read_log(self, job: Job, stream: IO[bytes]) -> None:
        with stream:
            while raw := stream.readline(_LONGEST_LINE):
                line = self._redactor.redact(raw.decode("utf-8", "replace").rstrip("\n"))
                if line:
                    self._emit(line)
                    job.lines.append(_shown(line))


def _document(output: bytes) -> Mapping[str, Any] | None:
    if len(output) > _LARGEST_RESULT:
        return None
    try:
        found = json.loads(output)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _shown(line: str) -> str:
    """Return a log line for people, even if it is in the form of ``LOG_FORMAT=json``."""
    if not line.startswith("{"):
        return line
    try:
        entry = json.loads(line)
        moment, level, message = str(entry["ts"])[11:19], str(entry["level"]).upper(), str(entry["message"])
    except (ValueError, KeyError, TypeError):
        return line
    return f"{moment} {message}" if level == "INFO" else f"{moment} {level} {message}"
