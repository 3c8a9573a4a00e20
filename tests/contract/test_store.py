"""The store: trees are published whole or not at all, adopted only when right, and nothing foreign is touched."""

from __future__ import annotations

import errno
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
from huggingface_hub.hf_api import RepoFile

from provisioner.cancellation import Cancellation
from provisioner.catalog.artifact import Artifact
from provisioner.catalog.digest import Digest
from provisioner.catalog.hub_source import HubSource
from provisioner.engine.build import DataSetBuilder
from provisioner.engine.build_limits import BuildLimits
from provisioner.engine.shared_volume import SharedVolume
from provisioner.errors import InterruptedBySignal, VolumeError, VolumeNotWritableError
from provisioner.planning.model import Receipt
from provisioner.planning.recipe import Recipe
from provisioner.remote.hub.listing import checked_listing
from provisioner.remote.resolved import Resolved
from provisioner.volume.fs import durable
from provisioner.volume.fs.atomic import temporary_name
from provisioner.volume.staging.local_copies import LocalCopy, file_facts
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
    """Return a receipt for a manifest."""
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
    """A store with methods that put trees into it."""

    store: Store

    @property
    def layout(self) -> VolumeLayout:
        """Where everything lies."""
        return self.store.layout

    def stage(self, files: Mapping[str, bytes], version: str = FIRST) -> tuple[Receipt, Path, Manifest]:
        """Write a tree into staging; return what publishing it takes."""
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
        """Stage and publish a tree."""
        self.store.publisher.publish(*self.stage(files, version))

    def publishes(self, files: Mapping[str, bytes] | None) -> bool:
        """Return whether the app reads exactly these files."""
        place = self.layout.published("alpha")
        found = {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()}
        return found == (files or {})


def make(root: Path, publish: PublishMode = "link") -> Shop:
    """Return a store on a directory."""
    return Shop(Store(VolumeLayout(root), publish, program_version="9.9", check_cancelled=lambda: None))


