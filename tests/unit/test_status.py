"""The status document has exactly the contract's keys at every moment of a run, from any number of threads."""

from __future__ import annotations

import itertools
import json
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner import __version__
from provisioner.catalog.digest import Digest
from provisioner.catalog.model import Catalog, DataSet, License, Phase
from provisioner.catalog.size import Size
from provisioner.catalog.url_source import UrlFile, UrlSource
from provisioner.errors import NotFoundError, VolumeError
from provisioner.planning.model import Inventory, Plan, Receipt, Request, Rules
from provisioner.planning.plan import make_plan
from provisioner.planning.recipe import make_recipe
from provisioner.reporting.status import StatusBoard, is_same_outcome
from provisioner.reporting.status_report import status_text

TOP = {
    "schema_version", "provisioner_version", "run_id", "host", "state", "phase", "started_at", "updated_at", "finished_at",
    "volume", "datasets", "dataset_repo", "error",
}  # fmt: skip
RECORD = {
    "state", "reason", "path", "layout", "source", "verified_against", "license", "bytes_done", "bytes_total", "files",
    "published_at", "error",
}  # fmt: skip


def data_set(name: str, **fields: Any) -> DataSet:
    """Describe a data set."""
    source = UrlSource((UrlFile(f"https://x/{name}", size=Size(100), digest=Digest("sha256", name[0] * 64)),))
    terms = License("CC-BY-4.0", "CC", "https://x", fields.pop("commercial", "allowed"), "e", "")
    usual = {"id": name, "title": name, "homepage": "https://x", "description": "", "purpose": "", "priority": 3}
    return DataSet(**{**usual, "license": terms, "sources": (source,), **fields})


SHELF = {each.id: each for each in (data_set("alpha"), data_set("beta"), data_set("closed", commercial="forbidden"))}
CATALOG = Catalog(SHELF, {"all": Phase("all", "", tuple(SHELF)), "one": Phase("one", "", ("beta",))})


def receipt(name: str) -> Receipt:
    """Return the receipt of a data set."""
    version = make_recipe(SHELF[name]).version
    return Receipt(
        name, version, "raw", (), 3, 120, "CC-BY-4.0", "url", f"https://x/{name}", "sha256:0", "catalog", "2026-01-01T00:00:00Z"
    )


def inventory(*names: str) -> Inventory:
    """Return the inventory of a volume with these data sets."""
    proofs = [receipt(name) for name in names]
    return Inventory(
        receipts={(each.dataset, each.version): each for each in proofs},
        published={each.dataset: each.version for each in proofs},
    )


def board(plan: Plan, there: Inventory) -> StatusBoard:
    """Return the status of a run that begins with this plan."""
    clock = itertools.count()
    status = StatusBoard(
        run_id="run", host="here", phase=plan.phase, limit_bytes=None, now=lambda: f"2026-01-01T00:00:{next(clock):02}Z"
    )
    status.record_plan(plan, there)
    return status


def start(*names: str, phase: str = "all", **fields: Any) -> tuple[StatusBoard, Plan]:
    """Return the status and the plan of a run on a volume with these data sets."""
    there = inventory(*names)
    plan = make_plan(Request(phase), CATALOG, there, Rules(**fields))
    return board(plan, there), plan


def document(status: StatusBoard) -> dict[str, Any]:
    """Return the document, which always has the same keys and survives JSON."""
    found = status.document(used_bytes=7, free_bytes=8)
    assert set(found) == TOP
    assert all(set(record) == RECORD for record in found["datasets"].values())
    assert set(found["volume"]) == {"used_bytes", "free_bytes", "limit_bytes"}
    assert set(found["dataset_repo"]) == {"state", "repo_id", "url", "created", "error"}
    again: dict[str, Any] = json.loads(json.dumps(found))
    assert again == found
    return found


def test_at_the_beginning() -> None:
    """A published data set is ready, a planned one is pending, and one that is left out is skipped with its reason."""
    status, _ = start("alpha")
    found = document(status)
    assert (found["state"], found["finished_at"], found["error"]) == ("provisioning", None, None)
    assert (found["schema_version"], found["provisioner_version"], found["run_id"], found["host"]) == (
        1,
        __version__,
        "run",
        "here",
    )
    states = {name: (record["state"], record["reason"]) for name, record in found["datasets"].items()}
    assert states == {"alpha": ("ready", None), "beta": ("pending", None), "closed": ("skipped", "license_policy")}
    alpha = found["datasets"]["alpha"]
    assert alpha["path"] == "datasets/alpha"
    assert alpha["source"] == {"kind": "url", "url": "https://x/alpha", "pin": "sha256:0"}
    assert (alpha["bytes_done"], alpha["bytes_total"], alpha["files"]) == (120, 120, 3)
    assert found["datasets"]["beta"]["bytes_total"] == 100


