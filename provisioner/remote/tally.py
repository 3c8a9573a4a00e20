"""The number of requests that were sent, by host and outcome, and the reasons for repetitions."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Final

from provisioner.redaction import redact_line

if TYPE_CHECKING:
    from collections.abc import Mapping

FAILED: Final = "failed"
"""The outcome of a request without a response."""
OTHER_HOSTS: Final = "other"
"""Stands for all hosts after the first :data:`_MOST_HOSTS`, since redirects may lead to any number of them."""
_MOST_HOSTS: Final = 50
_MOST_REPEATED: Final = 200
"""Maximum number of requests that are remembered by name."""


class RequestTally:
    """Counts the requests of one run; safe for several threads."""

    def __init__(self) -> None:
        """Begin with no requests."""
        self._lock = threading.Lock()
        self._hosts: set[str] = set()
        self._requests: Counter[tuple[str, str]] = Counter()
        self._retries: Counter[str] = Counter()
        self._repeated: Counter[tuple[str, str]] = Counter()

    def count(self, host: str, outcome: int | str) -> None:
        """Count a request.

        Args:
            host: the host with its port, without user and password.
            outcome: the status of the response, or :data:`FAILED`.
        """
        with self._lock:
            if len(self._hosts) < _MOST_HOSTS:
                self._hosts.add(host)
            self._requests[host if host in self._hosts else OTHER_HOSTS, str(outcome)] += 1

    def count_retry(self, what: str, cause: str) -> None:
        """Count a request, or the rest of one, that is repeated.

        Args:
            what: the request, as named in messages.
            cause: one of a few words.
        """
        key = redact_line(what), cause
        with self._lock:
            self._retries[cause] += 1
            if key in self._repeated or len(self._repeated) < _MOST_REPEATED:
                self._repeated[key] += 1

    @property
    def requests(self) -> Mapping[tuple[str, str], int]:
        """The requests so far, by host and outcome."""
        with self._lock:
            return dict(self._requests)

    @property
    def retries(self) -> Mapping[str, int]:
        """The retries so far, by cause."""
        with self._lock:
            return dict(self._retries)

    @property
    def repeated(self) -> Mapping[tuple[str, str], int]:
        """The retries so far by request and cause, for the first requests that were repeated."""
        with self._lock:
            return dict(self._repeated)
