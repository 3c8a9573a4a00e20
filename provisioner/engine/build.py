"""The build of one data set, from its sources to the published tree: resolve, reuse, fetch and unpack, publish.

Each of these stages is an object of its own; they share the staged tree and the record of its paths.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from provisioner.catalog.size import total
from provisioner.engine.completed_tree import CompletedTree
from provisioner.engine.fetch import Fetcher, NeededFile
from provisioner.engine.fetch_threads import FetchThreads
from provisioner.engine.path_claims import PathClaims
from provisioner.engine.pinning import check_manifest, check_source
from provisioner.engine.plain_files import PlainFiles
from provisioner.engine.reuse import Reuse
from provisioner.engine.run_log import labelled
from provisioner.engine.staged_tree import StagedTree
from provisioner.engine.unpack import Unpacker
from provisioner.engine.upstream import check_states
from provisioner.errors import (
    TRY_NEXT_AFTER,
    ConfigurationError,
    PartError,
    ProvisionerError,
    StatedTooLargeError,
    VolumeError,
    VolumeNotWritableError,
    error_to_report,
)
from provisioner.planning.capacity import can_come_in_part, space_hint
from provisioner.planning.pinning import checks_manifest
from provisioner.units import format_pair
from provisioner.volume.archive.names import check_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from provisioner.cancellation import Cancellation
    from provisioner.catalog.artifact import Artifact
    from provisioner.catalog.digest import Digest
    from provisioner.catalog.file_state import FileState
    from provisioner.catalog.size import Size
    from provisioner.engine.adoption import TreeAdopter
    from provisioner.engine.build_limits import BuildLimits
    from provisioner.engine.build_progress import BuildProgress
    from provisioner.engine.part_choice import PartChoice
    from provisioner.engine.peers import Offer, Peers
    from provisioner.engine.reuse import Damage
    from provisioner.engine.staged_tree import Part
    from provisioner.planning.model import Inventory, Receipt, Retention, Step
    from provisioner.remote.resolved import Resolved
    from provisioner.remote.sources import Sources
    from provisioner.remote.transfers import Transfers
    from provisioner.volume.archive.target import Choose
    from provisioner.volume.staging.local_copies import LocalCopies
    from provisioner.volume.store.manifest import Manifest
    from provisioner.volume.store.store import Store

_LOGGER = logging.getLogger(__name__)


class DataSetBuilder:
    """Builds one version of a data set, from the first of its sources that has the whole of it."""

    def __init__(
        self,
        step: Step,
        store: Store,
        sources: Sources,
        transfers: Transfers,
        local_copies: LocalCopies,
        *,
        limits: BuildLimits,
        cancellation: Cancellation,
        progress: BuildProgress,
        damage: Damage | None = None,
        peers: Peers | None = None,
        rank: int = 0,
        waits: Cancellation | None = None,
    ) -> None:
        """Prepare; nothing is read or written yet.

        Args:
            step: what to build, and how much space there is for it.
            store: the volume's trees.
            sources: resolves sources of every kind.
            transfers: fetches artifacts.
            local_copies: files on this machine that may have the right bytes.
            limits: what may be written.
            cancellation: ends the work.
            progress: is told how the build gets on.
            damage: what is wrong with this version, if it is being repaired; ``None`` if it is a new version.
            peers: other volumes, which are asked before the sources, or ``None`` if there are none.
            rank: position of the data set among those that are built; requests of a lower rank are sent first.
            waits: the part of ``cancellation`` that ends the requests of ``transfers`` alone, or ``None`` if there is none.
        """
        recipe, check = step.recipe, cancellation.raise_if_requested
        self._step = step
        self._peers = peers
        self._rank = rank
        self._waits = waits
        self._damage = damage
        self._blobs = store.layout.blobs
        self._limits = limits
        self._reader = store.reader
        self._sources = sources
        self._local_copies = local_copies
        self._cancellation = cancellation
        self._progress = progress
        self._claims = PathClaims(recipe.label)
        self._tree = StagedTree(
            store.layout, step.id, recipe.version, keeps_archives=step.retention == "at_once", check_cancelled=check
        )
        self._reuse = Reuse(recipe, store, self._tree, damage=damage, check_cancelled=check, limits=limits)
        self._files = PlainFiles(self._tree.path, self._claims, charge=limits.budget.charge_tree)
        self._completed = CompletedTree(recipe, store, self._tree, damage=damage, check_size=limits.check_tree)
        self._transfers = transfers
        self._choice = self._part_choice(store)
        self._origins: dict[str, FileState] = {}
        """The state of each file behind a URL as its server reported it, by the keys of the artifacts."""
        self._fetcher = self._make_fetcher(transfers, retention=step.retention)
        self.fetched: tuple[str, ...] = ()
        """Names of the artifacts that were not available on this machine."""

    def build(self, now: Callable[[], str]) -> Receipt:
        """Try the sources in their order until one has the whole data set, and publish it.

        Args:
            now: returns the time for the receipt, ISO 8601.

        Raises:
            ProvisionerError: no source has all of it (the most telling error), the volume failed, or the run must end.
        """
        with self._limits.holding(), self._tree.watched():
            return self._build(now)

    def _build(self, now: Callable[[], str]) -> Receipt:
        recipe = self._step.recipe
        errors: list[ProvisionerError] = []
        if (receipt := self._build_from_peers(now)) is not None:
            return receipt
        for index, source in enumerate(recipe.sources):
            try:
                resolved = self._sources.resolve(source)
                check_source(recipe, source, resolved)
                for warning in resolved.warnings:
                    _LOGGER.warning("%s: %s", recipe.label, warning)
                self._limits.begin_source(resolved.artifacts, self._cancellation.raise_if_requested)
                resolved, parts = self._collect(resolved)
                resolved = self._as_proven(resolved)
                check_states(recipe, self._origins, resolved.artifacts)
                # Once one source has delivered everything, what was staged from the sources before it is of no use
                # either.
                return self._completed.publish(
                    resolved, parts, now, origins=self._origins, clear_obsolete=self._limits.clear_obsolete
                )
            except (*TRY_NEXT_AFTER, ConfigurationError) as error:
                # The rule of a part would fail in the same way with every other source.
                if self._cancellation.reason is not None or isinstance(error, PartError):
                    raise
                errors.append(error)
                if index + 1 < len(recipe.sources):
                    _LOGGER.warning("%s; trying the next source", labelled(recipe.label, error))
        raise error_to_report(errors)

    def _collect(self, resolved: Resolved) -> tuple[Resolved, dict[str, Part]]:
        """Bring a source into the staged tree; return the source reduced to what is taken, and its parts by content id.

        Raises:
            PartError: the rule of the part does not fit it.
            ProvisionerError: it does not have all of the data set, the volume failed, or the run must end.
        """
        choice = self._choice
        if choice is None:
            return resolved, self._collect_parts(resolved, self._fetcher)
        first = choice.begin(resolved)
        fetched: tuple[str, ...] = ()
        if (tables := choice.tables(first)) is not None:
            self._collect_parts(tables, self._fetcher)
            choice.use_tables()
            fetched = self.fetched
        parts = self._collect_parts(first, self._fetcher)
        self.fetched = tuple(dict.fromkeys((*fetched, *self.fetched)))
        if choice.is_decided:
            resolved = first
        else:
            fetched = self.fetched
            choice.decide(resolved, parts)
            resolved = choice.reduced(resolved)
            if resolved.artifacts != first.artifacts:
                parts = self._collect_parts(resolved, self._fetcher)
                self.fetched = tuple(dict.fromkeys((*fetched, *self.fetched)))
        choice.prune(resolved.artifacts, parts)
        return resolved, parts

    def _part_choice(self, store: Store) -> PartChoice | None:
        """Return the object that applies the rule of the part, or ``None`` if the whole data set is taken."""
        recipe = self._step.recipe
        if recipe.rule is None:
            return None
        from provisioner.engine.part_choice import PartChoice  # noqa: PLC0415 - most data sets are taken whole
        from provisioner.engine.rule_check import check_rule  # noqa: PLC0415 - the same

        check_rule(recipe.rule, recipe.dataset.id, recipe.label)
        manifest = store.reader.manifest(recipe.dataset.id, recipe.version) if self._damage is not None else None
        known = frozenset(entry.path for entry in manifest) if manifest is not None else None
        check = self._cancellation.raise_if_requested
        return PartChoice(recipe.rule, recipe.label, self._tree, known=known, check_cancelled=check)

    def _as_proven(self, resolved: Resolved) -> Resolved:
        """Return a source with how its files were verified: archives that were not fetched, by the CRC-32 of their members."""
        adopted = self._fetcher.adopted
        if not adopted:
            return resolved
        artifacts = tuple(
            replace(artifact, verified_against="archive")
            if artifact.content_id in adopted and artifact.verified_against != "none"
            else artifact
            for artifact in resolved.artifacts
        )
        return replace(resolved, artifacts=artifacts)

    def _build_from_peers(self, now: Callable[[], str]) -> Receipt | None:
        """Build from the first peer that has the whole version, and return the receipt; ``None`` if none has it."""
        recipe, label = self._step.recipe, self._step.recipe.label
        if self._peers is None:
            return None
        if self._damage is None and recipe.pin is not None and not checks_manifest(recipe.pin, recipe.asked):
            _LOGGER.info("%s: no peer is asked, since the pins do not name its manifest", label)
            return None
        for offer in self._peers.offers(recipe, self._known_manifest()):
            _LOGGER.info("%s: it is taken from %s", label, offer.where)
            try:
                return self._build_from(offer, now)
            except ProvisionerError as error:
                # A full volume does not end this either: the sizes that the peer states may be false.
                if self._cancellation.reason is not None:
                    raise
                _LOGGER.warning("%s; it is not taken from %s", labelled(label, error), offer.where)
        return None

    def _known_manifest(self) -> Callable[[Manifest], bool] | None:
        """Return a function that tells whether a manifest is the expected one, or ``None`` if any manifest will do."""
        if self._damage is not None:
            return self._completed.is_of_damaged
        recipe = self._step.recipe

        def is_pinned(manifest: Manifest) -> bool:
            check_manifest(recipe, manifest)
            return True

        return is_pinned if recipe.pin is not None else None

    def _build_from(self, offer: Offer, now: Callable[[], str]) -> Receipt:
        """Build the version from peers, and publish it.

        Raises:
            ProvisionerError: none of them has all of the version, the volume failed, or the run must end.
        """
        assert self._peers is not None  # noqa: S101 - they made the offer
        resolved = offer.resolved
        self._limits.check_tree(offer.manifest)
        self._limits.begin_source(resolved.artifacts, self._cancellation.raise_if_requested)
        transfers = self._peers.transfers(offer, self._step.recipe.label, self._rank, self._cancellation)
        parts = self._collect_parts(resolved, self._make_fetcher(transfers, retention="at_once"), offer)
        return self._completed.publish(
            resolved, parts, now, origins={}, clear_obsolete=self._limits.clear_obsolete, manifest=offer.manifest
        )

    def _make_fetcher(self, transfers: Transfers, *, retention: Retention) -> Fetcher:
        """Return the object that brings artifacts into the staged tree."""
        check = self._cancellation.raise_if_requested
        waits = self._waits if transfers is self._transfers else None
        threads = FetchThreads(transfers.requests_at_once, label=self._step.recipe.label, check_cancelled=check, waits=waits)
        unpacker = Unpacker(
            self._tree, self._claims, self._progress, check_cancelled=threads.check_cancelled, limits=self._limits
        )
        return Fetcher(
            transfers,
            threads,
            unpacker,
            self._files,
            self._progress,
            blobs=self._blobs,
            retention=retention,
            limits=self._limits,
            choose=self._choose,
            adopter=self._make_adopter(transfers, unpacker, threads.check_cancelled),
        )

    def _choose(self, artifact: Artifact) -> Choose | None:
        """Return which files of an archive are taken, as far as that is known; ``None`` means all of them."""
        return self._choice.chooser(artifact) if self._choice is not None else None

    def _comes_in_part(self, artifact: Artifact) -> bool:
        """Return whether only some members of an archive are fetched, if its server allows it."""
        return can_come_in_part(artifact) and self._choose(artifact) is not None

    def _make_adopter(self, transfers: Transfers, unpacker: Unpacker, check: Callable[[], None]) -> TreeAdopter | None:
        """Return what looks for the files of archives in trees that the user names, or ``None`` if there are none."""
        if not self._local_copies.has_trees:
            return None
        from provisioner.engine.adoption import TreeAdopter  # noqa: PLC0415 - few runs have such trees

        return TreeAdopter(transfers, unpacker, self._local_copies.named_like, check_cancelled=check)

    def _collect_parts(self, resolved: Resolved, fetcher: Fetcher, offer: Offer | None = None) -> dict[str, Part]:
        """Bring every artifact into the staged tree, and return the parts by content id.

        Args:
            resolved: has the artifacts.
            fetcher: fetches what is not on this machine.
            offer: the version of peers that the files belong to, or ``None`` if they come from a source.
        """
        parts: dict[str, Part] = {}
        missing: dict[Digest | str, list[Artifact]] = {}
        staged = self._tree.create()
        self._limits.begin_tree()
        inventory = self._reader.inventory(measured=False)
        self._claims.clear()
        rule = self._step.recipe.rule
        in_part = rule is not None and any(self._comes_in_part(artifact) for artifact in resolved.artifacts)
        self._progress.begin_fetching(rule.download if rule and in_part else _total_size(resolved.artifacts))
        with contextlib.closing(self._reuse.parts(resolved, inventory, staged=staged, offer=offer)) as reused:
            for artifact, part in reused:
                if part is None:
                    # Most files have their own bytes; for those with a digest, no key is formatted, which would take
                    # memory.
                    missing.setdefault(artifact.digest or artifact.key, []).append(artifact)
                    continue
                parts[artifact.content_id] = part
                self._claims.add(part.entries)
                self._progress.add_present(artifact.size.value if artifact.size else 0)
        if staged:
            try:
                self._remove_leftovers(has_parts=bool(parts))
            except (VolumeError, VolumeNotWritableError) as error:
                _LOGGER.warning("%s; it takes space and is left there, and the tree is begun again", error.message)
                self._tree.set_aside()
                return self._collect_parts(resolved, fetcher, offer)
        self._plan_paths(missing)
        check_fits(self._step, [one[0] for one in missing.values() if not self._comes_in_part(one[0])])
        find = self._local_copies.find
        needed = deque(NeededFile.found(tuple(artifacts), find(artifacts[0])) for artifacts in missing.values())
        missing.clear()
        self.fetched = tuple(file.artifact.name for file in needed if file.local_copy is None)
        asked = [file.artifact for file in needed if file.local_copy is None and file.artifact.urls]
        with contextlib.closing(self._files):
            tree = resolved.artifacts if offer is not None else ()
            fetcher.fetch_all(_taken_from(needed), parts, tree=tree, count=len(needed))
        if pointers := fetcher.pointers:
            _LOGGER.warning(
                "%s: %s is a Git LFS pointer%s: the source lists it as it is, and the data are stored elsewhere",
                self._step.recipe.label,
                min(pointers),
                f", and so are {len(pointers) - 1:,} more files" if len(pointers) > 1 else "",
            )
        self._origins = _recorded_origins(resolved.artifacts, inventory) | self._reuse.unchanged
        self._origins |= {artifact.key: state for artifact in asked if (state := self._transfers.delivered(artifact))}
        # The claims are as large as the manifest, and publishing needs that memory.
        self._claims.clear()
        return parts

    def _remove_leftovers(self, *, has_parts: bool) -> None:
        """Remove what an earlier attempt left in the tree: it will be written again, and must not be counted twice.

        Raises:
            VolumeError: something cannot be removed, or the volume failed.
        """
        if has_parts:
            self._tree.remove_leftovers(lambda: self._claims.settle().entries)
        else:
            self._tree.create(empty=True)

    def _plan_paths(self, missing: Mapping[Digest | str, Sequence[Artifact]]) -> None:
        """Check that the volume can hold the plain files side by side, and announce their paths to the archives.

        Raises:
            VolumeError: the volume cannot tell two of their names apart; nothing was fetched.
        """
        artifacts = [artifact for same in missing.values() for artifact in same]
        plain = [artifact for artifact in artifacts if artifact.unpack == "none"]
        if len(plain) > 1:
            check_names((artifact.path for artifact in plain), self._tree.path, self._step.recipe.label)
        if len(plain) < len(artifacts):
            self._claims.plan(plain)


def _taken_from(files: deque[NeededFile]) -> Iterator[NeededFile]:
    """Yield files without keeping any of them: their parts of the tree need the memory."""
    while files:
        yield files.popleft()


def _recorded_origins(artifacts: Sequence[Artifact], inventory: Inventory) -> dict[str, FileState]:
    """Return what servers said of the files behind URLs in versions on the volume, by the keys of the artifacts."""
    wanted = {artifact.key for artifact in artifacts if artifact.urls and artifact.digest is not None}
    receipts = inventory.receipts.values()
    return {key: state for receipt in receipts for key, state in receipt.origins.items() if key in wanted}


def _total_size(artifacts: Sequence[Artifact]) -> Size | None:
    """Return the size of all artifacts together, or ``None`` if some sizes are not known."""
    return total(artifact.size for artifact in artifacts) if all(artifact.size for artifact in artifacts) else None


def check_fits(step: Step, missing: Sequence[Artifact], *, added: int = 0) -> int:
    """Compare the sizes that the source states with the space that is left, if the plan had only an estimate or none.

    Args:
        step: says how much space there is.
        missing: the artifacts that must be fetched.
        added: bytes that other steps turned out to need since the plan was made.

    Returns:
        The bytes that are needed.

    Raises:
        StatedTooLargeError: it cannot fit; nothing was fetched.
    """
    files = sum(artifact.size.value for artifact in missing if artifact.size and artifact.unpack == "none")
    archives = [artifact.size.value for artifact in missing if artifact.size and artifact.unpack != "none"]
    staged = {"at_once": sum(archives), "one_by_one": max(archives, default=0), "streamed": 0}[step.retention]
    needed = files + staged + sum(archives)  # what is unpacked is hardly smaller than the archive
    planned, available = step.download, step.available_bytes
    if available is None or (planned is not None and planned.exact is not None):
        return needed
    if needed > available - added:
        shown, left = format_pair(needed, max(0, available - added))
        raise StatedTooLargeError(
            f"{step.recipe.label} needs {shown}, as its source says now; {left} are left; nothing was fetched",
            hint=space_hint(step.recipe),
        )
    return needed
