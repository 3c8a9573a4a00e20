"""Carry out the steps of a plan, several at once if there is space: the next is fetched while the current one is unpacked.

The plan says which steps may run side by side, but its sizes may be estimates. If a step runs out of space while others run,
those of lower priority are given up, and all remaining steps are done one after the other.
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
"""Seconds between attempts at a step that another run keeps from starting, while other steps are being carried out."""


class GivenUpError(ProvisionerError):
    """A step has to make way for one of higher priority, and will run again later."""


@dataclass(order=True, slots=True)
class Attempt:
    """A step that is being carried out, or is waiting for its turn."""

    rank: int
    """Its place in the plan; a lower number is more important."""
    step: Step = field(compare=False)
    cancellation: Cancellation | None = field(compare=False, default=None)
    """Ends only this attempt; ``None`` if it has not begun."""
    had_company: bool = field(compare=False, default=False)
    """Another step was being carried out at the same time."""
    is_given_up: bool = field(compare=False, default=False)
    error: BaseException | None = field(compare=False, default=None)


class StepHandler(Protocol):
    """The work on the steps; implemented by :class:`provisioner.engine.steps.StepRunner`."""

    def may_begin(self, step: Step) -> bool:
        """Return whether a step can start now, that is, no other run has its data set. Called on the caller's thread."""
        ...

    def wait(self, steps: Sequence[Step]) -> None:
        """Wait a little for the runs that have all of these data sets. Called on the caller's thread. Raise to end."""
        ...

    def had_company(self, step: Step) -> bool:
        """Return whether other runs were working at the same time as a step. Called on the caller's thread."""
        ...

    def begin(self, step: Step) -> None:
        """Announce a step. Called on the caller's thread, in the order in which steps are started."""
        ...

    def carry_out(self, step: Step, rank: int, cancellation: Cancellation) -> None:
        """Carry out one step, given its rank and its cancellation. Called from several threads."""
        ...

    def settle(self, step: Step, error: ProvisionerError | None) -> None:
        """Handle a step that has ended, with its error if it failed. Called on the caller's thread. Raise to end all steps."""
        ...

    def put_back(self, step: Step) -> None:
        """Record that a step was stopped and will be carried out again. Called on the caller's thread."""
        ...


class ConcurrentSteps:
    """Carries out steps on threads of their own; the caller's thread starts them and handles their outcomes."""

    def __init__(self, work: StepHandler, cancellation: Cancellation) -> None:
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
        """There was no space, or no thread, for several at once."""

    def run(self, steps: Sequence[Step]) -> None:
        """Carry out all steps, each as soon as the plan allows it.

        Raises:
            BaseException: ``work.settle`` raised it, or a step failed with an unexpected error; no step is running any more.
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
        """Start what may be started now, by rank; return whether other runs keep some step from starting."""
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
        """Start a step; return whether another one may start now."""
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
                # A step that does not run must not be waited for.
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
        """Return the most important step that has ended, or ``None`` if none has ended within ``seconds``."""
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
        """End all steps and wait for them: the lock must not be released while one of them is writing."""
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