@pytest.fixture(params=["link", "dir"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    """Return an empty volume, for each form of publishing."""
    tmp_path.joinpath("volume").mkdir()
    return make(tmp_path / "volume", request.param)


def test_an_empty_volume(shop: Shop) -> None:
    """An empty volume has an empty inventory, and reading it writes nothing."""
    inventory = shop.store.reader.inventory()
    assert (inventory.receipts, inventory.published, inventory.orphans, inventory.foreign) == ({}, {}, frozenset(), frozenset())
    assert inventory.free_bytes
    assert list(shop.layout.root.iterdir()) == []


class _AnyProgress:
    """Has every method, which does nothing."""

    def __getattr__(self, _: str) -> Callable[..., None]:
        return lambda *_: None


def _builder(
    root: Path, resolve: Callable[[object], Resolved], local_copies: Any, **transfers: Any
) -> tuple[Shop, DataSetBuilder]:
    """Return an empty volume, and what builds the data set of one source there."""
    root.mkdir()
    shop = make(root)
    terms = SimpleNamespace(spdx="CC-BY-4.0")
    dataset: Any = SimpleNamespace(id="alpha", label="alpha", layout="raw", unpacked_size=None, license=terms, facts=None)
    sources_of_it: Any = ("one",)
    recipe = Recipe(dataset, "raw", (), sources_of_it, FIRST)
    step: Any = SimpleNamespace(recipe=recipe, id="alpha", retention="one_by_one", available_bytes=None, download=None)
    sources: Any = SimpleNamespace(resolve=resolve)
    fetches: Any = SimpleNamespace(requests_at_once=lambda: 2, small_files_at_once=lambda: 2, **transfers)
    progress: Any = _AnyProgress()
    settings = SimpleNamespace(max_storage_bytes=None)
    session: Any = SimpleNamespace(store=shop.store, layout=shop.layout, settings=settings, measures_space=True)
    builder = DataSetBuilder(
        step,
        shop.store,
        sources,
        fetches,
        local_copies,
        limits=BuildLimits(SharedVolume(session), recipe),
        cancellation=Cancellation(),
        progress=progress,
    )
    return shop, builder


def _peaks_of_archives(root: Path, count: int) -> tuple[int, int]:
    """Return the most bytes of memory that it takes to build and publish a tree from two archives, and then to adopt it."""
    archives = 2
    artifacts, found = [], {}
    root.mkdir()
    for part in range(archives):
        path = root / f"{part}.tar"
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for number in range(part, count, archives):
                info = tarfile.TarInfo(f"nsynth-train/audio-{part}/bass_synthetic_{number:06}-049-025.wav")
                info.size = 8
                tar.addfile(info, io.BytesIO(b"%08d" % number))
        digest = Digest("sha256", hashlib.sha256(path.read_bytes()).hexdigest())
        artifacts.append(Artifact(path.name, ("https://example.org/",), None, digest, "tar", "", "catalog"))
        found[path.name] = LocalCopy(path, file_facts(path))
    local_copies = SimpleNamespace(find=lambda artifact: found[artifact.name], has_trees=False)
    shop, builder = _builder(root / "volume", lambda *_: Resolved("url", "", "", tuple(artifacts)), local_copies)
    tracemalloc.start()
    try:
        builder.build(lambda: "2026-01-01T00:00:00Z")
        built = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        shop.layout.receipt("alpha", FIRST).unlink()
        assert shop.store.publisher.adopt("alpha", FIRST)
        return built, tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def test_memory_for_each_file_on_the_whole_way(tmp_path: Path) -> None:
    """Building, publishing and adopting a tree take less than 380 bytes of memory for each further file."""
    few, many = 5_000, 20_000
    # The first run also pays for modules. Blocks on their way between threads are the same few MiB for any number of files.
    _peaks_of_archives(tmp_path / "first", 10)
    less, more = (_peaks_of_archives(tmp_path / str(count), count) for count in (few, many))
    for peak, higher_peak in zip(less, more, strict=True):
        assert (higher_peak - peak) / (many - few) < 380


def _small_content(path: str) -> bytes:
    return path.encode()[-9:]


def _listed(path: str) -> RepoFile:
    """Return a file of a listing as the Hub client returns it, with the texts that it has read from an answer."""
    content = _small_content(path)
    digest = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    return RepoFile(path=path, size=len(content), oid=digest)  # type: ignore[no-untyped-call]


def _resolved(count: int) -> Resolved:
    paths = (f"nsynth-train/audio-{number % 300}/bass_synthetic_{number:06}-049-025.wav" for number in range(count))
    files = checked_listing("ann/songs", map(_listed, paths))
    listing = [(file.path, file.size, file.digest) for file in files]
    selected = HubSource("ann/songs").select(listing, f"https://hub.example/datasets/ann/songs/resolve/{'0' * 40}")
    return Resolved("hub", "https://hub.example/datasets/ann/songs", "0" * 40, selected.artifacts, selected.warnings)


def _fetch_small(artifact: Artifact, size: int, accept: Callable[[bytes], str], _: object) -> str:
    content = _small_content(artifact.name)
    assert len(content) == size
    return accept(content)


def _peak_of_a_repository(root: Path, count: int) -> int:
    """Return the most bytes of memory that listing, fetching and publishing the files of a repository take."""
    _, builder = _builder(
        root, lambda _: _resolved(count), SimpleNamespace(find=lambda _: None, has_trees=False), fetch_small=_fetch_small
    )
    tracemalloc.start()
    try:
        receipt = builder.build(lambda: "2026-01-01T00:00:00Z")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert receipt.files == count
    return peak


def test_memory_for_each_file_of_a_repository(tmp_path: Path) -> None:
    """From the listing to the published tree, each further file takes less than 1,000 bytes of memory."""
    few, many = 3_000, 12_000
    # The first run also pays for modules, and for what is computed once.
    _peak_of_a_repository(tmp_path / "first", 10)
    less = _peak_of_a_repository(tmp_path / "few", few)
    more = _peak_of_a_repository(tmp_path / "many", many)
    assert (more - less) / (many - few) < 1_000


@pytest.mark.parametrize("is_told", [False, True], ids=["nobody was told", "somebody else was told"])
def test_a_device_that_lost_a_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_told: bool) -> None:
    """The failed write is noticed even if the kernel, which reports it to later files only once, has told somebody else."""
    open_then: set[int] = set()
    reports: list[Path | int] = []

    def lose(artifact: Artifact, size: int, accept: Callable[[bytes], str], arrived: object) -> str:
        digest = _fetch_small(artifact, size, accept, arrived)
        open_then.update(map(int, os.listdir("/proc/self/fd")))
        return digest

    def sync(place: Path | int) -> bool:
        if place in open_then or not (is_told or reports):
            reports.append(place)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return True

    monkeypatch.setattr(durable, "_syncfs", sync)
    copies = SimpleNamespace(find=lambda _: None, has_trees=False)
    shop, builder = _builder(tmp_path / "volume", lambda _: _resolved(1), copies, fetch_small=lose)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(VolumeError, match="making durable"):
        builder.build(lambda: "2026-01-01T00:00:00Z")
    assert len(reports) == 1
    assert shop.publishes(None)
    assert not shop.layout.receipt("alpha", FIRST).exists()
    assert len(os.listdir("/proc/self/fd")) == before


def test_published(shop: Shop) -> None:
    """After publishing, the tree, its receipt and both manifests are there, and staging is empty."""
    shop.publish(FILES)
    assert shop.publishes(FILES)
    inventory = shop.store.reader.inventory()
    assert inventory.published == {"alpha": FIRST}
    assert inventory.receipts["alpha", FIRST].content_ids == {"shape": "key"}
    assert inventory.kept_bytes == 6
    assert inventory.orphans == frozenset()
    assert shop.layout.manifest("alpha", FIRST).is_file()
    assert shop.layout.checksums("alpha", FIRST).is_file()
    assert not shop.layout.staged_tree("alpha", FIRST).exists()
    assert json.loads(shop.layout.receipt("alpha", FIRST).read_bytes())["provisioner_version"] == "9.9"


def test_files_of_others_beside_it_are_not_synced(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ``syncfs``, other programs' files on the volume are not opened: a status file may be replaced at any moment."""
    (shop.layout.root / "theirs").write_bytes(b"x")
    opened: list[str] = []
    real_open = os.open

    def vanish(path: str | Path, *arguments: int, dir_fd: int | None = None) -> int:
        opened.append(os.fspath(path))
        if opened[-1].endswith("theirs"):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), opened[-1])
        return real_open(path, *arguments, dir_fd=dir_fd)

    monkeypatch.setattr(durable, "_syncfs", lambda _path: False)
    monkeypatch.setattr(os, "open", vanish)
    shop.publish(FILES)
    assert any(path.endswith("a.txt") for path in opened)
    assert shop.publishes(FILES)


