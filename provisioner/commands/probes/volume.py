"""Probes of the volume: its mount, its free space, and what its file system can do.

Each trial works in a temporary directory of its own.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from provisioner.commands.probes.permissions import try_permissions
from provisioner.commands.probes.probe import ProbeResult, run_probe
from provisioner.engine.installation import in_image
from provisioner.errors import VolumeError, VolumeNotWritableError
from provisioner.units import format_bytes
from provisioner.volume.fs.atomic import exchange, temporary_name, write_atomic, write_new
from provisioner.volume.fs.directories import make_directory
from provisioner.volume.fs.durable import fsync_directory, sync_tree
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.fs.lock import describe_holder, writer_lock
from provisioner.volume.fs.mounts import is_persistent
from provisioner.volume.fs.remove import remove_leftover
from provisioner.volume.tree.writer import TreeWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from provisioner.cancellation import Cancellation
    from provisioner.engine.volume_session import VolumeSession
    from provisioner.planning.model import Plan

_FEW_INODES: Final = 100_000
"""A data set of many small files may need so many."""


def probe_volume(session: VolumeSession, plan: Plan | None, cancellation: Cancellation) -> Iterator[ProbeResult]:
    """Yield what a run would encounter on the volume, in the order in which it would fail.

    Args:
        session: the volume.
        plan: what a run would do, or ``None`` if that is not known.
        cancellation: ends the probes.
    """
    root, staging = session.layout.root, session.layout.staging
    yield run_probe("mount", lambda: _mount(session), cancellation)
    yield run_probe("space", lambda: _space(session), cancellation)
    if not root.is_dir():
        yield run_probe("volume", lambda: _can_be_made(root), cancellation)
    else:
        yield from _trials(session, cancellation)
        yield run_probe("permissions", lambda: try_permissions(session.layout, plan), cancellation)
    if session.settings.staging_dir is not None:
        trial = _in_directory if staging.is_dir() else lambda directory, _: _can_be_made(directory)
        yield run_probe("staging", lambda: trial(staging, _try_writing), cancellation)


def _mount(session: VolumeSession) -> ProbeResult:
    root = session.layout.root
    session.check_kind()
    if session.kind == "object":
        return ProbeResult("mount", "note", f"{root} is an object store's mount: locks hold within one mount only")
    if in_image() and not is_persistent(root):
        text = f"{root} is no mounted volume: what is fetched is lost with the container"
        return ProbeResult("mount", "note", text, f"Mount a volume, e.g. -v data:{root}")
    return ProbeResult("mount", "ok", f"{root} is on an ordinary file system")


def _space(session: VolumeSession) -> ProbeResult | str:
    existing = session.layout.root
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    inodes = os.statvfs(existing) if hasattr(os, "statvfs") else None
    free = session.free_bytes()
    if free is None:
        hint = "Set MAX_STORAGE_GB, so that a run knows how much it may keep."
        return ProbeResult("space", "note", "the free space is unknown: this mount does not say how large it is", hint)
    text = f"{format_bytes(free)} free"
    if inodes is None or not inodes.f_files:
        return text
    text += f", {inodes.f_favail:,} inodes free"
    hint = "Many small files need many inodes: make the file system with more of them."
    return text if inodes.f_favail >= _FEW_INODES else ProbeResult("space", "note", text, hint)


def _trials(session: VolumeSession, cancellation: Cancellation) -> Iterator[ProbeResult]:
    def run(name: str, trial: Callable[[Path], ProbeResult | str]) -> ProbeResult:
        return run_probe(name, lambda: _in_directory(session.layout.root, trial), cancellation)

    result = run("write", _try_writing)
    yield result
    if result.error is not None:
        if isinstance(result.error, VolumeNotWritableError):
            readable = "all that is there can be read: a run with nothing to do, 'verify' and 'status' work"
            yield ProbeResult("volume", "note", readable)
        return
    if session.settings.staging_dir is None:
        yield run("staging", _try_random_writes)
    yield run("names", _try_names)
    yield run("rename", _try_renaming)
    yield run("links", _try_links)
    yield run("lock", lambda directory: _try_locking(directory, session, cancellation))


def _can_be_made(root: Path) -> ProbeResult | str:
    """Check whether a run could create a directory, by creating another one beside it."""
    if os.path.lexists(root):
        raise VolumeError(f"{root} is there, and is no directory", hint="Give another path, or move away what is there.")
    above = root.parent
    while not os.path.lexists(above) and above != above.parent:
        above = above.parent
    _in_directory(above, lambda _: "")
    return ProbeResult("volume", "note", f"{root} is not there yet: 'provision' makes it; nothing could be tried out on it")


def _in_directory(root: Path, trial: Callable[[Path], ProbeResult | str]) -> ProbeResult | str:
    """Run a trial in a temporary directory below ``root``; if this process is killed, the next run removes the directory."""
    directory = root / temporary_name()
    try:
        make_directory(directory)
        return trial(directory)
    finally:
        remove_leftover(directory)


def _try_writing(directory: Path) -> str:
    write_new(directory / "file", b"x" * 4096)
    write_atomic(directory / "file", b"y" * 4096)
    sync_tree(directory)
    fsync_directory(directory)
    with disk_errors("reading back", directory):
        if (directory / "file").read_bytes() != b"y" * 4096:
            raise VolumeError(f"{directory}: what was written is not what is read", hint="Do not use this volume.")
    return f"written, replaced and made durable as uid {os.geteuid() if hasattr(os, 'geteuid') else '?'}"


def _try_random_writes(directory: Path) -> str:
    with disk_errors("writing into the middle of a file", directory), (directory / "file").open("xb", buffering=0) as file:
        file.truncate(8192)
        for offset in (4096, 0):
            file.seek(offset)
            file.write(b"x" * 4096)
    return "large files can arrive in any order"


def _try_names(directory: Path) -> ProbeResult | str:
    with disk_errors("trying names", directory), TreeWriter(directory) as tree:
        if tree.folds_names():
            text = "names are not case-sensitive: data sets with names that differ in nothing else are refused"
        elif tree.composes_names():
            text = "names are compared as Unicode text: data sets with names that differ in their bytes alone are refused"
        else:
            return "names are case-sensitive"
    return ProbeResult("names", "note", text)


def _try_renaming(directory: Path) -> ProbeResult | str:
    make_directory(directory / "one")
    make_directory(directory / "two")
    with disk_errors("exchanging two directories", directory):
        in_one_step = exchange(directory / "one", directory / "two")
        os.rename(directory / "one", directory / "three")
    if in_one_step:
        return "directories are renamed, and exchanged in one step"
    text = "directories are renamed; 'repair' exchanges them in two steps, and for a moment there is neither"
    return ProbeResult("rename", "note", text)


def _try_links(directory: Path) -> ProbeResult | str:
    write_new(directory / "file", b"")
    missing = []
    try:
        (directory / "link").symlink_to("file")
    except OSError:
        missing.append("no symbolic links: data sets are published as directories (PUBLISH=dir)")
    try:
        os.link(directory / "file", directory / "name")
    except OSError:
        missing.append("no hard links: what versions share is copied")
    return ProbeResult("links", "note", "; ".join(missing)) if missing else "symbolic and hard links"


def _try_locking(directory: Path, session: VolumeSession, cancellation: Cancellation) -> ProbeResult | str:
    if session.settings.lock == "external":
        return ProbeResult("lock", "note", "LOCK=external: somebody else makes sure that there is only one writer")
    with writer_lock(
        directory / "lock", holder={"doctor": True}, timeout_seconds=0.0, cancellation=cancellation, waiting=lambda *_: None
    ):
        pass
    if not session.layout.lock.exists():
        return "kernel locks work"
    return f"kernel locks work; the last writer was {describe_holder(session.layout.lock)}"
