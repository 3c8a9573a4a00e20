"""The interface that readers of archives need to a file, which may still be arriving while it is read."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Protocol, Self

from provisioner.volume.fs.errors import disk_error

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType


class Incoming(Protocol):
    """A file that is read by offset; a read waits until the bytes have arrived. Safe for several threads."""

    @property
    def name(self) -> str:
        """The file's name, for messages."""
        ...

    @property
    def size(self) -> int:
        """Size of the whole file in bytes; waits until it is known.

        Raises:
            ProvisionerError: it will never be known, because the transfer has failed, or the run must end.
        """
        ...

    def read_at(self, offset: int, count: int) -> bytes:
        """Return between 1 and ``count`` bytes from ``offset`` on, or none at the end; waits until some have arrived.

        Raises:
            ProvisionerError: the bytes will never arrive, because the transfer or the disk has failed, or the run must end.
        """
        ...

    def expect(self, spans: Iterable[tuple[int, int]]) -> None:
        """Announce ranges that will be read, so that all are fetched at once if only what is read is fetched.

        Args:
            spans: offset of the first byte and the offset after the last byte of each range, in order.

        Raises:
            ProvisionerError: see :meth:`read_at`.
        """
        ...

    def release(self, offset: int) -> None:
        """Announce that the bytes before ``offset`` are no longer needed.

        If there is no space for the whole file, they are dropped to make space for the bytes that follow. Reading them again
        still works, but slowly: they are fetched once more.
        """
        ...


class LocalFile:
    """A whole file on the disk, as an :class:`Incoming`."""

    def __init__(self, path: Path, name: str = "") -> None:
        """Open the file.

        Args:
            path: the file.
            name: for messages, if the file's own name would mean nothing to the user, as in staging.

        Raises:
            VolumeError: the file cannot be opened.
        """
        self.name = name or path.name
        self._path = path
        try:
            self._file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))
            self.size = os.fstat(self._file).st_size
        except OSError as error:
            raise disk_error(error, f"reading the archive {self.name}", path=path) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.close(self._file)
            self._file = -1

    def read_at(self, offset: int, count: int) -> bytes:
        """Return between 1 and ``count`` bytes from ``offset`` on; none at the end.

        Raises:
            VolumeError: the disk failed.
        """
        try:
            return os.pread(self._file, count, offset)
        except OSError as error:
            raise disk_error(error, f"reading the archive {self.name}", path=self._path) from error

    def expect(self, spans: Iterable[tuple[int, int]]) -> None:
        """Do nothing, since all of the file is here."""

    def release(self, offset: int) -> None:
        """Do nothing, since the file stays on the disk."""
