"""One status of several runs: which run's word counts for what."""

from __future__ import annotations

from typing import Any

import pytest

from provisioner.reporting.merged_status import is_building, merged_status


def status(run: str, state: str = "provisioning", /, began: str = "2026-01-01T00:00:00Z", **datasets: str) -> dict[str, Any]:
    """Return a status with data sets in some states."""
    return {
        "run_id": run,
        "host": f"host of {run}",
        "phase": run,
        "state": state,
        "started_at": began,
        "updated_at": began,
        "finished_at": None if state == "provisioning" else began,
        "error": None,
        "datasets": {name: {"state": word, "by": run} for name, word in datasets.items()},
    }


@pytest.mark.parametrize(
    ("one", "other", "merged"),
    [
        ("pending", "fetching", "fetching"),
        ("fetching", "unpacking", "unpacking"),
        ("pending", "ready", "ready"),
        ("failed", "fetching", "fetching"),
        ("failed", "ready", "ready"),
        ("failed", "pending", "failed"),
        ("skipped", "pending", "pending"),
        ("skipped", "ready", "ready"),
        ("ready", "fetching", "fetching"),
    ],
)
def test_what_is_furthest_counts(one: str, other: str, merged: str) -> None:
    """Of each data set the run's word counts that is furthest with it, whichever of the two writes."""
    for first, second in ((one, other), (other, one)):
        document = merged_status(status("a", a=first), [status("b", a=second)])
        assert document["datasets"]["a"]["state"] == merged


def test_every_run_is_seen() -> None:
    """The data sets of all runs are there, and the runs by their age; the head is that of the one that began first."""
    own = status("late", began="2026-01-02T00:00:00Z", a="fetching") | {"bytes_done": 2, "bytes_total": 4, "eta_seconds": 7}
    other = status("early", b="ready") | {"bytes_done": 1, "bytes_total": None, "eta_seconds": 9}
    document = merged_status(own, [other])
    assert sorted(document["datasets"]) == ["a", "b"]
    assert [writer["run_id"] for writer in document["writers"]] == ["early", "late"]
    assert (document["run_id"], document["phase"], document["started_at"]) == ("early", "early", "2026-01-01T00:00:00Z")
    assert (document["bytes_done"], document["bytes_total"], document["eta_seconds"]) == (3, 4, 9)


def test_one_that_has_ended_beside_one_that_works() -> None:
    """As long as one run works the volume is being filled, however the other has ended."""
    own = status("a", "failed", a="failed") | {"error": {"message": "no"}}
    document = merged_status(own, [status("b", b="fetching", a="pending")])
    assert (document["state"], document["run_id"], document["error"], document["finished_at"]) == (
        "provisioning",
        "b",
        None,
        None,
    )
    assert document["datasets"]["a"]["state"] == "failed"


def test_a_run_alone() -> None:
    """Without others a status is as its run has it; while it works, what others published before is still there."""
    own = status("a", "ready", a="ready")
    assert merged_status(own, []) == own
    before = status("b", a="ready", b="ready", c="fetching")
    working = merged_status(status("a", a="pending", c="pending"), [], before)
    assert {name: record["state"] for name, record in working["datasets"].items()} == {"a": "ready", "c": "pending"}
    assert merged_status(own, [], status("b", a="ready", b="ready")) == own


@pytest.mark.parametrize("damaged", [{}, {"datasets": 5}, {"datasets": {"a": 5}}, {"state": 5, "datasets": {"a": {"state": []}}}])
def test_records_may_be_anything(damaged: dict[str, Any]) -> None:
    """Another run's record that cannot be understood does no harm."""
    document = merged_status(status("a", a="fetching"), [damaged])
    assert document["datasets"]["a"]["state"] == "fetching"
    assert not is_building(damaged)