def test_the_link_is_relative(tmp_path: Path) -> None:
    """Published links are relative: the volume may be mounted anywhere."""
    shop = make(tmp_path / "volume")
    shop.publish(FILES)
    (tmp_path / "volume").rename(tmp_path / "elsewhere")
    assert make(tmp_path / "elsewhere").publishes(FILES)


def test_a_second_version(shop: Shop) -> None:
    """A second version is published instead of the first, which stays and is published again without a copy."""
    shop.publish(FILES)
    inode = (shop.layout.published("alpha") / "a.txt").stat().st_ino
    shop.publish(OTHER, SECOND)
    assert shop.publishes(OTHER)
    assert shop.store.reader.inventory().published == {"alpha": SECOND}
    shop.store.published.switch("alpha", FIRST)
    assert shop.publishes(FILES)
    assert (shop.layout.published("alpha") / "a.txt").stat().st_ino == inode
    assert shop.store.reader.inventory().published == {"alpha": FIRST}
    assert set(shop.store.reader.inventory().receipts) == {("alpha", FIRST), ("alpha", SECOND)}


def test_a_reader_never_sees_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With links a switch is one rename: before and after it the old tree or the new one is there."""
    shop = make(tmp_path / "volume")
    shop.publish(FILES)
    seen: list[bool] = []
    original = os.replace

    def watched(source: object, target: object) -> None:
        seen.append(shop.publishes(FILES) or shop.publishes(OTHER))
        original(source, target)  # type: ignore[arg-type]
        seen.append(shop.publishes(FILES) or shop.publishes(OTHER))

    monkeypatch.setattr(os, "replace", watched)
    shop.publish(OTHER, SECOND)
    assert seen
    assert all(seen)


# --- a wrong tree is not published ------------------------------------------------------------------------------------------


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
    """A staged tree that is not what its manifest says is not published."""
    receipt, staged, manifest = shop.stage(FILES)
    harm(staged)
    with pytest.raises(VolumeError, match="not what was put there"):
        shop.store.publisher.publish(receipt, staged, manifest)
    assert not shop.layout.published("alpha").exists()
    assert shop.store.reader.inventory().receipts == {}


def test_what_another_source_left_is_pruned(shop: Shop) -> None:
    """With `prune`, names that are not in the manifest are removed from the staged tree; the rest must be right."""
    receipt, staged, manifest = shop.stage(FILES)
    (staged / "left" / "over").mkdir(parents=True)
    (staged / "left" / "file").write_bytes(b"from another source")
    shop.store.publisher.publish(receipt, staged, manifest, prune=True)
    assert shop.publishes(FILES)
    assert not (shop.layout.published("alpha") / "left").exists()
    receipt, staged, manifest = shop.stage(OTHER, SECOND)
    (staged / "left").write_bytes(b"")
    (staged / "a.txt").unlink()
    with pytest.raises(VolumeError, match="not what was put there"):
        shop.store.publisher.publish(receipt, staged, manifest, prune=True)
    assert shop.publishes(FILES)


def test_a_cancellation_before_publishing(tmp_path: Path) -> None:
    """A cancellation is noticed before anything is published."""
    shop = make(tmp_path / "volume")
    staged = shop.stage(FILES)

    def stop() -> None:
        raise InterruptedBySignal(15)

    with pytest.raises(InterruptedBySignal):
        Store(shop.layout, "link", program_version="1", check_cancelled=stop).publisher.publish(*staged)
    assert not shop.layout.published("alpha").exists()


# --- death at every step ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", range(12))
def test_death_between_any_two_steps(shop: Shop, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """After death before any rename the app reads one tree or none, and adopting or publishing again completes it."""
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
    assert shop.publishes(FILES) or shop.publishes(OTHER) or (not shop.layout.published("alpha").exists())
    inventory = shop.store.reader.inventory()
    if died:
        assert ("alpha", SECOND) not in inventory.receipts
    if ("alpha", SECOND) in inventory.orphans:
        assert shop.store.publisher.adopt("alpha", SECOND)
    elif died:
        shutil.rmtree(shop.layout.staging, ignore_errors=True)
        shop.publish(OTHER, SECOND)
    assert shop.publishes(OTHER)
    assert shop.store.reader.inventory().published == {"alpha": SECOND}
    shop.store.published.switch("alpha", FIRST)
    assert shop.publishes(FILES)


# --- receipts ---------------------------------------------------------------------------------------------------------------


def test_a_tree_that_is_gone(shop: Shop) -> None:
    """A version whose tree is gone does not count."""
    shop.publish(FILES)
    shutil.rmtree(shop.layout.published("alpha").resolve())
    inventory = shop.store.reader.inventory()
    assert (inventory.receipts, inventory.published, inventory.orphans) == ({}, {}, frozenset())


def test_a_receipt_of_another(shop: Shop) -> None:
    """A receipt that names another version does not count."""
    shop.publish(FILES)
    path = shop.layout.receipt("alpha", FIRST)
    document = json.loads(path.read_bytes())
    path.write_text(json.dumps({**document, "version": SECOND}))
    assert shop.store.reader.inventory().receipts == {}
    assert shop.store.reader.inventory().orphans == {("alpha", FIRST)}


def test_adopted(shop: Shop) -> None:
    """A right tree without a receipt is hashed and published, and gets its receipt back."""
    shop.publish(FILES)
    receipt = shop.layout.receipt("alpha", FIRST)
    before = receipt.read_bytes()
    receipt.unlink()
    assert shop.store.reader.inventory().orphans == {("alpha", FIRST)}
    assert shop.store.publisher.adopt("alpha", FIRST)
    assert receipt.read_bytes() == before
    assert shop.store.reader.inventory().published == {"alpha": FIRST}
    assert shop.publishes(FILES)


@pytest.mark.parametrize("content", [b"One", b"too long"])
def test_not_adopted(shop: Shop, content: bytes) -> None:
    """A wrong tree without a receipt is removed, with its manifest."""
    shop.publish(FILES)
    shop.layout.receipt("alpha", FIRST).unlink()
    (shop.layout.published("alpha") / "a.txt").write_bytes(content)
    assert not shop.store.publisher.adopt("alpha", FIRST)
    assert shop.store.reader.inventory().orphans == frozenset()
    assert shop.store.reader.tree_of("alpha", FIRST) is None
    shop.publish(FILES)
    assert shop.publishes(FILES)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EACCES, errno.ESTALE, errno.EIO])
@pytest.mark.parametrize("name", [".origin", ".json"])
def test_a_record_that_cannot_be_read_now(shop: Shop, monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    """The record is not treated as damaged: the tree that it describes stays, and the next run adopts it."""
    shop.publish(FILES)
    shop.layout.receipt("alpha", FIRST).unlink()
    real_open, refused = os.open, 0

    def refuse(path: str | Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        nonlocal refused
        if os.fspath(path).endswith(f"{FIRST}{name}"):
            refused += 1
            raise OSError(number, os.strerror(number), os.fspath(path))
        return real_open(path, flags, mode, dir_fd=dir_fd)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        with pytest.raises((VolumeError, VolumeNotWritableError), match="reading"):
            shop.store.publisher.adopt("alpha", FIRST)
        assert not shop.store.publisher.adopt("alpha", FIRST, keep=True)
    assert refused
    assert shop.store.publisher.adopt("alpha", FIRST)
    assert shop.publishes(FILES)


def test_a_tree_without_records_is_replaced(shop: Shop) -> None:
    """A tree without receipt and manifest does not count, whatever it holds: publishing replaces it."""
    shop.publish(FILES)
    shop.layout.receipt("alpha", FIRST).unlink()
    shop.layout.manifest("alpha", FIRST).unlink()
    (shop.layout.published("alpha") / "a.txt").write_bytes(b"damaged")
    shop.publish(FILES)
    assert shop.publishes(FILES)
    assert shop.store.reader.inventory().published == {"alpha": FIRST}


@pytest.mark.parametrize("content", [b"", b"{", b'{"schema_version": 1, "entries": [{"path": "../x"}]}'])
def test_a_damaged_manifest(shop: Shop, content: bytes) -> None:
    """A damaged manifest counts as none: no tree is adopted by it."""
    shop.publish(FILES)
    shop.layout.receipt("alpha", FIRST).unlink()
    shop.layout.manifest("alpha", FIRST).write_bytes(content)
    assert shop.store.reader.manifest("alpha", FIRST) is None
    assert not shop.store.publisher.adopt("alpha", FIRST)


# --- removing ---------------------------------------------------------------------------------------------------------------


def test_removed(shop: Shop) -> None:
    """A removed version leaves nothing but empty directories."""
    shop.publish(FILES)
    shop.publish(OTHER, SECOND)
    shop.store.cleaner.clear_staging()
    shop.store.cleaner.remove("alpha", FIRST)
    assert shop.publishes(OTHER)
    assert set(shop.store.reader.inventory().receipts) == {("alpha", SECOND)}
    assert [path for path in shop.layout.private.rglob("*") if FIRST in path.name] == []
    shop.store.cleaner.remove("alpha", FIRST)


def test_staging_is_cleared(shop: Shop) -> None:
    """Clearing staging removes one data set's unfinished trees, or all that is staged."""
    shop.stage(FILES)
    blob = shop.layout.blobs / "x.part"
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"")
    shop.store.cleaner.clear_staging("alpha")
    assert blob.exists()
    assert not shop.layout.staged_tree("alpha", FIRST).exists()
    shop.store.cleaner.clear_staging()
    assert not shop.layout.staging.exists()


