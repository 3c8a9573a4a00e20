"""How many requests at once: against hosts that are simulated, with a clock of their own."""

from __future__ import annotations

import contextlib
import gc
import threading
from dataclasses import dataclass, field
from typing import Any

import pytest

from provisioner.remote.http.concurrency import MOST_OF_ALL, MOST_OF_HOST, START, Concurrency, HostConcurrency
from provisioner.remote.http.flow import CountedResponse, Flow
from provisioner.remote.retry import transient_error
from tests.support.fake_time import FakeTime
from tests.support.program import wait_until

STEP = 0.005
MIB = 1 << 20


@dataclass
class Clock:
    """Seconds that pass when a test says so."""

    now: float = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@dataclass
class Request:
    """One request that is being answered."""

    begun: float
    wait: float
    rest: float


@dataclass
class Simulated:
    """A host and its line, and a client that always has more to ask for."""

    latency: float
    """Seconds before the first byte."""
    size: int
    """Bytes of each file."""
    line: float
    """Bytes a second, over all requests."""
    each: float = 1e12
    """Bytes a second of each request at most, as servers far away give."""
    most: int = 1000
    """Requests that it answers at once; others are refused."""
    clock: Clock = field(default_factory=Clock)
    done: int = 0
    refusals: int = 0
    limits: list[int] = field(default_factory=list)
    """The limit at every step."""

    def __post_init__(self) -> None:
        """Ask for nothing yet."""
        self.host = HostConcurrency(adapts=True, clock=self.clock)
        self._requests: list[Request] = []

    def run(self, seconds: float) -> None:
        """Let so many seconds pass."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            self._ask()
            self.clock.now += STEP
            self._answer()
            self.limits.append(self.host.limit)

    def _ask(self) -> None:
        while len(self._requests) < self.host.limit_now:
            begun = self.host.enter(lambda: None, waits=True)
            if len(self._requests) >= self.most:
                self.refusals += 1
                self.host.refused()
                self.host.leave(begun, answered=True, refused=True)
                return
            self._requests.append(Request(begun, self.latency, self.size))

    def _answer(self) -> None:
        arriving = [request for request in self._requests if request.wait <= 0]
        for request in self._requests:
            if 0 < request.wait <= STEP:
                self.host.served()
            request.wait -= STEP
        for request in arriving:
            count = min(request.rest, self.line / len(arriving) * STEP, self.each * STEP)
            request.rest -= count
            self.host.add_bytes(int(count))
            if request.rest <= 0:
                self._requests.remove(request)
                self.host.leave(request.begun, answered=True, served=True)
                self.done += 1


def test_small_files_from_far_away() -> None:
    """With a long round trip and a wide line, the limit grows to the most within seconds."""
    far = Simulated(latency=0.08, size=100 << 10, line=100e6)
    far.run(3)
    assert far.host.limit == MOST_OF_HOST
    far.run(5)
    assert far.host.limit == MOST_OF_HOST


@pytest.mark.parametrize(("size", "steps"), [(100 << 10, [4, 16, 64]), (32 * MIB, [4, 8, 16, 32])])
def test_the_first_steps(size: int, steps: list[int]) -> None:
    """Where responses are short, each growth is to four times as many, since each takes a round trip to judge."""
    far = Simulated(latency=0.08, size=size, line=1e12, each=2e7)
    far.run(5)
    assert list(dict.fromkeys(far.limits))[: len(steps)] == steps


@pytest.mark.parametrize("latency", [0.005, 0.05])
def test_a_line_that_is_full(latency: float) -> None:
    """Where few requests fill the line, more bring nothing, and it goes back to few; later it tries a little more at times."""
    full = Simulated(latency=latency, size=32 * MIB, line=20e6)
    full.run(60)
    assert max(full.limits) <= 2 * START
    assert sum(limit <= START + 2 for limit in full.limits) > 0.8 * len(full.limits)


def test_a_server_that_gives_each_request_little() -> None:
    """Large files over requests of 2 MB/s each and a line of 40 MB/s: about as many as fill the line."""
    slow = Simulated(latency=0.1, size=32 * MIB, line=40e6, each=2e6)
    slow.run(30)
    assert 16 <= slow.host.limit <= 40


@pytest.mark.parametrize("most", [1, 2, 3, 5, 20])
def test_a_host_that_takes_few(most: int) -> None:
    """What it takes is learned by one refusal, kept, and asked again only after pauses that grow."""
    few = Simulated(latency=0.08, size=100 << 10, line=100e6, most=most)
    few.run(50)
    assert few.host.limit == most
    assert few.refusals == 1
    few.run(600)
    assert few.refusals <= 5
    assert set(few.limits[len(few.limits) // 2 :]) <= {most, most + 1}


@pytest.mark.parametrize("served", [1, 2, 3, 4])
@pytest.mark.parametrize("begun_at_once", [8, 16])
def test_several_refusals_at_once(served: int, begun_at_once: int) -> None:
    """Of requests that were sent together, a host serves some: the others are refused one by one, and none stops the run."""
    clock = Clock()
    concurrency = Concurrency(None, clock=clock)
    host, flow = concurrency.host("http://host"), Flow(concurrency)
    host.limit = begun_at_once
    responses = [flow.enter("http://host", lambda: None, waits=True) for _ in range(begun_at_once)]
    assert not any(each.answered(200) for each in responses[:served])
    assert [each.answered(429) for each in responses[served:]] == [True] * (begun_at_once - served)
    for each in responses[served:]:
        each.end(answered=True)
    assert host.limit == served
    # While they wait to be sent again, their places are used; nothing more is sent to this host.
    with contextlib.ExitStack() as waiting:
        for each in responses[served:]:
            waiting.enter_context(each.deferred())
        assert flow.requests_at_once == flow.small_files_at_once == begun_at_once
    assert flow.requests_at_once == flow.small_files_at_once == served
    for each in responses[:served]:
        each.end(answered=True)
    # One refusal, however many there were: the first pause is the shortest.
    for _ in range(2):
        busy = [flow.enter("http://host", lambda: None, waits=True) for _ in range(served)]
        clock.now += 31
        for each in busy:
            each.answered(200)
            each.end(answered=True)
    assert host.limit == served + 1


def test_a_host_that_refuses_everything_for_a_while() -> None:
    """That says nothing of how many requests it takes: the limit stays in the order of what the host has served at once."""
    busy = Simulated(latency=0.08, size=MIB, line=100e6)
    busy.run(3)
    before = busy.host.limit
    busy.most = 0
    busy.run(5)
    assert busy.refusals > 100
    assert busy.host.limit > before / 3
    busy.most = 1000
    busy.run(300)
    assert busy.host.limit > before / 2


def test_failures_shrink_the_limit() -> None:
    """A quarter less, once a second however many fail; never less than one."""
    far = Simulated(latency=0.08, size=100 << 10, line=100e6)
    far.run(3)
    for _ in range(10):
        far.host.failed()
    assert far.host.limit == MOST_OF_HOST * 3 // 4
    for _ in range(40):
        far.clock.now += 1.1
        far.host.failed()
    assert far.host.limit == 1
    far.run(60)
    assert far.host.limit > START


def test_small_files_at_once() -> None:
    """Where servers answer at once few threads are worth while; where they are far away, as many as requests."""
    clock = Clock()
    flow = Flow(Concurrency(None, clock=clock))
    assert (flow.requests_at_once, flow.small_files_at_once) == (START, START)
    for _ in range(64):
        request = flow.enter("http://near", lambda: None, waits=True)
        clock.now += 0.0002
        request.end(answered=True)
    assert flow.small_files_at_once == 2
    for _ in range(64):
        request = flow.enter("http://far", lambda: None, waits=True)
        clock.now += 0.08
        request.end(answered=True)
    assert (flow.requests_at_once, flow.small_files_at_once) == (2 * START, 2 + START)


def test_all_hosts_together() -> None:
    """However many hosts there are, requests at once have a bound, and one more waits."""
    concurrency = Concurrency(None, clock=Clock())
    flow = Flow(concurrency)
    requests = [flow.enter(f"http://{number}", lambda: None, waits=True) for number in range(MOST_OF_ALL)]
    assert flow.requests_at_once == MOST_OF_ALL

    def end() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        flow.enter("http://one.more", end, waits=True)
    assert concurrency.host("http://one.more").in_flight == 0
    requests.pop().end(answered=True)
    flow.enter("http://one.more", end, waits=True)


def test_hosts_that_are_not_asked_any_more() -> None:
    """Such a host keeps its limit, and is worth no threads until it is asked again; those of other flows are worth none."""
    clock = Clock()
    concurrency = Concurrency(None, clock=clock)
    flow, other = Flow(concurrency), Flow(concurrency, rank=1)
    flow.enter("http://earlier", lambda: None, waits=True).end(answered=True)
    concurrency.host("http://earlier").limit = 50
    assert (flow.requests_at_once, other.requests_at_once) == (50, START)
    clock.now += 60
    flow.enter("http://now", lambda: None, waits=True).end(answered=True)
    assert flow.requests_at_once == START
    request = flow.enter("http://earlier", lambda: None, waits=True)
    clock.now += 60
    assert flow.requests_at_once == 50
    request.end(answered=True)
    assert flow.requests_at_once == 50


@pytest.mark.parametrize("connections", [None, START])
def test_requests_of_the_lowest_rank_come_first(connections: int | None) -> None:
    """Of those that wait, whoever came first: by the host's limit, and by the number for all hosts."""
    concurrency = Concurrency(connections, clock=Clock())
    flows = [Flow(concurrency, rank) for rank in range(3)]
    held = [flows[1].enter("http://host", lambda: None, waits=True) for _ in range(START)]
    order: list[int] = []
    waiting = [threading.Event() for _ in flows]

    def ask(rank: int) -> None:
        request = flows[rank].enter("http://host", waiting[rank].set, waits=True)
        order.append(rank)
        request.end(answered=True)

    threads = [threading.Thread(target=ask, args=(rank,)) for rank in (2, 1, 0)]
    for thread, rank in zip(threads, (2, 1, 0), strict=True):
        thread.start()
        # The one that waits asks from time to time whether it must end.
        assert waiting[rank].wait(10)
    held.pop().end(answered=True)
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2]


