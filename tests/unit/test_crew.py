"""The threads of one data set: never more than there are connections, none idle while a large file wants help."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, cast

import pytest

from provisioner.engine.fetch_threads import FetchThreads, Job
from provisioner.errors import DigestMismatchError, NotFoundError, RemoteUnavailableError
from tests.support.program import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.remote.http.ranges import RangedFetch


def nothing() -> None:
    """Look whether the run must end: never."""


def crew_of(connections: int) -> FetchThreads:
    """Make a crew that nobody stops."""
    return FetchThreads(connections, name="test", check_cancelled=nothing)


class Together:
    """Counts who is at work at the same time, and holds all until so many are."""

    def __init__(self, awaited: int) -> None:
        self._changed = threading.Condition()
        self._awaited = awaited
        self._now = self.most = self.calls = 0

    def work(self) -> None:
        """Be at work until enough are, or were."""
        with self._changed:
            self.calls += 1
            self._now += 1
            self.most = max(self.most, self._now)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self.most >= self._awaited, PATIENCE)
            self._now -= 1


class Wanting:
    """Stands for a large file that wants so many helpers."""

    def __init__(self, together: Together, helpers: int) -> None:
        self._together = together
        self._left = helpers
        self._lock = threading.Lock()

    @property
    def wants_help(self) -> bool:
        """Whether some are missing."""
        return self._left > 0

    def help(self) -> None:
        """Be one of them."""
        with self._lock:
            if not self._left:
                return
            self._left -= 1
        self._together.work()


def test_nothing_to_do() -> None:
    """No thread is started for it."""
    before = threading.active_count()
    crew_of(4).run([], leaders=lambda: 4)
    assert threading.active_count() == before


@pytest.mark.parametrize(("connections", "leaders", "expected"), [(1, 4, 1), (4, 4, 4), (4, 2, 2), (3, 9, 3)])
def test_so_many_at_once(connections: int, leaders: int, expected: int) -> None:
    """As many as there are connections, and files that may be on their way; every file once."""
    together = Together(expected)
    crew_of(connections).run([Job(together.work, is_large=False)] * 20, leaders=lambda: leaders)
    assert (together.most, together.calls) == (expected, 20)


def test_large_files_nearly_one_after_the_other() -> None:
    """Two at once, however many connections there are."""
    together = Together(2)
    crew_of(4).run([Job(together.work, is_large=True)] * 6, leaders=lambda: 4)
    assert (together.most, together.calls) == (2, 6)


def test_those_without_a_file_help() -> None:
    """All connections but the one that leads."""
    crew, together = crew_of(4), Together(4)
    fetch = cast("RangedFetch", Wanting(together, 3))

    def lead() -> None:
        with crew.helping(fetch):
            together.work()

    crew.run([Job(lead, is_large=True)], leaders=lambda: 1)
    assert (together.most, together.calls) == (4, 4)


def test_whoever_rests_is_replaced() -> None:
    """Its connection goes on with the next file while it unpacks."""
    crew, next_came = crew_of(1), threading.Event()

    def first() -> None:
        with crew.resting():
            assert next_came.wait(PATIENCE)

    crew.run([Job(first, is_large=True), Job(next_came.set, is_large=True)], leaders=lambda: 1)
    assert next_came.is_set()


def failing(error: BaseException) -> Callable[[], None]:
    """Make something that fails."""

    def act() -> None:
        raise error

    return act


def test_the_first_failure_ends_it() -> None:
    """Files that have not begun are left, those on their way are abandoned, and the failure is raised."""
    crew, begun, together = crew_of(2), threading.Event(), Together(1)

    def abandoned() -> None:
        begun.set()
        while True:
            crew.check_cancelled()

    def fail() -> None:
        assert begun.wait(PATIENCE)
        raise NotFoundError("gone")

    jobs = [Job(abandoned, is_large=False), Job(fail, is_large=False), *[Job(together.work, is_large=False)] * 5]
    with pytest.raises(NotFoundError):
        crew.run(jobs, leaders=lambda: 2)
    assert together.calls == 0


def test_the_most_telling_failure() -> None:
    """Of several at once; what is no failure of ours comes before all."""
    for errors, expected in (
        ([RemoteUnavailableError("a"), DigestMismatchError("b")], DigestMismatchError),
        ([ZeroDivisionError("a"), ZeroDivisionError("b")], ZeroDivisionError),
    ):
        crew, barrier = crew_of(2), threading.Barrier(2)

        def job(error: Exception, barrier: threading.Barrier = barrier) -> Job:
            def act() -> None:
                barrier.wait(PATIENCE)
                raise error

            return Job(act, is_large=False)

        with pytest.raises(expected):
            crew.run([job(error) for error in errors], leaders=lambda: 2)


def test_another_run_after_a_failure() -> None:
    """The next source is asked by the same crew."""
    crew, together = crew_of(3), Together(3)
    with pytest.raises(NotFoundError):
        crew.run([Job(failing(NotFoundError("gone")), is_large=True)] * 3, leaders=lambda: 3)
    crew.run([Job(together.work, is_large=False)] * 3, leaders=lambda: 3)
    assert together.calls == 3
