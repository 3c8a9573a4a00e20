"""Honest archives unpack to what the reference programs unpack, whichever program wrote them, with a hash of every file."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import resource
import shutil
import stat
import struct
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from provisioner.errors import IntegrityError, VolumeError
from provisioner.volume.archive.limits import MAX_MEMBERS
from provisioner.volume.archive.target import Unpacked
from provisioner.volume.staging.incoming import LocalFile
from provisioner.volume.store.entry import Entry
from provisioner.volume.store.manifest import Manifest
from provisioner.volume.store.tree_check import check_tree
from provisioner.volume.tree.writer import TreeWriter
from tests.support.unpacking import nothing, unpack_into

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.catalog.artifact import UnpackFormat

LONG = "a-folder-with-a-rather-long-name-that-does-not-fit/" * 3 + "n" * 200
BIG = bytes(range(256)) * 12_000
"""Three MiB: several blocks, whatever block size a reader uses."""


def run(archive: Path, form: UnpackFormat, root: Path, into: str = "", **options: Any) -> Unpacked:
    """Unpack a file that is on the disk."""
    with LocalFile(archive) as file:
        return unpack_into(root, file, form, into, **options)


def open_descriptors() -> int:
    """Return the number of open descriptors of this process."""
    with os.scandir("/proc/self/fd") as found:
        return sum(1 for _ in found)


def snapshot(root: Path) -> dict[str, object]:
    """Return everything under ``root``: content of files, text of links, and whether it may be executed."""
    found: dict[str, object] = {}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = Path(folder, name)
            where = str(path.relative_to(root))
            if path.is_symlink():
                found[where] = f"-> {path.readlink()}"
            elif path.is_dir():
                found[where] = None
            else:
                found[where] = (path.read_bytes(), bool(path.stat().st_mode & 0o100), int(path.stat().st_mtime))
    return found


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a tree with everything that an honest archive may hold."""
    root = tmp_path / "source"
    (root / Path(LONG).parent).mkdir(parents=True)
    (root / "empty folder" / "inner").mkdir(parents=True)
    files = {
        "README": b"read me\n",
        "empty": b"",
        "run.sh": b"#!/bin/sh\n",
        "folder/exactly-a-block": bytes(512),
        "folder/big": BIG,
        "folder/a-mebibyte": os.urandom(1 << 20),
        LONG: b"long",
        "Ünïcode \N{SNOWMAN}": b"snow",
        "not utf-8 \udcff": b"latin",
        "line\nfeed back\\slash": b"awkward",
        "._resource": b"macOS",
    }
    for name, data in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(data)
        os.utime(root / name, (1_234_567_890, 1_234_567_890))
    (root / "run.sh").chmod(0o4755)
    (root / "README").chmod(0o600)
    (root / "link").symlink_to("folder/big")
    (root / "folder" / "up").symlink_to("../README")
    (root / "folder" / "dangling").symlink_to("not-there")
    (root / "link to folder").symlink_to("folder")
    return root


