"""Threads end when they are not needed any more, and their errors are not lost."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from provisioner.volume.archive.workers import ReadAhead, WorkerPool

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """Assert that every thread has ended, whatever the test does."""
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def test_items_come_in_order_and_then_the_error() -> None:
    """All items that precede an error are returned first, and nothing after it."""

    def items() -> Iterator[int]:
        yield from range(5)
        raise KeyboardInterrupt

    ahead = ReadAhead(items(), 2, "test")
    assert [next(ahead) for _ in range(5)] == list(range(5))
    with pytest.raises(KeyboardInterrupt):
        next(ahead)
    assert list(ahead) == []


def test_no_more_items_than_the_capacity() -> None:
    """Two items wait and the thread holds one more; closing drops them and closes the generator."""
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


def test_results_and_errors_of_calls() -> None:
    """Results are returned, and errors raised, where they are asked for, in any order."""
    with WorkerPool(2, "test") as pool:
        tasks = [pool.submit(lambda number=number: 10 // number) for number in range(4)]  # type: ignore[misc]
        assert [task.result() for task in reversed(tasks[1:])] == [3, 5, 10]
        with pytest.raises(ZeroDivisionError):
            tasks[0].result()


def test_closing_waits_for_calls() -> None:
    """Closing sets a flag that calls can look at; submitted calls are still made, as they may have to close something."""
    started = threading.Event()
    seen: list[bool] = []
    pool = WorkerPool(1, "test")

    def first() -> None:
        started.set()
        while not pool.stopped:
            pass

    pool.submit(first)
    pool.submit(lambda: seen.append(pool.stopped))
    assert started.wait(10)
    pool.close()
    assert seen == [True]
