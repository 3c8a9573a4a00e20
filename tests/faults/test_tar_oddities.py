"""Every byte of a tar archive is part of a member, known structure or padding, or the archive is refused or warned about.

What common readers accept although it is odd is accepted with one warning where a digest proves the bytes, and refused
without one.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import random
import struct
import sys
import tracemalloc
import zlib
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from provisioner.errors import IntegrityError
from provisioner.volume.archive import workers
from provisioner.volume.archive.oddities import UNPROVEN_HINT
from provisioner.volume.staging.incoming import LocalFile
from tests.support import tally
from tests.support.incoming import Arriving
from tests.support.tar_members import file, folder, hard, link, member, patched, pax, stated, tar
from tests.support.unpacking import unpack_into

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from provisioner.catalog.artifact import UnpackFormat
    from provisioner.volume.archive.target import Unpacked

COMPRESS: dict[UnpackFormat, Callable[[bytes], bytes]] = {
    "tar": lambda data: data,
    "tar.gz": gzip.compress,
    "tar.bz2": bz2.compress,
    "tar.xz": lzma.compress,
    "tar.zst": zstd.compress,
}
ALL_BUT_TAR: Final[list[UnpackFormat]] = [form for form in COMPRESS if form != "tar"]


class Place(NamedTuple):
    """Where archives are unpacked."""

    path: Path
    arriving: bool

    def unpack(self, data: bytes, form: UnpackFormat = "tar", *, proven: bool) -> tuple[Unpacked, dict[str, bytes]]:
        """Unpack into a new directory; return the result, and each file's content or link's target as it is on the disk."""
        root = self.path / f"root-{len(list(self.path.iterdir()))}"
        archive = self.path / "archive"
        archive.write_bytes(data)
        tally.count("archives")
        with Arriving(data) if self.arriving else LocalFile(archive) as source:
            done = unpack_into(root, source, form, proven=proven)
        found = {}
        for entry in done.entries:
            path = root / entry.path
            if entry.kind == "link":
                found[entry.path] = b"-> " + entry.target.encode()
            elif entry.kind == "file":
                found[entry.path] = path.read_bytes()
                assert hashlib.sha256(found[entry.path]).hexdigest() == entry.sha256
                assert len(found[entry.path]) == entry.size
        return done, found


@pytest.fixture(params=["whole", "arriving", "on one core"])
def place(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Return where archives are unpacked; they are on the disk or arriving, with threads or without."""
    monkeypatch.setattr(workers, "usable_cores", lambda: 1 if request.param == "on one core" else 2)
    return Place(tmp_path, request.param == "arriving")


@pytest.fixture
def here(tmp_path: Path) -> Place:
    """Return where archives that are on the disk are unpacked."""
    return Place(tmp_path, arriving=False)


def padded(records: dict[bytes, bytes], zeros: int, end: bytes = b"") -> bytes:
    """Return an extended header whose size counts zeros that follow its records."""
    whole = pax(records)
    size = int(whole[124:135], 8)
    return member("pax", whole[156:157], whole[512 : 512 + size] + bytes(zeros) + end)


A, B = {"a": b"first" * 9}, {"d/b": b"second" * 900}
TAR_A, TAR_B = tar(file("a", A["a"])), tar(file("d/b", B["d/b"]))


# --- odd: accepted where a digest proves the bytes ----------------------------------------------------------------------


class Odd(NamedTuple):
    """A kind of archive that is odd."""

    data: bytes
    files: dict[str, bytes]
    words: str
    """From the warning."""
    form: UnpackFormat = "tar"
    refusal: str = ""
    """From the error without a digest; the same as the warning, if empty."""


def unknown_check() -> bytes:
    """Return an xz stream whose checksum is of a kind that nobody has defined."""
    packed = bytearray(lzma.compress(TAR_A, check=lzma.CHECK_CRC32))
    packed[7] = 2
    packed[8:12] = struct.pack("<L", zlib.crc32(bytes(packed[6:8])))
    packed[-3] = 2
    packed[-12:-8] = struct.pack("<L", zlib.crc32(bytes(packed[-8:-2])))
    return bytes(packed)


