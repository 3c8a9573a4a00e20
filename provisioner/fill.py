"""One data set, from its sources to its published tree: resolve, fetch, verify, unpack, publish.

This is where the two edges meet for one data set; :mod:`provisioner.run` does so for the whole run.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from provisioner.errors import (
    BrokenArchiveError,
    ConfigurationError,
    IntegrityError,
    NoRoomError,
    ProvisionerError,
    VolumeError,
    VolumeFullError,
    gravest,
)
from provisioner.planning.plan import Receipt
from provisioner.remote.source import ANOTHER_MAY_HELP
from provisioner.volume.archive import unpack
from provisioner.volume.disk import disk_errors, link_or_copy, make_folder, remove_tree, sync_tree, write_atomic
from provisioner.volume.incoming import LocalFile
from provisioner.volume.manifest import Entry, Manifest, check_tree
from provisioner.volume.staging import Blob, hash_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from provisioner.planning.plan import Inventory, Step
    from provisioner.planning.recipe import Artifact
    from provisioner.remote.source import Remote, Resolved
    from provisioner.stop import Stop
    from provisioner.volume.finds import Finds
    from provisioner.volume.store import Store

_LOGGER = logging.getLogger(__name__)

MAX_NOTED_FILES: Final = 100
"""Receipts are read at every start: how long they are must not depend on how many files a repository has."""


class _AbandonedError(Exception):
    """Another artifact of the same source has failed for good: the rest of them is of no use from here."""


Heritage = dict[str, tuple["Path", tuple["Entry", ...]]]
"""Shape of an artifact to a tree that has it, and its entries there."""


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


class Filler:
    """Makes one step of a plan true."""

    def __init__(
        self, step: Step, store: Store, remote: Remote, finds: Finds, *, stop: Stop, watcher: Watcher, connections: int
    ) -> None:
        """Prepare.

        Args:
            step: what to make.
            store: the volume's trees.
            remote: all sources.
            finds: bytes that are on this machine already.
            stop: ends the work.
            watcher: is told how it gets on.
            connections: how many artifacts at once.
        """
        self._step = step
        self._recipe = step.recipe
        self._store = store
        self._layout = store.layout
        self._remote = remote
        self._finds = finds
        self._stop = stop
        self._watcher = watcher
        self._connections = connections
        self._tree = self._layout.staged_tree(step.id, step.recipe.version)
        self._parts = self._layout.staged_parts(step.id, step.recipe.version)
        self._taken: dict[str, Entry] = {}
        self._taken_lock = threading.Lock()
        self._failed = threading.Event()
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
                resolved = self._remote.resolve(source, self._recipe.splits)
                self._tried += resolved.artifacts
                parts = self._gather(resolved, inventory)
                return self._publish(resolved, parts, published_at)
            except (*ANOTHER_MAY_HELP, ConfigurationError) as error:
                if self._stop.reason is not None:
                    raise
                errors.append(error)
                if place + 1 < len(self._recipe.sources):
                    _LOGGER.warning("%s: %s; trying the next source", self._recipe.label, error.message)
        raise gravest(errors)

    # --- bringing the parts together ---------------------------------------------------------------------------------

    def _gather(self, resolved: Resolved, inventory: Inventory) -> dict[str, Part]:
        """Get every artifact of a source into the staged tree; those that are there already cost nothing."""
        make_folder(self._tree)
        make_folder(self._parts)
        self._taken = {}
        parts: dict[str, Part] = {}
        missing: dict[str, list[Artifact]] = {}
        sizes = [artifact.size.value for artifact in resolved.artifacts if artifact.size]
        self._watcher.fetching(sum(sizes) if len(sizes) == len(resolved.artifacts) else None)
        heritage = self._heritage(resolved.artifacts, inventory)
        for artifact in resolved.artifacts:
            self._stop.check()
            part = self._staged(artifact) or self._taken_over(artifact, heritage)
            if part is None:
                # The same bytes may be wanted in several places: repositories repeat licences and empty files.
                missing.setdefault(artifact.key, []).append(artifact)
                continue
            self._keep(artifact, part, parts)
            self._watcher.arrived(artifact.size.value if artifact.size else 0)
        self._check_room([group[0] for group in missing.values()])
        self._work_off(deque((group, self._finds.find(group[0])) for group in missing.values()), parts)
        # As large as all parts together, and what follows needs memory of its own.
        self._taken = {}
        return parts

    def _check_room(self, missing: Sequence[Artifact]) -> None:
        """Hold what the source says against the room there is, where the plan had only an estimate or nothing.

        Raises:
            NoRoomError: it cannot fit; nothing was fetched.
        """
        left, planned = self._step.left_bytes, self._step.download
        if left is None or (planned is not None and not planned.estimate):
            return
        plain = sum(artifact.size.value for artifact in missing if artifact.size and artifact.unpack == "none")
        archives = [artifact.size.value for artifact in missing if artifact.size and artifact.unpack != "none"]
        packed = max(archives, default=0) if self._step.one_at_a_time else sum(archives)
        needed = plain + packed + sum(archives)  # an archive's tree is hardly smaller than the archive
        if needed > left:
            raise NoRoomError(
                f"{self._recipe.label} needs {needed:,} bytes, as its source says now; {left:,} are left; nothing was fetched",
                hint="Enlarge the volume, raise MAX_STORAGE_GB, or ask for a split of it (see 'list').",
            )

    def _work_off(self, missing: deque[tuple[list[Artifact], Path | None]], parts: dict[str, Part]) -> None:
        """Fetch what is missing, several artifacts at once if there is room for them; the first failure ends it."""
        failures: list[BaseException] = []
        self._failed.clear()

        def work() -> None:
            while not failures:
                try:
                    group, found = missing.popleft()
                except IndexError:
                    return
                try:
                    obtained = self._obtain(group, found)
                    with self._taken_lock:
                        parts.update(obtained)
                except _AbandonedError:
                    return
                except BaseException as error:  # noqa: BLE001 - raised again on the thread that waits
                    failures.append(error)
                    self._failed.set()

        count = 1 if self._step.one_at_a_time else min(self._connections, len(missing))
        threads = [threading.Thread(target=work, name=f"fetch-{self._recipe.label}", daemon=True) for _ in range(count - 1)]
        for thread in threads:
            thread.start()
        work()
        for thread in threads:
            thread.join()
        if failures:
            ours = [error for error in failures if isinstance(error, ProvisionerError)]
            raise failures[0] if len(ours) < len(failures) else gravest(ours)

    def _check(self) -> None:
        """End what this thread does: the run must end, or another artifact of the same source has failed for good."""
        self._stop.check()
        if self._failed.is_set():
            raise _AbandonedError

    def _arrived(self, count: int) -> None:
        self._watcher.arrived(count)
        self._check()

    def _keep(self, artifact: Artifact, part: Part, parts: dict[str, Part]) -> None:
        parts[artifact.shape] = part
        self._take(part)

    def _take(self, part: Part) -> None:
        self._taken.update((entry.path, entry) for entry in part.entries if entry.kind != "folder")

    def _staged(self, artifact: Artifact) -> Part | None:
        """See whether an earlier run has put this artifact into the staged tree, whole."""
        if artifact.unpack == "none":
            entry = self._hashed(self._tree / artifact.path, artifact)
            return Part((entry,), whole=True) if entry else None
        for whole in (True, False):
            path = self._part_path(artifact, whole=whole)
            with contextlib.suppress(FileNotFoundError, VolumeError):
                with path.open("rb") as lines:
                    manifest = Manifest.read(lines, str(path))
                # The tree may have been taken away by a run that died while it published, or changed by another source.
                if not check_tree(self._tree, manifest, deep=True, extra=False, check=self._stop.check):
                    return Part(manifest.entries, whole=whole)
                path.unlink()
        return None

    def _part_path(self, artifact: Artifact, *, whole: bool) -> Path:
        return self._parts / f"{artifact.shape}{'' if whole else '-shared'}.json"

    def _hashed(self, path: Path, artifact: Artifact) -> Entry | None:
        """Give the entry of a file that is there and right."""
        try:
            size = path.lstat().st_size
            if path.is_symlink() or (artifact.size and not artifact.size.estimate and size != artifact.size.value):
                return None
            right, sha256 = hash_file(path, artifact, self._stop.check)
        except OSError:
            return None
        return self._entry(artifact, size, sha256) if right else None

    def _entry(self, artifact: Artifact, size: int, sha256: str) -> Entry:
        digest = str(artifact.digest) if artifact.digest else None
        return Entry(artifact.path, "file", size, sha256, source_digest=digest, artifact=artifact.shape)

    def _taken_over(self, artifact: Artifact, heritage: Heritage) -> Part | None:
        """Take this artifact's files from a tree on the volume that has them; every file is hashed on the way."""
        if artifact.shape not in heritage:
            return None
        tree, entries = heritage[artifact.shape]
        if not self._link_all(tree, entries):
            return None
        part = Part(entries, whole=True)
        if artifact.unpack != "none":
            _LOGGER.info("%s: %s is taken over from %s", self._recipe.label, artifact.name, tree)
            self._note(artifact, part)
        return part

    def _heritage(self, artifacts: Sequence[Artifact], inventory: Inventory) -> Heritage:
        """Find what could be taken over: other versions of this data set, and whatever else has one of its archives."""
        wanted = {artifact.shape for artifact in artifacts if artifact.digest is not None}
        found: dict[str, tuple[Path, list[Entry]]] = {}
        for (dataset, version), receipt in inventory.receipts.items():
            whole = wanted & receipt.shapes.keys()
            if not whole and dataset != self._step.id:
                continue
            tree, manifest = self._store.tree_of(dataset, version), self._store.manifest(dataset, version)
            for entry in manifest if tree is not None and manifest is not None else ():
                # A plain file is an artifact by itself; of an archive the receipt says whether all of it is here.
                if tree is not None and entry.artifact in wanted and (entry.artifact in whole or entry.source_digest):
                    place = found.setdefault(entry.artifact, (tree, []))
                    if place[0] == tree:
                        place[1].append(entry)
        return {shape: (tree, tuple(entries)) for shape, (tree, entries) in found.items()}

    def _link_all(self, tree: Path, entries: Sequence[Entry]) -> bool:
        if check_tree(tree, Manifest(tuple(entries)), deep=True, extra=False, check=self._stop.check):
            return False
        for entry in entries:
            self._stop.check()
            target = self._tree / entry.path
            if entry.kind == "folder":
                make_folder(target)
                continue
            make_folder(target.parent)
            with disk_errors(f"replacing {target}"):
                target.unlink(missing_ok=True)
            link_or_copy(tree / entry.path, target)
        return True

    # --- one artifact --------------------------------------------------------------------------------------------

    def _obtain(self, group: Sequence[Artifact], found: Path | None) -> dict[str, Part]:
        """Get the bytes that some artifacts have in common, and put them into the staged tree."""
        if found is not None:
            _LOGGER.info("%s: %s is used, nothing is fetched", self._recipe.label, found)
            self._arrived(found.stat().st_size)
            if all(artifact.unpack != "none" for artifact in group):
                return {artifact.shape: self._unpack(artifact, found) for artifact in group}
        with Blob(self._layout.blobs, group[0], check=self._check) as blob:
            try:
                return self._bring(group, blob, found)
            except VolumeFullError:
                # What it leaves would keep the other data sets out as well.
                blob.drop()
                raise

    def _bring(self, group: Sequence[Artifact], blob: Blob, found: Path | None) -> dict[str, Part]:
        if found is not None:
            _pour(found, blob, self._check)
            sha256 = blob.seal()
        else:
            self._arrived(blob.have)
            sha256 = self._remote.fetch(group[0], blob, self._arrived)
        parts = {artifact.shape: self._unpack(artifact, blob.path) for artifact in group if artifact.unpack != "none"}
        placed: Path | None = None
        for artifact in group:
            if artifact.unpack != "none":
                continue
            entry = self._entry(artifact, blob.have, sha256)
            target = self._tree / artifact.path
            if self._claim(entry):
                if placed is None:
                    self._make_way(target)
                    blob.move_to(target)
                    placed = target
                else:
                    self._make_way(target)
                    link_or_copy(placed, target)
            parts[artifact.shape] = Part((entry,), whole=True)
        if placed is None:
            blob.drop()
        return parts

    def _claim(self, entry: Entry) -> bool:
        """Enter a plain file among what is taken; ``False``: the same file is there already.

        Raises:
            IntegrityError: another file has its path.
        """
        with self._taken_lock:
            known = self._taken.setdefault(entry.path, entry)
        if known is entry:
            return True
        if (known.kind, known.size, known.sha256) == ("file", entry.size, entry.sha256):
            return False
        raise IntegrityError(
            f"{self._recipe.label}: {entry.path!r} is a file of {entry.size:,} bytes, sha256 {entry.sha256},"
            f" and another part of the data set has something else there; nothing was published",
            hint="The two do not belong in one folder: give one of them its own with `into`.",
        )

    def _make_way(self, target: Path) -> None:
        """Take away what an earlier, unfinished attempt left at a path."""
        make_folder(target.parent)
        if target.is_symlink() or target.exists():
            remove_tree(target)

    def _unpack(self, artifact: Artifact, archive: Path) -> Part:
        # One after the other: they share the record of what is taken, and the disk.
        with self._taken_lock:
            self._watcher.unpacking(artifact.name, artifact.unpacked_size.value if artifact.unpacked_size else None)
            try:
                with LocalFile(archive) as whole:
                    result = unpack(
                        whole,
                        artifact.unpack,
                        self._tree,
                        artifact.into,
                        taken=self._taken,
                        check=self._check,
                        advance=lambda count: self._watcher.unpacked(artifact.name, count),
                        artifact=artifact.shape,
                    )
            finally:
                self._watcher.done_unpacking(artifact.name)
            part = Part(Manifest.of(result.entries).entries, whole=not result.shared)
            del result
            self._note(artifact, part)
            self._take(part)
        return part

    def _note(self, artifact: Artifact, part: Part) -> None:
        """Record that an artifact is in the tree: from here on its archive is not needed again."""
        sync_tree(self._tree)
        write_atomic(self._part_path(artifact, whole=part.whole), Manifest(part.entries).json_lines())

    # --- the whole -----------------------------------------------------------------------------------------------

    def _publish(self, resolved: Resolved, parts: Mapping[str, Part], published_at: Callable[[], str]) -> Receipt:
        manifest = Manifest.merged(parts[artifact.shape].entries for artifact in resolved.artifacts)
        if not manifest.files:
            raise BrokenArchiveError(
                f"{self._recipe.label}: there is no file in it; nothing was published",
                hint="The archive is empty, or its source's globs leave nothing. A maintainer should correct the catalog.",
            )
        self._prune(manifest)
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
            published_at=published_at(),
            shapes=_noted_shapes(resolved.artifacts, parts),
        )
        self._store.publish(receipt, self._tree, manifest)
        self._store.clear_staging(self._step.id)
        self._store.clear_blobs({artifact.key for artifact in self._tried})
        return receipt

    def _prune(self, manifest: Manifest) -> None:
        """Remove what a source that failed half-way, or a run with another catalog, left in the staged tree."""
        for finding in check_tree(self._tree, manifest, deep=False, check=self._stop.check):
            if finding.problem == "extra":
                remove_tree(self._tree / finding.path)


def _noted_shapes(artifacts: Sequence[Artifact], parts: Mapping[str, Part]) -> dict[str, str]:
    """Give what a receipt says of its artifacts: a few that others may take over, never one line for each of many files."""
    plain = len(artifacts) <= MAX_NOTED_FILES
    return {
        artifact.shape: artifact.key
        for artifact in artifacts
        if artifact.digest is not None and parts[artifact.shape].whole and (plain or artifact.unpack != "none")
    }


def _pour(source: Path, blob: Blob, check: Callable[[], None]) -> None:
    """Copy a find into staging: the tree gets bytes of its own, whatever becomes of the find."""
    blob.restart()
    with source.open("rb", buffering=0) as file:
        while data := file.read(1 << 20):
            check()
            blob.write(data)
