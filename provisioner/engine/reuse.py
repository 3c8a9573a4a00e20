"""What the volume already has of a data set: parts that an earlier run staged, and files in trees of other versions.

Nothing is reused before it is hashed, except for the right files of a damaged version, which were hashed just before.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioner.engine.staged_tree import Part, file_entry
from provisioner.volume.fs.directories import make_directory
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.fs.links import link_or_copy, share_or_copy
from provisioner.volume.staging.hashing import hash_file
from provisioner.volume.store.manifest import Manifest
from provisioner.volume.store.tree_check import check_entry, check_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from provisioner.catalog.artifact import Artifact
    from provisioner.engine.space import BuildSpace
    from provisioner.engine.staged_tree import StagedTree
    from provisioner.planning.model import Inventory, Receipt
    from provisioner.planning.recipe import Recipe
    from provisioner.remote.resolved import Resolved
    from provisioner.volume.store.entry import Entry
    from provisioner.volume.store.store import Store

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Damage:
    """What is wrong with a version that is being repaired."""

    receipt: Receipt | None
    """``None``: its receipt is lost, and with it the source that it was from."""
    wrong_paths: frozenset[str]
    """Paths of its manifest whose files are wrong or missing; all others were hashed just now."""
    is_published: bool = True
    """Whether this is the version that the app reads."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A tree on the volume that has an artifact's files."""

    tree: Path
    entries: tuple[Entry, ...]
    is_whole: bool
    """As :attr:`Part.is_whole`."""
    is_hashed: bool
    """Its files were hashed just now."""


