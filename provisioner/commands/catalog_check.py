"""``catalog check``: check that the catalog is well formed, and that its sources are as it states.

With ``--online``, every source is asked for the size, digest, ETag and range support that the catalog claims, so that a
maintainer finds dead links. Only listings and first bytes are fetched, and nothing is written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from provisioner.catalog.file_names import name_problem
from provisioner.catalog.size import total
from provisioner.commands.result import CommandResult
from provisioner.engine.clients import Clients
from provisioner.engine.installation import catalog_name
from provisioner.errors import DigestMismatchError, ProvisionerError, SizeMismatchError, error_to_report
from provisioner.redaction import without_user
from provisioner.units import format_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from provisioner.cancellation import Cancellation
    from provisioner.catalog.artifact import Artifact
    from provisioner.catalog.model import Catalog, DataSet
    from provisioner.catalog.source import Source
    from provisioner.commands.request import CommandRequest
    from provisioner.remote.http.client import HttpClient
    from provisioner.remote.sources import Sources

DESCRIPTION: Final = """\
Check that the catalog is well formed. With --online, also ask every source whether it exists, with the size, digest, ETag
and range support that the catalog claims; no data are fetched."""

_MD5: Final = re.compile(r'"?([0-9a-f]{32})"?')


@dataclass(frozen=True, slots=True)
class SourceCheck:
    """The result of asking one source."""

    dataset: str
    where: str
    """URL or repository."""
    facts: str
    """The source's answer."""
    error: ProvisionerError | None = None
    """The deviation from the catalog, or ``None`` if the source is as the catalog states."""
    warning: str = ""
    """A note about something that is not wrong."""

    def __str__(self) -> str:
        if self.error is not None:
            return f"WRONG  {self.dataset}: {self.error.message}"
        return f"ok     {self.dataset}: {self.where}: {self.facts}" + (f" ({self.warning})" if self.warning else "")

    def as_record(self) -> dict[str, Any]:
        """Return the form in which ``--json`` carries it."""
        return {
            "dataset": self.dataset,
            "where": self.where,
            "facts": self.facts,
            "warning": self.warning or None,
            "error": self.error.as_record() if self.error else None,
        }


def run(request: CommandRequest) -> CommandResult:
    """Check the catalog, and with ``--online`` its sources; each result is shown immediately.

    Raises:
        ProvisionerError: the catalog is not well formed, or the check was cancelled.
    """
    catalog = request.described_catalog()
    name = catalog_name(request.settings)
    document: dict[str, Any] = {"catalog": name, "datasets": len(catalog.datasets), "findings": []}
    if not request.options.online:
        return CommandResult(document, f"{document['catalog']}: well formed, {format_count(document['datasets'], 'data set')}")
    errors = []
    clients = Clients(request.settings, request.settings.data_dir.absolute(), request.cancellation)
    for check in check_sources(catalog, clients.http, clients.sources, request.cancellation):
        request.show(str(check))
        document["findings"].append(check.as_record())
        if check.error is not None:
            errors.append(check.error)
    return CommandResult(document, error=error_to_report(errors) if errors else None)


def check_sources(catalog: Catalog, http: HttpClient, sources: Sources, cancellation: Cancellation) -> Iterator[SourceCheck]:
    """Yield the answer of each source of each data set, whatever its layout; a failing one does not stop the others.

    Raises:
        ProvisionerError: the check was cancelled.
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
) -> Iterator[SourceCheck]:
    for artifact in artifacts:
        for url in artifact.locations:
            cancellation.raise_if_requested()
            yield _check_url(dataset, artifact, url, http, cancellation)


def _check_url(dataset: DataSet, artifact: Artifact, url: str, http: HttpClient, cancellation: Cancellation) -> SourceCheck:
    try:
        facts = http.facts(url)
        url = without_user(url)
    except ProvisionerError as error:
        cancellation.raise_if_requested()
        return SourceCheck(dataset.id, without_user(url), "", error)
    answer = ", ".join(
        (
            f"{facts.size:,} bytes" if facts.size is not None else "no size",
            f"ETag {facts.etag}" if facts.etag else "no ETag",
            "ranges" if facts.ranges else "no ranges",
            *((f"named {facts.name!r} by the server",) if facts.name and not artifact.is_named else ()),
        )
    )
    exact = artifact.exact_size
    if exact is not None and facts.size is not None and facts.size != exact:
        wrong_size = SizeMismatchError(
            f"{url}: the catalog says {exact:,} bytes, the server {facts.size:,}", hint="Correct the catalog."
        )
        return SourceCheck(dataset.id, url, answer, wrong_size)
    found = _MD5.fullmatch(facts.etag or "")
    if found and artifact.digest and artifact.digest.algorithm == "md5" and found[1] != artifact.digest.hex:
        # Many object stores use the MD5 of a file that was uploaded in one part as its ETag, so it can be checked without a
        # transfer.
        wrong_digest = DigestMismatchError(
            f"{url}: the catalog says {artifact.digest}, the server's ETag {found[1]}",
            hint="Correct the catalog if the ETag is the file's MD5.",
        )
        return SourceCheck(dataset.id, url, answer, wrong_digest)
    notes = []
    if not artifact.is_named and (facts.name is None or name_problem(facts.name)):
        notes.append(f"neither the URL nor the server names it, and it becomes {artifact.name}; give it a 'name'")
    if not facts.ranges:
        notes.append("an interrupted transfer starts from zero")
    if artifact.digest is None:
        notes.append("the catalog has no digest")
    if exact is None:
        notes.append("the catalog has no exact size")
    return SourceCheck(dataset.id, url, answer, warning="; ".join(notes))


def _check_listing(dataset: DataSet, source: Source, sources: Sources, cancellation: Cancellation) -> SourceCheck:
    where = source.name
    try:
        resolved = sources.resolve(source)
    except ProvisionerError as error:
        cancellation.raise_if_requested()
        return SourceCheck(dataset.id, where, "", error)
    size = total(artifact.size for artifact in resolved.artifacts)
    state = resolved.pin if ":" in resolved.pin else f"commit {resolved.pin}"
    answer = f"{format_count(len(resolved.artifacts), 'file')}, {size.value:,} bytes, {state}"
    stated = source.size.exact if source.size else None
    if stated is not None and stated != size.value:
        wrong_size = SizeMismatchError(
            f"{where}: the catalog says {stated:,} bytes, the listing {size.value:,}", hint="Correct the catalog."
        )
        return SourceCheck(dataset.id, where, answer, wrong_size)
    notes = list(resolved.warnings)
    notes += [] if source.pinned(resolved.pin) == source else [f"pin it with 'revision: {resolved.pin}'"]
    return SourceCheck(dataset.id, where, answer, warning="; ".join(notes))
