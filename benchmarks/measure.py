"""One command, measured: wall time, processor time and memory of all its processes, and the room it takes on the disk.

Memory is what counts towards a limit and cannot be given back: anonymous pages, added up over the command's processes at one
moment. Shared libraries and the page cache are not in it.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_INTERVAL: Final = 0.01
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Command:
    """What is to be run."""

    words: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    """Beside ``PATH`` and a ``HOME`` of its own; nothing else of this shell's is handed on."""
    folder: Path | None = None


def synced_after(words: tuple[str, ...], target: Path, folder: Path | None = None) -> Command:
    """Return a command after which what it wrote is on the disk."""
    return Command(("bash", "-c", f"{shlex.join(words)} && sync -f {shlex.quote(str(target))}"), {}, folder)


@dataclass(frozen=True)
class Measured:
    """How it went."""

    code: int
    wall_seconds: float
    cpu_seconds: float
    """Of all processes, user and system."""
    resident_bytes: int
    """Peak of the largest single process, shared pages included."""
    anonymous_bytes: int
    """Peak of the sum over all processes at one moment."""
    disk_bytes: int
    """Peak of what the watched file system held beyond what it held before."""
    disk_end_bytes: int


def run(command: Command, home: Path, log: Path, *, watched: Path | None = None, limit_seconds: float = 1800) -> Measured:
    """Run it to its end, output into ``log``; everything it started is ended when it takes too long."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8", **command.environment}
    before = _used(watched)
    with log.open("wb") as output:
        begun = time.perf_counter()
        process = subprocess.Popen(
            command.words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=command.folder,
            start_new_session=True,
        )
        sampler = _Sampler(process.pid, watched, before)
        timer = threading.Timer(limit_seconds, _end, (process.pid,))
        sampler.start()
        timer.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - begun
        finally:
            timer.cancel()
            sampler.finish()
    process.returncode = os.waitstatus_to_exitcode(status)
    return Measured(
        process.returncode,
        wall,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss * 1024,
        sampler.anonymous,
        sampler.disk,
        _used(watched) - before,
    )


def _end(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


class _Sampler(threading.Thread):
    """Looks every few milliseconds."""

    def __init__(self, root: int, watched: Path | None, before: int) -> None:
        super().__init__(daemon=True)
        self.anonymous = 0
        self.disk = 0
        self._root = root
        self._watched = watched
        self._before = before
        self._done = threading.Event()

    def run(self) -> None:
        while not self._done.wait(_INTERVAL):
            self.anonymous = max(self.anonymous, sum(_anonymous(process) for process in _family(self._root)))
            if self._watched is not None:
                self.disk = max(self.disk, _used(self._watched) - self._before)

    def finish(self) -> None:
        """Look no more."""
        self._done.set()
        self.join()


def _family(root: int) -> list[int]:
    """Return a process and all that it started, directly or not; whoever is gone meanwhile is left out."""
    found = [root]
    for process in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{process}/task").iterdir():
                with contextlib.suppress(OSError):
                    found += map(int, (task / "children").read_bytes().split())
    return found


def _anonymous(process: int) -> int:
    try:
        _, resident, shared, *_ = Path(f"/proc/{process}/statm").read_bytes().split()
    except (OSError, ValueError):
        return 0
    return (int(resident) - int(shared)) * _PAGE


def _used(path: Path | None) -> int:
    if path is None:
        return 0
    facts = os.statvfs(path)
    return (facts.f_blocks - facts.f_bfree) * facts.f_frsize
