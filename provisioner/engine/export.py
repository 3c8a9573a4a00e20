"""``export``: published versions copied to another directory, laid out as a volume, from which other volumes can be filled.

Each version is assembled in the directory's own staging, hashed there, and published as on any volume, with the receipt
written last. So an export that was killed can be continued, and is never taken for a complete one.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from provisioner.engine.export_fit import name_problem, place_of, tree_problem
from provisioner.engine.export_records import write_export_records
from provisioner.engine.staged_tree import StagedTree, not_links
from provisioner.errors import DamagedTreeError, NotFoundError, ProvisionerError, VolumeError, VolumeFullError
from provisioner.planning.versions_list import versions_document
from provisioner.units import format_bytes, format_pair
from provisioner.volume.fs.abilities import Probe
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.fs.files import HASHED_AT_ONCE
from provisioner.volume.fs.mounts import is_linkable
from provisioner.volume.store.json_file import read_json, write_json
from provisioner.volume.store.manifest import Manifest
from provisioner.volume.store.tree_check import check_tree
from provisioner.volume.tree.links import TreeLink, check_links
from provisioner.volume.tree.reader import TreeReader
from provisioner.volume.tree.writer import TreeWriter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from provisioner.cancellation import Cancellation
    from provisioner.catalog.model import Catalog
    from provisioner.engine.volume_session import VolumeSession
    from provisioner.planning.model import Receipt
    from provisioner.reporting.progress import Progress
    from provisioner.volume.store.entry import Entry

_LOGGER = logging.getLogger(__name__)

_MOST_CHANGES: Final = 5
"""Maximum number of attempts to export a version that is replaced on the volume meanwhile."""


@dataclass(frozen=True, slots=True)
class Exported:
    """The result for one version."""

    receipt: Receipt
    how: str
    """``there`` if nothing had to be done, ``linked`` or ``copied``; empty if it failed."""
    error: ProvisionerError | None = None

    def as_record(self) -> dict[str, Any]:
        """Return the form in which ``--json`` carries it."""
        receipt = self.receipt
        return {
            "dataset": receipt.label,
            "version": receipt.version,
            "files": receipt.files,
            "bytes": receipt.size,
            "how": self.how or None,
            "error": self.error.as_record() if self.error else None,
        }


@dataclass(frozen=True, slots=True)
class _Version:
    """A published version that is to be exported."""

    receipt: Receipt
    tree: Path
    manifest: Manifest
    identity: tuple[int, int]
    """Device and inode number of the tree's directory, which change when a repair replaces it."""
    source: str
    """The data set's id on the volume; the receipt has the id that it gets in the exported directory."""