NO_DATA = "data follow the compressed data"
ODD: dict[str, Odd] = {
    "no end mark": Odd(file("a", A["a"]), A, "without an end mark"),
    "a part of an end mark": Odd(file("a", A["a"]) + bytes(100), A, "without an end mark"),
    "cut padding": Odd(file("a", A["a"])[:-7], A, "in the middle of a member's padding"),
    "no padding": Odd(file("a", A["a"])[:557], A, "in the middle of a member's padding"),
    "padding that is not zero": Odd(tar(file("a", A["a"])[:-1] + b"x"), A, "padding of members is not zero"),
    "padding of a name that is not zero": Odd(
        tar(member("././@LongLink", b"L", b"a\0")[:-1] + b"x", file("b", A["a"])), A, "padding of members is not zero"
    ),
    "a second archive": Odd(TAR_A + TAR_B, A | B, "another archive follows"),
    "a second archive behind one zero block": Odd(TAR_A[:-512] + TAR_B, A | B, "another archive follows"),
    "a second archive behind a record's padding": Odd(
        TAR_A + bytes(-len(TAR_A) % 10240) + TAR_B, A | B, "another archive follows"
    ),
    "a second archive in front of nothing": Odd(bytes(1024) + TAR_B, B, "another archive follows"),
    "an archive without end mark as the second": Odd(TAR_A + TAR_B[:-1024], A | B, "another archive follows"),
    "the same archive again": Odd(TAR_A + TAR_A, A, "another archive follows"),
    "junk behind the end mark": Odd(TAR_A + b"junk" * 1000, A, "bytes that are no members"),
    "a letter behind the end mark": Odd(TAR_A + bytes(5120) + b"\n", A, "bytes that are no members"),
    "a page behind the end mark": Odd(TAR_A + b"<html>bye</html>", A, "bytes that are no members"),
    "a global name": Odd(tar(pax({b"path": b"all"}, b"g"), file("a", A["a"])), A, "global header sets path"),
    "a global size": Odd(tar(pax({b"size": b"7"}, b"g"), file("a", A["a"])), A, "global header sets size"),
    "an unknown type": Odd(tar(member("a", b"Z", A["a"])), A, "unknown type"),
    "an absolute name": Odd(tar(file("/a", A["a"])), A, "names are absolute", refusal="absolute path"),
    "an absolute name of a hard link": Odd(
        tar(file("a", b"x"), hard("b", "/a")), {"a": b"x", "b": b"x"}, "names are absolute", refusal="absolute path"
    ),
    "an incremental dump": Odd(tar(member("d", b"D", b"Ya\0Nb\0\0"), file("d/a", b"x")), {"d/a": b"x"}, "leaves out files"),
    "an incremental dump in pax": Odd(
        tar(pax({b"GNU.dumpdir": b"Nb\0Ya\0\0"}), folder("d"), file("d/a", b"x")), {"d/a": b"x"}, "leaves out files"
    ),
    "a checksum of an unknown kind": Odd(unknown_check(), A, "checksums are of an unknown kind", "tar.xz"),
    "the old LZMA format": Odd(lzma.compress(TAR_A, lzma.FORMAT_ALONE), A, "LZMA file of the old", "tar.xz"),
    "an empty stream": Odd(gzip.compress(b""), {}, "without an end mark", "tar.gz"),
    "a line behind bzip2": Odd(bz2.compress(TAR_A) + b"Some more data\n", A, NO_DATA, "tar.bz2", "follows its end"),
    **{
        f"two streams of {form}": Odd(COMPRESS[form](TAR_A) + COMPRESS[form](TAR_B), A | B, "another archive follows", form)
        for form in ALL_BUT_TAR
    },
    **{
        f"two archives in a stream of {form}": Odd(COMPRESS[form](TAR_A + TAR_B), A | B, "another archive follows", form)
        for form in ALL_BUT_TAR
    },
    **{
        f"{what} behind {form}": Odd(COMPRESS[form](TAR_A) + garbage, A, NO_DATA, form, "follows its end")
        for form in ALL_BUT_TAR
        for what, garbage in {
            "a byte": b"x",
            "junk": b"junk" * 100,
            "zeros and a byte": bytes(100_000) + b"x",
            "a signature": b"-----BEGIN PGP SIGNATURE-----\n" * 3000,
        }.items()
    },
}


