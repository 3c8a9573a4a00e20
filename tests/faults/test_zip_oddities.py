"""Every byte of a zip is accounted for: it comes out whole, with a warning if a digest proves what is odd, or not at all.

Three tables: what common writers make and is right; what is odd and common readers unpack; what is refused in any case.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provisioner.errors import BrokenArchiveError, IntegrityError, UnsafeArchiveError
from provisioner.volume.archive import workers
from provisioner.volume.staging.incoming import LocalFile
from tests.support import tally
from tests.support.incoming import Arriving
from tests.support.unpacking import unpack_into
from tests.support.zips import (
    DESCRIPTOR,
    DIRECTORY,
    DOS,
    FIFO,
    FILE,
    LINK,
    MAX_16,
    MAX_32,
    UTF8,
    End,
    Part,
    deflate,
    deflate64,
    extra,
    lzma_of,
    packed_zip,
    unicode_path,
)

if TYPE_CHECKING:
    from pathlib import Path

AUDIO = b"audio " * 50
A, B = Part(b"a", AUDIO), Part(b"b", b"second")
BOTH = {"a": AUDIO, "b": b"second"}
NESTED = packed_zip(Part(b"inner", b"content of the inner one"))


class Box(NamedTuple):
    """A directory to unpack into, and how the archive comes."""

    root: Path
    arriving: bool

    def unpack(self, data: bytes, *, proven: bool) -> tuple[dict[str, Any], str]:
        """Unpack bytes, and return the tree (directories as ``None``, links as their text in a tuple) and the warning."""
        archive = self.root.with_name("archive")
        archive.write_bytes(data)
        tally.count("archives")
        with Arriving(data) if self.arriving else LocalFile(archive) as file:
            done = unpack_into(self.root, file, "zip", proven=proven)
        tree: dict[str, Any] = {}
        for entry in done.entries:
            path = self.root / entry.path
            tree[entry.path] = (entry.target,) if entry.kind == "link" else path.read_bytes() if entry.kind == "file" else None
        return tree, done.oddities


@pytest.fixture(params=["whole", "arriving"])
def box(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Box:
    """Return an empty root; the archive is on the disk or arriving."""
    monkeypatch.setattr(workers, "usable_cores", lambda: 2)
    return Box(tmp_path / "root", request.param == "arriving")


def described(part: Part, **form: bool) -> Part:
    """Return a member whose sizes follow its content."""
    return Part(part.name, part.data, part.method, flags=DESCRIPTOR, after=part.descriptor(**form))


def zip64(*numbers: int, disk: bytes = b"") -> bytes:
    """Return the extra field of numbers that do not fit."""
    return extra(1, struct.pack(f"<{len(numbers)}Q", *numbers) + disk)


WIDE = {"packed": MAX_32, "size": MAX_32}
RIGHT: dict[str, tuple[bytes, dict[str, Any]]] = {
    # --- the end of the archive
    "zip64 record beside an ordinary one": (packed_zip(A, B, end=End(zip64=True)), BOTH),
    "zip64 record that the ordinary one refers to": (packed_zip(A, B, end=End(zip64=True, refers=True)), BOTH),
    "all numbers of the ordinary record left out": (packed_zip(A, B, end=End(zip64=True, refers=True, disk=MAX_16)), BOTH),
    "zip64 record with an extensible part": (packed_zip(A, B, end=End(zip64=True, record_extension=b"x" * 40)), BOTH),
    "the same behind a program": (b"#!/bin/sh\n" + packed_zip(A, B, end=End(zip64=True, record_extension=b"x" * 40)), BOTH),
    "zeros behind the end": (packed_zip(A, B, end=End(behind=bytes(10_240))), BOTH),
    "a megabyte of zeros behind the end": (packed_zip(A, B, end=End(behind=bytes(1 << 20))), BOTH),
    "zeros behind a zip64 end": (packed_zip(A, B, end=End(zip64=True, refers=True, behind=bytes(700))), BOTH),
    "comment": (packed_zip(A, B, end=End(comment=b"a comment")), BOTH),
    "comment and zeros": (packed_zip(A, B, end=End(comment=b"a comment", behind=bytes(9))), BOTH),
    "longest comment": (packed_zip(A, B, end=End(comment=b"c" * 65_535)), BOTH),
    "end record in the comment": (packed_zip(A, B, end=End(comment=b"PK\5\6" + bytes(18))), BOTH),
    "an archive in the comment": (packed_zip(A, B, end=End(comment=b"<" + packed_zip() + b">")), BOTH),
    "zeros between index and end": (packed_zip(A, B, end=End(between=bytes(64))), BOTH),
    "signed index": (packed_zip(A, B, end=End(between=b"PK\5\5\4\0abcd")), BOTH),
    "name that ends like a zip64 locator": (
        packed_zip(A, Part(b"PK\6\7" + b"x" * 16, b"second")),
        {"a": AUDIO, "PK\6\7" + "x" * 16: b"second"},
    ),
    "comment of a member that ends like zip64 records": (
        packed_zip(A, Part(b"b", b"second", comment=packed_zip(end=End(zip64=True))[:-22])),
        BOTH,
    ),
    "ordinary record of nonsense beside a zip64 one": (
        packed_zip(A, B, end=End(zip64=True))[:-18] + b"\7\0\7\0\3\0\4\0" + b"garbage!" + bytes(2),
        BOTH,
    ),
    "nothing": (packed_zip(), {}),
    "nothing, with zeros behind": (packed_zip(end=End(behind=bytes(100))), {}),
    # --- around members
    "zeros before the first member": (packed_zip(Part(b"a", AUDIO, before=bytes(512)), B), BOTH),
    "zeros between members": (packed_zip(A, Part(b"b", b"second", before=bytes(300))), BOTH),
    "zeros before the index": (packed_zip(A, Part(b"b", b"second", after=bytes(4096))), BOTH),
    "program before, not counted": (b"MZ" + b"\x90program" * 50 + packed_zip(A, B), BOTH),
    "program before, counted": (b"\x7fELF" + b"program" * 50 + packed_zip(A, B, shift=354), BOTH),
    "script before zip64": (b"#!/usr/bin/python3\n" + packed_zip(A, B, end=End(zip64=True, refers=True)), BOTH),
    "mark of an archive that was not split after all": (b"PK00" + packed_zip(A, B, shift=4), BOTH),
    "index in another order": (packed_zip(A, B, reverse=True), BOTH),
    # --- sizes behind the content
    "data descriptor": (packed_zip(described(A), described(B)), BOTH),
    "data descriptor without signature": (packed_zip(described(A, signature=False), B), BOTH),
    "data descriptor of zip64": (packed_zip(described(A, wide=True), described(B, wide=True)), BOTH),
    "data descriptor of zip64 without signature": (packed_zip(described(A, wide=True, signature=False), B), BOTH),
    "data descriptor that its flag promises and is not there": (packed_zip(Part(b"a", AUDIO, flags=DESCRIPTOR), B), BOTH),
    "data descriptor without its flag": (packed_zip(Part(b"a", AUDIO, after=A.descriptor()), B), BOTH),
    "data descriptor of a deflated member": (packed_zip(described(Part(b"a", AUDIO, 8)), B), BOTH),
    "data descriptor of a directory": (packed_zip(described(Part(b"d/")), A), {"a": AUDIO, "d": None}),
    "data descriptor and zeros": (packed_zip(Part(b"a", AUDIO, flags=DESCRIPTOR, after=A.descriptor() + bytes(5)), B), BOTH),
    # --- zip64 fields
    "sizes in a zip64 field": (
        packed_zip(Part(b"a", AUDIO, index=WIDE, local=WIDE, index_extra=zip64(300, 300), local_extra=zip64(300, 300)), B),
        BOTH,
    ),
    "size alone in a zip64 field": (packed_zip(Part(b"a", AUDIO, index={"size": MAX_32}, index_extra=zip64(300)), B), BOTH),
    "offset alone in a zip64 field": (
        packed_zip(A, Part(b"b", b"second", index={"offset": MAX_32}, index_extra=zip64(331))),
        BOTH,
    ),
    "offset in a zip64 field that has all": (
        packed_zip(A, Part(b"b", b"second", index={"offset": MAX_32}, index_extra=zip64(6, 6, 331))),
        BOTH,
    ),
    "disk in a zip64 field": (
        packed_zip(Part(b"a", AUDIO, index={"disk": MAX_16, "offset": MAX_32}, index_extra=zip64(0, disk=bytes(4))), B),
        BOTH,
    ),
    "zip64 field that nothing needs": (packed_zip(Part(b"a", AUDIO, index_extra=zip64(300, 300, 0, disk=bytes(4))), B), BOTH),
    "packed size alone, in a field that has both": (
        packed_zip(Part(b"a", AUDIO, index={"packed": MAX_32}, index_extra=zip64(300, 300)), B),
        BOTH,
    ),
    "zip64 field behind others": (
        packed_zip(Part(b"a", AUDIO, index=WIDE, index_extra=extra(0xCAFE, b"") + extra(0x5455, b"\1abcd") + zip64(300, 300)), B),
        BOTH,
    ),
    "padding behind the extra fields": (packed_zip(Part(b"a", AUDIO, index_extra=extra(0xCAFE, b"") + bytes(3)), B), BOTH),
    # --- methods
    **{
        f"method {method}": (packed_zip(Part(b"a", AUDIO * 50, method), B), {"a": AUDIO * 50, "b": b"second"})
        for method in (0, 8, 9, 12, 14, 20, 93, 95)
    },
    "LZMA without an end mark": (packed_zip(Part(b"a", AUDIO, 14, packed=lzma_of(AUDIO, end_mark=False)), B), BOTH),
    "LZMA with an end mark, which is stated": (packed_zip(Part(b"a", AUDIO, 14, flags=2), B), BOTH),
    "LZMA of nothing": (packed_zip(Part(b"a", b"", 14), B), {"a": b"", "b": b"second"}),
    "several bzip2 streams": (
        packed_zip(Part(b"a", AUDIO, 12, packed=b"".join(Part(b"", AUDIO[n : n + 100], 12).content() for n in (0, 100, 200))), B),
        BOTH,
    ),
    "several Zstandard frames": (
        packed_zip(Part(b"a", AUDIO, 93, packed=Part(b"", AUDIO[:9], 93).content() + Part(b"", AUDIO[9:], 93).content()), B),
        BOTH,
    ),
    "xz with padding": (packed_zip(Part(b"a", AUDIO, 95, packed=Part(b"", AUDIO, 95).content() + bytes(8)), B), BOTH),
    "deflate that does not become smaller": (packed_zip(Part(b"a", b"x", 8), B), {"a": b"x", "b": b"second"}),
    "deflated file without content": (packed_zip(Part(b"a", b"", 8), B), {"a": b"", "b": b"second"}),
    "deflated directory": (packed_zip(Part(b"d/", b"", 8), A), {"a": AUDIO, "d": None}),
    # --- kinds of files
    "from a pipe": (packed_zip(Part(b"-", AUDIO, attributes=FIFO)), {"-": AUDIO}),
    "from a pipe, deflated, sizes behind": (
        packed_zip(Part(b"-", AUDIO, 8, flags=DESCRIPTOR, attributes=FIFO, after=Part(b"-", AUDIO, 8).descriptor())),
        {"-": AUDIO},
    ),
    "link": (packed_zip(Part(b"l", b"a", attributes=LINK), A), {"a": AUDIO, "l": ("a",)}),
    "link with a data descriptor": (
        packed_zip(Part(b"l", b"a", attributes=LINK, flags=DESCRIPTOR, after=Part(b"l", b"a").descriptor()), A),
        {"a": AUDIO, "l": ("a",)},
    ),
    "link by a writer that says it is of DOS": (
        packed_zip(Part(b"l", b"a", attributes=LINK, host=DOS), A),
        {"a": AUDIO, "l": ("a",)},
    ),
    "attributes that state nothing": (packed_zip(Part(b"a", AUDIO, attributes=0), B), BOTH),
    "upper attributes of nonsense by DOS": (packed_zip(Part(b"a", AUDIO, attributes=0xF000_0020, host=DOS), B), BOTH),
    "directory by its attribute": (packed_zip(Part(b"d", attributes=0x10, host=DOS), A), {"a": AUDIO, "d": None}),
    "directory by its attribute and its slash": (packed_zip(Part(b"d/", attributes=0x10, host=11), A), {"a": AUDIO, "d": None}),
    "directory by its mode": (packed_zip(Part(b"d", attributes=DIRECTORY), A), {"a": AUDIO, "d": None}),
    "file of nothing by DOS": (packed_zip(Part(b"d", attributes=0x20, host=DOS), A), {"a": AUDIO, "d": b""}),
    "file with the directory attribute and content": (packed_zip(Part(b"a", AUDIO, attributes=0x10, host=DOS), B), BOTH),
    "members with comments": (packed_zip(Part(b"a", AUDIO, comment=b"PK\1\2 no entry"), B), BOTH),
    "date of zero": (packed_zip(Part(b"a", AUDIO, index={"date": 0}, local={"date": 0}), B), BOTH),
    "an archive as a member": (packed_zip(Part(b"n.zip", NESTED), A), {"n.zip": NESTED, "a": AUDIO}),
    "an archive as the last member": (packed_zip(A, Part(b"n.zip", NESTED)), {"n.zip": NESTED, "a": AUDIO}),
    "the same name twice, the same content": (packed_zip(A, A, B), BOTH),
    # --- headers that leave out what the index has
    "own header without sizes": (packed_zip(Part(b"a", AUDIO, local={"crc": 0, "packed": 0, "size": 0}), B), BOTH),
    "own header of another time": (packed_zip(Part(b"a", AUDIO, local={"date": 0x21}), B), BOTH),
    "own header with more extra fields": (
        packed_zip(Part(b"a", AUDIO, local_extra=extra(0x5455, b"\3" + bytes(8)) * 20), B),
        BOTH,
    ),
    "own header with another separator": (packed_zip(Part(b"d\\a", AUDIO, host=DOS, local_name=b"d/a")), {"d/a": AUDIO}),
    "index with another separator": (packed_zip(Part(b"d/a", AUDIO, host=DOS, local_name=b"d\\a")), {"d/a": AUDIO}),
    "own header in another encoding": (
        packed_zip(Part("é".encode(), AUDIO, host=DOS, index={"flags": UTF8}, local_name="é".encode("cp437"))),
        {"é": AUDIO},
    ),
    "own header with UTF-8 of what the index has in code page 437": (
        packed_zip(Part("é".encode("cp437"), AUDIO, host=DOS, local={"flags": UTF8}, local_name="é".encode())),
        {"é": AUDIO},
    ),
}


@pytest.mark.parametrize("row", RIGHT)
def test_what_writers_make_comes_out_whole(box: Box, row: str) -> None:
    """The tree is what the archive holds, with a digest and without, and there is no warning but of code pages."""
    data, tree = RIGHT[row]
    for proven in (False, True):
        found, warning = box.unpack(data, proven=proven)
        assert found == tree
        assert not warning or "code page" in warning


JUNK = b"some bytes that are nothing"
ODD: dict[str, tuple[bytes, dict[str, Any], str]] = {
    # name: (archive, tree, words of the warning)
    "bytes behind the end": (packed_zip(A, B, end=End(behind=JUNK)), BOTH, "something follows its end: 27 bytes"),
    "bytes behind the comment": (packed_zip(A, B, end=End(comment=b"comment", behind=JUNK)), BOTH, "something follows its end"),
    "a hundred thousand bytes behind": (packed_zip(A, B, end=End(behind=JUNK * 4000)), BOTH, "something follows its end"),
    "bytes and zeros behind": (packed_zip(A, B, end=End(behind=JUNK + bytes(99_999))), BOTH, "something follows its end"),
    "an empty archive behind": (packed_zip(A, B) + packed_zip(), BOTH, "something follows its end"),
    "bytes before": (JUNK + packed_zip(A, B), BOTH, "27 bytes that belong to nothing precede"),
    "bytes before, counted": (JUNK + packed_zip(A, B, shift=27), BOTH, "27 bytes that belong to nothing precede"),
    "bytes between members": (packed_zip(A, Part(b"b", b"second", before=JUNK)), BOTH, "follow a member ('a')"),
    "bytes before the index": (packed_zip(A, Part(b"b", b"second", after=JUNK)), BOTH, "follow a member ('b')"),
    "bytes behind a data descriptor": (
        packed_zip(Part(b"a", AUDIO, flags=DESCRIPTOR, after=A.descriptor() + JUNK), B),
        BOTH,
        "follow a member ('a')",
    ),
    "a data descriptor that is wrong": (
        packed_zip(Part(b"a", AUDIO, flags=DESCRIPTOR, after=B.descriptor()), B),
        BOTH,
        "follow a member ('a')",
    ),
    "a data descriptor twice": (
        packed_zip(Part(b"a", AUDIO, flags=DESCRIPTOR, after=A.descriptor() * 2), B),
        BOTH,
        "follow a member ('a')",
    ),
    "an old index between members": (
        packed_zip(A, Part(b"b", b"second", before=packed_zip(A)[331:])),
        BOTH,
        "follow a member ('a')",
    ),
    "bytes behind deflate data": (
        packed_zip(Part(b"a", AUDIO, 8, packed=deflate(AUDIO) + b"xy"), B),
        BOTH,
        "are followed by bytes",
    ),
    "bytes behind Deflate64 data": (
        packed_zip(Part(b"a", AUDIO, 9, packed=deflate64(AUDIO) + b"x"), B),
        BOTH,
        "are followed by bytes",
    ),
    "many bytes behind Deflate64 data": (
        packed_zip(Part(b"a", AUDIO, 9, packed=deflate64(AUDIO) + b"x" * 2000), B),
        BOTH,
        "are followed by bytes",
    ),
    "an index of fewer entries": (packed_zip(A, B, end=End(count=1)), BOTH, "has 2 entries and claims 1"),
    "an index of more entries": (packed_zip(A, B, end=End(count=3)), BOTH, "has 2 entries and claims 3"),
    "a zip64 index of more entries": (
        packed_zip(A, B, end=End(count=3, zip64=True, refers=True)),
        BOTH,
        "has 2 entries and claims 3",
    ),
    "an index that claims less bytes": (packed_zip(A, B, end=End(size=50)), BOTH, "has 94 bytes and claims 50"),
    "an index that claims more bytes": (packed_zip(A, B, end=End(size=100)), BOTH, "has 94 bytes and claims 100"),
    "bytes between index and end": (packed_zip(A, B, end=End(between=JUNK)), BOTH, "follow its index"),
    "bytes behind a signed index": (
        packed_zip(A, B, end=End(between=b"PK\5\5\4\0abcd" + JUNK, size=104)),
        BOTH,
        "follow its index",
    ),
    "another number of entries on this disk": (packed_zip(A, B, end=End(count=65_537)), BOTH, "claims 1"),
    "a comment that is cut": (packed_zip(A, B, end=End(comment=b"comment"))[:-3], BOTH, "its comment is cut"),
    "a comment that is missing": (packed_zip(A, B, end=End(comment=b"comment"))[:-7], BOTH, "its comment is cut"),
    "a stored size that is too large": (
        packed_zip(Part(b"a", AUDIO, index={"size": 301}, local={"size": 301}), B),
        BOTH,
        "a larger size than they have",
    ),
    "a deflated size that is too large": (
        packed_zip(Part(b"a", AUDIO, 8, index={"size": 900}, local={"size": 900}), B),
        BOTH,
        "a larger size than they have",
    ),
    "a deflated size that is 4 GiB too large, by its checksum": (
        packed_zip(Part(b"a", AUDIO, 12, index={"size": MAX_32}, index_extra=zip64(300 + (1 << 32))), B),
        BOTH,
        "a larger size than they have",
    ),
    "another name in the own header": (packed_zip(Part(b"a", AUDIO, local_name=b"c"), B), BOTH, "another name ('a')"),
    "no name in the own header": (packed_zip(Part(b"a", AUDIO, local_name=b""), B), BOTH, "another name ('a')"),
    "another size in the own header": (
        packed_zip(Part(b"a", AUDIO, local={"size": 7}), B),
        BOTH,
        "another size or checksum ('a')",
    ),
    "another checksum in the own header": (packed_zip(Part(b"a", AUDIO, local={"crc": 7}), B), BOTH, "another size or checksum"),
    "stored sizes that are 4 GiB too large": (
        packed_zip(Part(b"a", AUDIO, index=WIDE, index_extra=zip64(300 + (1 << 32), 300 + (1 << 32))), B),
        BOTH,
        "by 4 GiB ('a')",
    ),
    "a size that is 4 GiB too large": (
        packed_zip(Part(b"a", AUDIO, index={"size": MAX_32}, index_extra=zip64(300 + (1 << 32))), B),
        BOTH,
        "by 4 GiB ('a')",
    ),
    "a deflated size that is 4 GiB too large": (
        packed_zip(Part(b"a", AUDIO, 8, index={"size": MAX_32}, index_extra=zip64(300 + (1 << 32))), B),
        BOTH,
        "by 4 GiB ('a')",
    ),
    "absolute names": (
        packed_zip(Part(b"/a", AUDIO), Part(b"//b", b"second")),
        BOTH,
        "leading slash is dropped ('/a' and 1 more)",
    ),
    "absolute by a backslash": (packed_zip(Part(b"\\a", AUDIO, host=DOS), B), BOTH, "leading slash is dropped ('/a')"),
    "one name, two contents": (packed_zip(Part(b"a", b"old"), B, A), BOTH, "the last one counts ('a')"),
    "one name, three contents": (
        packed_zip(Part(b"a", b"old"), Part(b"a", b"older"), A, B),
        BOTH,
        "the last one counts ('a' and 1 more)",
    ),
    "one name, two contents, index in another order": (
        packed_zip(A, B, Part(b"a", b"old"), reverse=True),
        BOTH,
        "the last one counts",
    ),
    "one name, two contents by another spelling": (packed_zip(Part(b"./a", b"old"), B, A), BOTH, "the last one counts ('a')"),
}


@pytest.mark.parametrize("row", ODD)
def test_what_is_odd_needs_a_digest(box: Box, row: str) -> None:
    """With a digest it is unpacked as common readers do, and one warning names it; without, it is refused in the same words."""
    data, tree, words = ODD[row]
    found, warning = box.unpack(data, proven=True)
    assert found == tree
    assert words in warning
    with pytest.raises(IntegrityError) as caught:
        box._replace(root=box.root.with_name("other")).unpack(data, proven=False)
    assert isinstance(caught.value, (BrokenArchiveError, UnsafeArchiveError))
    assert caught.value.hint


def cut(data: bytes, count: int) -> bytes:
    """Return an archive without its last bytes."""
    return data[:-count]


REFUSED: dict[str, tuple[bytes, str]] = {
    # --- members that the index does not list
    "two archives, joined": (packed_zip(A) + packed_zip(B), "that its index does not list"),
    "two archives, joined, offsets counted": (packed_zip(A) + packed_zip(B, shift=len(packed_zip(A))), "'a', that its index"),
    "an archive and the beginning of another": (packed_zip(A) + cut(packed_zip(B), 30), "'b', that its index does not list"),
    "an archive behind zeros": (packed_zip(A) + bytes(5000) + cut(packed_zip(B), 1), "'b', that its index does not list"),
    "an archive far behind": (packed_zip(A) + JUNK * 30_000 + cut(packed_zip(B), 1), "'b', that its index does not list"),
    "a member before the first": (packed_zip(Part(b"a", AUDIO, listed=False), B), "'a', that its index does not list"),
    "a member in a program": (
        b"MZ program" + packed_zip(Part(b"a", AUDIO, listed=False), B),
        "'a', that its index does not list",
    ),
    "a member between": (packed_zip(A, Part(b"h", AUDIO, listed=False), B), "'h', that its index does not list"),
    "a member before the index": (packed_zip(A, Part(b"h", AUDIO, listed=False)), "'h', that its index does not list"),
    "a member behind a data descriptor": (packed_zip(described(A), Part(b"h", b"", listed=False), B), "'h', that its index"),
    "members without any index": (packed_zip(Part(b"a", AUDIO, listed=False)), "'a', that its index does not list"),
    "an archive around another that was cut": (cut(packed_zip(Part(b"n.zip", NESTED), A), 120), "index"),
    # --- damage
    "index of nonsense": (packed_zip(A, B).replace(b"PK\1\2", b"PK\1\3"), "damaged at entry 1"),
    "damage at the second entry": (packed_zip(A, B)[::-1].replace(b"\2\1KP", b"\3\1KP", 1)[::-1], "damaged at entry 2"),
    "bytes between index and end, an entry is missing": (packed_zip(A, B, end=End(between=JUNK, count=3)), "damaged at entry 3"),
    "a member between index and end": (
        packed_zip(A, end=End(between=packed_zip(Part(b"h", b"x", listed=False))[:-22])),
        "'h', that its index does not list",
    ),
    "comment that is cut into the end record": (cut(packed_zip(A, B, end=End(comment=b"comment")), 8), "no zip index"),
    "cut content": (packed_zip(A, B)[:100] + packed_zip(A, B)[110:], ""),
    "wrong checksum": (packed_zip(Part(b"a", AUDIO, index={"crc": 1}, local={"crc": 1})), "wrong checksum"),
    "wrong size": (packed_zip(Part(b"a", AUDIO, 8, index={"size": 299}, local={"size": 299})), "more than the 299"),
    "no end": (cut(packed_zip(A, B), 22), "no zip index"),
    "another method in the own header": (packed_zip(Part(b"a", AUDIO, local={"method": 8}), B), "something else of itself"),
    "zip64 field that is too short": (
        packed_zip(Part(b"a", AUDIO, index=WIDE, index_extra=zip64(300))),
        "zip64 field is too short",
    ),
    "zip64 record that is not there": (
        packed_zip(A, end=End(zip64=True, refers=True)).replace(b"PK\6\6", b"PK\6\5"),
        "zip64 index cannot be found",
    ),
    "LZMA without the end mark that it states": (
        packed_zip(Part(b"a", AUDIO, 14, packed=lzma_of(AUDIO, end_mark=False), flags=2)),
        "end mark",
    ),
    "bytes behind LZMA data": (
        packed_zip(Part(b"a", AUDIO, 14, packed=lzma_of(AUDIO, end_mark=False) + b"x" * 100)),
        "LZMA",
    ),
    "Deflate64 of nonsense": (packed_zip(Part(b"a", AUDIO, 9, packed=b"\xff" * 100)), "Deflate64"),
    "Deflate64 that is cut": (packed_zip(Part(b"a", AUDIO, 9, packed=deflate64(AUDIO)[:-3])), "unpacks to"),
    "xz of nonsense": (packed_zip(Part(b"a", AUDIO, 95, packed=b"\xff" * 100)), "xz data"),
    # --- overlapping members
    "one content, many entries": (
        packed_zip(
            *[Part(b"a", AUDIO)], *[Part(b"%d" % n, b"", index={"offset": 0, "packed": 300, "size": 300}) for n in range(9)]
        ),
        "overlap",
    ),
    "content that holds the next member": (
        packed_zip(Part(b"a", b"", index={"packed": 350, "size": 350}), Part(b"b", AUDIO)),
        "overlap",
    ),
    "content that ends in the next member": (
        packed_zip(Part(b"a", AUDIO, index={"packed": 310, "size": 310}, local_extra=b""), B),
        "overlap",
    ),
    "content that ends with the next member's first byte": (
        packed_zip(Part(b"a", AUDIO, index={"packed": len(AUDIO) + 1, "size": len(AUDIO) + 1}), B),
        "overlap",
    ),
    "own extra fields that reach into the next member": (
        packed_zip(Part(b"a", AUDIO, local={"name_length": 40}), B),
        "",
    ),
    "content that reaches into the index": (packed_zip(A, Part(b"b", b"second", index={"packed": 20, "size": 20})), "overlap"),
    # --- what is forbidden or unknown
    "encrypted": (packed_zip(Part(b"a", AUDIO, flags=1)), "encrypted"),
    "strongly encrypted": (packed_zip(Part(b"a", AUDIO, flags=1 << 6)), "encrypted"),
    "masked headers": (packed_zip(Part(b"a", AUDIO, flags=1 << 13)), "encrypted"),
    "encrypted by the own header alone": (packed_zip(Part(b"a", AUDIO, local={"flags": 1})), "something else of itself"),
    "AES": (packed_zip(Part(b"a", AUDIO, index={"method": 99}, local={"method": 99})), "encrypted"),
    "patch": (packed_zip(Part(b"a", AUDIO, flags=1 << 5)), "method 0"),
    **{
        f"method {number}": (packed_zip(Part(b"a", AUDIO, index={"method": number}, local={"method": number})), word)
        for number, word in {1: "shrunk", 6: "imploded", 96: "JPEG", 97: "WavPack", 98: "PPMd", 77: "method 77"}.items()
    },
    "a window of a GiB": (
        packed_zip(Part(b"a", AUDIO, method=93, packed=b"\x28\xb5\x2f\xfd\0" + bytes([20 << 3]) + b"\1\0\0")),
        "member 'a' was compressed with a dictionary or window of more than 128 MiB",
    ),
    "device": (packed_zip(Part(b"n", attributes=0o020666 << 16)), "device"),
    "FIFO of nothing": (packed_zip(Part(b"p", attributes=FIFO)), "FIFO"),
    "directory with content": (packed_zip(Part(b"d/", AUDIO)), "has content"),
    "link out": (packed_zip(Part(b"l", b"../x", attributes=LINK)), "out of its directory"),
    "link out by a writer that says it is of DOS": (
        packed_zip(Part(b"l", b"../x", attributes=LINK, host=DOS)),
        "out of its directory",
    ),
    "link out by an absolute name": (packed_zip(Part(b"/l", b"../x", attributes=LINK)), "out of its directory"),
    "up": (packed_zip(Part(b"../a", AUDIO)), "leads out"),
    "up behind a slash": (packed_zip(Part(b"/../a", AUDIO)), "leads out"),
    "up by backslashes": (packed_zip(Part(b"..\\a", AUDIO, host=DOS)), "leads out"),
    "up by a Unicode path": (packed_zip(Part(b"a", AUDIO, index_extra=unicode_path(b"a", "../a"))), "leads out"),
    "up by the own header's Unicode path": (
        packed_zip(Part(b"\x8b", AUDIO, host=DOS, local_extra=unicode_path(b"\x8b", "../a"))),
        "leads out",
    ),
    "drive": (packed_zip(Part(b"C:\\a", AUDIO, host=DOS)), "absolute path"),
    "NUL": (packed_zip(Part(b"a\0b", AUDIO)), "NUL"),
    "no name": (packed_zip(Part(b"", AUDIO)), "own directory"),
    # --- parts of split archives
    "beginning that is missing": (packed_zip(A, B)[5:], "its first 5 bytes are missing"),
    "first member that is missing": (packed_zip(A, B)[331:], "its first 331 bytes are missing"),
    "last part": (packed_zip(A, end=End(disk=1)), "one part"),
    "parts that were appended": (packed_zip(A, Part(b"b", b"second", index={"disk": 1})), "several parts"),
    "a file over a directory": (packed_zip(Part(b"a/b", AUDIO), A), "twice"),
}


@pytest.mark.parametrize("row", REFUSED)
def test_what_no_digest_makes_right(box: Box, row: str) -> None:
    """It is refused although its digest is right, and the message says why."""
    data, words = REFUSED[row]
    with pytest.raises(IntegrityError) as caught:
        box.unpack(data, proven=True)
    assert words in caught.value.message
    assert caught.value.hint


NAMES: dict[str, tuple[Part, str, bool]] = {
    # what: the member, its path, whether the code page is guessed
    "ASCII": (Part(b"d/a", host=DOS), "d/a", False),
    "UTF-8 that is marked": (Part("é/ü".encode(), host=DOS, flags=UTF8), "é/ü", False),
    "UTF-8 that is not marked": (Part("é".encode(), host=DOS), "é", False),
    "bytes of Unix": (Part(b"\xff"), "\udcff", False),
    "code page 437": (Part("é".encode("cp437"), host=DOS), "é", True),
    "code page 437 of Windows": (Part("é".encode("cp437"), host=11), "é", True),
    "Unicode path": (
        Part("七.txt".encode("gbk"), host=DOS, index_extra=unicode_path("七.txt".encode("gbk"), "七.txt")),
        "七.txt",
        False,
    ),
    "Unicode path by Unix": (Part("é".encode("cp850"), index_extra=unicode_path("é".encode("cp850"), "é")), "é", False),
    "Unicode path for an ASCII name": (
        Part(b"_15.txt", host=DOS, index_extra=unicode_path(b"_15.txt", "€15.txt")),
        "€15.txt",
        False,
    ),
    "Unicode path of the own header alone": (
        Part("能".encode("cp932"), host=DOS, local_extra=unicode_path("能".encode("cp932"), "能")),
        "能",
        False,
    ),
    "Unicode path for another name": (Part(b"a", host=DOS, index_extra=unicode_path(b"b", "c")), "a", False),
    "Unicode path of a later version": (Part(b"a", index_extra=unicode_path(b"a", "c", version=2)), "a", False),
    "Unicode path of nothing": (Part(b"a", index_extra=unicode_path(b"a", "")), "a", False),
    "Unicode path that is no UTF-8": (
        Part(b"a", index_extra=extra(0x7075, struct.pack("<BL", 1, zlib.crc32(b"a")) + b"\xff")),
        "a",
        False,
    ),
    "Unicode path beside the UTF-8 mark": (Part(b"a", flags=UTF8, index_extra=unicode_path(b"a", "c")), "a", False),
    "Unicode path with backslashes": (
        Part(b"d\\_", host=DOS, index_extra=unicode_path(b"d\\_", "d\\é")),
        "d/é",
        False,
    ),
    "backslashes of DOS": (Part(b"d\\e\\a", host=DOS), "d/e/a", False),
    "backslashes of Windows": (Part(b"d\\a", host=11), "d/a", False),
    "backslashes of VFAT": (Part(b"d\\a", host=14), "d/a", False),
    "backslashes of Unix": (Part(b"d\\a"), "d\\a", False),
    "backslashes beside slashes": (Part(b"d/e\\a", host=DOS), "d/e\\a", False),
    "backslashes in UTF-8": (Part("é\\a".encode(), host=DOS, flags=UTF8), "é/a", False),
    "backslashes in code page 437": (Part("é\\a".encode("cp437"), host=DOS), "é/a", True),
    "dots and slashes": (Part(b"./d//./a", host=DOS), "d/a", False),
    "colon": (Part(b"a:b"), "a:b", False),
}


@pytest.mark.parametrize("row", NAMES)
def test_names(box: Box, row: str) -> None:
    """A name is what its writer meant, and one remark says if its code page was guessed."""
    part, path, guessed = NAMES[row]
    found, warning = box.unpack(packed_zip(part, Part(b"other")), proven=False)
    assert set(found) == {path, "other"}
    assert ("code page 437" in warning) == guessed


@pytest.mark.parametrize(
    ("names", "tree"),
    [
        ([b"/", b"set/a"], {"set/a": b""}),
        ([b"./", b"a"], {"a": b""}),
        ([b"\\", b"set\\a"], {"set/a": b""}),
        ([b"set\\", b"set\\sub\\", b"set\\sub\\a"], {"set/sub/a": b""}),
        ([b"set\\", b"set\\sub\\"], {"set/sub": None}),
        ([b"d/", b"d/e/"], {"d/e": None}),
    ],
)
def test_directories_of_dos(box: Box, names: list[bytes], tree: dict[str, bytes | None]) -> None:
    """An entry that ends in a separator is a directory, the archive's own one too."""
    parts = [Part(name, host=DOS, attributes=0x10 if name[-1:] in b"/\\" else 0x20) for name in names]
    assert box.unpack(packed_zip(*parts), proven=False) == (tree, "")


