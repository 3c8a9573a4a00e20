"""The threads that bring one data set: each takes the next file, or helps with a large one that wants more connections."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from provisioner.errors import ProvisionerError, error_to_report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from provisioner.remote.http.ranges import RangedFetch

_LOOK_SECONDS: Final = 0.1
"""How often an idle thread looks whether a large file wants help."""

_LARGE_AT_ONCE: Final = 2


class AbandonedError(Exception):
    """Another file of the same source has failed for good: the rest of them is of no use from here."""


@dataclass(frozen=True, slots=True)
class Job:
    """One file to be brought."""

    do: Callable[[], None]
    is_large: bool
    """It comes in ranges."""


class FetchThreads:
    """So many connections, and never more, over all files of one source."""

    def __init__(self, connections: int, *, name: str, check_cancelled: Callable[[], None]) -> None:
        """Start nothing yet.

        Args:
            connections: threads; each uses one connection at a time.
            name: for the threads' names.
            check_cancelled: raises when the run must end.
        """
        self._connections = connections
        self._name = name
        self._check_run = check_cancelled
        self._turn = threading.Condition()
        self._jobs: deque[Job] = deque()
        self._leaders: Callable[[], int] = lambda: 1
        self._leading = 0
        self._leading_large = 0
        self._threads: list[threading.Thread] = []
        self._replaced: set[int] = set()
        self._fetches: list[RangedFetch] = []
        self._failures: list[BaseException] = []

    def check_cancelled(self) -> None:
        """End what this thread does: the run must end, or another file of the same source has failed for good.

        Raises:
            AbandonedError: another file has.
            ProvisionerError: the run must end.
        """
        self._check_run()
        if self._failures:
            raise AbandonedError

    def run(self, jobs: Iterable[Job], *, leaders: Callable[[], int]) -> None:
        """Do all jobs; the first failure ends it.

        Args:
            jobs: one for each file, in their order.
            leaders: gives how many files may be on their way at once, now.

        Raises:
            ProvisionerError: the most telling of the failures.
        """
        self._jobs = deque(jobs)
        self._leaders = leaders
        self._failures.clear()
        if not self._jobs:
            return
        for _ in range(self._connections - 1):
            self._hire()
        self._work()
        while self._threads:
            self._threads.pop().join()
        if self._failures:
            ours = [error for error in self._failures if isinstance(error, ProvisionerError)]
            raise self._failures[0] if len(ours) < len(self._failures) else error_to_report(ours)

    def _hire(self) -> None:
        thread = threading.Thread(target=self._work, name=f"fetch-{self._name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    @contextlib.contextmanager
    def resting(self) -> Iterator[None]:
        """While the block runs, in a job, this thread uses no connection, and another one takes its place for good."""
        me = threading.get_ident()
        with self._turn:
            self._replaced.add(me)
            self._leading -= 1
            self._leading_large -= 1
            self._hire()
        yield

    @contextlib.contextmanager
    def helping(self, fetch: RangedFetch) -> Iterator[None]:
        """While the block runs, threads without a file of their own help with ``fetch`` as far as it wants them."""
        with self._turn:
            self._fetches.append(fetch)
            self._turn.notify_all()
        try:
            yield
        finally:
            with self._turn:
                self._fetches.remove(fetch)

    def _work(self) -> None:
        me = threading.get_ident()
        while me not in self._replaced and (job := self._next()) is not None:
            try:
                job()
            except AbandonedError:
                pass
            except BaseException as error:  # noqa: BLE001 - raised again on the thread that waits
                self._failures.append(error)
        with self._turn:
            self._replaced.discard(me)
            self._turn.notify_all()

    def _next(self) -> Callable[[], None] | None:
        """Wait for something to do; ``None``: all is done, or it has failed."""
        with self._turn:
            while not self._failures:
                # Large files first: a data set is there when its last byte is.
                helped = next((fetch for fetch in self._fetches if fetch.wants_help), None)
                if helped is not None:
                    return helped.help
                if self._jobs and self._leading < self._leaders() and self._may_begin(self._jobs[0]):
                    return self._led(self._jobs.popleft())
                if not self._jobs and not self._leading:
                    break
                self._turn.wait(_LOOK_SECONDS)
            self._turn.notify_all()
        return None

    def _may_begin(self, job: Job) -> bool:
        """Large files nearly one after the other: the first is whole early, and is unpacked while the next arrives."""
        return not job.is_large or self._leading_large < _LARGE_AT_ONCE

    def _led(self, job: Job) -> Callable[[], None]:
        self._leading += 1
        self._leading_large += job.is_large

        def lead() -> None:
            try:
                job.do()
            finally:
                with self._turn:
                    if threading.get_ident() not in self._replaced:
                        self._leading -= 1
                        self._leading_large -= job.is_large
                    # Whoever waits is woken for a large file by the time that passes, not for each small one.
                    if not self._jobs:
                        self._turn.notify_all()

        return lead