@pytest.mark.parametrize("row", ODD)
def test_an_odd_tar_is_accepted_with_its_digest_and_refused_without(place: Place, row: str) -> None:
    """With a digest all members are there and one warning names the oddity; without one the archive is refused for it."""
    odd = ODD[row]
    done, files = place.unpack(odd.data, odd.form, proven=True)
    assert files == odd.files
    assert odd.words in done.oddities
    with pytest.raises(IntegrityError, match=odd.refusal or odd.words) as caught:
        place.unpack(odd.data, odd.form, proven=False)
    assert caught.value.hint
    if not odd.refusal:
        assert (
            caught.value.hint == UNPROVEN_HINT
            or "unknown type" in odd.words
            or "global" in odd.words
            or row.startswith("the old")
        )


# --- right: accepted without a digest, and without a warning ------------------------------------------------------------

CONTENT = {"a": b"content of a"}
HEADER_A = file("a", b"")
LONG = "directory-with-a-long-name/" * 6
HOLES = b"one".ljust(8192, b"\0") + b"two".ljust(100_000, b"\0") + b"three" + bytes(2_000_000)
PIECES = [(0, 3), (8192, 3), (108_192, 5)]
STORED = b"onetwothree"
SIZE = b"%d" % len(HOLES)


def old_sparse(name: str = "s", pieces: list[tuple[int, int]] = PIECES, size: int = len(HOLES), data: bytes = STORED) -> bytes:
    """Return a sparse file of the old GNU format: four pieces in the header, and 21 in each block behind it."""

    def fields(some: list[tuple[int, int]]) -> bytes:
        return b"".join(b"%011o\0%011o\0" % piece for piece in some)

    head = patched(member(name, b"S", data)[:512], 386, fields(pieces[:4]).ljust(96, b"\0"))
    head = patched(head, 482, bytes([len(pieces) > 4]) + b"%011o\0" % size)
    rest = pieces[4:]
    blocks = b""
    while rest:
        blocks += fields(rest[:21]).ljust(504, b"\0") + bytes([len(rest) > 21]) + bytes(7)
        rest = rest[21:]
    return head + blocks + data + bytes(-len(data) % 512)


def sparse_0_0(pieces: list[tuple[int, int]] = PIECES) -> bytes:
    """Return a sparse file of the format 0.0."""
    records = [(b"GNU.sparse.size", SIZE), (b"GNU.sparse.numblocks", b"%d" % len(pieces))]
    for place, size in pieces:
        records += [(b"GNU.sparse.offset", b"%d" % place), (b"GNU.sparse.numbytes", b"%d" % size)]
    return pax(records) + file("s", STORED)


def sparse_0_1(pieces: list[tuple[int, int]] = PIECES) -> bytes:
    """Return a sparse file of the format 0.1."""
    numbers = b",".join(b"%d,%d" % piece for piece in pieces)
    return pax({b"GNU.sparse.size": SIZE, b"GNU.sparse.name": b"s", b"GNU.sparse.map": numbers}) + file(
        "GNUSparseFile.0/s", STORED
    )


