"""What a directory that is exported to cannot hold: names that others have there, and what its file system refuses."""

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
    """Return the id that a version gets in a directory which has these: a reference may be called otherwise there than here."""
    if receipt.entry is None:
        return receipt.dataset
    places = sorted({other.dataset for other in others if other.entry is not None and other.entry.key == receipt.entry.key})
    return receipt.dataset if receipt.dataset in places or not places else places[0]


def name_problem(receipt: Receipt, held: Mapping[str, Sequence[Receipt]], published: PublishedNames, endpoint: str) -> str:
    """Return why a version cannot have its name in a directory, in words; empty: it can.

    Args:
        receipt: of the version.
        held: what the directory has, by id.
        published: the names there.
        endpoint: the Hub's address, by which references in receipts are read.
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
    """Return what of a version a directory's file system cannot hold, in words; empty: it can hold all.

    Args:
        manifest: of the version.
        label: names the data set in messages.
        staging: the directory's own staging, where names are tried.
        probe: tries the rest.
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
