"""One data set, from its sources to its published tree: resolve, fetch, verify, unpack, publish.

This is where the two edges meet for one data set; :mod:`provisioner.engine.run` does so for the whole run.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from provisioner.engine.fetch_threads import AbandonedError, FetchThreads, Job
from provisioner.errors import (
    TRY_NEXT_AFTER,
    BrokenArchiveError,
    ConfigurationError,
    IntegrityError,
    NoRoomError,
    ProvisionerError,
    UpstreamChangedError,
    VolumeError,
    VolumeFullError,
    error_to_report,
)
from provisioner.planning.capacity import LARGE
from provisioner.planning.model import Receipt
from provisioner.volume.archive.tree_writer import check_names
from provisioner.volume.archive.unpack import unpack
from provisioner.volume.fs.atomic import write_atomic, write_new
from provisioner.volume.fs.directories import make_directory
from provisioner.volume.fs.durable import sync_tree
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.fs.files import open_file
from provisioner.volume.fs.links import link_or_copy
from provisioner.volume.fs.remove import remove_tree
from provisioner.volume.staging.blob import Blob
from provisioner.volume.staging.hashing import checked_sha256, hash_file
from provisioner.volume.staging.incoming import LocalFile
from provisioner.volume.staging.ranged_file import RangedFile
from provisioner.volume.store.entry import Entry
from provisioner.volume.store.manifest import Manifest
from provisioner.volume.store.tree_check import check_entry, check_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from provisioner.cancellation import Cancellation
    from provisioner.catalog.artifact import Artifact
    from provisioner.planning.model import Inventory, Step
    from provisioner.remote.resolved import Resolved
    from provisioner.remote.sources import Sources
    from provisioner.remote.transfers import Transfers
    from provisioner.volume.staging.incoming import Incoming
    from provisioner.volume.staging.local_copies import LocalCopies
    from provisioner.volume.staging.ranged_file import RangedFileReader
    from provisioner.volume.store.store import Store

_LOGGER = logging.getLogger(__name__)

SMALL: Final = 1 << 20
"""Bytes up to which a file is held in memory until it is checked, and written once, to its place."""
MAX_NOTED_FILES: Final = 100
"""Receipts are read at every start: how long they are must not depend on how many files a repository has."""


Heritage = dict[str, list[tuple["Path", tuple["Entry", ...]]]]
"""Shape of an artifact to the trees that have it, and its entries there."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A version that is there and wrong: what is right in it is kept."""

    receipt: Receipt | None
    """``None``: nobody knows where it was from."""
    wrong: frozenset[str]
    """Paths of its manifest whose files are not what they should be; all others were hashed just now."""
    shown: bool = True
    """The app sees this version."""


class Watcher(Protocol):
    """Who is told how one data set gets on; called from several threads."""

    def fetching(self, total: int | None) -> None:
        """Fetching begins: so many bytes."""
        ...

    def arrived(self, count: int) -> None:
        """So many bytes are there, wherever they came from; negative: were dropped."""
        ...

    def unpacking(self, name: str, total: int | None) -> None:
        """An archive is being unpacked."""
        ...

    def unpacked(self, name: str, count: int) -> None:
        """So many more bytes of it are unpacked."""
        ...

    def done_unpacking(self, name: str) -> None:
        """It is unpacked, or that failed."""
        ...


@dataclass(frozen=True, slots=True)
class Part:
    """What one artifact put into the tree."""

    entries: tuple[Entry, ...]
    """Sorted, as in a manifest."""
    whole: bool
    """Everything that it holds is among the entries; otherwise some of it came from an artifact before it."""


