"""Exports: what is in them, what a second one does, what a directory cannot hold, and deaths in the middle."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Final

import pytest

from provisioner.catalog.parse import parse_catalog
from provisioner.engine.pinning import load_pins
from provisioner.errors import (
    DamagedTreeError,
    LicenseRefusedError,
    NotFoundError,
    RemoteUnavailableError,
    UsageError,
    VolumeError,
)
from provisioner.volume.fs.abilities import Probe
from provisioner.volume.store.publish import Publisher
from tests.support.direct_calls import call, ready
from tests.support.media import noise
from tests.support.miniature import gzip_bytes
from tests.support.odd_disk import Mounted
from tests.support.shelf import some_files
from tests.support.tar_members import packed
from tests.support.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from provisioner.volume.fs.durable import WriteWatch
    from tests.support.hub_server import HubServer
    from tests.support.odd_disk import Quirk
    from tests.support.shelf import Shelf

    Mount = Callable[..., tuple[Mounted, Path]]

SONGS: Final = some_files("songs", 100_000)
TUNES: Final = {"tunes.bin": noise("tunes", 50_000)}


@pytest.fixture
def filled(shelf: Shelf, volume: Volume) -> Volume:
    """Return a volume that holds an archive's tree and a plain file."""
    shelf.add("songs", shelf.file("songs.tar.gz", SONGS))
    shelf.add("tunes", shelf.raw("tunes.bin", TUNES["tunes.bin"]))
    ready(volume)
    return volume


@pytest.fixture
def copy(filled: Volume, tmp_path: Path) -> Volume:
    """Return the directory that is exported to, as a volume."""
    return Volume(tmp_path / "export", filled.settings)


def how(volume: Volume, copy: Volume, *words: str) -> dict[str, str]:
    """Export, and return what was done with each data set."""
    document = ready(volume, "export", str(copy.root), *words).document
    assert document is not None
    return {one["dataset"]: one["how"] for one in document["versions"]}


def check_both(copy: Volume) -> None:
    """Compare an export with what must be in it, and check that it is a complete volume."""
    copy.check("songs", SONGS)
    copy.check("tunes", TUNES)
    assert copy.staged() == []
    ready(copy, "verify", "--deep")


def test_an_export_is_a_volume(filled: Volume, copy: Volume) -> None:
    """Trees, manifests and receipts are those of the volume; files are linked; a second export does nothing."""
    assert how(filled, copy) == {"songs": "linked", "tunes": "linked"}
    check_both(copy)
    for kind in ("receipts", "manifests"):
        ours, theirs = (next(each.records(kind, "songs").glob("*.json")).read_bytes() for each in (filled, copy))
        assert ours == theirs
    one, other = (each.tree("songs") / "songs/data/noise.bin" for each in (filled, copy))
    assert one.samefile(other) or one.stat().st_ino != other.stat().st_ino  # a hard link, or a reflink
    before = copy.snapshot(copy.private / "store")
    assert how(filled, copy) == {"songs": "there", "tunes": "there"}
    assert copy.snapshot(copy.private / "store") == before


def test_an_export_as_directories(filled: Volume, copy: Volume) -> None:
    """With PUBLISH=dir what an earlier export published as links becomes directories, and nothing is copied again."""
    how(filled, copy)
    assert copy.tree("songs").is_symlink()
    filled.settings["PUBLISH"] = "dir"
    assert set(how(filled, copy).values()) == {"there"}
    assert not copy.tree("songs").is_symlink()
    check_both(copy)


