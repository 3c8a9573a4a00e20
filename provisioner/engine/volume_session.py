"""One process's access to the volume that the settings name: its directories, kind, trees and lock.

Every command that reads or changes the volume uses a session, so that all agree on where things are, how trees are published,
and when nothing may be written.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Final

from provisioner._version import __version__
from provisioner.errors import VolumeError, VolumeNotWritableError
from provisioner.settings.lookup import DEFAULT_ORIGIN
from provisioner.volume.fs.directories import make_directory
from provisioner.volume.fs.free_space import free_bytes
from provisioner.volume.fs.lock import writer_lock
from provisioner.volume.fs.mounts import has_one_kernel, kind_of
from provisioner.volume.store.layout import VolumeLayout
from provisioner.volume.store.volume_identity import new_identity, read_identity, write_identity

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from provisioner.cancellation import Cancellation
    from provisioner.settings.settings import Settings
    from provisioner.volume.store.store import Store

_LOGGER = logging.getLogger(__name__)

WAIT_LINE_SECONDS: Final = 10.0
"""Seconds between two log lines which say that the run is waiting for another writer."""


class VolumeSession:
    """One process's access to one volume."""

    def __init__(self, settings: Settings, cancellation: Cancellation) -> None:
        """Determine the kind of mount and, if staging is elsewhere, the volume's identity.

        Args:
            settings: what the user asked for.
            cancellation: ends the work.
        """
        self.settings = settings
        self._cancellation = cancellation
        self.layout = VolumeLayout(settings.data_dir.absolute())
        if settings.staging_dir is not None:
            # Other volumes may use that directory too. A new volume gets this identity when it is first written to; a run
            # that began at the same moment keeps its own until it ends.
            self._identity = read_identity(self.layout.identity) or new_identity()
            self.layout = replace(self.layout, staging_root=settings.staging_dir.absolute() / f".provisioner-{self._identity}")
        self.kind = kind_of(self.layout.root) if settings.volume_kind == "auto" else settings.volume_kind
        self.run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
        self.host = socket.gethostname()

    @cached_property
    def store(self) -> Store:
        """The volume's trees and records."""
        from provisioner.volume.store.store import Store  # noqa: PLC0415 - 'status' needs the layout alone

        publish = "dir" if self.kind == "object" else self.settings.publish
        return Store(
            self.layout,
            publish,
            program_version=__version__,
            check_cancelled=self._cancellation.raise_if_requested,
            measures_space=self.measures_space,
            hub_cache=self.hub_cache,
        )

    @property
    def hub_cache(self) -> Path | None:
        """The Hub client's cache in which repositories are shown: the user's, or else a directory on the volume."""
        settings = self.settings
        if settings.hub_cache == "off" or self.kind == "object":
            return None  # links on an object store's mount do not last
        is_set = settings.hf_home is not None or settings.origins.get("HF_HUB_CACHE", DEFAULT_ORIGIN) != DEFAULT_ORIGIN
        return settings.hf_hub_cache.absolute() if is_set else self.layout.root / ".cache" / "huggingface" / "hub"

    @property
    def measures_space(self) -> bool:
        """Whether the free space that the volume's file system states can be believed: a bucket has no size."""
        return self.kind != "object"

    @property
    def allows_several_writers(self) -> bool:
        """Whether runs that build different data sets may work at the same time; otherwise, each needs the whole volume."""
        if self.settings.lock != "flock" or self.kind != "posix" or self.layout.staging_root is not None:
            return False
        return has_one_kernel(self.layout.root)

    def free_bytes(self) -> int | None:
        """Return how many bytes the volume has free, or ``None`` if that is not known."""
        return free_bytes(self.layout.root) if self.measures_space else None

    def check_kind(self) -> None:
        """Refuse a volume whose locks do not exclude other writers, unless the user excludes them otherwise.

        Raises:
            VolumeError: the volume is of that kind.
        """
        if self.kind == "object" and self.settings.lock == "flock":
            raise VolumeError(
                f"{self.layout.root} is an object store's mount: a lock on it holds within one mount only; nothing was changed",
                hint="If there is only one writer, set LOCK=external (and STAGING_DIR to a local disk).",
            )

    def prepare(self) -> None:
        """Create the directories that a writer needs.

        Raises:
            VolumeNotWritableError: this user may not write there.
            VolumeError: the volume's locks do not exclude other writers, or it failed.
        """
        self.check_kind()
        try:
            make_directory(self.layout.root)
            make_directory(self.layout.private)
        except VolumeNotWritableError as error:
            uid = os.geteuid() if hasattr(os, "geteuid") else "this user"
            raise VolumeNotWritableError(
                error.message,
                hint=f"Give the volume to this user: 'chown -R {uid}:0 DIR && chmod -R g+rwX DIR' on the host, "
                f"or start the container with --user UID:0 of its owner, or fsGroup: 0 in Kubernetes.",
            ) from error
        if self.layout.staging_root is not None:
            write_identity(self.layout.identity, self._identity)
        make_directory(self.layout.staging)

    @contextlib.contextmanager
    def lock(self, *, waits: bool = True, shared: bool = False) -> Iterator[None]:
        """Hold the volume's lock while the block runs, so that no other process writes meanwhile.

        Args:
            waits: wait for another writer, up to ``LOCK_TIMEOUT``; otherwise fail at once.
            shared: others may hold the lock in this way too; only if :attr:`allows_several_writers`.

        Raises:
            LockTimeoutError: another writer held the lock for too long.
            VolumeNotWritableError, VolumeError: the volume cannot be locked.
        """
        with contextlib.ExitStack() as held:
            if self.settings.lock != "external":
                held.enter_context(self.lock_on(self.layout.lock, waits=waits, shared=shared))
            if self.layout.staging_root is not None:
                # A copy of the volume has the same identity, and may share that directory. If the directory's file system has
                # no locks, the lock on the volume must suffice.
                beside = self.layout.staging_root.with_name(f"{self.layout.staging_root.name}.lock")
                try:
                    held.enter_context(self.lock_on(beside, waits=waits, keep=False))
                except VolumeError as error:
                    _LOGGER.debug("%s", error.message)
            yield

    @contextlib.contextmanager
    def lock_on(self, path: Path, *, waits: bool = True, keep: bool = True, shared: bool = False) -> Iterator[None]:
        """Hold a separate lock while the block runs, in the way of :meth:`lock`.

        Args:
            path: the lock file, which is created if it is missing.
            waits: see :meth:`lock`.
            keep: leave the lock file in place afterwards.
            shared: see :meth:`lock`.

        Raises:
            LockTimeoutError, VolumeNotWritableError, VolumeError: see :meth:`lock`.
        """
        last_line = -WAIT_LINE_SECONDS

        def waiting(holder: str, waited: float) -> None:
            nonlocal last_line
            if waited - last_line >= WAIT_LINE_SECONDS:
                last_line = waited
                left = self.settings.lock_timeout_seconds - waited
                _LOGGER.info("Waiting for %s: %.0f s so far, giving up in %.0f s", holder, waited, left)

        timeout = self.settings.lock_timeout_seconds if waits else 0.0
        with writer_lock(
            path,
            holder=self.holder(),
            timeout_seconds=timeout,
            cancellation=self._cancellation,
            waiting=waiting,
            keep=keep,
            shared=shared,
        ):
            yield

    def holder(self) -> dict[str, str | int]:
        """Return what a lock file says of this run."""
        return {"run_id": self.run_id, "host": self.host, "pid": os.getpid(), "since": now()}


def now() -> str:
    """Return the present time, UTC, in ISO 8601 format."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
