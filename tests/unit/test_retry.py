"""The retry policy: what is retried, how long it waits, and when it gives up. No time passes here."""

from __future__ import annotations

import contextlib
import math
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.cancellation import Cancellation
from provisioner.errors import InterruptedBySignal, NotFoundError, ProvisionerError, RemoteUnavailableError
from provisioner.remote.retry import Retry, RetryPolicy, Transient, describe_status, parse_retry_after, transient_error
from tests.support.fake_time import FakeTime

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = 1_700_000_000.0
"""Tue, 14 Nov 2023 22:13:20 GMT."""


class Script:
    """An action with one prepared result for each attempt; counts the attempts."""

    def __init__(self, *steps: ProvisionerError | str) -> None:
        self.steps = list(steps)
        self.tries = 0

    def __call__(self) -> str:
        """Return or raise the next result; the last one stays."""
        self.tries += 1
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        if isinstance(step, ProvisionerError):
            raise step
        return step


def failing(**settings: float) -> Script:
    """Return an action that never succeeds."""
    return Script(Transient("503", **settings))  # type: ignore[arg-type]


def test_success_waits_for_nothing() -> None:
    """An action that succeeds is called once, without a wait."""
    time, action = FakeTime(), Script("done")
    assert (time.retry().call("it", action), action.tries, time.waits) == ("done", 1, [])


def test_waits_grow_with_jitter_up_to_the_cap() -> None:
    """Half of each wait is random; the bound of the wait doubles up to the cap."""
    time, action = FakeTime(), Script(*[Transient("503")] * 5, "done")
    policy = RetryPolicy(attempts=6, base_seconds=1, cap_seconds=6, total_seconds=300)
    assert time.retry(policy, random=0.5).call("it", action) == "done"
    assert time.waits == [0.75, 1.5, 3.0, 4.5, 4.5]


@pytest.mark.parametrize("seconds", [1, 5, 15])
def test_a_short_outage_ends_no_call(seconds: int) -> None:
    """However the random waits turn out, none of many requests uses up its attempts while a host is away for some seconds."""
    for unlucky in (0.0, 0.5, 1.0):
        time = FakeTime()
        end = time.clock() + seconds

        def ask(time: FakeTime = time, end: float = end) -> str:
            if time.clock() < end:
                raise Transient("503")
            return "done"

        assert time.retry(random=unlucky).call("it", ask) == "done"


def test_attempts_are_bounded_and_the_error_tells_the_story() -> None:
    """The final error names the request, the attempts, the time and the last error, which is its cause."""
    time, action = FakeTime(), failing()
    with pytest.raises(RemoteUnavailableError) as caught:
        time.retry(RetryPolicy(attempts=4)).call("the listing of acme/songs", action)
    assert caught.value.message == "the listing of acme/songs: asked 4 times over 5 s, at last: 503"
    assert action.tries == 4
    assert isinstance(caught.value.__cause__, Transient)
    assert caught.value.exit_code == 75


def test_what_gave_up_is_not_asked_again_by_a_caller_further_out() -> None:
    """The final error is not transient, so that nested policies do not multiply."""
    time, action = FakeTime(), failing()
    retry = time.retry(RetryPolicy(attempts=3))
    with pytest.raises(RemoteUnavailableError):
        retry.call("outer", lambda: retry.call("inner", action))
    assert action.tries == 3


def test_permanent_errors_pass_at_once() -> None:
    """Any error other than Transient is raised without a retry."""
    time, action = FakeTime(), Script(NotFoundError("gone"))
    with pytest.raises(NotFoundError):
        time.retry().call("it", action)
    assert (action.tries, time.waits) == (1, [])


def test_total_time_is_bounded() -> None:
    """There is no further attempt if its wait would end after the total time."""
    time = FakeTime()

    def action() -> None:
        time.advance(40)
        raise Transient("slow")

    with pytest.raises(RemoteUnavailableError, match=r"asked 3 times over 122 s"):
        time.retry(RetryPolicy(attempts=100, total_seconds=100, silent_seconds=math.inf)).call("it", action)