class DataSetBuilder:
    """Makes one step of a plan true."""

    def __init__(
        self,
        step: Step,
        store: Store,
        sources: Sources,
        transfers: Transfers,
        local_copies: LocalCopies,
        *,
        cancellation: Cancellation,
        watcher: Watcher,
        connections: int,
        damage: Damage | None = None,
    ) -> None:
        """Prepare.

        Args:
            step: what to make.
            store: the volume's trees.
            sources: resolves sources of every kind.
            transfers: fetches artifacts.
            local_copies: bytes that are on this machine already.
            cancellation: ends the work.
            watcher: is told how it gets on.
            connections: how many artifacts at once.
            damage: what is there and wrong of this very version; ``None``: it is not there.
        """
        self._damage = damage
        self.fetched: tuple[str, ...] = ()
        """Names of the artifacts that were not to be had on this machine."""
        self._step = step
        self._recipe = step.recipe
        self._store = store
        self._layout = store.layout
        self._sources = sources
        self._transfers = transfers
        self._local_copies = local_copies
        self._cancellation = cancellation
        self._watcher = watcher
        self._connections = connections
        self._crew = FetchThreads(connections, name=step.recipe.label, check_cancelled=cancellation.raise_if_requested)
        self._check_cancelled = self._crew.check_cancelled
        self._tree = self._layout.staged_tree(step.id, step.recipe.version)
        self._parts = self._layout.staged_parts(step.id, step.recipe.version)
        self._taken: dict[str, Entry] = {}
        self._latecomers: dict[str, Entry] = {}
        self._taken_lock = threading.Lock()
        self._unpack_turn = threading.Lock()
        self._directories: set[Path] = set()
        self._plain: dict[Path, bool] = {}
        self._tried: list[Artifact] = []
        """Of all sources so far: what is staged of them is of no use once one has given the data set whole."""

    def fill(self, inventory: Inventory, published_at: Callable[[], str]) -> Receipt:
        """Try the sources in their order until one gives the data set whole, and publish it.

        Args:
            inventory: what is on the volume; shared parts are taken over from it.
            published_at: gives the time for the receipt.

        Raises:
            ProvisionerError: no source did (the most telling of their errors), or the volume failed.
        """
        errors: list[ProvisionerError] = []
        for place, source in enumerate(self._recipe.sources):
            try:
                resolved = self._sources.resolve(source)
                self._tried += resolved.artifacts
                parts = self._gather(resolved, inventory)
                return self._publish(resolved, parts, published_at)
            except (*TRY_NEXT_AFTER, ConfigurationError) as error:
                if self._cancellation.reason is not None:
                    raise
                errors.append(error)
                if place + 1 < len(self._recipe.sources):
                    _LOGGER.warning("%s: %s; trying the next source", self._recipe.label, error.message)
        raise error_to_report(errors)

    # --- bringing the parts together ---------------------------------------------------------------------------------

    def _gather(self, resolved: Resolved, inventory: Inventory) -> dict[str, Part]:
        """Get every artifact of a source into the staged tree; those that are there already cost nothing."""
        make_directory(self._tree)
        make_directory(self._parts)
        is_empty = not any(self._tree.iterdir())
        self._taken, self._latecomers = {}, {}
        parts: dict[str, Part] = {}
        missing: dict[str, list[Artifact]] = {}
        sizes = [artifact.size.value for artifact in resolved.artifacts if artifact.size]
        self._watcher.fetching(sum(sizes) if len(sizes) == len(resolved.artifacts) else None)
        heritage = self._heritage(resolved, inventory)
        for artifact in resolved.artifacts:
            self._cancellation.raise_if_requested()
            part = (None if is_empty else self._staged(artifact)) or self._taken_over(artifact, heritage)
            if part is None:
                # The same bytes may be wanted in several places: repositories repeat licences and empty files.
                missing.setdefault(artifact.key, []).append(artifact)
                continue
            self._keep(artifact, part, parts)
            self._watcher.arrived(artifact.size.value if artifact.size else 0)
        self._check_room([group[0] for group in missing.values()])
        found = [(group, self._local_copies.find(group[0])) for group in missing.values()]
        self.fetched = tuple(group[0].name for group, path in found if path is None)
        self._work_off(found, parts)
        # As large as all parts together, and what follows needs memory of its own.
        self._taken, self._latecomers = {}, {}
        return parts

    def _check_room(self, missing: Sequence[Artifact]) -> None:
        """Hold what the source says against the room there is, where the plan had only an estimate or nothing.

        Raises:
            NoRoomError: it cannot fit; nothing was fetched.
        """
        available, planned = self._step.available_bytes, self._step.download
        if available is None or (planned is not None and planned.exact is not None):
            return
        plain = sum(artifact.size.value for artifact in missing if artifact.size and artifact.unpack == "none")
        archives = [artifact.size.value for artifact in missing if artifact.size and artifact.unpack != "none"]
        packed = {"at_once": sum(archives), "one_by_one": max(archives, default=0), "streamed": 0}[self._step.retention]
        needed = plain + packed + sum(archives)  # an archive's tree is hardly smaller than the archive
        if needed > available:
            raise NoRoomError(
                f"{self._recipe.label} needs {needed:,} bytes, as its source says now; {available:,} are left;"
                " nothing was fetched",
                hint="Enlarge the volume, raise MAX_STORAGE_GB, or ask for a split of it (see 'list').",
            )

    def _work_off(self, missing: Sequence[tuple[list[Artifact], Path | None]], parts: dict[str, Part]) -> None:
        """Fetch what is missing, several artifacts at once if there is room for them; the first failure ends it."""

        def job(group: list[Artifact], found: Path | None) -> Job:
            def obtain() -> None:
                obtained = self._obtain(group, found)
                with self._taken_lock:
                    parts.update(obtained)

            size = group[0].exact_size
            return Job(obtain, found is None and size is not None and size >= LARGE)

        jobs = (job(group, found) for group, found in missing)
        at_once = self._step.retention == "at_once"
        self._crew.run(jobs, leaders=self._transfers.connections_for_small_files if at_once else lambda: 1)

    def _arrived(self, count: int) -> None:
        self._watcher.arrived(count)
        self._check_cancelled()

    def _keep(self, artifact: Artifact, part: Part, parts: dict[str, Part]) -> None:
        parts[artifact.content_id] = part
        self._take(part)

    def _take(self, part: Part) -> None:
        """Enter what an archive or an earlier run has put into the tree.

        Raises:
            IntegrityError: a plain file that came meanwhile has one of its paths.
        """
        with self._taken_lock:
            for entry in part.entries if self._latecomers else ():
                if entry.kind != "folder" and (late := self._latecomers.get(entry.path)) is not None:
                    self._compare(entry, late)
        self._taken.update((entry.path, entry) for entry in part.entries if entry.kind != "folder")

    def _staged(self, artifact: Artifact) -> Part | None:
        """See whether an earlier run has put this artifact into the staged tree, whole."""
        if artifact.unpack == "none":
            entry = self._hashed(self._tree / artifact.path, artifact)
            return Part((entry,), whole=True) if entry else None
        for whole in (True, False):
            path = self._part_path(artifact, whole=whole)
            with contextlib.suppress(FileNotFoundError, VolumeError):
                with open_file(path) as lines:
                    manifest = Manifest.read(lines, str(path))
                # The tree may have been taken away by a run that died while it published, or changed by another source.
                if not check_tree(
                    self._tree, manifest, deep=True, extra=False, check_cancelled=self._cancellation.raise_if_requested
                ):
                    return Part(manifest.entries, whole=whole)
                path.unlink()
        return None

    def _part_path(self, artifact: Artifact, *, whole: bool) -> Path:
        return self._parts / f"{artifact.content_id}{'' if whole else '-shared'}.json"

    def _hashed(self, path: Path, artifact: Artifact) -> Entry | None:
        """Return the entry of a file that is there and right."""
        try:
            size = path.lstat().st_size
            if path.is_symlink() or artifact.exact_size not in {None, size}:
                return None
            right, sha256 = hash_file(path, artifact, self._cancellation.raise_if_requested)
        except OSError:
            return None
        return self._entry(artifact, size, sha256) if right else None

    def _entry(self, artifact: Artifact, size: int, sha256: str) -> Entry:
        digest = str(artifact.digest) if artifact.digest else None
        return Entry(artifact.path, "file", size, sha256, source_digest=digest, artifact=artifact.content_id)

    def _taken_over(self, artifact: Artifact, heritage: Heritage) -> Part | None:
        """Take this artifact's files from a tree on the volume that has them, and in which they are right."""
        for tree, entries in heritage.get(artifact.content_id, ()):
            own = self._is_own(tree)
            if not self._are_right(tree, entries, own=own):
                continue
            self._link_all(tree, entries)
            part = Part(entries, whole=artifact.unpack == "none" or not own or self._was_whole(artifact))
            if artifact.unpack != "none":
                _LOGGER.info("%s: %s is taken over from %s", self._recipe.label, artifact.name, tree)
                self._note(artifact, part)
            return part
        return None

    def _heritage(self, resolved: Resolved, inventory: Inventory) -> Heritage:
        """Find what could be taken over: from this version if it is there, from others, and whatever else has its archives."""
        wanted = {artifact.content_id for artifact in resolved.artifacts if artifact.digest is not None}
        found: Heritage = {}
        if self._damage is not None:
            self._inherit_own(resolved, self._damage, found)
        for (dataset, version), receipt in inventory.receipts.items():
            whole = wanted & receipt.content_ids.keys()
            if (not whole and dataset != self._step.id) or (dataset, version) == (self._step.id, self._recipe.version):
                continue
            tree, manifest = self._store.reader.tree_of(dataset, version), self._store.reader.manifest(dataset, version)
            entries: dict[str, list[Entry]] = {}
            for entry in manifest if tree is not None and manifest is not None else ():
                # A plain file is an artifact by itself; of an archive the receipt says whether all of it is here.
                if entry.artifact in wanted and (entry.artifact in whole or entry.source_digest):
                    entries.setdefault(entry.artifact, []).append(entry)
            for content_id, those in entries.items():
                if tree is not None:
                    found.setdefault(content_id, []).append((tree, tuple(those)))
        return found

    def _inherit_own(self, resolved: Resolved, damage: Damage, found: Heritage) -> None:
        """Add what this version has of its own artifacts, whole or not: together they are all of it."""
        tree = self._store.reader.tree_of(self._step.id, self._recipe.version)
        manifest = self._store.reader.manifest(self._step.id, self._recipe.version)
        if tree is None or manifest is None:
            return
        wanted = {artifact.content_id for artifact in resolved.artifacts}
        entries: dict[str, list[Entry]] = {}
        if damage.receipt is not None and damage.receipt.pin == resolved.pin:
            # The same artifacts as then: one without entries has nothing that others did not bring.
            entries = {content_id: [] for content_id in wanted}
        for entry in manifest:
            if entry.artifact in wanted:
                entries.setdefault(entry.artifact, []).append(entry)
        for content_id, those in entries.items():
            found[content_id] = [(tree, tuple(those))]

    def _is_own(self, tree: Path) -> bool:
        return self._damage is not None and tree == self._store.reader.tree_of(self._step.id, self._recipe.version)

    def _was_whole(self, artifact: Artifact) -> bool:
        receipt = self._damage.receipt if self._damage is not None else None
        return receipt is not None and artifact.content_id in receipt.content_ids

    def _are_right(self, tree: Path, entries: Sequence[Entry], *, own: bool) -> bool:
        """Return whether the files of a tree are what its manifest says; all are hashed, if they were not just now."""
        if own and self._damage is not None:
            return self._damage.wrong.isdisjoint(entry.path for entry in entries)
        if len(entries) == 1 and entries[0].kind == "file":
            # A repository may have a hundred thousand of these: not each of them is worth a walk through the tree.
            return self._is_plain(tree, entries[0]) and check_entry(
                tree, entries[0], check_cancelled=self._cancellation.raise_if_requested
            )
        return not check_tree(
            tree, Manifest(tuple(entries)), deep=True, extra=False, check_cancelled=self._cancellation.raise_if_requested
        )

    def _is_plain(self, tree: Path, entry: Entry) -> bool:
        """Return whether a file is really in the tree: no directory above it is a link to somewhere else."""
        directory = (tree / entry.path).parent
        if directory not in self._plain:
            self._plain[directory] = directory.resolve() == tree.resolve() / directory.relative_to(tree)
        return self._plain[directory]

    def _link_all(self, tree: Path, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._cancellation.raise_if_requested()
            target = self._tree / entry.path
            if entry.kind == "folder":
                make_directory(target)
                continue
            make_directory(target.parent)
            with disk_errors(f"replacing {target}"):
                target.unlink(missing_ok=True)
            link_or_copy(tree / entry.path, target)

    # --- one artifact --------------------------------------------------------------------------------------------

    def _obtain(self, group: Sequence[Artifact], found: Path | None) -> dict[str, Part]:
        """Get the bytes that some artifacts have in common, and put them into the staged tree.

        How depends on what they are: a small file is held in memory until it is checked; a large one comes in ranges, and is
        unpacked while they arrive; anything between comes by one connection.
        """
        artifact = group[0]
        size = artifact.exact_size
        archives = [artifact for artifact in group if artifact.unpack != "none"]
        if found is not None:
            return self._obtain_found(group, archives, found)
        if size is not None and size <= SMALL and not archives:
            return self._obtain_small(group, size)
        if size is not None and size >= LARGE:
            return self._obtain_large(group, archives, size)
        with Blob(self._layout.blobs, artifact, check_cancelled=self._check_cancelled) as blob, self._dropped_if_full(blob):
            self._arrived(blob.have)
            sha256 = self._transfers.fetch(artifact, blob, self._arrived)
            parts = self._unpack_file(archives, blob.path)
            return parts | self._place(group, blob, blob.have, sha256)

    @contextlib.contextmanager
    def _dropped_if_full(self, staged: Blob | RangedFile) -> Iterator[None]:
        """Drop what has arrived when the volume is full: it would keep the other data sets out as well."""
        try:
            yield
        except VolumeFullError:
            staged.drop()
            raise

    def _obtain_found(self, group: Sequence[Artifact], archives: Sequence[Artifact], found: Path) -> dict[str, Part]:
        _LOGGER.info("%s: %s is used, nothing is fetched", self._recipe.label, found)
        self._arrived(found.stat().st_size)
        parts = self._unpack_file(archives, found)
        if len(archives) == len(group):
            return parts
        with Blob(self._layout.blobs, group[0], check_cancelled=self._check_cancelled) as blob, self._dropped_if_full(blob):
            _pour(found, blob, self._check_cancelled)
            sha256 = blob.seal()
            return parts | self._place(group, blob, blob.have, sha256)

    def _obtain_small(self, group: Sequence[Artifact], size: int) -> dict[str, Part]:
        parts: dict[str, Part] = {}

        def accept(data: bytes) -> str:
            sha256 = checked_sha256(group[0], data)
            for artifact in group:
                entry = self._entry(artifact, size, sha256)
                if self._claim(entry):
                    self._write_small(self._tree / artifact.path, data)
                parts[artifact.content_id] = Part((entry,), whole=True)
            return sha256

        self._transfers.fetch_small(group[0], size, accept, self._arrived)
        return parts

    def _write_small(self, target: Path, data: bytes) -> None:
        """Write a file straight to its place: one of which only a part is there after a death is found by its hash."""
        if target.parent not in self._directories:
            make_directory(target.parent)
            self._directories.add(target.parent)
        write_new(target, data)

    def _obtain_large(self, group: Sequence[Artifact], archives: Sequence[Artifact], size: int) -> dict[str, Part]:
        artifact = group[0]
        if self._step.retention == "streamed" and len(archives) == len(group) == 1:
            assembly = RangedFile.in_memory(artifact, size, check_cancelled=self._check_cancelled, connections=self._connections)
        else:
            assembly = RangedFile.on_disk(
                self._layout.blobs, artifact, size, check_cancelled=self._check_cancelled, connections=self._connections
            )
        with assembly, self._dropped_if_full(assembly):
            self._arrived(assembly.have)
            unpackings = [_Unpacking(self, archive, assembly) for archive in archives]
            try:
                sha256 = self._transfers.fetch_ranges(artifact, assembly, self._crew, self._arrived)
            except BaseException as error:
                # What the unpacking has to say comes first where it is about the disk: then the transfer ended for its sake.
                assembly.end(error)
                for unpacking in unpackings:
                    unpacking.wait()
                raise
            # Where there is room, the next archive may come while this one is unpacked.
            rests = self._crew.resting() if unpackings and self._step.retention == "at_once" else contextlib.nullcontext()
            with rests:
                parts = {unpacking.artifact.content_id: unpacking.part() for unpacking in unpackings}
            return parts | self._place(group, assembly, size, sha256)

    def _place(self, group: Sequence[Artifact], staged: Blob | RangedFile, size: int, sha256: str) -> dict[str, Part]:
        """Put a staged file where the artifacts that are not unpacked have it; an archive stays while there is room."""
        parts: dict[str, Part] = {}
        placed: Path | None = None
        for artifact in group:
            if artifact.unpack != "none":
                continue
            entry = self._entry(artifact, size, sha256)
            target = self._tree / artifact.path
            if self._claim(entry):
                self._make_way(target)
                if placed is None:
                    staged.move_to(target)
                    placed = target
                else:
                    link_or_copy(placed, target)
            parts[artifact.content_id] = Part((entry,), whole=True)
        if placed is None and self._step.retention != "at_once":
            staged.drop()
        return parts

    def _claim(self, entry: Entry) -> bool:
        """Enter a file or link among what is taken; ``False``: the same is there already.

        Raises:
            IntegrityError: another file has its path.
        """
        with self._taken_lock:
            known = self._taken.get(entry.path) or self._latecomers.setdefault(entry.path, entry)
        if known is entry:
            return True
        self._compare(entry, known)
        return False

    def _compare(self, entry: Entry, known: Entry) -> None:
        if (known.kind, known.size, known.sha256, known.target) != (entry.kind, entry.size, entry.sha256, entry.target):
            raise IntegrityError(
                f"{self._recipe.label}: {entry.path!r} is a {entry.kind} of {entry.size:,} bytes, sha256 {entry.sha256},"
                f" and another part of the data set has something else there; nothing was published",
                hint="The two do not belong in one folder: give one of them its own with `into`.",
            )

    def _make_way(self, target: Path) -> None:
        """Take away what an earlier, unfinished attempt left at a path."""
        make_directory(target.parent)
        if target.is_symlink() or target.exists():
            remove_tree(target)

    def _unpack_file(self, archives: Sequence[Artifact], path: Path) -> dict[str, Part]:
        parts = {}
        for artifact in archives:
            with LocalFile(path, artifact.name.rsplit("/", 1)[-1]) as archive:
                parts[artifact.content_id] = self.unpack(artifact, archive)
        return parts

    def unpack(self, artifact: Artifact, archive: Incoming, proven: Callable[[], None] = lambda: None) -> Part:
        """Unpack an archive into the staged tree.

        Args:
            artifact: what it is.
            archive: its bytes, which may still be arriving.
            proven: returns when all of them have turned out to be right; before, nothing that came out is believed.

        Raises:
            ProvisionerError: it is broken or unsafe, or the volume failed, or the run must end.
        """
        # One after the other: they share the record of what is taken, and the disk.
        with self._unpack_turn:
            with self._taken_lock:
                # From here to the end of the unpacking it does not change; what comes meanwhile is among the latecomers.
                self._taken.update(self._latecomers)
                self._latecomers.clear()
            self._watcher.unpacking(artifact.name, artifact.unpacked_size.value if artifact.unpacked_size else None)
            try:
                result = unpack(
                    archive,
                    artifact.unpack,
                    self._tree,
                    artifact.into,
                    taken=self._taken,
                    check_cancelled=self._check_cancelled,
                    advance=lambda count: self._watcher.unpacked(artifact.name, count),
                    artifact=artifact.content_id,
                )
            finally:
                self._watcher.done_unpacking(artifact.name)
            proven()
            part = Part(Manifest.of(result.entries).entries, whole=not result.shared)
            del result
            self._take(part)
            self._note(artifact, part)
        return part

    def _note(self, artifact: Artifact, part: Part) -> None:
        """Record that an artifact is in the tree: from here on its archive is not needed again.

        Where there is room, its archive stays until everything is published, and nothing is synced here: the record is
        believed only after hashing what it speaks of.
        """
        if self._step.retention != "at_once":
            sync_tree(self._tree)
        write_atomic(self._part_path(artifact, whole=part.whole), Manifest(part.entries).json_lines())

    # --- the whole -----------------------------------------------------------------------------------------------

    def _publish(self, resolved: Resolved, parts: Mapping[str, Part], published_at: Callable[[], str]) -> Receipt:
        manifest = Manifest.merged(parts[artifact.content_id].entries for artifact in resolved.artifacts)
        if not manifest.files:
            raise BrokenArchiveError(
                f"{self._recipe.label}: there is no file in it; nothing was published",
                hint="The archive is empty, or its source's globs leave nothing. A maintainer should correct the catalog.",
            )
        # Within one archive that is found out while it is unpacked.
        check_names((entry.path for entry in manifest), self._tree, self._recipe.label)
        against = {artifact.verified_against for artifact in resolved.artifacts}
        receipt = Receipt(
            dataset=self._step.id,
            version=self._recipe.version,
            layout=self._recipe.layout,
            splits=self._recipe.splits,
            files=manifest.files,
            size=manifest.bytes,
            license=self._recipe.dataset.license.spdx,
            source_kind=resolved.kind,
            source_url=resolved.url,
            pin=resolved.pin,
            verified_against=next(word for word in ("none", "listing", "catalog") if word in against),
            published_at=self._published_at(manifest) or published_at(),
            content_ids=_noted_shapes(resolved.artifacts, parts),
        )
        # Before everything is synced, so that what nobody needs any more is not written out.
        self._store.cleaner.clear_blobs({artifact.key for artifact in self._tried})
        # A source that failed half-way, or a run with another catalog, may have left other names in the staged tree: they go.
        self._store.publisher.publish(
            receipt, self._tree, manifest, switch=self._damage is None or self._damage.shown, prune=True
        )
        self._store.cleaner.clear_staging(self._step.id)
        return receipt

    def _published_at(self, manifest: Manifest) -> str | None:
        """Return the time of the version that is mended, if it becomes what it was."""
        if self._damage is None or self._damage.receipt is None:
            return None
        if self._store.reader.has_checksums(self._step.id, self._recipe.version, manifest):
            return self._damage.receipt.published_at
        _LOGGER.warning("%s: it is not what it was: the source has changed since", self._recipe.label)
        return None


class _Unpacking:
    """An archive that is unpacked while it arrives, on a thread of its own."""

    def __init__(self, filler: DataSetBuilder, artifact: Artifact, assembly: RangedFile) -> None:
        """Begin."""
        self.artifact = artifact
        self._filler = filler
        self._assembly = assembly
        self._part: Part | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"unpack-{artifact.name}", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until it has ended, one way or the other."""
        self._thread.join()

    def part(self) -> Part:
        """Return what came out, when it has.

        Raises:
            ProvisionerError: why it did not.
        """
        self._thread.join()
        if self._part is None:
            raise self._failure or AbandonedError
        return self._part

    def _run(self) -> None:
        try:
            while self._part is None:
                reader = self._assembly.reader()
                with contextlib.suppress(UpstreamChangedError):
                    self._part = self._unpack(reader)
        except BaseException as error:  # noqa: BLE001 - raised again on the thread that waits
            self._failure = error
            self._assembly.end(error)

    def _unpack(self, reader: RangedFileReader) -> Part:
        try:
            return self._filler.unpack(self.artifact, reader, reader.wait_sealed)
        except UpstreamChangedError:
            raise
        except IntegrityError:
            # Were the bytes wrong that came? Then their digest says so, and that is what is to be told, and mended.
            reader.release(reader.size)
            reader.wait_sealed()
            raise


def _noted_shapes(artifacts: Sequence[Artifact], parts: Mapping[str, Part]) -> dict[str, str]:
    """Return what a receipt says of its artifacts: a few that others may take over, never one line for each of many files."""
    plain = len(artifacts) <= MAX_NOTED_FILES
    return {
        artifact.content_id: artifact.key
        for artifact in artifacts
        if artifact.digest is not None and parts[artifact.content_id].whole and (plain or artifact.unpack != "none")
    }


def _pour(source: Path, blob: Blob, check_cancelled: Callable[[], None]) -> None:
    """Copy a find into staging: the tree gets bytes of its own, whatever becomes of the find."""
    blob.restart()
    with source.open("rb", buffering=0) as file:
        while data := file.read(1 << 20):
            check_cancelled()
            blob.write(data)
