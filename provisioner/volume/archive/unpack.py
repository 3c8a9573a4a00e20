"""Unpacking an archive that nobody vouches for: every file hashed on its way, nothing outside its directory, all or an error.

The archive may still be arriving: it is read from its beginning on, a zip's index excepted, and what is done is released.
The readers (:mod:`.tar`, :mod:`.zip`) say what the archive claims; the writer (:mod:`.tree_writer`) makes names under one
root. The rules are here: which names are accepted, where links may point, what two members of one name mean, and how much is
too much.

What is refused does not depend on what is on the disk, and links are made last, when all they might mislead is written.
Modes and ownership are ours; set-id bits are dropped without a word, as is everything else that an archive says of a file
but its content, its name, its time and whether its owner may execute it.

One thread applies the rules and makes every name. Content that can be had at any time (a zip's members) is decompressed,
checked, hashed and written by others, into files that are open already.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn

from provisioner.errors import IntegrityError, UnsafeArchiveError
from provisioner.volume.archive import workers
from provisioner.volume.archive.decompress import open_tar
from provisioner.volume.archive.member import NOT_OURS, shown
from provisioner.volume.archive.tar import read_tar
from provisioner.volume.archive.tree_writer import TreeWriter, colliding_names, folded
from provisioner.volume.archive.zip import read_zip
from provisioner.volume.fs.directories import make_directory
from provisioner.volume.fs.errors import disk_error
from provisioner.volume.fs.files import CHUNK
from provisioner.volume.store.entry import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping
    from pathlib import Path

    from provisioner.catalog.artifact import UnpackFormat
    from provisioner.volume.archive.member import Member
    from provisioner.volume.staging.incoming import Incoming

MAX_ENTRIES: Final = 2_000_000
"""Members of one archive: the largest that we know (of LibriTTS) has some 615,000, and each costs memory."""
MAX_NAME_BYTES: Final = 255
"""Of one part of a path: what file systems hold."""
MAX_PATH_BYTES: Final = 1024
"""Of a whole path within the data set: some systems stop there, the volume's own path included."""
_BEHIND: Final = 8
"""Files, for each thread, whose content may be yet to come while names are being made."""
_DIRECTORIES_KNOWN: Final = 4096
"""Directories whose names were accepted and need not be looked at again."""
_NOTHING_YET: Final = "0" * 64
_MAX_HOPS: Final = 40
"""Links that a link may lead through: as many as Linux follows."""

_WINDOWS_FORBIDDEN: Final = frozenset('<>:"|?*\\')
_WINDOWS_DEVICES: Final = frozenset({"CON", "PRN", "AUX", "NUL", *(f"{name}{n}" for name in ("COM", "LPT") for n in range(10))})


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What came out of an archive."""

    entries: tuple[Entry, ...]
    """Files and links, then empty directories, each in the archive's order."""
    shared: tuple[str, ...]
    """Paths that it has in common, bytes and all, with earlier artifacts of the data set; no entries of its own."""


def unpack(
    archive: Incoming,
    form: UnpackFormat,
    root: Path,
    into: str,
    *,
    taken: Mapping[str, Entry],
    check_cancelled: Callable[[], None],
    advance: Callable[[int], None],
    artifact: str = "",
    limit: int | None = None,
    max_entries: int = MAX_ENTRIES,
) -> Unpacked:
    """Unpack ``archive`` into ``root/into`` and give what came out of it, paths relative to ``root``.

    What an earlier attempt left there is replaced where the archive has something of that name, and otherwise stays. After
    an error the tree holds a part; it may be unpacked again, or removed.

    Args:
        archive: a file, which may be arriving; it is only read, by several threads.
        form: what it is: ``zip`` or a kind of ``tar``.
        root: the data set's directory, made if missing.
        into: subdirectory, POSIX separators, or empty.
        taken: what earlier artifacts of the same data set put under ``root``, by path. A member that is the same is
            accepted, and only named among the shared.
        check_cancelled: called for every member and every MiB at least, in any thread; raises to end the work.
        advance: told the bytes of file content as they are done, unpacked, in any thread.
        artifact: key to be noted in each entry.
        limit: bytes of file content that may come out; ``None`` for any number.
        max_entries: members that the archive may have.

    Raises:
        BrokenArchiveError: it cannot be read to its end, or is at odds with its own checksums.
        UnsafeArchiveError: it would leave its directory, holds what is no file, directory or inner link, contradicts itself, is
            encrypted, or unpacks to more than ``limit``.
        IntegrityError: it holds another file than ``taken`` at a path.
        VolumeFullError, VolumeNotWritableError, VolumeError: the disk refused; the archive may well be right.
        ProvisionerError: as the archive's ``read_at``.
        ValueError: ``form`` or ``into`` is not what the catalog allows.
    """
    if any(part in {"", ".", ".."} for part in into.split("/")) and into:
        raise ValueError(f"no sub-folder: {into!r}")
    make_directory(root)
    try:
        tree = TreeWriter(root)
    except OSError as error:
        raise disk_error(error, f"unpacking {archive.name}", path=root) from error
    with tree, contextlib.closing(_members(archive, form, check_cancelled, max_entries)) as members:
        unpacker = _Unpacker(
            tree,
            archive,
            root=root,
            into=into,
            taken=taken,
            check_cancelled=check_cancelled,
            advance=advance,
            artifact=artifact,
            limit=limit,
        )
        try:
            for count, member in enumerate(members, 1):
                check_cancelled()
                if count > max_entries:
                    raise UnsafeArchiveError(f"{archive.name}: it has more than {max_entries} members", hint=NOT_OURS)
                unpacker.add(member)
            return unpacker.finish()
        except IntegrityError:
            # What an earlier member is to blame for is said first, whichever thread was faster.
            unpacker.settle()
            raise
        finally:
            unpacker.close()


