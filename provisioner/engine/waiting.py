"""A wait for other writers, which is logged from time to time and ends after ``LOCK_TIMEOUT``."""

from __future__ import annotations

import logging
import time

from provisioner.engine.volume_session import WAIT_LINE_SECONDS
from provisioner.errors import LockTimeoutError

_LOGGER = logging.getLogger(__name__)


class Wait:
    """One wait, which starts when it is created."""

    def __init__(self, timeout_seconds: float) -> None:
        """Begin.

        Args:
            timeout_seconds: how long it may take.
        """
        self._timeout = timeout_seconds
        self._since = self._next_line = time.monotonic()

    def go_on(self, holder: str, names: str) -> float:
        """Log from time to time which writer is waited for; return how many seconds are left.

        Args:
            holder: the writer that is waited for.
            names: what that writer has.

        Raises:
            LockTimeoutError: no seconds are left.
        """
        moment = time.monotonic()
        left = self._since + self._timeout - moment
        if left <= 0:
            kept = f"kept {names} for {self._timeout:.0f} s" if self._timeout else f"has {names}"
            raise LockTimeoutError(
                f"another writer {kept}: {holder}; nothing of that was changed",
                hint="Start again later, or raise LOCK_TIMEOUT. A writer that was killed holds nothing.",
            )
        if moment >= self._next_line:
            self._next_line = moment + WAIT_LINE_SECONDS
            _LOGGER.info("Waiting for %s: %.0f s so far, giving up in %.0f s; %s", holder, moment - self._since, left, names)
        return left