def test_chosen_data_sets_and_copies(filled: Volume, copy: Volume) -> None:
    """Ids choose what is exported; with --copy every byte is copied; what is exported later is added."""
    assert how(filled, copy, "songs", "--copy") == {"songs": "copied"}
    assert copy.published == ["songs"]
    assert (copy.tree("songs") / "songs/data/noise.bin").stat().st_nlink == 1
    assert how(filled, copy) == {"songs": "there", "tunes": "linked"}
    check_both(copy)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ((".",), UsageError),
        (("datasets/songs",), UsageError),
        (("index/songs",), UsageError),
        (("../export", "nothing"), NotFoundError),
    ],
)
def test_refusals(filled: Volume, words: tuple[str, ...], error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """A volume is not exported into itself, nor what it does not have; nothing is written."""
    monkeypatch.chdir(filled.root)
    before = filled.snapshot()
    with pytest.raises(error):
        call(filled, "export", *words)
    assert filled.snapshot() == before
    assert not (filled.root.parent / "export").exists()


@pytest.mark.parametrize("where", ["", ".provisioner/export", "datasets", "export"])
def test_the_volume_by_another_path(filled: Volume, tmp_path: Path, where: str) -> None:
    """A volume that is mounted twice is recognised: it is no copy of itself."""
    (filled.root / where).mkdir(parents=True, exist_ok=True)
    second = tmp_path / "second"
    second.mkdir()
    before = filled.snapshot()
    if subprocess.run(["mount", "--bind", str(filled.root), str(second)], check=False).returncode:
        pytest.skip("only root can mount")
    try:
        assert (second / "datasets").samefile(filled.root / "datasets")
        if where == "export":
            ready(filled, "export", str(second / where))
            assert (filled.root / where / "datasets" / "songs").is_dir()
        else:
            with pytest.raises(UsageError, match="belongs to the volume itself"):
                call(filled, "export", str(second / where))
            assert filled.snapshot() == before
    finally:
        subprocess.run(["umount", str(second)], check=True)


@pytest.mark.parametrize(
    "name", ["datasets", *(f".provisioner{name}" for name in ("", "/receipts", "/manifests", "/store", "/staging"))]
)
def test_nothing_is_written_through_a_link(filled: Volume, copy: Volume, tmp_path: Path, name: str) -> None:
    """A link in the directory that is exported to does not lead the export out of it; nothing is tried out there either."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    link = copy.root / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(elsewhere)
    before = filled.snapshot(elsewhere)
    with pytest.raises(VolumeError, match="is a link out of the directory"):
        call(filled, "export", str(copy.root))
    assert filled.snapshot(elsewhere) == before


@pytest.mark.parametrize("words", [(), ("--copy",)])
def test_a_damaged_file_is_not_exported(filled: Volume, copy: Volume, words: tuple[str, ...]) -> None:
    """A flipped byte on the volume is found, the data set is not in the export, and the others are."""
    path = filled.tree("songs") / "songs/data/noise.bin"
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    result = call(filled, "export", str(copy.root), *words)
    assert isinstance(result.error, DamagedTreeError)
    assert "noise.bin" in result.error.message
    assert copy.published == ["tunes"]
    assert copy.receipts("songs") == []


def test_a_version_without_a_receipt_is_not_exported(filled: Volume, copy: Volume) -> None:
    """Only receipts are believed: a partial version is not exported."""
    filled.receipts("songs")[0].unlink()
    with pytest.raises(NotFoundError, match="no complete version"):
        call(filled, "export", str(copy.root), "songs")
    assert not copy.root.exists()


def test_what_is_wrong_in_the_export_is_replaced(filled: Volume, copy: Volume) -> None:
    """A file that went missing in the export is exported again, and one of another size as well."""
    how(filled, copy, "--copy")
    (copy.tree("songs") / "songs/README").unlink()
    (copy.tree("tunes") / "tunes.bin").write_bytes(b"short")
    assert how(filled, copy, "--copy") == {"songs": "copied", "tunes": "copied"}
    check_both(copy)


@pytest.mark.parametrize("gone", ["receipts", "manifests", "datasets"])
def test_records_that_are_missing_in_the_export(filled: Volume, copy: Volume, gone: str) -> None:
    """What an interrupted export did not write is written by the next one."""
    how(filled, copy)
    for path in copy.records(gone, "songs").iterdir() if gone != "datasets" else [copy.tree("songs")]:
        path.unlink()
    how(filled, copy)
    check_both(copy)


@pytest.mark.parametrize("moment", ["the first file", "before the receipt", "before the tree is moved"])
def test_a_killed_export_is_continued(filled: Volume, copy: Volume, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever an export dies, what it left is no complete version, and the next export completes it."""
    targets = {
        "the first file": "provisioner.engine.export.Export._copy",
        "before the receipt": "provisioner.volume.store.publish.Publisher._write_receipt",
        "before the tree is moved": "provisioner.volume.store.publish.Publisher._put_in_place",
    }

    def die(*_arguments: object, **_options: object) -> None:
        os._exit(128 + signal.SIGKILL)

    pid = os.fork()
    if not pid:
        monkeypatch.setattr(targets[moment], die)
        call(filled, "export", str(copy.root), "--copy")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 128 + signal.SIGKILL
    assert copy.receipts("songs") == []
    assert how(filled, copy, "--copy") == {"songs": "copied", "tunes": "copied"}
    check_both(copy)


# --- what it carries beside the versions ---------------------------------------------------------------------------------------


def carried(copy: Volume) -> dict[str, str]:
    """Return the settings that name what an export carries."""
    return {
        "PEERS": str(copy.root),
        "PINS": str(copy.private / "pins.yaml"),
        "CATALOG_PATH": str(copy.private / "catalog.yaml"),
        "HF_HUB_OFFLINE": "1",
    }


def test_the_other_side_needs_no_catalog(filled: Volume, copy: Volume, hub: HubServer, tmp_path: Path) -> None:
    """With the export's own entries and pins a volume is filled without a request, and is verified against the pins."""
    how(filled, copy)
    hub.log.clear()
    other = Volume(tmp_path / "other", filled.settings)
    ready(other, PHASE="minimal", **carried(copy))
    other.check("songs", SONGS)
    other.check("tunes", TUNES)
    assert hub.log.entries() == ()
    assert {one["verified_against"] for one in other.status["datasets"].values()} == {"catalog"}
    before = other.snapshot(other.private / "store")
    ready(other, PHASE="exported", **carried(copy) | {"PEERS": ""})
    assert other.published == ["songs", "tunes"]
    assert other.snapshot(other.private / "store") == before


def test_pins_of_an_export_are_demanded(filled: Volume, copy: Volume, tmp_path: Path) -> None:
    """A file that was changed in the export, with its manifest, is not what the pins name, which came by another way."""
    how(filled, copy, "--copy")
    pins = tmp_path / "pins.yaml"
    pins.write_bytes((copy.private / "pins.yaml").read_bytes())
    manifest = next(copy.records("manifests", "songs").glob("*.json"))
    (copy.tree("songs") / "songs/README").write_bytes(b"wrong\n")
    wrong, right = hashlib.sha256(b"wrong\n").hexdigest(), hashlib.sha256(SONGS["songs/README"]).hexdigest()
    manifest.write_bytes(manifest.read_bytes().replace(right.encode(), wrong.encode()))
    other = Volume(tmp_path / "other", filled.settings)
    with pytest.raises(RemoteUnavailableError):
        call(other, DATASETS="songs", **carried(copy) | {"PINS": str(pins)})
    assert other.published == []


def test_records_of_several_exports(filled: Volume, copy: Volume, shelf: Shelf) -> None:
    """Each export adds its entries; those of before stay without this catalog; phases name what is there."""
    how(filled, copy, "songs")
    first = (copy.private / "catalog.yaml").read_text("utf-8")
    assert "(here without tunes)" in first
    del shelf.document["datasets"]["songs"]
    shelf.document["phases"]["minimal"]["datasets"] = ["tunes"]
    shelf.write()
    how(filled, copy, "tunes")
    catalog = parse_catalog((copy.private / "catalog.yaml").read_text("utf-8"), "export")
    assert sorted(catalog.datasets) == ["songs", "tunes"]
    assert catalog.phases["exported"].datasets == ("songs", "tunes")
    assert catalog.phases["minimal"].datasets == ("tunes",)
    assert sorted(load_pins(copy.private / "pins.yaml").datasets) == ["songs", "tunes"]
    (copy.private / "catalog.yaml").write_text("nonsense: [", "utf-8")
    how(filled, copy, "tunes")
    assert sorted(parse_catalog((copy.private / "catalog.yaml").read_text("utf-8"), "export").datasets) == ["tunes"]


def test_what_is_removed_from_an_export(filled: Volume, copy: Volume, hub: HubServer, tmp_path: Path) -> None:
    """The records no longer name what was removed; the rest can be taken by them, and the last removal deletes them."""
    how(filled, copy)
    ready(copy, "remove", "songs")
    catalog = parse_catalog((copy.private / "catalog.yaml").read_text(), "c")
    assert (list(catalog.datasets), catalog.phases["exported"].datasets) == (["tunes"], ("tunes",))
    assert list(load_pins(copy.private / "pins.yaml").datasets) == ["tunes"]
    cluster = Volume(tmp_path / "cluster", {"HOME": filled.settings["HOME"], **carried(copy), "PHASE": "exported"})
    hub.log.clear()
    ready(cluster)
    cluster.check("tunes", TUNES)
    assert hub.log.entries() == ()
    ready(copy, "remove", "tunes")
    assert not (copy.private / "catalog.yaml").exists()
    assert not (copy.private / "pins.yaml").exists()
    assert [path for path in copy.private.rglob("*") if "songs" in str(path.relative_to(copy.root)) and path.is_file()] == []
    how(filled, copy)
    check_both(copy)
    assert len(load_pins(copy.private / "pins.yaml").datasets) == 2


def test_a_part_by_rule(filled: Volume, copy: Volume, hub: HubServer, tmp_path: Path) -> None:
    """A part is exported with its entry and its pin; the phase of everything does not name it, since it would mean the whole."""
    part = {"DATASETS": "songs?include=songs/README"}
    ready(filled, **part)
    how(filled, copy)
    catalog = parse_catalog((copy.private / "catalog.yaml").read_text("utf-8"), "export")
    assert (sorted(catalog.datasets), catalog.phases["exported"].datasets) == (["songs", "tunes"], ("tunes",))
    hub.log.clear()
    other = Volume(tmp_path / "other", filled.settings)
    ready(other, **carried(copy) | part)
    other.check("songs", {"songs/README": SONGS["songs/README"]})
    assert hub.log.entries() == ()


def test_an_entry_that_describes_another_version(filled: Volume, copy: Volume, shelf: Shelf) -> None:
    """If the catalog was changed since, it does not describe what is exported: the export has no false entry of it."""
    shelf.document["phases"]["minimal"]["datasets"].remove("tunes")
    shelf.add("tunes", shelf.raw("tunes-2.bin", b"other"))
    how(filled, copy)
    assert sorted(parse_catalog((copy.private / "catalog.yaml").read_text("utf-8"), "export").datasets) == ["songs"]


def test_pins_of_a_version_that_was_replaced(filled: Volume, copy: Volume, shelf: Shelf) -> None:
    """If no catalog describes an exported version, a pin of that same version is kept, but not one of an earlier version."""
    how(filled, copy)
    how(filled, copy, "songs")
    assert len(load_pins(copy.private / "pins.yaml").datasets) == 2
    described = dict(shelf.document["datasets"])
    shelf.document["phases"]["minimal"]["datasets"].clear()
    shelf.add("tunes", shelf.raw("tunes-2.bin", b"other"))
    shelf.add("songs", shelf.file("songs.tar.gz", SONGS))
    ready(filled)
    shelf.document["datasets"] = {"other": described["songs"]}
    shelf.document["phases"]["minimal"]["datasets"] = ["other"]
    shelf.write()
    assert how(filled, copy) == {"songs": "there", "tunes": "linked"}
    assert list(load_pins(copy.private / "pins.yaml").datasets) == ["songs"]
    assert list(parse_catalog((copy.private / "catalog.yaml").read_text("utf-8"), "export").datasets) == ["songs"]


# --- references -------------------------------------------------------------------------------------------------------------


SOUNDS: Final = {"README.md": b"---\nlicense: cc-by-4.0\npretty_name: Sounds\n---\n", "a.csv": b"x\n1\n"}
REFERENCE: Final = "hf://datasets/acme/sounds"


@pytest.fixture
def sounds(volume: Volume, copy: Volume, hub: HubServer) -> Volume:
    """Return an export that holds a repository which only a reference names."""
    hub.hub.add_repo("acme/sounds", SOUNDS)
    ready(volume, DATASETS=REFERENCE)
    how(volume, copy, REFERENCE)
    hub.log.clear()
    return copy


@pytest.mark.parametrize("what", ["the peer alone", "with the export's catalog and pins", "by its phase"])
def test_a_reference_without_a_network(sounds: Volume, hub: HubServer, tmp_path: Path, what: str) -> None:
    """Licence, title and attribution are what the export's receipt has, and that they are is said."""
    settings = {"PEERS": str(sounds.root), "HF_HUB_OFFLINE": "1"} if what == "the peer alone" else carried(sounds)
    other = Volume(tmp_path / "other", sounds.settings)
    ready(other, **settings | ({"PHASE": "exported"} if what == "by its phase" else {"DATASETS": REFERENCE}))
    other.check("acme/sounds", SOUNDS)
    assert hub.log.entries() == ()
    record = other.status["datasets"][REFERENCE]
    assert (record["license"], record["state"]) == ("CC-BY-4.0", "ready")
    assert record["verified_against"] == ("peer" if what == "the peer alone" else "catalog")
    attribution = (other.root / "ATTRIBUTION.md").read_text("utf-8")
    assert "## Sounds" in attribution
    assert f"as the peer {sounds.root} has recorded it" in attribution


def test_a_source_that_answers_is_believed(sounds: Volume, hub: HubServer, tmp_path: Path) -> None:
    """Where the source can be asked, it says what the licence is, and the peer's record of that is not used."""
    receipt = sounds.current_receipt("acme/sounds")
    receipt.write_bytes(receipt.read_bytes().replace(b"CC-BY-4.0", b"CC0-1.0"))
    other = Volume(tmp_path / "other", sounds.settings, hub)
    ready(other, DATASETS=REFERENCE, PEERS=str(sounds.root))
    assert other.status["datasets"][REFERENCE]["license"] == "CC-BY-4.0"
    assert hub.log.entries("*/resolve/*") == ()


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        (b'"spdx":"CC-BY-4.0"', b'"spdx":"Strange-1.0"', LicenseRefusedError),
        (b'"key":"hf', b'"key":"hg', RemoteUnavailableError),
    ],
)
def test_a_record_that_is_not_believed(sounds: Volume, tmp_path: Path, old: bytes, new: bytes, error: type[Exception]) -> None:
    """Whether a licence allows commercial use is not for a peer to say; nor is a record of something else of any use."""
    receipt = sounds.current_receipt("acme/sounds")
    compact = json.dumps(json.loads(receipt.read_bytes()), separators=(",", ":")).encode()
    assert old in compact
    receipt.write_bytes(compact.replace(old, new))
    other = Volume(tmp_path / "other", sounds.settings)
    settings = {"PEERS": str(sounds.root), "HF_HUB_OFFLINE": "1", "LICENSE_POLICY": "commercial"}
    with pytest.raises(error):
        call(other, DATASETS=REFERENCE, **settings)


