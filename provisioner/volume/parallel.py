"""Do the same work on many items, on all cores that this process may use; the results come in the order of the items.

The work is reading and hashing, which release the interpreter's lock, so that threads are sufficient.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import threading
import time
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

T = TypeVar("T")
R = TypeVar("R")

MOST_THREADS: Final = 32
"""Each may have several directories open, while the system's limit of descriptors may be 1,024; no storage reads faster."""
BATCH_FILES: Final = 64
BATCH_BYTES: Final = 4 << 20
"""Bytes of files that a thread takes at once: handing over each small file would cost more than reading it."""
_SMALL: Final = 32 << 10
"""Files of up to so many bytes, on average, are small."""
_WAITING: Final = 1.5
"""Work counts as waiting for a device if it takes more than this multiple of its processor time."""
_AHEAD: Final = 16
"""Items per thread that may be done before the first result is requested; this bounds the memory."""

_CGROUPS: Final = Path("/sys/fs/cgroup")
_OWN_CGROUPS: Final = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Return the number of processors that this process may use, by its affinity and its container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(cores, cpu_quota())))


def cpu_quota(memberships: Path = _OWN_CGROUPS, cgroups: Path = _CGROUPS) -> float:
    """Return the processor time, in processors, that the process's control groups allow; infinite if there is no limit.

    Sources: https://docs.kernel.org/admin-guide/cgroup-v2.html ("cpu.max") and
    https://docs.kernel.org/scheduler/sched-bwc.html ("cpu.cfs_quota_us").

    Args:
        memberships: the file that names the groups, such as ``/proc/self/cgroup``.
        cgroups: the directory in which the groups' files are mounted.
    """
    try:
        lines = memberships.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return math.inf
    quota = math.inf
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = cgroups / controllers if controllers else cgroups
        # Every parent group is a limit too. In a container, the path may be the host's, and the root the container's own
        # group.
        names = [name for name in path.split("/") if name not in {"", ".", ".."}]
        groups = [root.joinpath(*names[:depth]) for depth in range(len(names) + 1)]
        quota = min(quota, *(_group_quota(group) for group in groups))
    return quota


def _group_quota(group: Path) -> float:
    try:
        if (unified := group / "cpu.max").exists():
            quota, period = unified.read_text("ascii").split()
        else:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text("ascii").strip() for name in ("quota", "period"))
        return int(quota) / int(period) if quota not in {"max", "-1"} else math.inf
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf


class _AbandonedError(Exception):
    """The result of this call is no longer needed."""


