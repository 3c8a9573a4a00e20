"""Archives that lie, attack or are damaged are refused with a reason, and nothing is written outside the tree.

Each row has an honest twin of the same structure that must pass: this shows that the archive is refused for the right reason.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import stat
import struct
import sys
import tarfile
import threading
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provisioner.catalog.relative_path import windows_objection
from provisioner.errors import BrokenArchiveError, IntegrityError, ProvisionerError, UnsafeArchiveError, VolumeError
from provisioner.volume.archive import workers
from provisioner.volume.staging.incoming import LocalFile
from tests.support import tally
from tests.support.incoming import Arriving
from tests.support.tar_members import file, folder, hard, link, member, patched, pax, tar
from tests.support.unpacking import unpack_into

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from provisioner.catalog.artifact import UnpackFormat
    from provisioner.volume.archive.target import Unpacked


class Box(NamedTuple):
    """A directory to unpack into, with files beside it that must not change."""

    root: Path
    outside: Path
    arriving: bool = False

    def unpack(self, data: bytes, form: UnpackFormat, into: str = "", **options: Any) -> Unpacked:
        """Unpack ``data``, and assert that nothing outside has changed, with or without an error."""
        archive = self.root.parent / "archive"
        archive.write_bytes(data)
        before = self._surroundings()
        try:
            with Arriving(data) if self.arriving else LocalFile(archive) as file:
                tally.count("archives")
                return unpack_into(self.root, file, form, into, **options)
        finally:
            assert self._surroundings() == before
            for folder, folders, files in os.walk(self.root):
                for name in folders + files:
                    mode = Path(folder, name).lstat().st_mode
                    assert stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)
                    assert not mode & (stat.S_ISUID | stat.S_ISVTX)

    def _surroundings(self) -> dict[str, bytes | None]:
        box = self.root.parent
        return {
            str(path): path.read_bytes() if path.is_file() else None
            for path in sorted(box.rglob("*"))
            if path != self.root and self.root not in path.parents
        }


@pytest.fixture(params=["whole", "arriving", "on one core"])
def box(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Box:
    """Return an empty root beside a precious file; archives are on the disk or arriving, with threads or without."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"precious")
    # However many this machine has.
    monkeypatch.setattr(workers, "usable_cores", lambda: 1 if request.param == "on one core" else 2)
    return Box(tmp_path / "root", outside, request.param == "arriving")


def hint_and_words(error: ProvisionerError) -> str:
    """Assert that the error has a hint and names the archive; return its message."""
    assert error.hint
    assert error.message.startswith("archive: ")
    return error.message


# --- rows of tar --------------------------------------------------------------------------------------------------------


