"""The steps of a plan, several at once where it has space for them: what is next is fetched while what is here unpacks.

The plan says which steps may run side by side. Its sizes may be estimates: where one step finds no space while others run, those
of lower priority are given up, and everything that is left is done one step after the other, as if nothing had run ahead.
"""

from __future__ import annotations

import logging
import threading
from bisect import insort
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from provisioner.errors import ProvisionerError, StatedTooLargeError, VolumeFullError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioner.cancellation import Cancellation
    from provisioner.planning.model import Step

_LOGGER = logging.getLogger(__name__)


_POLL_SECONDS: Final = 0.2
"""How often a step is tried again that other runs keep from being started, while others are being carried out."""


class GivenUpError(ProvisionerError):
    """A step has to make way for one of higher priority, and runs again later."""


@dataclass(order=True, slots=True)
class Attempt:
    """A step that is being carried out, or is next."""

    rank: int
    """Its place in the plan: the lower, the more important."""
    step: Step = field(compare=False)
    cancellation: Cancellation | None = field(compare=False, default=None)
    """Ends this attempt alone; ``None``: it has not begun."""
    had_company: bool = field(compare=False, default=False)
    """Another step was being carried out meanwhile."""
    is_given_up: bool = field(compare=False, default=False)
    error: BaseException | None = field(compare=False, default=None)


class StepWork(Protocol):
    """What is done with steps."""

    def may_begin(self, step: Step) -> bool:
        """Return whether a step can be started now: no other run has its data set. Called on the caller's thread."""
        ...

    def wait(self, steps: Sequence[Step]) -> None:
        """Wait a little for other runs, which have all of these; called on the caller's thread. Raise to end."""
        ...

    def had_company(self, step: Step) -> bool:
        """Return whether other runs were at work beside a step; called on the caller's thread."""
        ...

    def begin(self, step: Step) -> None:
        """Announce a step; called on the caller's thread, in the order in which steps are started."""
        ...

    def carry_out(self, step: Step, rank: int, cancellation: Cancellation) -> None:
        """Carry out one step, given its rank and what ends it; called from several threads."""
        ...

    def settle(self, step: Step, error: ProvisionerError | None) -> None:
        """Deal with a step that has ended, on the caller's thread: with its error if it failed. Raise to end all steps."""
        ...

    def put_back(self, step: Step) -> None:
        """Record that a step was ended and will be carried out again; called on the caller's thread."""
        ...


