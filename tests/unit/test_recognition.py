"""Files are recognised by how they begin, and parts of split archives by their names."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile

import pytest

from provisioner.catalog.answers import HEAD
from provisioner.volume.archive.recognition import is_part_name, recognise


def _tar(form: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as packed:
        info = tarfile.TarInfo("a")
        info.size = 3
        packed.addfile(info, io.BytesIO(b"abc"))
    return out.getvalue()


def _zip(names: tuple[str, ...]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for name in names:
            packed.writestr(name, b"abc")
    return out.getvalue()


V7_TAR = bytearray(_tar(tarfile.USTAR_FORMAT)[:512])
V7_TAR[257:512] = bytes(255)
V7_TAR[148:156] = b" " * 8
V7_TAR[148:156] = b"%06o\0 " % sum(V7_TAR)

BYTES: dict[str, tuple[bytes, str | None]] = {
    "zip": (_zip(("a",)), "zip"),
    "zip of nothing": (_zip(()), "zip"),
    "zip that was to be split and is whole": (b"PK00" + _zip(("a",)), "zip"),
    "zip that is split": (b"PK\7\10" + _zip(("a",)), "zip-part"),
    "gzip": (gzip.compress(b"a"), "gzip"),
    "bzip2": (bz2.compress(b"a"), "bzip2"),
    "xz": (lzma.compress(b"a"), "xz"),
    "old LZMA": (lzma.compress(b"a", lzma.FORMAT_ALONE), "lzma"),
    "Zstandard": (b"\x28\xb5\x2f\xfd\x04\x00\x09", "zstd"),
    "Zstandard with a frame to skip": (b"\x52\x2a\x4d\x18\x04\0\0\0abcd", "zstd"),
    "GNU tar": (_tar(tarfile.GNU_FORMAT), "tar"),
    "pax": (_tar(tarfile.PAX_FORMAT), "tar"),
    "V7 tar": (bytes(V7_TAR), "tar"),
    "7z": (b"7z\xbc\xaf\x27\x1c\0\4", "7z"),
    "RAR 4": (b"Rar!\x1a\7\0", "rar"),
    "RAR 5": (b"Rar!\x1a\7\1\0", "rar"),
    "compress": (b"\x1f\x9d\x90abc", "compress"),
    "an HTML page": (b"<!DOCTYPE html><html>", "page"),
    "an error of an object store": (b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code>', "xml"),
    "zeros": (bytes(HEAD), None),
    "text": (b"id,genre\n1,rock\n", None),
    "text with an angle": (b"<headphones> are 3", None),
    "WAV": (b"RIFF\x24\0\0\0WAVEfmt ", None),
    "a tar's header that is damaged": (b"X" + _tar(tarfile.USTAR_FORMAT)[1:], None),
}


@pytest.mark.parametrize("row", BYTES)
def test_what_bytes_are(row: str) -> None:
    """The kind is that of the first bytes, with and without what follows them."""
    data, expected = BYTES[row]
    for more in (b"", b"\0" * HEAD):
        kind = recognise((data + more)[:HEAD], len(data + more))
        assert (kind.name if kind else None) == expected


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("a.zip.001", True),
        ("a.z01", True),
        ("a.Z12", True),
        ("a.tar.gz.part-aa", True),
        ("a.tar.gz.00", True),
        ("a.tar.gz.aa", True),
        ("a.tar.gzaa", True),
        ("a.tgz_03", True),
        ("a.tar.part3", True),
        ("a.7z.001", True),
        ("a.part1.zip", True),
        ("a.part_ab", True),
        ("xaa", True),
        ("a.zip", False),
        ("a.tar", False),
        ("a.tar.gz", False),
        ("a.tar.bz2", False),
        ("a.tar.zst", False),
        ("a.tgz", False),
        ("LJSpeech-1.1.tar.bz2", False),
        ("fma_small.zip", False),
        ("party.zip", False),
        ("depart.tar.gz", False),
        ("data.2024.tar", False),
        ("xyz.zip", False),
    ],
)
def test_names_of_parts(name: str, *, part: bool) -> None:
    """Names that programs give to parts are told from those of whole archives."""
    assert is_part_name(name) == part
