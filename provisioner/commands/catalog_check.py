"""Is the catalog still true: does every source exist, with the size, digest, ETag and ranges that it claims.

For a maintainer, who finds dead links with it. Nothing is fetched but listings and first bytes, and nothing is written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from provisioner.catalog.size import total
from provisioner.errors import DigestMismatchError, ProvisionerError, SizeMismatchError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from provisioner.cancellation import Cancellation
    from provisioner.catalog.artifact import Artifact
    from provisioner.catalog.model import Catalog, DataSet
    from provisioner.catalog.source import Source
    from provisioner.remote.http.client import HttpClient
    from provisioner.remote.sources import Sources

_MD5: Final = re.compile(r'"?([0-9a-f]{32})"?')


@dataclass(frozen=True, slots=True)
class Finding:
    """What one question to one source showed."""

    dataset: str
    where: str
    """URL or repository."""
    facts: str
    """What the source said."""
    error: ProvisionerError | None = None
    """What is wrong; ``None``: as the catalog says."""
    warning: str = ""
    """What is not wrong, and worth knowing."""

    def __str__(self) -> str:
        if self.error is not None:
            return f"WRONG  {self.dataset}: {self.error.message}"
        return f"ok     {self.dataset}: {self.where}: {self.facts}" + (f" ({self.warning})" if self.warning else "")

    def as_record(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "dataset": self.dataset,
            "where": self.where,
            "facts": self.facts,
            "warning": self.warning or None,
            "error": self.error.as_record() if self.error else None,
        }


def check_catalog(catalog: Catalog, http: HttpClient, sources: Sources, cancellation: Cancellation) -> Iterator[Finding]:
    """Ask every source of every data set, whatever its layout; one that fails does not stop the others.

    Raises:
        ProvisionerError: only when told to stop.
    """
    for dataset in catalog.datasets.values():
        for source in dataset.sources:
            cancellation.raise_if_requested()
            if source.artifacts is None:
                yield _check_listing(dataset, source, sources, cancellation)
            else:
                yield from _check_files(dataset, source.artifacts, http, cancellation)


def _check_files(
    dataset: DataSet, artifacts: Sequence[Artifact], http: HttpClient, cancellation: Cancellation
) -> Iterator[Finding]:
    for artifact in artifacts:
        for url in artifact.urls:
            cancellation.raise_if_requested()
            yield _check_url(dataset, artifact, url, http, cancellation)


def _check_url(dataset: DataSet, artifact: Artifact, url: str, http: HttpClient, cancellation: Cancellation) -> Finding:
    try:
        facts = http.facts(url)
    except ProvisionerError as error:
        cancellation.raise_if_requested()
        return Finding(dataset.id, url, "", error)
    said = ", ".join(
        (
            f"{facts.size:,} bytes" if facts.size is not None else "no size",
            f"ETag {facts.etag}" if facts.etag else "no ETag",
            "ranges" if facts.ranges else "no ranges",
        )
    )
    exact = artifact.exact_size
    if exact is not None and facts.size is not None and facts.size != exact:
        wrong = SizeMismatchError(
            f"{url}: the catalog says {exact:,} bytes, the server {facts.size:,}", hint="Correct the catalog."
        )
        return Finding(dataset.id, url, said, wrong)
    found = _MD5.fullmatch(facts.etag or "")
    if found and artifact.digest and artifact.digest.algorithm == "md5" and found[1] != artifact.digest.hex:
        # Of single-part objects many stores make the MD5 their ETag: a cheap look without fetching anything.
        changed = DigestMismatchError(
            f"{url}: the catalog says {artifact.digest}, the server's ETag {found[1]}",
            hint="Correct the catalog if the ETag is the file's MD5.",
        )
        return Finding(dataset.id, url, said, changed)
    notes = []
    if not facts.ranges:
        notes.append("an interrupted transfer starts from zero")
    if artifact.digest is None:
        notes.append("the catalog knows no digest")
    if exact is None:
        notes.append("the catalog knows no exact size")
    return Finding(dataset.id, url, said, warning="; ".join(notes))


def _check_listing(dataset: DataSet, source: Source, sources: Sources, cancellation: Cancellation) -> Finding:
    where = source.name
    try:
        resolved = sources.resolve(source)
    except ProvisionerError as error:
        cancellation.raise_if_requested()
        return Finding(dataset.id, where, "", error)
    size = total(artifact.size for artifact in resolved.artifacts)
    said = f"{len(resolved.artifacts)} files, {size.value:,} bytes, commit {resolved.pin}"
    stated = source.size.exact if source.size else None
    if stated is not None and stated != size.value:
        wrong_size = SizeMismatchError(
            f"{where}: the catalog says {stated:,} bytes, the listing {size.value:,}", hint="Correct the catalog."
        )
        return Finding(dataset.id, where, said, wrong_size)
    notes = [] if source.pinned(resolved.pin) == source else [f"pin it with 'revision: {resolved.pin}'"]
    return Finding(dataset.id, where, said, warning="; ".join(notes))