def test_what_is_left_for_higher_ranks() -> None:
    """A flow gets threads for what those before it leave of a host, and at least one."""
    concurrency = Concurrency(None, clock=Clock())
    first, second = Flow(concurrency), Flow(concurrency, rank=1)
    held = [first.enter("http://host", lambda: None, waits=True) for _ in range(START - 1)]
    second.enter("http://host", lambda: None, waits=True).end(answered=True)
    concurrency.host("http://host").limit = START + 6
    assert (first.requests_at_once, second.requests_at_once) == (START + 6, 7)
    concurrency.host("http://host").limit = 2
    assert second.requests_at_once == 1
    for request in held:
        request.end(answered=True)
    assert second.requests_at_once == 2


def test_a_number_switches_it_off() -> None:
    """It holds for all hosts together, and nothing that happens changes it."""
    concurrency = Concurrency(3, clock=Clock())
    flow = Flow(concurrency)
    requests = [flow.enter(f"http://files{number}", lambda: None, waits=True) for number in range(3)]
    requests += [flow.enter("http://files", lambda: None, waits=False) for _ in range(20)]
    for request in requests:
        request.refused()
        request.failed()
        request.end(answered=True)
    assert (flow.requests_at_once, concurrency.host("http://files").limit) == (3, START)


def test_waiting_for_a_turn() -> None:
    """One request more than the limit waits until another has ended; an urgent one does not, and a run that ends does not."""
    host = HostConcurrency(adapts=True, clock=Clock())
    begun = [host.enter(lambda: None, waits=True) for _ in range(START)]
    entered = threading.Event()

    def enter() -> None:
        host.enter(lambda: None, waits=True)
        entered.set()

    thread = threading.Thread(target=enter)
    thread.start()
    host.enter(lambda: None, waits=False)
    host.leave(begun.pop(), answered=True)
    assert not entered.is_set()
    host.leave(begun.pop(), answered=True)
    wait_until(entered.is_set, "it has its turn")
    thread.join()

    def end() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        host.enter(end, waits=True)


