"""Work on many items by several threads: results in the order of the items, errors in their place, and no thread left."""

from __future__ import annotations

import math
import os
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from provisioner.volume import parallel
from provisioner.volume.parallel import OrderedWork, Pool, Turns, batches, cpu_quota, usable_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """Assert that every thread has ended, whatever the test does."""
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def nothing() -> None:
    """Do not cancel."""


def work_of(
    call: Callable[[int, Callable[[], None]], object], count: int, *, threads: int, check_cancelled: Callable[[], None] = nothing
) -> OrderedWork[int, object]:
    """Return the work of making a call for some numbers."""
    return OrderedWork(call, range(count), check_cancelled=check_cancelled, name="test", threads=threads)


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("count", [0, 1, 2, 500])
def test_results_come_in_order(threads: int, count: int) -> None:
    """Whichever thread is faster, results come in the order of their items."""
    assert list(work_of(lambda item, _: item * 2, count, threads=threads).results()) == [2 * item for item in range(count)]


def test_calls_are_made_at_the_same_time() -> None:
    """Each of several threads makes a call before any of the calls has ended."""
    barrier = threading.Barrier(3)

    def meet(item: int, _: Callable[[], None]) -> int:
        barrier.wait(30)
        return item

    assert list(work_of(meet, 3, threads=3).results()) == [0, 1, 2]


def test_an_error_comes_in_the_place_of_its_result() -> None:
    """The results before an error are yielded; of several errors, that of the first item is raised."""

    def call(item: int, _: Callable[[], None]) -> int:
        if item >= 5:
            raise KeyError(item)
        return item

    results = work_of(call, 100, threads=4).results()
    assert [next(results) for _ in range(5)] == list(range(5))
    with pytest.raises(KeyError, match="5"):
        next(results)


def test_an_error_of_the_items_is_raised() -> None:
    """An iterator that raises ends the work where it stands."""

    def items() -> Iterator[int]:
        yield from range(3)
        raise KeyError("items")

    work = OrderedWork(lambda item, _: item, items(), check_cancelled=nothing, name="test", threads=2)
    results = work.results()
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError, match="items"):
        next(results)


def test_an_error_ends_the_calls_of_other_threads() -> None:
    """Calls whose results nobody asks for any more end at their next check."""
    under_way, ended = threading.Event(), threading.Event()

    def call(item: int, check: Callable[[], None]) -> None:
        if item == 0:
            assert under_way.wait(30)
            raise KeyError(item)
        under_way.set()
        try:
            while True:
                check()
        finally:
            ended.set()

    with pytest.raises(KeyError):
        list(work_of(call, 2, threads=2).results())
    assert ended.is_set()


@pytest.mark.parametrize("threads", [1, 3])
def test_a_cancellation_ends_all_calls(threads: int) -> None:
    """What the check raises ends every call, and is raised where the results are asked for."""
    calls = 0

    def check_cancelled() -> None:
        nonlocal calls
        calls += 1
        if calls > 20:
            raise KeyboardInterrupt

    def call(_: int, check: Callable[[], None]) -> None:
        while True:
            check()

    with pytest.raises(KeyboardInterrupt):
        list(work_of(call, 5, threads=threads, check_cancelled=check_cancelled).results())


def test_no_more_items_are_taken_than_may_wait() -> None:
    """Results that nobody has asked for yet are limited in number, however slow the one who asks is."""
    taken: list[int] = []
    limit = 2 * parallel._AHEAD
    full = threading.Event()

    def items() -> Iterator[int]:
        for number in range(10 * limit):
            taken.append(number)
            if len(taken) == limit + 1:
                full.set()
            yield number

    results = OrderedWork(lambda item, _: item, items(), check_cancelled=nothing, name="test", threads=2).results()
    assert next(results) == 0
    assert full.wait(30)
    assert len(taken) == limit + 1
    results.close()
    assert len(taken) == limit + 1


@pytest.mark.parametrize("allowed", [0, 1, 3])
def test_fewer_threads_where_the_system_allows_no_more(monkeypatch: pytest.MonkeyPatch, allowed: int) -> None:
    """A thread that cannot be started is done without; without any, the caller's thread does the work."""
    start = threading.Thread.start
    started: list[threading.Thread] = []
    refused = 0

    def refuse(thread: threading.Thread) -> None:
        nonlocal refused
        if len(started) == allowed:
            refused += 1
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert list(work_of(lambda item, _: item, 100, threads=5).results()) == list(range(100))
    assert (len(started), refused) == (allowed, 1)


