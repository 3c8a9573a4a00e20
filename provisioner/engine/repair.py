"""``repair``: find what ``verify --deep`` would find, and repair each wrong version and published name."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from provisioner.engine.repair_outcome import Outcome
from provisioner.engine.verification import Checked, Verifier, known_ids
from provisioner.engine.version_repair import VersionRepairer
from provisioner.errors import (
    ArchiveTooLargeError,
    DamagedTreeError,
    ProvisionerError,
    TreeTooLargeError,
    VolumeError,
    VolumeFullError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioner.cancellation import Cancellation
    from provisioner.catalog.model import Catalog
    from provisioner.engine.clients import Clients
    from provisioner.engine.volume_session import VolumeSession
    from provisioner.reporting.progress import Progress

_LOGGER = logging.getLogger(__name__)


class Repair:
    """One repair of one volume."""

    def __init__(
        self, session: VolumeSession, catalog: Catalog, clients: Clients, *, cancellation: Cancellation, progress: Progress
    ) -> None:
        """Prepare; nothing is read or written yet.

        Args:
            session: the volume.
            catalog: states where bytes can be fetched, and the priorities of data sets.
            clients: fetch the bytes.
            cancellation: ends the work.
            progress: is told of bytes.
        """
        self.outcomes: list[Outcome] = []
        """The results so far; also valid after :meth:`run` has raised an error."""
        self._session = session
        self._store = session.store
        self._catalog = catalog
        self._clients = clients
        self._cancellation = cancellation
        self._progress = progress

    def run(self, ids: Sequence[str]) -> None:
        """Check all or some data sets, and repair what is wrong. If nothing is, no lock is taken and nothing is written.

        Raises:
            ProvisionerError: nothing could be done, or the run must end. The failure to repair a single version is in its
                outcome instead.
        """
        verifier = Verifier(
            self._store, deep=True, check_cancelled=self._cancellation.raise_if_requested, progress=self._progress
        )
        # Versions come before the published name: a version may have to be repaired before it can be published there.
        found = [
            checked
            for name in self._by_priority(known_ids(self._store, ids))
            for checked in sorted(verifier.check_dataset(name), key=lambda checked: not checked.version)
        ]
        self.outcomes = [Outcome(checked) for checked in found if not checked.findings]
        wrong = [checked for checked in found if checked.findings]
        if not wrong:
            self._clear_after_death(found)
            return
        for checked in wrong:
            for finding in checked.findings:
                _LOGGER.warning("%s: %s", checked.label, finding)
        self._clients.check()
        self._session.prepare()
        with self._session.lock():
            self._clear(found)
            self._repair_all(verifier, wrong)

    def _repair_all(self, verifier: Verifier, wrong: Sequence[Checked]) -> None:
        repairer = VersionRepairer(
            self._session, self._catalog, self._clients, cancellation=self._cancellation, progress=self._progress
        )
        for checked in wrong:
            self._cancellation.raise_if_requested()
            current = self._check_again(verifier, checked)
            if current is not None:
                self.outcomes.append(self._repair(repairer, current))
        failed = {outcome.checked.dataset for outcome in self.outcomes if outcome.error is not None}
        self._store.hub_cache.update(self._store.reader.inventory(measured=False))
        # What was fetched for a version whose repair failed is kept for the next attempt.
        self._store.cleaner.clear_abandoned({checked.dataset for checked in wrong} - failed, time.time())

    def _repair(self, repairer: VersionRepairer, checked: Checked) -> Outcome:
        if not checked.findings:
            return Outcome(checked)
        try:
            return repairer.repair(checked) if checked.version else self._publish_again(checked)
        except ProvisionerError as error:
            if self._cancellation.reason is not None:
                raise
            if isinstance(error, (VolumeFullError, ArchiveTooLargeError, TreeTooLargeError)):
                # The files staged for it would leave no space for the other data sets.
                self._store.cleaner.clear_staging(checked.dataset)
            _LOGGER.error("%s: not repaired, it stays as it was: %s", checked.label, error.message)
            return Outcome(checked, error=error)

    def _publish_again(self, checked: Checked) -> Outcome:
        """Publish a version of a data set that has versions, but none of them published."""
        dataset = checked.dataset
        if self._store.published.is_not_ours(dataset):
            raise VolumeError(
                f"datasets/{dataset} holds something that the provisioner did not put there; it was left alone",
                hint="Move it away, then run 'repair' again.",
            )
        versions = [version for version in self._store.reader.versions(dataset) if self._is_complete(dataset, version)]
        if len(versions) != 1:
            raise DamagedTreeError(
                f"{dataset}: {len(versions) or 'none'} of its versions could be published at datasets/{dataset}"
                + (", and nothing says which" if versions else ""),
                hint="'provision' publishes the one that is asked for, and fetches it if it is not there.",
            )
        self._store.published.switch(dataset, versions[0])
        return Outcome(checked, f"the version {versions[0]} is published again at datasets/{dataset}")

    def _check_again(self, verifier: Verifier, checked: Checked) -> Checked | None:
        """Return what was found before the lock was taken, or check again if another process has changed the version since."""
        dataset, version = checked.dataset, checked.version
        if not version:
            return next((again for again in verifier.check_dataset(dataset) if not again.version), None)
        if verifier.identity_of(dataset, version) == checked.identity:
            return checked
        return verifier.check_version(dataset, version, published=self._store.published.version(dataset) == version)

    def _by_priority(self, ids: Sequence[str]) -> list[str]:
        """Sort by priority, highest first: the first error is the one that is reported."""
        datasets = self._catalog.datasets
        return sorted(ids, key=lambda name: -datasets[name].priority if name in datasets else 0)

    def _is_complete(self, dataset: str, version: str) -> bool:
        reader = self._store.reader
        return reader.receipt(dataset, version) is not None and reader.tree_of(dataset, version) is not None

    def _clear_after_death(self, found: Sequence[Checked]) -> None:
        """Remove what an earlier repair left if it died after its last version. If that is not possible, the files stay."""
        if not self._store.cleaner.leftovers() and not any(
            self._store.reader.staged_directory(checked.dataset, checked.version) for checked in found if checked.version
        ):
            return
        try:
            self._session.prepare()
            # If another writer holds the lock, the files may be its own.
            with self._session.lock(waits=False):
                self._clear(found)
                self._store.cleaner.clear_abandoned((), time.time())
        except ProvisionerError as error:
            if self._cancellation.reason is not None:
                raise
            _LOGGER.info("The files of interrupted runs were not removed; the next run tries again: %s", error.message)

    def _clear(self, found: Sequence[Checked]) -> None:
        """Remove leftovers, and what is staged for versions that are right."""
        self._store.cleaner.clear_leftovers()
        for checked in found:
            # The check ran before the lock was taken: another process may be building a version that has no receipt now.
            is_right = not checked.findings and self._is_complete(checked.dataset, checked.version)
            if is_right and self._store.reader.staged_directory(checked.dataset, checked.version) is not None:
                self._store.cleaner.clear_staging(checked.dataset, checked.version)
