"""The repair of one damaged version: its right files are kept, and only artifacts with a wrong file are fetched.

The version is built again in staging, just as ``provision`` builds one, and then the two trees change places. Until that
moment the app reads what it read before; after a failure, the version is as it was.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from provisioner.engine.build import DataSetBuilder
from provisioner.engine.build_limits import BuildLimits
from provisioner.engine.build_progress import BuildProgress
from provisioner.engine.installation import catalog_name
from provisioner.engine.repair_outcome import Outcome
from provisioner.engine.reuse import Damage
from provisioner.engine.shared_volume import SharedVolume
from provisioner.engine.staged_tree import StagedTree, not_links
from provisioner.engine.volume_session import now
from provisioner.errors import TRY_NEXT_AFTER, ConfigurationError, DamagedTreeError, NotFoundError
from provisioner.planning.capacity import need_of
from provisioner.planning.model import Step
from provisioner.planning.recipe import make_recipe
from provisioner.planning.references import recorded_entry
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.tree.reader import TreeReader
from provisioner.volume.tree.writer import TreeWriter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioner.cancellation import Cancellation
    from provisioner.catalog.model import Catalog
    from provisioner.catalog.source import Source
    from provisioner.catalog.written_reference import Reference
    from provisioner.engine.clients import Clients
    from provisioner.engine.verification import Checked
    from provisioner.engine.volume_session import VolumeSession
    from provisioner.errors import ProvisionerError
    from provisioner.planning.model import Receipt
    from provisioner.planning.recipe import Recipe
    from provisioner.reporting.progress import Progress
    from provisioner.volume.store.manifest import Manifest

_FILES_ARE_RIGHT: Final = frozenset({"extra", "checksums", "no-receipt"})
"""Problems of a version whose files are all right nevertheless."""
_MAX_NAMES: Final = 3
"""Maximum number of fetched artifacts that the outcome names."""


class VersionRepairer:
    """Repairs single versions while the lock is held."""

    def __init__(
        self, session: VolumeSession, catalog: Catalog, clients: Clients, *, cancellation: Cancellation, progress: Progress
    ) -> None:
        """Prepare; nothing is read or written yet.

        Args:
            session: the volume.
            catalog: states where the bytes can be fetched.
            clients: fetch the bytes.
            cancellation: ends the work.
            progress: is told of bytes.
        """
        self._session = session
        self._store = session.store
        self._catalog = catalog
        self._clients = clients
        self._cancellation = cancellation
        self._progress = progress

    def repair(self, checked: Checked) -> Outcome:
        """Repair one version, with as little work as its findings require.

        Raises:
            DamagedTreeError: the catalog does not describe the version, so it cannot be fetched.
            ProvisionerError: no source has it, the volume failed, or the run must end.
        """
        dataset, version = checked.dataset, checked.version
        problems = {finding.problem for finding in checked.findings}
        if problems <= _FILES_ARE_RIGHT:
            manifest = self._store.reader.manifest(dataset, version)
            if problems == {"checksums"} and manifest is not None:
                self._store.publisher.write_checksums(dataset, version, manifest)
                return Outcome(checked, "the list of checksums was written again")
            if problems == {"no-receipt"} and self._store.publisher.adopt(dataset, version, keep=True):
                return Outcome(checked, "its receipt was written again")
            receipt = self._store.reader.receipt(dataset, version)
            if receipt is not None and manifest is not None:
                return self._publish_without_extra(checked, receipt, manifest)
        recipe = self._find_recipe(dataset, version)
        if recipe is None:
            return self._give_up(checked)
        receipt, reference = self._store.reader.receipt(dataset, version), recipe.dataset.reference
        if receipt is not None and receipt.entry is not None and reference is not None and reference.key != receipt.entry.key:
            return self._rebuild_without_query(checked, recipe, reference)
        return self._rebuild(checked, recipe)

    def _publish_without_extra(self, checked: Checked, receipt: Receipt, manifest: Manifest) -> Outcome:
        """Publish a tree of links to the files that the manifest names, all of which are right."""
        layout = self._session.layout
        tree = self._store.reader.tree_of(checked.dataset, checked.version)
        assert tree is not None  # noqa: S101 - or a file would be missing
        check = self._cancellation.raise_if_requested
        staged = layout.staged_tree(checked.dataset, checked.version)
        StagedTree(layout, checked.dataset, checked.version, keeps_archives=True, check_cancelled=check).create(empty=True)
        with disk_errors(f"linking {tree} to {staged}", staged), TreeReader(tree) as old, TreeWriter(staged) as new:
            for entry in not_links(manifest):
                check()
                new.directory(entry.path if entry.kind == "folder" else entry.path.rpartition("/")[0])
                if entry.kind == "file":
                    new.link_from(old, entry.path, entry.path)
        self._store.publisher.publish(receipt, staged, manifest, switch=checked.published)
        self._store.cleaner.clear_staging(checked.dataset)
        count = sum(1 for finding in checked.findings if finding.problem == "extra")
        done = f"{count} names that did not belong there were removed" if count else "its records were written again"
        return Outcome(checked, done)

    def _give_up(self, checked: Checked) -> Outcome:
        """Withdraw a superseded version that cannot be fetched; a published one is kept, although it is damaged.

        Raises:
            DamagedTreeError: the app reads this version.
        """
        dataset, version = checked.dataset, checked.version
        if checked.published:
            catalog = catalog_name(self._session.settings)
            raise DamagedTreeError(
                f"the catalog {catalog} does not describe this version, so that it cannot be fetched",
                hint="Give the catalog that it came with (--catalog), or 'provision' to have today's version instead.",
            )
        self._store.publisher.remove_receipt(dataset, version)
        return Outcome(
            checked,
            "today's catalog does not describe this version, so that it cannot be fetched; its receipt was removed,"
            " and 'gc' removes the rest",
            is_withdrawn=True,
        )

    def _rebuild_without_query(self, checked: Checked, recipe: Recipe, reference: Reference) -> Outcome:
        """Repair a version whose recorded address lacks its query; only a digest can show whether that address is enough.

        Raises:
            DamagedTreeError: it is not enough.
        """
        failure: ProvisionerError | None = None
        if reference.is_proven:
            try:
                return self._rebuild(checked, recipe)
            except TRY_NEXT_AFTER as error:
                self._cancellation.raise_if_requested()
                failure = error
        raise DamagedTreeError(
            f"{reference.text}: its address had a query, which may be a secret and is not recorded, so it cannot be fetched",
            hint=f"Give the whole reference, such as DATASETS='{reference.homepage}?…', and run 'repair' again.",
        ) from failure

    def _rebuild(self, checked: Checked, recipe: Recipe) -> Outcome:
        receipt = self._store.reader.receipt(checked.dataset, checked.version)
        wrong = frozenset(finding.path for finding in checked.findings if finding.problem not in _FILES_ARE_RIGHT)
        progress = BuildProgress(recipe, self._progress)
        builder = DataSetBuilder(
            self._plan_step(recipe, receipt, wrong),
            self._store,
            self._clients.sources,
            self._clients.transfers,
            self._clients.local_copies,
            limits=BuildLimits(SharedVolume(self._session), recipe),
            cancellation=self._cancellation,
            progress=progress,
            damage=Damage(receipt, wrong, checked.published),
            peers=self._clients.peers,
        )
        try:
            builder.build(now)
        finally:
            progress.finish()
        if not builder.fetched:
            return Outcome(checked, "repaired from what was on this machine, nothing was fetched")
        more = f" and {len(builder.fetched) - _MAX_NAMES} more" if len(builder.fetched) > _MAX_NAMES else ""
        names = ", ".join(builder.fetched[:_MAX_NAMES]) + more
        return Outcome(checked, f"fetched {names}; the rest was kept", builder.fetched)

    def _find_recipe(self, dataset: str, version: str) -> Recipe | None:
        """Return the catalog's recipe of a version, or ``None`` if the catalog does not describe it."""
        receipt = self._store.reader.receipt(dataset, version)
        described = self._catalog.datasets.get(dataset)
        if receipt is not None and receipt.entry is not None:
            # Each version has its own reference; the requested one may hold what no receipt does, such as a signed URL.
            recorded = recorded_entry(receipt.entry, dataset, self._session.settings.hf_endpoint)
            is_asked = described is not None and make_recipe(described).version == receipt.asked
            described = described if is_asked else recorded
        if described is None:
            return None
        choices = [(receipt.layout, receipt.splits, receipt.rule)] if receipt else []
        # Without a receipt, try each layout: as a whole, by single splits, and by the parts that the catalog names.
        for layout in described.layouts if receipt is None else ():
            choices += [(layout, (), None), *((layout, (split,), None) for split in described.splits_of(layout))]
            choices += [(layout, (), rule) for rule in described.parts.values()]
        for layout, splits, rule in choices:
            with contextlib.suppress(ConfigurationError, NotFoundError):
                recipe = make_recipe(described, layout=layout, splits=splits, rule=rule)
                if version in {recipe.version, receipt.version if receipt and receipt.asked == recipe.version else ""}:
                    return recipe.as_version(version)
        return None

    def _plan_step(self, recipe: Recipe, receipt: Receipt | None, wrong: frozenset[str]) -> Step:
        """Return the step that builds the version again, with the free space that is available."""
        dataset, version = recipe.dataset.id, recipe.version
        manifest = self._store.reader.manifest(dataset, version)
        tree = self._store.reader.tree_of(dataset, version)
        broken, present = set(), set()
        for entry in manifest if manifest is not None and tree is not None else ():
            present.add(entry.artifact)
            if entry.path in wrong:
                broken.add(entry.artifact)
        need = need_of(recipe, present - broken)
        free = self._session.free_bytes()
        ordered = replace(recipe, sources=_original_source_first(recipe.sources, receipt))
        return Step(
            ordered, "fetch", recipe.dataset.priority, "is wrong", available_bytes=free, retention=need.retention_within(free)
        )


def _original_source_first(sources: Sequence[Source], receipt: Receipt | None) -> tuple[Source, ...]:
    """Put the source first that the version came from, at the revision of that time: a branch may have moved since."""
    if receipt is None:
        return tuple(sources)
    for source in sources:
        if source.kind == receipt.source_kind and source.is_at(receipt.source_url):
            pinned = source.pinned(receipt.pin)
            return (pinned, *(other for other in sources if other is not pinned))
    return tuple(sources)
