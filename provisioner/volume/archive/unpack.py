"""Unpacking an archive that is not trusted: every file is hashed while it is written, and nothing is written outside.

The archive may still be arriving: it is read forward from its beginning, except for the index of a zip, and what is done is
released. The readers (:mod:`.tar.reader`, :mod:`.zip.reader`) yield what the archive states. Each rule has a module: which
names are accepted (:mod:`.names`), where links may point (:mod:`.links`), what two members at one path mean
(:mod:`.duplicates`), and how much is too much (:mod:`.limits`). What is accepted is written by
:class:`~provisioner.volume.tree.writer.TreeWriter` and :mod:`.file_writer`.

What is refused does not depend on what is on the disk. Symbolic links are not made here, but when everything that they could
divert is written: when the whole tree is complete, of which this archive may be a part. Of a file the archive determines
content, name, time and whether its owner may execute it; modes and ownership are those of the volume, and set-id bits are
dropped.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from provisioner.errors import BrokenArchiveError, IntegrityError
from provisioner.volume.archive.decompress import open_tar
from provisioner.volume.archive.duplicates import TreeContents
from provisioner.volume.archive.errors import broken_archive, quoted, unsafe_member, write_error
from provisioner.volume.archive.file_writer import FileWriter
from provisioner.volume.archive.limits import LimitCounter, Limits
from provisioner.volume.archive.links import ArchiveLinks
from provisioner.volume.archive.mismatch import explained
from provisioner.volume.archive.names import MemberNames
from provisioner.volume.archive.oddities import Oddities
from provisioner.volume.archive.tar.reader import read_tar
from provisioner.volume.archive.zip.reader import read_zip
from provisioner.volume.fs.directories import make_directory
from provisioner.volume.fs.errors import disk_error
from provisioner.volume.store.entry import Entry
from provisioner.volume.tree.taken import TakenPaths
from provisioner.volume.tree.writer import TreeWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from provisioner.catalog.artifact import UnpackFormat
    from provisioner.volume.archive.member import Member
    from provisioner.volume.staging.incoming import Incoming

_DEFAULT_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class UnpackTarget:
    """Where an archive is unpacked, and what is there already.

    Raises:
        ValueError: ``into`` is not a plain relative path.
    """

    root: Path
    """The data set's directory; it is made if it is missing."""
    into: str = ""
    """Directory within ``root`` that the members go into, with POSIX separators; empty for ``root`` itself."""
    existing: TakenPaths = field(default_factory=TakenPaths)
    """What other artifacts of the data set put under ``root``. It must not change while the archive is unpacked."""
    artifact: str = ""
    """Key that is noted in each entry."""
    proven: bool = False
    """Whether all bytes of the archive are compared with a known digest before anything that came out is published."""

    def __post_init__(self) -> None:
        if self.into and any(part in {"", ".", ".."} for part in self.into.split("/")):
            raise ValueError(f"not a sub-directory: {self.into!r}")


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What came out of an archive; paths are relative to the data set's directory."""

    entries: tuple[Entry, ...]
    """Files and links, then empty directories, each in the archive's order."""
    shared: tuple[str, ...]
    """Paths at which an earlier artifact of the data set had put the same; they are not among the entries."""
    oddities: str = ""
    """What is odd about the archive although it was accepted, for one warning; empty for most archives."""