def test_one_request_too_many_is_no_failure() -> None:
    """A host that serves others may refuse a request more often than attempts are allowed; only time bounds it."""
    crowded = Transient("429", retry_after=1.0)
    crowded.crowded = True
    policy = RetryPolicy(attempts=2, base_seconds=1, total_seconds=30)
    time, action = FakeTime(), Script(*[crowded] * 9, "done")
    assert (time.retry(policy).call("it", action), action.tries) == ("done", 10)
    time = FakeTime()
    retry = time.retry(policy, random=0.0)
    retry.note_answer()
    with pytest.raises(RemoteUnavailableError, match="asked 31 times over 30 s"):
        retry.call("it", Script(crowded))


def test_the_servers_wish_is_honoured() -> None:
    """It waits at least as long as the server asks, even beyond the cap."""
    time, action = FakeTime(), Script(Transient("429", retry_after=60), "done")
    assert time.retry(RetryPolicy(cap_seconds=5)).call("it", action) == "done"
    assert time.waits == [60.5]


def test_a_server_cannot_park_us() -> None:
    """If the server asks for a wait beyond the total time, it gives up at once: another source may work."""
    time, action = FakeTime(), Script(Transient("429", retry_after=86400))
    with pytest.raises(RemoteUnavailableError, match=r"asked once.*asks to wait 86400 s"):
        time.retry().call("it", action)
    assert time.waits == []


def test_progress_counts_anew() -> None:
    """A transfer that makes progress is continued, however often it breaks; one that stalls is given up."""
    time, arrived = FakeTime(), 0
    tries = 0

    def action() -> None:
        nonlocal arrived, tries
        tries += 1
        time.advance(50)
        if tries <= 10:
            arrived += 1
        raise Transient("reset")

    with pytest.raises(RemoteUnavailableError, match="asked 12 times"):
        time.retry(RetryPolicy(attempts=3, total_seconds=200, silent_seconds=math.inf)).call(
            "it", action, progress=lambda: arrived
        )
    assert tries == 10 + 2  # the tenth failure is the first without progress after it


def test_without_any_answer_it_ends_soon() -> None:
    """When no host has answered for half a minute, nothing is retried any more, whatever is asked for."""
    time = FakeTime()
    retry = time.retry()

    def silent() -> None:
        time.advance(10)
        raise Transient("no connection within 10 s")

    for least, most in ((30, 50), (40, 60)):
        with pytest.raises(RemoteUnavailableError, match="no host has answered"):
            retry.call("it", silent)
        assert least <= time.clock() - 1000 <= most


def test_after_an_answer_the_usual_bounds_hold() -> None:
    """A host that has answered once is asked as often as the policy says."""
    time = FakeTime()
    retry = time.retry()
    retry.observe({}, 0.0)

    def silent() -> None:
        time.advance(10)
        raise Transient("no connection within 10 s")

    with pytest.raises(RemoteUnavailableError, match="asked 6 times"):
        retry.call("it", silent)


@pytest.mark.parametrize(("host", "waits"), [("songs.example", True), ("files.example", False), ("songs.example:8080", False)])
@pytest.mark.parametrize("by_header", [True, False])
def test_a_host_that_is_throttled_slows_down_no_other(host: str, waits: bool, by_header: bool) -> None:
    """Requests to the host that asked to wait do so, by a status or by what its header says is left; those to others do not."""
    time = FakeTime()
    asked: list[float] = []

    def pause(seconds: float) -> None:
        if not asked:
            # While whoever was told so waits, another one comes.
            asked.append(0.0)
            asked[0] = retry.call("other", time.clock, host=host)
        time.pause(seconds)

    retry = Retry(RetryPolicy(), pause=pause, clock=time.clock, random=lambda: 0.0)
    begin = time.clock()
    if by_header:
        retry.observe({"RateLimit": '"resolvers";r=0;t=7'}, NOW, "songs.example")
        retry.call("it", Script("done"), host="songs.example")
    else:
        retry.call("it", Script(Transient("429", retry_after=7.0, throttled=True), "done"), host="songs.example")
    assert asked == [begin + (7 if waits else 0)]


def test_what_is_open_while_a_request_waits() -> None:
    """It is opened for each wait after such a failure, closed before the next attempt, and not opened for other failures."""
    time = FakeTime()
    events: list[str] = []

    @contextlib.contextmanager
    def waiting() -> Iterator[None]:
        events.append("open")
        yield
        events.append(f"closed after {time.waits[-1]:.0f} s")

    crowded = Transient("429", retry_after=2)
    crowded.while_waiting = waiting
    action = Script(crowded, Transient("503", retry_after=5), crowded, "done")
    assert time.retry(random=0.0).call("it", action) == "done"
    assert events == ["open", "closed after 2 s", "open", "closed after 2 s"]


