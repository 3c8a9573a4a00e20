"""Make sure that a bucket exists and that the token may write to it, as far as the Hub can say without leaving a trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provisioner.errors import NotFoundError, RemoteRefusedError
from provisioner.remote.hub.errors import ConflictError
from provisioner.remote.hub.repository.token_rights import no_permission, rights_of
from provisioner.remote.hub.repository.values import outcome_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.remote.hub.buckets import Bucket
    from provisioner.remote.hub.client import HubClient
    from provisioner.remote.hub.repository.values import RepositoryOutcome, RepositoryRequest


def make_bucket_ready(
    request: RepositoryRequest, hub: HubClient, user: Mapping[str, Any], bucket: str, *, make: bool
) -> RepositoryOutcome:
    """Create a bucket if it does not exist, and check, by the token's permissions on the Hub, that it is writable.

    Args:
        request: the requested bucket.
        hub: a client with the request's endpoint and token.
        user: the Hub's answer to ``whoami``.
        bucket: its full name.
        make: ``False`` to change nothing; a missing bucket is then a failure.

    Raises:
        AccessDeniedError: the token may not write to it, or not create it.
        NotFoundError: it does not exist, and is not to be created.
        ProvisionerError: the Hub refused or kept failing.
    """
    rights = rights_of(user, bucket, "bucket")
    if rights.write is False:
        raise no_permission(request, hub, rights, bucket)
    found = _find(hub, bucket)
    created = False
    if found is None:
        if not make:
            hint = "Make it with 'repo create'. What is private looks missing to a token that may not read it."
            raise NotFoundError(f"the bucket {bucket} does not exist", hint=hint)
        if rights.create is False:
            raise no_permission(request, hub, rights, bucket)
        try:
            hub.buckets.create(bucket, private=request.private)
            created = True
        except ConflictError as conflict:
            # The response to our own request was lost, or another run was faster.
            found = _find(hub, bucket)
            if found is None:
                raise RemoteRefusedError(
                    f"{bucket}: the name is taken, by a bucket that this token cannot see",
                    hint=f"Choose another name ({request.called}), or rename the other bucket.",
                ) from conflict
    warnings = []
    if found is not None and rights.write is None:
        # The Hub offers no check of that which leaves no trace in the bucket.
        warnings.append(f"whether the token may write to {bucket} could not be found out")
    if found is not None and request.private is True and not found.private:
        warnings.append(f"{bucket} is public, though a private one is asked for; what exists is not changed")
    done = "made" if created else "exists already, reused as it is" if make else "exists, and the token may write to it"
    note = f"bucket {hub.buckets.page_url(bucket)}: {done}"
    return outcome_of(request, "ready", bucket, created=created, note=note, warnings=tuple(warnings))


def _find(hub: HubClient, bucket: str) -> Bucket | None:
    """Return the state of a bucket, or ``None`` if there is none that the token can see."""
    try:
        return hub.buckets.info(bucket)
    except NotFoundError:
        return None