UNSAFE_TARS: dict[str, tuple[bytes, str, bytes]] = {
    # name: (hostile, reason, the honest twin)
    "absolute path": (tar(file("/OUTSIDE/evil")), "absolute path", tar(file("OUTSIDE/evil"))),
    "absolute pax path": (
        tar(pax({b"path": b"/OUTSIDE/evil"}), file("x")),
        "absolute path",
        tar(pax({b"path": b"OUTSIDE/evil"}), file("x")),
    ),
    "drive letter": (tar(file("C:/evil")), "absolute path", tar(file("C/evil"))),
    "up": (tar(file("../outside/evil")), "leads out", tar(file("..outside/evil"))),
    "up in the middle": (tar(folder("a"), file("a/../../outside/evil")), "leads out", tar(folder("a"), file("a/.../evil"))),
    "up within": (tar(file("a/../b")), "leads out", tar(file("a/./b"))),
    "up with backslashes": (tar(file("..\\..\\evil")), "backslashes", tar(file("a\\b"))),
    "long name up": (tar(file("a/" * 100 + "../" * 101 + "outside/evil")), "leads out", tar(file("a/" * 100 + "evil"))),
    "NUL in a name": (tar(pax({b"path": b"a\0b"}), file("x")), "NUL", tar(pax({b"path": b"ab"}), file("x"))),
    "name of 300 bytes": (tar(file("n" * 300)), "300 bytes", tar(file("n" * 255))),
    "path without end": (tar(file("d/" * 600 + "x")), "more than 1024", tar(file("d/" * 400 + "x"))),
    "link to an absolute path": (tar(link("l", "/OUTSIDE")), "absolute path", tar(link("l", "OUTSIDE"))),
    "link up": (tar(link("l", "../outside")), "out of its directory", tar(link("a/l", "../outside"))),
    "link deep and up": (tar(link("a/b/l", "../../../outside")), "out of its directory", tar(link("a/b/l", "../../outside"))),
    "link chained out": (
        tar(link("a", "."), link("b", "a/../outside")),
        "out of its directory",
        tar(folder("a"), link("b", "a/../outside")),
    ),
    "link chained deep": (
        tar(folder("d/e"), link("d/e/up", ".."), link("d/e/upper", "up/.."), link("l", "d/e/upper/../outside")),
        "out of its directory",
        tar(folder("d/e"), link("d/e/up", ".."), link("d/e/upper", "up/.."), link("l", "d/e/upper/outside")),
    ),
    "link in a circle": (tar(link("a", "b"), link("b", "a")), "through more than", tar(link("a", "b"), link("b", "c"))),
    "link to itself": (tar(link("a", "a/x")), "through more than", tar(link("a", "b/x"))),
    "link with NUL": (
        tar(pax({b"linkpath": b"a\0b"}), link("l", "x")),
        "is a link to",
        tar(pax({b"linkpath": b"ab"}), link("l", "x")),
    ),
    "link to nothing": (tar(link("l", "")), "is a link to ''", tar(link("l", "x"))),
    "file through a link": (tar(link("d", "e"), file("d/x")), "also a link", tar(folder("d"), file("d/x"))),
    "link over a folder": (tar(file("d/x"), link("d", "e")), "twice, and different", tar(file("d/x"), link("e", "d"))),
    "hard link to an absolute path": (tar(hard("h", "/OUTSIDE/precious")), "absolute path", tar(file("x"), hard("h", "x"))),
    "hard link up": (tar(hard("h", "../outside/precious")), "leads out", tar(file("x"), hard("h", "./x"))),
    "hard link to what is not there": (tar(hard("h", "x")), "no earlier file", tar(file("x"), hard("h", "x"))),
    "hard link to a folder": (tar(folder("d"), hard("h", "d")), "no earlier file", tar(file("d"), hard("h", "d"))),
    "hard link to itself": (tar(hard("h", "h")), "no earlier file", tar(file("h"), hard("h", "h"))),
    "hard link through a link": (
        tar(link("l", "../outside"), hard("h", "l/precious")),
        "no earlier file",
        tar(file("l/precious"), hard("h", "l/precious")),
    ),
    "hard link to a link out": (
        tar(link("l", "../outside"), hard("h", "l")),
        "out of its directory",
        tar(link("l", "x"), hard("h", "l")),
    ),
    "hard link moves a link": (
        tar(folder("a"), link("a/l", "../outside"), hard("l", "a/l")),
        "out of its directory",
        tar(folder("a"), link("a/l", "../outside"), hard("b/l", "a/l")),
    ),
    "character device": (tar(member("null", tarfile.CHRTYPE, devmajor=1, devminor=3)), "character device", tar(file("null"))),
    "block device": (tar(member("sda", tarfile.BLKTYPE, devmajor=8)), "block device", tar(file("sda"))),
    "FIFO": (tar(member("fifo", tarfile.FIFOTYPE)), "FIFO", tar(file("fifo"))),
    "sparse file of a later version": (
        tar(pax({b"GNU.sparse.major": b"2"}), file("s")),
        "sparse files in an unknown format",
        tar(pax({b"comment": b"1"}), file("s")),
    ),
    "sparse file of star": (
        tar(pax({b"SCHILY.filetype": b"sparse"}), file("s")),
        "sparse files in an unknown format",
        tar(pax({b"SCHILY.filetype": b"file"}), file("s")),
    ),
    "part of several volumes": (tar(member("s", b"M")), "another volume", tar(file("s"))),
    "unknown type": (tar(member("s", b"Z")), "unknown type", tar(file("s"))),
    "the folder itself as a file": (tar(file(".")), "own directory", tar(folder("."), file("a"))),
    "twice and different": (tar(file("a", b"1"), file("a", b"2")), "twice, and different", tar(file("a", b"1"), file("a", b"1"))),
    "twice by another spelling": (tar(file("a", b"1"), file("./a", b"2")), "twice, and different", tar(file("a"), file("./a"))),
    "file over a folder": (tar(file("a/b"), file("a")), "twice, and different", tar(file("a/b"), file("a/c"))),
    "folder over a file": (tar(file("a"), folder("a")), "also a file", tar(folder("a"), folder("a"))),
    "in a file": (tar(file("a"), file("a/b")), "also a file", tar(folder("a"), file("a/b"))),
    "two different links": (tar(link("a", "x"), link("a", "y")), "twice, and different", tar(link("a", "x"), link("a", "x"))),
}


