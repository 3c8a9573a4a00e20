"""The last step of a build: a staged tree that has all its parts is checked and becomes the version that the app reads."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from provisioner.engine.credits import write_credits
from provisioner.engine.pinning import check_manifest
from provisioner.errors import BrokenArchiveError
from provisioner.planning.capacity import can_come_in_part
from provisioner.planning.model import Receipt
from provisioner.volume.archive.names import check_names
from provisioner.volume.fs.directories import make_directory
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.store.manifest import Manifest
from provisioner.volume.tree.writer import TreeWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping, Sequence
    from pathlib import Path

    from provisioner.catalog.artifact import Artifact, VerifiedAgainst
    from provisioner.catalog.file_state import FileState
    from provisioner.catalog.hub_source import Repository
    from provisioner.engine.reuse import Damage
    from provisioner.engine.staged_tree import Part, StagedTree
    from provisioner.planning.recipe import Recipe
    from provisioner.remote.resolved import Resolved
    from provisioner.volume.store.store import Store

_LOGGER = logging.getLogger(__name__)

MAX_NOTED_FILES: Final = 100
"""Maximum number of plain files that a receipt names: receipts are read at every start, so they must stay short."""


class CompletedTree:
    """Checks a staged tree that has all its parts, and has the store publish it."""

    def __init__(
        self, recipe: Recipe, store: Store, tree: StagedTree, *, damage: Damage | None, check_size: Callable[[Manifest], None]
    ) -> None:
        """Prepare.

        Args:
            recipe: what was built.
            store: the volume's trees.
            tree: the staged tree.
            damage: what is wrong with the version that is repaired, or ``None`` if the version is new.
            check_size: raises if the whole tree is larger than allowed.
        """
        self._check_size = check_size
        self._recipe = recipe
        self._store = store
        self._tree = tree.path
        self._watch = tree.watch
        self._damage = damage

    def publish(
        self,
        resolved: Resolved,
        parts: MutableMapping[str, Part],
        now: Callable[[], str],
        *,
        origins: Mapping[str, FileState],
        clear_obsolete: Callable[[], None],
        manifest: Manifest | None = None,
    ) -> Receipt:
        """Check the tree against its manifest, publish it, and write the receipt.

        Args:
            resolved: the source that the parts came from.
            parts: what each artifact put into the tree, by content id; emptied here, since publishing needs the memory.
            now: returns the time for the receipt, ISO 8601.
            origins: what servers said of files, by the keys of the artifacts.
            clear_obsolete: removes staged files that are no longer needed.
            manifest: the manifest of a peer, all of whose files are in the tree, or ``None`` to make it from the parts.

        Raises:
            BrokenArchiveError: the tree has no files.
            TreeTooLargeError, NoRoomError: it is larger than the catalog says, or than the volume may hold.
            UnsafeArchiveError: a link leads out of the tree, or out of the directory that its archive was unpacked into.
            DigestMismatchError: the tree is not what the pins name.
            VolumeError: the tree is not what was written, the volume cannot hold all its names, or the volume failed.
        """
        label, dataset = self._recipe.label, self._recipe.dataset
        if manifest is not None:
            complete_peer_tree(self._tree, manifest)
            if self._damage is not None:
                # The trees are the same, but only our own manifest is trusted to say which artifacts the files came from.
                manifest = self._store.reader.manifest(dataset.id, self._recipe.version) or manifest
            elif self._recipe.pin is not None:
                # The pins prove the files, but not which artifact each of them came from.
                manifest = manifest.without_artifacts()
        is_peers = manifest is not None
        # A peer is not trusted to say which artifacts its files came from, so that no other version reuses them as
        # such.
        content_ids = {} if is_peers else _noted_artifacts(resolved.artifacts, parts)
        manifest = manifest or Manifest.merged(parts[artifact.content_id].entries for artifact in resolved.artifacts)
        if not manifest.files:
            raise BrokenArchiveError(
                f"{label}: there is no file in it; nothing was published",
                hint="The archive is empty, or the globs leave nothing of it.",
            )
        self._check_size(manifest)
        if self._damage is None:
            check_manifest(self._recipe, manifest)
        # Within one archive, this is checked while it is unpacked.
        check_names((entry.path for entry in manifest), self._tree, label)
        if self._store.layout.staging_root is not None:
            # The tree is copied there, onto another file system.
            make_directory(self._store.layout.store)
            check_names((entry.path for entry in manifest), self._store.layout.store, label)
        verified = {self._proof(artifact, parts.get(artifact.content_id)) for artifact in resolved.artifacts}
        receipt = Receipt(
            dataset=dataset.id,
            version=self._recipe.version,
            layout=self._recipe.layout,
            splits=self._recipe.splits,
            files=manifest.files,
            size=manifest.bytes,
            license=dataset.license.spdx,
            source_kind=resolved.kind,
            source_url=resolved.url,
            pin=resolved.pin,
            verified_against="catalog"
            if is_peers and self._recipe.pin is not None
            else next(word for word in ("none", "archive", "peer", "listing", "catalog") if word in verified),
            published_at=self._original_time(manifest) or now(),
            content_ids=content_ids,
            entry=dataset.facts,
            repository=self._repository(resolved),
            recipe=self._recipe.base,
            rule=self._recipe.rule,
            origins=origins if len(resolved.artifacts) <= MAX_NOTED_FILES else {},
        )
        if self._damage is not None and self._damage.receipt is not None and is_peers:
            # The tree has the same manifest as before, so it is verified as before.
            receipt = self._damage.receipt
        write_credits(self._store.layout, self._recipe, self._tree, manifest)
        parts.clear()
        # Done before the tree is synced, so that files which are about to be removed are not written to the device
        # first.
        clear_obsolete()
        # A source that failed half-way, or a run with another catalog, may have left other names in the tree; they are
        # removed.
        switch = self._damage is None or self._damage.is_published
        names = {
            artifact.content_id: (artifact.name.rpartition("/")[2], artifact.into.count("/") + 1 if artifact.into else 0)
            for artifact in resolved.artifacts
            if artifact.unpack != "none"
        }
        self._store.publisher.publish(receipt, self._tree, manifest, switch=switch, prune=True, origins=names, watch=self._watch)
        self._store.cleaner.clear_staging(dataset.id)
        return receipt

    def _proof(self, artifact: Artifact, part: Part | None) -> VerifiedAgainst:
        """Return what the bytes of an artifact were compared with: for a part of an archive, not with its digest."""
        is_part = self._recipe.rule is not None and part is not None and not part.is_whole and can_come_in_part(artifact)
        return "archive" if is_part and artifact.verified_against != "none" else artifact.verified_against

    def is_of_damaged(self, manifest: Manifest) -> bool:
        """Return whether a manifest describes the damaged version's tree: if so, bytes that match are right, from any sender.

        The artifacts that the files came from are not compared, since a version that was taken from a peer by its pins does
        not record them.
        """
        if self._damage is None or self._damage.receipt is None:
            return False
        ours = self._store.reader.manifest(self._recipe.dataset.id, self._recipe.version)
        return ours is not None and ours.is_same_tree(manifest)

    def _repository(self, resolved: Resolved) -> Repository | None:
        """Return the repository as it was first requested: a repair requests the commit that was published then."""
        original = self._damage.receipt if self._damage is not None else None
        return original.repository if original is not None and original.pin == resolved.pin else resolved.repository

    def _original_time(self, manifest: Manifest) -> str | None:
        """Return when the damaged version was published, if the repair restores it exactly; otherwise ``None``."""
        if self._damage is None or self._damage.receipt is None:
            return None
        if self._store.reader.has_checksums(self._recipe.dataset.id, self._recipe.version, manifest):
            return self._damage.receipt.published_at
        _LOGGER.warning("%s: it is not what it was: the source has changed since", self._recipe.label)
        return None


def complete_peer_tree(tree: Path, manifest: Manifest) -> None:
    """Add what no file of a peer's tree carries: empty directories and modes.

    Raises:
        VolumeError: the volume failed.
    """
    with disk_errors("completing the staged tree", tree), TreeWriter(tree) as writer:
        for entry in manifest:
            if entry.kind == "folder":
                writer.directory(entry.path)
            elif entry.executable:
                writer.make_executable(entry.path)


def _noted_artifacts(artifacts: Sequence[Artifact], parts: Mapping[str, Part]) -> dict[str, str]:
    """Return content id and key of the artifacts that a receipt names, for reuse; large sets of files are left out."""
    with_files = len(artifacts) <= MAX_NOTED_FILES
    return {
        artifact.content_id: artifact.key
        for artifact in artifacts
        # An archive that was identified only by the CRC-32 of its members is not offered for reuse as that archive.
        if artifact.digest is not None
        and artifact.verified_against != "archive"
        and parts[artifact.content_id].is_whole
        and (with_files or artifact.unpack != "none")
    }