def assert_right(root: Path, done: Unpacked) -> None:
    """Assert that the entries describe what is on the disk, by the program's own check and by coreutils."""
    manifest = Manifest.of(done.entries)
    assert check_tree(root, manifest, deep=True, check_cancelled=nothing) == []
    if not manifest.files:
        return  # sha256sum takes a list of nothing for no list
    sums = root.parent / "sums"
    sums.write_bytes(b"".join(manifest.sha256sum_lines()))
    checked = subprocess.run(["sha256sum", "--check", "--strict", "--quiet", sums], cwd=root, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


# --- tar ----------------------------------------------------------------------------------------------------------------

COMPRESS: dict[UnpackFormat, Callable[[bytes], bytes]] = {
    "tar": lambda data: data,
    "tar.gz": gzip.compress,
    "tar.bz2": bz2.compress,
    "tar.xz": lzma.compress,
    "tar.zst": zstd.compress,
}
COMPRESSED = [form for form in COMPRESS if form != "tar"]


def gnu_tar(folder: Path, kind: str = "gnu", *more: str) -> bytes:
    """Return ``folder`` packed by GNU tar."""
    return subprocess.run(
        ["tar", "--create", f"--format={kind}", *more, "--directory", folder, "."], stdout=subprocess.PIPE, check=True
    ).stdout


@pytest.mark.parametrize("form", COMPRESS)
@pytest.mark.parametrize("kind", ["gnu", "oldgnu", "pax", "ustar"])
def test_a_tar_comes_out_as_gnu_tar_unpacks_it(source: Path, tmp_path: Path, form: UnpackFormat, kind: str) -> None:
    """Names of any bytes and length, links, hard links and empty directories, in each format, come out as from GNU tar."""
    if kind == "ustar":
        # More than that it cannot say.
        shutil.move(source / LONG, source / LONG[:-120])
    os.link(source / "README", source / "folder" / "same")
    os.link(source / "link", source / "same link")
    packed = gnu_tar(source, kind)
    reference = tmp_path / "reference"
    reference.mkdir()
    subprocess.run(["tar", "--extract", "--directory", reference], input=packed, check=True)
    archive = tmp_path / f"a.{form}"
    archive.write_bytes(COMPRESS[form](packed))

    done = run(archive, form, tmp_path / "out", artifact="key")

    assert snapshot(tmp_path / "out") == snapshot(reference)
    assert_right(tmp_path / "out", done)
    assert {entry.artifact for entry in done.entries} == {"key"}
    assert [entry.path for entry in done.entries if entry.kind == "folder"] == ["empty folder/inner"]
    assert [entry.path for entry in done.entries if entry.executable] == ["run.sh"]
    assert done.shared == ()


def test_an_old_v7_tar(source: Path, tmp_path: Path) -> None:
    """A tar without magic, in which only a slash marks directories, is unpacked."""
    shutil.rmtree(source / LONG.partition("/")[0])
    archive = tmp_path / "a.tar"
    archive.write_bytes(gnu_tar(source, "v7"))
    done = run(archive, "tar", tmp_path / "out")
    assert snapshot(tmp_path / "out") == {
        name: value for name, value in snapshot(source).items() if not (isinstance(value, str) and name == "")
    }
    assert_right(tmp_path / "out", done)


@pytest.mark.parametrize("form", COMPRESSED)
def test_several_streams_and_padding(source: Path, tmp_path: Path, form: UnpackFormat) -> None:
    """Several streams, as parallel compressors write them, and padding with zeros are not taken for damage."""
    packed = gnu_tar(source)
    third = len(packed) // 3
    pieces = [packed[:third], b"", packed[third : third + 7], packed[third + 7 :]]
    archive = tmp_path / "a"
    archive.write_bytes(b"".join(COMPRESS[form](piece) for piece in pieces) + bytes(300_000))
    run(archive, form, tmp_path / "out")
    assert snapshot(tmp_path / "out") == snapshot(source)


def test_a_tar_that_python_wrote(tmp_path: Path) -> None:
    """The pax headers of ``tarfile``, with times in fractions of a second, and its global headers are understood."""
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "global"}) as tar:
        info = tarfile.TarInfo("x" * 120 + "/Ünï")
        info.size, info.mtime = 3, 1_234_567_890.25
        tar.addfile(info, io.BytesIO(b"abc"))
        info = tarfile.TarInfo("long link")
        info.type, info.linkname = tarfile.SYMTYPE, "x" * 120 + "/Ünï"
        tar.addfile(info)
    done = run(archive, "tar", tmp_path / "out")
    assert (tmp_path / "out" / "long link").read_bytes() == b"abc"
    assert (tmp_path / "out" / "long link").stat().st_mtime_ns == 1_234_567_890_250_000_000
    assert_right(tmp_path / "out", done)


def test_a_size_in_binary(tmp_path: Path) -> None:
    """A number in binary, as GNU tar writes it when octal digits do not suffice, is read."""
    info = tarfile.TarInfo("a")
    info.size = 3
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\x80" + (3).to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    archive = tmp_path / "a.tar"
    archive.write_bytes(bytes(header) + b"abc".ljust(512, b"\0") + bytes(1024))
    assert [entry.size for entry in run(archive, "tar", tmp_path / "out").entries] == [3]