@pytest.mark.parametrize("into", ["", "sub/folder"])
@pytest.mark.parametrize("row", UNSAFE_TARS)
def test_an_unsafe_tar_is_refused(box: Box, row: str, into: str) -> None:
    """The error states the reason; the honest twin is unpacked."""
    hostile, reason, honest = UNSAFE_TARS[row]
    with pytest.raises(UnsafeArchiveError) as caught:
        box.unpack(hostile, "tar", into)
    assert reason in hint_and_words(caught.value)
    twin = box._replace(root=box.root.with_name("twin"))
    assert twin.unpack(honest, "tar", into).entries


def test_absolute_paths_that_exist(box: Box) -> None:
    """A member or link that names a real directory outside is refused: nothing is written there or linked to it."""
    for hostile in (
        tar(file(f"{box.outside}/evil")),
        tar(link("l", str(box.outside)), file("l/evil")),
        tar(hard("h", f"{box.outside}/precious"), file("h")),
        tar(link("l", str(box.outside / "precious"))),
    ):
        with pytest.raises(UnsafeArchiveError):
            box.unpack(hostile, "tar")
    assert not (box.root / "l").is_symlink()


def test_nothing_is_written_through_a_link_that_stays_inside(box: Box) -> None:
    """A member below a link is refused; links are made last, so there is none to follow yet."""
    with pytest.raises(UnsafeArchiveError, match="also a link"):
        box.unpack(tar(link("d", "e"), folder("e"), file("d/x")), "tar")
    assert not (box.root / "e" / "x").exists()


def test_set_id_bits_and_owners_are_dropped(box: Box) -> None:
    """A member with set-id bits or a foreign owner is unpacked without these."""
    hostile = tar(member("suid", data=b"#!", mode=0o6777, uid=12345, gid=23456), member("sticky", tarfile.DIRTYPE, mode=0o7777))
    box.unpack(hostile, "tar")
    facts = (box.root / "suid").stat()
    assert stat.S_IMODE(facts.st_mode) == 0o775
    assert (facts.st_uid, facts.st_gid) == (os.geteuid(), box.root.stat().st_gid)
    assert stat.S_IMODE((box.root / "sticky").stat().st_mode) & ~stat.S_ISGID == 0o775


HEADER = file("a", b"")
BROKEN_TARS: dict[str, tuple[bytes, str, bytes]] = {
    "empty": (b"", "an empty file", bytes(512)),
    "no end mark": (file("a"), "without an end mark", tar(file("a"))),
    "text": (b"<!DOCTYPE html>".ljust(2048), "an HTML page", tar()),
    "wrong checksum": (tar(file("a"), b"X" + file("b")[1:]), "header 2 has a wrong checksum", tar(file("a"), file("b"))),
    "checksum that is no number": (tar(HEADER[:148] + b"+000000\0" + HEADER[156:]), "checksum", tar(HEADER)),
    "negative size": (tar(patched(HEADER, 124, b"\xff" * 12)), "size", tar(patched(HEADER, 124, b"\x80" + bytes(11)))),
    "signed size": (tar(patched(HEADER, 124, b"-0000000001\0")), "size", tar(patched(HEADER, 124, b"00000000000\0"))),
    "size with underscores": (tar(patched(HEADER, 124, b"0_000_000\0")), "size", tar(patched(HEADER, 124, b"0 \0"))),
    "size of exabytes": (tar(patched(HEADER, 124, b"\x80" + b"\x7f" * 11)), "in the middle", tar(HEADER)),
    "negative pax size": (tar(pax({b"size": b"-1"}), HEADER), "number", tar(pax({b"size": b"0"}), HEADER)),
    "pax size without end": (tar(pax({b"size": b"9" * 5000}), HEADER), "number", tar(pax({b"size": b"0" * 9}), HEADER)),
    "pax record of nonsense": (
        tar(member("p", b"x", b"99 path=a\n"), HEADER),
        "no sense",
        tar(member("p", b"x", b"9 path=a\n"), HEADER),
    ),
    "pax record without end": (tar(member("p", b"x", b"path=a\n"), HEADER), "no sense", tar(member("p", b"x", b""), HEADER)),
    "pax record of length 0": (tar(member("p", b"x", b"0 path=a\n"), HEADER), "no sense", tar(member("p", b"x", b""), HEADER)),
    "global path": (
        tar(pax({b"path": b"evil"}, b"g"), file("a"), file("b")),
        "global",
        tar(pax({b"mtime": b"1"}, b"g"), file("a")),
    ),
    "extended header of a gigabyte": (
        tar(patched(member("p", b"x"), 124, b"07777777777\0"), HEADER),
        "extended header of",
        tar(member("p", b"x"), HEADER),
    ),
    "long name of a gigabyte": (
        tar(patched(member("p", b"L"), 124, b"07777777777\0"), HEADER),
        "extended header of",
        tar(HEADER),
    ),
    "extended headers without end": (
        tar(*[pax({b"comment": b"x"})] * 20, HEADER),
        "more than 16",
        tar(pax({b"comment": b"x"}), HEADER),
    ),
    "extended header of nothing": (tar(pax({b"path": b"a"})), "the member is missing", tar(pax({b"comment": b"a"}, b"g"))),
    "hard link with content": (
        tar(file("a"), patched(hard("h", "a"), 124, b"00000000004\0"), b"else".ljust(512, b"\0")),
        "has content",
        tar(file("a"), hard("h", "a")),
    ),
    "folder with content": (tar(member("d/", data=b"evil")), "has content", tar(member("d/"))),
}