class OrderedWork(Generic[T, R]):
    """Calls made by several threads, with the results yielded in the order of the items.

    If the system refuses to start a thread, fewer are used. If it allows none, or for a single item, the calls are made on
    the thread that asks for the results.
    """

    def __init__(
        self,
        call: Callable[[T, Callable[[], None]], R],
        items: Iterable[T],
        *,
        check_cancelled: Callable[[], None],
        name: str,
        threads: int | None = None,
    ) -> None:
        """Prepare; nothing is called yet.

        Args:
            call: is given an item, and a function to be called often, which raises to end the call.
            items: each is taken by the next free thread.
            check_cancelled: raises when the run must end.
            name: of the threads.
            threads: how many threads; ``None`` means as many as there are cores.
        """
        self._call = call
        self._items = iter(items)
        self._check_run = check_cancelled
        self._name = name
        self._count = min(threads if threads is not None else usable_cores(), MOST_THREADS)
        self._changed = threading.Condition()
        self._taken = 0
        self._wanted = 0
        """Index of the next result to yield."""
        self._done: dict[int, tuple[R | None, BaseException | None]] = {}
        self._exhausted = False
        self._stopped = False
        self._threads: list[threading.Thread] = []

    def results(self) -> Generator[R]:
        """Yield the result of the call for each item; when this generator is closed, none of its threads is left.

        Raises:
            Exception: a call raised it; it is raised in place of the result.
        """
        first = list(itertools.islice(self._items, 2))
        self._items = itertools.chain(first, self._items)
        try:
            if self._count > 1 and len(first) > 1:
                self._start_threads()
            if not self._threads:
                for item in self._items:
                    yield self._call(item, self._check_run)
                return
            while (outcome := self._next_outcome()) is not None:
                result, error = outcome
                if error is not None:
                    raise error
                yield result  # type: ignore[misc]  # a call's result, which may be None
        finally:
            self._stop()

    def _start_threads(self) -> None:
        for number in range(self._count):
            thread = threading.Thread(target=self._work, name=f"{self._name}-{number}", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                # The system does not allow more threads.
                break
            self._threads.append(thread)

    def _stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        while self._threads:
            self._threads.pop().join()
        self._done.clear()

    def _check(self) -> None:
        self._check_run()
        if self._stopped:
            raise _AbandonedError

    def _next_outcome(self) -> tuple[R | None, BaseException | None] | None:
        """Wait for the next result or error and return it, or ``None`` if there are no more."""
        with self._changed:
            while self._wanted not in self._done:
                if self._exhausted and self._wanted == self._taken:
                    return None
                self._changed.wait()
            outcome = self._done.pop(self._wanted)
            self._wanted += 1
            self._changed.notify_all()
        return outcome

    def _work(self) -> None:
        for number, item in iter(self._take, None):
            result, error = None, None
            try:
                result = self._call(item, self._check)
            except BaseException as caught:  # noqa: BLE001 - raised again where the result is asked for
                error = caught
            self._put(number, result, error)

    def _take(self) -> tuple[int, T] | None:
        """Return the next item with its index, or ``None`` if there are no more, or no more results are wanted."""
        with self._changed:
            while not self._stopped and not self._exhausted:
                if self._taken - self._wanted >= _AHEAD * self._count:
                    self._changed.wait()
                    continue
                try:
                    item = next(self._items)
                except StopIteration:
                    self._end()
                    return None
                except BaseException as error:  # noqa: BLE001 - raised again where the result is asked for
                    self._done[self._taken] = None, error
                    self._taken += 1
                    self._end()
                    return None
                self._taken += 1
                return self._taken - 1, item
        return None

    def _end(self) -> None:
        self._exhausted = True
        self._changed.notify_all()

    def _put(self, number: int, result: R | None, error: BaseException | None) -> None:
        with self._changed:
            self._done[number] = result, error
            if number == self._wanted:
                self._changed.notify_all()


class Pool(Generic[T]):
    """Objects that one thread uses at a time, such as open directories; safe for several threads."""

    def __init__(self, make: Callable[[], T], *idle: T) -> None:
        """Begin with the ``idle`` objects; ``make`` returns a further one."""
        self._make = make
        self._idle: SimpleQueue[T] = SimpleQueue()
        for one in idle:
            self._idle.put(one)

    @contextlib.contextmanager
    def borrow(self) -> Iterator[T]:
        """Lend an unused object; if there is none, a new one or, if that cannot be made, the next one that is returned.

        Some objects must be idle in the beginning if ``make`` can fail.
        """
        try:
            one = self._idle.get_nowait()
        except Empty:
            try:
                one = self._make()
            except OSError:
                one = self._idle.get()
        try:
            yield one
        finally:
            self._idle.put(one)


class Turns:
    """Lets one thread at a time handle small files, unless the threads turn out to be waiting for a device.

    Handling a small file consists mostly of system calls, after each of which a thread waits for the interpreter's lock: with
    the files in memory, two threads take longer than one. From a disk or over a network, they take less time.
    """

    def __init__(self) -> None:
        """Begin with one thread at a time."""
        self._lock = threading.Lock()
        self._has_waits = False

    @contextlib.contextmanager
    def turn(self, sizes: Sequence[int]) -> Iterator[None]:
        """Wait for this thread's turn to handle files of these sizes in bytes, if turns are needed."""
        if self._has_waits or sum(sizes) >= _SMALL * len(sizes):
            yield
            return
        with self._lock:
            wall, busy = time.perf_counter(), time.thread_time()
            yield
            self._has_waits = time.perf_counter() - wall > _WAITING * (time.thread_time() - busy)


def batches(items: Iterable[T], size_of: Callable[[T], int]) -> Iterator[list[T]]:
    """Yield runs of consecutive items for a thread to take at once: several small files, or one that is not small.

    Args:
        items: the items in their order.
        size_of: returns the size of an item in bytes.
    """
    run: list[T] = []
    total = 0
    for item in items:
        run.append(item)
        total += size_of(item)
        if len(run) >= BATCH_FILES or total >= BATCH_BYTES:
            yield run
            run, total = [], 0
    if run:
        yield run
