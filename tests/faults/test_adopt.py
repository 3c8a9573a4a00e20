"""``adopt``: archives from a browser, other tools' caches, and trees that an older tool unpacked, used by digest alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from provisioner.errors import NotFoundError, RemoteUnavailableError, UsageError
from tests.support.direct_calls import call, ready
from tests.support.shelf import some_files
from tests.support.volume import Volume

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf

SONGS: Final = some_files("songs", 200_000)


@pytest.fixture
def archive(shelf: Shelf, volume: Volume) -> bytes:
    """Return the archive of the catalog's data set."""
    shelf.add("songs", shelf.file("songs.tar.gz", SONGS))
    del volume
    content = shelf.server.static_files["files.example.org/songs.tar.gz"]
    assert isinstance(content, bytes)
    return content


@pytest.mark.parametrize("name", ["songs.tar.gz", "songs.tar (1).gz", "blobs/0a1b2c"])
@pytest.mark.parametrize("given", ["the file", "its directory"])
def test_an_archive(archive: bytes, volume: Volume, hub: HubServer, tmp_path: Path, *, name: str, given: str) -> None:
    """It is unpacked from where it lies, whatever its name is; nothing is fetched, and it stays."""
    path = tmp_path / "downloads" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(archive)
    ready(volume, "adopt", "songs", str(path if given == "the file" else tmp_path / "downloads"), HF_HUB_OFFLINE="1")
    volume.check("songs", SONGS)
    assert hub.log.entries() == ()
    assert path.read_bytes() == archive


def test_a_small_file_that_is_named(shelf: Shelf, volume: Volume, hub: HubServer, tmp_path: Path) -> None:
    """Of small files in a directory only those with the right name are hashed; one that is named itself always is."""
    shelf.add("note", shelf.raw("note.txt", b"a note\n"))
    path = tmp_path / "note (1).txt"
    path.write_bytes(b"a note\n")
    ready(volume, "adopt", "note", str(path), HF_HUB_OFFLINE="1")
    volume.check("note", {"note.txt": b"a note\n"})
    assert hub.log.entries() == ()


def test_an_archive_that_is_wrong(archive: bytes, volume: Volume, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file with the right name and size and other bytes is not used, and that is said; what is right is fetched."""
    path = tmp_path / "songs.tar.gz"
    path.write_bytes(bytes([archive[0] ^ 1]) + archive[1:])
    with pytest.raises(RemoteUnavailableError):
        call(volume, "adopt", "songs", str(path), HF_HUB_OFFLINE="1")
    assert volume.published == []
    assert any(f"{path}: it is not songs.tar.gz" in record.getMessage() for record in caplog.records)
    ready(volume, "adopt", "songs", str(path))
    volume.check("songs", SONGS)


@pytest.mark.usefixtures("archive")
def test_a_tree_that_an_older_tool_unpacked(volume: Volume, hub: HubServer, tmp_path: Path) -> None:
    """Its files are compared with the manifest of a peer: what is right is used, and the peer sends the rest."""
    peer = Volume(tmp_path / "sites" / "peer.example.org", volume.settings, hub)
    ready(peer)
    hub.add_archives(tmp_path / "sites")
    for name, content in SONGS.items():
        path = tmp_path / "old" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"changed" if name.endswith("README") else content)
    hub.log.clear()
    ready(volume, "adopt", "songs", str(tmp_path / "old"), PEERS=f"{hub.static_url}/peer.example.org")
    volume.check("songs", SONGS)
    assert [entry.path.rpartition("/")[2] for entry in hub.log.entries("*/store/*")] == ["README"]
    assert hub.log.entries("*files.example.org*") == ()


@pytest.mark.parametrize(
    ("words", "error"),
    [(("songs", "/nowhere"), NotFoundError), (("a b", "."), UsageError)],
)
@pytest.mark.usefixtures("archive")
def test_refusals(volume: Volume, words: tuple[str, ...], error: type[Exception]) -> None:
    """A path that is not there and a name that is none are refused before anything is done."""
    with pytest.raises(error):
        call(volume, "adopt", *words)
    assert not volume.root.exists()
