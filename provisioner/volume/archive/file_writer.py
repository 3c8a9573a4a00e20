"""The content of an archive's files: decompressed, checked, hashed and written, by several threads if that pays.

One thread creates all names. Content that can be read at any time (a member of a zip archive) is read and written by other
threads, into files that are already open.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from provisioner.catalog.answers import MAX_POINTER, is_pointer
from provisioner.volume.archive import workers
from provisioner.volume.archive.errors import write_error
from provisioner.volume.fs.files import CHUNK
from provisioner.volume.store.entry import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from provisioner.volume.archive.duplicates import TreeContents
    from provisioner.volume.archive.member import Member
    from provisioner.volume.archive.oddities import Oddities
    from provisioner.volume.staging.incoming import Incoming
    from provisioner.volume.tree.writer import TreeWriter

_MAX_PENDING: Final = 8
"""Maximum number of open files with unwritten content of each thread."""
_UNKNOWN_SHA256: Final = "0" * 64


@dataclass(frozen=True, slots=True)
class _PendingFile:
    """An open file whose content is written by another thread."""

    entry: Entry
    """Its entry, except for size and digest."""
    member: Member
    task: workers.Task[tuple[int, str]]


class _StoppedError(Exception):
    """Another file of the archive failed, so the result of this one is no longer needed."""


class FileWriter:
    """The files of one archive that are being written into a tree."""

    def __init__(
        self,
        tree: TreeWriter,
        archive: Incoming,
        contents: TreeContents,
        oddities: Oddities,
        artifact: str,
        *,
        check_cancelled: Callable[[], None],
        advance: Callable[[int], None],
    ) -> None:
        """Begin without any file; threads are started when they are needed.

        Args:
            tree: creates the files.
            archive: is told which of its bytes are no longer needed.
            contents: is told of every file, at once and again when its digest is known.
            oddities: is told of files whose content is elsewhere.
            artifact: key that each entry records.
            check_cancelled: called for every block, in any thread; raises to end the work.
            advance: called with the number of bytes of each block that is done, in any thread.
        """
        self._tree, self._archive, self._contents, self._artifact = tree, archive, contents, artifact
        self._oddities = oddities
        self._check_cancelled, self._advance = check_cancelled, advance
        self._released = 0
        self._cores = workers.usable_cores()
        self._pool: workers.WorkerPool | None = None
        self._pending: deque[_PendingFile] = deque()

    def write(self, path: str, member: Member) -> None:
        """Write a new file in an existing directory; the content of an independent member is written later.

        Raises:
            OSError: from the system.
            ProvisionerError: raised by the member's blocks, or by an earlier file that is done now.
        """
        if member.independent and self._cores > 1:
            self._submit(path, member)
            return
        size, sha256 = self._fill(self._tree.create(path, executable=member.executable), path, member)
        entry = Entry(path, "file", size, sha256, executable=member.executable, artifact=self._artifact)
        self._contents.add(path, entry)

    def digest(self, member: Member) -> tuple[int, str]:
        """Return size in bytes and SHA-256 of a member's content, which is not written."""
        size, hasher = 0, hashlib.sha256()
        for data in self._counted(member.blocks):
            hasher.update(data)
            size += len(data)
        return size, hasher.hexdigest()

    def release_before(self, needed_from: int) -> None:
        """Release the bytes of the archive that are needed neither by pending files nor by members from ``needed_from`` on."""
        if self._pending:
            needed_from = self._pending[0].member.needed_from or 0
        if needed_from - self._released >= CHUNK:
            self._released = needed_from
            self._archive.release(needed_from)

    def wait(self) -> None:
        """Wait until the content of all files is written.

        Raises:
            ProvisionerError: the error of the first file, in the archive's order, that failed.
        """
        while self._pending:
            self._finish_first()

    def close(self) -> None:
        """End all threads; content that has not been written yet is dropped."""
        self._pending.clear()
        if self._pool is not None:
            self._pool.close()

    def _submit(self, path: str, member: Member) -> None:
        if self._pool is None:
            self._pool = workers.WorkerPool(self._cores, "unpack")
        while len(self._pending) >= _MAX_PENDING * self._cores or (self._pending and self._pending[0].task.done):
            self._finish_first()
        handle = self._tree.create(path, executable=member.executable)
        entry = Entry(path, "file", 0, _UNKNOWN_SHA256, executable=member.executable, artifact=self._artifact)
        # Recorded now, so that the entries stay in the archive's order.
        self._contents.add(path, entry)
        self._pending.append(_PendingFile(entry, member, self._pool.submit(partial(self._fill, handle, path, member))))

    def _finish_first(self) -> None:
        file = self._pending.popleft()
        try:
            size, sha256 = file.task.result()
        except BaseException as error:
            # This is the first error in the archive's order; those of later files no longer matter.
            self._pending.clear()
            if isinstance(error, OSError):
                raise write_error(error, self._archive.name, self._tree.root, file.entry.path, file.member.size) from error
            raise
        entry = file.entry
        done = Entry(entry.path, "file", size, sha256, executable=entry.executable, artifact=self._artifact)
        self._contents.add(entry.path, done)

    def _fill(self, handle: int, path: str, member: Member) -> tuple[int, str]:
        """Write the content of a new file and close it, in any thread; return its size in bytes and its SHA-256."""
        if isinstance(member.blocks, tuple):
            if member.size <= MAX_POINTER:
                self._remark_pointer(path, b"".join(member.blocks))
            done = self._tree.fill(handle, path, member.blocks, executable=member.executable, mtime_ns=member.mtime_ns)
            self._advance(member.size)
            return done
        # Closed here, because the reader may hold a lock until then.
        with contextlib.closing(self._counted(member.blocks)) as blocks:
            noticed = self._noticed(path, blocks) if member.size <= MAX_POINTER else blocks
            return self._tree.fill(handle, path, noticed, executable=member.executable, mtime_ns=member.mtime_ns)

    def _noticed(self, path: str, blocks: Iterable[bytes]) -> Generator[bytes, None, None]:
        """Yield the blocks of a small file, inspecting each."""
        for data in blocks:
            self._remark_pointer(path, data)
            yield data

    def _remark_pointer(self, path: str, data: bytes) -> None:
        if is_pointer(data):
            # Archives that a host makes of a repository contain these pointers instead of the data.
            self._oddities.remark("it has Git LFS pointers in place of files, whose content is elsewhere", path)

    def _counted(self, blocks: Iterable[bytes]) -> Generator[bytes, None, None]:
        """Yield the blocks; before each, check for cancellation, and after each, report progress."""
        try:
            for data in blocks:
                if self._pool is not None and self._pool.stopped:
                    raise _StoppedError
                self._check_cancelled()
                yield data
                self._advance(len(data))
        finally:
            close = getattr(blocks, "close", None)
            if close is not None:
                close()
