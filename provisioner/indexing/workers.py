"""Processes that render batches: reading headers of small files needs the interpreter, whose lock threads would share.

A worker reads batches from its standard input and ends with it, so it also ends if this process dies. It inherits no
descriptors, and so no locks, and no environment.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
import subprocess
import sys
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path
from queue import SimpleQueue
from typing import IO, TYPE_CHECKING, Any, Final, cast

from provisioner.indexing.rendering import Batch, Lines, render

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

_ROOT: Final = Path(__file__).parents[2]
_CODE: Final = "import sys; sys.path.insert(0, sys.argv[1]); from provisioner.indexing.workers import serve; serve()"
_AHEAD: Final = 3
"""Batches for each worker that may wait; this bounds the memory."""
_FEW: Final = 8
"""Fewer batches are rendered sooner than a process starts."""


class WorkerLostError(Exception):
    """A worker ended unexpectedly."""


def rendered(batches: Iterator[Batch], workers: int) -> Generator[tuple[Batch, Lines]]:
    """Yield each batch with its result, in the order of the batches.

    Args:
        batches: the batches, a few of which are taken in advance.
        workers: number of processes; with fewer than two, this process does the work.

    Raises:
        WorkerLostError: a worker was killed.
    """
    first = list(islice(batches, _FEW))
    if workers < 2 or len(first) < _FEW:  # noqa: PLR2004 - one more process would save nothing
        for batch in chain(first, batches):
            yield batch, render(batch)
        return
    pool = _Pool(workers)
    try:
        waiting = deque((batch, pool.submit(batch)) for batch in first)
        first.clear()
        for batch in batches:
            waiting.append((batch, pool.submit(batch)))
            if len(waiting) > _AHEAD * workers:
                done, future = waiting.popleft()
                yield done, future.result()
        while waiting:
            done, future = waiting.popleft()
            yield done, future.result()
    finally:
        pool.close()


class _Pool:
    """Some workers, each with a thread that waits for it."""

    def __init__(self, count: int) -> None:
        self._idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="index")
        try:
            for _ in range(count):
                process = _start()
                self._processes.append(process)
                self._idle.put(process)
        except BaseException:
            self.close()
            raise

    def submit(self, batch: Batch) -> Any:  # noqa: ANN401 - a future
        return self._threads.submit(self._call, batch)

    def _call(self, batch: Batch) -> Lines:
        process = self._idle.get()
        try:
            assert process.stdin is not None  # noqa: S101 - for the type checker
            assert process.stdout is not None  # noqa: S101 - the same
            _send(process.stdin, batch)
            return cast("Lines", _receive(process.stdout))
        except (OSError, EOFError) as error:
            raise WorkerLostError(f"process {process.pid}, which read headers, has ended") from error
        finally:
            self._idle.put(process)

    def close(self) -> None:
        """End all workers; results that were not requested are dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.kill()
        self._threads.shutdown()
        for process in self._processes:
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
            process.wait()


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - this program, without a shell
        [sys.executable, "-I", "-S", "-X", "utf8", "-c", _CODE, str(_ROOT)],
        env={},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C in a terminal is for this process, which then ends the workers
    )


def _send(stream: IO[bytes], value: object) -> None:
    data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    stream.write(struct.pack("<Q", len(data)) + data)
    stream.flush()


def _receive(stream: IO[bytes]) -> object:
    head = stream.read(8)
    if len(head) < 8:  # noqa: PLR2004 - the length of a length
        raise EOFError
    (size,) = struct.unpack("<Q", head)
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return pickle.loads(data)  # noqa: S301 - from a process of ours


def serve() -> None:
    """Render the batches on standard input until it ends."""
    # Printed output must not be taken for a result.
    source, target = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while True:
        try:
            batch = _receive(source)
        except EOFError:
            return
        try:
            _send(target, render(cast("Batch", batch)))
        except BrokenPipeError:
            return
