"""A bucket's listing as artifacts: with the hashes that this machine can compute, pinned by all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from provisioner.cancellation import Cancellation
from provisioner.catalog.bucket_source import BucketSource
from provisioner.catalog.size import Size
from provisioner.errors import SizeMismatchError
from provisioner.remote.bucket_source import resolve_bucket_source
from provisioner.remote.hub.client import HubClient
from provisioner.remote.network import Network
from tests.support import hub_buckets
from tests.support.fake_time import FakeTime

if TYPE_CHECKING:
    from provisioner.remote.resolved import Resolved
    from tests.support.hub_server import HubServer


def resolve(hub: HubServer, source: BucketSource, *, can_verify: bool = True) -> Resolved:
    """Return what a bucket holds."""
    with HubClient(hub.endpoint, None, Network(FakeTime().retry(), Cancellation())) as client:
        return resolve_bucket_source(lambda: client, lambda: can_verify, source)


def test_what_pins_it(hub: HubServer) -> None:
    """The pin changes with the files that are taken and with nothing else; without the library only empty files are known."""
    hub.page_size = 2
    bucket = hub.hub.add_repo("acme/box", {f"{name}.csv": name.encode() for name in "abcde"} | {"empty": b""}, kind="bucket")
    source = BucketSource("acme/box", include=("[a-c].csv", "empty"))
    first = resolve(hub, source)
    assert [artifact.digest.algorithm for artifact in first.artifacts if artifact.digest] == ["xet", "xet", "xet", "sha256"]
    bucket.commit({"d.csv": b"changed"})
    assert resolve(hub, source).pin == first.pin
    unverified = resolve(hub, source, can_verify=False)
    assert unverified.pin == first.pin
    assert [artifact.verified_against for artifact in unverified.artifacts] == ["none", "none", "none", "listing"]
    bucket.commit({"a.csv": b"changed"})
    assert resolve(hub, source).pin != first.pin
    with pytest.raises(SizeMismatchError, match=r"acme/box lists 9 bytes"):
        resolve(hub, source.sized(Size(3)))


def test_a_count_that_is_ahead(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing with fewer files than the Hub counts is a warning and no failure: its count may be behind."""
    hub.hub.add_repo("acme/box", {"a.csv": b"a", "b.csv": b"b"}, kind="bucket")
    assert resolve(hub, BucketSource("acme/box")).warnings == ()
    counted = hub_buckets.info
    monkeypatch.setattr(hub_buckets, "info", lambda bucket: {**counted(bucket), "totalFiles": 5})
    assert resolve(hub, BucketSource("acme/box")).warnings == (
        "the listing of the bucket acme/box has 2 files, and the Hub counts 5",
    )
