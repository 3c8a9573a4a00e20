"""The catalog entry for a reference, with what its source says of itself, if known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provisioner.catalog.license import NOT_KNOWN
from provisioner.catalog.model import DataSet, License
from provisioner.catalog.size import Size

if TYPE_CHECKING:
    from provisioner.catalog.model import EntryFacts
    from provisioner.catalog.written_reference import Reference
    from provisioner.errors import ProvisionerError

PRIORITY: Final = 3
"""Priority of every reference, unless ``PRIORITIES`` says otherwise."""


def entry_of(
    reference: Reference, dataset: str, facts: EntryFacts | None = None, problem: ProvisionerError | None = None
) -> DataSet:
    """Return the entry of a reference.

    Args:
        reference: the requested reference.
        dataset: its id, which is its path below ``datasets/``.
        facts: what its source says of itself, or ``None`` if that is not known.
        problem: why the source cannot be used.
    """
    size = Size(facts.download) if facts and facts.download is not None else None
    source = reference.source.sized(size) if size else reference.source
    is_unpacked = any(artifact.unpack != "none" for artifact in source.artifacts or ())
    return DataSet(
        id=dataset,
        title=facts.title if facts else reference.text,
        homepage=facts.homepage if facts else reference.homepage,
        description=facts.description if facts else "",
        purpose="",
        priority=PRIORITY,
        license=facts.license if facts else unknown_license(reference.homepage),
        sources=(source,),
        unpacked_size=None if is_unpacked else size,
        notes=facts.notes if facts else (),
        reference=reference,
        facts=facts,
        problem=problem,
    )


def unknown_license(page: str) -> License:
    """Return the terms of something about which nothing is known; ``page`` is where a user may find them."""
    return License(
        spdx="NOASSERTION",
        name=NOT_KNOWN,
        url=page,
        commercial="verify",
        evidence="nobody was asked, or the source states no terms",
        attribution="",
    )
