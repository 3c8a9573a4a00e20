"""Work on a thread of its own, so that signals, the deadline, progress and the heartbeat never wait for a transfer."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Final, TypeVar

from provisioner.errors import DeadlineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from provisioner.cancellation import Cancellation

T = TypeVar("T")

TICK_SECONDS: Final = 0.2
GRACE_SECONDS: Final = 0.7
"""How long the threads that move bytes may take to notice that the run must end; a signal is answered within a second."""


def supervise(work: Callable[[], T], cancellation: Cancellation, tick: Callable[[], None]) -> T:
    """Do ``work``, and leave soon after a request to stop, whatever the work is waiting for.

    Args:
        work: runs on a daemon thread; when it is left behind, it ends with the process.
        cancellation: the request.
        tick: called a few times a second on this thread.

    Returns:
        What ``work`` gives, even if it was asked to stop in its last moment.

    Raises:
        ProvisionerError: the reason to stop.
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
def deadline(seconds: float | None, cancellation: Cancellation) -> Iterator[None]:
    """Ask everybody to stop when the block has taken ``seconds``; ``None``: it may take for ever."""
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
