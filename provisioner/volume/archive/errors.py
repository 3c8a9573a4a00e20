"""Errors about archives, the hints that they share, and the quoting of names in messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provisioner.errors import BrokenArchiveError, UnsafeArchiveError
from provisioner.volume.fs.errors import disk_error

if TYPE_CHECKING:
    from pathlib import Path

    from provisioner.errors import ProvisionerError

UNSAFE_HINT: Final = (
    "No data set that we know needs this. Do not unpack the archive by hand either before you know where it is from."
)
JOIN_HINT: Final = (
    "Get all parts, join them first, and ask for the joined file (by a file: URL): 'cat NAME.zip.* > NAME.zip'"
    " for parts that were cut, 'zip -s 0 NAME.zip --out JOINED.zip' for NAME.z01, NAME.z02, …, NAME.zip."
)

_DAMAGED_HINT: Final = "The archive is damaged or incomplete: fetch it again, and if its digest is right, it is broken upstream."
_MAX_QUOTED: Final = 200
"""Characters of a name that a message shows."""


def broken_archive(archive: str, reason: str) -> BrokenArchiveError:
    """Return the error for an archive that cannot be read, or contradicts its own structure or checksums."""
    return BrokenArchiveError(f"{archive}: {reason}", hint=_DAMAGED_HINT)


def part_of_archive(archive: str, reason: str) -> BrokenArchiveError:
    """Return the error for one part of an archive that was split."""
    return BrokenArchiveError(f"{archive}: {reason}", hint=JOIN_HINT)


def broken_stream(
    archive: str, form: str, reason: str, *, bytes_read: int, has_output: bool, stream_number: int
) -> BrokenArchiveError:
    """Return the error for compressed data that cannot be decompressed.

    Args:
        archive: its name, for the message.
        form: the format that the data should have, such as ``tar.gz``.
        reason: what is wrong, in the decoder's words.
        bytes_read: compressed bytes that were read, from the archive's beginning.
        has_output: whether the current stream has yielded any bytes.
        stream_number: number of the current stream, from 1; 0 when none has begun.
    """
    if has_output:
        what = f"damaged within its first {bytes_read} bytes"
    elif stream_number > 1:
        what = f"something that is no {form.removeprefix('tar.')} data follows its end"
    else:
        what = f"it is no {form} file"
    return broken_archive(archive, f"{what}: {reason}")


def memory_refused(archive: str, what: str) -> UnsafeArchiveError:
    """Return the error for compressed data in ``what`` that need more memory than a decoder may allocate."""
    return unsafe_archive(
        archive,
        f"{what} was compressed with a dictionary or window of more than 128 MiB, and takes more memory than we allow",
        hint="Its bytes may well be right: pack it again with a smaller one ('xz -9' and 'zstd -19' stay far below that).",
    )


def unsafe_archive(archive: str, reason: str, hint: str = UNSAFE_HINT) -> UnsafeArchiveError:
    """Return the error for an archive that must not be unpacked."""
    return UnsafeArchiveError(f"{archive}: {reason}", hint=hint)


def unsafe_member(archive: str, member: str, reason: str, hint: str = UNSAFE_HINT) -> UnsafeArchiveError:
    """Return the error for a member that must not be unpacked; ``reason`` completes the sentence "member 'NAME' ..."."""
    return unsafe_archive(archive, f"member {quoted(member)} {reason}", hint)


def write_error(error: OSError, archive: str, root: Path, path: str, needed: int = 0) -> ProvisionerError:
    """Return the program's error for an ``OSError`` that happened while something of an archive was written.

    Args:
        error: what the system raised.
        archive: its name, for the message.
        root: the directory that the archive is unpacked into.
        path: what was being written, relative to ``root``.
        needed: bytes that the write needs, if known.
    """
    return disk_error(error, f"unpacking {quoted(path)} from {archive}", path=root, needed=needed or None)


def quoted(name: str) -> str:
    """Return a name for a message: in quotes, unprintable characters escaped, and the middle of a very long one left out."""
    return repr(name if len(name) <= _MAX_QUOTED else f"{name[: _MAX_QUOTED // 2]}…{name[-_MAX_QUOTED // 2 :]}")
