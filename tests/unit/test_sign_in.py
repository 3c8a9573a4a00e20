"""Signing in to the page: wrong tries slow down, for each client and for all of them; sessions end; memory is bounded."""

from __future__ import annotations

from provisioner.web.acting import sign_in as module
from provisioner.web.acting.sign_in import SignIn

TOKEN = "right-one"


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        """Begin somewhere."""
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def test_five_wrong_tries_slow_down() -> None:
    """Four wrong tries are free; from the fifth on each doubles the wait, in which even the token is refused."""
    clock = Clock()
    door = SignIn(TOKEN, clock=clock)
    waits = []
    for _ in range(12):
        assert door.try_token("192.0.2.1", "wrong") is None
        waits.append(door.wait_of("192.0.2.1"))
        if waits[-1]:
            assert door.try_token("192.0.2.1", TOKEN) is None
            clock.now += waits[-1] - 0.1
            assert door.try_token("192.0.2.1", TOKEN) is None
            clock.now += 0.2
    assert waits == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128]
    assert door.wait_of("192.0.2.2") == 0
    assert door.try_token("192.0.2.1", TOKEN) is not None
    # Who has signed in begins anew.
    assert [door.try_token("192.0.2.1", "wrong") for _ in range(4)] == [None] * 4
    assert door.wait_of("192.0.2.1") == 0


def test_a_wait_is_bounded_and_forgotten() -> None:
    """A client waits five minutes at most, and begins anew after an hour."""
    clock = Clock()
    door = SignIn(TOKEN, clock=clock)
    for _ in range(40):
        door.try_token("2001:db8::1", "wrong")
        clock.now += door.wait_of("2001:db8::1")
    door.try_token("2001:db8::2", "wrong")
    assert door.wait_of("2001:db8::ffff") == module.LONGEST_WAIT
    assert door.wait_of("2001:db8:0:1::1") == 0
    clock.now += module.FORGET_SECONDS + module.LONGEST_WAIT
    door.try_token("2001:db8::1", "wrong")
    assert door.wait_of("2001:db8::1") == 0


def test_many_clients() -> None:
    """Many clients that try once each slow everybody down, but not for long; what is kept of them is bounded."""
    clock = Clock()
    door = SignIn(TOKEN, clock=clock)
    for number in range(5000):
        clock.now += door.wait_of("198.51.100.1")
        assert door.try_token(f"10.0.{number // 256}.{number % 256}", "wrong") is None
    assert door.wait_of("198.51.100.1") == module.LONGEST_WAIT_OF_ALL
    assert len(door._tries) == module.MOST_CLIENTS
    clock.now += module.LONGEST_WAIT_OF_ALL
    assert door.try_token("198.51.100.1", TOKEN) is not None


def test_sessions() -> None:
    """A session ends after its time or when it is ended; keys differ, and only the latest are kept."""
    clock = Clock()
    door = SignIn(TOKEN, clock=clock)
    sessions = [door.try_token("127.0.0.1", TOKEN) for _ in range(module.MOST_SESSIONS + 1)]
    assert all(sessions)
    keys = [session.key for session in sessions if session]
    assert len({*keys, *(session.form_token for session in sessions if session)}) == 2 * len(keys)
    assert door.session(keys[0]) is None
    assert door.session("") is None
    last = door.session(keys[-1])
    assert last is not None
    door.end(last)
    assert door.session(keys[-1]) is None
    clock.now += module.SESSION_SECONDS
    assert door.session(keys[1]) is None
