"""The trees on a volume: published whole or not at all, adopted only when right, nothing foreign touched."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
import tracemalloc
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from provisioner.cancellation import Cancellation
from provisioner.catalog.artifact import Artifact
from provisioner.catalog.digest import Digest
from provisioner.engine.build import DataSetBuilder
from provisioner.errors import InterruptedBySignal, VolumeError
from provisioner.planning.model import Receipt
from provisioner.remote.resolved import Resolved
from provisioner.volume.store.entry import Entry
from provisioner.volume.store.layout import VolumeLayout
from provisioner.volume.store.manifest import Manifest
from provisioner.volume.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from provisioner.volume.store.published_names import PublishMode

FILES = {"a.txt": b"one", "d/b.txt": b"two"}
OTHER = {"a.txt": b"another", "e/c.txt": b"three"}
FIRST, SECOND = "0" * 16, "1" * 16


class DeathError(Exception):
    """Ends a step where a process would have died."""


def receipt_of(version: str, manifest: Manifest) -> Receipt:
    """Make a receipt."""
    return Receipt(
        dataset="alpha",
        version=version,
        layout="raw",
        splits=(),
        files=manifest.files,
        size=manifest.bytes,
        license="CC-BY-4.0",
        source_kind="url",
        source_url="https://example.org/a",
        pin="sha256:00",
        verified_against="catalog",
        published_at="2026-01-01T00:00:00Z",
        content_ids={"shape": "key"},
    )


@dataclass
class Shop:
    """A store, and a way to put trees into it."""

    store: Store

    @property
    def layout(self) -> VolumeLayout:
        """Where everything lies."""
        return self.store.layout

    def stage(self, files: Mapping[str, bytes], version: str = FIRST) -> tuple[Receipt, Path, Manifest]:
        """Put a tree together."""
        staged = self.layout.staged_tree("alpha", version)
        entries = []
        for name, content in files.items():
            path = staged / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            entries.append(Entry(name, "file", len(content), hashlib.sha256(content).hexdigest(), artifact="shape"))
        manifest = Manifest.of(entries)
        return receipt_of(version, manifest), staged, manifest

    def publish(self, files: Mapping[str, bytes], version: str = FIRST) -> None:
        """Publish a tree."""
        self.store.publisher.publish(*self.stage(files, version))

    def shows(self, files: Mapping[str, bytes] | None) -> bool:
        """Whether the app sees exactly these files."""
        place = self.layout.published("alpha")
        found = {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()}
        return found == (files or {})


def make(root: Path, publish: PublishMode = "link") -> Shop:
    """Make a store over a directory."""
    return Shop(Store(VolumeLayout(root), publish, program_version="9.9", check_cancelled=lambda: None))


@pytest.fixture(params=["link", "dir"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    """Return an empty volume, for each form of publishing."""
    tmp_path.joinpath("volume").mkdir()
    return make(tmp_path / "volume", request.param)


def test_an_empty_volume(shop: Shop) -> None:
    """Nothing is there, and looking changes nothing."""
    inventory = shop.store.reader.inventory()
    assert (inventory.receipts, inventory.published, inventory.orphans, inventory.foreign) == ({}, {}, frozenset(), frozenset())
    assert inventory.free_bytes
    assert list(shop.layout.root.iterdir()) == []


class _Ears:
    """Hears everything."""

    def __getattr__(self, _: str) -> Callable[..., None]:
        return lambda *_: None


def test_memory_for_each_file_on_the_whole_way(tmp_path: Path) -> None:
    """From the archives to the published tree, and when a tree is adopted, a file costs less than 380 bytes at any moment."""
    count, archives = 20_000, 2
    artifacts, found = [], {}
    for part in range(archives):
        path = tmp_path / f"{part}.tar"
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for number in range(part, count, archives):
                info = tarfile.TarInfo(f"nsynth-train/audio-{part}/bass_synthetic_{number:06}-049-025.wav")
                info.size = 8
                tar.addfile(info, io.BytesIO(b"%08d" % number))
        digest = Digest("sha256", hashlib.sha256(path.read_bytes()).hexdigest())
        artifacts.append(Artifact(path.name, ("https://example.org/",), None, digest, "tar", "", "catalog"))
        found[path.name] = path
    (tmp_path / "volume").mkdir()
    shop = make(tmp_path / "volume")
    recipe: Any = SimpleNamespace(sources=["one"], splits=(), version=FIRST, label="alpha", layout="raw")
    recipe.dataset = SimpleNamespace(id="alpha", license=SimpleNamespace(spdx="CC-BY-4.0"))
    step: Any = SimpleNamespace(recipe=recipe, id="alpha", retention="one_by_one", available_bytes=None, download=None)
    sources: Any = SimpleNamespace(resolve=lambda *_: Resolved("url", "", "", tuple(artifacts)))
    local_copies: Any = SimpleNamespace(find=lambda artifact: found[artifact.name])
    progress: Any = _Ears()
    transfers: Any = None
    builder = DataSetBuilder(
        step, shop.store, sources, transfers, local_copies, cancellation=Cancellation(), progress=progress, connections=1
    )
    inventory = shop.store.reader.inventory()
    tracemalloc.start()
    try:
        builder.build(inventory, lambda: "2026-01-01T00:00:00Z")
        # Blocks on their way between threads are the same few MiB for any number of files.
        assert (tracemalloc.get_traced_memory()[1] - (2 << 20)) / count < 380
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        shop.layout.receipt("alpha", FIRST).unlink()
        assert shop.store.publisher.adopt("alpha", FIRST)
        assert (tracemalloc.get_traced_memory()[1] - before) / count < 380
    finally:
        tracemalloc.stop()


def test_published(shop: Shop) -> None:
    """The tree is there, its receipt is believed, both manifests lie beside it, nothing is left in staging."""
    shop.publish(FILES)
    assert shop.shows(FILES)
    inventory = shop.store.reader.inventory()
    assert inventory.published == {"alpha": FIRST}
    assert inventory.receipts["alpha", FIRST].content_ids == {"shape": "key"}
    assert inventory.kept_bytes == 6
    assert inventory.orphans == frozenset()
    assert shop.layout.manifest("alpha", FIRST).is_file()
    assert shop.layout.checksums("alpha", FIRST).is_file()
    assert not shop.layout.staged_tree("alpha", FIRST).exists()
    assert json.loads(shop.layout.receipt("alpha", FIRST).read_bytes())["provisioner_version"] == "9.9"


def test_the_link_is_relative(tmp_path: Path) -> None:
    """The volume may be mounted anywhere."""
    shop = make(tmp_path / "volume")
    shop.publish(FILES)
    (tmp_path / "volume").rename(tmp_path / "elsewhere")
    assert make(tmp_path / "elsewhere").shows(FILES)


def test_a_second_version(shop: Shop) -> None:
    """It takes the first one's place; the first stays, and comes back by a link or a rename, not by a copy."""
    shop.publish(FILES)
    inode = (shop.layout.published("alpha") / "a.txt").stat().st_ino
    shop.publish(OTHER, SECOND)
    assert shop.shows(OTHER)
    assert shop.store.reader.inventory().published == {"alpha": SECOND}
    shop.store.published.switch("alpha", FIRST)
    assert shop.shows(FILES)
    assert (shop.layout.published("alpha") / "a.txt").stat().st_ino == inode
    assert shop.store.reader.inventory().published == {"alpha": FIRST}
    assert set(shop.store.reader.inventory().receipts) == {("alpha", FIRST), ("alpha", SECOND)}