class SideBySide:
    """Carries out steps on threads of their own; the caller's thread starts them and deals with their outcomes."""

    def __init__(self, work: StepWork, cancellation: Cancellation) -> None:
        """Prepare; nothing is started yet.

        Args:
            work: what is done with each step.
            cancellation: ends all steps.
        """
        self._work = work
        self._cancellation = cancellation
        self._changed = threading.Condition()
        self._pending: list[Attempt] = []
        self._running: list[Attempt] = []
        self._ended: list[Attempt] = []
        self._one_by_one = False
        """There was no space for several at once, or no thread."""

    def run(self, steps: Sequence[Step]) -> None:
        """Carry out all steps, each as soon as the plan allows it.

        Raises:
            BaseException: what ``work.settle`` raises, or what is not ours and comes out of a step; no step runs any more then.
        """
        self._pending = [Attempt(rank, step) for rank, step in enumerate(steps)]
        try:
            while self._pending or self._running:
                self._cancellation.raise_if_requested()
                has_others = self._start_all()
                if not self._running:
                    self._work.wait([attempt.step for attempt in self._pending])
                elif (ended := self._next_ended(_POLL_SECONDS if has_others else None)) is not None:
                    self._deal_with(ended)
        except BaseException as error:
            self._end_all(error)
            raise

    def _start_all(self) -> bool:
        """Start what may be started now, by rank; return whether there is something that other runs keep from that."""
        has_others = False
        for attempt in tuple(self._pending):
            if not self._may_start(attempt):
                break
            if self._work.may_begin(attempt.step):
                self._pending.remove(attempt)
                if not self._start(attempt):
                    break
            else:
                has_others = True
        return has_others

    def _may_start(self, attempt: Attempt) -> bool:
        return not self._running or (not self._one_by_one and all(_fit_beside(attempt, other) for other in self._running))

    def _start(self, attempt: Attempt) -> bool:
        """Start a step; return whether another one may be started now."""
        self._work.begin(attempt.step)
        self._running.append(attempt)
        for other in self._running:
            other.had_company = len(self._running) > 1 or other.had_company
        may_have_company = any(other.step.beside > 0 for other in self._pending) and not self._one_by_one
        if len(self._running) > 1 or may_have_company:
            thread = threading.Thread(target=self._run, args=(attempt,), name=f"build-{attempt.step.id}", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                _LOGGER.warning("%s: %s: one data set is built after the other", attempt.step.recipe.label, error)
                self._one_by_one = True
            except BaseException:
                # Nobody waits for a step that does not run.
                self._running.remove(attempt)
                raise
            else:
                return True
        if len(self._running) > 1:
            self._running.remove(attempt)
            insort(self._pending, attempt)
        else:
            self._run(attempt)
        return False

    def _run(self, attempt: Attempt) -> None:
        try:
            with self._cancellation.part() as attempt.cancellation:
                if attempt.is_given_up:
                    attempt.cancellation.request(_making_way(attempt.step))
                attempt.cancellation.raise_if_requested()
                self._work.carry_out(attempt.step, attempt.rank, attempt.cancellation)
        except BaseException as error:  # noqa: BLE001 - dealt with on the thread that waits
            attempt.error = error
        finally:
            with self._changed:
                self._ended.append(attempt)
                self._changed.notify_all()

    def _next_ended(self, seconds: float | None) -> Attempt | None:
        """Return the most important step that has ended; ``None``: none has for so many seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._ended, seconds):
                return None
            attempt = min(self._ended)
            self._ended.remove(attempt)
        self._running.remove(attempt)
        return attempt

    def _deal_with(self, attempt: Attempt) -> None:
        error = attempt.error
        if error is not None and not isinstance(error, ProvisionerError):
            raise error
        self._cancellation.raise_if_requested()
        lacks_space = (
            isinstance(error, VolumeFullError)
            and not isinstance(error, StatedTooLargeError)
            and (attempt.had_company or self._work.had_company(attempt.step))
        )
        if error is None or not (lacks_space or attempt.is_given_up):
            self._work.settle(attempt.step, error)
            return
        if not attempt.is_given_up:
            _LOGGER.warning("%s: %s; the data sets that are left are built one after the other", attempt.step.recipe.label, error)
            self._one_by_one = True
            for other in self._running:
                if other.rank > attempt.rank:
                    self._give_up(other)
        self._work.put_back(attempt.step)
        insort(self._pending, Attempt(attempt.rank, attempt.step))

    def _give_up(self, attempt: Attempt) -> None:
        attempt.is_given_up = True
        if attempt.cancellation is not None:
            attempt.cancellation.request(_making_way(attempt.step))

    def _end_all(self, error: BaseException) -> None:
        """End all steps and wait for their end: the lock must not be released while one of them writes."""
        reason = error if isinstance(error, ProvisionerError) else GivenUpError("another data set has failed")
        for attempt in self._running:
            attempt.is_given_up = True
            if attempt.cancellation is not None:
                attempt.cancellation.request(reason)
        with self._changed:
            self._changed.wait_for(lambda: len(self._ended) == len(self._running))


def _fit_beside(attempt: Attempt, other: Attempt) -> bool:
    """Return whether the plan has space for two steps at once."""
    first, second = min(attempt, other), max(attempt, other)
    return second.rank - second.step.beside <= first.rank


def _making_way(step: Step) -> GivenUpError:
    return GivenUpError(f"{step.id} makes way for a data set of higher priority")
