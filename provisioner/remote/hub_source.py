"""Sources that are data-set repositories on the Hub: a revision becomes a commit, and its listing becomes artifacts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.remote.hub.listing import check_selected
from provisioner.remote.resolved import Resolved

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.catalog.hub_source import HubSource
    from provisioner.remote.hub.client import HubClient


def resolve_hub_source(hub_client: Callable[[], HubClient], source: HubSource) -> Resolved:
    """Ask the Hub which commit a source's revision is now, and what it lists of the files that the source names.

    Args:
        hub_client: returns the client of the Hub; called here, since other sources need none.
        source: the repository.

    Raises:
        ProvisionerError: the Hub refused or kept failing, or the repository does not hold what the source names.
    """
    hub = hub_client()
    commit = hub.resolve(source.repo, source.revision)
    files = hub.listing(source.repo, commit)
    selected = source.select(
        [(file.path, file.size, file.digest) for file in files], lambda path: hub.file_url(source.repo, commit, path)
    )
    check_selected(source.repo, files, {artifact.name for artifact in selected.artifacts})
    return Resolved("hub", hub.page_url(source.repo), commit, selected.artifacts, selected.warnings)
