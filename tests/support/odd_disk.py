"""A FUSE file system that misbehaves on demand, in ways that the kernel's own file systems cannot be made to.

    python -m tests.support.odd_disk BACKING MOUNTED FIRED [QUIRK ...]

Serves the directory ``BACKING`` at ``MOUNTED`` until it is unmounted, and adds a line to the file ``FIRED`` each time that a
quirk takes effect. Like most FUSE file systems, it does not support exchanging two names.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args
from unicodedata import normalize

import mfusepy

from tests.support import tally

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Quirk = Literal[
    "append-only",  # bytes are written once, in order from first to last
    "no-rename-over-folder",  # a directory cannot be replaced by another one, not even an empty one
    "no-fsync-of-readers",  # fsync of a file that is not open for writing is refused with EBADF
    "no-symlinks",
    "no-hardlinks",
    "no-locks",  # flock(2) is answered with ENOLCK
    "locks-not-implemented",  # flock(2) is answered with ENOSYS
    "folds-case",  # `a` and `A` are one name
    "composes-names",  # composed and decomposed letters are the same name, as on ZFS with normalization
    "plain-names",  # names with a colon, a question mark and the like are refused, as by FAT
    "small-files",  # no file has 4 GiB or more, as on FAT
    "keeps-until-fsync",  # data that has not been fsynced is lost at unmounting
    "full-for-status",  # the status file can be written once, then fails twice for lack of space, then can be written again
]
Operation = Literal["write", "read", "fsync", "rename", "mkdir", "unlink"]


@dataclass(frozen=True, slots=True)
class Failure:
    """One kind of operation that fails from its Nth call on: ``write:5:74`` fails from the fifth write on with errno 74."""

    operation: Operation
    since: int
    number: int

    @classmethod
    def parse(cls, text: str) -> Failure:
        """Parse a failure in this notation."""
        operation, since, number = text.split(":")
        return cls(next(each for each in get_args(Operation) if each == operation), int(since), int(number))

    def __str__(self) -> str:
        return f"{self.operation}:{self.since}:{self.number}"


class _Fuse(mfusepy.FUSE):  # type: ignore[misc]
    def rename_fuse_3(self, old: bytes, new: bytes, flags: int) -> int:
        """Refuse all flags: the library drops them, so that an exchange would become a plain rename."""
        return -errno.EINVAL if flags else int(self.rename_fuse_2(old, new))


class OddDisk(mfusepy.Operations):  # type: ignore[misc]
    """The operations in the form that FUSE requires."""

    use_ns = True

    def __init__(self, backing: str, fired: str, quirks: list[str]) -> None:
        """Serve a directory with some quirks."""
        self._root = backing
        self._fired = os.open(fired, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._quirks = {each for each in quirks if ":" not in each}
        self._failures = [Failure.parse(each) for each in quirks if ":" in each]
        self._counts: dict[str, int] = {}
        self._unsynced: set[str] = set()
        assert self._quirks <= set(get_args(Quirk)), quirks

    # --- what is odd

    def _says(self, what: str) -> None:
        os.write(self._fired, f"{what}\n".encode())

    def _has(self, quirk: Quirk) -> bool:
        return quirk in self._quirks

    def _refuse(self, quirk: Quirk, number: int) -> None:
        if self._has(quirk):
            self._says(quirk)
            raise mfusepy.FuseOSError(number)

    def _fails(self, operation: Operation) -> None:
        self._counts[operation] = self._counts.get(operation, 0) + 1
        for failure in self._failures:
            if failure.operation == operation and self._counts[operation] >= failure.since:
                self._says(str(failure))
                raise mfusepy.FuseOSError(failure.number)

    def _at(self, path: str) -> str:
        place = self._root
        for part in path.strip("/").split("/"):
            if self._has("folds-case") and not os.path.lexists(f"{place}/{part}"):
                with contextlib.suppress(OSError):
                    same = [name for name in os.listdir(place) if name.casefold() == part.casefold()]
                    if same:
                        self._says("folds-case")
                        part = same[0]  # noqa: PLW2901 - it is the name that is there
            if self._has("composes-names") and not part.isascii() and not os.path.lexists(f"{place}/{part}"):
                with contextlib.suppress(OSError):
                    same = [name for name in os.listdir(place) if normalize("NFC", name) == normalize("NFC", part)]
                    if same:
                        self._says("composes-names")
                        part = same[0]  # noqa: PLW2901 - it is the name that is there
            place = f"{place}/{part}"
        return place

    # --- looking

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        """Return the attributes of a name."""
        facts = os.lstat(self._at(path)) if fh is None else os.fstat(fh)
        times = {"st_atime": facts.st_atime_ns, "st_mtime": facts.st_mtime_ns, "st_ctime": facts.st_ctime_ns}
        names = ("st_gid", "st_mode", "st_nlink", "st_size", "st_uid", "st_ino", "st_blocks")
        return {name: getattr(facts, name) for name in names} | times

    def readdir(self, path: str, fh: int) -> Iterator[str]:
        """List a directory."""
        del fh
        yield from (".", "..", *os.listdir(self._at(path)))

    def readlink(self, path: str) -> str:
        """Return the target of a link."""
        return os.readlink(self._at(path))

    def statfs(self, path: str) -> dict[str, int]:
        """Return the free space."""
        facts = os.statvfs(self._at(path))
        names = ("f_bavail", "f_bfree", "f_blocks", "f_bsize", "f_favail", "f_ffree", "f_files", "f_frsize", "f_namemax")
        return {name: getattr(facts, name) for name in names}

    # --- names

    def _name(self, path: str) -> None:
        if not set('<>:"|?*\\').isdisjoint(path.rpartition("/")[2]):
            self._refuse("plain-names", errno.EINVAL)

    def mkdir(self, path: str, mode: int) -> int:
        """Make a directory."""
        self._name(path)
        self._fails("mkdir")
        os.mkdir(self._at(path), mode)
        return 0

    def rmdir(self, path: str) -> int:
        """Remove a directory."""
        os.rmdir(self._at(path))
        return 0

    def unlink(self, path: str) -> int:
        """Remove a file."""
        self._fails("unlink")
        os.unlink(self._at(path))
        return 0

    def rename(self, old: str, new: str) -> int:
        """Rename, replacing an existing name."""
        self._fails("rename")
        if new.endswith("/dataset_status.json"):
            written = self._counts["status"] = self._counts.get("status", 0) + 1
            if written in {2, 3}:
                self._refuse("full-for-status", errno.ENOSPC)
        if os.path.isdir(self._at(new)):
            self._refuse("no-rename-over-folder", errno.ENOTEMPTY)
        os.rename(self._at(old), self._at(new))
        before = f"{self._at(old)}/"
        for path in [each for each in self._unsynced if f"{each}/".startswith(before)]:
            self._unsynced.remove(path)
            self._unsynced.add(self._at(new) + path[len(before) - 1 :])
        return 0

    def symlink(self, target: str, source: str) -> int:
        """Make a link."""
        self._refuse("no-symlinks", errno.EPERM)
        os.symlink(source, self._at(target))
        return 0

    def link(self, target: str, source: str) -> int:
        """Create another name (hard link) for a file."""
        self._refuse("no-hardlinks", errno.EPERM)
        os.link(self._at(source), self._at(target))
        return 0

    def chmod(self, path: str, mode: int) -> int:
        """Change the mode."""
        os.chmod(self._at(path), mode)
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        """Change the owner."""
        os.chown(self._at(path), uid, gid, follow_symlinks=False)
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        """Change the times."""
        now = time.time_ns()
        os.utime(self._at(path), ns=times or (now, now), follow_symlinks=False)
        return 0

    # --- bytes

    def create(self, path: str, mode: int, fi: int | None = None) -> int:
        """Make a file and open it."""
        del fi
        self._name(path)
        place = self._at(path)
        if self._has("keeps-until-fsync"):
            self._unsynced.add(place)
        return os.open(place, os.O_RDWR | os.O_CREAT, mode)

    def open(self, path: str, flags: int) -> int:
        """Open a file."""
        # Those belong to the caller; the kernel sends offsets with every write.
        return os.open(self._at(path), (os.O_RDONLY if flags & os.O_ACCMODE == os.O_RDONLY else os.O_RDWR) | flags & os.O_TRUNC)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        """Read bytes."""
        del path
        self._fails("read")
        return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        """Write bytes."""
        del path
        self._fails("write")
        if offset != os.fstat(fh).st_size:
            self._refuse("append-only", errno.EOPNOTSUPP)
        return os.pwrite(fh, data, offset)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        """Set the length of a file."""
        del fh
        place = self._at(path)
        if length >= 1 << 32:
            self._refuse("small-files", errno.EFBIG)
        if length not in {0, os.lstat(place).st_size}:
            self._refuse("append-only", errno.EOPNOTSUPP)
        os.truncate(place, length)
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        """Make a file durable."""
        del datasync
        self._fails("fsync")
        if fcntl.fcntl(fh, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            self._refuse("no-fsync-of-readers", errno.EBADF)
        self._unsynced.discard(self._at(path))
        return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        """Make the names in a directory durable: they already are."""
        del path, datasync, fh
        return 0

    def release(self, path: str, fh: int) -> int:
        """Close a file."""
        del path
        os.close(fh)
        return 0

    def init(self, path: str) -> None:
        """Begin."""
        del path
        sys.stdout.write("mounted\n")
        sys.stdout.flush()

    def destroy(self, path: str) -> None:
        """Unmount: data that was not fsynced is lost."""
        del path
        for place in self._unsynced:
            with contextlib.suppress(OSError):
                os.truncate(place, 0)
                self._says("keeps-until-fsync")


class LocklessDisk(OddDisk):
    """The same with lock operations, which are refused; without such operations, the kernel would handle locks itself."""

    def flock(self, path: str, fh: int, op: int) -> int:
        """Refuse to lock a file."""
        del path, fh, op
        self._refuse("no-locks", errno.ENOLCK)
        self._refuse("locks-not-implemented", errno.ENOSYS)
        raise AssertionError


class Mounted:
    """The file system, mounted."""

    def __init__(self, folder: Path, *quirks: Quirk | Failure) -> None:
        """Mount it in a new directory."""
        self._backing, self.place, self._fired = folder / "backing", folder / "mounted", folder / "fired"
        for each in (self._backing, self.place):
            each.mkdir()
        self._process: subprocess.Popen[bytes] | None = None
        self._counted = 0
        self.mount(*quirks)

    def mount(self, *quirks: Quirk | Failure) -> None:
        """Mount it again, with other quirks."""
        self.unmount()
        command = [sys.executable, "-m", "tests.support.odd_disk", *map(str, (self._backing, self.place, self._fired, *quirks))]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.PIPE)
        # It reports when the kernel has asked it to start.
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"mounted\n"

    def unmount(self, *, forget_links: bool = False) -> None:
        """Unmount it; ``forget_links`` removes its links too, as a bucket would not keep them."""
        if self._process is not None:
            subprocess.run(["umount", str(self.place)], check=True, capture_output=True)
            assert self._process.wait(30) == 0
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None
        if forget_links:
            for path in self._backing.rglob("*"):
                if path.is_symlink():
                    path.unlink()

    def fired(self, what: str) -> int:
        """Return how often a quirk took effect, and add that to the fault counts."""
        lines = self._fired.read_text("utf-8").splitlines() if self._fired.exists() else []
        tally.count("faults", len(lines) - self._counted)
        self._counted = len(lines)
        return lines.count(what)

    def close(self) -> None:
        """Unmount it for good."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self.unmount()
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def main(arguments: list[str]) -> int:
    """Serve until unmounted."""
    backing, place, fired, *quirks = arguments
    refuses_locks = not {"no-locks", "locks-not-implemented"}.isdisjoint(quirks)
    operations = (LocklessDisk if refuses_locks else OddDisk)(backing, fired, quirks)
    _Fuse(operations, place, foreground=True, nothreads=True, allow_other=True, default_permissions=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