@pytest.mark.parametrize("row", BROKEN_TARS)
def test_a_broken_tar_is_refused(box: Box, row: str) -> None:
    """The error states the reason; the honest twin is unpacked."""
    hostile, reason, honest = BROKEN_TARS[row]
    with pytest.raises(BrokenArchiveError) as caught:
        box.unpack(hostile, "tar")
    assert reason in hint_and_words(caught.value)
    box.unpack(honest, "tar")


# --- rows of zip --------------------------------------------------------------------------------------------------------


def zipped(*members: tuple[str, bytes, int], method: int = zipfile.ZIP_STORED) -> bytes:
    """Return a zip of (name, content, Unix mode); the names are not changed."""
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", method) as packed:
        warnings.simplefilter("ignore")  # of a name that is there twice
        for name, data, mode in members:
            info = zipfile.ZipInfo("x")
            info.filename = name
            info.create_system, info.external_attr, info.compress_type = 3, mode << 16, method
            packed.writestr(info, data)
    return out.getvalue()


def index_of(data: bytes, number: int = 0) -> int:
    """Return the position of entry ``number`` of a zip's index."""
    at = -1
    for _ in range(number + 1):
        at = data.index(b"PK\1\2", at + 1)
    return at


def both_headers(data: bytes, at: int, form: str, value: int) -> bytes:
    """Return a zip of one member with a field changed in the local header (at ``at``) and in the index (two bytes further)."""
    changed = bytearray(data)
    struct.pack_into(form, changed, at, value)
    struct.pack_into(form, changed, index_of(data) + at + 2, value)
    return bytes(changed)


def in_index(data: bytes, at: int, form: str, value: int) -> bytes:
    """Return a zip with a field of the first entry of the index changed, and not in the local header."""
    changed = bytearray(data)
    struct.pack_into(form, changed, index_of(data) + at, value)
    return bytes(changed)


REGULAR, FOLDER, LINK = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755, stat.S_IFLNK | 0o777
ONE = zipped(("a", b"content", REGULAR))
DEFLATED = zipped(("a", b"content" * 10, REGULAR), method=zipfile.ZIP_DEFLATED)


def plain(name: str, data: bytes = b"evil") -> bytes:
    """Return a zip of one file."""
    return zipped((name, data, REGULAR))


def overlapping(*, honest: bool) -> bytes:
    """Return a zip whose index lists the same content many times: a bomb without nesting."""
    data = zipped(("a", b"\0" * 1000, REGULAR))
    at = index_of(data)
    end = data.index(b"PK\5\6")
    entry = data[at:end]
    count = 1 if honest else 50
    return data[:at] + entry * count + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(entry) * count, at, 0)