def test_while_it_works() -> None:
    """While a run works, states change, bytes are counted and the time of the last update advances."""
    status, _ = start()
    first = document(status)
    status.set_state("alpha", "fetching", bytes_total=100, bytes_done=0)
    status.advance("alpha", 60)
    status.advance("alpha", -10)
    found = document(status)
    alpha = found["datasets"]["alpha"]
    assert (alpha["state"], alpha["bytes_done"], alpha["bytes_total"]) == ("fetching", 50, 100)
    assert found["updated_at"] > first["updated_at"]
    assert found["started_at"] == first["started_at"]
    status.record_published("alpha", receipt("alpha"))
    assert document(status)["datasets"]["alpha"]["state"] == "ready"


def test_at_the_end() -> None:
    """The status of a finished run says how it ended and why, and keeps the states of unfinished data sets."""
    status, _ = start()
    status.record_failure("alpha", NotFoundError("gone", hint="look elsewhere"))
    status.finish("failed", NotFoundError("gone", hint="look elsewhere"))
    status.record_repositories([{"state": "ready", "repo_id": "a/b", "url": "https://x", "created": True, "error": None}])
    found = document(status)
    error = {"reference": "not-found", "message": "gone", "hint": "look elsewhere"}
    assert (found["state"], found["error"], found["datasets"]["alpha"]["error"]) == ("failed", error, error)
    assert found["datasets"]["beta"]["state"] == "pending"
    assert found["finished_at"] is not None
    status.record_published("alpha", receipt("alpha"))
    assert document(status)["datasets"]["alpha"]["error"] is None


def test_what_was_not_asked_for() -> None:
    """A published data set that was not asked for is listed as skipped with the reason ``not_in_phase``."""
    status, _ = start("alpha", phase="one")
    record = document(status)["datasets"]["alpha"]
    assert (record["state"], record["reason"], record["files"]) == ("skipped", "not_in_phase", 3)


def test_something_in_the_way() -> None:
    """A data set whose path is occupied by a foreign file has failed, with its error."""
    there = Inventory(foreign=frozenset({"alpha"}))
    status = board(make_plan(Request("all"), CATALOG, there, Rules()), there)
    record = document(status)["datasets"]["alpha"]
    assert record["state"] == "failed"
    assert record["error"]["reference"] == VolumeError.reference


def test_many_threads() -> None:
    """No byte is lost when several threads count at once."""
    status, _ = start()
    status.set_state("alpha", "fetching", bytes_done=0)

    def count() -> None:
        for _ in range(500):
            status.advance("alpha", 1)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert document(status)["datasets"]["alpha"]["bytes_done"] == 4000


# --- comparison -------------------------------------------------------------------------------------------------------


def test_the_same_outcome() -> None:
    """Run, time, host and volume do not change an outcome; another state, phase or data set does."""
    one, _ = start("alpha", "beta")
    two, _ = start("alpha", "beta")
    one.finish("partial", None)
    two.finish("partial", None)
    other = {**document(two), "run_id": "other", "host": "there", "updated_at": "later", "volume": {}}
    assert is_same_outcome(document(one), other)
    assert not is_same_outcome(None, other)
    assert not is_same_outcome({**document(one), "state": "interrupted"}, other)
    assert not is_same_outcome({**document(one), "phase": "one"}, other)
    less = {name: record for name, record in document(one)["datasets"].items() if name != "beta"}
    assert not is_same_outcome({**document(one), "datasets": less}, other)


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted({*TOP, *RECORD, "x"})), inner, max_size=5),
    max_leaves=12,
)


@given(found=st.dictionaries(st.sampled_from(sorted(TOP)), VALUES))
def test_any_document_is_accepted(found: dict[str, Any]) -> None:
    """A damaged status document is compared and shown without an exception."""
    status, _ = start("alpha")
    assert is_same_outcome(found, document(status)) in {True, False}
    assert isinstance(status_text(found), str)


@pytest.mark.parametrize("state", ["ready", "partial", "degraded", "failed", "interrupted"])
def test_every_end_is_shown(state: Any) -> None:
    """The text of a status shows how the run ended."""
    status, _ = start("alpha")
    status.finish(state, NotFoundError("gone", hint="look elsewhere") if state == "failed" else None)
    text = status_text(document(status))
    assert state in text
    assert "alpha" in text