class Reuse:
    """Takes over what the volume already has into one staged tree."""

    def __init__(
        self,
        recipe: Recipe,
        store: Store,
        tree: StagedTree,
        *,
        damage: Damage | None,
        check_cancelled: Callable[[], None],
        space: BuildSpace,
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            recipe: what is built.
            store: the volume's trees.
            tree: where to.
            damage: the version is there and is repaired; ``None``: it is new.
            check_cancelled: raises when the run must end.
            space: is charged with what is copied.
        """
        self._space = space
        self._id = recipe.dataset.id
        self._recipe = recipe
        self._store = store
        self._tree = tree
        self._damage = damage
        self._check_cancelled = check_cancelled
        self._inside: dict[Path, bool] = {}
        """Directories of other trees, and whether they are really inside: see :meth:`_is_inside`."""

    def parts(self, resolved: Resolved, inventory: Inventory, *, staged: bool) -> Iterator[tuple[Artifact, Part | None]]:
        """Yield each artifact with its part of the staged tree; ``None``: it must be fetched.

        Args:
            resolved: the source's artifacts.
            inventory: the versions on the volume.
            staged: an earlier run left something in the staged tree.

        Raises:
            ProvisionerError: the volume failed, or the run must end.
        """
        candidates = self._candidates(resolved, inventory)
        for artifact in resolved.artifacts:
            self._check_cancelled()
            part = self._staged_part(artifact) if staged else None
            yield artifact, part or self._take_over(artifact, candidates.get(artifact.content_id, ()))

    # --- parts that an earlier run staged ----------------------------------------------------------------------------

    def _staged_part(self, artifact: Artifact) -> Part | None:
        if artifact.unpack != "none":
            return self._tree.recorded_part(artifact)
        path = self._tree.path / artifact.path
        try:
            size = path.lstat().st_size
            if path.is_symlink() or artifact.exact_size not in {None, size}:
                return None
            is_right, sha256 = hash_file(path, artifact, self._check_cancelled)
        except OSError:
            return None
        return Part((file_entry(artifact, size, sha256),), is_whole=True) if is_right else None

    # --- files of published trees ------------------------------------------------------------------------------------

    def _candidates(self, resolved: Resolved, inventory: Inventory) -> dict[str, list[_Candidate]]:
        """Return the trees that have files of the artifacts, by content id: the damaged version comes first."""
        wanted = {artifact.content_id for artifact in resolved.artifacts if artifact.digest is not None}
        found = self._candidates_of_damaged(resolved, self._damage) if self._damage is not None else {}
        for (dataset, version), receipt in inventory.receipts.items():
            noted = wanted & receipt.content_ids.keys()
            if (not noted and dataset != self._id) or (dataset, version) == (self._id, self._recipe.version):
                continue
            tree, manifest = self._store.reader.tree_of(dataset, version), self._store.reader.manifest(dataset, version)
            if tree is None or manifest is None:
                continue
            # A plain file is an artifact by itself. Of an archive only the receipt tells whether all its files are here.
            entries = _by_artifact(
                entry for entry in manifest if entry.artifact in wanted and (entry.artifact in noted or entry.source_digest)
            )
            for content_id, its_entries in entries.items():
                candidate = _Candidate(tree, tuple(its_entries), is_whole=True, is_hashed=False)
                found.setdefault(content_id, []).append(candidate)
        return found

    def _candidates_of_damaged(self, resolved: Resolved, damage: Damage) -> dict[str, list[_Candidate]]:
        """Return the artifacts of the damaged version of which no file is wrong.

        Some may lack files that are the same in another artifact; all artifacts together lack none.
        """
        tree = self._store.reader.tree_of(self._id, self._recipe.version)
        manifest = self._store.reader.manifest(self._id, self._recipe.version)
        if tree is None or manifest is None:
            return {}
        wanted = {artifact.content_id for artifact in resolved.artifacts}
        entries = _by_artifact(entry for entry in manifest if entry.artifact in wanted)
        if damage.receipt is not None and damage.receipt.pin == resolved.pin:
            # The artifacts are the same as then: one without entries has nothing that the others do not have.
            entries = {content_id: entries.get(content_id, []) for content_id in wanted}
        whole = damage.receipt.content_ids.keys() if damage.receipt is not None else ()
        return {
            content_id: [_Candidate(tree, tuple(its_entries), is_whole=content_id in whole, is_hashed=True)]
            for content_id, its_entries in entries.items()
            if damage.wrong_paths.isdisjoint(entry.path for entry in its_entries)
        }

    def _take_over(self, artifact: Artifact, candidates: Sequence[_Candidate]) -> Part | None:
        """Link an artifact's files from the first tree in which they are right."""
        candidate = next((candidate for candidate in candidates if candidate.is_hashed or self._is_right(candidate)), None)
        if candidate is None:
            return None
        for entry in candidate.entries:
            self._link(candidate, entry)
        if artifact.unpack == "none":
            return Part(candidate.entries, is_whole=True)
        part = Part(candidate.entries, candidate.is_whole)
        _LOGGER.info("%s: %s is taken over from %s", self._recipe.label, artifact.name, candidate.tree)
        self._tree.record_part(artifact, part)
        return part

    def _is_right(self, candidate: _Candidate) -> bool:
        """Hash the files, and return whether they are what their tree's manifest says."""
        tree, entries = candidate.tree, candidate.entries
        if len(entries) == 1 and entries[0].kind == "file":
            # A repository may have a hundred thousand of these: a walk through the tree for each would take too long.
            return self._is_inside(tree, entries[0]) and check_entry(tree, entries[0], check_cancelled=self._check_cancelled)
        return not check_tree(tree, Manifest(entries), deep=True, extra=False, check_cancelled=self._check_cancelled)

    def _is_inside(self, tree: Path, entry: Entry) -> bool:
        """Return whether a file is really in the tree: no directory above it is a link to somewhere else."""
        directory = (tree / entry.path).parent
        if directory not in self._inside:
            self._inside[directory] = directory.resolve() == tree.resolve() / directory.relative_to(tree)
        return self._inside[directory]

    def _link(self, candidate: _Candidate, entry: Entry) -> None:
        self._check_cancelled()
        target = self._tree.path / entry.path
        if entry.kind == "folder":
            make_directory(target)
            return
        make_directory(target.parent)
        with disk_errors(f"replacing {target}"):
            target.unlink(missing_ok=True)
        source = candidate.tree / entry.path
        if candidate.is_hashed:
            # The damaged tree goes when this one takes its place.
            is_shared = link_or_copy(source, target)
        else:
            is_shared = share_or_copy(source, target)
            if is_shared:
                self._space.add_taken_over(entry.size)
        if not is_shared:
            self._space.charge_tree(entry.size)


def _by_artifact(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    grouped: dict[str, list[Entry]] = {}
    for entry in entries:
        grouped.setdefault(entry.artifact, []).append(entry)
    return grouped
