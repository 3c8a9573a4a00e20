"""Peers: a volume that is filled from another one, and peers that lie, lack what is asked for, are slow, or die."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest

from provisioner.errors import RemoteUnavailableError
from provisioner.volume.store.tree_check import is_right
from tests.support.direct_calls import call, ready
from tests.support.media import noise
from tests.support.miniature import gzip_bytes
from tests.support.page import PageClient, free_port
from tests.support.program import wait_until
from tests.support.shelf import some_files
from tests.support.tar_members import packed
from tests.support.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from provisioner.volume.store.entry import Entry
    from provisioner.volume.tree.reader import TreeReader
    from tests.support.faults import Kind
    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf

SONGS: Final = some_files("songs", 200_000) | {f"songs/{number}.txt": f"{number}\n".encode() for number in range(8)}
LARGE: Final = noise("large", 300_000)
REPOSITORY: Final = {"README.md": b"---\nlicense: cc-by-4.0\n---\n", "a.csv": b"x\n1\n"}
SOURCES: Final = "*files.example.org*"


@dataclass
class Site:
    """Two volumes: one that was filled from the sources, and an empty one."""

    peer: Volume
    volume: Volume
    hub: HubServer

    @property
    def address(self) -> str:
        """Where a static web server has the first."""
        return f"{self.hub.static_url}/{self.peer.root.name}"

    @property
    def manifest(self) -> Path:
        """The peer's manifest of the songs."""
        return self.file("manifests", "json")

    @property
    def receipt(self) -> Path:
        """The peer's receipt of the songs."""
        return self.file("receipts", "json")

    def file(self, kind: str, suffix: str) -> Path:
        """Return one of the peer's records of the songs."""
        return next(self.peer.records(kind, "songs").glob(f"*.{suffix}"))

    def from_sources(self) -> int:
        """Return how many requests the sources got since the log was cleared."""
        return len(self.hub.log.entries(SOURCES)) + len(self.hub.log.entries("/api/*")) + len(self.hub.log.entries("*/resolve/*"))

    def check(self) -> None:
        """Compare what the volume has of the songs with what it must be."""
        self.volume.check("songs", SONGS)
        ready(self.volume, "verify", "--deep")

    def again(self) -> None:
        """Begin anew: the peer as it was filled, an empty volume, an empty log."""
        pristine = self.peer.root.parents[1] / "pristine"
        if not pristine.exists():
            shutil.copytree(self.peer.root, pristine, symlinks=True)
        shutil.rmtree(self.peer.root)
        shutil.copytree(pristine, self.peer.root, symlinks=True)
        shutil.rmtree(self.volume.root, ignore_errors=True)
        self.hub.faults.clear()
        self.hub.log.clear()

    def check_from_source(self) -> None:
        """Show that the songs are right, and came from their source."""
        self.volume.check("songs", SONGS)
        assert (len(self.hub.log.entries("*songs.tar.gz")), self.proof) == (1, "catalog")

    @property
    def proof(self) -> str:
        """What the songs were verified against."""
        return str(json.loads(self.volume.current_receipt("songs").read_bytes())["verified_against"])


@pytest.fixture
def site(shelf: Shelf, volume: Volume, hub: HubServer, tmp_path: Path) -> Site:
    """Return a volume with songs that can be taken from it, and an empty volume for the same catalog."""
    shelf.add("songs", shelf.file("songs.tar.gz", SONGS))
    volume.settings["DATASETS"] = "songs"
    peer = Volume(tmp_path / "sites" / "peer.example.org", volume.settings, hub)
    ready(peer)
    hub.add_archives(tmp_path / "sites")
    hub.log.clear()
    return Site(peer, volume, hub)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was warned of."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# --- what is there ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["directory", "web", "file"])
def test_a_version_is_taken_from_a_peer(site: Site, kind: str) -> None:
    """The tree is the peer's, each file was hashed, no source was asked, and the receipt says what it was verified against."""
    peers = {"directory": str(site.peer.root), "web": site.address, "file": site.peer.root.as_uri()}
    ready(site.volume, PEERS=peers[kind])
    site.check()
    assert site.from_sources() == 0
    assert site.proof == "peer"
    assert site.volume.status["datasets"]["songs"]["source"] == site.peer.status["datasets"]["songs"]["source"]
    ours = next(site.volume.records("manifests", "songs").glob("*.json"))
    assert ours.read_bytes() == site.manifest.read_bytes()
    assert site.volume.staged() == []
    before = site.volume.snapshot()
    ready(site.volume, PEERS=peers[kind])
    assert site.volume.snapshot() == before


