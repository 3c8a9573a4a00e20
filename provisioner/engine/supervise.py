"""Run the work on a second thread, so that the first can answer signals and the deadline at once, and show progress."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Final, TypeVar

from provisioner.errors import ConfigurationError, DeadlineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from provisioner.cancellation import Cancellation

T = TypeVar("T")

TICK_SECONDS: Final = 0.2
GRACE_SECONDS: Final = 0.7
"""Seconds that the work may take to end after a cancellation, so that a signal is answered within a second."""


def supervise(work: Callable[[], T], cancellation: Cancellation, tick: Callable[[], None]) -> T:
    """Return what ``work`` returns, or raise soon after a cancellation, whatever the work is waiting for.

    Args:
        work: runs on a daemon thread; if it does not end in time, it ends with the process.
        cancellation: ends the work.
        tick: called a few times a second on this thread.

    Returns:
        The result of ``work``, also if it was cancelled just before its end.

    Raises:
        ProvisionerError: the reason of the cancellation.
        BaseException: what ``work`` raises.
    """
    outcome: list[T] = []
    failure: list[BaseException] = []
    done = threading.Event()

    def body() -> None:
        try:
            outcome.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again on the thread that waits
            failure.append(error)
        finally:
            done.set()

    threading.Thread(target=body, name="run", daemon=True).start()
    while not done.wait(TICK_SECONDS) and cancellation.reason is None:
        tick()
    if cancellation.reason is not None:
        done.wait(GRACE_SECONDS)
        if not outcome:
            raise cancellation.reason
    if failure:
        raise failure[0]
    return outcome[0]


@contextlib.contextmanager
def machine_limits() -> Iterator[None]:
    """Turn the interpreter's errors about threads and memory, if the block raises them, into errors of ours.

    Raises:
        ConfigurationError: in place of ``MemoryError``, and of the ``RuntimeError`` about a thread that cannot be started.
    """
    try:
        yield
    except MemoryError as error:
        raise ConfigurationError(
            "the memory that this program may use is used up; what had arrived is kept",
            hint="Raise the memory limit of the container, or ulimit -v.",
        ) from error
    except RuntimeError as error:
        if "start new thread" not in str(error):
            raise
        raise ConfigurationError(
            "the system refuses to start another thread; what had arrived is kept",
            hint="Raise the limit of processes (docker run --pids-limit, podPidsLimit in Kubernetes, ulimit -u) or of memory.",
        ) from error


@contextlib.contextmanager
def deadline(seconds: float | None, cancellation: Cancellation) -> Iterator[None]:
    """Cancel all work if the block takes longer than ``seconds``; ``None`` means no deadline."""
    if seconds is None:
        yield
        return
    reason = DeadlineError(
        f"DEADLINE: {seconds:.0f} s have passed; what had arrived is kept", hint="Start again to carry on, or raise DEADLINE."
    )
    timer = threading.Timer(seconds, cancellation.request, (reason,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
