"""The threads that bring one data set: each takes the next file, or helps with a large one that wants more connections."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from typing import TYPE_CHECKING, Final

from provisioner.errors import ProvisionerError, gravest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from provisioner.remote.ranges import RangedFetch

_LOOK_SECONDS: Final = 0.1
"""How often an idle thread looks whether a large file wants help."""


class AbandonedError(Exception):
    """Another file of the same source has failed for good: the rest of them is of no use from here."""


class Crew:
    """So many connections, and never more, over all files of one source."""

    def __init__(self, connections: int, *, name: str, check: Callable[[], None]) -> None:
        """Start nothing yet.

        Args:
            connections: threads; each uses one connection at a time.
            name: for the threads' names.
            check: raises when the run must end.
        """
        self._connections = connections
        self._name = name
        self._stop_check = check
        self._turn = threading.Condition()
        self._jobs: deque[Callable[[], None]] = deque()
        self._leaders: Callable[[], int] = lambda: 1
        self._leading = 0
        self._fetches: list[RangedFetch] = []
        self._failures: list[BaseException] = []

    def check(self) -> None:
        """End what this thread does: the run must end, or another file of the same source has failed for good.

        Raises:
            AbandonedError: another file has.
            ProvisionerError: the run must end.
        """
        self._stop_check()
        if self._failures:
            raise AbandonedError

    def run(self, jobs: Iterable[Callable[[], None]], *, leaders: Callable[[], int]) -> None:
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
        threads = [
            threading.Thread(target=self._work, name=f"fetch-{self._name}", daemon=True) for _ in range(self._connections - 1)
        ]
        for thread in threads:
            thread.start()
        self._work()
        for thread in threads:
            thread.join()
        if self._failures:
            ours = [error for error in self._failures if isinstance(error, ProvisionerError)]
            raise self._failures[0] if len(ours) < len(self._failures) else gravest(ours)

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
        while (job := self._next()) is not None:
            try:
                job()
            except AbandonedError:
                pass
            except BaseException as error:  # noqa: BLE001 - raised again on the thread that waits
                self._failures.append(error)

    def _next(self) -> Callable[[], None] | None:
        """Wait for something to do; ``None``: all is done, or it has failed."""
        with self._turn:
            while not self._failures:
                # Large files first: a data set is there when its last byte is.
                helped = next((fetch for fetch in self._fetches if fetch.wants_help), None)
                if helped is not None:
                    return helped.help
                if self._jobs and self._leading < self._leaders():
                    self._leading += 1
                    return self._led(self._jobs.popleft())
                if not self._jobs and not self._leading:
                    break
                self._turn.wait(_LOOK_SECONDS)
            self._turn.notify_all()
        return None

    def _led(self, job: Callable[[], None]) -> Callable[[], None]:
        def lead() -> None:
            try:
                job()
            finally:
                with self._turn:
                    self._leading -= 1
                    # Woken for a large file by the time that passes, not for each small one.
                    if not self._jobs:
                        self._turn.notify_all()

        return lead