UNSAFE_ZIPS: dict[str, tuple[bytes, str, bytes]] = {
    "absolute path": (plain("/tmp/evil"), "absolute path", plain("tmp/evil")),  # noqa: S108 - that is the point
    "drive letter": (plain("C:\\evil"), "absolute path", plain("C/evil")),
    "up": (plain("../outside/evil"), "leads out", plain("..outside/evil")),
    "up in the middle": (plain("a/../../outside/evil"), "leads out", plain("a/b/evil")),
    "up with backslashes": (plain("..\\outside\\evil"), "backslashes", plain("a\\evil")),
    "root with a backslash": (plain("\\outside\\evil"), "backslashes", plain("a\\evil")),
    "NUL in a name": (plain("aXb").replace(b"aXb", b"a\0b"), "NUL", plain("aXb")),
    "name of 300 bytes": (plain("n" * 300), "300 bytes", plain("n" * 255)),
    "link to an absolute path": (zipped(("l", b"/outside", LINK)), "absolute path", zipped(("l", b"outside", LINK))),
    "link up": (zipped(("l", b"../outside", LINK)), "out of its directory", zipped(("a/l", b"../outside", LINK))),
    "link chained out": (
        zipped(("a", b".", LINK), ("b", b"a/../outside", LINK)),
        "out of its directory",
        zipped(("a/", b"", FOLDER), ("b", b"a/../outside", LINK)),
    ),
    "file through a link": (
        zipped(("d", b"e", LINK), ("d/x", b"evil", REGULAR)),
        "also a link",
        zipped(("d/", b"", FOLDER), ("d/x", b"evil", REGULAR)),
    ),
    "device": (zipped(("null", b"", stat.S_IFCHR | 0o666)), "device", plain("null")),
    "FIFO": (zipped(("fifo", b"", stat.S_IFIFO | 0o666)), "FIFO", plain("fifo")),
    "socket": (zipped(("socket", b"", stat.S_IFSOCK | 0o666)), "socket", plain("socket")),
    "encrypted": (both_headers(ONE, 6, "<H", 1), "encrypted", ONE),
    "strongly encrypted": (both_headers(ONE, 6, "<H", 1 << 6), "encrypted", ONE),
    "hidden index": (both_headers(ONE, 6, "<H", 1 << 13), "encrypted", ONE),
    "AES": (both_headers(ONE, 8, "<H", 99), "encrypted", ONE),
    "patch": (both_headers(ONE, 6, "<H", 1 << 5), "method 0", ONE),
    "unknown method": (both_headers(ONE, 8, "<H", 98), "method 98 (PPMd)", ONE),
    "overlapping members": (overlapping(honest=False), "overlap", overlapping(honest=True)),
    "twice and different": (
        zipped(("a", b"1", REGULAR), ("a", b"2", REGULAR)),
        "twice, and different",
        zipped(("a", b"1", REGULAR), ("a", b"1", REGULAR)),
    ),
}


@pytest.mark.parametrize("into", ["", "sub/folder"])
@pytest.mark.parametrize("row", UNSAFE_ZIPS)
def test_an_unsafe_zip_is_refused(box: Box, row: str, into: str) -> None:
    """The error states the reason; the honest twin is unpacked."""
    hostile, reason, honest = UNSAFE_ZIPS[row]
    with pytest.raises(UnsafeArchiveError) as caught:
        box.unpack(hostile, "zip", into)
    assert reason in hint_and_words(caught.value)
    twin = box._replace(root=box.root.with_name("twin"))
    assert twin.unpack(honest, "zip", into).entries


def lzma_wanting(dictionary: int) -> bytes:
    """Return a zip whose LZMA member needs that many bytes of memory."""
    data = bytearray(zipped(("a", b"content", REGULAR), method=zipfile.ZIP_LZMA))
    struct.pack_into("<L", data, 30 + 1 + 5, dictionary)
    return bytes(data)


def trailing(data: bytes, junk: bytes) -> bytes:
    """Return a zip of one member with some bytes more in its packed content."""
    at = index_of(data)
    longer = bytearray(data[:at] + junk + data[at:])
    offset = longer.index(b"PK\5\6") + 16
    struct.pack_into("<L", longer, offset, at + len(junk))
    return both_headers(bytes(longer), 18, "<L", at - 31 + len(junk))