def test_throttling_slows_down_everybody() -> None:
    """After "too many requests" the next request of every caller waits."""
    time = FakeTime()
    retry = time.retry()
    paused = threading.Event()
    seen: list[float] = []

    def pause(seconds: float) -> None:
        if not paused.is_set():
            paused.set()
            # While the throttled caller waits, another one comes.
            other = threading.Thread(target=lambda: seen.append(retry.call("other", time.clock)))
            other.start()
            other.join(10)
        time.pause(seconds)

    retry = Retry(RetryPolicy(), pause=pause, clock=time.clock, random=lambda: 0.0)
    action = Script(Transient("429", retry_after=20, throttled=True), "done")
    begin = time.clock()
    assert retry.call("it", action) == "done"
    assert seen == [begin + 20]


def test_an_ordinary_failure_slows_down_nobody_else() -> None:
    """After a 503 only the caller that got it waits."""
    time = FakeTime()
    retry = time.retry(RetryPolicy(attempts=1))
    with pytest.raises(RemoteUnavailableError):
        retry.call("it", failing(retry_after=20))
    retry.call("other", lambda: None)
    assert time.waits == []


def test_a_request_to_stop_ends_the_wait() -> None:
    """A request to stop ends a wait, and its reason is raised unchanged."""
    stop = Cancellation()
    reason = InterruptedBySignal(15)

    def action() -> None:
        stop.request(reason)
        raise Transient("503", retry_after=100)

    retry = Retry(RetryPolicy(), pause=stop.wait, clock=lambda: 0.0, random=lambda: 0.5)
    with pytest.raises(InterruptedBySignal) as caught:
        retry.call("it", action)
    assert caught.value is reason


@given(
    failures=st.integers(1, 5000),
    policy=st.builds(RetryPolicy, base_seconds=st.floats(0, 60), cap_seconds=st.floats(0, 600)),
)
def test_a_wait_is_never_longer_than_the_cap(failures: int, policy: RetryPolicy) -> None:
    """For any number of failures the bound is between zero and the cap."""
    assert 0 <= policy.backoff(failures) <= policy.cap_seconds


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "-3"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "9" * 400}, None),
        ({"Retry-After": "٣"}, None),
        ({"Retry-After": "Tue, 14 Nov 2023 22:14:20 GMT"}, 60.0),
        ({"Retry-After": "Tue, 14 Nov 2023 22:14:20"}, 60.0),
        ({"Retry-After": "Tue, 14 Nov 2023 21:00:00 GMT"}, 0.0),
        ({"Retry-After": "Tue, 99 Nov 2023 22:14:20 GMT"}, None),
        # The server's clock is an hour ahead of ours: its own date says what it means.
        ({"Retry-After": "Tue, 14 Nov 2023 23:13:30 GMT", "Date": "Tue, 14 Nov 2023 23:13:20 GMT"}, 10.0),
        ({"RateLimit": '"resolvers";r=0;t=2'}, 2.0),
        ({"ratelimit": '"api"; r=0; t=55, "resolvers";r=10;t=200'}, 55.0),
        ({"RateLimit": '"api";r=12;t=55'}, None),
        ({"RateLimit": '"api";r=0;t=55', "Retry-After": "3"}, 55.0),
        ({"RateLimit": "nonsense"}, None),
    ],
)
def test_parse_retry_after(headers: dict[str, str], expected: float | None) -> None:
    """Seconds, dates and the Hub's own header are understood; anything else is ignored."""
    assert parse_retry_after(headers, NOW) == expected


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 520])
def test_these_answers_may_be_others_later(status: int) -> None:
    """Overload and server errors are transient; those with a request to wait throttle every caller."""
    error = transient_error("hub.example", status, {"Retry-After": "4"}, NOW)
    assert error is not None
    assert (error.retry_after, error.throttled) == (4.0, status in {429, 503})
    assert error.message == f"hub.example answered {describe_status(status)}"


@pytest.mark.parametrize("status", [200, 206, 301, 400, 401, 403, 404, 409, 416, 501, 505])
def test_these_answers_are_final(status: int) -> None:
    """Refusals are not retried."""
    assert transient_error("hub.example", status, {}, NOW) is None
