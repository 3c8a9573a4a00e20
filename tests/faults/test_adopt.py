"""``adopt``: archives from a browser, other tools' caches, and trees that an older tool unpacked, used by digest alone."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest

from provisioner.errors import NotFoundError, RemoteUnavailableError, UsageError
from provisioner.volume.staging.hashing import hash_file
from tests.support.direct_calls import call, ready
from tests.support.miniature import gzip_bytes, pack_tar
from tests.support.shelf import some_files
from tests.support.volume import Volume

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.faults import Kind
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


@pytest.mark.parametrize("unpack", ["tar", "tar.gz", "none"])
def test_a_file_that_changes_while_it_is_hashed(  # noqa: PLR0917
    shelf: Shelf, volume: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, unpack: str
) -> None:
    """What is used is what was hashed: of bytes that change behind the hash nothing is published, and the source is asked."""
    content = gzip_bytes(pack_tar(SONGS)) if unpack == "tar.gz" else pack_tar(SONGS)
    shelf.add("songs", shelf.raw("songs.bin", content, unpack=unpack))
    path = tmp_path / "songs.bin"
    path.write_bytes(content)
    changes: list[int] = []

    def hash_and_change(file: Path, *more: Any) -> tuple[bool, str]:
        result = hash_file(file, *more)
        if file == path:
            changes.append(content.index(SONGS["songs/data/noise.bin"][:64]) if unpack != "tar.gz" else len(content) // 2)
            path.write_bytes(content[: changes[0]] + b"changed" + content[changes[0] + 7 :])
        return result

    monkeypatch.setattr("provisioner.volume.staging.local_copies.hash_file", hash_and_change)
    ready(volume, "adopt", "songs", str(path))
    assert len(changes) == 1
    volume.check("songs", {"songs.bin": content} if unpack == "none" else SONGS)
    assert any(f"{path} cannot be used any more" in record.getMessage() for record in caplog.records)


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


# --- a tree and the index of its zip ----------------------------------------------------------------------------------------


@dataclass
class Unpacked:
    """A zip on a server, and a tree that another tool unpacked of it."""

    volume: Volume
    hub: HubServer
    tree: Path
    size: int

    def sent(self) -> int:
        """Return how many bytes of the archive were sent since the log was cleared."""
        return sum(entry.bytes_sent for entry in self.hub.log.entries("*songs.zip"))

    @property
    def proof(self) -> str:
        """What the version was verified against."""
        return str(json.loads(self.volume.current_receipt("songs").read_bytes())["verified_against"])


@pytest.fixture
def unpacked(shelf: Shelf, volume: Volume, hub: HubServer, tmp_path: Path) -> Unpacked:
    """Return a zip of 2 MB on a server, and its files in a directory."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.mkdir("songs/empty")
        for number, (name, data) in enumerate(ZIPPED.items()):
            archive.writestr(name, data, zipfile.ZIP_DEFLATED if number % 2 else zipfile.ZIP_STORED)
    for name, data in ZIPPED.items():
        path = tmp_path / "old" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    shelf.add("songs", shelf.raw("songs.zip", content.getvalue(), unpack="zip", into="here"))
    return Unpacked(volume, hub, tmp_path / "old", len(content.getvalue()))


ZIPPED: Final = some_files("songs", 2_000_000) | {f"songs/{number}.txt": f"{number}\n".encode() for number in range(9)}
PLACED: Final = {f"here/{name}": content for name, content in ZIPPED.items()}


def test_a_tree_is_compared_with_the_index_of_its_zip(unpacked: Unpacked, tmp_path: Path) -> None:
    """Its files are used, a fraction of the archive is fetched, and the tree is what the archive would have become."""
    volume = unpacked.volume
    ready(volume, "adopt", "songs", str(unpacked.tree))
    volume.check("songs", PLACED)
    assert unpacked.proof == volume.status["datasets"]["songs"]["verified_against"] == "archive"
    assert 0 < unpacked.sent() < unpacked.size / 3
    other = Volume(tmp_path / "other", volume.settings, unpacked.hub)
    ready(other, DATASETS="songs")
    ours, theirs = (next(each.records("manifests", "songs").glob("*.sha256")).read_bytes() for each in (volume, other))
    assert ours == theirs
    assert (volume.tree("songs") / "here/songs/empty").is_dir()
    assert (unpacked.tree / "songs/README").stat().st_nlink == 1
    # It is repaired from the archive, and is then proven.
    damaged = volume.tree("songs") / "here/songs/3.txt"
    damaged.write_bytes(b"x\n")
    unpacked.hub.log.clear()
    ready(volume, "repair", "songs")
    assert unpacked.sent() >= unpacked.size
    assert unpacked.proof == "catalog"
    volume.check("songs", PLACED)


@pytest.mark.parametrize("wrong", ["a flipped byte", "another size", "a missing file", "SEARCH_DIRS alone"])
def test_a_tree_that_is_not_what_the_zip_holds(unpacked: Unpacked, wrong: str) -> None:
    """No file is believed for its name: the archive is fetched, and the version is proven by its digest."""
    path = unpacked.tree / "songs/3.txt"
    if wrong == "a flipped byte":
        path.write_bytes(b"4\n")
    elif wrong == "another size":
        path.write_bytes(b"3")
    elif wrong == "a missing file":
        path.unlink()
    if wrong == "SEARCH_DIRS alone":
        ready(unpacked.volume, DATASETS="songs", SEARCH_DIRS=str(unpacked.tree))
    else:
        ready(unpacked.volume, "adopt", "songs", str(unpacked.tree))
    unpacked.volume.check("songs", PLACED)
    assert unpacked.proof == "catalog"


@pytest.mark.parametrize("fault", ["ignore_range", "status", "close", "flip"])
def test_an_index_that_does_not_come(unpacked: Unpacked, fault: Kind) -> None:
    """A server that sends no ranges, fails, or sends a damaged index costs a line; the archive is fetched."""
    settings: dict[str, Any] = {"status": {"status": 404}, "close": {"after": 10}, "flip": {"offset": unpacked.size - 60}}.get(
        fault, {}
    )
    rule = unpacked.hub.faults.add(fault, path="*songs.zip", first=1, **settings)
    ready(unpacked.volume, "adopt", "songs", str(unpacked.tree))
    assert rule.fired
    unpacked.volume.check("songs", PLACED)


def test_nobody_else_takes_such_a_tree_for_the_archive(unpacked: Unpacked, shelf: Shelf) -> None:
    """Another data set of the same archive fetches it: that the tree is what it holds, only a CRC-32 has said."""
    ready(unpacked.volume, "adopt", "songs", str(unpacked.tree))
    (entry,) = shelf.document["datasets"]["songs"]["sources"][0]["files"]
    shelf.add("more", entry, shelf.raw("plain.bin", b"plain"))
    unpacked.hub.log.clear()
    ready(unpacked.volume, DATASETS="more")
    assert unpacked.sent() >= unpacked.size
    unpacked.volume.check("more", PLACED | {"plain.bin": b"plain"})


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
