"""Is the catalog still true: does every source exist, with the size, digest, ETag and ranges that it claims.

For a maintainer, who finds dead links with it. Nothing is fetched but listings and first bytes, and nothing is written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from provisioner.catalog.model import HubSource
from provisioner.errors import DigestMismatchError, ProvisionerError, SizeMismatchError
from provisioner.planning.plan import total
from provisioner.planning.recipe import url_artifacts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provisioner.cancellation import Cancellation
    from provisioner.catalog.model import Catalog, DataSet, UrlSource
    from provisioner.planning.recipe import Artifact
    from provisioner.remote.http.client import HttpClient
    from provisioner.remote.source import Remote

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


def check_catalog(catalog: Catalog, http: HttpClient, remote: Remote, cancellation: Cancellation) -> Iterator[Finding]:
    """Ask every source of every data set, whatever its layout; one that fails does not stop the others.

    Raises:
        ProvisionerError: only when told to stop.
    """
    for dataset in catalog.datasets.values():
        for source in dataset.sources:
            cancellation.raise_if_requested()
            if isinstance(source, HubSource):
                yield _check_repository(dataset, source, remote, cancellation)
            else:
                yield from _check_files(dataset, source, http, cancellation)


def _check_files(dataset: DataSet, source: UrlSource, http: HttpClient, cancellation: Cancellation) -> Iterator[Finding]:
    for artifact in url_artifacts(source):
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
    exact = artifact.size if artifact.size and not artifact.size.estimate else None
    if exact and facts.size is not None and facts.size != exact.value:
        wrong = SizeMismatchError(
            f"{url}: the catalog says {exact.value:,} bytes, the server {facts.size:,}", hint="Correct the catalog."
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
    if artifact.size is None or artifact.size.estimate:
        notes.append("the catalog knows no exact size")
    return Finding(dataset.id, url, said, warning="; ".join(notes))


def _check_repository(dataset: DataSet, source: HubSource, remote: Remote, cancellation: Cancellation) -> Finding:
    where = f"{source.repo}@{source.revision}"
    try:
        resolved = remote.resolve(source, ())
    except ProvisionerError as error:
        cancellation.raise_if_requested()
        return Finding(dataset.id, where, "", error)
    size = total(artifact.size for artifact in resolved.artifacts)
    said = f"{len(resolved.artifacts)} files, {size.value:,} bytes, commit {resolved.pin}"
    if source.size and not source.size.estimate and source.size.value != size.value:
        wrong_size = SizeMismatchError(
            f"{where}: the catalog says {source.size.value:,} bytes, the listing {size.value:,}", hint="Correct the catalog."
        )
        return Finding(dataset.id, where, said, wrong_size)
    notes = [] if source.revision == resolved.pin else [f"pin it with 'revision: {resolved.pin}'"]
    return Finding(dataset.id, where, said, warning="; ".join(notes))