def test_a_directory_on_the_same_device_is_linked(site: Site) -> None:
    """Where bytes can be shared they are; a copy of a file costs the device nothing, and neither side can change the other's."""
    ready(site.volume, PEERS=str(site.peer.root))
    one, other = (each.tree("songs") / "songs/data/noise.bin" for each in (site.peer, site.volume))
    if one.samefile(other):
        assert not one.stat().st_mode & 0o222
    site.peer.tree("songs").unlink()
    shutil.rmtree(site.peer.private)
    site.check()


def test_a_directory_on_another_device_is_copied(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without links each file is read once, hashed on its way, and nothing of the peer is changed."""
    monkeypatch.setattr("provisioner.engine.reuse.is_linkable", lambda _one, _other: False)
    before = site.peer.snapshot()
    ready(site.volume, PEERS=str(site.peer.root))
    site.check()
    assert site.peer.snapshot() == before
    assert (site.volume.tree("songs") / "songs/README").stat().st_nlink == 1


@pytest.mark.parametrize("kind", ["directory", "web"])
def test_what_else_is_in_a_tree(shelf: Shelf, site: Site, kind: str) -> None:
    """Links, empty directories, programs, names that are no UTF-8 and repeated files are the same on both volumes."""
    with_names = packed(("odd/readme", b"text"), ("odd/again", b"text"), ("odd/link", "readme"), ("odd/a b?#%.txt", b"1"))
    shelf.add("odd", shelf.raw("odd.tar.gz", gzip_bytes(with_names), unpack="tar.gz"))
    for each in (site.peer, site.volume):
        each.settings["DATASETS"] = "odd"
    ready(site.peer)
    site.hub.log.clear()
    ready(site.volume, PEERS=site.address if kind == "web" else str(site.peer.root))
    assert site.from_sources() == 0
    assert os.readlink(site.volume.tree("odd") / "odd/link") == "readme"
    assert (site.volume.tree("odd") / "odd/a b?#%.txt").read_bytes() == b"1"
    ready(site.volume, "verify", "--deep")


def test_a_peer_that_published_directories(site: Site, tmp_path: Path) -> None:
    """A peer without links has the tree at the published name; a web server finds it there."""
    peer = Volume(tmp_path / "sites" / "plain.example.org", site.peer.settings, site.hub)
    ready(peer, PUBLISH="dir")
    assert not peer.tree("songs").is_symlink()
    site.hub.log.clear()
    ready(site.volume, PEERS=f"{site.hub.static_url}/{peer.root.name}")
    site.check()
    assert site.from_sources() == 0


def test_a_branch_is_what_the_peer_had(shelf: Shelf, site: Site) -> None:
    """Of a repository's branch the peer's version is taken, although the branch has moved: the Hub is not asked."""
    repo = site.hub.hub.add_repo("ann/table", REPOSITORY)
    shelf.add("table", sources=[{"kind": "hub", "repo": "ann/table", "revision": "main"}])
    for each in (site.peer, site.volume):
        each.settings["DATASETS"] = "table"
    ready(site.peer)
    repo.commit({"a.csv": b"x\n2\n"}, message="another row")
    site.hub.log.clear()
    ready(site.volume, PEERS=site.address)
    site.volume.check("table", REPOSITORY)
    assert site.from_sources() == 0


@pytest.mark.parametrize("kind", ["directory", "serve", "export"])
def test_a_later_state_that_a_peer_has(shelf: Shelf, site: Site, kind: str, tmp_path: Path) -> None:
    """What a peer has published of a branch is taken, also where it is a later state that only its list of versions names."""
    repo = site.hub.hub.add_repo("ann/table", REPOSITORY)
    shelf.add("table", sources=[{"kind": "hub", "repo": "ann/table", "revision": "main"}])
    for each in (site.peer, site.volume):
        each.settings["DATASETS"] = "table"
    ready(site.peer)
    first_version = site.peer.version("table")
    repo.commit({"a.csv": b"x\n2\n"}, message="another row")
    ready(site.peer, UPDATE="auto")
    assert site.peer.version("table") != first_version
    address = str(site.peer.root)
    if kind == "export":
        ready(site.peer, "export", str(tmp_path / "sites" / "export.example.org"))
        address = f"{site.hub.static_url}/export.example.org"
    elif kind == "serve":
        port = free_port()
        site.peer.start("serve", "--port", str(port))
        wait_until(PageClient(port).is_up, "the page is up")
        address = f"http://127.0.0.1:{port}"
    site.hub.log.clear()
    ready(site.volume, PEERS=address)
    site.volume.check("table", REPOSITORY | {"a.csv": b"x\n2\n"})
    assert site.volume.version("table") == first_version  # its own name for what satisfies the recipe
    assert site.from_sources() == 0
    before = site.volume.snapshot()
    ready(site.volume)
    assert site.volume.snapshot() == before
    site.peer.close()


def test_only_the_peers_are_needed(site: Site) -> None:
    """Without any network a directory is enough, and with HF_HUB_OFFLINE no peer behind HTTP is asked."""
    settings = {"URL_REWRITE": "https://files.example.org=http://127.0.0.1:9", "HF_ENDPOINT": "http://127.0.0.1:9"}
    with pytest.raises(RemoteUnavailableError):
        call(site.volume, **settings, PEERS=site.address, HF_HUB_OFFLINE="1")
    assert site.hub.log.entries() == ()
    ready(site.volume, **settings, PEERS=f"{site.address};{site.peer.root}", HF_HUB_OFFLINE="1")
    site.check()
    assert site.hub.log.entries() == ()


def test_several_peers_share_the_load(site: Site, tmp_path: Path) -> None:
    """Files come from both peers, each once."""
    shutil.copytree(site.peer.root, tmp_path / "sites" / "second.example.org", symlinks=True)
    ready(site.volume, PEERS=f"{site.address};{site.hub.static_url}/second.example.org", CONNECTIONS="2")
    site.check()
    counts = [len(site.hub.log.entries(f"*/{name}.example.org/.provisioner/store/*")) for name in ("peer", "second")]
    assert sum(counts) == len(SONGS)
    assert min(counts) >= 2, counts


def test_files_of_another_version_are_linked(shelf: Shelf, site: Site) -> None:
    """What a version on the volume has at the same path is not fetched from the peer again."""
    ready(site.volume)
    changed = SONGS | {"songs/README": b"another text\n"}
    shelf.document["phases"]["minimal"]["datasets"].clear()
    shelf.add("songs", shelf.file("songs-2.tar.gz", changed))
    ready(site.peer)
    site.hub.log.clear()
    ready(site.volume, PEERS=site.address)
    site.volume.check("songs", changed)
    assert [entry.path.rpartition("/")[2] for entry in site.hub.log.entries("*/store/*")] == ["README"]


def test_repair_takes_a_file_from_a_peer(site: Site) -> None:
    """One damaged file costs one request to a peer with the same manifest, and the version is as proven as before."""
    ready(site.volume)
    (site.volume.tree("songs") / "songs/README").write_bytes(b"wrong\n")
    site.hub.log.clear()
    ready(site.volume, "repair", PEERS=site.address)
    site.check()
    assert site.from_sources() == 0
    assert [entry.path.rpartition("/")[2] for entry in site.hub.log.entries("*/store/*")] == ["README"]
    assert site.proof == "catalog"


def test_a_peers_word_is_not_believed_for_another_recipe(shelf: Shelf, site: Site) -> None:
    """A version that is the same archive in another directory is fetched: what the archive holds, only the peer has said."""
    ready(site.volume, PEERS=str(site.peer.root))
    archive = site.hub.static_files["files.example.org/songs.tar.gz"]
    assert isinstance(archive, bytes)
    shelf.add("more", shelf.raw("songs.tar.gz", archive, unpack="tar.gz"), shelf.raw("plain.bin", b"plain"))
    site.hub.log.clear()
    ready(site.volume, DATASETS="more")
    assert len(site.hub.log.entries("*songs.tar.gz")) == 1


# --- peers that lie -----------------------------------------------------------------------------------------------------------


def rewritten(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a record, one entry a line, as the program writes it."""
    document = json.loads(path.read_bytes())
    change(document)
    entries = document.pop("entries", None)
    if entries is None:
        path.write_text(json.dumps(document))
        return
    files = [entry for entry in entries if entry["kind"] == "file"]
    document |= {"files": len(files), "bytes": sum(entry["size"] for entry in files)}
    head = json.dumps(document, separators=(",", ":"))[:-1]
    lines = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in entries)
    path.write_text(f'{head},"entries":[\n' + (f"{lines}\n" if entries else "") + "]}\n")


