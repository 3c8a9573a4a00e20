"""Whether a tree on the disk is what its manifest says.

Nothing here decides what to do about a difference, and nothing here writes.
"""

from __future__ import annotations

import hashlib
import os
import stat
from typing import TYPE_CHECKING, Final

from provisioner.volume.fs.errors import disk_error
from provisioner.volume.fs.files import CHUNK, OPEN_READ
from provisioner.volume.fs.paths import from_native, to_native
from provisioner.volume.store.entry import find_entry, has_entry_below, path_key
from provisioner.volume.store.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from provisioner.volume.store.entry import Entry
    from provisioner.volume.store.manifest import Manifest

_KINDS: Final = ("", "file", "link", "folder", "other")
"""What a name on the disk is; the first: there is no such name."""


def _ignore(_count: int) -> None:
    """Report no progress."""


def check_tree(
    root: Path,
    manifest: Manifest,
    *,
    deep: bool,
    check_cancelled: Callable[[], None],
    extra: bool = True,
    advance: Callable[[int], None] = _ignore,
) -> list[Finding]:
    """Return the differences between the tree at ``root`` and ``manifest``; none when they are the same.

    Kinds, sizes and link targets are always compared; modes and times never. Links are not followed. The findings come in
    the order of the manifest, then what is in the tree alone. Of a tree that does not exist every entry is missing.

    Args:
        root: the tree's directory.
        manifest: what it must hold.
        deep: also read and hash every file.
        check_cancelled: called for every name and every MiB; ends the work by raising.
        extra: whether a name that is not in the manifest is a finding.
        advance: called with the number of bytes that were hashed since the last call.

    Raises:
        VolumeError: a directory cannot be listed. A file that cannot be read is a finding.
    """
    entries = manifest.entries
    # One byte for each entry: a directory may hold half a million names, so the names themselves are not kept.
    kinds = bytearray(len(entries))
    extras: list[tuple[str, str]] = []
    for path, kind in _names_under(root, check_cancelled):
        index = find_entry(entries, path)
        if index >= 0:
            kinds[index] = _KINDS.index(kind)
        elif extra and (kind != "folder" or not has_entry_below(entries, path)):
            extras.append((path, kind))
    findings: list[Finding] = []
    base = os.fspath(root)
    for number, entry in zip(kinds, entries, strict=True):
        check_cancelled()
        kind = _KINDS[number]
        if not kind:
            findings.append(Finding(entry.path, "missing"))
        elif kind != entry.kind:
            findings.append(Finding(entry.path, "kind", entry.kind, kind))
        elif kind != "folder":
            finding = _compare(os.path.join(base, to_native(entry.path)), entry, check_cancelled, advance, deep=deep)  # noqa: PTH118
            if finding is not None:
                findings.append(finding)
    extras.sort(key=lambda item: path_key(item[0]))
    findings.extend(Finding(path, "extra", "", kind) for path, kind in extras)
    return findings


def check_entry(root: Path, entry: Entry, *, check_cancelled: Callable[[], None]) -> bool:
    """Return whether one file or link of a tree is what its entry says; a file is read and hashed."""
    return _compare(os.path.join(root, to_native(entry.path)), entry, check_cancelled, _ignore, deep=True) is None  # noqa: PTH118


def _names_under(root: Path, check_cancelled: Callable[[], None]) -> Iterator[tuple[str, str]]:
    """Yield every path under ``root`` with its kind: that of an entry, or ``other`` for devices and the like."""
    base = os.fspath(root)
    pending = [""]
    while pending:
        directory = pending.pop()
        try:
            with os.scandir(os.path.join(base, to_native(directory)) if directory else base) as listing:  # noqa: PTH118
                for item in listing:
                    check_cancelled()
                    path = f"{directory}/{from_native(item.name)}" if directory else from_native(item.name)
                    if item.is_symlink():
                        yield path, "link"
                    elif item.is_dir(follow_symlinks=False):
                        pending.append(path)
                        yield path, "folder"
                    else:
                        yield path, "file" if item.is_file(follow_symlinks=False) else "other"
        except FileNotFoundError:
            continue
        except OSError as error:
            raise disk_error(error, f"listing {directory or '.'!r} in {root}", path=root) from error


def _compare(
    path: str, entry: Entry, check_cancelled: Callable[[], None], advance: Callable[[int], None], *, deep: bool
) -> Finding | None:
    """Return how a file or link differs from its entry; ``None``: it does not."""
    try:
        if entry.kind == "link":
            target = from_native(os.readlink(path))
            return None if target == entry.target else Finding(entry.path, "target", entry.target, target)
        facts = os.stat(path, follow_symlinks=False)  # noqa: PTH116
        if not stat.S_ISREG(facts.st_mode):
            return Finding(entry.path, "kind", entry.kind, "other")
        if facts.st_size != entry.size:
            return Finding(entry.path, "size", str(entry.size), str(facts.st_size))
        if deep and (actual := _sha256(path, check_cancelled, advance)) != entry.sha256:
            return Finding(entry.path, "digest", entry.sha256, actual)
    except FileNotFoundError:
        return Finding(entry.path, "missing")
    except OSError as error:
        return Finding(entry.path, "unreadable", "", error.strerror or str(error))
    return None


def _sha256(path: str, check_cancelled: Callable[[], None], advance: Callable[[int], None]) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    hasher = hashlib.sha256()
    handle = os.open(path, OPEN_READ)
    try:
        while data := os.read(handle, CHUNK):
            hasher.update(data)
            advance(len(data))
            check_cancelled()
    finally:
        os.close(handle)
    return hasher.hexdigest()
