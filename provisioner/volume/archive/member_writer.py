"""The members of one archive, checked and written into the tree of a data set.

One thread checks all members and creates every name; what is refused does not depend on what is on the disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provisioner.volume.archive.duplicates import TreeContents, same_thing
from provisioner.volume.archive.errors import broken_archive, quoted, unsafe_member, write_error
from provisioner.volume.archive.file_writer import FileWriter
from provisioner.volume.archive.limits import LimitCounter
from provisioner.volume.archive.links import ArchiveLinks
from provisioner.volume.archive.names import MemberNames, folding_of
from provisioner.volume.archive.target import Unpacked
from provisioner.volume.store.entry import Entry

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.volume.archive.limits import Limits
    from provisioner.volume.archive.member import Member
    from provisioner.volume.archive.oddities import Oddities
    from provisioner.volume.archive.target import UnpackTarget
    from provisioner.volume.staging.incoming import Incoming
    from provisioner.volume.tree.writer import TreeWriter

_LAST_COUNTS: Final = "members of one name have different content, and the last one counts"


class MemberWriter:
    """Unpacks one archive into one tree: each member is checked, and written if it is accepted."""

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
            fold = folding_of(tree)
        except OSError as error:
            raise self._write_error(error, target.into or ".") from error
        self._contents = TreeContents(archive.name, target.existing, fold)
        self._links = ArchiveLinks(archive.name, target.into, self._contents)
        self._files = FileWriter(
            tree, archive, self._contents, oddities, target.artifact, check_cancelled=check_cancelled, advance=advance
        )
        self._last_parent: str | None = None
        """The directory that was created for the last member: most members are in the same directory as the one before."""
        try:
            self._add_directory(target.into)
        except OSError as error:
            raise self._write_error(error, target.into) from error

    def add(self, member: Member) -> None:
        """Check one member and write it. Symbolic links are only recorded; they are created when the whole tree is complete.

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
                    if self._makes_way_for_directory(path, member):
                        self._add_directory(path)
                case "symlink":
                    self._record_link(path, Entry(path, "link", target=member.target, artifact=self._target.artifact), member)
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
        """Create a directory and those above it, unless this archive has created them."""
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
        added, existing = self._contents.added(path), self._contents.existing(path)
        if added is None and existing is None:
            self._counter.add_bytes(member.size)
            self._add_parent(path)
            self._files.write(path, member)
            return
        # Something is already there. If it is the same, it stays; its digest may not be known yet.
        self._files.wait()
        added = self._contents.added(path)
        if added is not None and existing is None and self._oddities.proven:
            self._counter.add_bytes(member.size, replaced=added.size)
            self._add_again(path, member, added)
            return
        self._counter.add_bytes(member.size)
        self._contents.check_same_file(path, *self._files.digest(member))
        if added is None and existing is not None:
            self._add_parent(path)
            self._contents.add(path, existing)

    def _add_again(self, path: str, member: Member, added: Entry) -> None:
        """Write a file where this archive has put something already: the last one counts, as in all common readers.

        A reader that yields members in a different order states their positions in the archive.
        """
        if not self._contents.is_last(path, member.position):
            size, sha256 = self._files.digest(member)
        else:
            if added.kind != "file":
                self._make_way(path, added)
            self._add_parent(path)
            self._files.write(path, member)
            self._files.wait()
            written = self._contents.added(path)
            size, sha256 = (written.size, written.sha256) if written else (0, "")
        if (added.kind, size, sha256) != ("file", added.size, added.sha256):
            self._oddities.accept(_LAST_COUNTS, path)

    def _make_way(self, path: str, added: Entry) -> None:
        """Remove what this archive has put at a path at which a later member has something of another kind.

        Raises:
            UnsafeArchiveError: it is a directory that is not empty.
        """
        self._contents.check_replaceable(path, added)
        self._tree.remove(path)
        self._links.remove(path)
        self._contents.remove(path)

    def _makes_way_for_directory(self, path: str, member: Member) -> bool:
        """Remove a file or link whose path a later member makes a directory; return ``False`` if the directory came first.

        A directory that is only implied by the paths of other members removes nothing.
        """
        added = self._contents.added(path)
        if added is None or added.kind == "folder" or not self._oddities.proven or self._contents.existing(path) is not None:
            return True
        self._files.wait()
        self._oddities.accept(_LAST_COUNTS, path)
        if not self._contents.is_last(path, member.position):
            return False
        self._make_way(path, added)
        return True

    def _add_hard_link(self, path: str, member: Member) -> None:
        source = self._names.path(member.target)
        entry = self._contents.added(source) or self._contents.existing(source)
        if entry is None or entry.kind == "folder":
            raise self._refused(path, f"is a hard link to {quoted(member.target)}, which is no earlier file of the archive")
        if member.size and self._files.digest(member) != (entry.size, entry.sha256):
            reason = f"the hard link {quoted(path)} has content, and other content than {quoted(member.target)}"
            raise broken_archive(self._archive, reason)
        if entry.path == path:
            # Happens if a file with several hard links is given to tar twice by one of its names. It is already there.
            return
        if self._record_link(path, entry.moved(path, self._target.artifact), member) and entry.kind == "file":
            try:
                # If it has to be copied, it takes space.
                self._tree.link_from(self._tree, entry.path, path, self._counter.add_bytes)
            except FileNotFoundError as error:
                reason = f"is a hard link to {quoted(member.target)}, a file of this data set that has not arrived yet"
                raise self._refused(path, reason) from error
            except OSError as error:
                raise self._write_error(error, path, entry.size) from error

    def _record_link(self, path: str, entry: Entry, member: Member) -> bool:
        """Record what a link puts at ``path``; return ``False`` if it puts nothing there."""
        self._files.wait()
        added, existing = self._contents.added(path), self._contents.existing(path)
        if added is not None and existing is None and self._oddities.proven and not same_thing(added, entry):
            self._oddities.accept(_LAST_COUNTS, path)
            if not self._contents.is_last(path, member.position):
                return False
            self._make_way(path, added)
            added = None
        self._contents.check_same_link(path, entry)
        if added is not None:
            return False
        self._add_parent(path)
        self._contents.add(path, entry if existing is None else existing)
        if existing is None and entry.kind == "link":
            self._links.add(entry)
        return existing is None

    def _add_parent(self, path: str) -> None:
        """Create the directory for a new file or link."""
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
