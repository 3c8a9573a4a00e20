"""What ``serve`` lets other volumes take: published versions, as a static web server would send them, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from provisioner.catalog.model import Catalog
from provisioner.redaction import Redactor
from provisioner.reporting.observation import Observation
from provisioner.volume.store.layout import VolumeLayout
from provisioner.volume.store.store import Store
from provisioner.web.application import make_application
from provisioner.web.feed import Feed
from provisioner.web.sharing import Sharing
from tests.support.direct_calls import ready
from tests.support.page import PageClient, free_port
from tests.support.program import wait_until
from tests.support.shelf import some_files
from tests.support.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf

SONGS: Final = some_files("songs", 600_000)


@pytest.fixture
def filled(shelf: Shelf, volume: Volume) -> Volume:
    """Return a volume with songs."""
    shelf.add("songs", shelf.file("songs.tar.gz", SONGS))
    ready(volume)
    return volume


@pytest.fixture
def client(filled: Volume) -> Iterator[TestClient]:
    """Return a client of a server that shares the volume."""
    store = Store(VolumeLayout(filled.root), "link", program_version="0", check_cancelled=lambda: None)
    feed = Feed(lambda: Observation(None), Catalog({}, {}), Redactor())
    with TestClient(make_application(feed, sharing=Sharing(store)), base_url="http://localhost:7860") as client:
        yield client


def test_what_is_sent(filled: Volume, client: TestClient) -> None:
    """Records and files are sent as they are, a range of one as well, with a validator, and as nothing that a browser shows."""
    version = filled.version("songs")
    for path in (f"receipts/songs/{version}.json", f"manifests/songs/{version}.json", f"manifests/songs/{version}.sha256"):
        assert client.get(f"/.provisioner/{path}").content == (filled.private / path).read_bytes()
    url, content = f"/.provisioner/store/songs/{version}/songs/data/noise.bin", SONGS["songs/data/noise.bin"]
    answer = client.get(url)
    assert answer.content == content
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == "attachment"
    part = client.get(url, headers={"Range": "bytes=5-9", "If-Range": answer.headers["etag"]})
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, content[5:10], f"bytes 5-9/{len(content)}")
    assert client.get(url, headers={"Range": "bytes=599999-"}).content == content[-1:]
    assert client.get(url, headers={"Range": "bytes=600000-"}).status_code == 416
    assert client.get(url, headers={"Range": "bytes=5-9", "If-Range": '"other"'}).content == content
    head = client.head(url)
    assert (head.content, head.headers["content-length"]) == (b"", str(len(content)))
    assert client.post(url).status_code == 405


def test_all_files_one_after_the_other(filled: Volume, client: TestClient, tmp_path: Path) -> None:
    """All files of a version are sent as one, in the order of its manifest; what is wrong in the tree ends the response early."""
    version = filled.version("songs")
    url, content = f"/.provisioner/store/songs/{version}.files", b"".join(SONGS[name] for name in sorted(SONGS))
    whole = client.get(url)
    assert whole.content == content
    for start, end in ((0, 1), (3, len(content) - 3), (5, 9), (6, len(content))):
        part = client.get(url, headers={"Range": f"bytes={start}-{end - 1}", "If-Range": whole.headers["etag"]})
        assert (part.status_code, part.content) == (206, content[start:end])
    assert client.head(url).headers["content-length"] == str(len(content))
    tree = filled.private / "store/songs" / version
    (tmp_path / "secret").write_bytes(SONGS["songs/data/noise.bin"])
    (tree / "songs/data/noise.bin").unlink()
    (tree / "songs/data/noise.bin").symlink_to(tmp_path / "secret")
    assert client.get(url).content == SONGS["songs/README"]
    (tree / "songs/README").unlink()
    assert client.get(url).content == b""
    for wrong in (f"songs/{'0' * 16}.files", "songs/x.files", f"../songs/{version}.files", f"other/{version}.files"):
        assert client.get(httpx_url(f".provisioner/store/{wrong}")).status_code == 404


@pytest.mark.parametrize("name", ["a?b#c", "a%20b", "a b", "%3F", "100%", "a+b&c=d", "\u00fc.txt"])
def test_names_that_mean_something_in_a_url(filled: Volume, client: TestClient, name: str) -> None:
    """Each file is sent under its own name, never one whose name is only the beginning of it."""
    tree = filled.private / "store/songs" / filled.version("songs")
    for each in ("a", "a b", name):
        (tree / each).write_bytes(each.encode())
    url = f"/.provisioner/store/songs/{filled.version('songs')}"
    assert client.get(f"{url}/{quote(name)}").content == name.encode()
    assert client.get(f"{url}/{quote(name)}?x=y").content == name.encode()


def test_what_is_not_sent(filled: Volume, client: TestClient, tmp_path: Path) -> None:
    """Nothing outside of versions with a receipt: no lock, no staging, no status, nothing above, nothing behind a link."""
    version = filled.version("songs")
    (tmp_path / "secret").write_bytes(b"secret")
    tree = filled.private / "store/songs" / version
    (tree / "link").symlink_to(tmp_path / "secret")
    (tree / "directory").symlink_to(tmp_path)
    (filled.private / "staging").mkdir(exist_ok=True)
    (filled.private / "staging" / "staged").write_bytes(b"staged")
    (filled.private / "store/songs" / ("0" * 16)).mkdir()
    (filled.private / "store/songs" / ("0" * 16) / "partial").write_bytes(b"partial")
    (filled.private / "current").write_bytes(b"of no data set")
    store = f".provisioner/store/songs/{version}"
    for path in (
        ".provisioner/lock",
        ".provisioner/staging/staged",
        ".provisioner/repository.json",
        ".provisioner/last-run.json",
        "dataset_status.json",
        "provision.env",
        "datasets/songs/songs/README",  # it is a link, and the tree is elsewhere
        f".provisioner/manifests/songs/{version}.origin",
        f".provisioner/store/songs/{'0' * 16}/partial",
        store,
        f"{store}/",
        f"{store}/songs",
        f"{store}/link",
        f"{store}/directory/secret",
        f"{store}/nothing",
        f"{store}/../../../lock",
        f"{store}/%2e%2e/%2e%2e/%2e%2e/lock",
        f"{store}/songs//README",
        f"{store}/%00",
        f".provisioner/store/../store/songs/{version}/songs/README",
        f".provisioner/store/%2e%2e/songs/{version}/songs/README",
        f".provisioner/receipts/songs/../songs/{version}.json",
        ".provisioner/receipts/../lock/current",
        ".provisioner/receipts/%2e%2e/current",
        ".provisioner/receipts/a%00b/current",
        "datasets/../dataset_status.json",
        "datasets/%2e%2e/x/y",
    ):
        answer = client.get(httpx_url(path))
        assert answer.status_code == 404, path
        assert answer.content in {b"no version with a receipt has such a file\n", b"Not Found"}, path


def httpx_url(path: str) -> str:
    """Return a URL whose dots the client leaves alone."""
    return "http://localhost:7860/" + path.replace("../", "%2e%2e/")


@pytest.mark.parametrize("publish", ["link", "dir"])
def test_a_volume_is_filled_from_serve(filled: Volume, hub: HubServer, tmp_path: Path, publish: str) -> None:
    """``serve`` is a peer; with --no-share it is none."""
    if publish == "dir":
        ready(filled, PUBLISH="dir")
        filled = Volume(tmp_path / "other", filled.settings | {"PUBLISH": "dir"}, hub)
        ready(filled)
    port = free_port()
    serving = filled.start("serve", "--port", str(port))
    wait_until(PageClient(port).is_up, "the page is up")
    hub.log.clear()
    volume = Volume(tmp_path / "new", filled.settings, hub)
    ready(volume, PEERS=f"http://127.0.0.1:{port}")
    volume.check("songs", SONGS)
    assert hub.log.entries() == ()
    serving.end()


@pytest.mark.parametrize("how", ["--no-share", "a Space"])
def test_nothing_is_shared(filled: Volume, how: str) -> None:
    """In a Space everybody reaches the page: there, and with --no-share, no version can be taken."""
    port = free_port()
    words = ["--no-share"] if how == "--no-share" else []
    serving = filled.start("serve", "--port", str(port), *words, SPACE_ID="a/b" if how == "a Space" else None)
    wait_until(PageClient(port).is_up, "the page is up")
    version = filled.version("songs")
    assert PageClient(port).get(f"/.provisioner/receipts/songs/{version}.json").status == 404
    serving.end()