def test_one_zero_block_and_padding_after_the_end_mark(tmp_path: Path) -> None:
    """One block of zeros ends the archive, and any number of them may follow."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a").write_bytes(b"abc")
    packed = gnu_tar(tmp_path / "source").rstrip(b"\0")
    packed += bytes(-len(packed) % 512)
    for name, rest in (("one", bytes(512)), ("padding", bytes(200_000)), ("part of a block", bytes(1000))):
        archive = tmp_path / name
        archive.write_bytes(packed + rest)
        assert len(run(archive, "tar", tmp_path / f"out-{name}").entries) == 1


# --- zip ----------------------------------------------------------------------------------------------------------------


def write_zip(source: Path, archive: Path, method: int, **more: Any) -> None:
    """Pack ``source`` with the standard library; links and directories are written as Info-ZIP does."""
    with zipfile.ZipFile(archive, "w", method, **more) as packed:
        for folder, folders, files in os.walk(source):
            for name in folders + files:
                path = Path(folder, name)
                if "\udcff" in name:
                    continue  # zipfile cannot write it
                info = zipfile.ZipInfo(str(path.relative_to(source)), (2009, 2, 13, 23, 31, 30))
                info.compress_type = method
                facts = path.lstat()
                info.external_attr = facts.st_mode << 16
                if path.is_symlink():
                    packed.writestr(info, str(path.readlink()))
                elif path.is_dir():
                    info.filename += "/"
                    packed.writestr(info, b"")
                else:
                    packed.writestr(info, path.read_bytes())


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_comes_out_as_it_went_in(source: Path, tmp_path: Path, method: int) -> None:
    """Files of every method, links as Unix writes them, and directories, also empty ones, are unpacked."""
    (source / "not utf-8 \udcff").unlink()
    archive = tmp_path / "a.zip"
    write_zip(source, archive, method)
    done = run(archive, "zip", tmp_path / "out")
    assert snapshot(tmp_path / "out") == snapshot(source)
    assert_right(tmp_path / "out", done)
    assert [entry.path for entry in done.entries if entry.kind == "folder"] == ["empty folder/inner"]


def test_a_zip_as_the_standard_library_reads_it(source: Path, tmp_path: Path) -> None:
    """An independent reader unpacks the same files."""
    archive, reference = tmp_path / "a.zip", tmp_path / "reference"
    write_zip(source, archive, zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(reference)  # noqa: S202 - our own archive, and their program is the reference
    run(archive, "zip", tmp_path / "out")
    for path in reference.rglob("*"):
        other = tmp_path / "out" / path.relative_to(reference)
        assert other.is_symlink() or path.is_dir() == other.is_dir()
        if path.is_file() and not other.is_symlink():
            assert path.read_bytes() == other.read_bytes()


class _Unseekable(io.RawIOBase):
    """A pipe: the writer cannot seek back, so it writes sizes after the content."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("wb")

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self.file.write(data)

    def close(self) -> None:
        self.file.close()
        super().close()


@pytest.mark.parametrize("variant", ["zip64", "piped", "prefix", "comment", "prefix of zip64"])
def test_unusual_zips(tmp_path: Path, variant: str) -> None:
    """Sizes of 64 bits, sizes after the content, a program in front, and a comment that looks like an index are understood."""
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(_Unseekable(archive) if variant == "piped" else archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for number in range(3):
            with packed.open(f"f{number}", "w", force_zip64="zip64" in variant) as member:
                member.write(b"abc" * number)
        if variant == "comment":
            packed.comment = b"PK\5\6" + bytes(18) + b" and so on"
    data = archive.read_bytes()
    if "prefix" in variant:
        data = b"#!/bin/sh\nexit\n" + data
    if "zip64" in variant:
        # Python writes the 64-bit index only for what needs it: have one by hand.
        end = data.rfind(b"PK\5\6")
        count, size, offset = struct.unpack_from("<HLL", data, end + 10)
        prefix = data.find(b"PK\3\4")
        end64 = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, offset)
        locator = struct.pack("<4sLQL", b"PK\6\7", 0, end - prefix, 1)
        data = data[:end] + end64 + locator + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0)
    archive.write_bytes(data)
    with zipfile.ZipFile(archive) as packed:
        assert packed.testzip() is None
    done = run(archive, "zip", tmp_path / "out")
    assert [(entry.path, entry.size) for entry in done.entries] == [("f0", 0), ("f1", 3), ("f2", 6)]
    assert_right(tmp_path / "out", done)