def test_a_reader_never_sees_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With links the switch is one rename: at every system call of it the old tree or the new is there."""
    shop = make(tmp_path / "volume")
    shop.publish(FILES)
    seen: list[bool] = []
    original = os.replace

    def watched(source: object, target: object) -> None:
        seen.append(shop.shows(FILES) or shop.shows(OTHER))
        original(source, target)  # type: ignore[arg-type]
        seen.append(shop.shows(FILES) or shop.shows(OTHER))

    monkeypatch.setattr(os, "replace", watched)
    shop.publish(OTHER, SECOND)
    assert seen
    assert all(seen)


# --- what is wrong is not published ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "harm",
    [
        lambda staged: (staged / "a.txt").unlink(),
        lambda staged: (staged / "a.txt").write_bytes(b"longer than it was"),
        lambda staged: (staged / "more.txt").write_bytes(b""),
        lambda staged: ((staged / "a.txt").unlink(), (staged / "a.txt").symlink_to("d/b.txt")),
    ],
    ids=["missing", "size", "extra", "kind"],
)
def test_a_staged_tree_that_changed(shop: Shop, harm: Callable[[Path], object]) -> None:
    """A tree that is not what was put there is not published."""
    receipt, staged, manifest = shop.stage(FILES)
    harm(staged)
    with pytest.raises(VolumeError, match="not what was put there"):
        shop.store.publisher.publish(receipt, staged, manifest)
    assert not shop.layout.published("alpha").exists()
    assert shop.store.reader.inventory().receipts == {}


def test_told_to_stop(tmp_path: Path) -> None:
    """A request to stop is noticed before anything is published."""
    shop = make(tmp_path / "volume")
    staged = shop.stage(FILES)

    def stop() -> None:
        raise InterruptedBySignal(15)

    with pytest.raises(InterruptedBySignal):
        Store(shop.layout, "link", program_version="1", check_cancelled=stop).publisher.publish(*staged)
    assert not shop.layout.published("alpha").exists()


# --- death at every step ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", range(12))
def test_death_between_any_two_steps(shop: Shop, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Whichever rename it dies before: the app sees one of the trees or none, and adopting or publishing again mends it."""
    shop.publish(FILES)
    staged = shop.stage(OTHER, SECOND)
    calls = 0

    def dying(name: str) -> Callable[..., None]:
        original = getattr(os, name)

        def call(*arguments: object) -> None:
            nonlocal calls
            calls += 1
            if calls > step:
                raise DeathError
            original(*arguments)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", dying("replace"))
        patch.setattr(os, "rename", dying("rename"))
        try:
            shop.store.publisher.publish(*staged)
        except DeathError:
            died = True
        else:
            died = False
    # Enough steps to reach the end, so that no step is left out.
    assert died == (step < 11 and calls > step)
    assert shop.shows(FILES) or shop.shows(OTHER) or (not shop.layout.published("alpha").exists())
    inventory = shop.store.reader.inventory()
    if died:
        assert ("alpha", SECOND) not in inventory.receipts
    if ("alpha", SECOND) in inventory.orphans:
        assert shop.store.publisher.adopt("alpha", SECOND)
    elif died:
        shutil.rmtree(shop.layout.staging, ignore_errors=True)
        shop.publish(OTHER, SECOND)
    assert shop.shows(OTHER)
    assert shop.store.reader.inventory().published == {"alpha": SECOND}
    shop.store.published.switch("alpha", FIRST)
    assert shop.shows(FILES)


