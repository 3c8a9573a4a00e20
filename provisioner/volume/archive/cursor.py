"""An archive read once, from its beginning to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.volume.fs.files import CHUNK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provisioner.volume.staging.incoming import Incoming


class Cursor:
    """A position in an archive that only moves forward; the bytes behind it are released."""

    def __init__(self, archive: Incoming) -> None:
        """Start at the beginning of ``archive``."""
        self._archive = archive
        self.name = archive.name
        self.position = 0
        """Bytes read so far."""
        self._released = 0

    def read(self, count: int) -> bytes:
        """Return between 1 and ``count`` bytes; none at the end.

        Raises:
            ProvisionerError: raised by the archive's ``read_at``.
        """
        data = self._archive.read_at(self.position, count)
        self.position += len(data)
        if self.position - self._released >= CHUNK:
            self._released = self.position
            self._archive.release(self.position)
        return data

    def pieces(self) -> Iterator[bytes]:
        """Yield the rest, at most a MiB at a time.

        Raises:
            ProvisionerError: raised by the archive's ``read_at``.
        """
        while data := self.read(CHUNK):
            yield data
