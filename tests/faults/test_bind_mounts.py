"""One device that is mounted in several places, as in a container: no hard link can lead from one mount to another."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.direct_calls import ready
from tests.support.shelf import some_files
from tests.support.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf

SONGS: Final = some_files("songs", 100_000)


@pytest.fixture(params=["ro", "rw"])
def mounted(request: pytest.FixtureRequest, shelf: Shelf, volume: Volume, hub: HubServer, tmp_path: Path) -> Iterator[Volume]:
    """Return a filled volume as seen through a separate mount, read-only or not."""
    shelf.add("songs", shelf.file("songs.tar.gz", SONGS))
    original = Volume(tmp_path / "original", volume.settings, hub)
    ready(original)
    point = tmp_path / "mounted"
    point.mkdir()
    if subprocess.run(["mount", "--bind", str(original.root), str(point)], check=False).returncode:
        pytest.skip("only root can mount")
    try:
        subprocess.run(["mount", "-o", f"remount,{request.param},bind", str(point)], check=True)
        assert point.stat().st_dev == tmp_path.stat().st_dev
        hub.log.clear()
        yield Volume(point, volume.settings, hub)
    finally:
        subprocess.run(["umount", str(point)], check=True)


def test_a_peer(mounted: Volume, volume: Volume, hub: HubServer) -> None:
    """The peer is used: its files are copied, and nothing on it is changed."""
    before = mounted.snapshot()
    ready(volume, PEERS=str(mounted.root))
    volume.check("songs", SONGS)
    assert hub.log.entries("*songs.tar.gz") == ()
    assert mounted.snapshot() == before


def test_an_export_from_it(mounted: Volume, tmp_path: Path) -> None:
    """The volume is exported as copies, for which there must be space; nothing on it is changed."""
    before = mounted.snapshot()
    copy = Volume(tmp_path / "export", mounted.settings)
    result = ready(mounted, "export", str(copy.root))
    copy.check("songs", SONGS)
    assert result.document is not None
    assert result.document["versions"][0]["how"] == "copied"
    assert mounted.snapshot() == before


@pytest.mark.parametrize("mounted", ["rw"], indirect=True)
def test_an_export_to_it(mounted: Volume, volume: Volume) -> None:
    """The volume is exported as copies, and the modes of its files stay as they were."""
    ready(volume)
    before = volume.snapshot()
    target = Volume(mounted.root / "export", volume.settings)
    result = ready(volume, "export", str(target.root))
    target.check("songs", SONGS)
    assert result.document is not None
    assert result.document["versions"][0]["how"] == "copied"
    assert volume.snapshot() == before
