"""A file that may still be arriving, as those see it who read it meanwhile: the readers of archives."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Protocol, Self

from provisioner.volume.fs.errors import disk_error

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


class Incoming(Protocol):
    """Bytes by their place; a reader waits until what it asks for is there. Safe for several threads."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    @property
    def size(self) -> int:
        """Bytes of the whole; waits until that is known.

        Raises:
            ProvisionerError: it will never be: the transfer has failed, or the run must end.
        """
        ...

    def read_at(self, offset: int, count: int) -> bytes:
        """Return between 1 and ``count`` bytes from ``offset`` on, none at the end; waits until there are some.

        Raises:
            ProvisionerError: they will never come: the transfer has failed, the run must end, or the disk failed.
        """
        ...

    def release(self, offset: int) -> None:
        """Say that nothing before ``offset`` will be read again, except by its index at the end of the file.

        Where there is no room for the whole, what lies before it makes way for what is yet to come. Whoever goes back all the
        same is served, slowly.
        """
        ...


class LocalFile:
    """A file that is there, whole."""

    def __init__(self, path: Path, name: str = "") -> None:
        """Open it.

        Args:
            path: where it is.
            name: what messages call it; in staging it has a name that says nothing to anybody.

        Raises:
            VolumeError: it cannot be opened.
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
        """Let go of it."""
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

    def release(self, offset: int) -> None:
        """Nothing: what is there stays."""