def unpack(
    archive: Incoming,
    form: UnpackFormat,
    target: UnpackTarget,
    *,
    check_cancelled: Callable[[], None],
    advance: Callable[[int], None],
    limits: Limits = _DEFAULT_LIMITS,
) -> Unpacked:
    """Unpack ``archive`` and return what came out of it. Its symbolic links are checked, and not made.

    What an earlier attempt left in the tree is replaced where the archive has something at that path, and stays elsewhere.
    After an error the tree holds a part of the archive; it may be unpacked again, or removed.

    Args:
        archive: a file, which may still be arriving; several threads read it.
        form: its format: ``zip`` or a kind of ``tar``.
        target: where it is unpacked. A member that is the same as what exists there is accepted, and listed as shared.
        check_cancelled: called for every member and at least once for every MiB, in any thread; raises to end the work.
        advance: called with the number of bytes of file content that were unpacked since the last call, in any thread.
        limits: how much may come out.

    Raises:
        BrokenArchiveError: it cannot be read to its end, or contradicts its own checksums.
        UnsafeArchiveError: a member would leave the directory, or is neither file, directory nor link within it; or the archive
            contradicts itself, is encrypted, or exceeds ``limits``.
        IntegrityError: it has something else at a path than what exists there.
        VolumeFullError, VolumeNotWritableError, VolumeError: the disk refused; the archive may be right.
        ProvisionerError: raised by the archive's ``read_at``.
        ValueError: ``form`` is not a format of archives.
    """
    make_directory(target.root)
    try:
        tree = TreeWriter(target.root)
    except OSError as error:
        raise disk_error(error, f"unpacking {archive.name}", path=target.root) from error
    oddities = Oddities(archive.name, proven=target.proven)
    with tree, contextlib.closing(_members(archive, form, oddities, check_cancelled, limits)) as members:
        unpacker = _Unpacker(tree, archive, target, limits, oddities, check_cancelled=check_cancelled, advance=advance)
        try:
            for member in members:
                check_cancelled()
                unpacker.add(member)
            return unpacker.finish()
        except IntegrityError as error:
            # If an earlier member is wrong, too, that one is reported, whichever thread was faster.
            unpacker.wait()
            if isinstance(error, BrokenArchiveError) and (better := explained(error, archive, form)) is not error:
                raise better from error
            raise
        finally:
            unpacker.close()


def _members(
    archive: Incoming, form: UnpackFormat, oddities: Oddities, check_cancelled: Callable[[], None], limits: Limits
) -> Generator[Member, None, None]:
    if form == "zip":
        yield from read_zip(archive, oddities, check_cancelled, limits.max_members)
    elif form == "none":
        raise ValueError("not an archive")
    else:
        with open_tar(archive, form, oddities) as stream:
            yield from read_tar(stream, archive.name, oddities, check_cancelled)


