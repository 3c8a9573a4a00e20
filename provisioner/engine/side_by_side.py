"""The steps of a plan, several at once where it has space for them: what is next is fetched while what is here unpacks.

The plan says which steps may run side by side. Its sizes may be estimates: where one step finds no space while others run, those
of lower priority are given up, and everything that is left is done one step after the other, as if nothing had run ahead.
"""

from __future__ import annotations

import logging
import threading
from bisect import insort
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from provisioner.errors import ProvisionerError, StatedTooLargeError, VolumeFullError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioner.cancellation import Cancellation
    from provisioner.planning.model import Step

_LOGGER = logging.getLogger(__name__)


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
                while self._pending and self._may_start(self._pending[0]):
                    self._start(self._pending.pop(0))
                self._deal_with(self._next_ended())
        except BaseException as error:
            self._end_all(error)
            raise

    def _may_start(self, attempt: Attempt) -> bool:
        if not self._running:
            return True
        first = attempt.rank - attempt.step.beside
        return not self._one_by_one and all(other.rank >= first for other in self._running)

    def _start(self, attempt: Attempt) -> None:
        self._work.begin(attempt.step)
        self._running.append(attempt)
        for other in self._running:
            other.had_company = len(self._running) > 1 or other.had_company
        may_have_company = bool(self._pending) and self._pending[0].step.beside > 0 and not self._one_by_one
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
                return
        if len(self._running) > 1:
            self._running.remove(attempt)
            insort(self._pending, attempt)
        else:
            self._run(attempt)

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

    def _next_ended(self) -> Attempt:
        with self._changed:
            self._changed.wait_for(lambda: self._ended)
            attempt = min(self._ended)
            self._ended.remove(attempt)
        self._running.remove(attempt)
        return attempt

    def _deal_with(self, attempt: Attempt) -> None:
        error = attempt.error
        if error is not None and not isinstance(error, ProvisionerError):
            raise error
        self._cancellation.raise_if_requested()
        lacks_space = attempt.had_company and isinstance(error, VolumeFullError) and not isinstance(error, StatedTooLargeError)
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


def _making_way(step: Step) -> GivenUpError:
    return GivenUpError(f"{step.id} makes way for a data set of higher priority")