OLD = struct.pack("<l", 1_000_000_000)
TIMES: dict[str, tuple[bytes, int | None]] = {
    "DOS": (b"", 1735689600),
    "extended": (extra(0x5455, b"\1" + OLD), 1_000_000_000),
    "extended with more times than are there": (extra(0x5455, b"\7" + OLD), 1_000_000_000),
    "extended without a modification time": (extra(0x5455, b"\2" + OLD), 1735689600),
    "extended, before 1970": (extra(0x5455, b"\1" + struct.pack("<l", -5)), None),
    "old Unix": (extra(0x5855, bytes(4) + OLD), 1_000_000_000),
    "old Unix with owners": (extra(0x5855, bytes(4) + OLD + bytes(4)), 1_000_000_000),
    "PKWARE Unix": (extra(0x000D, bytes(4) + OLD + bytes(4)), 1_000_000_000),
    "NTFS": (extra(0x000A, struct.pack("<LHH3Q", 0, 1, 24, (11_644_473_600 + 10**9) * 10**7, 0, 0)), 1_000_000_000),
    "NTFS of nothing": (extra(0x000A, struct.pack("<LHH3Q", 0, 1, 24, 0, 0, 0)), 1735689600),
    "fields that are too short": (extra(0x5455, b"\1") + extra(0x5855, b"") + extra(0x000A, b"x"), 1735689600),
}


