"""``repair``: what ``verify --deep`` finds wrong is made right, and nothing else is fetched.

A wrong version is built anew beside itself: what is right in it is linked, what is not is taken over from another tree or
fetched, by the same way on which ``provision`` fills a volume. Then the two change places. Until that moment the app sees what
it saw before; whatever fails leaves the version as it was.
"""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from provisioner.engine.build import DataSetBuilder
from provisioner.engine.build_progress import BuildProgress
from provisioner.engine.reuse import Damage
from provisioner.engine.verification import Checked, Verifier, known_ids
from provisioner.engine.volume_session import VolumeSession, now
from provisioner.errors import (
    ConfigurationError,
    DamagedTreeError,
    NotFoundError,
    ProvisionerError,
    VolumeError,
    VolumeFullError,
)
from provisioner.planning.capacity import need_of
from provisioner.planning.model import Step
from provisioner.planning.recipe import make_recipe
from provisioner.volume.fs.directories import make_directory
from provisioner.volume.fs.links import link_or_copy
from provisioner.volume.fs.remove import remove_tree
from provisioner.volume.fs.space import free_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioner.cancellation import Cancellation
    from provisioner.catalog.model import Catalog
    from provisioner.catalog.source import Source
    from provisioner.engine.clients import Clients
    from provisioner.planning.model import Receipt
    from provisioner.planning.recipe import Recipe
    from provisioner.reporting.progress import Progress
    from provisioner.settings.model import Settings
    from provisioner.volume.store.manifest import Manifest

_LOGGER = logging.getLogger(__name__)

_HARMLESS = frozenset({"extra", "checksums", "no-receipt"})
"""Problems behind which every file of the version is right."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one version, or of the place where a data set is shown."""

    checked: Checked
    done: str = ""
    """What was done, for people; empty: nothing was wrong, or it could not be mended."""
    fetched: tuple[str, ...] = ()
    """Names of the artifacts that were fetched."""
    error: ProvisionerError | None = None

    def as_record(self) -> dict[str, Any]:
        """Return the form in which ``--json`` carries it."""
        return self.checked.as_record() | {
            "repaired": bool(self.done),
            "done": self.done or None,
            "fetched": list(self.fetched),
            "error": self.error.as_record() if self.error else None,
        }

    @property
    def line(self) -> str:
        """One line for people."""
        checked = self.checked
        if self.error is not None:
            return f"WRONG  {checked.label}: not repaired: {self.error.message}"
        if not self.done:
            return f"ok     {checked.label}: {checked.files:,} files, {checked.size:,} bytes"
        return f"mended {checked.label}: {self.done}"


