"""Names of a zip's members: the encoding of their bytes, and the separator of directories.

Specification: APPNOTE.TXT 6.3.10, sections 4.4.2 (the system that made it), 4.4.17 (file name), 4.6.9 (Unicode path), and
appendix D (language encoding). Nothing is judged here.
"""

from __future__ import annotations

import zlib
from typing import Final

UNIX_HOSTS: Final = frozenset({3, 19})
"""``version made by``: Unix and macOS, which write names as the bytes they have."""
DOS_HOSTS: Final = frozenset({0, 6, 10, 11, 14})
"""``version made by``: FAT, OS/2, Windows (two numbers are in use) and VFAT."""
UNICODE_PATH_FIELD: Final = 0x7075
"""Id of the extra field that holds the name in UTF-8."""

_UTF8: Final = 1 << 11
_UNICODE_PATH_VERSION: Final = 1
_UNICODE_PATH_START: Final = 5
"""Bytes before the name in that field: its version, and a CRC-32 of the name that it stands for."""


def decode_name(raw: bytes, flags: int, host: int, unicode_field: bytes) -> tuple[str, bool]:
    """Return a name, and whether its code page was guessed.

    It is UTF-8 if it is marked so or is valid UTF-8; otherwise the bytes are kept (Unix), or decoded by code page 437 (other
    systems). A Unicode path counts if it was made for this very name. On systems that separate directories by backslashes,
    these become slashes if the name has no slash; on Unix a backslash is an ordinary character.
    """
    name, is_guessed = _decoded(raw, flags, host, unicode_field)
    if host in DOS_HOSTS and "\\" in name and "/" not in name:
        name = name.replace("\\", "/")
    return name, is_guessed


def same_name(one: str, other: str) -> bool:
    """Return whether two names differ only in the separator."""
    return one == other or one.replace("\\", "/") == other.replace("\\", "/")


def _decoded(raw: bytes, flags: int, host: int, unicode_field: bytes) -> tuple[str, bool]:
    if flags & _UTF8 or raw.isascii() and not unicode_field:  # noqa: RUF021 - read as it is evaluated
        return raw.decode("utf-8", "surrogateescape"), False
    if (name := _unicode_path(raw, unicode_field)) is not None:
        return name, False
    if host in UNIX_HOSTS:
        return raw.decode("utf-8", "surrogateescape"), False
    try:
        return raw.decode("utf-8"), False
    except UnicodeDecodeError:
        return raw.decode("cp437"), True


def _unicode_path(raw: bytes, field: bytes) -> str | None:
    if len(field) <= _UNICODE_PATH_START or field[0] != _UNICODE_PATH_VERSION:
        return None
    if int.from_bytes(field[1:_UNICODE_PATH_START], "little") != zlib.crc32(raw):
        # A program that does not know the field has renamed the member.
        return None
    try:
        return field[_UNICODE_PATH_START:].decode("utf-8")
    except UnicodeDecodeError:
        return None
