"""Authorization for acting: comparison with the token, sessions in memory, and a delay after wrong attempts."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

FREE_TRIES: Final = 5
"""Wrong attempts of one client before it must wait."""
FREE_TRIES_OF_ALL: Final = 50
"""Wrong attempts of all clients together before everybody must wait."""
LONGEST_WAIT: Final = 300.0
"""Longest wait for one client, in seconds."""
LONGEST_WAIT_OF_ALL: Final = 5.0
"""Longest wait for everybody, in seconds: those with the token must not be locked out for long by those without."""
FORGET_SECONDS: Final = 3600.0
"""A client that has not tried for so long begins anew."""
SESSION_SECONDS: Final = 8 * 3600.0
MOST_CLIENTS: Final = 1024
MOST_SESSIONS: Final = 64


@dataclass(frozen=True, slots=True)
class Session:
    """A user who has signed in."""

    key: str
    """The value of the cookie."""
    form_token: str
    """Included in each form of this session, and in nothing that another site can read."""
    ends_at: float


@dataclass(slots=True)
class _Tries:
    wrong: int = 0
    last: float = 0.0
    next_at: float = 0.0


class SignIn:
    """Compares attempts with the token, and keeps the sessions; safe for several threads."""

    def __init__(self, token: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare; no user has signed in yet.

        Args:
            token: the secret that allows its holder to act.
            clock: returns monotonic seconds.
        """
        # Digests have a fixed length, so the time of the comparison reveals nothing about that of the token.
        self._digest = _digest(token)
        self._clock = clock
        self._lock = threading.Lock()
        self._tries: OrderedDict[str, _Tries] = OrderedDict()
        self._tries_of_all = _Tries()
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def wait_of(self, address: str) -> float:
        """Return the seconds until a client may try; 0 means now."""
        with self._lock:
            return self._wait_of(_client(address), self._clock())

    def try_token(self, address: str, text: str) -> Session | None:
        """Return a new session if the text is the token; ``None`` if it is not, or if the client must wait.

        While a client must wait, its text is not examined, so that waiting cannot be avoided by trying more often.
        """
        client = _client(address)
        with self._lock:
            now = self._clock()
            if self._wait_of(client, now) > 0:
                return None
            if not hmac.compare_digest(self._digest, _digest(text)):
                self._note_wrong(client, now)
                return None
            self._tries.pop(client, None)
            session = Session(secrets.token_urlsafe(32), secrets.token_urlsafe(32), now + SESSION_SECONDS)
            self._sessions[session.key] = session
            while len(self._sessions) > MOST_SESSIONS:
                self._sessions.popitem(last=False)
            return session

    def session(self, key: str) -> Session | None:
        """Return the session for a cookie, or ``None`` if there is none, or if it has ended."""
        with self._lock:
            session = self._sessions.get(key)
            if session is not None and session.ends_at <= self._clock():
                del self._sessions[key]
                return None
            return session

    def end(self, session: Session) -> None:
        """End a session."""
        with self._lock:
            self._sessions.pop(session.key, None)

    def _wait_of(self, client: str, now: float) -> float:
        tries = self._tries.get(client)
        return max(0.0, self._tries_of_all.next_at - now, tries.next_at - now if tries else 0.0)

    def _note_wrong(self, client: str, now: float) -> None:
        tries = self._tries.pop(client, None) or _Tries()
        self._tries[client] = tries
        while len(self._tries) > MOST_CLIENTS:
            self._tries.popitem(last=False)
        _count(tries, now, FREE_TRIES, LONGEST_WAIT)
        _count(self._tries_of_all, now, FREE_TRIES_OF_ALL, LONGEST_WAIT_OF_ALL)


def _count(tries: _Tries, now: float, free: int, longest: float) -> None:
    """Count a wrong attempt: beyond the free ones, each doubles the wait."""
    if now - tries.last > FORGET_SECONDS:
        tries.wrong = 0
    tries.wrong += 1
    tries.last = now
    if tries.wrong >= free:
        tries.next_at = now + min(longest, 2.0 ** min(tries.wrong - free, 16))


def _client(address: str) -> str:
    """Return the identity of a client: its address, or for IPv6 the 64-bit network that a single client has to itself."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv6Address):
        return str(found.ipv4_mapped or IPv6Address(int(found) >> 64 << 64))
    return str(found)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