@pytest.mark.parametrize("what", ["staging/shares/work", "staging/shares", "staging/blobs/x.part", "datasets/.alpha.new"])
def test_what_vanishes_while_leftovers_are_looked_for(shop: Shop, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Workers and other runs may remove their files at any moment: these are then neither leftovers nor errors."""
    (shop.layout.shares / "work").mkdir(parents=True)
    (shop.layout.shares / "work" / "0-of-2.part").write_bytes(b"x")
    shop.layout.blobs.mkdir(parents=True)
    (shop.layout.blobs / "x.part").write_bytes(b"x")
    shop.layout.datasets.mkdir()
    (shop.layout.datasets / ".alpha.new").symlink_to(shop.layout.link_target("alpha", FIRST))
    gone = 0

    def vanishing(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: str | Path, **options: Any) -> Any:
            nonlocal gone
            if os.fspath(path).endswith(what):
                gone += 1
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path))
            return real(path, **options)

        return call

    # A link is examined once before it is read.
    monkeypatch.setattr(os, *(("readlink", vanishing(os.readlink)) if what.endswith("new") else ("lstat", vanishing(os.lstat))))
    shop.store.cleaner.clear_abandoned((), 0.0)
    shop.store.cleaner.leftovers()
    assert gone
    assert (shop.layout.shares / "work" / "0-of-2.part").exists()
    assert (shop.layout.blobs / "x.part").exists()


def test_a_staging_directory_of_the_user_stays(tmp_path: Path) -> None:
    """A staging directory that the user named stays, with all other files in it."""
    layout = VolumeLayout(tmp_path / "volume", tmp_path / "staging" / ".provisioner-0")
    layout.blobs.mkdir(parents=True)
    (tmp_path / "staging" / "mine.txt").write_text("mine")
    Store(layout, "link", program_version="1", check_cancelled=lambda: None).cleaner.clear_staging()
    assert [path.name for path in (tmp_path / "staging").iterdir()] == ["mine.txt"]


# --- foreign files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["file", "folder", "link", "dangling"])
def test_foreign_things(shop: Shop, kind: str) -> None:
    """A foreign file, non-empty directory or link at a published name is reported, and does not count."""
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
    """Other names in the program's directories are ignored."""
    shop.publish(FILES)
    (shop.layout.receipts / "README").write_text("not a folder")
    (shop.layout.receipts / "alpha" / "notes.txt").write_text("not a receipt")
    (shop.layout.receipts / "alpha" / ".json").write_text("{}")
    (shop.layout.manifests / "alpha" / "nothing.json").write_text("{}")
    (shop.layout.store / "stray").mkdir()
    assert shop.store.reader.inventory().published == {"alpha": FIRST}
    assert shop.store.reader.inventory().orphans == frozenset()


def test_an_empty_directory_is_replaced(tmp_path: Path) -> None:
    """An empty directory at a published name is replaced: it holds nothing that could be lost."""
    shop = make(tmp_path / "volume")
    shop.layout.published("alpha").mkdir(parents=True)
    shop.publish(FILES)
    assert shop.layout.published("alpha").is_symlink()
    assert shop.publishes(FILES)


def test_a_link_that_a_killed_run_left(tmp_path: Path) -> None:
    """A link that a run left when it was killed during a switch, also an older version of the program, is a leftover."""
    shop = make(tmp_path / "volume")
    shop.layout.datasets.mkdir(parents=True)
    (shop.layout.datasets / temporary_name()).symlink_to("nowhere")
    (shop.layout.datasets / ".alpha.new").symlink_to(shop.layout.link_target("alpha", FIRST))
    (shop.layout.datasets / ".beta.new").symlink_to("somebody's")
    shop.publish(FILES)
    assert shop.publishes(FILES)
    shop.store.cleaner.clear_leftovers()
    assert sorted(os.listdir(shop.layout.datasets)) == [".beta.new", "alpha"]


def test_a_receipt_does_not_depend_on_the_program(shop: Shop) -> None:
    """A receipt names the program's version; it is valid for another version of the program too."""
    shop.publish(FILES)
    later = Store(shop.layout, shop.store.published._mode, program_version="10.0", check_cancelled=lambda: None)
    receipt, _, manifest = shop.stage(FILES, SECOND)
    assert later.reader.inventory().receipts["alpha", FIRST] == replace(receipt, version=FIRST)
    assert len(manifest) == 2