END = len(ONE) - 22
BROKEN_ZIPS: dict[str, tuple[bytes, str, bytes]] = {
    "empty": (b"", "an empty file", zipped()),
    "text": (b"<!DOCTYPE html>", "an HTML page", ONE),
    "something follows": (ONE + b"x", "something follows", ONE),
    "wrong CRC": (both_headers(ONE, 14, "<L", 1), "checksum", ONE),
    "flipped byte": (ONE.replace(b"content", b"kontent"), "checksum", ONE),
    "flipped bits in deflate": (DEFLATED[:31] + b"\xff" + DEFLATED[32:], "damaged", DEFLATED),
    "larger than the index says": (in_index(DEFLATED, 24, "<L", 10), "more than the 10 bytes", DEFLATED),
    "smaller than the index says": (in_index(DEFLATED, 24, "<L", 1000), "the index says 1000", DEFLATED),
    "bytes behind the data": (trailing(DEFLATED, b"xyz"), "belong to nothing", trailing(DEFLATED, bytes(3))),
    "cut data": (in_index(DEFLATED, 20, "<L", 5), "and the index says", DEFLATED),
    "data beyond the end": (in_index(in_index(ONE, 20, "<L", 60), 42, "<L", len(ONE) - 40), "not where the index says", ONE),
    "offset beyond the end": (in_index(ONE, 42, "<L", 10**6), "not where the index says", ONE),
    "another name in the header": (ONE[:30] + b"b" + ONE[31:], "something else", ONE),
    "another method in the header": (ONE[:8] + b"\x08" + ONE[9:], "something else", ONE),
    "index of more entries": (ONE[: END + 8] + b"\2\0\2\0" + ONE[END + 12 :], "claims 2", ONE),
    "index of fewer entries": (ONE[: END + 8] + b"\0\0\0\0" + ONE[END + 12 :], "claims 0", ONE),
    "one part of several": (ONE[: END + 4] + b"\1\0" + ONE[END + 6 :], "in several", ONE),
    "index larger than the file": (ONE[: END + 12] + struct.pack("<L", 10**6) + ONE[END + 16 :], "claims 1000000", ONE),
    "index of nonsense": (ONE.replace(b"PK\1\2", b"PK\1\3"), "damaged at entry 1", ONE),
    "entry longer than the index": (in_index(ONE, 28, "<H", 60_000), "damaged at entry 1", ONE),
    "zip64 without its field": (in_index(ONE, 24, "<L", 2**32 - 1), "too short", ONE),
    "folder with content": (plain("a/"), "has content", zipped(("a/", b"", FOLDER))),
    "link of a megabyte": (zipped(("l", b"x" * 10**6, LINK)), "has a target", zipped(("l", b"x" * 100, LINK))),
    "LZMA properties of nonsense": (
        zipped(("a", b"content", REGULAR), method=zipfile.ZIP_LZMA).replace(b"\x05\x00]", b"\x05\x00\xff", 1),
        "LZMA",
        zipped(("a", b"content", REGULAR), method=zipfile.ZIP_LZMA),
    ),
}


@pytest.mark.parametrize("row", BROKEN_ZIPS)
def test_a_broken_zip_is_refused(box: Box, row: str) -> None:
    """The error states the reason; the honest twin is unpacked."""
    hostile, reason, honest = BROKEN_ZIPS[row]
    with pytest.raises(BrokenArchiveError) as caught:
        box.unpack(hostile, "zip")
    assert reason in hint_and_words(caught.value)
    box.unpack(honest, "zip")


def test_memory_that_an_archive_asks_for(box: Box) -> None:
    """A dictionary of 4 GiB is refused before it is allocated; one of 1 MiB is accepted."""
    with pytest.raises(UnsafeArchiveError, match="memory"):
        box.unpack(lzma_wanting(2**32 - 1), "zip")
    box.unpack(lzma_wanting(1 << 20), "zip")
    for dictionary, error in ((1 << 30, UnsafeArchiveError), (1 << 20, None)):
        filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": dictionary}]
        # The size is only in the header: one byte, so that the test need not have the memory either.
        small = lzma.compress(tar(file("a")), filters=[{**filters[0], "dict_size": 1 << 20}])
        changed = bytearray(small)
        if dictionary != 1 << 20:
            changed[16] = 36  # of the block header at 12: size, flags, filter, length of properties, properties
            changed[20:24] = zlib.crc32(changed[12:20]).to_bytes(4, "little")
        if error is None:
            box.unpack(bytes(changed), "tar.xz")
        else:
            with pytest.raises(error, match=r"[Mm]emory"):
                box.unpack(bytes(changed), "tar.xz")


# --- too much -----------------------------------------------------------------------------------------------------------


MANY = {f"d/{n}": b"x" * 100 for n in range(50)}


