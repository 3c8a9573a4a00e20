"""Sources that are repositories on the Hub: a revision is resolved to a commit, and its listing is turned into artifacts."""

from __future__ import annotations

import contextlib
import difflib
from typing import TYPE_CHECKING, Final

from provisioner.catalog.card import license_of, line_of
from provisioner.catalog.card_parts import part_names, parts_of
from provisioner.catalog.examples import bytes_taken
from provisioner.catalog.hub_source import REPOSITORY_WORDS, Repository
from provisioner.catalog.model import EntryFacts
from provisioner.catalog.weights import weights_note
from provisioner.errors import AccessDeniedError, NotFoundError, ProvisionerError
from provisioner.planning.upstream import News
from provisioner.remote.hub.errors import NoSuchRevisionError
from provisioner.remote.hub.listing import check_selected
from provisioner.remote.resolved import Resolved

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provisioner.catalog.card_parts import CardPart
    from provisioner.catalog.hub_source import HubSource, RepoType
    from provisioner.catalog.written_reference import Reference
    from provisioner.planning.model import Receipt
    from provisioner.remote.hub.client import HubClient, RepositoryInfo

_ALIKE: Final = 0.6
"""From 0 to 1: how similar the names of two repositories must be for one to be suggested for the other."""


def resolve_hub_source(hub_client: Callable[[], HubClient], source: HubSource) -> Resolved:
    """Ask the Hub for the present commit of a source's revision, and for the files that the source names.

    Args:
        hub_client: returns the client of the Hub; called only here, since other sources do not need it.
        source: the repository.

    Raises:
        ProvisionerError: the Hub refused or kept failing, or the repository lacks files that the source names.
    """
    hub = hub_client()
    revision = source.commit or source.revision
    if source.parts:
        info = hub.info(source.repo, revision, source.repo_type)
        return _listed(hub, source, info.commit, parts_of(info.card))
    return _listed(hub, source, hub.resolve(source.repo, revision, source.repo_type))


def look_at_hub_source(hub_client: Callable[[], HubClient], source: HubSource, receipt: Receipt) -> News:
    """Ask the Hub for the present commit of a source's revision; no request is made if it is a commit itself.

    Args:
        hub_client: returns the client of the Hub.
        source: the repository.
        receipt: receipt of the version that was built from it.

    Raises:
        ProvisionerError: the Hub refused or kept failing.
    """
    found = hub_client().resolve(source.repo, source.revision, source.repo_type)
    if found == source.revision:
        return News("current", receipt.pin, found, "the catalog names a commit, which does not change")
    if found == receipt.pin:
        return News("current", receipt.pin, found, f"{source.revision} is at the same commit")
    return News("outdated", receipt.pin, found, f"{source.revision} has moved to another commit", pin=found)


def describe_hub_source(
    hub_client: Callable[[], HubClient], reference: Reference, source: HubSource
) -> tuple[EntryFacts, Resolved]:
    """Ask the Hub for a repository's description of itself, and for the files that a reference names.

    Args:
        hub_client: returns the client of the Hub.
        reference: the requested reference.
        source: the repository that it names.

    Raises:
        ProvisionerError: see :func:`resolve_hub_source`; if there is no such repository, the hint suggests another.
    """
    hub = hub_client()
    info = _info(hub, source)
    parts = parts_of(info.card) if source.repo_type == "dataset" else ()
    resolved = _listed(hub, source, info.commit, parts)
    sizes = [artifact.exact_size or 0 for artifact in resolved.artifacts]
    page, owner = resolved.url, source.repo.partition("/")[0]
    title = line_of(info.card.get("pretty_name")) or source.repo
    named = f"{owner}, {title}, {page}" if title != source.repo else f"{source.repo}, {page}"
    note = weights_note((artifact.name, size) for artifact, size in zip(resolved.artifacts, sizes, strict=True))
    facts = EntryFacts(
        reference=reference.text,
        key=reference.key,
        title=title,
        homepage=page,
        license=license_of(info.card, info.tags, page=page, attribution=named),
        download=sum(sizes),
        notes=(note,) if note else (),
        parts=part_names(parts),
        taken=bytes_taken(reference.rule, resolved.artifacts) if reference.rule else None,
    )
    return facts, resolved


def _listed(hub: HubClient, source: HubSource, commit: str, parts: Sequence[CardPart] = ()) -> Resolved:
    files = hub.listing(source.repo, commit, source.repo_type)
    listing = [(file.path, file.size, file.digest) for file in files]
    selected = source.select(listing, hub.files_url(source.repo, commit, source.repo_type), parts)
    check_selected(source.repo, files, {artifact.name for artifact in selected.artifacts})
    is_whole = all(artifact.unpack == "none" for artifact in selected.artifacts)
    return Resolved(
        "hub",
        hub.page_url(source.repo, source.repo_type),
        commit,
        selected.artifacts,
        selected.warnings,
        Repository(source.repo_type, source.repo, source.revision) if is_whole else None,
        tuple(parts),
    )


def _info(hub: HubClient, source: HubSource) -> RepositoryInfo:
    """Return the state of a repository; if there is none, the error suggests another.

    Raises:
        ProvisionerError: the Hub refused or kept failing.
    """
    try:
        return hub.info(source.repo, source.commit or source.revision, source.repo_type)
    except NoSuchRevisionError:
        raise
    except (NotFoundError, AccessDeniedError) as error:
        # A Hub gives the same answer for a repository that may not be read as for one that does not exist.
        if suggestion := _suggestion(hub, source):
            raise type(error)(error.message, hint=f"{suggestion} {error.hint}".rstrip()) from error
        raise


def _suggestion(hub: HubClient, source: HubSource) -> str:
    """Return a suggestion for the name of a repository that does not exist; empty if no name is similar."""
    other: RepoType = "model" if source.repo_type == "dataset" else "dataset"
    owner, _, name = source.repo.partition("/")
    wanted = source.repo.lower()
    with contextlib.suppress(ProvisionerError):
        for repo in hub.find_repositories(other, name=name):
            if repo.lower() == wanted:
                prefix = "datasets/" if other == "dataset" else ""
                return f"There is a {REPOSITORY_WORDS[other]} of this name: hf://{prefix}{line_of(repo)}."
    found: list[str] = []
    for question in ({"owner": owner}, {"name": name}):
        with contextlib.suppress(ProvisionerError):
            found += hub.find_repositories(source.repo_type, **question)
    if any(repo.lower() == wanted for repo in found):
        return ""  # it exists, but may not be read
    by_name = {repo.lower(): repo for repo in found}
    near = difflib.get_close_matches(wanted, by_name, n=1, cutoff=_ALIKE)
    same = [repo for folded, repo in by_name.items() if folded.endswith(f"/{name.lower()}")]
    best = by_name[near[0]] if near else same[0] if same else ""
    return f"Did you mean {line_of(best)!r}?" if best else ""