@dataclass(slots=True)
class Repair:
    """One repair of one volume."""

    session: VolumeSession
    catalog: Catalog
    clients: Clients
    settings: Settings
    cancellation: Cancellation
    progress: Progress
    outcomes: list[Outcome] = field(default_factory=list)

    def run(self, ids: Sequence[str]) -> None:
        """Look at all, or at some data sets, and mend what is wrong; without anything wrong nothing is locked or written.

        Raises:
            ProvisionerError: nothing could be done, or it must end; what failed for single data sets is in the outcomes.
        """
        verifier = Verifier(
            self.session.store, deep=True, check_cancelled=self.cancellation.raise_if_requested, progress=self.progress
        )
        # Where a data set is shown comes after its versions: one that is mended may be what is to be shown there.
        found = [
            checked
            for name in self._ordered(known_ids(self.session.store, ids))
            for checked in sorted(verifier.check_dataset(name), key=lambda checked: not checked.version)
        ]
        self.outcomes = [Outcome(checked) for checked in found if not checked.findings]
        wrong = [checked for checked in found if checked.findings]
        if not wrong:
            self._tidy(found)
            return
        for checked in wrong:
            for finding in checked.findings:
                _LOGGER.warning("%s: %s", checked.label, finding)
        self.clients.check()
        self.session.prepare()
        with self.session.lock():
            self._clear(found)
            for checked in wrong:
                self.cancellation.raise_if_requested()
                current = self._looked_at_again(verifier, checked)
                if current is not None:
                    self.outcomes.append(self._tried(current))
            failed = {outcome.checked.dataset for outcome in self.outcomes if outcome.error is not None}
            # What a failed one had fetched stays for the next attempt.
            self.session.store.cleaner.clear_abandoned({checked.dataset for checked in wrong} - failed, time.time())

    def _tidy(self, found: Sequence[Checked]) -> None:
        """Take away what a repair left that died after it had mended the last version; if that cannot be, it stays."""
        store = self.session.store
        if not store.cleaner.leftovers() and not any(
            store.reader.staged_directory(checked.dataset, checked.version) for checked in found if checked.version
        ):
            return
        try:
            self.session.prepare()
            # A writer who has the lock right now may be the one whose files these are.
            with self.session.lock(waits=False):
                self._clear(found)
                store.cleaner.clear_abandoned((), time.time())
        except ProvisionerError as error:
            if self.cancellation.reason is not None:
                raise
            _LOGGER.info("What a run left that died stays for the next one: %s", error.message)

    def _clear(self, found: Sequence[Checked]) -> None:
        """Take away leftovers, and what is staged of versions that are right."""
        store = self.session.store
        store.cleaner.clear_leftovers()
        for checked in found:
            # It was looked at before the lock: what another process is to make anew keeps what has arrived.
            right = not checked.findings and self._is_believed(checked.dataset, checked.version)
            if right and (staged := store.reader.staged_directory(checked.dataset, checked.version)) is not None:
                remove_tree(staged)
                with contextlib.suppress(OSError):
                    staged.parent.rmdir()

    def _ordered(self, ids: Sequence[str]) -> list[str]:
        """Put the highest priority first: its error is the one that counts."""
        datasets = self.catalog.datasets
        return sorted(ids, key=lambda name: -datasets[name].priority if name in datasets else 0)

    def _looked_at_again(self, verifier: Verifier, checked: Checked) -> Checked | None:
        """Return what was found before the lock, if it still holds; another process may have replaced the version meanwhile."""
        dataset, version = checked.dataset, checked.version
        if not version:
            return next((again for again in verifier.check_dataset(dataset) if not again.version), None)
        if verifier.identity_of(dataset, version) == checked.identity:
            return checked
        return verifier.check_version(dataset, version, published=self.session.store.published.version(dataset) == version)

    def _tried(self, checked: Checked) -> Outcome:
        if not checked.findings:
            return Outcome(checked)
        try:
            return self._mended(checked) if checked.version else self._shown_again(checked)
        except ProvisionerError as error:
            if self.cancellation.reason is not None:
                raise
            if isinstance(error, VolumeFullError):
                # What it left would keep the others out as well.
                self.session.store.cleaner.clear_staging(checked.dataset)
            _LOGGER.error("%s: not repaired, it stays as it was: %s", checked.label, error.message)
            return Outcome(checked, error=error)

    # --- where a data set is shown ------------------------------------------------------------------------------

    def _shown_again(self, checked: Checked) -> Outcome:
        store, dataset = self.session.store, checked.dataset
        if store.published.is_not_ours(dataset):
            raise VolumeError(
                f"datasets/{dataset} holds something that the provisioner did not put there; it was left alone",
                hint="Move it away, then run 'repair' again.",
            )
        believed = [version for version in store.reader.versions(dataset) if self._is_believed(dataset, version)]
        if len(believed) != 1:
            raise DamagedTreeError(
                f"{dataset}: {len(believed) or 'none'} of its versions could be shown at datasets/{dataset}",
                hint="'provision' shows the one that is asked for, and fetches it if it is not there.",
            )
        store.published.switch(dataset, believed[0])
        return Outcome(checked, f"datasets/{dataset} shows the version {believed[0]} again")

    def _is_believed(self, dataset: str, version: str) -> bool:
        store = self.session.store
        return store.reader.receipt(dataset, version) is not None and store.reader.tree_of(dataset, version) is not None

    # --- one version --------------------------------------------------------------------------------------------

    def _mended(self, checked: Checked) -> Outcome:
        store, dataset, version = self.session.store, checked.dataset, checked.version
        problems = {finding.problem for finding in checked.findings}
        if problems <= _HARMLESS:
            manifest = store.reader.manifest(dataset, version)
            if problems == {"checksums"} and manifest is not None:
                store.publisher.write_checksums(dataset, version, manifest)
                return Outcome(checked, "the list of checksums was written anew")
            if problems == {"no-receipt"} and store.publisher.adopt(dataset, version, keep=True):
                return Outcome(checked, "its receipt was written anew")
            receipt = store.reader.receipt(dataset, version)
            if receipt is not None and manifest is not None:
                return self._without_extras(checked, receipt, manifest)
        recipe = self._recipe(dataset, version)
        if recipe is None:
            return self._given_up(checked)
        return self._filled(checked, recipe)

    def _without_extras(self, checked: Checked, receipt: Receipt, manifest: Manifest) -> Outcome:
        """Build the tree from what is right in it, which is all of it."""
        store, layout = self.session.store, self.session.layout
        tree = store.reader.tree_of(checked.dataset, checked.version)
        assert tree is not None  # noqa: S101 - or something would be missing
        staged = layout.staged_tree(checked.dataset, checked.version)
        remove_tree(staged)
        make_directory(staged)
        for entry in manifest:
            self.cancellation.raise_if_requested()
            target = staged / entry.path
            make_directory(target if entry.kind == "folder" else target.parent)
            if entry.kind != "folder":
                link_or_copy(tree / entry.path, target)
        store.publisher.publish(receipt, staged, manifest, switch=checked.published)
        store.cleaner.clear_staging(checked.dataset)
        count = sum(1 for finding in checked.findings if finding.problem == "extra")
        return Outcome(checked, f"taken out: {count} that did not belong there" if count else "its records were written anew")

    def _recipe(self, dataset: str, version: str) -> Recipe | None:
        """Find how today's catalog describes a version; ``None``: it does not."""
        described = self.catalog.datasets.get(dataset)
        if described is None:
            return None
        receipt = self.session.store.reader.receipt(dataset, version)
        choices = [(receipt.layout, receipt.splits)] if receipt else []
        # Without a receipt: whatever could have been asked for simply.
        for layout in described.layouts if receipt is None else ():
            choices += [(layout, ()), *((layout, (split,)) for split in described.splits_of(layout))]
        for layout, splits in choices:
            with contextlib.suppress(ConfigurationError, NotFoundError):
                recipe = make_recipe(described, layout=layout, splits=splits)
                if recipe.version == version:
                    return recipe
        return None

    def _given_up(self, checked: Checked) -> Outcome:
        """Nobody can say where the bytes could be had again."""
        dataset, version = checked.dataset, checked.version
        if not checked.published:
            self.session.store.publisher.remove_receipt(dataset, version)
            return Outcome(
                checked,
                "today's catalog does not describe this version, so that it cannot be fetched; it is not believed any more,"
                " and 'gc' removes it",
            )
        raise DamagedTreeError(
            f"the catalog {self.settings.catalog_path} does not describe this version, so that it cannot be fetched",
            hint="Give the catalog that it came with (--catalog), or 'provision' to have today's version instead.",
        )

    def _filled(self, checked: Checked, recipe: Recipe) -> Outcome:
        store, dataset = self.session.store, checked.dataset
        receipt = store.reader.receipt(dataset, checked.version)
        wrong = frozenset(finding.path for finding in checked.findings if finding.problem not in _HARMLESS)
        progress = BuildProgress(recipe, self.progress)
        builder = DataSetBuilder(
            self._step(recipe, receipt, wrong, checked),
            store,
            self.clients.sources,
            self.clients.transfers,
            self.clients.local_copies,
            cancellation=self.cancellation,
            progress=progress,
            connections=self.settings.connections,
            damage=Damage(receipt, wrong, checked.published),
        )
        try:
            builder.build(store.reader.inventory(measured=False), now)
        finally:
            progress.finish()
        what = ", ".join(builder.fetched[:3]) + (f" and {len(builder.fetched) - 3} more" if len(builder.fetched) > 3 else "")  # noqa: PLR2004
        done = (
            f"fetched {what}; the rest was kept" if builder.fetched else "mended from what was on the volume, nothing was fetched"
        )
        return Outcome(checked, done, builder.fetched)

    def _step(self, recipe: Recipe, receipt: Receipt | None, wrong: frozenset[str], checked: Checked) -> Step:
        manifest = self.session.store.reader.manifest(checked.dataset, checked.version)
        tree = self.session.store.reader.tree_of(checked.dataset, checked.version)
        broken, there = set(), set()
        for entry in manifest if manifest is not None and tree is not None else ():
            there.add(entry.artifact)
            if entry.path in wrong:
                broken.add(entry.artifact)
        need = need_of(recipe, there - broken)
        free = free_bytes(self.session.layout.root)
        ordered = replace(recipe, sources=_as_it_was_made(recipe.sources, receipt))
        return Step(
            ordered, "fetch", recipe.dataset.priority, "is wrong", available_bytes=free, retention=need.retention_within(free)
        )


def _as_it_was_made(sources: Sequence[Source], receipt: Receipt | None) -> tuple[Source, ...]:
    """Put the source first that a version was made from, as it was then: a branch may have moved since."""
    if receipt is None:
        return tuple(sources)
    for source in sources:
        if source.kind == receipt.source_kind and source.is_at(receipt.source_url):
            pinned = source.pinned(receipt.pin)
            return (pinned, *(other for other in sources if other is not pinned))
    return tuple(sources)
