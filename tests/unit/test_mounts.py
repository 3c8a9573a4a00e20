"""The mount table: which mount holds the volume, what kind it is, and whether it outlives a container."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest

from provisioner.volume.fs import mounts
from provisioner.volume.fs.mounts import has_one_kernel, is_persistent, kind_of

if TYPE_CHECKING:
    from pathlib import Path

ROOT = "22 1 0:20 / / rw,relatime - overlay overlay rw,lowerdir=/l"


def table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *lines: str) -> None:
    """Replace the kernel's mount table."""
    path = tmp_path / "mountinfo"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    monkeypatch.setattr(mounts, "_TABLE", path)


def line(point: object, kind: str, source: str = "/dev/sda", optional: str = "shared:1 ") -> str:
    """Return a line of the table, as `man 5 proc` describes it."""
    escaped = str(point).replace("\\", "\\134").replace(" ", "\\040").replace("\t", "\\011").replace("\n", "\\012")
    return f"36 35 98:0 /root {escaped} rw,noatime {optional}- {kind} {source} rw"


@pytest.mark.parametrize(
    ("kind", "source", "expected"),
    [
        ("ext4", "/dev/sda1", "posix"),
        ("nfs4", "server:/export", "posix"),
        ("overlay", "overlay", "posix"),
        ("fuse.sshfs", "host:", "posix"),
        ("fuse.s3fs", "bucket", "object"),
        ("fuse.gcsfuse", "bucket", "object"),
        ("fuse.mountpoint-s3", "mountpoint-s3", "object"),
        ("fuse.rclone", "remote:", "object"),
        ("fuse.hf-mount", "hf-mount", "object"),
        ("nfs", "hf-mount:/", "object"),
    ],
)
def test_kinds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, source: str, expected: Literal["posix", "object"]
) -> None:
    """A bucket that is mounted by FUSE or NFS is recognized by the mount's type and source."""
    volume = tmp_path / "volume"
    table(monkeypatch, tmp_path, ROOT, line(volume, kind, source))
    assert kind_of(volume) == expected
    assert kind_of(volume / "deep" / "below") == expected
    assert kind_of(tmp_path / "volume-2") == "posix"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("ext4", True),
        ("xfs", True),
        ("btrfs", True),
        ("overlay", True),
        ("nfs4", False),
        ("cifs", False),
        ("ceph", False),
        ("virtiofs", False),
        ("9p", False),
        ("fuse.sshfs", False),
        ("fuseblk", False),
        ("what nobody knows", False),
    ],
)
def test_which_locks_all_writers_see(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, expected: bool) -> None:
    """Only of file systems of one machine is it known that every writer sees a lock, and what was written before it."""
    volume = tmp_path / "volume"
    table(monkeypatch, tmp_path, ROOT, line(volume, kind.replace(" ", "-")))
    assert has_one_kernel(volume / "below") == expected
    monkeypatch.setattr(mounts, "_TABLE", tmp_path / "missing")
    assert not has_one_kernel(volume)


@pytest.mark.parametrize("name", ["with space", "tab\there", "back\\slash", "ü", "line\nfeed"])
def test_escaped_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    """Spaces and other characters that the table escapes are understood in a path."""
    table(monkeypatch, tmp_path, ROOT, line(tmp_path / name, "fuse.s3fs"))
    assert kind_of(tmp_path / name) == "object"


def test_the_innermost_mount_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The innermost mount of a path counts, in whatever order the table lists them."""
    lines = [line(tmp_path / "a", "fuse.s3fs"), line(tmp_path / "a" / "b", "ext4"), ROOT]
    for ordered in (lines, lines[::-1]):
        table(monkeypatch, tmp_path, *ordered)
        assert kind_of(tmp_path / "a" / "b" / "c") == "posix"
        assert kind_of(tmp_path / "a" / "c") == "object"


def test_the_last_of_two_mounts_on_one_point(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of two mounts on one point, the last in the table counts."""
    table(monkeypatch, tmp_path, ROOT, line(tmp_path, "fuse.s3fs"), line(tmp_path, "ext4"))
    assert kind_of(tmp_path) == "posix"


def test_links_are_followed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A link counts as the mount that it leads to."""
    (tmp_path / "bucket").mkdir()
    (tmp_path / "volume").symlink_to(tmp_path / "bucket")
    table(monkeypatch, tmp_path, ROOT, line(tmp_path / "bucket", "fuse.s3fs"))
    assert kind_of(tmp_path / "volume") == "object"


def test_what_is_persistent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A mount of its own outlives the container; the container's root does not."""
    table(monkeypatch, tmp_path, ROOT, line(tmp_path / "volume", "ext4"))
    assert is_persistent(tmp_path / "volume")
    assert not is_persistent(tmp_path / "elsewhere")


@pytest.mark.parametrize("text", ["", "nonsense", "1 2 3", "36 35 98:0 / /x rw - \n", "\x00\x01", "36 35 98:0 /r / rw -"])
def test_any_table_is_accepted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    """A path whose mount cannot be read from the table counts as an ordinary volume."""
    table(monkeypatch, tmp_path, text)
    assert kind_of(tmp_path) == "posix"


def test_no_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a mount table every path counts as an ordinary volume that outlives the container."""
    monkeypatch.setattr(mounts, "_TABLE", tmp_path / "nothing")
    assert (kind_of(tmp_path), is_persistent(tmp_path)) == ("posix", True)
