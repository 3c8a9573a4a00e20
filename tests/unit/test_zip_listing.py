"""The index of a zip as a listing: what is in it, and which archives are not for comparing files with."""

from __future__ import annotations

import io
import stat
import zipfile
import zlib
from typing import TYPE_CHECKING

import pytest

from provisioner.errors import BrokenArchiveError
from provisioner.volume.archive.zip.listing import has_content, listed_member, read_listing
from provisioner.volume.staging.incoming import LocalFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from provisioner.volume.archive.zip.entry import ZipEntry


def packed(path: Path, add: Callable[[zipfile.ZipFile], object]) -> list[ZipEntry] | None:
    """Write a zip, and return its listing."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        add(archive)
    path.write_bytes(content.getvalue())
    with LocalFile(path) as opened:
        return read_listing(opened)


def two(archive: zipfile.ZipFile) -> None:
    """Add two files."""
    archive.writestr("b/ü", b"one")
    archive.writestr("a", b"")


def link(archive: zipfile.ZipFile) -> None:
    """Add a symbolic link."""
    entry = zipfile.ZipInfo("link")
    entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    archive.writestr(entry, "a")


def twice(archive: zipfile.ZipFile) -> None:
    """Add two members of one name."""
    archive.writestr("a", b"1")
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("a", b"2")


def test_what_is_in_it(tmp_path: Path) -> None:
    """Names, sizes and checksums are those of the members, in their order; a file is compared with both."""
    found = packed(tmp_path / "a.zip", two)
    assert found is not None
    assert [(entry.name, entry.size, entry.crc) for entry in found] == [("b/ü", 3, zlib.crc32(b"one")), ("a", 0, 0)]
    path = tmp_path / "file"
    for content, same in ((b"one", True), (b"two", False), (b"ones", False)):
        path.write_bytes(content)
        assert has_content(found[0], path) is same
    path.write_bytes(b"one")
    assert b"".join(listed_member(found[0], path, "a.zip").blocks) == b"one"
    path.write_bytes(b"two")
    with pytest.raises(BrokenArchiveError, match="was changed while it was read"):
        list(listed_member(found[0], path, "a.zip").blocks)


@pytest.mark.parametrize("add", [link, twice])
def test_what_needs_the_archive(tmp_path: Path, add: Callable[[zipfile.ZipFile], object]) -> None:
    """Of a link the index states no target, and of two members of one name not which counts."""
    assert packed(tmp_path / "a.zip", add) is None


@pytest.mark.parametrize("count", [0, 1])
def test_an_index_with_more_entries_than_it_claims(tmp_path: Path, count: int) -> None:
    """Some writers count modulo 65,536: the first entries must not be taken for all of them."""
    path = tmp_path / "a.zip"
    packed(path, two)
    data = bytearray(path.read_bytes())
    assert data[-14:-10] == b"\2\0\2\0"
    data[-14:-10] = bytes([count, 0, count, 0])
    path.write_bytes(data)
    with LocalFile(path) as opened:
        assert not read_listing(opened)


def test_an_index_that_is_damaged(tmp_path: Path) -> None:
    """An entry that is none is an error of the archive."""
    path = tmp_path / "a.zip"
    packed(path, two)
    data = path.read_bytes()
    at = data.rfind(b"PK\1\2")
    path.write_bytes(data[:at] + b"PK\1\3" + data[at + 4 :])
    with LocalFile(path) as opened, pytest.raises(BrokenArchiveError):
        read_listing(opened)
