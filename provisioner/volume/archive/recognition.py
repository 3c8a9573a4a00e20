"""Recognise files by their first bytes: archives, compressed data, and what servers send in their place.

Pure functions from bytes to a kind; callers decide what follows from it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from provisioner.catalog.answers import recognise_answer
from provisioner.volume.archive.tar_header import BLOCK_SIZE, is_header

if TYPE_CHECKING:
    from provisioner.catalog.answers import ServerAnswer
    from provisioner.catalog.artifact import UnpackFormat


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file."""

    name: str
    """A short name, such as ``zip``, ``gzip`` or ``page``."""
    words: str
    """The phrase with which a message refers to such a file, with an article."""
    forms: tuple[UnpackFormat, ...] = ()
    """The formats that a catalog may state for such a file; empty if it cannot be unpacked."""
    answer: ServerAnswer | None = None
    """The kind of response, if a server sends it in place of a file."""

    @property
    def is_archive(self) -> bool:
        """Whether such a file is compressed, or holds other files."""
        return self.answer is None and self is not _PDF


_ZIP: Final = Kind("zip", "a zip archive", ("zip",))
_SPLIT_ZIP: Final = Kind("zip-part", "the first part of a split zip archive")
_TAR: Final = Kind("tar", "a tar archive that is not compressed", ("tar",))
_PDF: Final = Kind("pdf", "a PDF document")

_SIGNATURES: Final = (
    (b"PK\3\4", _ZIP),
    (b"PK\5\6", _ZIP),
    (b"PK00PK\3\4", _ZIP),
    (b"PK\7\x08PK\3\4", _SPLIT_ZIP),
    (b"\x1f\x8b", Kind("gzip", "a gzip file", ("tar.gz",))),
    (b"BZh", Kind("bzip2", "a bzip2 file", ("tar.bz2",))),
    (b"\xfd7zXZ\0", Kind("xz", "an xz file", ("tar.xz",))),
    (b"\x28\xb5\x2f\xfd", Kind("zstd", "a Zstandard file", ("tar.zst",))),
    (b"7z\xbc\xaf\x27\x1c", Kind("7z", "a 7z archive")),
    (b"Rar!\x1a\x07", Kind("rar", "a RAR archive")),
    (b"\x1f\x9d", Kind("compress", "a file of the program compress (.Z)")),
    (b"LZIP", Kind("lzip", "an lzip file")),
    (b"\x04\x22\x4d\x18", Kind("lz4", "an LZ4 file")),
    (b"\x89LZO\0", Kind("lzop", "an lzop file")),
    (b"\x5d\0\0", Kind("lzma", "an LZMA file of the old format")),
    (b"MSCF\0\0\0\0", Kind("cab", "a cabinet archive")),
    (b"!<arch>\n", Kind("ar", "an ar archive")),
    (b"070701", Kind("cpio", "a cpio archive")),
    (b"070702", Kind("cpio", "a cpio archive")),
    (b"070707", Kind("cpio", "a cpio archive")),
    (b"xar!", Kind("xar", "a xar archive")),
    (b"%PDF-", _PDF),
)
_ZSTD_SKIPPABLE: Final = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")

_PART_NAME: Final = re.compile(
    r"""
    \.z\d{2,}$                                                     # x.z01 beside x.zip
    | \.(?:zip|tar|tgz|tbz2?|txz|tzst|gz|bz2|xz|zst|7z)
      [._-]?(?:part|vol)?[._-]?(?:\d{1,5}|[a-z]{2,3})$             # x.zip.001, x.tar.gz.aa, x.tar.gzaa, x.tar.part-aa
    | [._-]part[._-]?(?:\d{1,5}|[a-z]{1,3})(?:\.[a-z0-9.]{1,8})?$  # x.part1.zip, x.part_aa
    | (?:^|[._-])part$ | ^x[a-z]{2}$                               # an unfinished download; what split writes
    """,
    re.IGNORECASE | re.VERBOSE,
)


def recognise(head: bytes, size: int | None = None) -> Kind | None:
    """Return the kind of a file; ``None`` if it is not one of the known kinds.

    Args:
        head: its first ``HEAD`` bytes, or all of it if it is smaller.
        size: bytes of the whole file, or ``None`` if more may follow.
    """
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    if _ZSTD_SKIPPABLE.match(head):
        return next(kind for _, kind in _SIGNATURES if kind.name == "zstd")
    if is_header(head[:BLOCK_SIZE]):
        return _TAR
    answer = recognise_answer(head, len(head) + 1 if size is None else size)
    return Kind(answer.kind, answer.words, answer=answer) if answer else None


def is_part_name(name: str) -> bool:
    """Return whether a name is one that programs give to a part of a split archive, such as ``x.zip.001`` or ``x.z01``."""
    return bool(_PART_NAME.search(name)) and not name.lower().endswith((".tar.gz", ".tar.xz", ".tar.bz2", ".tar.zst"))