# --- what is believed ------------------------------------------------------------------------------------------------------


def test_a_tree_that_is_gone(shop: Shop) -> None:
    """Its receipt is not believed."""
    shop.publish(FILES)
    shutil.rmtree(shop.layout.published("alpha").resolve())
    inventory = shop.store.reader.inventory()
    assert (inventory.receipts, inventory.published, inventory.orphans) == ({}, {}, frozenset())


def test_a_receipt_of_another(shop: Shop) -> None:
    """A receipt in the wrong place proves nothing."""
    shop.publish(FILES)
    path = shop.layout.receipt("alpha", FIRST)
    document = json.loads(path.read_bytes())
    path.write_text(json.dumps({**document, "version": SECOND}))
    assert shop.store.reader.inventory().receipts == {}
    assert shop.store.reader.inventory().orphans == {("alpha", FIRST)}


def test_adopted(shop: Shop) -> None:
    """A right tree without its receipt is hashed, believed and published."""
    shop.publish(FILES)
    receipt = shop.layout.receipt("alpha", FIRST)
    before = receipt.read_bytes()
    receipt.unlink()
    assert shop.store.reader.inventory().orphans == {("alpha", FIRST)}
    assert shop.store.publisher.adopt("alpha", FIRST)
    assert receipt.read_bytes() == before
    assert shop.store.reader.inventory().published == {"alpha": FIRST}
    assert shop.shows(FILES)


@pytest.mark.parametrize("content", [b"One", b"too long"])
def test_not_adopted(shop: Shop, content: bytes) -> None:
    """A wrong one is removed, manifest and all."""
    shop.publish(FILES)
    shop.layout.receipt("alpha", FIRST).unlink()
    (shop.layout.published("alpha") / "a.txt").write_bytes(content)
    assert not shop.store.publisher.adopt("alpha", FIRST)
    assert shop.store.reader.inventory().orphans == frozenset()
    assert shop.store.reader.tree_of("alpha", FIRST) is None
    shop.publish(FILES)
    assert shop.shows(FILES)


def test_a_tree_that_nobody_vouches_for_is_replaced(shop: Shop) -> None:
    """Without receipt and manifest a tree is not believed, whatever it holds: publishing puts the right one in its place."""
    shop.publish(FILES)
    shop.layout.receipt("alpha", FIRST).unlink()
    shop.layout.manifest("alpha", FIRST).unlink()
    (shop.layout.published("alpha") / "a.txt").write_bytes(b"damaged")
    shop.publish(FILES)
    assert shop.shows(FILES)
    assert shop.store.reader.inventory().published == {"alpha": FIRST}


