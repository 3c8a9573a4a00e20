"""Storage buckets: read their content, and create them. They have no revisions and no card."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from provisioner.remote.hub.listing import checked_listing

if TYPE_CHECKING:
    from huggingface_hub import BucketFile, HfApi

    from provisioner.remote.hub.access import HubAccess
    from provisioner.remote.hub.library import HubLibrary
    from provisioner.remote.hub.listing import HubFile


@dataclass(frozen=True, slots=True)
class Bucket:
    """The state of a bucket."""

    id: str
    """``owner/name``."""
    private: bool
    files: int
    """Number of files as counted by the Hub, which may lag behind."""


class HubBuckets:
    """The buckets of one Hub, accessed with one user's token; safe for several threads."""

    def __init__(self, access: HubAccess, library: HubLibrary) -> None:
        """Make no request yet.

        Args:
            access: the Hub and the user.
            library: makes the requests.
        """
        self._access = access
        self._library = library

    def page_url(self, bucket: str) -> str:
        """Return the page of the bucket ``owner/name`` for users."""
        return f"{self._access.endpoint}/buckets/{bucket}"

    def files_url(self, bucket: str) -> str:
        """Return the URL of the directory that holds all files; it cannot be requested itself."""
        return f"{self.page_url(quote(bucket))}/resolve"

    def info(self, bucket: str) -> Bucket:
        """Return the state of the bucket ``owner/name``.

        Raises:
            ProvisionerError: see :func:`provisioner.remote.hub.errors.refusal`; ``RemoteUnavailableError`` if the Hub kept
                failing.
        """

        def ask(api: HfApi) -> Bucket:
            found = api.bucket_info(bucket)
            return Bucket(str(found.id), bool(found.private), int(found.total_files))

        return self._library.ask(f"the bucket {bucket}", self.page_url(bucket), ask)

    def listing(self, bucket: str) -> list[HubFile]:
        """Return all files of a bucket, ordered by path.

        Raises:
            IntegrityError: a file has no path.
            ProvisionerError: see :meth:`info`.
        """

        def ask(api: HfApi) -> list[BucketFile]:
            from huggingface_hub import BucketFile  # noqa: PLC0415 - the library is imported when it is asked

            items = api.list_bucket_tree(bucket, recursive=True)
            return [item for item in items if isinstance(item, BucketFile)]

        files = self._library.ask(f"the listing of the bucket {bucket}", self.page_url(bucket), ask)
        return checked_listing(bucket, files)

    def create(self, bucket: str, *, private: bool | None) -> None:
        """Create the bucket ``owner/name``.

        Args:
            bucket: its full name.
            private: ``None`` means the owner's default.

        Raises:
            ConflictError: the name is taken.
            ProvisionerError: see :meth:`info`.
        """

        def ask(api: HfApi) -> None:
            from huggingface_hub.errors import HfUriError  # noqa: PLC0415 - the library is imported when it is asked

            try:
                # With `exist_ok`, a refusal would count as success if the bucket exists and the token may only read.
                api.create_bucket(bucket, private=private, exist_ok=False)
            except HfUriError:
                # It was created, but the library cannot parse the URL in the response, which differs behind a mirror.
                return

        self._library.ask(f"making the bucket {bucket}", self.page_url(bucket), ask)
