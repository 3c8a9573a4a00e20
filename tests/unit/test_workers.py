"""Threads are there while they are needed, and their errors are not lost."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from provisioner.volume.archive.workers import ReadAhead, WorkerPool, usable_cores

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """Whatever happened, every thread has ended."""
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def test_cores_that_may_be_used() -> None:
    """Those of this process, not those of the machine."""
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


def test_items_come_in_order_and_then_the_error() -> None:
    """All that was worked out before it, and nothing after it."""

    def items() -> Iterator[int]:
        yield from range(5)
        raise KeyboardInterrupt

    ahead = ReadAhead(items(), 2, "test")
    assert [next(ahead) for _ in range(5)] == list(range(5))
    with pytest.raises(KeyboardInterrupt):
        next(ahead)
    assert list(ahead) == []


def test_no_more_than_there_is_room_for() -> None:
    """Two wait, and one is in the thread's hands; closing drops them and closes the generator."""
    made: list[int] = []
    closed = threading.Event()
    third = threading.Event()

    def items() -> Iterator[int]:
        try:
            for number in range(100):
                made.append(number)
                if number == 3:
                    third.set()
                yield number
        finally:
            closed.set()

    ahead = ReadAhead(items(), 2, "test")
    assert next(ahead) == 0
    assert third.wait(10)
    ahead.close()
    assert closed.is_set()
    assert made == [0, 1, 2, 3]
    assert list(ahead) == []


def test_calls_are_made_and_their_errors_raised() -> None:
    """Where the result is asked for, in any order."""
    with WorkerPool(2, "test") as crew:
        tasks = [crew.submit(lambda number=number: 10 // number) for number in range(4)]  # type: ignore[misc]
        assert [task.result() for task in reversed(tasks[1:])] == [3, 5, 10]
        with pytest.raises(ZeroDivisionError):
            tasks[0].result()


def test_closing_waits_for_calls_that_look_at_the_flag() -> None:
    """What was asked for is still called: it may have something to close."""
    started = threading.Event()
    seen: list[bool] = []
    crew = WorkerPool(1, "test")

    def first() -> None:
        started.set()
        while not crew.stopped:
            pass

    crew.submit(first)
    crew.submit(lambda: seen.append(crew.stopped))
    assert started.wait(10)
    crew.close()
    assert seen == [True]
