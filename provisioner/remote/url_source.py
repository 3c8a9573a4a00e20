"""Sources that are direct URLs: the catalog determines their artifacts, without a request unless a URL lacks the file's name.

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
from provisioner.catalog.file_state import FileState
from provisioner.catalog.model import EntryFacts
from provisioner.catalog.size import Size
from provisioner.catalog.url_source import pin_of
from provisioner.errors import TRY_NEXT_AFTER, ConfigurationError
from provisioner.planning.upstream import News
from provisioner.redaction import show_url
from provisioner.remote.http.local_files import is_local
from provisioner.remote.resolved import Resolved

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from provisioner.catalog.artifact import Artifact
    from provisioner.catalog.file_state import Change
    from provisioner.catalog.url_source import UrlSource
    from provisioner.catalog.written_reference import Reference
    from provisioner.errors import ProvisionerError
    from provisioner.planning.model import Receipt
    from provisioner.remote.http.client import HttpClient

_LOGGER = logging.getLogger(__name__)


def resolve_url_source(http_client: Callable[[], HttpClient], source: UrlSource) -> Resolved:
    """Return the artifacts of a source; requests are made only for file names that are not in the URLs.

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
    return Resolved("url", show_url(artifacts[0].urls[0]), pin_of(artifacts), artifacts)


def look_at_url_source(http_client: Callable[[], HttpClient], source: UrlSource, receipt: Receipt) -> News:
    """Ask the servers of a source's files for their states, one request per file, and compare them with the recorded ones.

    Args:
        http_client: returns the client for files.
        source: the URLs.
        receipt: receipt of the version that was built from them.

    Raises:
        ProvisionerError: the run must end.
    """
    http = http_client()
    changed, unknown, now = [], [], []
    states = {}
    error: ProvisionerError | None = None
    can_be_fetched = True
    for artifact in source.artifacts:
        then = receipt.origins.get(artifact.key)
        try:
            found = _present_state(http, artifact, then)
        except TRY_NEXT_AFTER as failure:
            http.check_cancelled()
            error = failure
            unknown.append(f"{artifact.name}: {failure.message}")
            break  # its other files are mostly on the same host
        now.append(f"{artifact.name}: {found.text}")
        states[artifact.key] = found
        result, why = _compare(artifact, then, found)
        if result == "changed":
            changed.append(f"{artifact.name}: {why}")
            can_be_fetched = can_be_fetched and artifact.digest is None and artifact.exact_size in {None, found.size}
        elif result == "unknown":
            unknown.append(f"{artifact.name}: {why}")
    recorded = "; ".join(f"{name}: {state.text}" for name, state in _recorded(source.artifacts, receipt)) or "nothing"
    text = "; ".join(now)
    if changed:
        why = "; ".join(changed)
        if not can_be_fetched:
            return News("outdated", recorded, text, f"{why}; the catalog states what the old file is, and must be corrected")
        pin = f"state:{hashlib.sha256(text.encode()).hexdigest()}" if error is None else ""
        return News("outdated", recorded, text, why, pin=pin, error=error, states=states)
    if unknown:
        return News("unknown", recorded, text, "; ".join(unknown), error=error)
    return News("current", recorded, text, "what the servers say is the same")


def _recorded(artifacts: Sequence[Artifact], receipt: Receipt) -> Iterator[tuple[str, FileState]]:
    for artifact in artifacts:
        if (state := receipt.origins.get(artifact.key)) is not None:
            yield artifact.name, state


def _present_state(http: HttpClient, artifact: Artifact, then: FileState | None) -> FileState:
    """Return the present state of a file at the URL that it was fetched from or, if unknown, at the first of its URLs."""
    of_then = (url for url in artifact.urls if then is not None and show_url(http.rewritten(url)) == then.url)
    url = next(of_then, artifact.urls[0])
    return http.facts(url).state or FileState(show_url(url))


def _compare(artifact: Artifact, then: FileState | None, now: FileState) -> tuple[Change, str]:
    if then is not None:
        return then.compare(now)
    if artifact.exact_size is not None and now.size is not None and artifact.exact_size != now.size:
        return "changed", f"{artifact.exact_size:,} bytes by the catalog, {now.size:,} now"
    digest = artifact.digest
    if digest is not None and digest.algorithm == "md5" and now.etag.strip('"') == digest.hex:
        return "same", "the ETag is its digest"
    why = "it was here already, a peer had it, or an earlier version of the program fetched it"
    return "unknown", f"nothing was recorded when it was fetched: {why}"


def _named(http: HttpClient, artifact: Artifact) -> Artifact:
    """Return the artifact with the name that a server states for it; unchanged if none does."""
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
    """Refuse two files with the same path (ignoring case, as in the catalog), now that their names are known.

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
    """Ask the server of a file for its size; nothing is known about its licence.

    Args:
        http_client: returns the client for files.
        reference: the requested reference.
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
