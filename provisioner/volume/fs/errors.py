"""The only translation of ``OSError`` into errors of the program, which say what was being done, on what, and what helps."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from provisioner.errors import VolumeError, VolumeFullError, VolumeNotWritableError
from provisioner.volume.fs.free_space import device_space
from provisioner.volume.fs.paths import nearest_existing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from provisioner.errors import ProvisionerError

_FULL: Final = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})
_REFUSED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_IN_THE_WAY: Final = "Something that the provisioner did not put there is in the way: move it away, then start again."
_DAMAGED: Final = "The device reports a failure: look at the kernel's log, and do not trust what is on this volume."
_GONE: Final = "The volume went away while it was in use: mount it again."
_SILENT: Final = "The server of this network file system does not answer: check it and its mount, then start again."


def _numbered(hints: Mapping[str, str]) -> dict[int, str]:
    """Return hints by error number; some systems lack some of the numbers."""
    return {number: hint for name, hint in hints.items() if (number := getattr(errno, name, None)) is not None}


_HINTS: Final = _numbered(
    {
        "EIO": _DAMAGED,
        "EUCLEAN": _DAMAGED,
        "EBADMSG": _DAMAGED,
        "EREMOTEIO": _DAMAGED,
        "EEXIST": _IN_THE_WAY,
        "EISDIR": _IN_THE_WAY,
        "ENOTDIR": _IN_THE_WAY,
        "ELOOP": _IN_THE_WAY,
        "ENOENT": "Something else removes directories there, or it is no place for files (such as /proc); use another volume.",
        "EBUSY": "Another program, or a mount, uses this name: end that use, then start again.",
        "ENAMETOOLONG": "This file system cannot hold such a long name; use a volume with an ordinary Linux file system.",
        "EILSEQ": "This file system accepts UTF-8 names only; use a volume with an ordinary Linux file system.",
        "EFBIG": "This file system, or a limit (ulimit -f), allows no file of that size; FAT stops at 4 GiB.",
        "EMFILE": "Raise the limit of open files (ulimit -n).",
        "ENFILE": "This machine has too many open files: close some, or raise fs.file-max.",
        "EOPNOTSUPP": "This file system cannot do that. One that cannot write into the middle of a file, as a bucket's, "
        "needs STAGING_DIR on a local disk.",
        "ENOSYS": "This file system cannot do that; use a volume with an ordinary Linux file system.",
        "ESTALE": _GONE,
        "ENODEV": _GONE,
        "ENXIO": _GONE,
        "ENOTCONN": _GONE,
        "ECONNABORTED": _GONE,
        "ESHUTDOWN": _GONE,
        "ETIMEDOUT": _SILENT,
        "EHOSTDOWN": _SILENT,
        "EHOSTUNREACH": _SILENT,
    }
)


def disk_error(error: OSError, what: str, *, path: Path | None = None, needed: int | None = None) -> ProvisionerError:
    """Return the program's error for ``error``, which happened during ``what`` (such as "writing the status file").

    The message names ``path``, or else the path in ``error``. If space ran out, it says how many bytes were ``needed`` and
    how many are free.
    """
    named = os.fspath(path) if path is not None else _text_of(error.filename)
    at = f" ({named})" if named and named not in what else ""
    text = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in _FULL:
        return VolumeFullError(
            f"{what}{at}: {text}{_free_space(path or error.filename, needed)}",
            hint="Give the volume more space, remove data sets from it, or choose a smaller phase; then start again.",
        )
    if error.errno in _REFUSED:
        return VolumeNotWritableError(
            f"{what}{at}: {text}, as {_identity()}",
            hint="Mount the volume writable and let this user write: chown it to the uid the container runs as, "
            "or to group 0 with mode g+rwX.",
        )
    return VolumeError(f"{what}{at}: {text}", hint=_HINTS.get(error.errno or 0, ""))


@contextlib.contextmanager
def disk_errors(what: str, path: Path | None = None, *, needed: int | None = None) -> Iterator[None]:
    """Replace any ``OSError`` that leaves the block by the program's error; see :func:`disk_error`.

    Raises:
        VolumeFullError: no space, no inodes, or over quota.
        VolumeNotWritableError: permission denied, or a read-only volume.
        VolumeError: any other error of the system.
    """
    try:
        yield
    except OSError as error:
        raise disk_error(error, what, path=path, needed=needed) from error


def _text_of(name: object) -> str:
    """Return the file name in an ``OSError``, or an empty text if it has a descriptor or nothing instead."""
    if isinstance(name, bytes):
        return os.fsdecode(name)
    return name if isinstance(name, str) else ""


def _free_space(path: Path | str | bytes | int | None, needed: int | None) -> str:
    """Return the addition to a message about a full volume: bytes needed, bytes free, and whether inodes have run out."""
    parts = [] if needed is None else [f"needs {needed} bytes"]
    if isinstance(path, (str, bytes, Path)) and path:
        with contextlib.suppress(OSError):
            where = nearest_existing(Path(os.fsdecode(path)))
            if (space := device_space(where)) is not None:
                parts.append(f"{space.free} bytes are free")
            if hasattr(os, "statvfs") and (inodes := os.statvfs(where)).f_files and not inodes.f_favail:
                parts.append("no inodes are left")
    return f" ({', '.join(parts)})" if parts else ""


def _identity() -> str:
    if sys.platform == "win32":
        return "this user"
    return f"uid {os.geteuid()}, gid {os.getegid()}"
