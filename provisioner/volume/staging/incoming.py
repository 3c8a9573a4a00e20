"""What a reader of archives needs of a file, which may still be arriving while it is read."""

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
    """A file that is read by offset; a read waits until its bytes have arrived. Safe for several threads."""

    @property
    def name(self) -> str:
        """The file's name, for messages."""
        ...

    @property
    def size(self) -> int:
        """Size of the whole file in bytes; waits until it is known.

        Raises:
            ProvisionerError: it will never be known: the transfer has failed, or the run must end.
        """
        ...

    def read_at(self, offset: int, count: int) -> bytes:
        """Return between 1 and ``count`` bytes from ``offset`` on, none at the end; waits until there are some.

        Raises:
            ProvisionerError: the bytes will never arrive: the transfer or the disk has failed, or the run must end.
        """
        ...

    def expect(self, spans: Iterable[tuple[int, int]]) -> None:
        """Announce that these ranges will be read: where only what is read is fetched, all of them are fetched at once.

        Args:
            spans: index of the first byte and after the last one of each range, in their order.

        Raises:
            ProvisionerError: as :meth:`read_at`.
        """
        ...

    def release(self, offset: int) -> None:
        """Announce that the bytes before ``offset`` are not needed any more.

        Where there is no space for the whole file, they are dropped to make space for the bytes that follow. Reading them
        again still works, slowly: they are fetched once more.
        """
        ...


class LocalFile:
    """A whole file on the disk, seen as an :class:`Incoming`."""

    def __init__(self, path: Path, name: str = "") -> None:
        """Open the file.

        Args:
            path: of the file.
            name: for messages, where the file's own name would mean nothing to a reader, as in staging.

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
        """Do nothing: all of it is here."""

    def release(self, offset: int) -> None:
        """Do nothing: the file stays on the disk."""