# --- other file systems ---------------------------------------------------------------------------------------------------


@pytest.fixture
def stick(tmp_path: Path) -> Iterator[Mount]:
    """Return what mounts a disk with quirks, and the directory to export to."""
    disks: list[Mounted] = []

    def mount(*quirks: Quirk) -> tuple[Mounted, Path]:
        disks.append(Mounted(tmp_path, *quirks))
        return disks[0], disks[0].place / "export"

    yield mount
    for disk in disks:
        disk.close()


@pytest.mark.root
def test_an_export_to_a_disk_without_links(filled: Volume, stick: Mount) -> None:
    """Without links of any kind, files are copied and data sets are directories; a second export copies nothing."""
    disk, place = stick("no-symlinks", "no-hardlinks", "folds-case", "plain-names", "small-files")
    copy = Volume(place, filled.settings)
    assert how(filled, copy) == {"songs": "copied", "tunes": "copied"}
    assert not copy.tree("songs").is_symlink()
    check_both(copy)
    assert disk.fired("no-symlinks")
    assert how(filled, copy) == {"songs": "there", "tunes": "there"}


@pytest.mark.root
@pytest.mark.parametrize(
    ("quirk", "member", "says"),
    [
        ("no-symlinks", ("link", "readme"), "symbolic link"),
        ("plain-names", ("12:30.txt", b"more"), "can be called '12:30.txt'"),
        ("folds-case", ("README", b"more"), "the same name"),
    ],
)
def test_what_a_disk_cannot_hold(
    shelf: Shelf, volume: Volume, stick: Mount, *, quirk: Quirk, member: tuple[str, bytes | str], says: str
) -> None:
    """It is said before the first byte, nothing of the data set is written, and the others are exported."""
    archive = packed(("readme", b"text"), member)
    shelf.add("odd", shelf.raw("odd.tar.gz", gzip_bytes(archive), unpack="tar.gz"))
    shelf.add("tunes", shelf.raw("tunes.bin", TUNES["tunes.bin"]))
    ready(volume)
    disk, place = stick(quirk)
    copy = Volume(place, volume.settings)
    result = call(volume, "export", str(place))
    assert isinstance(result.error, VolumeError)
    assert says in result.error.message
    assert disk.fired(quirk)
    assert copy.published == ["tunes"]
    assert not copy.records("store", "odd").exists()


