"""Tar archives made by hand, member by member: with any name, any number and any damage."""

from __future__ import annotations

import tarfile
from typing import Any


def member(name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", *, target: str = "", **more: Any) -> bytes:
    """Return one member as GNU tar would write it, with any name."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, len(data)
    for key, value in more.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape") + data + bytes(-len(data) % 512)


def link(name: str, target: str) -> bytes:
    """Return a symbolic link."""
    return member(name, tarfile.SYMTYPE, target=target)


def hard(name: str, target: str, data: bytes = b"") -> bytes:
    """Return a hard link; pax may repeat the content behind it."""
    return member(name, tarfile.LNKTYPE, data, target=target)


def folder(name: str) -> bytes:
    """Return a directory."""
    return member(name, tarfile.DIRTYPE)


def file(name: str, data: bytes = b"evil") -> bytes:
    """Return a file."""
    return member(name, data=data)


def pax(records: dict[bytes, bytes] | list[tuple[bytes, bytes]], kind: bytes = tarfile.XHDTYPE) -> bytes:
    """Return an extended header with ``records``."""
    body = b""
    for key, value in records.items() if isinstance(records, dict) else records:
        rest = b" %s=%s\n" % (key, value)
        length = len(rest) + 1
        while len(b"%d" % length) + len(rest) != length:
            length += 1
        body += b"%d%s" % (length, rest)
    return member("pax", kind, body)


def tar(*members: bytes) -> bytes:
    """Return a tar archive of some members, with its end mark."""
    return b"".join(members) + bytes(1024)


def packed(*members: tuple[str, bytes | str]) -> bytes:
    """Return a tar archive of files and links: a member whose content is text is a link with that target."""
    return tar(*(link(name, content) if isinstance(content, str) else file(name, content) for name, content in members))


def patched(header: bytes, at: int, field: bytes) -> bytes:
    """Return a member with one field of its header changed and the checksum corrected."""
    changed = bytearray(header)
    changed[at : at + len(field)] = field
    changed[148:156] = b" " * 8
    changed[148:156] = b"%06o\0 " % sum(changed[:512])
    return bytes(changed)


def stated(header: bytes, size: int) -> bytes:
    """Return a member whose header states another size."""
    return patched(header, 124, b"%011o\0" % size)
