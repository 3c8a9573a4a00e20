"""Who may act: the comparison with the token, sessions in memory, and the delay after wrong tries."""

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
"""Wrong tries of one client before it has to wait."""
FREE_TRIES_OF_ALL: Final = 50
"""Wrong tries of all clients together before everybody has to wait."""
LONGEST_WAIT: Final = 300.0
"""Seconds that one client waits at most."""
LONGEST_WAIT_OF_ALL: Final = 5.0
"""Seconds that everybody waits at most: who has the token must not be kept out for long by those who have not."""
FORGET_SECONDS: Final = 3600.0
"""A client that has not tried for this time begins anew."""
SESSION_SECONDS: Final = 8 * 3600.0
MOST_CLIENTS: Final = 1024
MOST_SESSIONS: Final = 64


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who has signed in."""

    key: str
    """The value of the cookie."""
    form_token: str
    """Is in each form of this session, and in nothing that another site can read."""
    ends_at: float


@dataclass(slots=True)
class _Tries:
    wrong: int = 0
    last: float = 0.0
    next_at: float = 0.0


class SignIn:
    """Compares tries with the token, and keeps the sessions; may be used from several threads."""

    def __init__(self, token: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare; nobody has signed in.

        Args:
            token: who has it may act.
            clock: returns seconds, and never goes back.
        """
        # Digests have one length, so the time of the comparison tells nothing about the token's.
        self._digest = _digest(token)
        self._clock = clock
        self._lock = threading.Lock()
        self._tries: OrderedDict[str, _Tries] = OrderedDict()
        self._tries_of_all = _Tries()
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def wait_of(self, address: str) -> float:
        """Return the seconds until a client may try; 0: now."""
        with self._lock:
            return self._wait_of(_client(address), self._clock())

    def try_token(self, address: str, text: str) -> Session | None:
        """Return a new session if the text is the token; ``None``: it is not, or the client has to wait.

        While a client has to wait its text is not looked at, so that waiting cannot be avoided by trying more often.
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
        """Return the session of a cookie; ``None``: there is none, or it has ended."""
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
    """Count a wrong try: from the last free one on, each doubles the wait."""
    if now - tries.last > FORGET_SECONDS:
        tries.wrong = 0
    tries.wrong += 1
    tries.last = now
    if tries.wrong >= free:
        tries.next_at = now + min(longest, 2.0 ** min(tries.wrong - free, 16))


def _client(address: str) -> str:
    """Return what stands for a client: its address, or the network of 64 bits that one client of IPv6 has to itself."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv6Address):
        return str(found.ipv4_mapped or IPv6Address(int(found) >> 64 << 64))
    return str(found)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