def first(document: dict[str, Any]) -> dict[str, Any]:
    """Return the first entry of a manifest."""
    entry: dict[str, Any] = document["entries"][0]
    return entry


def add_entry(document: dict[str, Any], **entry: Any) -> None:
    """Add an entry to a manifest, in its place."""
    document["entries"] = sorted([*document["entries"], entry], key=lambda each: each["path"].encode())


MANIFESTS: Final[dict[str, tuple[Callable[[dict[str, Any]], object], str]]] = {
    "a path out of the tree": (lambda found: first(found).update(path="../x"), "is not relative and plain"),
    "an absolute path": (lambda found: first(found).update(path="/etc/x"), "is not relative and plain"),
    "a path with NUL": (lambda found: first(found).update(path="a\0b"), "is no name"),
    "a path twice": (lambda found: found["entries"].append(dict(found["entries"][-1])), "path twice"),
    "a link that leaves": (lambda found: add_entry(found, path="a", kind="link", target="../../x"), "out of its directory"),
    "an absolute link": (lambda found: add_entry(found, path="a", kind="link", target="/etc"), "absolute path"),
    "a file below a link": (
        lambda found: add_entry(found, path="songs", kind="link", target="."),
        "below 'songs', which is a link",
    ),
    "a path without end": (lambda found: first(found).update(path="a/" * 4_000 + "x"), "more than 4,095"),
    "a link without end": (
        lambda found: add_entry(found, path="a", kind="link", target="x/" * 4_000),
        "more than 4,095",
    ),
    "lists in lists": (lambda found: found.update(artifacts=[[]] * 200), "its first line holds more"),
    "a line without end": (lambda found: first(found).update(more="x" * 200_000), "a line of more than"),
    "another size": (lambda found: first(found).update(size=10**12), "another number of files or bytes"),
    "a file less": (lambda found: found["entries"].pop(), "another number of files or bytes"),
    "no files": (lambda found: found["entries"].clear(), "another number of files or bytes"),
    "a newer schema": (lambda found: found.update(schema_version=2), "schema_version"),
}
RECEIPTS: Final[dict[str, tuple[Callable[[dict[str, Any]], object], str]]] = {
    "another source": (lambda found: found["source"].update(url="https://evil.example.org/x"), "names a source"),
    "another pin": (lambda found: found["source"].update(pin=f"sha256:{'0' * 64}"), "its receipt says"),
    "another layout": (lambda found: found.update(layout="parquet"), "another layout"),
    "a split": (lambda found: found.update(splits=["train"]), "another layout or other splits"),
    "files without number": (lambda found: found.update(files=10**4000), "another number of files than can be"),
    "a receipt of 5 MB": (lambda found: found.update(more="x" * 5_000_000), "more than 4,194,304 bytes"),
    "10 TB": (lambda found: found.update(bytes=10**13), "another number of files or bytes"),
}