@pytest.mark.parametrize("row", TIMES)
def test_times(box: Box, row: str) -> None:
    """The most exact time is taken; a time that no disk holds is left out, and refuses nothing."""
    field, seconds = TIMES[row]
    box.unpack(packed_zip(Part(b"a", index_extra=field, local_extra=field)), proven=False)
    assert (box.root / "a").stat().st_mtime == seconds or seconds is None


def test_a_bomb_of_deflate64_comes_in_pieces() -> None:
    """Ten megabytes of zeros from 500 bytes come a MiB at a time, and little more is held."""
    from provisioner.volume.archive.deflate64 import Deflate64Decoder  # noqa: PLC0415 - as the program does

    packed = deflate64(bytes(10 << 20))
    decoder, total = Deflate64Decoder(len(packed)), 0
    data = packed
    while not decoder.eof:
        content = decoder.decompress(data, 1 << 20)
        assert 0 < len(content) <= 1 << 20 or decoder.eof
        data = b""
        total += len(content)
    assert total == 10 << 20
    assert decoder.unused_data == b""


parts = st.builds(
    Part,
    st.sampled_from([b"a", b"b", b"d/c", b"d\\e", b"f"]),
    st.sampled_from([b"", b"1", AUDIO]),
    st.sampled_from([0, 8]),
    host=st.sampled_from([DOS, 3]),
    attributes=st.just(FILE),
    before=st.sampled_from([b"", b"", bytes(7), JUNK]),
    after=st.sampled_from([b"", b"", bytes(40), JUNK]),
    listed=st.sampled_from([True, True, True, False]),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    packed=st.lists(parts, min_size=1, max_size=4, unique_by=lambda part: part.name.replace(b"\\", b"/")),
    before=st.sampled_from([b"", b"", bytes(9), JUNK, packed_zip(Part(b"x", b"y"))]),
    behind=st.sampled_from([b"", b"", bytes(9), JUNK, packed_zip(Part(b"x", b"y"))[:-1], packed_zip(Part(b"x", b"y"))]),
    proven=st.booleans(),
)
def test_nothing_is_left_out(
    tmp_path_factory: pytest.TempPathFactory, packed: list[Part], before: bytes, behind: bytes, *, proven: bool
) -> None:
    """Whatever is around and between members, an archive comes out with all that it holds, or is refused."""
    data = before + packed_zip(*packed) + behind
    box = Box(tmp_path_factory.mktemp("box") / "root", arriving=False)
    try:
        found, warning = box.unpack(data, proven=proven)
    except IntegrityError:
        return
    held = {part.name.decode().replace("\\", "/") if part.host == DOS else part.name.decode(): part.data for part in packed}
    assert found == held
    assert all(part.listed for part in packed)
    assert b"PK\3\4" not in before + behind
    odd = JUNK in (before, behind) or any(JUNK in (part.before, part.after) for part in packed)
    assert odd == bool(warning)
    assert proven or not odd


def test_python_reads_the_same(box: Box) -> None:
    """An independent reader agrees about the archives that it can read."""
    compared = 0
    for data, tree in RIGHT.values():
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as other:
                files = {info.filename: other.read(info) for info in other.infolist() if not info.is_dir()}
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError):
            continue
        if all(tree.get(name) == content for name, content in files.items()):
            compared += 1
    assert compared > len(RIGHT) // 2
    assert box.root.name == "root"
