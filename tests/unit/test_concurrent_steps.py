"""Steps side by side: real threads, and steps that go on when the test says so."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from provisioner.cancellation import Cancellation
from provisioner.engine.concurrent_steps import ConcurrentSteps
from provisioner.errors import (
    IntegrityError,
    InterruptedBySignal,
    NoRoomError,
    ProvisionerError,
    StatedTooLargeError,
    VolumeFullError,
    VolumeNotWritableError,
)
from tests.support.program import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provisioner.planning.model import Step

SECONDS = 10


class Work:
    """Steps with one letter each, of which every one waits for what it is told to."""

    def __init__(self, beside: dict[str, int]) -> None:
        """Make the steps; ``beside`` is what the plan says of each."""
        self.steps: list[Any] = [
            SimpleNamespace(id=name, beside=count, recipe=SimpleNamespace(label=name)) for name, count in beside.items()
        ]
        self.cancellation = Cancellation()
        self.begun = {name: threading.Event() for name in beside}
        self.attempts = dict.fromkeys(beside, 0)
        self.events: list[str] = []
        self.settled: dict[str, ProvisionerError | None] = {}
        self.actions: dict[str, Callable[[Cancellation, int], None]] = {}
        """What a step does, given what ends it and the number of its attempt."""
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()
        self.on_settled: Callable[[str], None] = lambda _name: None

    def may_begin(self, _step: Step) -> bool:
        """Let every step be started: there is no other run."""
        return True

    def wait(self, _steps: Sequence[Step]) -> None:
        """Never be called."""
        raise AssertionError

    def had_company(self, _step: Step) -> bool:
        """Know of no other run."""
        return False

    def begin(self, step: Step) -> None:
        """Know the step."""
        assert step in self.steps

    def put_back(self, step: Step) -> None:
        """Note that it will be carried out again."""
        self.events.append(f"x{step.id}")

    def carry_out(self, step: Step, rank: int, cancellation: Cancellation) -> None:
        """Do what the test says of this step."""
        assert self.steps[rank] is step
        with self._lock:
            self.attempts[step.id] += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            self.events.append(f"+{step.id}")
        self.begun[step.id].set()
        try:
            if step.id in self.actions:
                self.actions[step.id](cancellation, self.attempts[step.id])
        finally:
            with self._lock:
                self.at_once -= 1

    def settle(self, step: Step, error: ProvisionerError | None) -> None:
        """Record how a step ended."""
        self.settled[step.id] = error
        self.events.append(f"-{step.id}")
        self.on_settled(step.id)

    def run(self) -> None:
        """Carry out all steps."""
        ConcurrentSteps(self, self.cancellation).run(self.steps)

    def wait_for(self, *names: str) -> Callable[[Cancellation, int], None]:
        """Return an action that ends when other steps have begun."""

        def wait(cancellation: Cancellation, _attempt: int) -> None:
            for name in names:
                while not self.begun[name].wait(0.01):
                    cancellation.raise_if_requested()

        return wait


def until_ended(cancellation: Cancellation, attempt: int) -> None:
    """Work until this attempt is ended, and only the first time."""
    if attempt == 1:
        cancellation.wait(SECONDS)
        pytest.fail("nobody ended it")


def fail_once(error: BaseException, before: Callable[[Cancellation, int], None]) -> Callable[[Cancellation, int], None]:
    """Return an action that fails at its first attempt, after another action."""

    def act(cancellation: Cancellation, attempt: int) -> None:
        if attempt == 1:
            before(cancellation, attempt)
            raise error

    return act


def test_as_many_as_the_plan_allows() -> None:
    """A step begins while those before it are unfinished, as far as the plan has space for it."""
    work = Work({"a": 0, "b": 1, "c": 2, "d": 0, "e": 1})
    work.actions = {"a": work.wait_for("c"), "b": work.wait_for("c"), "d": work.wait_for("e")}
    work.run()
    assert work.settled == dict.fromkeys("abcde")
    assert work.most_at_once == 3
    assert {work.events.index(f"-{name}") for name in "abc"} == {3, 4, 5}
    assert work.events[6:8] == ["+d", "+e"]


def test_one_after_the_other() -> None:
    """Where the plan has space for one at a time, all are carried out on the caller's thread, in order."""
    work = Work({"a": 0, "b": 0, "c": 0})
    threads: set[int] = set()
    work.actions = dict.fromkeys("abc", lambda *_: threads.add(threading.get_ident()))
    work.run()
    assert work.events == ["+a", "-a", "+b", "-b", "+c", "-c"]
    assert threads == {threading.get_ident()}


def test_a_window_moves() -> None:
    """A step that is beside one other does not begin before the ones before that one have ended."""
    work = Work({"a": 0, "b": 1, "c": 1})
    ended = threading.Event()

    def end_last(_: Cancellation, _attempt: int) -> None:
        assert not work.begun["c"].is_set()
        ended.set()

    work.actions = {"a": end_last, "b": work.wait_for("c")}
    work.run()
    assert ended.is_set()
    assert work.events.index("-a") < work.events.index("+c") < work.events.index("-b")