@pytest.mark.parametrize(
    ("raw", "flags", "host", "name"),
    [
        (b"caf\xc3\xa9", 0x800, 0, "café"),
        (b"caf\xc3\xa9", 0, 3, "café"),
        (b"caf\xe9", 0, 3, "caf\udce9"),
        (b"caf\x82", 0, 0, "café"),
        (b"caf\xc3\xa9", 0, 0, "café"),
        (b"a\\b", 0, 3, "a\\b"),
    ],
)
def test_names_in_a_zip(tmp_path: Path, raw: bytes, flags: int, host: int, name: str) -> None:
    """A name is UTF-8 if it is marked so or valid; else its bytes are kept (Unix) or are code page 437 (other systems)."""
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        info = zipfile.ZipInfo("x" * len(raw))
        info.create_system = host
        packed.writestr(info, b"abc")
    data = bytearray(archive.read_bytes().replace(b"x" * len(raw), raw))
    for signature, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        struct.pack_into("<H", data, data.find(signature) + place, flags)
    archive.write_bytes(data)
    done = run(archive, "zip", tmp_path / "out")
    assert [entry.path for entry in done.entries] == [name]
    assert os.fsencode(name) == (raw if name != "café" else b"caf\xc3\xa9")


def test_more_members_than_16_bits_can_count(tmp_path: Path) -> None:
    """The count is that of the zip64 record; without one, 16 bits must agree, because some writers let it overflow."""
    one = zip_of(tmp_path / "one", {"a": b"x"}).read_bytes()
    at, end = one.index(b"PK\1\2"), one.index(b"PK\5\6")
    count = 66_000
    # The same file again and again: a member each, and no work for the disk.
    data = one[:at] * count
    index = b"".join(one[at : at + 42] + struct.pack("<L", at * n) + one[at + 46 : end] for n in range(count))
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(index), len(data))
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(data) + len(index), 1)
    for name, tail, short in (("with", end64 + locator, 65535), ("without", b"", count & 65535)):
        archive = tmp_path / name
        archive.write_bytes(
            data + index + tail + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, short, short, len(index), len(data), 0)
        )
        told: list[int] = []
        assert len(run(archive, "zip", tmp_path / "out", advance=told.append).entries) == 1
        assert sum(told) == count


# --- whatever the format ------------------------------------------------------------------------------------------------


def tar_of(path: Path, files: dict[str, bytes]) -> Path:
    """Write a plain tar of some files."""
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def zip_of(path: Path, files: dict[str, bytes]) -> Path:
    """Write a zip of some files."""
    with zipfile.ZipFile(path, "w") as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    return path


MAKERS: list[tuple[UnpackFormat, Callable[[Path, dict[str, bytes]], Path]]] = [("tar", tar_of), ("zip", zip_of)]
both = pytest.mark.parametrize(("form", "make"), MAKERS, ids=["tar", "zip"])


@both
def test_an_archive_of_nothing(tmp_path: Path, form: UnpackFormat, make: Callable[..., Path]) -> None:
    """An archive without members is accepted; with ``into``, an empty directory comes out."""
    archive = make(tmp_path / "a", {})
    assert run(archive, form, tmp_path / "out").entries == ()
    done = run(archive, form, tmp_path / "out", "sub/folder")
    assert [(entry.path, entry.kind) for entry in done.entries] == [("sub/folder", "folder")]
    assert_right(tmp_path / "out", done)


@both
def test_a_sub_directory(tmp_path: Path, form: UnpackFormat, make: Callable[..., Path]) -> None:
    """With ``into``, paths are still relative to the data set. The archive is not changed."""
    archive = make(tmp_path / "a", {"x/y": b"1", "z": b"2"})
    before = hashlib.sha256(archive.read_bytes()).digest()
    done = run(archive, form, tmp_path / "out", "sub/folder")
    assert [entry.path for entry in done.entries] == ["sub/folder/x/y", "sub/folder/z"]
    assert_right(tmp_path / "out", done)
    assert hashlib.sha256(archive.read_bytes()).digest() == before


@pytest.mark.parametrize("into", ["..", "/abs", "a/../b", "a//b", "."])
def test_a_sub_directory_that_is_no_plain_path(tmp_path: Path, into: str) -> None:
    """A target outside the tree is refused, as the catalog refuses it before."""
    with pytest.raises(ValueError, match="sub-directory"):
        run(tar_of(tmp_path / "a", {}), "tar", tmp_path / "out", into)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
