"""Reading a large file whose ranges are still arriving."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provisioner.volume.staging.ranged_file import RangedFile


class RangedFileReader:
    """One version of a file that is still arriving, as an :class:`~provisioner.volume.staging.incoming.Incoming`."""

    def __init__(self, file: RangedFile, version: int) -> None:
        """Read ``file`` as long as it is at ``version``."""
        self._file = file
        self.version = version
        """The version of the file that is read."""
        self.name = file.artifact.name.rsplit("/", 1)[-1]
        self.size = file.size

    def read_at(self, offset: int, count: int) -> bytes:
        """Return between 1 and ``count`` bytes from ``offset`` on, or none at the end; wait until some have arrived.

        Raises:
            UpstreamChangedError: the file was changed upstream meanwhile.
            ProvisionerError: the transfer has failed, or the run must end.
        """
        return self._file.read(self.version, offset, count)

    def expect(self, spans: Iterable[tuple[int, int]]) -> None:
        """Announce which ranges will be read.

        Raises:
            UpstreamChangedError: the file was changed upstream meanwhile.
        """
        self._file.expect(self.version, spans)

    def release(self, offset: int) -> None:
        """Announce that no byte before ``offset`` will be read again."""
        self._file.release(self.version, offset)

    def wait_dropped(self) -> None:
        """Wait until the file is dropped, because this version of it turned out to be useless.

        Raises:
            UpstreamChangedError: it was dropped.
            ProvisionerError: no other version will arrive, or the run must end.
        """
        self._file.wait_dropped(self.version)

    def wait_sealed(self) -> None:
        """Wait until the whole file has arrived and its digest is right, which proves that what was read before was right.

        Raises:
            UpstreamChangedError: the file was dropped, and what was read of it must not be used.
            ProvisionerError: the file will never be whole, or the run must end.
        """
        self._file.wait_sealed(self.version)
