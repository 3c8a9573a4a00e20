"""What bytes are, by how they begin: kinds of archives and of compressed data, and what servers send in their place.

Pure: bytes come in, and a kind goes out. What follows from it is decided by the callers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from provisioner.volume.archive.tar_header import BLOCK_SIZE, is_header

if TYPE_CHECKING:
    from provisioner.catalog.artifact import UnpackFormat

HEAD_SIZE: Final = 1024
"""Bytes from the beginning of a file by which it is recognised."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of files."""

    name: str
    """A short name, such as ``zip``, ``gzip`` or ``html``."""
    words: str
    """What a message calls such a file, with its article."""
    forms: tuple[UnpackFormat, ...] = ()
    """The formats that a catalog may state for such a file; none: it cannot be unpacked."""

    @property
    def is_archive(self) -> bool:
        """Whether such a file is compressed, or holds other files."""
        return self.name not in _SINGLE


_SINGLE: Final = frozenset({"html", "xml", "json", "lfs-pointer", "pdf"})
"""Kinds that are one file and not compressed."""
_ZIP: Final = Kind("zip", "a zip archive", ("zip",))
_SPLIT_ZIP: Final = Kind("zip-part", "the first part of a split zip archive")
_TAR: Final = Kind("tar", "a tar archive that is not compressed", ("tar",))
_HTML: Final = Kind("html", "an HTML page")
_XML: Final = Kind("xml", "an XML document")
_JSON: Final = Kind("json", "a JSON document")
_LFS_POINTER: Final = Kind("lfs-pointer", "a Git LFS pointer, which stands for a file that is elsewhere")

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
    (b"%PDF-", Kind("pdf", "a PDF document")),
    (b"version https://git-lfs.github.com/spec/", _LFS_POINTER),
    (b"version https://hawser.github.com/spec/", _LFS_POINTER),
)
_ZSTD_SKIPPABLE: Final = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")
_BYTE_ORDER_MARKS: Final = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_HTML_START: Final = re.compile(
    rb"(?:\s|<!--.*?-->|<\?xml[^>]*>)*<(?:!doctype\s+html|(?:html|head|body|title|script|meta|style|center|iframe)[\s/>])",
    re.IGNORECASE | re.DOTALL,
)
_JSON_START: Final = re.compile(rb"\s*(?:\{\s*[\"}]|\[\s*[\[{\"\]])")

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


def recognise(head: bytes) -> Kind | None:
    """Return the kind of a file; ``None`` if it is not one of those that are known here.

    Args:
        head: its first ``HEAD_SIZE`` bytes, or all of it if it is smaller.
    """
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    if _ZSTD_SKIPPABLE.match(head):
        return next(kind for _, kind in _SIGNATURES if kind.name == "zstd")
    if is_header(head[:BLOCK_SIZE]):
        return _TAR
    return _recognise_text(head)


def is_page_or_pointer(kind: Kind | None) -> bool:
    """Return whether a server sends such files in place of what was asked for: pages, and pointers of Git LFS."""
    return kind is not None and kind.name in {"html", "lfs-pointer"}


def is_part_name(name: str) -> bool:
    """Return whether a name is one that programs give to a part of a split archive, such as ``x.zip.001`` or ``x.z01``."""
    return bool(_PART_NAME.search(name)) and not name.lower().endswith((".tar.gz", ".tar.xz", ".tar.bz2", ".tar.zst"))


def _recognise_text(head: bytes) -> Kind | None:
    for mark in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            # Of UTF-16 the markup's letters remain.
            head = head[len(mark) :].replace(b"\0", b"")
    if _HTML_START.match(head):
        return _HTML
    if head.lstrip()[:5] == b"<?xml":
        return _XML
    return _JSON if _JSON_START.match(head) else None
