"""Sources that are direct URLs: the catalog determines their artifacts, and nobody is asked, unless a URL does not name its file.

Some hosts end every URL in ``/content``, a number or a query, and state the file's name in ``Content-Disposition``.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from provisioner.catalog.document import quoted
from provisioner.catalog.entries import unknown_license
from provisioner.catalog.file_names import name_problem
from provisioner.catalog.model import EntryFacts
from provisioner.catalog.size import Size
from provisioner.errors import TRY_NEXT_AFTER, ConfigurationError
from provisioner.redaction import show_url
from provisioner.remote.http.local_files import is_local
from provisioner.remote.resolved import Resolved

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provisioner.catalog.artifact import Artifact
    from provisioner.catalog.references import Reference
    from provisioner.catalog.url_source import UrlSource
    from provisioner.errors import ProvisionerError
    from provisioner.remote.http.client import HttpClient

_LOGGER = logging.getLogger(__name__)


def resolve_url_source(http_client: Callable[[], HttpClient], source: UrlSource) -> Resolved:
    """Return the artifacts of a source; a request is made only for the names of files that their URLs do not name.

    Args:
        http_client: returns the client for files; called only if there is a request.
        source: the URLs.

    Raises:
        ConfigurationError: two files have the same name.
        ProvisionerError: the server of such a file refused or kept failing.
    """
    artifacts = source.artifacts
    if not all(artifact.is_named for artifact in artifacts):
        artifacts = tuple(artifact if artifact.is_named else _named(http_client(), artifact) for artifact in artifacts)
        _check_paths(artifacts)
    pins = [str(artifact.digest) if artifact.digest else f"unverified:{artifact.name}" for artifact in artifacts]
    pin = pins[0] if len(pins) == 1 else f"sha256:{hashlib.sha256(' '.join(pins).encode()).hexdigest()}"
    return Resolved("url", show_url(artifacts[0].urls[0]), pin, artifacts)


def _named(http: HttpClient, artifact: Artifact) -> Artifact:
    """Return the artifact with the name that a server states for it; as it is, if none does."""
    stated = _stated_name(http, artifact)
    if stated is None:
        return artifact
    if problem := name_problem(stated):
        _LOGGER.warning(
            "%s: the server's name for it cannot be used: %s %s; it becomes %s; to have another one, state a 'name'",
            show_url(artifact.urls[0]),
            quoted(stated),
            problem,
            artifact.path,
        )
        return artifact
    _LOGGER.info("%s: the server calls it %s", show_url(artifact.urls[0]), stated)
    return replace(artifact, name=stated)


def _stated_name(http: HttpClient, artifact: Artifact) -> str | None:
    failure: ProvisionerError | None = None
    for url in artifact.urls:
        if http.is_offline or is_local(http.rewritten(url)):
            continue
        try:
            return http.facts(url, authorized=artifact.authorized).name
        except TRY_NEXT_AFTER as error:
            http.check_cancelled()
            failure = failure or error
    if failure is not None:
        raise failure
    return None


def _check_paths(artifacts: Sequence[Artifact]) -> None:
    """Refuse two files with the same path, now that their names are known; without case, as in the catalog.

    Raises:
        ConfigurationError: there are two.
    """
    seen: dict[str, str] = {}
    for artifact in artifacts:
        url, path = artifact.urls[0], artifact.path
        if artifact.unpack == "none" and (other := seen.setdefault(path.casefold(), url)) != url:
            raise ConfigurationError(
                f"{show_url(other)} and {show_url(url)} both become {path}, and no server states another name",
                hint="State a 'name' for each of them.",
            )


def describe_url_source(
    http_client: Callable[[], HttpClient], reference: Reference, source: UrlSource
) -> tuple[EntryFacts, Resolved]:
    """Ask the server of a file for its size; nothing is known of its terms.

    Args:
        http_client: returns the client for files.
        reference: what was asked for.
        source: its URL.

    Raises:
        ProvisionerError: the server refused or kept failing, or the file is not there.
    """
    size = http_client().facts(source.files[0].url).size
    resolved = resolve_url_source(http_client, source if size is None else source.sized(Size(size)))
    facts = EntryFacts(
        reference=reference.text,
        key=reference.key,
        title=source.files[0].name or reference.text,
        homepage=reference.homepage,
        license=unknown_license(reference.homepage),
        download=size,
    )
    return facts, resolved
