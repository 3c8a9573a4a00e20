"""The data after the last compressed stream of an archive: zeros (padding), another stream, or something else."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from provisioner.catalog.answers import HEAD
from provisioner.volume.archive.errors import broken_stream
from provisioner.volume.archive.recognition import recognise

if TYPE_CHECKING:
    from provisioner.volume.archive.cursor import Cursor
    from provisioner.volume.archive.oddities import Oddities

_READ_SIZE: Final = 64 * 1024
_STARTS: Final = {
    "tar.gz": re.compile(rb"\x1f\x8b"),
    "tar.bz2": re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"),
    "tar.xz": re.compile(rb"\xfd7zXZ\0"),
    "tar.zst": re.compile(rb"(?:\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18)"),
}
"""The first bytes of a further stream of each format."""


def next_stream(source: Cursor, rest: bytes, form: str, oddities: Oddities, streams: int) -> bytes:
    """Skip what follows a compressed stream, up to the next one of the same format.

    Args:
        source: the archive.
        rest: the bytes beyond the stream that were already read.
        form: the archive's format.
        oddities: is told of anything but zeros or a stream, and raises if it cannot be accepted.
        streams: how many streams came before.

    Returns:
        The first bytes of the next stream; empty at the archive's end.

    Raises:
        BrokenArchiveError: something else follows that may be part of the data, or no digest proves the bytes.
        ProvisionerError: raised by the archive's ``read_at``.
    """
    rest = rest.lstrip(b"\0")
    while not rest and (more := source.read(_READ_SIZE)):
        rest = more.lstrip(b"\0")
    while rest and len(rest) < HEAD and (more := source.read(HEAD)):
        rest += more
    if not rest or _STARTS[form].match(rest):
        return rest
    kind = recognise(rest)
    found = kind.words if kind is not None and kind.is_archive else ""
    refusal = broken_stream(
        source.name,
        form,
        found or "neither padding nor another stream",
        bytes_read=source.position,
        has_output=False,
        stream_number=streams + 1,
    )
    if found:
        raise refusal
    oddities.accept(f"bytes that are no {form.removeprefix('tar.')} data follow the compressed data", refusal=refusal)
    for _ in source.pieces():
        pass
    return b""