@both
def test_modes_do_not_come_from_the_archive(tmp_path: Path, umask: int, form: UnpackFormat, make: Callable[..., Path]) -> None:
    """Whatever the umask, the group may write everything, and a set-group-id bit of the volume's root is inherited."""
    archive = make(tmp_path / "a", {"one/x": b"1", "two/y": b"2", "two/z": b"3"})
    (tmp_path / "out").mkdir()
    (tmp_path / "out").chmod(0o2775)
    before = os.umask(umask)
    try:
        run(archive, form, tmp_path / "out")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out").rglob("*")}
    assert modes == {"one": 0o2775, "two": 0o2775, "x": 0o664, "y": 0o664, "z": 0o664}


@both
def test_a_file_that_an_earlier_archive_had_too(tmp_path: Path, form: UnpackFormat, make: Callable[..., Path]) -> None:
    """The same file is accepted and listed as shared; it is not written again."""
    first = run(make(tmp_path / "a", {"README": b"same", "d/x": b"1"}), form, tmp_path / "out", artifact="first")
    existing = {entry.path: entry for entry in first.entries}
    inode = (tmp_path / "out" / "README").stat().st_ino
    second = run(make(tmp_path / "b", {"README": b"same", "d/y": b"2"}), form, tmp_path / "out", existing=existing)
    assert [entry.path for entry in second.entries] == ["d/y"]
    assert second.shared == ("README",)
    assert (tmp_path / "out" / "README").stat().st_ino == inode
    assert_right(tmp_path / "out", Unpacked(first.entries + second.entries, ()))


@pytest.mark.parametrize(
    "files",
    [{"README": b"other"}, {"README/x": b"same"}, {"d": b"1"}, {"l": b"1"}, {"l/x": b"1"}],
    ids=["different", "in a file", "for a folder", "for a link", "through a link"],
)
@both
def test_what_contradicts_an_earlier_archive(
    tmp_path: Path, files: dict[str, bytes], form: UnpackFormat, make: Callable[..., Path]
) -> None:
    """The error names the path and both archives; what is on the disk stays."""
    same = hashlib.sha256(b"same").hexdigest()
    out = tmp_path / "out"
    (out / "d").mkdir(parents=True)
    (out / "README").write_bytes(b"same")
    (out / "d" / "x").write_bytes(b"same")
    (out / "l").symlink_to("d")
    existing = {
        "README": Entry("README", "file", 4, same, artifact="dev-clean"),
        "d/x": Entry("d/x", "file", 4, same),
        "l": Entry("l", "link", target="d", artifact="dev-clean"),
    }
    before = snapshot(out)
    with pytest.raises(IntegrityError) as caught:
        run(make(tmp_path / "b", files), form, out, existing=existing)
    name = next(iter(files)).partition("/")[0]
    assert f"'{name}" in caught.value.message
    if name != "d":
        assert "dev-clean" in caught.value.message
    assert "into" in caught.value.hint
    assert snapshot(out) == before


def test_links_that_two_archives_share(tmp_path: Path) -> None:
    """The same link is accepted; one with another target is an error."""

    def linking(name: str, target: str) -> Path:
        with tarfile.open(tmp_path / name, "w") as tar:
            info = tarfile.TarInfo("link")
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
        return tmp_path / name

    first = run(linking("a", "x"), "tar", tmp_path / "out")
    existing = {entry.path: entry for entry in first.entries}
    assert run(linking("b", "x"), "tar", tmp_path / "out", existing=existing) == Unpacked((), ("link",))
    with pytest.raises(IntegrityError, match="'link' is a link to 'y'"):
        run(linking("c", "y"), "tar", tmp_path / "out", existing=existing)


@both
def test_a_hard_link_to_an_earlier_archives_file(tmp_path: Path, form: UnpackFormat, make: Callable[..., Path]) -> None:
    """A hard link to a file of the data set is made, even if that file is from another archive."""
    first = run(make(tmp_path / "a", {"x": b"1"}), form, tmp_path / "out")
    with tarfile.open(tmp_path / "b", "w") as tar:
        info = tarfile.TarInfo("y")
        info.type, info.linkname = tarfile.LNKTYPE, "x"
        tar.addfile(info)
    second = run(tmp_path / "b", "tar", tmp_path / "out", existing={"x": first.entries[0]})
    assert (tmp_path / "out" / "y").samefile(tmp_path / "out" / "x")
    assert_right(tmp_path / "out", Unpacked(first.entries + second.entries, ()))