class _Body:
    """A response of a number of bytes."""

    status = 200
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed

    def __init__(self, size: int) -> None:
        self._rest = size

    def read_into(self, view: memoryview) -> int:
        count = min(self._rest, len(view))
        self._rest -= count
        return count

    def close(self) -> None:
        pass


def test_a_response_counts_until_it_is_closed() -> None:
    """Once, however often it is closed; one that everybody has forgotten counts no more either."""
    concurrency = Concurrency(None, clock=Clock())
    flow, host = Flow(concurrency), concurrency.host("http://host")
    body: Any = _Body(10)
    response = CountedResponse(body, flow.enter("http://host", lambda: None, waits=True))
    assert response.read_into(memoryview(bytearray(100))) == 10
    assert host.in_flight == 1
    response.close()
    response.close()
    assert host.in_flight == 0
    response = CountedResponse(body, flow.enter("http://host", lambda: None, waits=True))
    del response
    gc.collect()
    assert host.in_flight == 0


@pytest.mark.parametrize(
    ("others", "refused_before", "expected"),
    [(3, 0, True), (1, 0, True), (0, 0, False), (2, 1, False)],
    ids=["one too many", "the second", "alone", "refuses everything"],
)
def test_who_waits_after_a_refusal(others: int, refused_before: int, expected: bool) -> None:
    """A host that serves others has refused this request alone; one that refuses everything wants a pause of all."""
    flow = Flow(Concurrency(None, clock=Clock()))
    requests = [flow.enter("http://files", lambda: None, waits=False) for _ in range(others + refused_before + 1)]
    for request in requests[:refused_before]:
        assert request.answered(429)
    assert requests[-1].answered(429) is expected


