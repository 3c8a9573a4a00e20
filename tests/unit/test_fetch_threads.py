"""The threads that fetch one data set: never more than there are connections, none idle while a large file has use for it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, cast

import pytest

from provisioner.engine.fetch_threads import FetchThreads, FileJob
from provisioner.errors import DigestMismatchError, NotFoundError, RemoteUnavailableError
from tests.support.program import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.remote.http.ranges import RangedFetch


def nothing() -> None:
    """Do nothing: the run is never cancelled."""


def threads_of(connections: int) -> FetchThreads:
    """Return threads that are never cancelled."""
    return FetchThreads(lambda: connections, label="test", check_cancelled=nothing)


class Meeting:
    """Counts callers that are here at the same time, and holds all of them until enough have come."""

    def __init__(self, awaited: int) -> None:
        self._changed = threading.Condition()
        self._awaited = awaited
        self._now = self.most = self.calls = 0

    def attend(self) -> None:
        """Wait here until enough callers are, or were."""
        with self._changed:
            self.calls += 1
            self._now += 1
            self.most = max(self.most, self._now)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self.most >= self._awaited, PATIENCE)
            self._now -= 1


class LargeFile:
    """Stands for a large file that has use for some helpers."""

    def __init__(self, meeting: Meeting, helpers: int) -> None:
        self._meeting = meeting
        self._left = helpers
        self._lock = threading.Lock()

    @property
    def wants_help(self) -> bool:
        """Whether helpers are missing."""
        return self._left > 0

    def help(self) -> None:
        """Be one of the helpers."""
        with self._lock:
            if not self._left:
                return
            self._left -= 1
        self._meeting.attend()


def test_nothing_to_do() -> None:
    """Without a file no thread is started."""
    before = threading.active_count()
    threads_of(4).run([], files_at_once=lambda: 4)
    assert threading.active_count() == before


@pytest.mark.parametrize(("connections", "at_once", "expected"), [(1, 4, 1), (4, 4, 4), (4, 2, 2), (3, 9, 3)])
def test_so_many_at_once(connections: int, at_once: int, expected: int) -> None:
    """As many files are fetched at once as there are connections, and as are allowed; every file once."""
    meeting = Meeting(expected)
    threads_of(connections).run([FileJob(meeting.attend, is_large=False)] * 20, files_at_once=lambda: at_once)
    assert (meeting.most, meeting.calls) == (expected, 20)


def test_large_files_nearly_one_after_the_other() -> None:
    """Two large files are fetched at once, however many connections there are."""
    meeting = Meeting(2)
    threads_of(4).run([FileJob(meeting.attend, is_large=True)] * 6, files_at_once=lambda: 4)
    assert (meeting.most, meeting.calls) == (2, 6)


def test_those_without_a_file_help() -> None:
    """All connections but the one that fetches a large file help with it."""
    threads, meeting = threads_of(4), Meeting(4)
    large = cast("RangedFetch", LargeFile(meeting, 3))

    def fetch() -> None:
        with threads.helping(large):
            meeting.attend()

    threads.run([FileJob(fetch, is_large=True)], files_at_once=lambda: 1)
    assert (meeting.most, meeting.calls) == (4, 4)


def test_a_thread_that_unpacks_is_replaced() -> None:
    """The connection of a thread that unpacks its archive fetches the next file meanwhile."""
    threads, next_came = threads_of(1), threading.Event()

    def first() -> None:
        threads.release_connection()
        assert next_came.wait(PATIENCE)

    threads.run([FileJob(first, is_large=True), FileJob(next_came.set, is_large=True)], files_at_once=lambda: 1)
    assert next_came.is_set()


def failing(error: BaseException) -> Callable[[], None]:
    """Return a function that raises ``error``."""

    def act() -> None:
        raise error

    return act


def test_a_replacement_is_waited_for_only_when_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that waits for all others meets none that was not started yet, however slowly it starts."""
    threads = FetchThreads(lambda: 2, label="test", check_cancelled=lambda: None)
    start = threading.Thread.start
    early: list[threading.Thread] = []

    def watched(thread: threading.Thread) -> None:
        early.extend(other for other in threads._threads if other is thread)
        start(thread)

    def fetch() -> None:
        threads.release_connection()

    monkeypatch.setattr(threading.Thread, "start", watched)
    threads.run([FileJob(fetch, is_large=True) for _ in range(8)], files_at_once=lambda: 2)
    assert early == []


