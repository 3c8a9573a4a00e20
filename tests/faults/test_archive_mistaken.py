"""A file that is not the archive that the catalog says is refused, and called by its name: another format, a page, a part."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
from typing import TYPE_CHECKING, Any, get_args

import pytest

from provisioner.catalog.artifact import UnpackFormat
from provisioner.errors import BrokenArchiveError
from provisioner.volume.staging.incoming import LocalFile
from tests.support.incoming import Arriving
from tests.support.unpacking import unpack_into

if TYPE_CHECKING:
    from pathlib import Path

    from provisioner.volume.archive.target import Unpacked


def tar() -> bytes:
    """Return a small tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as packed:
        info = tarfile.TarInfo("a")
        info.size = 3
        packed.addfile(info, io.BytesIO(b"abc"))
    return out.getvalue()


def zipped(content: bytes = b"abc") -> bytes:
    """Return a small zip."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        packed.writestr("a", content)
    return out.getvalue()


FORMS = [form for form in get_args(UnpackFormat) if form != "none"]
RIGHT: dict[str, bytes] = {
    "zip": zipped(),
    "tar": tar(),
    "tar.gz": gzip.compress(tar()),
    "tar.bz2": bz2.compress(tar()),
    "tar.xz": lzma.compress(tar()),
}
OTHERS: dict[str, tuple[bytes, str, str]] = {
    # what it is: bytes, how the message calls it, what the hint says
    **{
        form: (data, words, f"'unpack: {form}'")
        for (form, data), words in zip(
            RIGHT.items(),
            ["a zip archive", "a tar archive that is not compressed", "a gzip file", "a bzip2 file", "an xz file"],
            strict=True,
        )
    },
    "7z": (b"7z\xbc\xaf\x27\x1c\0\4" + bytes(60), "a 7z archive", "Formats that can be unpacked"),
    "rar": (b"Rar!\x1a\7\1\0" + bytes(60), "a RAR archive", "Formats that can be unpacked"),
    "compress": (b"\x1f\x9d\x90" + bytes(60), "compress (.Z)", "Formats that can be unpacked"),
    "page": (b"<!DOCTYPE html><html><title>Sign in</title></html>", "a login page (HTML)", "Open the URL in a browser"),
    "error of an object store": (b'<?xml version="1.0"?><Error/>', "XML", "Read what the server says"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:a\nsize 1\n", "a Git LFS pointer", "LFS storage"),
}


def unpack(
    tmp_path: Path, data: bytes, form: Any, name: str = "archive", *, arriving: bool = False, proven: bool = False
) -> Unpacked:
    """Unpack bytes that are on the disk or arriving, and assert that nothing came out if they are refused."""
    path = tmp_path / "bytes"
    path.write_bytes(data)
    root = tmp_path / "root"
    try:
        with Arriving(data, name) if arriving else LocalFile(path, name) as archive:
            return unpack_into(root, archive, form, proven=proven)
    except BrokenArchiveError:
        assert not any(root.iterdir())
        raise


@pytest.mark.parametrize("arriving", [False, True], ids=["whole", "arriving"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("row", OTHERS)
def test_another_format(tmp_path: Path, row: str, form: UnpackFormat, *, arriving: bool) -> None:
    """The message says which format the file does not have and what it looks like; the hint fits what it is."""
    data, words, hint = OTHERS[row]
    if row == form:
        assert unpack(tmp_path, data, form, arriving=arriving).entries
        return
    with pytest.raises(BrokenArchiveError) as caught:
        unpack(tmp_path, data, form, arriving=arriving, proven=True)
    assert caught.value.message.startswith(f"archive: it is no {form} file: it looks like ")
    assert words in caught.value.message
    assert hint in caught.value.hint


def last_disk() -> bytes:
    """Return the last part of a split zip: it has the index, which says that it is on the second disk."""
    whole = bytearray(zipped(b"content" * 100)[300:])
    struct.pack_into("<HH", whole, whole.rindex(b"PK\5\6") + 4, 1, 1)
    return bytes(whole)


PARTS: dict[str, tuple[str, bytes, str]] = {
    # how it was split: name, bytes, format
    "first of zip.001": ("a.zip.001", zipped(b"content" * 100)[:300], "zip"),
    "last of zip.002": ("a.zip.002", zipped(b"content" * 100)[300:], "zip"),
    "first of z01": ("a.z01", b"PK\7\x08" + zipped(b"content" * 100)[:300], "zip"),
    "first of z01 under another name": ("a.zip", b"PK\7\x08" + zipped(b"content" * 100)[:300], "zip"),
    "last of z01": ("a.zip", last_disk(), "zip"),
    "first of tar.gz": ("a.tar.gz.part-aa", gzip.compress(tar())[:60], "tar.gz"),
    "first of tar.gz by numbers": ("a.tar.gz.00", gzip.compress(tar())[:60], "tar.gz"),
    "second of tar.gz": ("a.tar.gz.part-ab", gzip.compress(tar())[60:], "tar.gz"),
    "first of tar.bz2": ("a.tar.bz2.aa", bz2.compress(tar())[:60], "tar.bz2"),
    "first of tar.xz": ("a.tar.xz_001", lzma.compress(tar())[:60], "tar.xz"),
    "second of tar": ("a.tar.part2", tar()[100:], "tar"),
}


@pytest.mark.parametrize("row", PARTS)
def test_one_part_of_a_split_archive(tmp_path: Path, row: str) -> None:
    """The message says that it is a part, and the hint how parts are joined; nobody is told to fetch it again."""
    name, data, form = PARTS[row]
    with pytest.raises(BrokenArchiveError) as caught:
        unpack(tmp_path, data, form, name, proven=True)
    assert "part" in caught.value.message.removeprefix(name)
    assert "join" in caught.value.hint
    assert "fetch it again" not in caught.value.hint


def test_a_whole_archive_with_the_name_of_a_part(tmp_path: Path) -> None:
    """A name alone refuses nothing."""
    for number, (form, data) in enumerate(RIGHT.items()):
        (tmp_path / form).mkdir()
        assert unpack(tmp_path / form, data, form, f"a.{form}.00{number}").entries


def test_a_damaged_archive_keeps_its_own_words(tmp_path: Path) -> None:
    """An archive of the right format that is cut is called damaged or cut, and nothing else."""
    with pytest.raises(BrokenArchiveError, match="in the middle") as caught:
        unpack(tmp_path, RIGHT["tar.gz"][:60], "tar.gz")
    assert "fetch it again" in caught.value.hint
