"""The current state of the sources of published data sets, for ``outdated`` and for ``UPDATE=check`` or ``UPDATE=auto``."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from provisioner.catalog.entries import entry_of
from provisioner.errors import TRY_NEXT_AFTER, ConfigurationError, NotFoundError, UpstreamChangedError
from provisioner.log_fields import about
from provisioner.planning.recipe import make_recipe
from provisioner.planning.upstream import Finding, Newer, News
from provisioner.volume.parallel import OrderedWork

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from provisioner.cancellation import Cancellation
    from provisioner.catalog.artifact import Artifact
    from provisioner.catalog.file_state import FileState
    from provisioner.catalog.model import DataSet
    from provisioner.catalog.source import Source
    from provisioner.planning.model import Receipt
    from provisioner.planning.recipe import Recipe
    from provisioner.remote.sources import Sources

_LOGGER = logging.getLogger(__name__)

_ASKED_AT_ONCE: Final = 8
"""Sources that are asked at the same time: each needs one small request, which mostly waits for the network."""


def look_upstream(dataset: DataSet | None, receipt: Receipt, sources: Sources, cancellation: Cancellation) -> Finding:
    """Ask the source of a published version for its present state; if that cannot be known, the finding says why.

    Args:
        dataset: the catalog entry, or ``None`` if no catalog describes it.
        receipt: of the published version.
        sources: resolves the source.
        cancellation: ends the requests.

    Raises:
        ProvisionerError: the run must end.
    """
    source, news = _known_source(dataset, receipt)
    if source is not None:
        try:
            news = sources.look(source, receipt)
        except TRY_NEXT_AFTER as error:
            cancellation.raise_if_requested()
            news = News("unknown", receipt.pin, "", error.message, error=error)
    newer = Newer(news.pin, dataset, source.held_at(news.pin), news.states) if dataset and source and news.pin else None
    return Finding(receipt.dataset, receipt.label, receipt.version, receipt.published_at, news, newer)


def look_at_all(
    published: Sequence[tuple[DataSet | None, Receipt]], sources: Sources, cancellation: Cancellation
) -> list[Finding]:
    """Ask the sources of several published versions, several at once; return the findings in the order of the versions.

    Args:
        published: each version's entry (see :func:`look_upstream`) and receipt.
        sources: resolves the sources.
        cancellation: ends the requests.

    Raises:
        ProvisionerError: the run must end.
    """

    def look(version: tuple[DataSet | None, Receipt], check_cancelled: Callable[[], None]) -> Finding:
        check_cancelled()
        with about(version[1].label):
            return look_upstream(*version, sources, cancellation)

    check = cancellation.raise_if_requested
    return list(OrderedWork(look, published, check_cancelled=check, name="look", threads=_ASKED_AT_ONCE).results())


def described_now(newer: Newer, sources: Sources) -> Newer:
    """Return a newer state with what its source says of itself, which is all that describes a reference.

    Raises:
        ProvisionerError: the source cannot be asked.
    """
    reference = newer.dataset.reference
    if reference is None:
        return newer
    moved = replace(reference, source=reference.source.held_at(newer.pin))
    dataset = entry_of(moved, newer.dataset.id, sources.describe(moved))
    return Newer(newer.pin, dataset, dataset.sources[0])


def check_states(recipe: Recipe, delivered: Mapping[str, FileState], artifacts: Sequence[Artifact]) -> None:
    """Raise an error if files were changed after their servers were asked, since they may not belong together.

    Args:
        recipe: what was built.
        delivered: what the servers said when the files were fetched, by the keys of the artifacts.
        artifacts: the files.

    Raises:
        UpstreamChangedError: one has changed.
    """
    for artifact in artifacts if recipe.states else ():
        asked, came = recipe.states.get(artifact.key), delivered.get(artifact.key)
        if asked is None or came is None:
            continue
        result, why = asked.compare(came)
        if result == "changed":
            raise UpstreamChangedError(
                f"{recipe.label}: {artifact.name} was changed upstream while it was fetched ({why}); nothing was published",
                hint="Start again when the publisher has finished.",
            )


def _known_source(dataset: DataSet | None, receipt: Receipt) -> tuple[Source | None, News]:
    """Return the source of a version; ``None`` if it need not or cannot be asked, for the reason in the news."""

    def unknown(why: str) -> tuple[None, News]:
        return None, News("unknown", receipt.pin, "", why)

    if receipt.is_newer:
        return unknown("a newer version of this program recorded it")
    if dataset is None:
        return unknown("the catalog does not describe it")
    try:
        recipe = make_recipe(dataset, layout=receipt.layout, splits=receipt.splits, rule=receipt.rule)
    except (ConfigurationError, NotFoundError) as error:
        return unknown(error.message)
    if recipe.version != receipt.asked:
        found = f"recipe {recipe.version}"
        why = "the catalog describes another version than this one; 'plan' shows it, and 'provision' makes it"
        return None, News("outdated", f"recipe {receipt.asked}", found, why)
    for source in recipe.sources:
        if source.kind == receipt.source_kind and source.is_at(receipt.source_url):
            return source, News("unknown", receipt.pin, "", "")
    return unknown(f"its source, {receipt.source_url}, is not in the catalog any more")