@pytest.mark.parametrize("kind", ["directory", "web"])
@pytest.mark.parametrize("lies", [MANIFESTS, RECEIPTS], ids=["manifest", "receipt"])
def test_records_that_lie(
    site: Site, caplog: pytest.LogCaptureFixture, kind: str, lies: dict[str, tuple[Callable[[dict[str, Any]], object], str]]
) -> None:
    """Before a byte is fetched each lie is noticed and named in one line; the source is used."""
    # What follows the reading is the same for both kinds.
    for change, says in list(lies.values())[: None if kind == "web" else 3]:
        site.again()
        caplog.clear()
        rewritten(site.manifest if lies is MANIFESTS else site.receipt, change)
        ready(site.volume, PEERS=site.address if kind == "web" else str(site.peer.root))
        site.check_from_source()
        assert site.hub.log.entries("*/store/*") == ()
        (line,) = warnings(caplog)
        assert says in line
        assert "is not used" in line


def test_a_manifest_that_flips_with_its_file(shelf: Shelf, site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """A file whose digest the catalog states is compared with it: a manifest that agrees with a wrong file is noticed."""
    shelf.add("plain", shelf.raw("large.bin", LARGE))
    ready(site.peer, DATASETS="plain")
    tree = site.peer.tree("plain") / "large.bin"
    wrong = bytes([LARGE[0] ^ 1]) + LARGE[1:]
    tree.chmod(0o644)
    tree.write_bytes(wrong)
    manifest = next(site.peer.records("manifests", "plain").glob("*.json"))
    rewritten(manifest, lambda found: first(found).update(sha256=hashlib.sha256(wrong).hexdigest()))
    site.hub.log.clear()
    ready(site.volume, DATASETS="plain", PEERS=site.address)
    site.volume.check("plain", {"large.bin": LARGE})
    assert any("the digest that the catalog states" in line for line in warnings(caplog))
    assert len(site.hub.log.entries("*files.example.org/large.bin")) == 1


@pytest.mark.parametrize("lies", [False, True])
def test_pins_prove_what_a_peer_has(site: Site, caplog: pytest.LogCaptureFixture, tmp_path: Path, lies: bool) -> None:
    """With the manifest's digest in the pins the peer needs no trust: one that flips a file and its manifest is found out."""
    pins = str(tmp_path / "pins.yaml")
    ready(site.peer, "catalog", "pin", "--output", pins)
    if lies:
        readme = site.peer.private / "store/songs" / site.peer.version("songs") / "songs/README"
        flip(readme)
        digest = hashlib.sha256(readme.read_bytes()).hexdigest()
        entry = next(index for index, name in enumerate(sorted(SONGS)) if name == "songs/README")
        rewritten(site.manifest, lambda found: found["entries"][entry].update(sha256=digest))
    site.hub.log.clear()
    ready(site.volume, PEERS=site.address, PINS=pins)
    site.check()
    assert site.proof == "catalog"
    assert len(site.hub.log.entries("*songs.tar.gz")) == int(lies)
    assert any("the pins name" in line for line in warnings(caplog)) == lies
    before = site.volume.snapshot()
    ready(site.volume, PINS=pins)
    assert site.volume.snapshot() == before
    (site.volume.tree("songs") / "songs/README").chmod(0o644)
    (site.volume.tree("songs") / "songs/README").write_bytes(b"wrong\n")
    ready(site.volume, "repair")
    site.check()


def flip(path: Path) -> None:
    """Change one byte of a file."""
    data = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])