class Export:
    """One export of a volume's published versions."""

    def __init__(
        self,
        source: VolumeSession,
        target: VolumeSession,
        *,
        catalog: Catalog,
        copies: bool,
        cancellation: Cancellation,
        progress: Progress,
    ) -> None:
        """Prepare; nothing is read or written yet.

        Args:
            source: the volume.
            target: the directory that is exported to.
            catalog: describes the data sets, those of references too.
            copies: copy every byte, even if links are possible.
            cancellation: ends the work.
            progress: is told of bytes.
        """
        self._source = source
        self._target = target
        self._catalog = catalog
        self._copies = copies
        self._check = cancellation.raise_if_requested
        self._cancellation = cancellation
        self._progress = progress

    def run(self, ids: Sequence[str]) -> list[Exported]:
        """Export the published versions of some data sets.

        Returns:
            The result for each version, including the reason why a single one failed.

        Raises:
            ProvisionerError: nothing could be exported, or the run must end.
        """
        versions, outcomes = self._choose(ids)
        self._refuse_links()
        self._target.prepare()
        with self._target.lock():
            self._target.store.cleaner.clear_leftovers()
            missing = []
            for version in versions:
                if self._is_there(version):
                    self._publish_again(version)
                    outcomes.append(Exported(version.receipt, "there"))
                else:
                    missing.append(version)
            refused = self._refused(missing)
            self._check_space([version for version in missing if version.receipt.dataset not in refused])
            for version in missing:
                error = refused.get(version.receipt.dataset)
                outcome = Exported(version.receipt, "", error) if error else self._export(version)
                if outcome.error is not None and error is None:
                    _LOGGER.error("%s: not exported: %s", outcome.receipt.label, outcome.error.message)
                outcomes.append(outcome)
            self._list_versions([version.receipt.dataset for version in versions])
            write_export_records(self._catalog, self._target)
        return outcomes

    def _refuse_links(self) -> None:
        """Raise if a directory for names, records, trees or staging is a link, which leads out of the directory.

        Raises:
            VolumeError: one of them is; nothing was written.
        """
        layout = self._target.layout
        for path in (layout.datasets, layout.private, layout.receipts, layout.manifests, layout.store, layout.staging):
            if path.is_symlink():
                raise VolumeError(
                    f"{path} is a link out of the directory that is exported to; nothing was written",
                    hint="Remove the link, or export to another directory.",
                )

    def _list_versions(self, datasets: Sequence[str]) -> None:
        """Write which versions the directory has, for readers that reach it through a web server."""
        inventory = self._target.store.reader.inventory(measured=False)
        for dataset in datasets:
            path, document = self._target.layout.versions_list(dataset), versions_document(inventory, dataset)
            if document["versions"] and read_json(path) != document:
                write_json(path, document)

    def _choose(self, ids: Sequence[str]) -> tuple[list[_Version], list[Exported]]:
        """Return the published versions of data sets, and what is wrong with those that cannot be exported.

        Raises:
            NotFoundError: one of them has no published version.
        """
        store = self._source.store
        inventory = store.reader.inventory(measured=False)
        if missing := [name for name in ids if name not in inventory.published]:
            raise NotFoundError(
                f"{', '.join(missing)}: {self._source.layout.root} has no complete version of it; nothing was exported",
                hint="'status' shows what is there; 'provision' completes it.",
            )
        versions, failed = [], []
        there = self._target.store.reader.inventory(measured=False)
        for name in ids:
            version = inventory.published[name]
            receipt, tree = inventory.receipts[name, version], store.reader.tree_of(name, version)
            manifest = store.reader.manifest(name, version)
            if receipt.is_newer or tree is None or manifest is None:
                error = DamagedTreeError(
                    f"{receipt.label}: its records are damaged, or of a newer version of this program; it was not exported",
                    hint=f"'verify {name}' says more, and 'repair {name}' mends it.",
                )
                failed.append(Exported(receipt, "", error))
            else:
                with disk_errors(f"reading {tree}"):
                    facts = tree.stat()
                placed = replace(receipt, dataset=place_of(receipt, there.receipts.values()))
                versions.append(_Version(placed, tree, manifest, (facts.st_dev, facts.st_ino), name))
        return versions, failed

    # --- what is there already -----------------------------------------------------------------------------------------

    def _is_there(self, version: _Version) -> bool:
        """Return whether the directory has a version with the same manifest, by its records, names and sizes."""
        reader, receipt = self._target.store.reader, version.receipt
        tree = reader.tree_of(receipt.dataset, receipt.version)
        if tree is None or reader.receipt(receipt.dataset, receipt.version) is None:
            return False
        manifest = reader.manifest(receipt.dataset, receipt.version)
        if manifest != version.manifest:
            return False
        return not check_tree(tree, version.manifest, deep=False, check_cancelled=self._check)

    def _publish_again(self, version: _Version) -> None:
        """Publish this version again under the name of its data set."""
        published, receipt = self._target.store.published, version.receipt
        if published.version_in_wanted_form(receipt.dataset) != receipt.version:
            published.switch(receipt.dataset, receipt.version)

    # --- what the directory cannot hold --------------------------------------------------------------------------------

    def _refused(self, versions: Sequence[_Version]) -> dict[str, ProvisionerError]:
        """Return, by id, why the directory's file system cannot hold a data set; nothing of any has been written yet."""
        if not versions:
            return {}
        refused: dict[str, ProvisionerError] = {}
        held: dict[str, list[Receipt]] = {}
        published = self._target.store.published
        for receipt in self._target.store.reader.inventory(measured=False).receipts.values():
            held.setdefault(receipt.dataset, []).append(receipt)
        with Probe(self._target.layout.staging) as probe:
            for version in versions:
                self._check()
                root, label = self._target.layout.root, version.receipt.label
                if problem := name_problem(version.receipt, held, published, self._source.settings.hf_endpoint):
                    _LOGGER.error("%s: it has no place in %s: %s", label, root, problem)
                    refused[version.receipt.dataset] = VolumeError(
                        f"{label}: it has no place in {root}: {problem}; nothing of it was written",
                        hint="Export it to another directory, or provision it under a name of its own.",
                    )
                elif problem := tree_problem(version.manifest, label, self._target.layout.staging, probe):
                    _LOGGER.error("%s: %s cannot hold it: %s", label, root, problem)
                    refused[version.receipt.dataset] = VolumeError(
                        f"{label}: {root} cannot hold it: {problem}; nothing of it was written",
                        hint="Use a directory on another file system, such as ext4, XFS or NTFS; or pack the volume into a tar"
                        " archive there.",
                    )
        return refused

    def _check_space(self, versions: Sequence[_Version]) -> None:
        """Raise if the device has too little space for all that is copied; nothing has been written yet.

        Raises:
            VolumeFullError: it has too little.
        """
        free = self._target.free_bytes()
        needed = sum(version.receipt.size for version in versions if not self._links(version))
        if free is not None and needed > free:
            shown, left = format_pair(needed, free)
            raise VolumeFullError(
                f"{self._target.layout.root}: {shown} are to be copied there, and {left} are free; nothing was copied",
                hint="Use a larger device, or name the data sets to export.",
            )

    def _links(self, version: _Version) -> bool:
        """Return whether files of a version are linked: if links are possible, and copies were not requested."""
        return not self._copies and is_linkable(version.tree, self._target.layout.staging)

    # --- one version ---------------------------------------------------------------------------------------------------

    def _export(self, version: _Version) -> Exported:
        """Export a version, or the one that replaces it meanwhile, since other processes may change the volume."""
        for _ in range(_MOST_CHANGES):
            outcome = self._export_once(version)
            try:
                now = self._replaced(version) if isinstance(outcome.error, DamagedTreeError) else None
            except NotFoundError:
                gone = NotFoundError(f"{outcome.receipt.label}: it was removed from the volume while it was exported")
                return Exported(outcome.receipt, "", gone)
            if now is None:
                break
            receipt = now.receipt
            _LOGGER.info("%s: it was replaced while it was exported; what is there now is exported", receipt.label)
            if self._is_there(now):
                self._publish_again(now)
                return Exported(receipt, "there")
            if refused := self._refused([now]):
                return Exported(receipt, "", refused[receipt.dataset])
            self._check_space([now])
            version = now
        return outcome

    def _replaced(self, version: _Version) -> _Version | None:
        """Return what was published in place of a version after it had been chosen, or ``None`` if it was not replaced.

        Raises:
            NotFoundError: the volume no longer has the data set.
        """
        versions, _ = self._choose([version.source])
        before = version.receipt.version, version.identity
        return next((now for now in versions if (now.receipt.version, now.identity) != before), None)

    def _export_once(self, version: _Version) -> Exported:
        receipt = version.receipt
        links = self._links(version)
        _LOGGER.info(
            "%s: %s %s to %s",
            receipt.label,
            "linking" if links else "copying",
            format_bytes(receipt.size),
            self._target.layout.root,
        )
        try:
            self._build(version, links=links)
        except ProvisionerError as error:
            if self._cancellation.reason is not None or isinstance(error, VolumeFullError):
                raise
            return Exported(receipt, "", error)
        finally:
            self._progress.finish(receipt.label)
        return Exported(receipt, "linked" if links else "copied")

    def _build(self, version: _Version, *, links: bool) -> None:
        receipt, layout = version.receipt, self._target.layout
        dataset = receipt.dataset
        check_links({entry.path: TreeLink(entry.target, dataset) for entry in version.manifest if entry.kind == "link"})
        staged = StagedTree(layout, dataset, receipt.version, keeps_archives=True, check_cancelled=self._check)
        with staged.watched():
            self._build_in(staged, version, links=links)

    def _build_in(self, staged: StagedTree, version: _Version, *, links: bool) -> None:
        receipt, store, layout = version.receipt, self._target.store, self._target.layout
        dataset = receipt.dataset
        staged.create()
        plain = Manifest(tuple(not_links(version.manifest)))
        # What an earlier attempt left counts if it hashes right; every file that it did not bring counts as missing.
        self._progress.start(receipt.label, "verify", plain.bytes)
        findings = check_tree(staged.path, plain, deep=True, check_cancelled=self._check)
        wrong = {finding.path for finding in findings if finding.problem != "extra"}
        entries = tuple(entry for entry in plain if entry.path in wrong)
        self._progress.advance(receipt.label, plain.bytes - sum(entry.size for entry in entries))
        with disk_errors(f"writing {dataset} to {layout.root}", staged.path):
            self._fill(version, staged.path, entries, links=links)
        self._prove(receipt, staged.path, Manifest(entries))
        store.publisher.publish(receipt, staged.path, version.manifest, prune=True, watch=staged.watch)
        store.cleaner.clear_staging(dataset)
        if not self._is_there(version):
            # Some drivers lose the content of a directory when it is renamed.
            store.published.remove(dataset)
            store.cleaner.remove(dataset, receipt.version)
            raise VolumeError(
                f"{receipt.label}: {layout.root} does not hold what was written there and hashed before it got its name; it was"
                " not exported",
                hint="Export to another device or file system, and pack what must be on this one into a tar archive there.",
            )

    def _fill(self, version: _Version, staged: Path, entries: Sequence[Entry], *, links: bool) -> None:
        """Link or copy files into the staged tree; files that are copied are hashed on the way.

        Raises:
            DamagedTreeError: the volume's own file is wrong.
            OSError: the system reported it.
        """
        with TreeReader(version.tree) as old, TreeWriter(staged) as new:
            for entry in entries:
                self._check()
                new.directory(entry.path if entry.kind == "folder" else entry.path.rpartition("/")[0])
                if entry.kind != "file":
                    continue
                if links:
                    self._link(version.receipt, old, new, entry)
                else:
                    self._copy(version.receipt, old, new, entry)

    def _link(self, receipt: Receipt, old: TreeReader, new: TreeWriter, entry: Entry) -> None:
        try:
            new.share_from(old, entry.path, entry.path)
        except FileNotFoundError as error:
            raise _damaged(receipt, entry.path) from error

    def _copy(self, receipt: Receipt, old: TreeReader, new: TreeWriter, entry: Entry) -> None:
        try:
            mtime = old.stat(entry.path).st_mtime_ns
            handle = old.open(entry.path)
        except OSError as error:
            raise _damaged(receipt, entry.path) from error
        try:
            copied = new.file(entry.path, self._blocks(receipt.label, handle), executable=entry.executable, mtime_ns=mtime)
        finally:
            os.close(handle)
        if copied != (entry.size, entry.sha256):
            raise _damaged(receipt, entry.path)

    def _blocks(self, label: str, handle: int) -> Iterator[bytes]:
        while data := os.read(handle, HASHED_AT_ONCE):
            self._check()
            yield data
            self._progress.advance(label, len(data))

    def _prove(self, receipt: Receipt, staged: Path, manifest: Manifest) -> None:
        """Hash what was written, as read back from the directory.

        Raises:
            DamagedTreeError: it is not what the manifest says.
        """
        findings = check_tree(staged, manifest, deep=True, check_cancelled=self._check)
        found = next((finding for finding in findings if finding.problem != "extra"), None)
        if found is not None:
            raise _damaged(receipt, found.path)


def _damaged(receipt: Receipt, path: str) -> DamagedTreeError:
    return DamagedTreeError(
        f"{receipt.label}: {path!r} is not what its manifest says, on this volume or in the copy; it was not exported",
        hint=f"'verify --deep {receipt.dataset}' says whether the volume's file is wrong, and 'repair' mends it. If it is right,"
        " the device that was exported to loses data.",
    )