class _Unpacker:
    """One archive that is being unpacked into one tree: each member is judged, and written if it is accepted.

    One thread judges all members and makes every name.
    """

    def __init__(
        self,
        tree: TreeWriter,
        archive: Incoming,
        target: UnpackTarget,
        limits: Limits,
        oddities: Oddities,
        *,
        check_cancelled: Callable[[], None],
        advance: Callable[[int], None],
    ) -> None:
        self._tree, self._archive, self._target = tree, archive.name, target
        self._check_cancelled = check_cancelled
        self._oddities = oddities
        self._counter = LimitCounter(archive.name, limits)
        self._names = MemberNames(archive.name, target.into, oddities)
        try:
            folds = tree.folds_names()
        except OSError as error:
            raise self._write_error(error, target.into or ".") from error
        self._contents = TreeContents(archive.name, target.existing, folds=folds)
        self._links = ArchiveLinks(archive.name, target.into, self._contents)
        self._files = FileWriter(
            tree, archive, self._contents, oddities, target.artifact, check_cancelled=check_cancelled, advance=advance
        )
        self._last_parent: str | None = None
        """The directory that was made for the last member: most members follow another one of their directory."""
        try:
            self._add_directory(target.into)
        except OSError as error:
            raise self._write_error(error, target.into) from error

    def add(self, member: Member) -> None:
        """Judge one member and write it; symbolic links are only recorded, and made when the whole tree is complete.

        Raises:
            ProvisionerError: see :func:`unpack`.
        """
        self._counter.add_member()
        if member.needed_from is not None:
            self._files.release_before(member.needed_from)
        path = self._names.path(member.name)
        if member.position is not None:
            self._contents.set_position(path, member.position)
        if path == self._target.into and member.kind != "directory":
            raise self._refused(member.name, "stands for the archive's own directory and is not a directory")
        try:
            match member.kind:
                case "file":
                    self._add_file(path, member)
                case "directory":
                    self._add_directory(path)
                case "symlink":
                    self._record_link(path, Entry(path, "link", target=member.target, artifact=self._target.artifact))
                case "hardlink":
                    self._add_hard_link(path, member)
        except OSError as error:
            raise self._write_error(error, path, member.size) from error

    def finish(self) -> Unpacked:
        """Wait for all files, check the links, and return what came out.

        Raises:
            ProvisionerError: see :func:`unpack`.
        """
        self._files.wait()
        self._links.check()
        return Unpacked(*self._contents.take_all(), oddities=self._oddities.summary())

    def wait(self) -> None:
        """Wait until the content of all files is written.

        Raises:
            ProvisionerError: the error of the first file, in the archive's order, that failed.
        """
        self._files.wait()

    def close(self) -> None:
        """End all threads."""
        self._files.close()

    # --- members by kind

    def _add_directory(self, path: str) -> None:
        """Make a directory and those above it, unless this archive has made them."""
        added = self._contents.added(path)
        if added is None:
            if not path:
                return
            self._contents.check_directory(path)
            above = path.rpartition("/")[0]
            if above:
                self._add_directory(above)
                self._contents.mark_nonempty(above)
            self._tree.directory(path)
            self._contents.add(path, Entry(path, "folder", artifact=self._target.artifact))
        elif added.kind != "folder":
            raise self._refused(path, f"is a directory, or in one, and also a {added.kind}")

    def _add_file(self, path: str, member: Member) -> None:
        self._counter.add_bytes(member.size)
        added, existing = self._contents.added(path), self._contents.existing(path)
        if added is None and existing is None:
            self._add_parent(path)
            self._files.write(path, member)
            return
        # Something is there already. If it is the same, it stays; its digest may not be known yet.
        self._files.wait()
        if added is not None and existing is None and self._oddities.proven:
            self._add_again(path, member)
            return
        self._contents.check_same_file(path, *self._files.digest(member))
        if added is None and existing is not None:
            self._add_parent(path)
            self._contents.add(path, existing)

    def _add_again(self, path: str, member: Member) -> None:
        """Write a file at a path where this archive has put one already: as for all common readers, the last one counts.

        A reader that yields members in another order than the archive's states their positions.
        """
        added = self._contents.added(path)
        if added is None or added.kind != "file" or not self._contents.is_last(path, member.position):
            size, sha256 = self._files.digest(member)
            if added is None or added.kind != "file":
                self._contents.check_same_file(path, size, sha256)
        else:
            self._files.write(path, member)
            self._files.wait()
            written = self._contents.added(path)
            size, sha256 = (written.size, written.sha256) if written else (0, "")
        if added is not None and (size, sha256) != (added.size, added.sha256):
            self._oddities.accept("members of one name have different content, and the last one counts", path)

    def _add_hard_link(self, path: str, member: Member) -> None:
        source = self._names.path(member.target)
        entry = self._contents.added(source) or self._contents.existing(source)
        if entry is None or entry.kind == "folder":
            raise self._refused(path, f"is a hard link to {quoted(member.target)}, which is no earlier file of the archive")
        if member.size and self._files.digest(member) != (entry.size, entry.sha256):
            reason = f"the hard link {quoted(path)} has content, and other content than {quoted(member.target)}"
            raise broken_archive(self._archive, reason)
        if entry.path == path:
            # Where a file with several names is given to tar twice by one of them. It is there, and stays.
            return
        if self._record_link(path, entry.moved(path, self._target.artifact)) and entry.kind == "file":
            try:
                linked = self._tree.link_from(self._tree, entry.path, path)
            except FileNotFoundError as error:
                reason = f"is a hard link to {quoted(member.target)}, a file of this data set that has not arrived yet"
                raise self._refused(path, reason) from error
            except OSError as error:
                raise self._write_error(error, path, entry.size) from error
            if not linked:
                # It was copied, and so takes space.
                self._counter.add_bytes(entry.size)

    def _record_link(self, path: str, entry: Entry) -> bool:
        """Record what a link puts at ``path``; return ``False`` if the same is there already."""
        self._files.wait()
        added, existing = self._contents.added(path), self._contents.existing(path)
        self._contents.check_same_link(path, entry)
        if added is not None:
            return False
        self._add_parent(path)
        self._contents.add(path, entry if existing is None else existing)
        if existing is None and entry.kind == "link":
            self._links.add(entry)
        return existing is None

    def _add_parent(self, path: str) -> None:
        """Make the directory that a new file or link is in."""
        self._contents.check_not_directory(path)
        above = path.rpartition("/")[0]
        if above and above != self._last_parent:
            self._add_directory(above)
            self._contents.mark_nonempty(above)
            self._last_parent = above

    # --- errors

    def _refused(self, member: str, reason: str) -> Exception:
        return unsafe_member(self._archive, member, reason)

    def _write_error(self, error: OSError, path: str, needed: int = 0) -> Exception:
        return write_error(error, self._archive, self._target.root, path, needed)
