"""The contributions of several workers to one volume before publication: verified bytes, and a record of who brought which.

Each worker writes to its own directory, and renames complete files to names that identify their bytes. So a share that runs
twice at once ends with the same files, whether the file system has locks or not.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from provisioner.errors import ConfigurationError, ProvisionerError
from provisioner.volume.fs.atomic import temporary_name, write_new
from provisioner.volume.fs.directories import make_directory
from provisioner.volume.fs.durable import WriteWatch, fsync_directory, sync_tree
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.fs.remove import remove_leftover
from provisioner.volume.store.json_file import read_json, write_json
from provisioner.volume.store.listing import names_in

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path


_MOST_SHARES: Final = 999_999
"""The limit of ``SHARD``: a file with a larger number is damaged, and not so many records are looked for."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """Which shares of a plan are complete."""

    count: int | None = None
    """Number of shares, or ``None`` if no worker has begun."""
    done: frozenset[int] = frozenset()

    @property
    def missing(self) -> tuple[int, ...]:
        """The shares that are not complete."""
        return tuple(index for index in range(self.count or 0) if index not in self.done)

    @property
    def is_complete(self) -> bool:
        """Whether every share has been recorded."""
        return self.count is not None and not self.missing


class ShareStore:
    """The shares on one volume."""

    def __init__(self, directory: Path) -> None:
        """Remember the directory; nothing is read or created yet."""
        self.directory = directory
        self.bytes = directory / "bytes"
        """Complete and verified files, each named by its artifact's key."""
        self._plans = directory / "plans"
        self._work = directory / "work"
        self._watch = WriteWatch()

    # --- what a worker does

    def begin(self, plan: str, sizes: Sequence[int]) -> None:
        """Record the shares of a plan, whose number the first worker decides.

        Args:
            plan: the plan's identifier.
            sizes: bytes of each share.

        Raises:
            ConfigurationError: another worker has divided the same plan into a different number of shares.
            VolumeError: the volume failed.
        """
        place = self._plans / plan
        for directory in (self.directory, self.bytes, self._plans, self._work, place):
            make_directory(directory)
        found = _create(place / "count.json", {"count": len(sizes), "bytes": list(sizes)})
        if found != len(sizes):
            raise ConfigurationError(
                f"SHARD: this plan is divided by {len(sizes)} here, and by {found} on the volume; nothing was changed",
                hint=f"Start every worker with the same number. To begin again with another, remove {self.directory}.",
            )

    def lock_of(self, index: int, count: int) -> Path:
        """Return the lock of one share."""
        return self._work / f"{index}-of-{count}.lock"

    def blobs_of(self, index: int, count: int, worker: str = "") -> Path:
        """Return the directory of a worker's partial files; with ``worker``, one that no other worker has."""
        return self._work / (f"{index}-of-{count}" + (f"-{worker}" if worker else ""))

    def has(self, key: str, size: int) -> bool:
        """Return whether the bytes of an artifact are here; the worker that publishes them hashes them again."""
        try:
            return (self.bytes / key).stat(follow_symlinks=False).st_size == size
        except OSError:
            return False

    def take(self, key: str, staged: Path) -> None:
        """Move a complete and verified file here.

        Raises:
            VolumeError: the volume failed.
        """
        with disk_errors(f"placing {key}", self.bytes):
            os.replace(staged, self.bytes / key)

    def put(self, key: str, data: bytes, work: Path) -> None:
        """Write a small verified file here, by way of the worker's own directory.

        Raises:
            VolumeError: the volume failed.
        """
        temporary = work / temporary_name()
        write_new(temporary, data)
        self.take(key, temporary)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Watch for writes that fail, from before a share is fetched until it is recorded; see :class:`WriteWatch`."""
        try:
            self._watch.begin(self.bytes)
            yield
        finally:
            self._watch.close()

    def record(self, plan: str, index: int, document: Mapping[str, Any]) -> None:
        """Write the record of a share, after everything that it names is durable.

        Raises:
            VolumeError: the volume failed.
        """
        sync_tree(self.bytes, watch=self._watch)
        write_json(self._plans / plan / f"{index}.json", document)

    def show(self, plan: str, index: int, document: Mapping[str, Any]) -> None:
        """Write the progress of a share, for people; a failure to write it does not fail the share."""
        with contextlib.suppress(ProvisionerError):
            write_json(self._plans / plan / f"{index}.progress.json", document, durable=False)

    def shown(self) -> list[dict[str, Any]]:
        """Return the state of each share: ``complete``, ``fetching``, or ``missing`` if no worker has begun it."""
        found = []
        for plan in names_in(self._plans):
            recorded, sizes = self.recorded(plan), self._sizes_of(plan)
            for index in range(recorded.count or 0):
                document = read_json(self._plans / plan / f"{index}.progress.json")
                state = "complete" if index in recorded.done else "fetching" if document is not None else "missing"
                # A damaged number of shares must not be shown as so many missing shares.
                if state != "missing" or len(sizes) == recorded.count:
                    size = {"bytes_done": 0, "bytes_total": sizes[index]} if len(sizes) == recorded.count else {}
                    share = {"share": f"{index}/{recorded.count}", "plan": plan, "state": state}
                    found.append({**size, **(document or {}), **share})
        return found

    def _sizes_of(self, plan: str) -> list[int]:
        """Return the bytes of each share; empty if they were not written, or are damaged."""
        sizes = (read_json(self._plans / plan / "count.json") or {}).get("bytes")
        return sizes if isinstance(sizes, list) and all(type(size) is int and size >= 0 for size in sizes) else []

    def remove_work(self, blobs: Path) -> None:
        """Remove a worker's partial files, since its share is complete."""
        remove_leftover(blobs)

    # --- what whoever publishes does

    def recorded(self, plan: str, shares: Callable[[int], Sequence[Collection[str]]] | None = None) -> Recorded:
        """Return which shares of a plan are complete.

        Args:
            plan: its identifier.
            shares: returns, for a number of shares, the keys that the record of each must contain; ``None`` if that is not
                known.
        """
        count = _count_in(self._plans / plan / "count.json")
        if count is None:
            return Recorded()
        wanted = shares(count) if shares is not None else [()] * count
        found = (self._artifacts_of(plan, index) for index in range(count))
        return Recorded(
            count, frozenset(index for index, keys in enumerate(found) if keys is not None and keys.issuperset(wanted[index]))
        )

    def covering(self, keys: Iterable[str]) -> str | None:
        """Return a plan whose shares are all complete and include these artifacts; ``None`` if there is none.

        The current plan is smaller than the one that was divided if part of that is already published.
        """
        wanted = set(keys)
        for plan in names_in(self._plans):
            recorded = self.recorded(plan)
            if recorded.is_complete and wanted <= self._keys_of(plan, recorded):
                return plan
        return None

    def _keys_of(self, plan: str, recorded: Recorded) -> set[str]:
        return set().union(*(self._artifacts_of(plan, index) or () for index in recorded.done))

    def _artifacts_of(self, plan: str, index: int) -> set[str] | None:
        """Return the keys in the record of a share, or ``None`` if it does not exist or is damaged."""
        artifacts = (read_json(self._plans / plan / f"{index}.json") or {}).get("artifacts")
        return set(artifacts) if isinstance(artifacts, dict) else None

    def clear(self, plan: str) -> None:
        """Remove a plan's shares, since everything is published. Those of other plans stay."""
        for key in self._keys_of(plan, self.recorded(plan)):
            with contextlib.suppress(OSError):
                os.unlink(self.bytes / key)  # noqa: PTH108 - as in the rest of this module
        remove_leftover(self._plans / plan)
        self.remove_unused()

    def remove_unused(self) -> None:
        """Remove what is left if there is no plan: a waiting worker creates its lock again after everything was removed."""
        with contextlib.suppress(OSError):
            self._plans.rmdir()
        if not self._plans.exists():
            remove_leftover(self.directory)


def _create(path: Path, document: Mapping[str, Any]) -> int:
    """Write a file unless it exists, in one step, and return the count that it holds.

    Raises:
        VolumeError: the volume failed.
    """
    if (found := _count_in(path)) is not None:
        return found
    if os.path.lexists(path) and _count_in(path) is None:
        # The file is written in one step, so one without a valid count is damaged, and would stop all workers.
        remove_leftover(path)
    temporary = path.with_name(temporary_name())
    with disk_errors(f"writing {path}", path):
        write_new(temporary, json.dumps(document).encode())
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
        except OSError:
            # There are no hard links here. The rename may replace what another worker has just written, so both read it
            # again.
            if not path.exists():
                os.replace(temporary, path)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108 - as in the rest of this module
        fsync_directory(path.parent)
    found = _count_in(path)
    return found if found is not None else int(document["count"])


def _count_in(path: Path) -> int | None:
    """Return the number of shares that a file states, or ``None`` if it does not exist or is damaged."""
    count = (read_json(path) or {}).get("count")
    return count if type(count) is int and 1 <= count <= _MOST_SHARES else None
