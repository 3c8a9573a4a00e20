"""Whether a tree on the disk is what its manifest says.

Nothing here decides what to do about a difference, and nothing here writes.
"""

from __future__ import annotations

import contextlib
import stat
from typing import TYPE_CHECKING, Final

from provisioner.volume.fs.errors import disk_error
from provisioner.volume.store.entry import find_entry, has_entry_below, path_key
from provisioner.volume.store.finding import Finding
from provisioner.volume.tree.links import link_problem
from provisioner.volume.tree.reader import TreeReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
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
    advance: Callable[[int], None] = _ignore,
) -> list[Finding]:
    """Return the differences between the tree at ``root`` and ``manifest``; none when they are the same.

    Kinds, sizes and link targets are always compared; modes and times never. Links are not followed, and
    those that lead out of the tree are found. The findings come in
    the order of the manifest, then what is in the tree alone. Of a tree that does not exist every entry is missing.

    Args:
        root: the tree's directory.
        manifest: what it must hold.
        deep: also read and hash every file.
        check_cancelled: called for every name and every MiB; ends the work by raising.
        advance: called with the number of bytes that were hashed since the last call.

    Raises:
        VolumeError: a directory cannot be listed. A file that cannot be read is a finding.
    """
    with contextlib.ExitStack() as opened:
        try:
            tree = opened.enter_context(TreeReader(root))
        except FileNotFoundError:
            return [Finding(entry.path, "missing") for entry in manifest]
        except OSError as error:
            raise disk_error(error, f"listing {root}", path=root) from error
        return _differences(tree, manifest, check_cancelled, advance, deep=deep)


def _differences(
    tree: TreeReader,
    manifest: Manifest,
    check_cancelled: Callable[[], None],
    advance: Callable[[int], None],
    *,
    deep: bool,
) -> list[Finding]:
    entries = manifest.entries
    # One byte for each entry: a directory may hold half a million names, so the names themselves are not kept.
    kinds = bytearray(len(entries))
    extras: list[tuple[str, str]] = []
    for path, kind in tree.names(check_cancelled):
        index = find_entry(entries, path)
        if index >= 0:
            kinds[index] = _KINDS.index(kind)
        elif kind != "folder" or not has_entry_below(entries, path):
            extras.append((path, kind))

    def target_of(path: str) -> str | None:
        index = find_entry(entries, path)
        return entries[index].target if index >= 0 and entries[index].kind == "link" else None

    findings: list[Finding] = []
    for number, entry in zip(kinds, entries, strict=True):
        check_cancelled()
        kind = _KINDS[number]
        if not kind:
            findings.append(Finding(entry.path, "missing"))
        elif kind != entry.kind:
            findings.append(Finding(entry.path, "kind", entry.kind, kind))
        elif kind != "folder":
            finding = _compare(tree, entry, check_cancelled, advance, deep=deep)
            if finding is not None:
                findings.append(finding)
            elif kind == "link" and (problem := link_problem(entry.path, entry.target, target_of)):
                findings.append(Finding(entry.path, "outside", "", problem))
    extras.sort(key=lambda item: path_key(item[0]))
    findings.extend(Finding(path, "extra", "", kind) for path, kind in extras)
    return findings


def check_entries(tree: TreeReader, entries: Iterable[Entry], *, check_cancelled: Callable[[], None]) -> Iterator[Finding]:
    """Yield how files and links of a tree differ from their entries: each is looked up, read and hashed, in the order given.

    For a part of a large tree this takes less time than a walk through all of it. Empty directories are looked up too.
    """
    for entry in entries:
        check_cancelled()
        finding = _compare(tree, entry, check_cancelled, _ignore, deep=True)
        if finding is not None:
            yield finding


def _compare(
    tree: TreeReader, entry: Entry, check_cancelled: Callable[[], None], advance: Callable[[int], None], *, deep: bool
) -> Finding | None:
    """Return how a name of a tree differs from its entry; ``None``: it does not."""
    try:
        if entry.kind == "link":
            target = tree.link_target(entry.path)
            if target is None:
                return Finding(entry.path, "kind", entry.kind, "other")
            return None if target == entry.target else Finding(entry.path, "target", entry.target, target)
        facts = tree.stat(entry.path)
        if entry.kind == "folder":
            return None if stat.S_ISDIR(facts.st_mode) else Finding(entry.path, "kind", entry.kind, "other")
        if not stat.S_ISREG(facts.st_mode):
            return Finding(entry.path, "kind", entry.kind, "other")
        if facts.st_size != entry.size:
            return Finding(entry.path, "size", str(entry.size), str(facts.st_size))
        if deep and (actual := tree.sha256(entry.path, check_cancelled, advance)) != entry.sha256:
            return Finding(entry.path, "digest", entry.sha256, actual)
    except FileNotFoundError:
        return Finding(entry.path, "missing")
    except OSError as error:
        return Finding(entry.path, "unreadable", "", error.strerror or str(error))
    return None