@pytest.mark.parametrize("form", ["tar", "tar.gz", "zip"])
def test_more_bytes_than_expected(box: Box, form: UnpackFormat) -> None:
    """The limit is exact, and nothing beyond it is written."""
    if form == "zip":
        data = zipped(*((name, content, REGULAR) for name, content in MANY.items()), method=zipfile.ZIP_DEFLATED)
    else:
        data = tar(*(file(name, content) for name, content in MANY.items()))
        data = gzip.compress(data) if form == "tar.gz" else data
    with pytest.raises(UnsafeArchiveError, match="unpacks to more than 4,999 bytes"):
        box.unpack(data, form, max_bytes=4999)
    assert sum(path.stat().st_size for path in box.root.rglob("*") if path.is_file()) == 4900
    box.unpack(data, form, max_bytes=5000)


@pytest.mark.parametrize("form", ["tar", "zip"])
def test_more_members_than_the_limit(box: Box, form: UnpackFormat) -> None:
    """Directories and links count too; of a zip, not even the index is read."""
    members = [f"{n}/" for n in range(50)]
    data = tar(*(folder(name) for name in members)) if form == "tar" else zipped(*((name, b"", FOLDER) for name in members))
    with pytest.raises(UnsafeArchiveError, match="more than 49"):
        box.unpack(data, form, max_members=49)
    box.unpack(data, form, max_members=50)


@pytest.mark.parametrize("form", ["tar.gz", "tar.bz2", "tar.xz", "tar.zst", "zip"])
def test_a_bomb_ends_at_the_limit(box: Box, form: UnpackFormat) -> None:
    """A GiB of zeros in a few KiB is refused for the size that it states, before a byte of it is written."""
    size = 1 << 30
    if form == "zip":
        data = in_index(zipped(("zeros", bytes(1 << 20), REGULAR), method=zipfile.ZIP_DEFLATED), 24, "<L", size)
    else:
        data = COMPRESS[form](patched(file("zeros", b""), 124, b"%011o\0" % size) + bytes(1 << 20))
    with pytest.raises(UnsafeArchiveError, match="unpacks to more than"):
        box.unpack(data, form, max_bytes=10 << 20)
    assert not (box.root / "zeros").exists()


