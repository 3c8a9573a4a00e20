"""Reuse what the volume already has of a data set: parts that an earlier run staged, and files of other versions.

Everything is hashed before it is reused, except for the right files of a damaged version, which were hashed just before.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from provisioner.engine.staged_tree import Part, file_entry, not_links
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.fs.mounts import is_linkable
from provisioner.volume.parallel import BATCH_BYTES, OrderedWork, Pool, Turns, batches
from provisioner.volume.staging.hashing import hash_open_file
from provisioner.volume.store.tree_check import is_right
from provisioner.volume.tree.reader import TreeReader
from provisioner.volume.tree.writer import TreeWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from provisioner.catalog.artifact import Artifact
    from provisioner.catalog.file_state import FileState
    from provisioner.engine.build_limits import BuildLimits
    from provisioner.engine.peers import Offer
    from provisioner.engine.staged_tree import StagedTree
    from provisioner.planning.model import Inventory, Receipt
    from provisioner.planning.recipe import Recipe
    from provisioner.remote.resolved import Resolved
    from provisioner.volume.store.entry import Entry
    from provisioner.volume.store.manifest import Manifest
    from provisioner.volume.store.store import Store

_LOGGER = logging.getLogger(__name__)

_MAX_OPEN: Final = 4
"""Directories of each tree that each thread keeps open: files of several trees may be read in turn."""

_CHANGED_BY_LINK: Final = 4
"""Index in the result of :func:`_facts` from which on values change when another hard link to the file is made."""


@dataclass(frozen=True, slots=True)
class Damage:
    """The damage of a version that is being repaired."""

    receipt: Receipt | None
    """``None`` if its receipt is lost, and with it the source that it came from."""
    wrong_paths: frozenset[str]
    """Paths in its manifest whose files are wrong or missing; all other files were just hashed."""
    is_published: bool = True
    """Whether this is the version that the app reads."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A tree on the volume that has an artifact's files."""

    tree: Path
    entries: tuple[Entry, ...]
    is_whole: bool
    """See :attr:`Part.is_whole`."""
    is_verified: bool
    """This run has hashed its files, and they are right."""
    is_peer: bool = False
    """It is on another volume."""
    seen: tuple[int, ...] = ()
    """The facts about a peer's file before it was hashed; others may change it at any time."""
    state: FileState | None = None
    """The server's state of the file when it was fetched, and now; ``None`` if it is identified by its digest instead."""


_Found = tuple["Part | None", "_Candidate | None"]
"""A part that is already staged, or a tree that has the artifact's files; neither if it must be fetched."""
_NOTHING: Final[_Found] = (None, None)


