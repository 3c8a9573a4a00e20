"""Unpack an untrusted archive: every file is hashed while it is written, and nothing is written outside its directory.

The archive may still be arriving: it is read from beginning to end, except for the index of a zip, and bytes that are done
with are released. The readers (:mod:`.tar.reader`, :mod:`.zip.reader`) yield what the archive states. Each rule has a module:
which names are accepted (:mod:`.names`), where links may point (:mod:`.links`), what two members at one path mean
(:mod:`.duplicates`), which oddities are accepted (:mod:`.oddities`), and how much is too much (:mod:`.limits`). Accepted
members are written by :mod:`.member_writer`.

What is refused does not depend on what is on the disk. Symbolic links are not created here, but when the whole tree is
complete, so that they cannot divert anything that is written. The archive determines a file's content, name, time and whether
its owner may execute it; modes and ownership are those of the volume, and set-id bits are dropped.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from provisioner.errors import BrokenArchiveError, IntegrityError, PartError
from provisioner.volume.archive.decompress import open_tar
from provisioner.volume.archive.errors import quoted
from provisioner.volume.archive.limits import Limits
from provisioner.volume.archive.member_writer import MemberWriter
from provisioner.volume.archive.mismatch import explained
from provisioner.volume.archive.names import MemberNames
from provisioner.volume.archive.oddities import Oddities
from provisioner.volume.archive.tar.reader import read_tar
from provisioner.volume.archive.zip.reader import read_zip
from provisioner.volume.fs.directories import make_directory
from provisioner.volume.fs.errors import disk_error
from provisioner.volume.tree.writer import TreeWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping

    from provisioner.catalog.artifact import UnpackFormat
    from provisioner.volume.archive.member import Member
    from provisioner.volume.archive.target import Choose, Unpacked, UnpackTarget
    from provisioner.volume.staging.incoming import Incoming

_DEFAULT_LIMITS: Final = Limits()


def unpack(
    archive: Incoming,
    form: UnpackFormat,
    target: UnpackTarget,
    *,
    check_cancelled: Callable[[], None],
    advance: Callable[[int], None],
    limits: Limits = _DEFAULT_LIMITS,
    choose: Choose | None = None,
    members: Iterable[Member] | None = None,
) -> Unpacked:
    """Unpack ``archive`` and return the result. Its symbolic links are checked, but not created.

    Files that an earlier attempt left in the tree are replaced if the archive has something at their path, and stay
    otherwise. After an error, the tree holds part of the archive; it may be unpacked again, or removed.

    Args:
        archive: a file, which may still be arriving; several threads read it.
        form: its format: ``zip`` or a kind of ``tar``.
        target: where it is unpacked. A member that equals what is there already is accepted, and listed as shared.
        check_cancelled: called for every member and at least once for every MiB, in any thread; raises to end the work.
        advance: called with the number of bytes of file content that were unpacked since the last call, in any thread.
        limits: how much may come out.
        choose: chooses the members to write, by the paths that they become in the data set's directory; ``None`` means all.
            The names of the others are checked, but their content is not read if the format allows that (zip).
        members: the members of the archive, if their content is elsewhere, or ``None`` if they are read from the archive.

    Raises:
        BrokenArchiveError: it cannot be read to its end, or contradicts its own checksums.
        UnsafeArchiveError: a member would leave the directory, or is neither file, directory nor link within it; or the archive
            contradicts itself, is encrypted, or exceeds ``limits``.
        IntegrityError: it has something at a path that differs from what is there already.
        VolumeFullError, VolumeNotWritableError, VolumeError: the disk refused; the archive may be valid.
        ProvisionerError: raised by the archive's ``read_at``.
        ValueError: ``form`` is not a format of archives.
    """
    make_directory(target.root)
    try:
        tree = TreeWriter(target.root)
    except OSError as error:
        raise disk_error(error, f"unpacking {archive.name}", path=target.root) from error
    oddities = Oddities(archive.name, proven=target.proven)
    choice = None if choose is None else _Choice(choose, archive, target)
    with tree, contextlib.closing(_members(archive, form, oddities, check_cancelled, limits, choice)) as own:
        writer = MemberWriter(tree, archive, target, limits, oddities, check_cancelled=check_cancelled, advance=advance)
        try:
            for member in own if members is None else members:
                check_cancelled()
                writer.add(member)
            done = writer.finish()
            return done if choice is None else replace(done, is_whole=not choice.has_left_out)
        except IntegrityError as error:
            # If an earlier member is wrong as well, its error is reported, whichever thread was faster.
            writer.wait()
            if isinstance(error, BrokenArchiveError) and (better := explained(error, archive, form)) is not error:
                raise better from error
            raise
        finally:
            writer.close()


class _Choice:
    """A choice by the names in the archive; a name that is not acceptable is an error even if it is not chosen."""

    def __init__(self, choose: Choose, archive: Incoming, target: UnpackTarget) -> None:
        self._choose = choose
        # Oddities of a name are noted when the member is written.
        self._names = MemberNames(archive.name, target.into, Oddities(archive.name, proven=target.proven))
        self.has_left_out = False

    def __call__(self, sizes: Mapping[str, int]) -> Callable[[str], bool]:
        """Return a test for the names that are taken, given the size of each if the archive has an index."""
        taken = self._choose({self._names.path(name): size for name, size in sizes.items()})

        def is_taken(name: str) -> bool:
            is_in = taken(self._names.path(name))
            self.has_left_out = self.has_left_out or not is_in
            return is_in

        return is_taken


def _members(  # noqa: PLR0917 - private, and each is handed on
    archive: Incoming,
    form: UnpackFormat,
    oddities: Oddities,
    check_cancelled: Callable[[], None],
    limits: Limits,
    choose: Choose | None,
) -> Generator[Member, None, None]:
    if form == "zip":
        yield from read_zip(archive, oddities, check_cancelled, limits.max_members, choose)
    elif form == "none":
        raise ValueError("not an archive")
    else:
        with open_tar(archive, form, oddities) as stream:
            chosen = choose({}) if choose is not None else None
            for member in read_tar(stream, archive.name, oddities, check_cancelled):
                if chosen is None or chosen(member.name):
                    if chosen is not None and member.kind == "hardlink" and not chosen(member.target):
                        raise PartError(
                            f"{archive.name}: {quoted(member.name)} belongs to the part and is another name of"
                            f" {quoted(member.target)}, which does not",
                            hint="Take both into the part, or neither.",
                        )
                    yield member
                    continue
                for _ in member.blocks:
                    check_cancelled()