@pytest.mark.root
def test_a_file_that_is_too_large(stick: Mount) -> None:
    """Whether a file system holds more than 4 GiB in a file is tried, and takes no space."""
    disk, place = stick("small-files")
    with Probe(place.parent) as probe:
        assert probe.takes_size((1 << 32) - 1)
        assert not probe.takes_size(1 << 32)
    assert disk.fired("small-files")
    assert os.listdir(place.parent) == []


def test_a_disk_that_loses_what_is_renamed(filled: Volume, copy: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some drivers for FAT empty a directory that is renamed: that is noticed, and no receipt says that it is there."""
    put_in_place = Publisher._put_in_place

    def lose(self: Publisher, dataset: str, version: str, staged: Path, watch: WriteWatch | None) -> None:
        put_in_place(self, dataset, version, staged, watch)
        (copy.private / "store/songs" / version / "songs/README").unlink(missing_ok=True)

    monkeypatch.setattr(Publisher, "_put_in_place", lose)
    result = call(filled, "export", str(copy.root), "--copy")
    assert isinstance(result.error, VolumeError)
    assert "does not hold what was written there" in result.error.message
    assert (copy.receipts("songs"), copy.published) == ([], ["tunes"])
    monkeypatch.undo()
    how(filled, copy)
    check_both(copy)


def test_there_is_not_enough_space(filled: Volume, copy: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is said before the first byte, with both numbers."""
    monkeypatch.setattr("provisioner.engine.volume_session.VolumeSession.free_bytes", lambda _session: 1000)
    with pytest.raises(VolumeError, match=r"150 kB .* 1\.00 kB are free; nothing was copied"):
        call(filled, "export", str(copy.root), "--copy")
    assert copy.published == []


def test_the_command_line(filled: Volume, copy: Volume) -> None:
    """The process says what it did, for people and as JSON; a data set that is not there is 66."""
    assert "2 data sets can be taken from it, 2 of them new" in filled.ready("export", str(copy.root)).out
    document = json.loads(filled.ready("export", str(copy.root), "--json").out)
    assert [one["how"] for one in document["versions"]] == ["there", "there"]
    assert filled.run("export", str(copy.root), "nothing").code == 66
