"""What the target directory of an export cannot hold: names that are taken there, and what its file system refuses."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from provisioner.errors import VolumeError
from provisioner.planning.references import is_taken, nested_with
from provisioner.volume.archive.names import check_names
from provisioner.volume.fs.abilities import ORDINARY_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from provisioner.planning.model import Receipt
    from provisioner.volume.fs.abilities import Probe
    from provisioner.volume.store.manifest import Manifest
    from provisioner.volume.store.published_names import PublishedNames


def place_of(receipt: Receipt, others: Iterable[Receipt]) -> str:
    """Return the id that a version gets in the target directory, where the same reference may already have another id."""
    if receipt.entry is None:
        return receipt.dataset
    places = sorted({other.dataset for other in others if other.entry is not None and other.entry.key == receipt.entry.key})
    return receipt.dataset if receipt.dataset in places or not places else places[0]


def name_problem(receipt: Receipt, held: Mapping[str, Sequence[Receipt]], published: PublishedNames, endpoint: str) -> str:
    """Return in words why a version cannot have its name in the target directory; empty if it can.

    Args:
        receipt: the version's receipt.
        held: the receipts in the target directory, by data set id.
        published: the names that are published there.
        endpoint: the Hub's address, for reading the references in receipts.
    """
    name = f"datasets/{receipt.dataset}"
    others = held.get(receipt.dataset, ())
    if is_taken(receipt, others, endpoint):
        references = sorted({other.label for other in others if other.entry})
        return f"{name} is {' and '.join(references) or 'a data set of a catalog'} there"
    if (other := nested_with(receipt.dataset, held)) is not None:
        return f"datasets/{other} is there, and one would lie in the other"
    if published.is_not_ours(receipt.dataset):
        return f"{name} holds something that the provisioner did not put there"
    return ""


def tree_problem(manifest: Manifest, label: str, staging: Path, probe: Probe) -> str:
    """Return in words what the target directory's file system cannot hold of a version; empty if it can hold all of it.

    Args:
        manifest: the version's manifest.
        label: names the data set in messages.
        staging: the staging directory of the target, where names are tried.
        probe: tries everything but names that may collide.
    """
    entries = manifest.entries
    link = next((entry.path for entry in entries if entry.kind == "link"), None)
    if link is not None and not probe.takes_links():
        return f"{link!r} is a symbolic link, and this file system has none"
    largest = max(entries, key=lambda entry: entry.size)
    if largest.size > ORDINARY_SIZE and not probe.takes_size(largest.size):
        return f"{largest.path!r} has {largest.size:,} bytes, and no file on this file system can have so many"
    names = dict.fromkeys(itertools.chain.from_iterable(entry.path.split("/") for entry in entries))
    if wrong := probe.refused_names(names):
        return f"no file on this file system can be called {wrong[0]!r}"
    try:
        check_names((entry.path for entry in entries), staging, label)
    except VolumeError as error:
        return error.message
    return ""