def sparse_1_0(pieces: list[tuple[int, int]] = PIECES, data: bytes = STORED, size: bytes = SIZE) -> bytes:
    """Return a sparse file of the format 1.0, as bsdtar writes it."""
    numbers = b"%d\n" % len(pieces) + b"".join(b"%d\n%d\n" % piece for piece in pieces)
    stored = numbers.ljust(len(numbers) + -len(numbers) % 512, b"\0") + data
    records = {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.name": b"s", b"GNU.sparse.realsize": size}
    return pax(records) + file("GNUSparseFile.0/s", stored)


def star_prefix(name: str, prefix: str) -> bytes:
    """Return a header of star's own format: a prefix of 131 bytes, then times."""
    header = patched(file(name, b""), 257, b"ustar\0" + b"00")
    header = patched(header, 345, prefix.encode().ljust(131, b"\0") + b"14213537221 14213537221 ")
    return patched(header, 508, b"tar\0")


def signed(header: bytes) -> bytes:
    """Return a header with the checksum of a system that adds up signed characters."""
    others = header[:148] + header[156:512]
    total = sum(others) + 8 * ord(" ") - 256 * sum(byte >= 128 for byte in others)
    return header[:148] + b"%06o\0 " % total + header[156:]


MANY_PIECES = [(place * 1000, 1) for place in range(60)]
MANY = b"".join(b"x" + bytes(999) for _ in range(60))
FORKS = pax({b"SCHILY.xattr.com.apple.ResourceFork": b"A" * 1_300_000, b"path": b"a", b"LIBARCHIVE.xattr.x": b"\n=" * 900_000})
RIGHT: dict[str, tuple[bytes, dict[str, bytes]]] = {
    "padding to a record": (TAR_A.ljust(10240, b"\0"), A),
    "one zero block": (TAR_A[:-512], A),
    "a large attribute and a name": (tar(FORKS, file("b", CONTENT["a"])), CONTENT),
    "a large comment for all": (tar(pax({b"comment": b"A" * 5_000_000}, b"g"), file("a", CONTENT["a"])), CONTENT),
    "a large ACL of Solaris": (tar(member("a", b"A", b"user::rw-," * 200_000), file("a", CONTENT["a"])), CONTENT),
    "an extended header of Solaris": (tar(pax({b"path": b"a"}, b"X"), file("b", CONTENT["a"])), CONTENT),
    "the label of a volume": (tar(member("label", b"V"), file("a", CONTENT["a"])), CONTENT),
    "a label with content": (tar(member("label", b"V", b"x" * 600), file("a", CONTENT["a"])), CONTENT),
    "a full dump": (tar(member("./", b"D", b"Ya\0Db\0\0"), file("a", CONTENT["a"])), CONTENT),
    "a contiguous file": (tar(member("a", b"7", CONTENT["a"])), CONTENT),
    "a resource fork beside its file": (tar(file("._a", b"fork"), file("a", b"x")), {"._a": b"fork", "a": b"x"}),
    "records that state nothing": (
        tar(pax({b"path": b"", b"linkpath": b"", b"size": b"", b"mtime": b""}), file("a", b"x")),
        {"a": b"x"},
    ),
    "the last of two records": (tar(pax([(b"path", b"b"), (b"path", b"a")]), file("c", b"x")), {"a": b"x"}),
    "the last of two names": (tar(member("l", b"L", b"b\0"), member("l", b"L", b"a\0"), file("c", b"x")), {"a": b"x"}),
    "a name with blanks at its ends": (tar(member("l", b"L", b" a b  \0"), file("c", b"x")), {" a b  ": b"x"}),
    "a name that is no UTF-8": (tar(pax({b"path": b"caf\xe9", b"hdrcharset": b"BINARY"}), file("c", b"x")), {"caf\udce9": b"x"}),
    "records that are padded with zeros": (tar(padded({b"path": b"a"}, 700), file("c", b"x")), {"a": b"x"}),
    "many records that are padded with zeros": (
        tar(padded({b"LIBARCHIVE.xattr.x": b"A" * 1_100_000, b"path": b"a"}, 3_000_000), file("c", b"x")),
        {"a": b"x"},
    ),
    "unknown records": (tar(pax({b"NODETAR.depth": b"1", b"SCHILY.nlink": b"x", b"uid": b"-5"}), file("a", b"x")), {"a": b"x"}),
    "a size in a record": (tar(pax({b"size": b"0000000000000000000000012"}), stated(file("a", CONTENT["a"]), 0)), CONTENT),
    "a length with zeros": (tar(member("p", b"x", b"000013 path=a\n"[:14].replace(b"13", b"14")), file("b", b"x")), {"a": b"x"}),
    "a size with blanks": (tar(patched(file("a", CONTENT["a"]), 124, b"         14 ")), CONTENT),
    "a size without end": (tar(patched(file("a", CONTENT["a"]), 124, b"000000000014")), CONTENT),
    "a size behind a NUL": (tar(patched(file("a", CONTENT["a"]), 124, b"\x00000000014 ")), CONTENT),
    "a size before a blank": (tar(patched(file("a", CONTENT["a"]), 124, b"14 junk\0\0\0\0\0")), CONTENT),
    "numbers that nothing needs": (
        tar(patched(patched(file("a", CONTENT["a"]), 100, b"xxxxxxx\0" * 3), 329, b"device. device. ")),
        CONTENT,
    ),
    "a signed checksum": (tar(signed(file("\u00e9", b""))), {"\u00e9": b""}),
    "star's prefix": (tar(star_prefix("a", "p" * 131)), {"p" * 131 + "/a": b""}),
    "a prefix in GNU's format": (tar(patched(HEADER_A, 345, b"14213537221\x0014213537221\0")), {"a": b""}),
    "a prefix in ustar": (tar(patched(patched(HEADER_A, 257, b"ustar\x0000"), 345, b"prefix")), {"prefix/a": b""}),
    "a directory with a quota": (tar(stated(folder("d"), 4096), file("d/a", b"x")), {"d/a": b"x"}),
    "a directory as a file": (tar(file("d/", b""), file("d/a", b"x")), {"d/a": b"x"}),
    "a symbolic link with a size": (tar(stated(link("l", "a"), 5), file("a", b"x")), {"l": b"-> a", "a": b"x"}),
    "a hard link with a size": (
        tar(file("a", b"x"), stated(hard("b", "a"), 1), file("c", b"y")),
        {"a": b"x", "b": b"x", "c": b"y"},
    ),
    "a hard link with a size at the end": (tar(file("a", b"x"), stated(hard("b", "a"), 1)), {"a": b"x", "b": b"x"}),
    "a hard link with its content": (
        tar(file("a", b"x"), hard("b", "a", b"x"), file("c", b"y")),
        {"a": b"x", "b": b"x", "c": b"y"},
    ),
    "a hard link with much content": (
        tar(file("a", b"x" * 2_000_000), hard("b", "a", b"x" * 2_000_000)),
        {"a": b"x" * 2_000_000, "b": b"x" * 2_000_000},
    ),
    "a file named twice": (tar(file("a", b"x"), hard("b", "a"), hard("a", "a"), hard("b", "a")), {"a": b"x", "b": b"x"}),
    "a hard link to a link": (tar(link("l", "a"), hard("m", "l"), file("a", b"x")), {"l": b"-> a", "m": b"-> a", "a": b"x"}),
    "sparse, old": (tar(old_sparse(), file("a", b"x")), {"s": HOLES, "a": b"x"}),
    "sparse, old, in many pieces": (
        tar(old_sparse("s", MANY_PIECES, len(MANY), b"x" * 60), file("a", b"x")),
        {"s": MANY, "a": b"x"},
    ),
    "sparse 0.0": (tar(sparse_0_0(), file("a", b"x")), {"s": HOLES, "a": b"x"}),
    "sparse 0.1": (tar(sparse_0_1(), file("a", b"x")), {"s": HOLES, "a": b"x"}),
    "sparse 1.0": (tar(sparse_1_0(), file("a", b"x")), {"s": HOLES, "a": b"x"}),
    "sparse 1.0 in many pieces": (
        tar(sparse_1_0([*MANY_PIECES, (60_000, 0)], b"x" * 60, b"60000"), file("a", b"x")),
        {"s": MANY, "a": b"x"},
    ),
    "sparse, all hole": (tar(sparse_1_0([], b"", b"3000000"), file("a", b"x")), {"s": bytes(3_000_000), "a": b"x"}),
    "sparse, no hole": (tar(sparse_1_0([(0, 5)], b"whole", b"5")), {"s": b"whole"}),
}


@pytest.mark.parametrize("row", RIGHT)
def test_what_tools_write_is_accepted_without_a_digest(here: Place, row: str) -> None:
    """All members come out as their writer meant them, and nothing is warned about."""
    data, files = RIGHT[row]
    done, found = here.unpack(data, proven=False)
    assert found == files
    assert done.oddities == ""


def test_holes_stay_holes(here: Place) -> None:
    """A sparse file takes no more space than its pieces, where the volume can do that."""
    size = 64 << 20
    here.unpack(tar(sparse_1_0([(0, 3), (1 << 20, 3), (40 << 20, 5)], STORED, b"%d" % size)), proven=False)
    facts = next(here.path.glob("root-*/s")).stat()
    assert facts.st_size == size
    probe = here.path / "probe"
    with probe.open("wb") as written:
        written.truncate(size)
    if probe.stat().st_blocks < 100:
        assert facts.st_blocks * 512 < 1 << 20


TIMES: dict[str, tuple[bytes, int | None]] = {
    "a time in a record": (pax({b"mtime": b"1234567890.123456789"}) + file("a"), 1_234_567_890_123_456_789),
    "a time for all": (pax({b"mtime": b"1500000000.5"}, b"g") + file("a"), 1_500_000_000_500_000_000),
    "a time for all and one for one": (
        pax({b"mtime": b"1500000000"}, b"g") + pax({b"mtime": b"1400000000"}) + file("a"),
        1_400_000_000_000_000_000,
    ),
    "a time that is no number": (pax({b"mtime": b"999xxx9324.43"}) + member("a", mtime=1_445_000_000), 1_445_000_000_000_000_000),
    "a negative time": (pax({b"mtime": b"-5.5"}) + member("a", mtime=1_445_000_000), 1_445_000_000_000_000_000),
    "a negative time in binary": (patched(file("a", b""), 136, b"\xff" * 12), None),
    "a field that is no number": (patched(file("a", b""), 136, b"xxxxxxxxxxx\0"), None),
    "a time in binary": (patched(file("a", b""), 136, b"\x80" + (1_445_000_000).to_bytes(11, "big")), 1_445_000_000_000_000_000),
}


@pytest.mark.parametrize("row", TIMES)
def test_a_time_is_used_or_left_out(here: Place, row: str) -> None:
    """A time that makes sense becomes the file's; another one, and its absence, are no reason to refuse the archive."""
    data, expected = TIMES[row]
    here.unpack(tar(data), proven=False)
    found = next(here.path.glob("root-*/a")).stat().st_mtime_ns
    if expected is None:
        assert found > 1_600_000_000_000_000_000
    else:
        assert found == expected


# --- wrong: refused although a digest proves the bytes ------------------------------------------------------------------


def damaged(packed: bytes) -> bytes:
    """Return a stream with a byte changed in its second half."""
    changed = bytearray(packed)
    changed[len(changed) * 3 // 4] ^= 0x55
    return bytes(changed)


def noise(count: int) -> bytes:
    """Return bytes that do not compress."""
    return random.Random(count).randbytes(count)  # noqa: S311 - no secret


TAR_NOISE = tar(file("noise", noise(3000)))
OTHERS_BEHIND: list[tuple[UnpackFormat, UnpackFormat]] = [
    ("tar.gz", "tar.bz2"),
    ("tar.gz", "tar"),
    ("tar.bz2", "tar.gz"),
    ("tar.bz2", "tar.xz"),
    ("tar.xz", "tar.zst"),
    ("tar.xz", "tar"),
    ("tar.zst", "tar.gz"),
]
MAP = "the map of a sparse file"
MEMORY: Final = "takes more memory than we allow"
OLD_LZMA: Final = lzma.compress(TAR_A, lzma.FORMAT_ALONE)


def with_dictionary(data: bytes, code: int) -> bytes:
    """Return an xz file whose first block requires a larger dictionary; code 36 stands for 1 GiB."""
    changed = bytearray(data)
    end = 12 + (changed[12] + 1) * 4
    at = changed.index(b"\x21\1", 12, end) + 2
    changed[at] = code
    changed[end - 4 : end] = zlib.crc32(changed[12 : end - 4]).to_bytes(4, "little")
    return bytes(changed)


WRONG: dict[str, tuple[bytes, str, UnpackFormat]] = {
    "members behind junk": (TAR_A + b"junk".ljust(512) + TAR_B, "in between bytes that are none", "tar"),
    "a compressed archive behind the end mark": (TAR_A + gzip.compress(TAR_B), "a gzip file follows its end mark", "tar"),
    "a zip behind the end mark": (TAR_A + b"PK\3\4".ljust(512, b"x"), "a zip archive follows its end mark", "tar"),
    "a second archive that is cut": (TAR_A + TAR_B[:2000], "in the middle of", "tar"),
    "a second archive with damage": (TAR_A + TAR_A[:-1024] + b"x".ljust(512), "wrong checksum", "tar"),
    "an extended header before the end mark": (pax({b"path": b"x"}) + TAR_A[-1024:] + TAR_B, "the member is missing", "tar"),
    "cut within a header": (file("a")[:300], "in the middle of a header", "tar"),
    "cut within content": (file("a")[:514], "in the middle of 'a'", "tar"),
    "a name of a megabyte": (tar(pax({b"path": b"p" * 1_300_000}), file("a")), "an extended header of", "tar"),
    "a map of megabytes": (tar(pax({b"GNU.sparse.map": b"1," * 900_000}), file("a")), "an extended header of", "tar"),
    "a long name of a megabyte": (tar(member("l", b"L", b"p" * 1_300_000), file("a")), "an extended header of", "tar"),
    "a large record without end": (tar(member("p", b"x", b"1300000 comment=".ljust(1_300_000, b"x"))), "no sense", "tar"),
    "a large record that is cut": (tar(member("p", b"x", b"1400000 comment=".ljust(1_300_000, b"x"))), "no sense", "tar"),
    "a large header without records": (tar(member("p", b"x", b"x" * 1_300_000)), "no sense", "tar"),
    "a part of a file in several volumes": (tar(member("a", b"M", b"x")), "began in another volume", "tar"),
    "a hard link with other content": (tar(file("a"), hard("b", "a", b"else")), "other content", "tar"),
    "a hard link before its target": (tar(hard("b", "a"), file("a")), "no earlier file", "tar"),
    "old sparse pieces that overlap": (tar(old_sparse("s", [(0, 6), (3, 5)])), MAP, "tar"),
    "old sparse pieces beyond the end": (tar(old_sparse("s", [(0, 11)], 5)), MAP, "tar"),
    "old sparse pieces that are not stored": (tar(old_sparse("s", [(0, 12)])), "and 11 are stored", "tar"),
    "an old sparse map that is cut": (old_sparse("s", MANY_PIECES)[:700], MAP, "tar"),
    "a record behind padding": (tar(padded({b"path": b"a"}, 9, b"5 a=\n"), file("c", b"x")), "no sense", "tar"),
    "a record behind padding of megabytes": (tar(padded({b"path": b"a"}, 1_500_000, b"x"), file("c", b"x")), "no sense", "tar"),
    "sparse pieces without a size": (tar(pax({b"GNU.sparse.map": b"0,11"}), file("s", STORED)), "no sense", "tar"),
    "sparse numbers that are odd": (
        tar(pax({b"GNU.sparse.size": SIZE, b"GNU.sparse.map": b"0,8,9"}), file("s", STORED)),
        MAP,
        "tar",
    ),
    "a stored map without end": (tar(sparse_1_0([(n, 1) for n in range(400)], b"")[:1536] + bytes(512)), MAP, "tar"),
    "a stored map of letters": (
        tar(pax({b"GNU.sparse.major": b"1", b"GNU.sparse.realsize": b"5"}), file("s", b"hello\n".ljust(512, b"\0"))),
        "with the number",
        "tar",
    ),
    "a sparse file of exabytes": (tar(sparse_1_0([], b"", b"9" * 18)), MAP, "tar"),
    **{
        f"{other} behind {form}": (COMPRESS[form](TAR_A) + COMPRESS[other](TAR_B), "follows its end", form)
        for form, other in OTHERS_BEHIND
    },
    **{
        f"{form} with a second stream that is cut": (
            COMPRESS[form](TAR_A) + COMPRESS[form](TAR_NOISE)[:-900],
            "in the middle of a compressed stream",
            form,
        )
        for form in ALL_BUT_TAR
    },
    **{
        f"{form} with a second stream that is damaged": (
            COMPRESS[form](TAR_A) + damaged(COMPRESS[form](TAR_NOISE)),
            "archive: ",
            form,
        )
        for form in ALL_BUT_TAR
        if form != "tar.zst"
    },
    "nothing as gzip": (b"", "empty", "tar.gz"),
    "a wrong CRC of gzip": (gzip.compress(TAR_A)[:-8] + bytes(4) + gzip.compress(TAR_A)[-4:], "ncorrect checksum", "tar.gz"),
    "a wrong size of gzip": (gzip.compress(TAR_A)[:-4] + bytes(4), "ncorrect checksum", "tar.gz"),
    "a window of a GiB": (b"\x28\xb5\x2f\xfd\0" + bytes([20 << 3]) + b"\1\0\0", MEMORY, "tar.zst"),
    "a window of a GiB in a second frame": (
        zstd.compress(TAR_A) + b"\x28\xb5\x2f\xfd\0" + bytes([20 << 3]) + b"\1\0\0",
        MEMORY,
        "tar.zst",
    ),
    "an xz file with a dictionary of a GiB": (with_dictionary(lzma.compress(TAR_A), 36), MEMORY, "tar.xz"),
    "an LZMA file with a dictionary of a GiB": (b"\x5d" + (1 << 30).to_bytes(4, "little") + OLD_LZMA[5:], MEMORY, "tar.xz"),
    "a table in gzip": (gzip.compress(b"id;name\n" * 100), "wrong checksum", "tar.gz"),
    "a page in gzip": (gzip.compress(b"<!DOCTYPE html><html>".ljust(600)), "an HTML page and no tar archive", "tar.gz"),
    "a zip in xz": (lzma.compress(b"PK\3\4".ljust(600)), "a zip archive and no tar archive", "tar.xz"),
    "gzip in gzip": (gzip.compress(gzip.compress(TAR_NOISE)), "a gzip file and no tar archive", "tar.gz"),
}


@pytest.mark.parametrize("row", WRONG)
@pytest.mark.parametrize("cores", [1, 2])
def test_what_may_lose_data_is_refused_with_a_digest_too(
    here: Place, row: str, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A digest proves who wrote it and not that it is whole: what no reader can account for is refused."""
    monkeypatch.setattr(workers, "usable_cores", lambda: cores)
    data, words, form = WRONG[row]
    with pytest.raises(IntegrityError) as caught:
        here.unpack(data, form, proven=True)
    assert words in caught.value.message
    assert caught.value.hint


def test_large_headers_take_little_memory(here: Place) -> None:
    """An attribute of 60 MB is passed over piece by piece."""
    body = b"60000034 LIBARCHIVE.xattr.user.x=".ljust(60_000_033, b"A") + b"\n"
    packed = gzip.compress(tar(member("p", b"x", body), file("a", b"x")), 1)
    del body
    tracemalloc.start()
    try:
        assert here.unpack(packed, "tar.gz", proven=False)[1] == {"a": b"x"}
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20