def _members(
    archive: Incoming, form: UnpackFormat, check_cancelled: Callable[[], None], max_entries: int
) -> Generator[Member, None, None]:
    if form == "zip":
        yield from read_zip(archive, check_cancelled, max_entries)
    elif form == "none":
        raise ValueError("not an archive")
    else:
        with open_tar(archive, form) as stream:
            yield from read_tar(stream, archive.name, check_cancelled)


@dataclass(frozen=True, slots=True)
class _Late:
    """A file that is open, and whose content another thread works on."""

    key: str
    entry: Entry
    """All but size and digest."""
    member: Member
    task: workers.Task[tuple[int, str]]


class _StoppedError(Exception):
    """Another thread met an error, and nobody waits for this one."""


class _Unpacker:
    """One archive on its way into one tree."""

    def __init__(
        self,
        tree: TreeWriter,
        archive: Incoming,
        *,
        root: Path,
        into: str,
        taken: Mapping[str, Entry],
        check_cancelled: Callable[[], None],
        advance: Callable[[int], None],
        artifact: str,
        limit: int | None,
    ) -> None:
        self._archive, self._released = archive, 0
        self._name, self._root, self._into, self._tree = archive.name, root, into, tree
        self._check_cancelled, self._advance = check_cancelled, advance
        self._artifact = artifact
        self._limit, self._total = limit, 0
        # By key: the path, or, where the file system takes several names for the same, what they have in common.
        self._made: dict[str, Entry] = {}
        self._links: dict[str, Entry] = {}
        self._ranks: dict[str, int] = {}
        self._full: set[str] = set()
        self._late: deque[_Late] = deque()
        self._cores = workers.usable_cores()
        self._crew: workers.WorkerPool | None = None
        # Most members follow another one of their directory.
        self._directories: dict[str, str] = {}
        self._parent: str | None = None
        self._folds = False
        try:
            self._folds = tree.folds_names()
        except OSError as error:
            raise self._disk(error, into or ".") from error
        self._taken = {self._key(path): entry for path, entry in taken.items()} if self._folds else taken
        self._taken_directories: set[str] = set()
        for path in taken:
            above = path.rpartition("/")[0]
            while above and (key := self._key(above)) not in self._taken_directories:
                self._taken_directories.add(key)
                above = above.rpartition("/")[0]
        try:
            self._directory(into)
        except OSError as error:
            raise self._disk(error, into) from error

    def add(self, member: Member) -> None:
        """Take one member in; links are only noted."""
        if member.place is not None:
            self._release(self._late[0].member.place if self._late else member.place)
        path = self._path(member.name)
        if member.rank is not None:
            self._ranks.setdefault(self._key(path), member.rank)
        if path == self._into and member.kind != "folder":
            self._refuse(member.name, "stands for the archive's own folder and is none")
        try:
            match member.kind:
                case "folder":
                    self._directory(path)
                case "file":
                    self._file(path, member)
                case "hardlink":
                    self._hard_link(path, member)
                case "symlink":
                    self._claim(path, Entry(path, "link", target=member.target, artifact=self._artifact))
        except OSError as error:
            raise self._disk(error, path, member.size) from error

    def finish(self) -> Unpacked:
        """Make the links, when all of them are known to stay inside, and give what is there now."""
        self.settle()
        self._sort()
        for entry in self._links.values():
            self._follow(entry)
        for entry in self._links.values():
            self._check_cancelled()
            try:
                self._tree.symlink(entry.path, entry.target)
            except OSError as error:
                raise self._disk(error, entry.path) from error
        self._links.clear()
        entries: list[Entry] = []
        empty: list[Entry] = []
        shared: list[str] = []
        for key, entry in self._made.items():
            if entry.kind == "folder":
                if key not in self._full and key not in self._taken_directories and key not in self._taken:
                    empty.append(entry)
            elif key in self._taken:
                shared.append(entry.path)
            else:
                entries.append(entry)
        # A hundred bytes a file: not needed any more, and the answer is yet to be made.
        self._made.clear()
        entries += empty
        return Unpacked(tuple(entries), tuple(shared))

    def settle(self) -> None:
        """Wait for the content that other threads work on.

        Raises:
            ProvisionerError: what the first of them in the archive's order met.
        """
        while self._late:
            self._settle_first()

    def close(self) -> None:
        """Let no thread go on."""
        self._late.clear()
        if self._crew is not None:
            self._crew.close()

    def _settle_first(self) -> None:
        late = self._late.popleft()
        try:
            size, sha256 = late.task.result()
        except BaseException as error:
            # Those behind it have nothing to say any more.
            self._late.clear()
            if isinstance(error, OSError):
                raise self._disk(error, late.entry.path, late.member.size) from error
            raise
        entry = late.entry
        self._made[late.key] = Entry(entry.path, "file", size, sha256, executable=entry.executable, artifact=self._artifact)

    def _release(self, place: int | None) -> None:
        if place is not None and place - self._released >= CHUNK:
            self._released = place
            self._archive.release(place)

    def _sort(self) -> None:
        """Bring what was made into the archive's order, where the reader had another one."""
        if self._ranks:
            # A directory that is only implied comes before the first of what is in it, as everywhere.
            ranked = sorted(self._made.items(), key=lambda item: self._ranks.get(item[0], -1))
            self._made = dict(ranked)
            self._ranks.clear()

    # --- names

    def _path(self, name: str) -> str:
        """Return the path within the data set for a member's name; that of the directory itself for ``./``.

        Raises:
            UnsafeArchiveError: the name leads, or would lead on some system, out of the directory, or fits on no disk.
        """
        directory, _, last = name.rpartition("/")
        if (
            (above := self._directories.get(directory)) is not None
            and last not in {"", ".", ".."}
            and "\0" not in last
            and "\\" not in last
            and (len(above) + len(last)) * 4 <= MAX_NAME_BYTES
            and os.name != "nt"
        ):
            return above + last
        path = self._path_in_full(name)
        if directory and last:
            if len(self._directories) >= _DIRECTORIES_KNOWN:
                self._directories.clear()
            self._directories[directory] = path[: len(path) - len(last)]
        return path

    def _path_in_full(self, name: str) -> str:
        if "\0" in name:
            self._refuse(name, "has a NUL in its name")
        if name.startswith("/") or (name[1:2] == ":" and name[0].isascii() and name[0].isalpha() and name[2:3] in {"/", "\\"}):
            self._refuse(name, "has an absolute path")
        parts = [part for part in name.split("/") if part not in {"", "."}]
        for part in parts:
            if part == "..":
                self._refuse(name, "leads out of its folder (..)")
            # Some programs take this for a separator, others for a letter: what is harmless here is not there.
            if "\\" in part and (os.name == "nt" or ".." in part.split("\\") or part.startswith("\\")):
                self._refuse(name, "has backslashes that lead out of its folder on some systems")
            if os.name == "nt" and (reason := windows_objection(part)):
                self._refuse(name, reason)
            if len(part) * 4 > MAX_NAME_BYTES and (length := len(_raw(part))) > MAX_NAME_BYTES:
                self._refuse(name, f"has a name of {length} bytes, and a file system holds {MAX_NAME_BYTES}")
        path = "/".join([self._into, *parts] if self._into else parts)
        if len(path) * 4 > MAX_PATH_BYTES and (length := len(_raw(path))) > MAX_PATH_BYTES:
            self._refuse(name, f"has a path of {length} bytes, more than {MAX_PATH_BYTES}")
        return path

    def _key(self, path: str) -> str:
        return folded(path) if self._folds else path

    def _known(self, path: str) -> Entry | None:
        """Return what this archive has put at ``path`` so far."""
        entry = self._made.get(self._key(path))
        if entry is not None and self._folds and entry.path != path:
            raise colliding_names(self._name, entry.path, path)
        return entry

    # --- what the members are

    def _directory(self, path: str) -> None:
        """Make a directory and those above it, once each."""
        known = self._known(path)
        if known is None:
            if not path:
                return
            taken = self._taken.get(self._key(path))
            if taken is not None and taken.kind != "folder":
                self._conflict(path, "a folder", taken)
            above = path.rpartition("/")[0]
            if above:
                self._directory(above)
                self._full.add(self._key(above))
            self._tree.directory(path)
            self._made[self._key(path)] = Entry(path, "folder", artifact=self._artifact)
        elif known.kind != "folder":
            self._refuse(path, f"is a folder, or in one, and also a {known.kind}")

    def _file(self, path: str, member: Member) -> None:
        self._spend(member.size)
        known, taken = self._known(path), self._taken.get(self._key(path))
        if known is None and taken is None:
            self._parent_of(path)
            if member.apart and self._cores > 1:
                self._have_written(path, member)
                return
            size, sha256 = self._write(self._tree.create(path, executable=member.executable), path, member)
            entry = Entry(path, "file", size, sha256, executable=member.executable, artifact=self._artifact)
            self._made[self._key(path)] = entry
            return
        # It is there already: look whether it is the same, and leave it.
        if self._late:
            self.settle()
            known = self._known(path)
        size, sha256 = _digest(self._counted(member.blocks))
        if known is not None and (known.kind, known.size, known.sha256) != ("file", size, sha256):
            self._refuse(path, f"is there twice, and different: {_describe(known)}, then a file of {size} bytes, sha256 {sha256}")
        if taken is not None and (taken.kind, taken.size, taken.sha256) != ("file", size, sha256):
            self._conflict(path, f"a file of {size} bytes, sha256 {sha256}", taken)
        if known is None and taken is not None:
            self._parent_of(path)
            self._made[self._key(path)] = taken

    def _have_written(self, path: str, member: Member) -> None:
        """Have another thread write a file; its entry's place is kept."""
        if self._crew is None:
            self._crew = workers.WorkerPool(self._cores, "unpack")
        while len(self._late) >= _BEHIND * self._cores or (self._late and self._late[0].task.done):
            self._settle_first()
        key = self._key(path)
        entry = Entry(path, "file", 0, _NOTHING_YET, executable=member.executable, artifact=self._artifact)
        handle = self._tree.create(path, executable=member.executable)
        self._made[key] = entry
        self._late.append(_Late(key, entry, member, self._crew.submit(partial(self._write, handle, path, member))))

    def _write(self, handle: int, path: str, member: Member) -> tuple[int, str]:
        """Fill and close a new file, in any thread; give its size in bytes and its SHA-256."""
        if isinstance(member.blocks, tuple):
            done = self._tree.fill(handle, path, member.blocks, executable=member.executable, mtime_ns=member.mtime_ns)
            self._advance(member.size)
            return done
        # Closed here: a reader may hold something until it is.
        with contextlib.closing(self._counted(member.blocks)) as blocks:
            return self._tree.fill(handle, path, blocks, executable=member.executable, mtime_ns=member.mtime_ns)

    def _hard_link(self, path: str, member: Member) -> None:
        source = self._path(member.target)
        entry = self._known(source) or self._taken.get(self._key(source))
        if entry is None or entry.kind == "folder":
            self._refuse(path, f"is a hard link to {shown(member.target)}, which is no earlier file of the archive")
        if entry.path == path:
            self._refuse(path, "is a hard link to itself")
        if self._claim(path, entry.moved(path, self._artifact)) and entry.kind == "file":
            try:
                linked = self._tree.hard_link(entry.path, path)
            except OSError as error:
                raise self._disk(error, path, entry.size) from error
            if not linked:
                # It takes room after all.
                self._spend(entry.size)

    def _claim(self, path: str, entry: Entry) -> bool:
        """Take ``path`` for a link; ``False`` when the same is there already."""
        if self._late:
            self.settle()
        known, taken = self._known(path), self._taken.get(self._key(path))
        for there in (known, taken):
            if there is None:
                continue
            if (there.kind, there.sha256, there.target) != (entry.kind, entry.sha256, entry.target):
                if there is taken:
                    self._conflict(path, _describe(entry), there)
                self._refuse(path, f"is there twice, and different: {_describe(there)}, then {_describe(entry)}")
        if known is not None:
            return False
        self._parent_of(path)
        self._made[self._key(path)] = entry if taken is None else taken
        if taken is None and entry.kind == "link":
            self._links[self._key(path)] = entry
        return taken is None

    def _parent_of(self, path: str) -> None:
        if self._taken_directories and self._key(path) in self._taken_directories:
            raise IntegrityError(
                f"{self._name}: {shown(path)} is no folder, and an earlier file of this data set made it one",
                hint="The two do not belong in one folder: give one of them its own with `into`.",
            )
        above = path.rpartition("/")[0]
        if above and above != self._parent:
            self._directory(above)
            self._full.add(self._key(above))
            self._parent = above

    def _spend(self, size: int) -> None:
        """Count bytes before they are written: a bomb says how large it is, and the readers hold it to that."""
        self._total += size
        if self._limit is not None and self._total > self._limit:
            raise UnsafeArchiveError(
                f"{self._name}: it unpacks to more than {self._limit} bytes",
                hint="The catalog expects less. If the data set has grown, its entry needs the new size.",
            )

    def _counted(self, blocks: Iterable[bytes]) -> Generator[bytes, None, None]:
        try:
            for data in blocks:
                if self._crew is not None and self._crew.stopped:
                    raise _StoppedError
                self._check_cancelled()
                yield data
                self._advance(len(data))
        finally:
            close = getattr(blocks, "close", None)
            if close is not None:
                close()

    # --- where links lead

    def _follow(self, entry: Entry) -> None:
        """Follow a link by name, through the other links of the data set, as the kernel would.

        By name and not on the disk: the links are not made yet, and what they point to may be missing.

        Raises:
            UnsafeArchiveError: it leaves the archive's own directory, or goes round in a circle.
        """
        target = entry.target
        if not target or "\0" in target:
            self._refuse(entry.path, f"is a link to {shown(target)}")
        floor = len(self._into.split("/")) if self._into else 0
        at = entry.path.split("/")[:-1]
        ahead = self._steps(entry, entry)
        hops = 0
        while ahead:
            step = ahead.pop()
            if step == "..":
                if len(at) <= floor:
                    self._refuse(entry.path, f"is a link out of its folder, to {shown(target)}")
                at.pop()
                continue
            key = self._key("/".join([*at, step]))
            onward = self._links.get(key) or self._taken.get(key)
            if onward is None or onward.kind != "link":
                at.append(step)
                continue
            hops += 1
            if hops > _MAX_HOPS:
                self._refuse(entry.path, f"is a link, to {shown(target)}, that leads through more than {_MAX_HOPS} others")
            ahead += self._steps(onward, entry)

    def _steps(self, link: Entry, entry: Entry) -> list[str]:
        """Return the steps of a link's target, the first one last."""
        target = link.target
        if target.startswith("/") or (os.name == "nt" and (":" in target or "\\" in target)):
            self._refuse(entry.path, f"is a link to the absolute path {shown(target)}")
        return [step for step in reversed(target.split("/")) if step not in {"", "."}]

    # --- errors

    def _refuse(self, name: str, reason: str) -> NoReturn:
        raise UnsafeArchiveError(f"{self._name}: member {shown(name)} {reason}", hint=NOT_OURS)

    def _conflict(self, path: str, here: str, there: Entry) -> NoReturn:
        origin = f" from {there.artifact}" if there.artifact else ""
        raise IntegrityError(
            f"{self._name}: {shown(path)} is {here}, and an earlier file of this data set{origin} made it {_describe(there)}",
            hint="The two do not belong in one folder: give one of them its own with `into`.",
        )

    def _disk(self, error: OSError, path: str, needed: int = 0) -> Exception:
        return disk_error(error, f"unpacking {shown(path)} from {self._name}", path=self._root, needed=needed or None)


def windows_objection(part: str) -> str:
    """Return why Windows would take one part of a path for something else than a name; empty when it would not."""
    if _WINDOWS_FORBIDDEN & set(part) or any(character < " " for character in part):
        return "has a character that Windows does not allow in names"
    if part.endswith((".", " ")):
        return "has a name that Windows would shorten"
    if part.partition(".")[0].rstrip(" ").upper() in _WINDOWS_DEVICES:
        return "has the name of a Windows device"
    return ""


def _raw(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def _describe(entry: Entry) -> str:
    match entry.kind:
        case "file":
            return f"a file of {entry.size} bytes, sha256 {entry.sha256}"
        case "link":
            return f"a link to {shown(entry.target)}"
        case _:
            return "a folder"


def _digest(blocks: Iterable[bytes]) -> tuple[int, str]:
    size, hasher = 0, hashlib.sha256()
    for data in blocks:
        hasher.update(data)
        size += len(data)
    return size, hasher.hexdigest()
