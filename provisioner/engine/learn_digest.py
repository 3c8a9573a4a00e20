"""The digest of a file that has no published one: the file is fetched once, and stays in staging for the next run."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from provisioner.catalog.digest import Digest
from provisioner.catalog.size import Size
from provisioner.planning.capacity import SMALL
from provisioner.volume.staging.blob import Blob

if TYPE_CHECKING:
    from provisioner.cancellation import Cancellation
    from provisioner.catalog.artifact import Artifact
    from provisioner.engine.clients import Clients
    from provisioner.engine.volume_session import VolumeSession
    from provisioner.reporting.progress import Progress


def learn_digest(
    session: VolumeSession, clients: Clients, artifact: Artifact, *, cancellation: Cancellation, progress: Progress
) -> Artifact:
    """Fetch a file into staging, and return the artifact with its digest and size; the lock is held.

    Raises:
        ProvisionerError: it could not be fetched, or the volume failed.
    """
    blobs = session.layout.blobs
    progress.start(artifact.name, "fetch", artifact.exact_size)
    try:
        with Blob(blobs, artifact, check_cancelled=cancellation.raise_if_requested) as blob:
            progress.advance(artifact.name, blob.have)
            sha256 = clients.transfers.fetch(artifact, blob, lambda count: progress.advance(artifact.name, count))
            proven = replace(artifact, digest=Digest("sha256", sha256), size=Size(blob.have), verified_against="catalog")
            if blob.have <= SMALL:
                blob.drop()  # a run fetches small files into memory
            else:
                # The next run finds it under this name, whatever its URL is then.
                blob.move_to(lambda path: os.replace(path, blobs / f"{proven.key}.part"))
    finally:
        progress.finish(artifact.name)
    return proven
