"""A wait for other writers, which is announced from time to time and ends after ``LOCK_TIMEOUT``."""

from __future__ import annotations

import logging
import time

from provisioner.engine.volume_session import WAIT_LINE_SECONDS
from provisioner.errors import LockTimeoutError

_LOGGER = logging.getLogger(__name__)


class Wait:
    """One wait, from now on."""

    def __init__(self, timeout_seconds: float) -> None:
        """Begin.

        Args:
            timeout_seconds: how long it may take.
        """
        self._timeout = timeout_seconds
        self._since = self._next_line = time.monotonic()

    def go_on(self, holder: str, names: str) -> float:
        """Say from time to time who is waited for; return how many seconds are left.

        Args:
            holder: who has it.
            names: what they have.

        Raises:
            LockTimeoutError: none are.
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