@pytest.mark.parametrize("connections", [None, 3])
@pytest.mark.parametrize(("since", "waits"), [("before", True), ("before", False), ("while it waits for its turn", True)])
def test_a_host_that_has_asked_to_wait(connections: int | None, since: str, waits: bool) -> None:
    """No request of any kind is sent to the host before its time; requests to another host are sent immediately."""
    time = FakeTime()
    retry = time.retry(random=0.0)
    flow = Flow(Concurrency(connections, clock=time.clock), retry=retry)
    error = transient_error("busy", 503, {"Retry-After": "9"}, 0.0)
    assert error is not None
    error.host = "busy"
    begin = time.clock()
    if since == "before":
        retry.heed(error)
        flow.enter("http://busy", lambda: None, waits=waits)
        assert time.clock() == begin + 9
    else:
        others = [flow.enter("http://busy", lambda: None, waits=True) for _ in range(connections or START)]

        def refuse() -> None:
            retry.heed(error)
            while others:
                others.pop().end(answered=True)

        flow.enter("http://busy", refuse, waits=True)
        assert not others
        assert time.clock() == begin + 9
    before = time.clock()
    retry.heed(error)
    flow.enter("http://other", lambda: None, waits=waits)
    assert time.clock() == before


@pytest.mark.parametrize("seconds", [301, 3600])
def test_a_host_that_asks_for_too_long(seconds: int) -> None:
    """A wait beyond the time limit holds up no other request: each one is refused by the host, and gives up immediately."""
    time = FakeTime()
    retry = time.retry()
    error = transient_error("busy", 429, {"Retry-After": str(seconds)}, 0.0)
    assert error is not None
    error.host = "busy"
    retry.heed(error)
    assert not retry.is_held("busy")


def test_a_host_that_has_refused_everything_is_asked_by_few() -> None:
    """After an outage, only a few requests are sent until the first one has been served."""
    host = HostConcurrency(adapts=True, clock=Clock())
    host.limit = MOST_OF_HOST
    begun = [host.enter(lambda: None, waits=True) for _ in range(MOST_OF_HOST)]
    for each in begun:
        host.refused()
        host.leave(each, answered=True, refused=True)
    assert host.limit_now == min(START, host.limit)
    host.enter(lambda: None, waits=True)
    host.served()
    assert host.limit_now == host.limit > START