@pytest.mark.parametrize("allowed", [0, 1, 2])
def test_a_system_that_allows_few_threads(monkeypatch: pytest.MonkeyPatch, allowed: int) -> None:
    """All files are fetched by the threads that there are, also those behind an archive that gives its connection away."""
    threads = threads_of(8)
    start = threading.Thread.start
    started: list[threading.Thread] = []
    refused: list[threading.Thread] = []

    def limited(thread: threading.Thread) -> None:
        if len(started) >= allowed:
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    fetched: list[int] = []

    def job(number: int) -> FileJob:
        def fetch() -> None:
            if number % 3 == 0:
                threads.release_connection()
            fetched.append(number)

        return FileJob(fetch, is_large=number % 3 == 0)

    monkeypatch.setattr(threading.Thread, "start", limited)
    threads.run([job(number) for number in range(20)], files_at_once=lambda: 8)
    assert sorted(fetched) == list(range(20))
    assert refused


def test_an_error_that_is_not_ours_comes_first() -> None:
    """What no other source would change is raised, whatever else has failed before it."""
    threads, both = threads_of(2), threading.Barrier(2)

    def fail_with(error: BaseException) -> Callable[[], None]:
        def act() -> None:
            both.wait(PATIENCE)
            raise error

        return act

    with pytest.raises(MemoryError):
        threads.run(
            [
                FileJob(fail_with(RemoteUnavailableError("gone")), is_large=False),
                FileJob(fail_with(MemoryError()), is_large=False),
            ],
            files_at_once=lambda: 2,
        )


def test_the_first_failure_ends_it() -> None:
    """Files that have not begun are left, those on their way are abandoned, and the failure is raised."""
    threads, begun, meeting = threads_of(2), threading.Event(), Meeting(1)

    def abandoned() -> None:
        begun.set()
        while True:
            threads.check_cancelled()

    def fail() -> None:
        assert begun.wait(PATIENCE)
        raise NotFoundError("gone")

    jobs = [
        FileJob(abandoned, is_large=False),
        FileJob(fail, is_large=False),
        *[FileJob(meeting.attend, is_large=False)] * 5,
    ]
    with pytest.raises(NotFoundError):
        threads.run(jobs, files_at_once=lambda: 2)
    assert meeting.calls == 0


def test_the_most_telling_failure() -> None:
    """Of several failures at once, wrong bytes are raised before a remote that may work later, and a bug before both."""
    for errors, expected in (
        ([RemoteUnavailableError("a"), DigestMismatchError("b")], DigestMismatchError),
        ([ZeroDivisionError("a"), ZeroDivisionError("b")], ZeroDivisionError),
    ):
        threads, barrier = threads_of(2), threading.Barrier(2)

        def job(error: Exception, barrier: threading.Barrier = barrier) -> FileJob:
            def act() -> None:
                barrier.wait(PATIENCE)
                raise error

            return FileJob(act, is_large=False)

        with pytest.raises(expected):
            threads.run([job(error) for error in errors], files_at_once=lambda: 2)


def test_another_run_after_a_failure() -> None:
    """The next source is fetched by the same threads."""
    threads, meeting = threads_of(3), Meeting(3)
    with pytest.raises(NotFoundError):
        threads.run([FileJob(failing(NotFoundError("gone")), is_large=True)] * 3, files_at_once=lambda: 3)
    threads.run([FileJob(meeting.attend, is_large=False)] * 3, files_at_once=lambda: 3)
    assert meeting.calls == 3