def lead_out(path: Path, target: str) -> None:
    """Put a link in the place of a file or directory."""
    path.unlink() if path.is_file() else shutil.rmtree(path)
    path.symlink_to(target)


TREES: Final[dict[str, Callable[[Path], object]]] = {
    "a flipped byte": lambda tree: flip(tree / "songs/data/noise.bin"),
    "a flipped byte of a small file": lambda tree: flip(tree / "songs/README"),
    "a missing file": lambda tree: (tree / "songs/3.txt").unlink(),
    "a longer file": lambda tree: (tree / "songs/README").write_bytes(b"longer" * 100),
    "a shorter file": lambda tree: (tree / "songs/README").write_bytes(b""),
    "a link for a file": lambda tree: lead_out(tree / "songs/README", "/etc/passwd"),
    "a link for a directory": lambda tree: lead_out(tree / "songs/data", "/etc"),
    "no tree": shutil.rmtree,
}


@pytest.mark.parametrize("kind", ["link", "copy", "web"])
def test_trees_that_lie(site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """A file that is not what the manifest says is noticed, whichever way it comes; the source is used."""
    if kind == "copy":
        monkeypatch.setattr("provisioner.engine.reuse.is_linkable", lambda _one, _other: False)
    for name, lie in list(TREES.items())[: 3 if kind == "copy" else None]:
        site.again()
        caplog.clear()
        lie(site.peer.private / "store/songs" / site.peer.version("songs"))
        ready(site.volume, PEERS=site.address if kind == "web" else str(site.peer.root))
        site.check_from_source()
        assert any("peer" in line for line in warnings(caplog)), name


@pytest.mark.parametrize("how", ["another file", "a copy of another file", "the same bytes"])
def test_a_file_that_changes_after_it_was_hashed(
    site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """What is taken from a directory is what was hashed there: a file that was replaced meanwhile is noticed."""
    place = site.peer.private / "store/songs" / site.peer.version("songs") / "songs/data/noise.bin"
    changes: list[bytes] = []

    def replaced(reader: TreeReader, entries: Sequence[Entry], *, check_cancelled: Callable[[], None]) -> bool:
        result = is_right(reader, entries, check_cancelled=check_cancelled)
        if entries[0].path == "songs/data/noise.bin" and not changes:
            data, facts = place.read_bytes(), place.stat()
            changes.append(data if how == "the same bytes" else bytes([data[0] ^ 1]) + data[1:])
            other = place.with_name("other")
            other.write_bytes(changes[0])
            os.utime(other, ns=(facts.st_atime_ns, facts.st_mtime_ns))
            other.replace(place)
        return result

    monkeypatch.setattr("provisioner.engine.reuse.is_right", replaced)
    if how != "another file":
        monkeypatch.setattr("provisioner.volume.fs.links._make_read_only", lambda _file: False)
        monkeypatch.setattr("provisioner.volume.fs.links._reflink", lambda *_: False)
    ready(site.volume, PEERS=str(site.peer.root))
    assert len(changes) == 1
    if how == "the same bytes":
        site.check()
        assert (site.from_sources(), site.proof) == (0, "peer")
    else:
        site.check_from_source()
        assert any("was changed in" in line for line in warnings(caplog))
        ready(site.volume, "verify", "--deep")


SERVERS: Final[dict[str, tuple[Kind, dict[str, Any]]]] = {
    "no connection": ("reset", {}),
    "errors of the server": ("status", {"status": 500}),
    "busy": ("status", {"status": 429, "headers": {"Retry-After": "3600"}}),
    "forbidden": ("status", {"status": 403}),
    "a page": ("html", {}),
    "a body that ends early": ("close", {"after": 1}),
    "a body that is reset": ("reset", {"after": 1}),
    "a wrong length": ("content_length", {"offset": 5}),
    "silence": ("stall", {"after": 1}),
    "a redirect to nowhere": ("redirect", {"location": "http://127.0.0.1:9/x"}),
}


@pytest.mark.parametrize(
    ("where", "faults"),
    [
        ("receipts/songs/*.json", set(SERVERS) - {"a wrong length"}),  # its end is told by asking for more
        ("manifests/songs/*.json", {"errors of the server", "a page", "a body that ends early", "silence"}),
        ("store/*/README", set(SERVERS)),
        ("store/*/noise.bin", {"errors of the server", "a body that ends early", "silence"}),
    ],
)
def test_servers_that_fail(
    site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, where: str, faults: set[str]
) -> None:
    """Each fault costs little time and a few lines; the source is used."""
    monkeypatch.setattr("provisioner.remote.http.connections.STALL_SECONDS", 0.2)
    monkeypatch.setattr("provisioner.engine.clients.PEER_WAIT_SECONDS", 0.01)
    for name, (kind, settings) in SERVERS.items():
        if name not in faults:
            continue
        site.again()
        caplog.clear()
        rule = site.hub.faults.add(kind, path=f"*/peer.example.org/.provisioner/{where}", **settings)
        ready(site.volume, PEERS=site.address)
        assert rule.fired, name
        site.check_from_source()
        assert warnings(caplog) or (name == "a page" and where.startswith("receipts")), name


def test_an_endless_list(site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A manifest that has more bytes than it can have is given up in the middle."""
    monkeypatch.setattr("provisioner.engine.peer_bounds._BYTES_OF_OTHERS", 100)
    monkeypatch.setattr("provisioner.engine.peer_bounds._BYTES_OF_FILE", 1)
    ready(site.volume, PEERS=site.address)
    site.check()
    assert site.proof == "catalog"
    assert any("which no record of its kind has" in line for line in warnings(caplog))


def many(count: int, kind: str, **fields: Any) -> Callable[[dict[str, Any]], object]:
    """Return what adds entries of one kind to a manifest."""
    added = [{"path": f"zz/{number:05}", "kind": kind, **fields} for number in range(count)]
    return lambda found: found["entries"].extend(added)


def more_receipts(site: Site) -> None:
    """Put very many receipts beside the one that is asked for."""
    for number in range(1_001):
        (site.receipt.parent / f"{number:016x}.json").write_bytes(b"{}")


def many_names(site: Site) -> None:
    """Put very many directories into the peer's tree."""
    for number in range(600):
        (site.peer.tree("songs").resolve() / f"{number}").mkdir()


ENDLESS: Final[dict[str, tuple[Callable[[Site], object], str]]] = {
    "files": (lambda site: rewritten(site.receipt, lambda found: found.update(files=2_000_000)), "there may be 1,000,000"),
    "bytes": (
        lambda site: rewritten(site.receipt, lambda found: found.update(bytes=10**12)),
        "more bytes than the catalog allows",
    ),
    "empty directories": (lambda site: rewritten(site.manifest, many(500, "folder")), "it has more than"),
    "links": (lambda site: rewritten(site.manifest, many(500, "link", target="x")), "it has more than"),
    "entries of files": (
        lambda site: rewritten(site.manifest, many(500, "file", size=0, sha256="0" * 64)),
        "it has more than",
    ),
    "receipts": (more_receipts, "too many receipts"),
    "a receipt": (lambda site: rewritten(site.receipt, lambda found: found.update(more="x" * 5_000_000)), "more than 4,194,304"),
    "names in the tree": (
        many_names,
        "is not what its manifest says",
    ),
}


@pytest.mark.parametrize("kind", ["directory", "web"])
def test_peers_without_end(
    shelf: Shelf, site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """However much a peer says that it has, it is left at the first number that cannot be; the source is used."""
    shelf.document["datasets"]["songs"]["unpacked_size"] = sum(map(len, SONGS.values()))
    shelf.write()
    monkeypatch.setattr("provisioner.engine.peer_bounds._OTHER_ENTRIES", 100)
    for name, (lie, says) in ENDLESS.items():
        if kind == "web" and name in {"receipts", "names in the tree"}:
            continue  # nothing is listed
        site.again()
        caplog.clear()
        lie(site)
        ready(site.volume, PEERS=site.address if kind == "web" else str(site.peer.root))
        site.check_from_source()
        (line,) = warnings(caplog)
        assert says in line, name


# --- many files by one request --------------------------------------------------------------------------------------------------


MANY: Final = {f"notes/{number:03}.txt": f"note {number}\n".encode() * (number % 5 + 1) for number in range(200)}
LAST: Final = noise("last", 2_000_000)


@pytest.fixture
def many_files(shelf: Shelf, site: Site) -> bytes:
    """Return the small files of a data set one after the other, as a peer may offer them."""
    shelf.add("notes", shelf.file("notes.tar.gz", MANY | {"notes/zz.bin": LAST}))
    for each in (site.peer, site.volume):
        each.settings["DATASETS"] = "notes"
    ready(site.peer)
    site.hub.log.clear()
    return b"".join(content for _, content in sorted(MANY.items())) + LAST


def joined(site: Site) -> Path:
    """Return where a peer behind a static server has all files of the notes one after the other."""
    return site.peer.private / f"store/notes/{site.peer.version('notes')}.files"


def check_notes(site: Site, *, fetched: int, proof: str = "peer") -> None:
    """Show that the notes are right, and how many of their files came by a request of their own."""
    site.volume.check("notes", MANY | {"notes/zz.bin": LAST})
    ready(site.volume, "verify", "--deep")
    assert len(site.hub.log.entries("*/store/notes/*/notes/*")) == fetched
    assert json.loads(site.volume.current_receipt("notes").read_bytes())["verified_against"] == proof


@pytest.mark.parametrize("kind", ["serve", "a static server with them", "a static server"])
def test_small_files_come_by_one_request(site: Site, many_files: bytes, kind: str) -> None:
    """Where a peer offers it, all small files come by one request; a static server sends each, and is asked once for more."""
    address = site.address
    if kind == "serve":
        port = free_port()
        site.peer.start("serve", "--port", str(port))
        wait_until(PageClient(port).is_up, "the page is up")
        address = f"http://127.0.0.1:{port}"
    elif kind == "a static server with them":
        joined(site).write_bytes(many_files)
    ready(site.volume, PEERS=address)
    check_notes(site, fetched={"serve": 0, "a static server": len(MANY) + 1}.get(kind, 1))
    if kind != "serve":
        assert len(site.hub.log.entries("*.files")) == 1 + (kind != "a static server")
    site.peer.close()


def test_what_is_there_is_not_fetched_with_the_others(site: Site, many_files: bytes) -> None:
    """Of files that an earlier run has staged nothing is fetched again, but for what lies between two that are needed."""
    joined(site).write_bytes(many_files)
    ready(site.volume, PEERS=site.address)
    version = site.volume.version("notes")
    staged = site.volume.private / "staging/trees/notes" / version / "tree"
    staged.parent.mkdir(parents=True)
    (site.volume.private / "store/notes" / version).rename(staged)
    for record in (site.volume.private / "receipts/notes", site.volume.private / "manifests/notes"):
        shutil.rmtree(record)
    (site.volume.root / "datasets/notes").unlink()
    for number in range(100):
        (staged / f"notes/{number:03}.txt").unlink()
    site.hub.log.clear()
    ready(site.volume, PEERS=site.address)
    check_notes(site, fetched=0)
    needed = sum(len(MANY[name]) for name in sorted(MANY)[:100])
    assert sum(entry.bytes_sent for entry in site.hub.log.entries("*.files")) == 1 + needed


@pytest.mark.parametrize(
    ("lie", "fetched", "proof"),
    [
        ("a flipped byte", 2, "peer"),
        ("all bytes", len(MANY) + 1, "peer"),
        ("a byte less", len(MANY) + 1, "peer"),
        ("a byte more", len(MANY) + 1, "peer"),
        ("it ends early", len(MANY) + 1, "peer"),
        ("errors of the server", len(MANY) + 1, "peer"),
        ("no range", len(MANY) + 1, "peer"),
    ],
)
def test_bundles_that_lie(  # noqa: PLR0917
    site: Site, many_files: bytes, monkeypatch: pytest.MonkeyPatch, lie: str, fetched: int, proof: str
) -> None:
    """What does not come right with the others is asked for by itself: each file is hashed, however it came."""
    monkeypatch.setattr("provisioner.engine.clients.PEER_WAIT_SECONDS", 0.01)
    changed = {
        "a flipped byte": many_files[:500] + bytes([many_files[500] ^ 1]) + many_files[501:],
        "all bytes": bytes(len(many_files)),
        "a byte less": many_files[:-1],
        "a byte more": many_files + b"x",
    }
    joined(site).write_bytes(changed.get(lie, many_files))
    rule = None
    if lie == "it ends early":
        rule = site.hub.faults.add("close", path="*.files", after=100)
    elif lie == "errors of the server":
        rule = site.hub.faults.add("status", path="*.files", status=500)
    elif lie == "no range":
        rule = site.hub.faults.add("ignore_range", path="*.files")
    ready(site.volume, PEERS=site.address)
    assert rule is None or rule.fired
    check_notes(site, fetched=fetched, proof=proof)


def test_one_of_two_peers_fails(site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What one peer does not deliver comes from the other; no source is asked."""
    second = tmp_path / "sites" / "second.example.org"
    shutil.copytree(site.peer.root, second, symlinks=True)
    tree = second / ".provisioner/store/songs" / site.peer.version("songs")
    for name in SONGS:
        (tree / name).unlink()
    ready(site.volume, PEERS=f"{site.address};{site.hub.static_url}/second.example.org")
    site.check()
    assert (site.from_sources(), site.proof) == (0, "peer")
    assert sum("is not asked for more of it" in line for line in warnings(caplog)) <= 1


def test_peers_that_disagree(site: Site, tmp_path: Path) -> None:
    """A peer with another manifest is not mixed with the first: the first is taken whole, or the other one."""
    second = tmp_path / "sites" / "second.example.org"
    shutil.copytree(site.peer.root, second, symlinks=True)
    (site.peer.private / "store/songs" / site.peer.version("songs") / "songs/README").unlink()
    rewritten(next((second / ".provisioner/manifests/songs").glob("*.json")), lambda found: first(found).update(executable=True))
    ready(site.volume, PEERS=f"{site.address};{site.hub.static_url}/second.example.org")
    site.check()
    assert site.from_sources() == 0


def test_a_peer_that_does_not_answer_is_asked_once(shelf: Shelf, site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """A peer that cannot be reached costs one line in a run, however many data sets there are."""
    for name in ("alpha", "beta", "gamma"):
        shelf.add(name, shelf.raw(f"{name}.bin", name.encode()))
    ready(site.volume, DATASETS="alpha,beta,gamma", PEERS="http://127.0.0.1:9")
    assert sum("is not used" in line for line in warnings(caplog)) <= 3
    assert site.volume.published == ["alpha", "beta", "gamma"]


@pytest.mark.parametrize("where", ["nowhere", "an empty directory", "a file"])
def test_a_peer_that_is_no_volume(site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture, where: str) -> None:
    """A directory that is not there, or is no volume, costs a line."""
    path = tmp_path / "other"
    path.mkdir() if where == "an empty directory" else path.write_bytes(b"") if where == "a file" else None
    ready(site.volume, PEERS=str(path))
    site.check()
    assert any("is no volume, or is not mounted" in line for line in warnings(caplog))


# --- deaths -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place",
    [
        "provisioner.engine.fetch.Fetcher._fetch_in_ranges",
        "provisioner.engine.completed_tree.complete_peer_tree",
        "provisioner.volume.store.publish.Publisher._put_in_place",
        "provisioner.volume.store.publish.Publisher._write_receipt",
    ],
)
def test_a_killed_transfer_is_continued(site: Site, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """Whenever a run dies that takes a version from a peer, nothing half is there, and the next run completes it."""
    pid = os.fork()
    if not pid:
        monkeypatch.setattr(place, lambda *_, **__: os._exit(9))
        monkeypatch.setattr("provisioner.engine.fetch.LARGE", 100_000)
        call(site.volume, PEERS=site.address, CONNECTIONS="1")
        os._exit(0)
    os.waitpid(pid, 0)
    assert site.volume.receipts("songs") == []
    assert signal.getsignal(signal.SIGTERM) is not None
    ready(site.volume, PEERS=site.address)
    site.check()
    assert site.from_sources() == 0