def test_an_object_that_cannot_be_opened_is_waited_for() -> None:
    """Where no more directories can be opened, a thread works with one that another gives back."""

    def fail() -> str:
        raise OSError(24, "Too many open files")

    pool = Pool(fail, "only one")

    def call(_: int, __: Callable[[], None]) -> str:
        with pool.borrow() as one:
            return one

    assert set(work_of(call, 200, threads=4).results()) == {"only one"}


@pytest.mark.parametrize(
    ("sizes", "seconds", "is_alone"),
    [([4096] * 10, 1.2, True), ([4096] * 10, 2.0, False), ([4096, 10 << 20], 1.2, False), ([], 1.2, False)],
    ids=["small, in memory", "small, on a device", "large", "nothing"],
)
def test_small_files_in_memory_are_handled_in_turn(
    monkeypatch: pytest.MonkeyPatch, sizes: list[int], seconds: float, is_alone: bool
) -> None:
    """One thread at a time handles small files, unless the first of them took longer than the processor was busy."""
    walls, busy = iter([0.0, seconds] * 2), iter([0.0, 1.0] * 2)
    clock = SimpleNamespace(perf_counter=lambda: next(walls), thread_time=lambda: next(busy))
    monkeypatch.setattr(parallel, "time", clock)
    turns = Turns()
    with turns.turn(sizes):
        pass
    with turns.turn(sizes):
        assert turns._lock.locked() == is_alone
    assert not turns._lock.locked()


def test_batches() -> None:
    """A run of small items, or a single large one; none is lost, and the order stays."""
    sizes = [1] * 200 + [parallel.BATCH_BYTES] + [parallel.BATCH_BYTES // 2] * 3
    found = list(batches(enumerate(sizes), lambda item: item[1]))
    assert [item for run in found for item in run] == list(enumerate(sizes))
    assert [len(run) for run in found] == [64, 64, 64, 9, 2, 1]


def test_usable_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quota of a container counts, rounded up, and never more than the processors that there are."""
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
    monkeypatch.setattr(parallel, "cpu_quota", lambda: 0.2)
    assert usable_cores() == 1
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(parallel, "cpu_quota", lambda: 2.5)
    assert usable_cores() == 3
    monkeypatch.setattr(parallel, "cpu_quota", lambda: math.inf)
    assert usable_cores() == 8


@pytest.mark.parametrize(
    ("memberships", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, math.inf),
        ("0::/\n", {}, math.inf),
        ("0::/a/b\n", {"cpu.max": "max 100000\n", "a/cpu.max": "50000 100000\n", "a/b/cpu.max": "200000 100000\n"}, 0.5),
        ("0::/of/the/host\n", {"cpu.max": "300000 100000\n"}, 3.0),
        ("0::/../sibling\n", {"cpu.max": "300000 100000\n"}, 3.0),
        (
            "4:memory:/x\n3:cpu,cpuacct:/docker/abc\n",
            {"cpu,cpuacct/cpu.cfs_quota_us": "250000\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"},
            2.5,
        ),
        ("3:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, math.inf),
        ("3:cpuset:/\n", {"cpuset/cpu.max": "100000 100000\n"}, math.inf),
        ("0::/\n", {"cpu.max": "nonsense\n"}, math.inf),
        ("nonsense\n", {}, math.inf),
        ("", {"cpu.max": "100000 100000\n"}, math.inf),
        (None, {"cpu.max": "100000 100000\n"}, math.inf),
    ],
)
def test_the_quota_of_control_groups(tmp_path: Path, memberships: str | None, files: dict[str, str], expected: float) -> None:
    """The smallest quota of the process's group and of those above it counts, in both versions of control groups."""
    for path, text in files.items():
        (tmp_path / "fs" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / path).write_text(text)
    if memberships is not None:
        (tmp_path / "own").write_text(memberships)
    assert cpu_quota(tmp_path / "own", tmp_path / "fs") == expected
