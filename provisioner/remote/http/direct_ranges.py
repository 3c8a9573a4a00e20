"""Ranges for a reader that needs bytes of an archive that are not held: its index, or bytes that were already dropped.

They are not among the bytes that the digest is computed of, so only a validator can show that they are of the same version.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from provisioner.errors import RemoteRefusedError
from provisioner.redaction import show_url
from provisioner.remote.http.headers import range_of
from provisioner.remote.http.refusals import other_size
from provisioner.remote.http.versions import Agreement, version_of
from provisioner.remote.retry import Transient
from provisioner.remote.urls import host_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.remote.http.client import HttpClient
    from provisioner.remote.http.remembered_redirect import RememberedRedirect


class DirectRanges:
    """Requests for single ranges, each made for a thread that waits for it."""

    def __init__(
        self,
        client: HttpClient,
        requested: str,
        address: RememberedRedirect,
        size: int,
        known_record: Callable[[], str | None],
    ) -> None:
        """Prepare.

        Args:
            client: reads the bodies.
            requested: the URL, for messages and to recognise where redirects led.
            address: sends the requests.
            size: exact number of bytes of the file.
            known_record: returns the record of the version that is being fetched, or ``None`` if it is not known.
        """
        self._client = client
        self._requested = requested
        self._address = address
        self._size = size
        self._known_record = known_record

    def fetch(self, offset: int, count: int) -> bytes:
        """Return between 1 and ``count`` bytes from ``offset`` on.

        Raises:
            ProvisionerError: depends on the server's response.
        """
        return self._client.retry.call(
            lambda: show_url(self._requested), lambda: self._attempt(offset, count), host=host_of(self._requested)
        )

    def _attempt(self, offset: int, count: int) -> bytes:
        record = self._known_record()
        # Running requests may be waiting until the reader has gone on.
        answer = self._address.open({"Range": f"bytes={offset}-{offset + count - 1}"}, urgent=True)
        response = answer.response
        try:
            found = range_of(response)
            if found is None or found.start != offset or record is None:
                raise RemoteRefusedError(
                    f"{show_url(self._requested)}: nothing in the server's answers shows that its ranges are of one version,"
                    " and there is no room for the whole archive",
                    hint="Enlarge the volume, or try a mirror (URL_REWRITE).",
                )
            if found.total not in {None, self._size}:
                raise other_size(self._requested, self._size, found.total, response)
            if version_of(answer, self._requested, time.time()).agreement(record) is not Agreement.SAME:
                raise Transient("the server sent a range that need not be of the same version")
            data = bytearray()
            for part in self._client.parts(response, self._requested):
                data += part
                if len(data) >= count:
                    break
        finally:
            response.close()
        if not data:
            raise Transient("the connection ended before its first byte")
        return bytes(data[: min(count, found.end - offset)])
