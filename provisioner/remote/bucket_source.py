"""Sources that are storage buckets on the Hub: the present listing is turned into artifacts.

A bucket has no revisions, so it is pinned by the Xet hashes of its files: bytes of another moment do not match them.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from provisioner.catalog.entries import unknown_license
from provisioner.catalog.examples import bytes_taken
from provisioner.catalog.model import EntryFacts
from provisioner.catalog.weights import weights_note
from provisioner.planning.upstream import News
from provisioner.remote.hub.listing import check_selected
from provisioner.remote.resolved import Resolved

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.catalog.bucket_source import BucketSource
    from provisioner.catalog.written_reference import Reference
    from provisioner.planning.model import Receipt
    from provisioner.remote.hub.client import HubClient


def resolve_bucket_source(hub_client: Callable[[], HubClient], can_verify: Callable[[], bool], source: BucketSource) -> Resolved:
    """Ask the Hub for a bucket's present listing of the files that a source names.

    Args:
        hub_client: returns the client of the Hub; called only here, since other sources do not need it.
        can_verify: returns whether Xet hashes can be computed on this machine.
        source: the bucket.

    Raises:
        ProvisionerError: the Hub refused or kept failing, or the bucket lacks files that the source names.
    """
    buckets = hub_client().buckets
    stated = buckets.info(source.bucket).files
    files = buckets.listing(source.bucket)
    verified = can_verify()
    listing = [(file.path, file.size, file.digest if verified or file.digest.algorithm != "xet" else None) for file in files]
    artifacts, warnings = source.select(listing, buckets.files_url(source.bucket))
    names = {artifact.name for artifact in artifacts}
    check_selected(source.bucket, files, names)
    if len(files) < stated:
        # The Hub's count may lag behind, so this is not a failure.
        warnings = (
            *warnings,
            f"the listing of the bucket {source.bucket} has {len(files):,} files, and the Hub counts {stated:,}",
        )
    pins = "\n".join(f"{file.digest} {file.size} {file.path}" for file in files if file.path in names)
    pin = f"sha256:{hashlib.sha256(pins.encode()).hexdigest()}"
    return Resolved("bucket", buckets.page_url(source.bucket), pin, artifacts, warnings)


def look_at_bucket_source(
    hub_client: Callable[[], HubClient], can_verify: Callable[[], bool], source: BucketSource, receipt: Receipt
) -> News:
    """Ask the Hub for a bucket's listing, and compare it with the listing that a version was built from.

    Args:
        hub_client: returns the client of the Hub.
        can_verify: see :func:`resolve_bucket_source`.
        source: the bucket.
        receipt: of the version that was built from it.

    Raises:
        ProvisionerError: see :func:`resolve_bucket_source`.
    """
    # A size in a reference's entry is the one in its listing at that time, so it must not be compared.
    found = resolve_bucket_source(hub_client, can_verify, replace(source, size=None)).pin
    if found == receipt.pin:
        return News("current", receipt.pin, found, "the listing of the bucket has the same files")
    return News("outdated", receipt.pin, found, "the listing of the bucket has other files, or other hashes", pin=found)


def describe_bucket_source(
    hub_client: Callable[[], HubClient], can_verify: Callable[[], bool], reference: Reference, source: BucketSource
) -> tuple[EntryFacts, Resolved]:
    """Ask the Hub which of the files that a reference names are in a bucket; buckets do not state licences.

    Args:
        hub_client: returns the client of the Hub.
        can_verify: see :func:`resolve_bucket_source`.
        reference: the requested reference.
        source: the bucket that it names.

    Raises:
        ProvisionerError: see :func:`resolve_bucket_source`.
    """
    resolved = resolve_bucket_source(hub_client, can_verify, source)
    sizes = [artifact.exact_size or 0 for artifact in resolved.artifacts]
    note = weights_note((artifact.name, size) for artifact, size in zip(resolved.artifacts, sizes, strict=True))
    facts = EntryFacts(
        reference=reference.text,
        key=reference.key,
        title=source.bucket,
        homepage=resolved.url,
        license=unknown_license(resolved.url),
        download=sum(sizes),
        notes=(note,) if note else (),
        taken=bytes_taken(reference.rule, resolved.artifacts) if reference.rule else None,
    )
    return facts, resolved