def test_a_failure_is_its_own() -> None:
    """What fails for one does not keep the others out, and is passed on."""
    work = Work({"a": 0, "b": 1, "c": 2})
    error = IntegrityError("wrong")
    work.actions = {"a": work.wait_for("c"), "b": fail_once(error, work.wait_for("c"))}
    work.run()
    assert work.settled == {"a": None, "b": error, "c": None}
    assert set(work.attempts.values()) == {1}


@pytest.mark.parametrize("error", [NoRoomError("full"), VolumeFullError("full")])
def test_no_space_for_the_more_important_one(error: ProvisionerError) -> None:
    """Those after it are given up; it and then they are carried out one after the other. Those before it go on."""
    work = Work({"a": 0, "b": 1, "c": 2, "d": 3})

    def work_on(cancellation: Cancellation, attempt: int) -> None:
        work.wait_for("d")(cancellation, attempt)
        cancellation.raise_if_requested()

    work.actions = {
        "a": work_on,
        "b": fail_once(error, work.wait_for("d")),
        "c": until_ended,
        "d": until_ended,
    }
    work.run()
    assert work.settled == dict.fromkeys("abcd")
    assert work.attempts == {"a": 1, "b": 2, "c": 2, "d": 2}
    assert {"xb", "xc", "xd"} <= set(work.events)
    last = [event for event in work.events if event[0] != "x" and event != "-a"][4:]
    assert last == ["+b", "-b", "+c", "-c", "+d", "-d"]


def test_no_space_for_the_less_important_one() -> None:
    """It waits until those before it have ended, and is then carried out alone."""
    work = Work({"a": 0, "b": 1, "c": 2})

    def wait_until_cleared(_: Cancellation, attempt: int) -> None:
        assert attempt == 1
        wait_until(lambda: "xc" in work.events, "c is put back")

    work.actions = {"a": wait_until_cleared, "b": wait_until_cleared, "c": fail_once(NoRoomError("full"), work.wait_for("b"))}
    work.run()
    assert work.settled == dict.fromkeys("abc")
    assert work.events[-2:] == ["+c", "-c"]
    assert work.attempts == {"a": 1, "b": 1, "c": 2}


def test_no_space_even_alone() -> None:
    """After a second attempt without any other, it has failed."""
    work = Work({"a": 0, "b": 1})
    error = NoRoomError("full")

    def fail(cancellation: Cancellation, attempt: int) -> None:
        if attempt == 1:
            work.wait_for("b")(cancellation, attempt)
        raise error

    work.actions = {"a": fail, "b": until_ended}
    work.run()
    assert work.settled == {"a": error, "b": None}
    assert work.attempts == {"a": 2, "b": 2}


def test_sizes_that_do_not_fit_anyway() -> None:
    """What a source states does not fit whatever else is being built: nobody is given up for it."""
    work = Work({"a": 0, "b": 1})
    error = StatedTooLargeError("large")
    failed = threading.Event()
    work.on_settled = lambda _: failed.set()

    def wait_for_failure(_: Cancellation, _attempt: int) -> None:
        assert failed.wait(SECONDS)

    work.actions = {"a": fail_once(error, work.wait_for("b")), "b": wait_for_failure}
    work.run()
    assert work.settled == {"a": error, "b": None}
    assert work.attempts == {"a": 1, "b": 1}


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("a bug")])
def test_an_error_that_is_not_ours(error: BaseException) -> None:
    """It ends all steps, and is raised when none of them runs any more."""
    work = Work({"a": 0, "b": 1, "c": 0})
    work.actions = {"a": until_ended, "b": fail_once(error, work.wait_for("a"))}
    with pytest.raises(type(error)):
        work.run()
    assert (work.at_once, work.settled, work.attempts["c"]) == (0, {}, 0)


def test_an_outcome_that_ends_the_run() -> None:
    """What the caller raises of one outcome ends all steps."""
    work = Work({"a": 0, "b": 1, "c": 0})
    error = VolumeNotWritableError("read-only")

    def give_up(_name: str) -> None:
        raise error

    work.on_settled = give_up
    work.actions = {"a": fail_once(error, work.wait_for("b")), "b": until_ended}
    with pytest.raises(VolumeNotWritableError):
        work.run()
    assert (work.at_once, work.attempts["c"]) == (0, 0)


def test_the_end_of_the_run() -> None:
    """A signal ends all steps; its reason is raised when none of them runs any more."""
    work = Work({"a": 0, "b": 1, "c": 0})
    reason = InterruptedBySignal(15)

    def request(cancellation: Cancellation, attempt: int) -> None:
        work.wait_for("b")(cancellation, attempt)
        work.cancellation.request(reason)
        cancellation.wait(SECONDS)

    work.actions = {"a": request, "b": until_ended}
    with pytest.raises(InterruptedBySignal):
        work.run()
    assert (work.at_once, work.settled, work.attempts["c"]) == (0, {}, 0)


def test_a_system_that_allows_no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then one step is carried out after the other, on the caller's thread."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    work = Work({"a": 0, "b": 1, "c": 2})
    work.run()
    assert work.events == ["+a", "-a", "+b", "-b", "+c", "-c"]
