"""Power cuts: what was not synced is lost, on ext4, XFS and Btrfs whose device stops at a moment; what is left is mounted again.

The file system lies in an image. What it has not written to its device at the moment of the cut is in the kernel's memory alone,
and the image is copied as it is then: the copy is the disk after the cut. A process that is only killed loses nothing of that.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

from tests.faults.test_byte_kills import SEED, check_published

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.hub_server import HubServer
    from tests.support.shelf import Miniature
    from tests.support.volume import Volume

pytestmark = pytest.mark.root


@dataclass(frozen=True)
class Kind:
    """A file system, and how it is made."""

    name: str
    size: int
    """Of its image; XFS is made with no less than 300 MiB."""
    make: tuple[str, ...]
    cuts: int
    """How many rows of random moments."""

    def __str__(self) -> str:
        return self.name


KINDS: Final = (
    Kind("ext4", 192 << 20, ("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"), 12),
    Kind("xfs", 320 << 20, ("mkfs.xfs", "-q", "-f"), 4),
    Kind("btrfs", 192 << 20, ("mkfs.btrfs", "-q", "-f"), 4),
)


class Disk:
    """A file system in an image, whose power can be cut."""

    def __init__(self, folder: Path, kind: Kind) -> None:
        """Make and mount it."""
        self._kind = kind
        self._image = folder / "disk.img"
        self.place = folder / "mounted"
        self.place.mkdir()
        with self._image.open("wb") as file:
            file.truncate(kind.size)
        _run(*kind.make, str(self._image))
        self._mount()

    def cut(self) -> None:
        """Lose what the file system has not written, and start again with the rest.

        The copy has the UUID of what it was made from, and XFS and Btrfs do not mount two of the same: one goes, then one comes.
        """
        left = self._image.with_suffix(".left")
        _run("cp", "--sparse=always", str(self._image), str(left))
        _run("umount", str(self.place))
        left.replace(self._image)
        self._mount()

    def close(self) -> None:
        """Take it away."""
        with contextlib.suppress(subprocess.CalledProcessError):
            _run("umount", str(self.place))

    def _mount(self) -> None:
        _run("mount", "-t", self._kind.name, "-o", "loop", str(self._image), str(self.place))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(params=KINDS, ids=str)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Return a kind of file system; one that cannot be made here is an error and not left out."""
    found: Kind = request.param
    return found


@pytest.fixture
def disk(tmp_path: Path, kind: Kind) -> Iterator[Disk]:
    """Return a disk."""
    disk = Disk(tmp_path, kind)
    yield disk
    disk.close()


@pytest.fixture
def on_disk(mini_volume: Volume, disk: Disk) -> Volume:
    """Return a volume on it, for the miniature collection."""
    mini_volume.root = disk.place / "volume"
    mini_volume.settings |= {"PHASE": "comprehensive", "DATASET_REPO": "none"}
    return mini_volume


def test_the_cut_is_real(disk: Disk) -> None:
    """A file that was written and not synced is gone or empty after it; one that was synced is there."""
    kept, lost = disk.place / "kept", disk.place / "lost"
    kept.write_bytes(b"kept")
    _run("sync", "-f", str(kept))
    lost.write_bytes(b"lost")
    disk.cut()
    assert kept.read_bytes() == b"kept"
    assert not lost.exists() or lost.read_bytes() != b"lost"


def test_after_the_end(on_disk: Volume, mini: Miniature, hub: HubServer, disk: Disk) -> None:
    """What a run said is there, is there after a cut at its end, and the next run asks for nothing."""
    on_disk.ready()
    disk.cut()
    assert check_published(on_disk, mini) == set(mini.collection.datasets)
    hub.log.clear()
    on_disk.ready()
    assert hub.log.entries() == ()


@pytest.mark.parametrize(
    ("kind", "part"), [pytest.param(kind, part, id=f"{kind}-{part}") for kind in KINDS for part in range(kind.cuts)]
)
def test_at_random_byte_counts(on_disk: Volume, mini: Miniature, hub: HubServer, disk: Disk, part: int) -> None:
    """What is published after the cut is whole, two cuts in a row included; the next run converges and leaves nothing over."""
    on_disk.ready()
    total = sum(entry.bytes_sent for entry in hub.log.entries())
    shutil.rmtree(on_disk.root)
    source = random.Random(f"{SEED}, cut {part}")  # noqa: S311 - the same moments for the same seed
    for turn in range(2):
        hub.quota.hold_after(source.randrange(total // 10, total))
        process = on_disk.start()
        reached = hub.quota.wait_reached(process.ended)
        # The second may have so much already that it ends before: then what it finished is cut.
        assert reached or turn
        if reached:
            process.end()
        disk.cut()
        hub.quota.lift()
        check_published(on_disk, mini)
    on_disk.ready()
    assert check_published(on_disk, mini) == set(mini.collection.datasets)
    assert on_disk.staged() == []