@both
def test_leftovers_are_replaced_and_never_followed(tmp_path: Path, form: UnpackFormat, make: Callable[..., Path]) -> None:
    """A file, a directory, a link that leads out, a FIFO, and a link in place of a directory are replaced by what is unpacked."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"precious")
    out = tmp_path / "out"
    (out / "folder" / "deep").mkdir(parents=True)
    (out / "folder" / "deep" / "up").symlink_to(outside)
    (out / "half").write_bytes(b"longer than what comes")
    (out / "link").symlink_to(outside / "precious")
    (out / "dangling").symlink_to(outside / "new")
    (out / "sub").symlink_to(outside)
    os.mkfifo(out / "fifo")
    names = ["folder", "half", "link", "dangling", "sub/x/precious", "fifo"]
    done = run(make(tmp_path / "a", dict.fromkeys(names, b"new")), form, out)
    assert_right(out, done)
    assert snapshot(outside).keys() == {"precious"}
    assert (outside / "precious").read_bytes() == b"precious"


def test_a_second_attempt_replaces_links_too(source: Path, tmp_path: Path) -> None:
    """Unpacking twice gives the same tree as unpacking once."""
    archive = tmp_path / "a.tar"
    os.link(source / "README", source / "folder" / "same")
    archive.write_bytes(gnu_tar(source))
    run(archive, "tar", tmp_path / "out")
    (tmp_path / "out" / "folder" / "same").unlink()
    (tmp_path / "out" / "folder" / "same").mkdir()
    done = run(archive, "tar", tmp_path / "out")
    assert snapshot(tmp_path / "out") == snapshot(source)
    assert_right(tmp_path / "out", done)


@both
def test_progress_and_cancellation(tmp_path: Path, form: UnpackFormat, make: Callable[..., Path]) -> None:
    """Every byte of content is reported once; cancellation is noticed within a MiB and within a member."""
    archive = make(tmp_path / "a", {"big": BIG, **{f"small{n}": b"x" for n in range(10)}})
    told: list[int] = []
    asked = 0

    def ask() -> None:
        nonlocal asked
        asked += 1

    run(archive, form, tmp_path / "out", check_cancelled=ask, advance=told.append)
    assert sum(told) == len(BIG) + 10
    assert max(told) <= 1 << 20
    assert asked >= 3 + 11

    for when in range(1, 8):
        left = when

        def stop() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise KeyboardInterrupt

        handles = open_descriptors()
        with pytest.raises(KeyboardInterrupt):
            run(archive, form, tmp_path / f"out{when}", check_cancelled=stop)
        assert open_descriptors() == handles


@pytest.mark.parametrize("form", [*COMPRESS, "zip"])
def test_memory_is_bounded(tmp_path: Path, form: UnpackFormat) -> None:
    """A large file takes memory for a few blocks, however well it is compressed."""
    archive = tmp_path / "a"
    if form == "zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr("zeros", bytes(64 << 20))
    else:
        archive.write_bytes(COMPRESS[form](tar_of(tmp_path / "b", {"zeros": bytes(64 << 20)}).read_bytes()))
    tracemalloc.start()
    try:
        run(archive, form, tmp_path / "out")
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_many_directories_need_few_descriptors(tmp_path: Path) -> None:
    """However often an archive changes between directories, and however deep they are, at most 128 are open."""
    files = {f"{'d/' * (number % 200)}{number}/{turn}": b"x" for turn in range(3) for number in range(300)}
    archive = tar_of(tmp_path / "a.tar", files)
    with tarfile.open(archive, "a") as tar:
        info = tarfile.TarInfo("d/" * 180 + "hard")
        info.type, info.linkname = tarfile.LNKTYPE, f"{'d/' * 99}299/0"
        tar.addfile(info)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_descriptors() + 150, before[1]))
    try:
        done = run(archive, "tar", tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert len(done.entries) == 901
    assert_right(tmp_path / "out", done)


# --- the disk is not the archive ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [*COMPRESS, "zip"])
def test_a_disk_that_refuses_is_not_a_broken_archive(tmp_path: Path, form: UnpackFormat) -> None:
    """If writing fails in the middle of a file, the error is the volume's, with the path, and no descriptor stays open."""
    archive = tmp_path / "a"
    if form == "zip":
        zip_of(archive, {"big": BIG})
    else:
        archive.write_bytes(COMPRESS[form](tar_of(tmp_path / "b", {"big": BIG}).read_bytes()))
    handles = open_descriptors()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, before[1]))
    try:
        with pytest.raises(VolumeError, match="unpacking 'big' from a"):
            run(archive, form, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert open_descriptors() == handles


@pytest.mark.parametrize("form", [*COMPRESS, "zip"])
def test_an_archive_that_cannot_be_read_is_not_broken(tmp_path: Path, form: UnpackFormat) -> None:
    """An archive that is missing, or is a directory, is an error of the volume."""
    (tmp_path / "folder").mkdir()
    for name in ("no", "folder"):
        with pytest.raises(VolumeError, match="reading the archive"):
            run(tmp_path / name, form, tmp_path / "out")


def test_a_root_that_cannot_be_made(tmp_path: Path) -> None:
    """A file in the place of the tree is an error, and stays."""
    (tmp_path / "out").write_bytes(b"mine")
    with pytest.raises(VolumeError, match="making the directory"):
        run(tar_of(tmp_path / "a", {"x": b""}), "tar", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"mine"


@pytest.fixture
def folding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that the volume takes ``a`` and ``A`` for the same name."""
    monkeypatch.setattr(TreeWriter, "folds_names", lambda _self: True)


@pytest.mark.usefixtures("folding")
@both
def test_a_volume_that_folds_names(tmp_path: Path, form: UnpackFormat, make: Callable[..., Path]) -> None:
    """Two names that the volume takes for the same are an error, so that no file is lost."""
    run(make(tmp_path / "fine", {"A/x": b"1", "A/y": b"2"}), form, tmp_path / "fine-out")
    for names in (("a", "A"), ("d/x", "D/x"), ("\u00fc", "u\u0308")):
        archive = make(tmp_path / "a", dict.fromkeys(names, b"1"))
        with pytest.raises(VolumeError, match="same name"):
            run(archive, form, tmp_path / "out")
        shutil.rmtree(tmp_path / "out")


@both
def test_a_volume_that_composes_names(
    tmp_path: Path, form: UnpackFormat, make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A volume may distinguish ``a`` from ``A`` and yet treat the composed and the decomposed form of a letter as one name."""
    monkeypatch.setattr(TreeWriter, "composes_names", lambda _self: True)
    run(make(tmp_path / "fine", {"a": b"1", "A": b"2", "\u00fc": b"3"}), form, tmp_path / "fine-out")
    for names in (("\u00fc", "u\u0308"), ("\u00fc/x", "u\u0308/x")):
        archive = make(tmp_path / "a", dict.fromkeys(names, b"1"))
        with pytest.raises(VolumeError, match="same name"):
            run(archive, form, tmp_path / "out")
        shutil.rmtree(tmp_path / "out")


@pytest.mark.usefixtures("folding")
@both
def test_a_volume_that_folds_names_of_two_artifacts(tmp_path: Path, form: UnpackFormat, make: Callable[..., Path]) -> None:
    """A file of another artifact, there already or still to come, is hidden by no name that the volume takes for its own."""
    archive = make(tmp_path / "a", {"d/x": b"1"})
    for others in ({"existing": {"D/x": Entry("D/x", "file", 1, "0" * 64)}}, {"planned": ["D/x"]}, {"planned": ["d/X"]}):
        with pytest.raises(VolumeError, match=r"together with another file of this data set, holds both '[dD]/[xX]'"):
            run(archive, form, tmp_path / "out", **others)
        shutil.rmtree(tmp_path / "out")


@both
def test_a_volume_that_does_not_fold_names(tmp_path: Path, form: UnpackFormat, make: Callable[..., Path]) -> None:
    """Names that differ only in case are two files, and the probe leaves no file behind."""
    contents = {"a": b"1", "A": b"2", "d/x": b"3", "D/x": b"4", "\u00fc": b"5", "u\u0308": b"6"}
    done = run(make(tmp_path / "a", contents), form, tmp_path / "out")
    assert len(done.entries) == 6
    assert_right(tmp_path / "out", done)


def test_the_largest_known_archive_is_far_below_the_limit() -> None:
    """NSynth's train split, the largest archive of the catalog, has 289,206 members: less than a quarter of the limit."""
    assert MAX_MEMBERS > 4 * 289_206
