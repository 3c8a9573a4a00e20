"""The threads that fetch the files of one source, each over one connection at a time.

Each takes the next file, or helps with a large one that arrives in ranges and can use more connections.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from provisioner.errors import ProvisionerError, error_to_report
from provisioner.log_fields import carried

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from provisioner.cancellation import Cancellation
    from provisioner.remote.http.ranges import RangedFetch

_LOGGER = logging.getLogger(__name__)

_POLL_SECONDS: Final = 0.1
"""Seconds between two checks by an idle thread whether a large file can use its help."""

_LARGE_FILES_AT_ONCE: Final = 2


class AbandonedError(Exception):
    """Another file of the same source has failed, so this one is no longer needed."""


class _OthersFailedError(ProvisionerError):
    """Another file of the same source has failed, so requests that wait for a host or for bytes end, too."""


@dataclass(frozen=True, slots=True)
class FileJob:
    """One file to fetch."""

    fetch: Callable[[], None]
    is_large: bool
    """It arrives in ranges, and other threads may help."""


class _Jobs:
    """Jobs that are made only when they are due, since there may be very many."""

    def __init__(self, jobs: Iterable[FileJob] = ()) -> None:
        self._rest = iter(jobs)
        self._first = next(self._rest, None)

    def __bool__(self) -> bool:
        return self._first is not None

    @property
    def first(self) -> FileJob:
        assert self._first is not None  # noqa: S101 - the caller has looked
        return self._first

    def take(self) -> FileJob:
        first, self._first = self.first, next(self._rest, None)
        return first


class FetchThreads:
    """The threads for the files of one source: more are started while ``connections()`` allows more."""

    def __init__(
        self,
        connections: Callable[[], int],
        *,
        label: str,
        check_cancelled: Callable[[], None],
        waits: Cancellation | None = None,
    ) -> None:
        """Prepare; no thread is started yet.

        Args:
            connections: returns how many threads may fetch now; each uses one connection at a time.
            label: names the data set in the names of threads.
            check_cancelled: raises when the run must end.
            waits: ends the requests of these files, including those that wait, when one of the files has failed; if it is
                ``None``, each request runs to its own end.
        """
        self._waits = waits
        self.connections = connections
        self.label = label
        self._check_run = check_cancelled
        self._changed = threading.Condition()
        self._jobs = _Jobs()
        self._files_at_once: Callable[[], int] = lambda: 1
        self._running = 0
        """Files that are being fetched."""
        self._running_large = 0
        self._threads: list[threading.Thread] = []
        self._busy = 0
        """Threads that use a connection."""
        self._idle = 0
        """Threads that have nothing to do now, or were just started."""
        self._replaced: set[int] = set()
        """Threads that have released their connection, and end with their job."""
        self._shared: list[RangedFetch] = []
        """Large files that other threads may help with."""
        self._failures: list[BaseException] = []
        self._is_limited = False
        """The system has refused to start a thread."""

    def check_cancelled(self) -> None:
        """Raise if what this thread does is no longer needed.

        Raises:
            AbandonedError: another file of the same source has failed.
            ProvisionerError: the run must end.
        """
        self._check_run()
        if self._failures:
            raise AbandonedError

    def run(self, jobs: Iterable[FileJob], *, files_at_once: Callable[[], int]) -> None:
        """Do all jobs, on this thread and on others; stop at the first failure.

        Args:
            jobs: one for each file, in their order.
            files_at_once: returns how many files may be fetched at once at this moment.

        Raises:
            ProvisionerError: the most telling of the failures.
        """
        self._jobs = _Jobs(jobs)
        self._files_at_once = files_at_once
        self._failures.clear()
        if self._waits is not None:
            self._waits.renew()
        if not self._jobs:
            return
        self._busy, self._idle = 0, 1
        self._work()
        while self._threads:
            self._threads.pop().join()
        # Each job keeps a reference to the result of its file.
        self._jobs = _Jobs()
        if self._failures:
            # Any other error is a bug, or a limit of the machine; another source would not help.
            others = [error for error in self._failures if not isinstance(error, ProvisionerError)]
            raise others[0] if others else error_to_report([e for e in self._failures if isinstance(e, ProvisionerError)])

    def release_connection(self) -> None:
        """Let another thread replace the calling one, whose job for a large file needs no connection from here to its end.

        If the job needs one after all, because what came is of no use, one connection more is used for that time.
        """
        with self._changed:
            # If there is no other thread, this one must do the other jobs afterwards.
            if threading.get_ident() not in self._replaced and (self._idle or self._start_thread()):
                self._replaced.add(threading.get_ident())
                self._running -= 1
                self._running_large -= 1
                self._busy -= 1
                self._changed.notify()

    @contextlib.contextmanager
    def helping(self, fetch: RangedFetch) -> Iterator[None]:
        """Let threads without a file of their own help with ``fetch`` while the block runs, as far as it can use them."""
        with self._changed:
            self._shared.append(fetch)
            self._offer_work()
        try:
            yield
        finally:
            with self._changed:
                self._shared.remove(fetch)

    def is_crowded(self) -> bool:
        """Return whether more threads use a connection than is worthwhile now."""
        with self._changed:
            return self._busy > self.connections()

    def _start_thread(self) -> bool:
        """Start one more thread; return ``False`` if the system allows no more."""
        self._idle += 1
        thread = threading.Thread(target=carried(self._work), name=f"fetch-{self.label}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            self._idle -= 1
            if not self._is_limited:
                self._is_limited = True
                _LOGGER.warning("%s: %s: fewer files are fetched at once; raise the limit of processes", self.label, error)
            return False
        # Added only now, so that whoever waits for all threads meets none that was not started. Nor can they miss this
        # one: the thread that starts it is among those waited for, or is the one that waits.
        self._threads.append(thread)
        return True

    def _offer_work(self) -> None:
        """Make sure that a thread looks for more work; the lock is held.

        One thread is always idle while there may be more to do: it notices when more connections are worth while.
        """
        if not self._idle:
            self._start_thread()
        elif self._busy < self.connections():
            self._changed.notify()

    def _work(self) -> None:
        me = threading.get_ident()
        task = self._next_task()
        while task is not None:
            try:
                task()
            except (AbandonedError, _OthersFailedError):
                pass
            except BaseException as error:  # noqa: BLE001 - raised again on the thread that waits
                self._failures.append(error)
                if self._waits is not None:
                    # Other threads may be waiting for a host that is busy or silent.
                    self._waits.request(_OthersFailedError(f"{self.label}: another file has failed"))
            task = None if me in self._replaced else self._next_task(was_busy=True)
        with self._changed:
            self._replaced.discard(me)
            self._changed.notify_all()

    def _next_task(self, *, was_busy: bool = False) -> Callable[[], None] | None:
        """Wait for the next task and return it, or ``None`` if everything is done, or something failed."""
        with self._changed:
            if was_busy:
                self._busy -= 1
                self._idle += 1
            while not self._failures:
                task = self._take_task() if self._busy < self.connections() else None
                if task is not None:
                    self._idle -= 1
                    self._busy += 1
                    if self._shared or (self._jobs and self._running < self._files_at_once()):
                        self._offer_work()
                    return task
                if not self._jobs and not self._running:
                    break
                self._changed.wait(_POLL_SECONDS)
            self._idle -= 1
            self._changed.notify_all()
        return None

    def _take_task(self) -> Callable[[], None] | None:
        """Return the next task, if there is one now; the lock is held."""
        # Large files first: a data set is complete only when its last byte is there.
        shared = next((fetch for fetch in self._shared if fetch.wants_help), None)
        if shared is not None:
            return shared.help
        if self._jobs and self._running < self._files_at_once() and self._may_start(self._jobs.first):
            return self._start(self._jobs.take())
        return None

    def _may_start(self, job: FileJob) -> bool:
        """Return whether a file may start: only a few large ones at once, so that the first is unpacked early."""
        return not job.is_large or self._running_large < _LARGE_FILES_AT_ONCE

    def _start(self, job: FileJob) -> Callable[[], None]:
        """Count a job as running, and return the function that does it; the lock is held."""
        self._running += 1
        self._running_large += job.is_large

        def do() -> None:
            try:
                job.fetch()
            finally:
                with self._changed:
                    if threading.get_ident() not in self._replaced:
                        self._running -= 1
                        self._running_large -= job.is_large
                    # Threads that wait for a large file poll: waking them after each of many small ones would cost
                    # more.
                    if not self._jobs:
                        self._changed.notify_all()

        return do
