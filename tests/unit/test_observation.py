"""What is counted of a run for those who watch it: rates, stages, requests, and the history of throughput."""

from __future__ import annotations

from typing import Any

import pytest

from provisioner.catalog.size import Size
from provisioner.remote.tally import OTHER_HOSTS, RequestTally
from provisioner.reporting.history import MOST_POINTS, History
from provisioner.reporting.progress import Progress
from provisioner.reporting.rates import with_rates
from provisioner.reporting.stage_times import StageTimes


class Clock:
    """A clock that a test moves on."""

    def __init__(self) -> None:
        """Begin at some moment."""
        self.now = 100.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now


def document(state: str, **datasets: str) -> dict[str, Any]:
    """Return what matters of a status document."""
    return {"state": state, "datasets": {name: {"state": each} for name, each in datasets.items()}}


def test_rates_of_a_run_that_fetches() -> None:
    """What is being fetched has a rate and a time left, as has the whole run; what is not being fetched has neither."""
    clock = Clock()
    progress = Progress(clock=clock)
    progress.expect({"a:test": Size(1000), "b": Size(500)})
    status = document("provisioning", a="fetching", b="pending")
    assert with_rates(status, progress, {"a": "a:test"}) == {
        **document("provisioning", a="fetching", b="pending"),
        "datasets": {"a": {"state": "fetching", "rate_bytes_per_second": None, "eta_seconds": None}, "b": {"state": "pending"}},
        "bytes_done": 0, "bytes_total": 1500, "rate_bytes_per_second": None, "eta_seconds": None,
    }  # fmt: skip
    progress.start("a:test", "fetch", 1000)
    clock.now += 10
    progress.advance("a:test", 200)
    progress.tick()
    found = with_rates(status, progress, {"a": "a:test"})
    assert found["datasets"]["a"] == {"state": "fetching", "rate_bytes_per_second": 20, "eta_seconds": 40}
    assert (found["bytes_done"], found["rate_bytes_per_second"], found["eta_seconds"]) == (200, 20, 65)
    assert status == document("provisioning", a="fetching", b="pending")


@pytest.mark.parametrize("state", ["ready", "partial", "degraded", "failed", "interrupted"])
def test_a_run_that_has_ended_has_no_rate(state: str) -> None:
    """The document of a run that has ended stays as it is."""
    assert with_rates(document(state, a="ready"), Progress(), {}) == document(state, a="ready")


def test_stages_are_measured_over_all_data_sets() -> None:
    """Each stage has the seconds of all data sets, also of those that are in it now or enter it again."""
    clock = Clock()
    times = StageTimes(clock)
    times.enter("a", "fetching")
    clock.now += 2
    times.enter("b", "fetching")
    times.enter("a", "fetching")
    clock.now += 3
    assert times.seconds() == {"fetching": 8}
    times.enter("a", "unpacking")
    clock.now += 1
    times.enter("a", None)
    times.enter("a", None)
    clock.now += 1
    assert times.seconds() == {"fetching": 10, "unpacking": 1}


def test_requests_are_counted_by_host_and_outcome() -> None:
    """After fifty hosts the others are counted together, so that redirects cannot make the metrics grow without end."""
    tally = RequestTally()
    for number in range(60):
        tally.count(f"host-{number}", 200)
    tally.count("host-0", 503)
    tally.count("host-0", 503)
    tally.count("host-59", "failed")
    tally.count_retry("https://ann:secret@host/a?token=1", "http_503")
    tally.count_retry("https://host/a?token=2", "http_503")
    assert tally.requests["host-0", "503"] == 2
    assert tally.requests[OTHER_HOSTS, "200"] == 10
    assert tally.requests[OTHER_HOSTS, "failed"] == 1
    assert len(tally.requests) == 53
    assert tally.retries == {"http_503": 2}
    assert tally.repeated == {("https://host/a?…", "http_503"): 2}


@pytest.mark.parametrize("samples", [1, MOST_POINTS, MOST_POINTS + 1, 10 * MOST_POINTS, 100_000])
def test_the_history_is_bounded(samples: int) -> None:
    """However long a run takes, there are a few hundred points, which cover all of it with the mean rates."""
    history = History()
    for number in range(samples):
        history.add(float(number))
    assert len(history.rates) <= MOST_POINTS
    assert history.rates == sorted(history.rates)
    assert samples - 2 * history.seconds < len(history.rates) * history.seconds <= samples
    assert history.rates[0] == (history.seconds - 1) / 2
