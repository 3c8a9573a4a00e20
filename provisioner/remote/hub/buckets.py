"""Storage buckets: what they hold, and making one. They have no revisions and no card."""

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
    """Their number, as the Hub counts them; it may be behind."""


class HubBuckets:
    """The buckets of one Hub, asked with one user's token; safe for several threads."""

    def __init__(self, access: HubAccess, library: HubLibrary) -> None:
        """Make no request.

        Args:
            access: the Hub and the user.
            library: asks it.
        """
        self._access = access
        self._library = library

    def page_url(self, bucket: str) -> str:
        """Return where a user looks at the bucket ``owner/name``."""
        return f"{self._access.endpoint}/buckets/{bucket}"

    def files_url(self, bucket: str) -> str:
        """Return the URL of the directory that all files are in; it cannot be requested itself."""
        return f"{self.page_url(quote(bucket))}/resolve"

    def info(self, bucket: str) -> Bucket:
        """Return the state of the bucket ``owner/name``.

        Raises:
            ProvisionerError: see :func:`provisioner.remote.hub.errors.refusal`; ``RemoteUnavailableError`` when the Hub kept
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
            ProvisionerError: as :meth:`info`.
        """

        def ask(api: HfApi) -> list[BucketFile]:
            from huggingface_hub import BucketFile  # noqa: PLC0415 - the library is imported when it is asked

            items = api.list_bucket_tree(bucket, recursive=True)
            return [item for item in items if isinstance(item, BucketFile)]

        files = self._library.ask(f"the listing of the bucket {bucket}", self.page_url(bucket), ask)
        return checked_listing(bucket, files)

    def create(self, bucket: str, *, private: bool | None) -> None:
        """Make the bucket ``owner/name``.

        Args:
            bucket: its full name.
            private: ``None``: the owner's default.

        Raises:
            ConflictError: the name is taken.
            ProvisionerError: as :meth:`info`.
        """

        def ask(api: HfApi) -> None:
            from huggingface_hub.errors import HfUriError  # noqa: PLC0415 - the library is imported when it is asked

            try:
                # `exist_ok` would take a refusal for success when the bucket exists and the token may only read.
                api.create_bucket(bucket, private=private, exist_ok=False)
            except HfUriError:
                # It was made; the library does not understand the URL in the response, which differs behind a mirror.
                return

        self._library.ask(f"making the bucket {bucket}", self.page_url(bucket), ask)
