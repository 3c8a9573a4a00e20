"""Knowledge of a repository without a request to the Hub: that there is nothing to do, or what an earlier run found."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from provisioner.remote.hub.repository.names import FULL_NAME
from provisioner.remote.hub.repository.values import RepositoryOutcome, outcome_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.remote.hub.repository.values import RepositoryRequest

RECORD_VERSION: Final = 1


def skipped_outcome(request: RepositoryRequest) -> RepositoryOutcome | None:
    """Return the outcome of a request without a name or a token, or ``None`` if it has both."""
    if not request.name:
        return RepositoryOutcome("skipped", note=f"no {request.word} is wanted (DATASET_REPO=none)")
    if not request.token:
        note = f"{request.word} {request.name}: skipped, because there is no token; set HF_TOKEN to have it made"
        return RepositoryOutcome("skipped", note=note)
    return None


def fingerprint(token: str) -> str:
    """Return 12 hexadecimal digits that change with the token, and from which it cannot be derived."""
    return hashlib.sha256(b"provisioner: which token was it\0" + token.encode("utf-8", "surrogateescape")).hexdigest()[:12]


def to_record(outcome: RepositoryOutcome, request: RepositoryRequest) -> dict[str, Any]:
    """Return the record of a success, as JSON values.

    Raises:
        ValueError: it was not a success; after a failure, the Hub is asked again.
    """
    if outcome.state != "ready" or outcome.repo_id is None:
        raise ValueError(f"only a repository that is ready is remembered, this one is {outcome.state}")
    return {**_request_record(request), "repo_id": outcome.repo_id, "url": outcome.url, "created": outcome.created}


def remembered(record: Mapping[str, Any], request: RepositoryRequest) -> RepositoryOutcome | None:
    """Return the outcome of an earlier run, or ``None`` if that had another request, or its record is damaged."""
    if not request.name or not request.token:
        return None
    repo_id = record.get("repo_id")
    if not isinstance(repo_id, str) or not FULL_NAME.fullmatch(repo_id):
        return None
    if any(record.get(key) != value for key, value in _request_record(request).items()) or (
        record.get("kind", "dataset") != request.kind
    ):
        return None
    note = f"{request.word} {repo_id}: ready, as an earlier run found"
    return outcome_of(request, "ready", repo_id, created=record.get("created") is True, note=note)


def _request_record(request: RepositoryRequest) -> dict[str, Any]:
    more: dict[str, Any] = {"gate": request.gate, "declared": True} if request.declared else {}
    more |= {"kind": request.kind} if request.kind != "dataset" else {}
    return {
        **more,
        "version": RECORD_VERSION,
        "endpoint": request.endpoint.rstrip("/"),
        "name": request.name,
        "org": request.org or None,
        "private": request.private,
        "token": fingerprint(request.token or ""),
    }