def test_a_tar_with_endless_padding(box: Box) -> None:
    """What follows the end mark is read, because of the checksum at the end of the stream, but not more than 64 MiB."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(1 << 20)
    head = compressor.compress(tar(file("a")))
    data = head + b"".join(compressor.compress(zeros) for _ in range(70)) + compressor.flush()
    with pytest.raises(BrokenArchiveError, match="follow its end mark"):
        box.unpack(data, "tar.gz")


def test_an_archive_in_an_archive(box: Box) -> None:
    """An archive within an archive is unpacked as a file, so that nested bombs do no harm."""
    inner = zipped(("zeros", bytes(1 << 20), REGULAR), method=zipfile.ZIP_DEFLATED)
    box.unpack(zipped(("inner.zip", inner, REGULAR)), "zip")
    assert (box.root / "inner.zip").read_bytes() == inner


# --- damage -------------------------------------------------------------------------------------------------------------

COMPRESS: dict[UnpackFormat, Callable[[bytes], bytes]] = {
    "tar": lambda data: data,
    "tar.gz": gzip.compress,
    "tar.bz2": bz2.compress,
    "tar.xz": lzma.compress,
    "tar.zst": lambda data: zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1}),
}
# What does not compress, and is the same in every run.
NOISE = random.Random(0).randbytes(700)  # noqa: S311 - no secret
CONTENT = {"a": b"content of a", "d/b": NOISE, "d/c": b"", "d/e": b"zeros" * 300}
SMALL: dict[UnpackFormat, bytes] = {
    form: compress(tar(*(file(name, data) for name, data in CONTENT.items()))) for form, compress in COMPRESS.items()
} | {"zip": zipped(*((name, data, REGULAR) for name, data in CONTENT.items()), method=zipfile.ZIP_DEFLATED)}
formats = pytest.mark.parametrize("form", SMALL)


@formats
def test_a_truncated_archive_is_broken(box: Box, form: UnpackFormat) -> None:
    """An archive that is cut at any byte is refused; only a plain tar may lack what follows its end mark."""
    whole = SMALL[form]
    needed = len(whole) - 512 if form == "tar" else len(whole)
    for length in range(needed) if form != "tar" else [*range(0, needed, 37), needed - 1]:
        with pytest.raises(BrokenArchiveError) as caught:
            box.unpack(whole[:length], form)
        hint_and_words(caught.value)
    box.unpack(whole[:needed], form)


@formats
def test_a_flipped_byte_is_found_or_harmless(box: Box, form: UnpackFormat) -> None:
    """A flipped byte leads to an error of the program, or every file is right; a plain tar has no checksums of content."""
    whole = SMALL[form]
    refused = 0
    for place in range(0, len(whole), 7 if form == "tar" else 1):
        changed = bytearray(whole)
        changed[place] ^= 0x41
        try:
            done = box.unpack(bytes(changed), form)
        except (IntegrityError, VolumeError):
            refused += 1
            continue
        if form != "tar":
            assert {entry.path: (box.root / entry.path).read_bytes() for entry in done.entries} == CONTENT
    assert refused


@pytest.mark.parametrize("form", [form for form in COMPRESS if form != "tar"])
@pytest.mark.parametrize(
    "garbage", [b"x", b"garbage" * 100, b"\0\0\0x", bytes(100_000) + b"x"], ids=["one", "many", "pad", "far"]
)
def test_garbage_after_the_last_stream(box: Box, form: UnpackFormat, garbage: bytes) -> None:
    """What follows the last stream is damage, unless it is padding with zeros."""
    with pytest.raises(BrokenArchiveError, match="follows its end"):
        box.unpack(SMALL[form] + garbage, form)
    box.unpack(SMALL[form] + bytes(100_000), form)


@formats
def test_an_error_page_in_place_of_an_archive(box: Box, form: UnpackFormat) -> None:
    """The error says which format the file does not have."""
    with pytest.raises(BrokenArchiveError) as caught:
        box.unpack(b"<!DOCTYPE html><title>503</title>" * 100, form)
    hint_and_words(caught.value)


@formats
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bytes_are_an_archive_or_an_error(box: Box, form: UnpackFormat, data: st.DataObject) -> None:
    """Pieces of real archives in any combination lead to an error of the program or a tree, and nothing is written outside."""
    whole = SMALL[form] if data.draw(st.booleans()) else ONE
    pieces = data.draw(
        st.lists(
            st.one_of(
                st.binary(max_size=40),
                st.tuples(st.integers(0, len(whole)), st.integers(0, len(whole))).map(lambda cut: whole[min(cut) : max(cut)]),
            ),
            max_size=5,
        )
    )
    try:
        box.unpack(b"".join(pieces), form, max_bytes=1 << 20, max_members=1000)
    except (IntegrityError, VolumeError) as error:
        assert error.message  # noqa: PT017 - both outcomes are right


names = st.lists(st.sampled_from(["a", "b", "d", "..", ".", "", "l"]), min_size=1, max_size=4).map("/".join)
members = st.one_of(
    st.builds(file, names, st.sampled_from([b"1", b"2"])),
    st.builds(folder, names),
    st.builds(link, names, names),
    st.builds(hard, names, names),
)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(packed=st.lists(members, min_size=1, max_size=8))
def test_any_members_are_inside_or_refused(box: Box, packed: list[bytes]) -> None:
    """Whatever the names of files, directories and links: if the archive is accepted, no link leads out of the tree."""
    try:
        done = box.unpack(tar(*packed), "tar")
    except (IntegrityError, VolumeError):
        return
    inside = os.path.realpath(box.root)
    for entry in done.entries:
        real = os.path.realpath(box.root / entry.path)
        assert real == inside or real.startswith(inside + os.sep)


# --- names on other systems ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("plain.txt", False),
        ("CONSOLE", False),
        ("a b", False),
        ("con", True),
        ("NUL.txt", True),
        ("COM1", True),
        ("a:stream", True),
        ("a\\b", True),
        ("dot.", True),
        ("blank ", True),
        ("question?", True),
        ("line\n", True),
    ],
)
def test_names_that_windows_would_change(name: str, *, bad: bool) -> None:
    """Names that Windows would not take for plain names are refused on Windows only."""
    assert bool(windows_objection(name)) == bad


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Assert that every descriptor is closed and every thread has ended, whatever the test does."""
    with os.scandir("/proc/self/fd") as found:
        before = sum(1 for _ in found)
    threads = threading.active_count()
    yield
    with os.scandir("/proc/self/fd") as found:
        assert sum(1 for _ in found) <= before
    assert threading.active_count() == threads