@pytest.mark.parametrize("content", [b"", b"{", b'{"schema_version": 1, "entries": [{"path": "../x"}]}'])
def test_a_damaged_manifest(shop: Shop, content: bytes) -> None:
    """It is none: nothing can be adopted by it."""
    shop.publish(FILES)
    shop.layout.receipt("alpha", FIRST).unlink()
    shop.layout.manifest("alpha", FIRST).write_bytes(content)
    assert shop.store.reader.manifest("alpha", FIRST) is None
    assert not shop.store.publisher.adopt("alpha", FIRST)


# --- taking away -----------------------------------------------------------------------------------------------------------


def test_removed(shop: Shop) -> None:
    """A version that is taken away leaves nothing but the names of empty directories."""
    shop.publish(FILES)
    shop.publish(OTHER, SECOND)
    shop.store.cleaner.clear_staging()
    shop.store.cleaner.remove("alpha", FIRST)
    assert shop.shows(OTHER)
    assert set(shop.store.reader.inventory().receipts) == {("alpha", SECOND)}
    assert [path for path in shop.layout.private.rglob("*") if FIRST in path.name] == []
    shop.store.cleaner.remove("alpha", FIRST)


def test_staging_is_cleared(shop: Shop) -> None:
    """One data set's half-made trees, or all that is staged."""
    shop.stage(FILES)
    blob = shop.layout.blobs / "x.part"
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"")
    shop.store.cleaner.clear_staging("alpha")
    assert blob.exists()
    assert not shop.layout.staged_tree("alpha", FIRST).exists()
    shop.store.cleaner.clear_staging()
    assert not shop.layout.staging.exists()


def test_a_staging_folder_of_the_users_stays(tmp_path: Path) -> None:
    """What else lies in a directory that the user gave is none of our business."""
    layout = VolumeLayout(tmp_path / "volume", tmp_path / "staging")
    layout.blobs.mkdir(parents=True)
    (tmp_path / "staging" / "mine.txt").write_text("mine")
    Store(layout, "link", program_version="1", check_cancelled=lambda: None).cleaner.clear_staging()
    assert [path.name for path in (tmp_path / "staging").iterdir()] == ["mine.txt"]


# --- what is not ours --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["file", "folder", "link", "dangling"])
def test_foreign_things(shop: Shop, kind: str) -> None:
    """A file, a filled directory or a link of somebody else's is reported, not believed."""
    place = shop.layout.published("alpha")
    place.parent.mkdir(parents=True)
    if kind == "file":
        place.write_bytes(b"mine")
    elif kind == "folder":
        place.mkdir()
        (place / "mine").write_bytes(b"mine")
    else:
        place.symlink_to("/etc" if kind == "link" else "/nowhere")
    inventory = shop.store.reader.inventory()
    assert inventory.foreign == {"alpha"}
    assert inventory.published == {}


def test_odd_names_on_the_volume(shop: Shop) -> None:
    """Whatever else lies in our directories, looking survives it."""
    shop.publish(FILES)
    (shop.layout.receipts / "README").write_text("not a folder")
    (shop.layout.receipts / "alpha" / "notes.txt").write_text("not a receipt")
    (shop.layout.receipts / "alpha" / ".json").write_text("{}")
    (shop.layout.manifests / "alpha" / "nothing.json").write_text("{}")
    (shop.layout.store / "stray").mkdir()
    assert shop.store.reader.inventory().published == {"alpha": FIRST}
    assert shop.store.reader.inventory().orphans == frozenset()


def test_an_empty_folder_gives_way(tmp_path: Path) -> None:
    """It holds nothing that could be lost."""
    shop = make(tmp_path / "volume")
    shop.layout.published("alpha").mkdir(parents=True)
    shop.publish(FILES)
    assert shop.layout.published("alpha").is_symlink()
    assert shop.shows(FILES)


def test_a_link_half_made_by_a_dead_run(tmp_path: Path) -> None:
    """What a run left that died while it switched is not in the way."""
    shop = make(tmp_path / "volume")
    shop.layout.datasets.mkdir(parents=True)
    (shop.layout.datasets / ".alpha.new").symlink_to("nowhere")
    shop.publish(FILES)
    assert shop.shows(FILES)
    assert os.listdir(shop.layout.datasets) == ["alpha"]


def test_a_receipt_does_not_depend_on_the_program(shop: Shop) -> None:
    """Its own version is noted; another version of the program believes it all the same."""
    shop.publish(FILES)
    later = Store(shop.layout, shop.store.published._mode, program_version="10.0", check_cancelled=lambda: None)
    receipt, _, manifest = shop.stage(FILES, SECOND)
    assert later.reader.inventory().receipts["alpha", FIRST] == replace(receipt, version=FIRST)
    assert len(manifest) == 2