class Reuse:
    """Takes over into one staged tree what the volume already has."""

    def __init__(
        self,
        recipe: Recipe,
        store: Store,
        tree: StagedTree,
        *,
        damage: Damage | None,
        check_cancelled: Callable[[], None],
        limits: BuildLimits,
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            recipe: what is built.
            store: the volume's trees.
            tree: the staged tree that it is taken over into.
            damage: what is wrong with the version that is repaired, or ``None`` if the version is new.
            check_cancelled: raises when the run must end.
            limits: copied bytes are charged to them.
        """
        self._limits = limits
        self._id = recipe.dataset.id
        self._recipe = recipe
        self._store = store
        self._tree = tree
        self._damage = damage
        self._check_cancelled = check_cancelled
        self.unchanged: dict[str, FileState] = {}
        """By key, the states of files without digests that were reused because their servers say that they are unchanged."""

    def parts(
        self, resolved: Resolved, inventory: Inventory, *, staged: bool, offer: Offer | None = None
    ) -> Generator[tuple[Artifact, Part | None]]:
        """Yield each artifact with its part of the staged tree, or ``None`` if it must be fetched.

        Args:
            resolved: the source's artifacts.
            inventory: the versions on the volume.
            staged: whether an earlier run left something in the staged tree.
            offer: the version of peers that the artifacts are files of, or ``None`` if they come from a source.

        Raises:
            ProvisionerError: the volume failed, or the run must end.
        """
        candidates = self._candidates_of_offer(offer, inventory) if offer else self._candidates(resolved, inventory)
        with contextlib.ExitStack() as opened, disk_errors("reusing what is on the volume", self._tree.path):
            new = opened.enter_context(TreeWriter(self._tree.path))
            trees = _OpenTrees(opened)
            found = opened.enter_context(contextlib.closing(self._find_all(resolved.artifacts, candidates, staged=staged)))
            for artifact, (part, candidate) in zip(resolved.artifacts, found, strict=True):
                self._check_cancelled()
                if part is None and candidate is not None:
                    if candidate.state is not None:
                        self.unchanged[artifact.key] = candidate.state
                    yield artifact, self._take_over(artifact, candidate, trees, new)
                else:
                    yield artifact, part

    def _find_all(
        self,
        artifacts: Sequence[Artifact],
        candidates: Mapping[str, Sequence[_Candidate]],
        *,
        staged: bool,
    ) -> Generator[_Found]:
        """Yield what the volume has of each artifact; files that are not unpacked are hashed in advance, on all cores."""
        if not staged and not candidates:
            yield from itertools.repeat(_NOTHING, len(artifacts))
            return
        readers = contextlib.ExitStack()
        pool = Pool(lambda: _OpenTrees(readers))
        turns = Turns()

        def find(artifact: Artifact, trees: _OpenTrees, check: Callable[[], None]) -> _Found:
            check()
            part = self._staged_part(artifact, trees, check) if staged else None
            if part is not None:
                return part, None
            return None, _first_right(candidates.get(artifact.content_id, ()), trees, check)

        def find_files(batch: Sequence[Artifact], check: Callable[[], None]) -> list[_Found]:
            with turns.turn([_bytes_to_hash(artifact) for artifact in batch]), pool.borrow() as trees:
                return [find(artifact, trees, check) if artifact.unpack == "none" else _NOTHING for artifact in batch]

        runs = batches(artifacts, _bytes_to_hash)
        work = OrderedWork(find_files, runs, check_cancelled=self._check_cancelled, name="reuse")
        # The threads end before the trees that they read are closed.
        with readers, contextlib.closing(work.results()) as results, pool.borrow() as trees:
            for artifact, files in zip(artifacts, itertools.chain.from_iterable(results), strict=True):
                # Archives are not hashed in advance, since the files of a single one keep all cores busy; they have no result
                # here.
                yield files if artifact.unpack == "none" else find(artifact, trees, self._check_cancelled)

    # --- parts that an earlier run staged ----------------------------------------------------------------------------

    def _staged_part(self, artifact: Artifact, trees: _OpenTrees, check: Callable[[], None]) -> Part | None:
        if artifact.unpack != "none":
            return self._tree.recorded_part(artifact)
        with contextlib.suppress(OSError):
            handle = trees.reader(self._tree.path).open(artifact.path)
            try:
                size = os.fstat(handle).st_size
                if artifact.exact_size in {None, size}:
                    is_same, sha256 = hash_open_file(handle, artifact, check)
                    return Part((file_entry(artifact, size, sha256),), is_whole=True) if is_same else None
            finally:
                os.close(handle)
        return None

    # --- files of published trees ------------------------------------------------------------------------------------

    def _candidates(self, resolved: Resolved, inventory: Inventory) -> dict[str, list[_Candidate]]:
        """Return the trees that have files of the artifacts, by content id; the damaged version comes first."""
        wanted = {artifact.content_id for artifact in resolved.artifacts if artifact.digest is not None}
        found = self._candidates_of_damaged(resolved, self._damage) if self._damage is not None else {}
        found |= self._candidates_unchanged(resolved, inventory)
        for (dataset, version), receipt in inventory.receipts.items():
            noted = wanted & receipt.content_ids.keys()
            if (not noted and dataset != self._id) or (dataset, version) == (self._id, self._recipe.version):
                continue
            tree, manifest = self._store.reader.tree_of(dataset, version), self._store.reader.manifest(dataset, version)
            if tree is None or manifest is None or receipt.verified_against == "peer":
                # What an archive contains is known on that peer's word alone, which is trusted for its own recipe only.
                continue
            # A plain file is an artifact by itself. For an archive, only the receipt says whether all its files are here.
            entries = _by_artifact(
                entry for entry in manifest if entry.artifact in wanted and (entry.artifact in noted or entry.source_digest)
            )
            for content_id, its_entries in entries.items():
                candidate = _Candidate(tree, tuple(its_entries), is_whole=True, is_verified=False)
                found.setdefault(content_id, []).append(candidate)
        return found

    def _candidates_unchanged(self, resolved: Resolved, inventory: Inventory) -> dict[str, list[_Candidate]]:
        """Return files without digests in other versions of the data set, if their servers state the same as they did then.

        This excludes archives: it is not recorded whether the version has all the files of one.
        """
        states, found = self._recipe.states, dict[str, list[_Candidate]]()
        wanted = {
            artifact.path: artifact
            for artifact in resolved.artifacts
            if artifact.digest is None and artifact.unpack == "none" and artifact.key in states
        }
        for (dataset, version), receipt in inventory.receipts.items() if wanted else ():
            same = {
                path: receipt.origins[artifact.key]
                for path, artifact in wanted.items()
                if artifact.key in receipt.origins and receipt.origins[artifact.key].compare(states[artifact.key])[0] == "same"
            }
            if not same or dataset != self._id or (tree := self._store.reader.tree_of(dataset, version)) is None:
                continue
            for entry in self._store.reader.manifest(dataset, version) or ():
                if entry.path in same and entry.artifact == wanted[entry.path].content_id:
                    candidate = _Candidate(tree, (entry,), is_whole=True, is_verified=False, state=same[entry.path])
                    found.setdefault(entry.artifact, []).append(candidate)
        return found

    def _candidates_of_offer(self, offer: Offer, inventory: Inventory) -> dict[str, list[_Candidate]]:
        """Return trees with the same file at the same path: other versions of the data set, and peers on this device."""
        found: dict[str, list[_Candidate]] = {}
        wanted = {artifact.path: artifact for artifact in offer.resolved.artifacts}
        for tree, manifest, is_verified, is_peer in self._trees_like(offer, inventory):
            wrong = self._damage.wrong_paths if is_verified and self._damage is not None else ()
            for entry in manifest:
                artifact = wanted.get(entry.path)
                if artifact is None or artifact.digest is None or entry.sha256 != artifact.digest.hex or entry.path in wrong:
                    continue
                candidate = _Candidate(tree, (entry,), is_whole=True, is_verified=is_verified, is_peer=is_peer)
                found.setdefault(artifact.content_id, [candidate])
        return found

    def _trees_like(self, offer: Offer, inventory: Inventory) -> Iterator[tuple[Path, Manifest, bool, bool]]:
        """Yield trees, each with its manifest, whether its files were just hashed, and whether it is a peer's."""
        reader = self._store.reader
        own = (self._id, self._recipe.version)
        for dataset, version in sorted(inventory.receipts, key=lambda key: key != own):
            is_damaged = (dataset, version) == own
            if dataset != self._id or (is_damaged and self._damage is None):
                continue
            tree, manifest = reader.tree_of(dataset, version), reader.manifest(dataset, version)
            if tree is not None and manifest is not None:
                yield tree, manifest, is_damaged, False
        for each in offer.trees:
            if each.directory is not None and is_linkable(each.directory, self._tree.path):
                yield each.directory, offer.manifest, False, True

    def _candidates_of_damaged(self, resolved: Resolved, damage: Damage) -> dict[str, list[_Candidate]]:
        """Return the artifacts of the damaged version that have no wrong file.

        A file that two artifacts share is recorded under one of them only, so a single candidate may lack it; all candidates
        together lack none.
        """
        tree = self._store.reader.tree_of(self._id, self._recipe.version)
        manifest = self._store.reader.manifest(self._id, self._recipe.version)
        # A part of an archive can be compared with the archive's index only; a whole archive, with its digest.
        doubtful = {"peer"} if self._recipe.rule is not None else {"peer", "archive"}
        is_proven = damage.receipt is None or damage.receipt.verified_against not in doubtful
        if tree is None or manifest is None or not is_proven or any(e.kind == "file" and not e.artifact for e in manifest):
            return {}  # which artifact a file came from is not known, or only on a peer's word
        wanted = {artifact.content_id for artifact in resolved.artifacts}
        entries = _by_artifact(entry for entry in manifest if entry.artifact in wanted)
        then = damage.receipt
        if then is not None and resolved.pin and (then.pin, then.source_url) == (resolved.pin, resolved.url):
            # The artifacts are the same as then, so one without entries has nothing that the others lack. An artifact without
            # a digest is identified by its whole URL, of which pin and source record only the address.
            known = {artifact.content_id for artifact in resolved.artifacts if artifact.digest is not None}
            entries |= {content_id: [] for content_id in known - entries.keys()}
        whole = damage.receipt.content_ids.keys() if damage.receipt is not None else ()
        return {
            content_id: [_Candidate(tree, tuple(its_entries), is_whole=content_id in whole, is_verified=True)]
            for content_id, its_entries in entries.items()
            if damage.wrong_paths.isdisjoint(entry.path for entry in its_entries)
        }

    def _take_over(self, artifact: Artifact, candidate: _Candidate, trees: _OpenTrees, new: TreeWriter) -> Part | None:
        """Link an artifact's files from a tree in which they are right; symbolic links are made at the end of the build.

        Returns:
            The part, or ``None`` if a peer's file was changed after it was hashed, so that the artifact must be fetched.
        """
        old = trees.reader(candidate.tree)
        for entry in not_links(candidate.entries):
            self._check_cancelled()
            new.directory(entry.path if entry.kind == "folder" else entry.path.rpartition("/")[0])
            if entry.kind == "file":
                self._share(old, new, entry, candidate)
                if candidate.is_peer and not self._has_hashed_bytes(entry, candidate, trees):
                    new.remove(entry.path)
                    _LOGGER.warning("%s: %r was changed in %s while it was taken", self._recipe.label, entry.path, candidate.tree)
                    return None
        if artifact.unpack == "none":
            return Part(candidate.entries, is_whole=True)
        part = Part(candidate.entries, is_whole=candidate.is_whole)
        _LOGGER.info("%s: %s is taken over from %s", self._recipe.label, artifact.name, candidate.tree)
        self._tree.record_part(artifact, part)
        return part

    def _share(self, old: TreeReader, new: TreeWriter, entry: Entry, candidate: _Candidate) -> None:
        """Link or copy one file from another tree, which may be removed when this one replaces it."""
        charge = self._limits.budget.charge_tree
        if candidate.is_verified:
            new.link_from(old, entry.path, entry.path, charge)
        elif new.share_from(old, entry.path, entry.path, charge) and not candidate.is_peer:
            self._limits.add_taken_over(entry.size)

    def _has_hashed_bytes(self, entry: Entry, candidate: _Candidate, trees: _OpenTrees) -> bool:
        """Return whether the file that was taken from a peer is the one that was hashed; in case of doubt, hash it again."""
        ours = trees.reader(self._tree.path)
        taken = _facts(ours, entry.path)
        is_link = taken[:_CHANGED_BY_LINK] == candidate.seen[:_CHANGED_BY_LINK]
        if is_link or _facts(trees.reader(candidate.tree), entry.path) == candidate.seen:
            return True
        return is_right(ours, (entry,), check_cancelled=self._check_cancelled)


class _OpenTrees:
    """Trees that one thread reads, kept open because many artifacts are single files of the same tree."""

    def __init__(self, opened: contextlib.ExitStack) -> None:
        """Have ``opened`` close them."""
        self._opened = opened
        self._readers: dict[Path, TreeReader] = {}

    def reader(self, tree: Path) -> TreeReader:
        """Return the reader of a tree.

        Raises:
            OSError: the tree cannot be opened.
        """
        reader = self._readers.get(tree)
        if reader is None:
            reader = self._readers[tree] = self._opened.enter_context(TreeReader(tree, max_open=_MAX_OPEN))
        return reader


def _first_right(candidates: Sequence[_Candidate], trees: _OpenTrees, check: Callable[[], None]) -> _Candidate | None:
    """Return the first tree in which all files match its manifest; they are hashed, unless that was done just now."""
    for candidate in candidates:
        with contextlib.suppress(OSError):
            reader = trees.reader(candidate.tree)
            seen = _facts(reader, candidate.entries[0].path) if candidate.is_peer else ()
            if candidate.is_verified or is_right(reader, candidate.entries, check_cancelled=check):
                return replace(candidate, seen=seen) if candidate.is_peer else candidate
    return None


def _facts(tree: TreeReader, path: str) -> tuple[int, ...]:
    """Return facts that differ if a file was changed or replaced; the last ones also change if it gets another hard link."""
    facts = tree.stat(path)
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def _bytes_to_hash(artifact: Artifact) -> int:
    """Return the size of a file that is not unpacked; an unknown size counts as large."""
    size = artifact.exact_size if artifact.unpack == "none" else 0
    return size if size is not None else BATCH_BYTES


def _by_artifact(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    grouped: dict[str, list[Entry]] = {}
    for entry in entries:
        grouped.setdefault(entry.artifact, []).append(entry)
    return grouped
