"""Use trees that another tool unpacked in place of archives that are not here: compare them with each archive's index.

The index of a zip states the size and CRC-32 of each member, and a few range requests fetch it from the server. A tar
states no checksums of content, so nothing shows whether a file is its member, and the archive is fetched.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Final

from provisioner.errors import TRY_NEXT_AFTER, BrokenArchiveError, IntegrityError
from provisioner.units import format_count
from provisioner.volume.archive.zip.listing import has_content, listed_member, read_listing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from provisioner.catalog.artifact import Artifact
    from provisioner.engine.staged_tree import Part
    from provisioner.engine.unpack import Unpacker
    from provisioner.remote.transfers import Transfers
    from provisioner.volume.archive.zip.entry import ZipEntry

_LOGGER = logging.getLogger(__name__)

_BLOCK: Final = 256 << 10
"""Bytes of one range request."""
_MOST_BLOCKS: Final = 400
"""How many ranges are requested at most, which bounds the size of an index that is read."""


class TreeAdopter:
    """Puts files of unpacked trees into the staged tree, where an archive's index shows that they are its members."""

    def __init__(
        self,
        transfers: Transfers,
        unpacker: Unpacker,
        find: Callable[[str], Iterable[Path]],
        *,
        check_cancelled: Callable[[], None],
    ) -> None:
        """Prepare.

        Args:
            transfers: brings the index.
            unpacker: judges and writes members, wherever their content comes from.
            find: returns the files on this machine that may be a member, given its path.
            check_cancelled: raises when the run must end.
        """
        self._transfers = transfers
        self._unpacker = unpacker
        self._find = find
        self._check = check_cancelled

    def adopt(self, artifact: Artifact) -> Part | None:
        """Return an archive's part of the tree, built from files that are here; ``None`` if it must be fetched.

        Raises:
            ProvisionerError: the volume failed, or the run must end.
        """
        if artifact.unpack != "zip":
            return None
        try:
            index = _RemoteIndex(artifact, self._transfers)
            entries = read_listing(index)
        except TRY_NEXT_AFTER as error:
            self._check()
            _LOGGER.info("%s: its index could not be read: %s", artifact.name, error.message)
            return None
        found = self._matching(artifact, entries or ())
        if found is None:
            return None
        _LOGGER.info("%s: its files are here, by the sizes and CRC-32 of its index; it is not fetched", artifact.name)
        try:
            return self._unpacker.unpack_listed(
                artifact, index, (listed_member(entry, path, artifact.name) for entry, path in found)
            )
        except IntegrityError as error:
            _LOGGER.warning("%s: %s; it is fetched", artifact.name, error.message)
            return None

    def _matching(self, artifact: Artifact, entries: Iterable[ZipEntry]) -> list[tuple[ZipEntry, Path | None]] | None:
        """Return each entry with the file that has its content; ``None`` if one has none, or there are no entries."""
        found: list[tuple[ZipEntry, Path | None]] = []
        files = missing = 0
        for entry in entries:
            self._check()
            path = None if entry.is_directory else self._file_of(entry)
            files += not entry.is_directory
            missing += path is None and not entry.is_directory
            found.append((entry, path))
        if files and missing < files and missing:
            what = f"{format_count(files - missing, 'file')} of {files:,}"
            _LOGGER.warning("%s: only %s are here as its index has them; it is fetched", artifact.name, what)
        return found if files and not missing else None

    def _file_of(self, entry: ZipEntry) -> Path | None:
        for path in self._find(entry.name):
            with contextlib.suppress(OSError):
                if has_content(entry, path):
                    return path
        return None


class _RemoteIndex:
    """An archive on its server as a file that is read by offset; only the blocks that hold its index are fetched."""

    def __init__(self, artifact: Artifact, transfers: Transfers) -> None:
        """Ask the server for the size, if it is not known.

        Raises:
            ProvisionerError: the server does not state it.
        """
        self.name = artifact.name.rpartition("/")[2]
        self._artifact = artifact
        self._transfers = transfers
        self.size = transfers.size_of(artifact)
        self._blocks: dict[int, bytes] = {}

    def read_at(self, offset: int, count: int) -> bytes:
        number = offset // _BLOCK
        block = self._blocks.get(number)
        if block is None:
            if len(self._blocks) >= _MOST_BLOCKS:
                raise BrokenArchiveError(f"{self.name}: its index is larger than what is read of one")
            start = number * _BLOCK
            if start >= self.size:
                return b""
            block = self._blocks[number] = self._transfers.fetch_range(
                self._artifact, start, min(self.size, start + _BLOCK), self.size
            )
        at = offset - number * _BLOCK
        return block[at : at + count]

    def expect(self, spans: Iterable[tuple[int, int]]) -> None:
        """Do nothing: each block is fetched when it is read."""

    def release(self, offset: int) -> None:
        """Do nothing: an index is small, so its blocks are kept."""
