"""Whether a tree on the disk matches its manifest.

Nothing here decides what to do about a difference, and nothing here writes.
"""

from __future__ import annotations

import contextlib
import itertools
import stat
from typing import TYPE_CHECKING, Final, TypeVar

from provisioner.volume.fs.errors import disk_error
from provisioner.volume.parallel import OrderedWork, Pool, Turns, batches
from provisioner.volume.store.entry import find_entry, has_entry_below, path_key
from provisioner.volume.store.finding import Finding
from provisioner.volume.tree.links import link_problem
from provisioner.volume.tree.reader import TreeReader

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from pathlib import Path

    from provisioner.volume.store.entry import Entry
    from provisioner.volume.store.manifest import Manifest

T = TypeVar("T")

_KINDS: Final = ("", "file", "link", "folder", "other")
"""The kinds of a name on the disk; the first means that there is no such name."""
_SORTED_AT_ONCE: Final = 256
"""The number of names of a tree that are sorted at once: most of them then follow each other as the entries do."""


_MAX_OPEN: Final = 8
"""Directories that each thread keeps open: files of the same directory mostly follow one another."""


def _ignore(_count: int) -> None:
    """Report no progress."""


def check_tree(
    root: Path,
    manifest: Manifest,
    *,
    deep: bool,
    check_cancelled: Callable[[], None],
    advance: Callable[[int], None] = _ignore,
    most_extras: int | None = None,
) -> list[Finding]:
    """Return the differences between the tree at ``root`` and ``manifest``; none if they match.

    Kinds, sizes and link targets are always compared; modes and times never are. Links are not followed, and those that lead
    out of the tree are found. The findings are in the order of the manifest, followed by names that are in the tree alone. In
    a tree that does not exist, every entry is missing.

    Args:
        root: the tree's directory.
        manifest: what it must hold.
        deep: also read and hash every file, on all cores.
        check_cancelled: called by several threads, for every name and every block that is read; raises to end the work.
        advance: called with the number of bytes that were hashed since the last call, by several threads.
        most_extras: if there are more names that the manifest lacks, only those are reported, and nothing else is compared.

    Raises:
        VolumeError: a directory cannot be listed. A file that cannot be read is a finding instead.
    """
    with contextlib.ExitStack() as opened:
        try:
            tree = opened.enter_context(TreeReader(root))
        except FileNotFoundError:
            return [Finding(entry.path, "missing") for entry in manifest]
        except OSError as error:
            raise disk_error(error, f"listing {root}", path=root) from error
        kinds, extras = _listed(tree, manifest, check_cancelled, most_extras)
        is_too_much = most_extras is not None and len(extras) > most_extras
        findings = [] if is_too_much else list(_differences(tree, manifest, kinds, check_cancelled, advance, deep=deep))
    extras.sort(key=lambda item: path_key(item[0]))
    findings.extend(Finding(path, "extra", "", kind) for path, kind in extras)
    return findings


def is_right(tree: TreeReader, entries: Sequence[Entry], *, check_cancelled: Callable[[], None]) -> bool:
    """Return whether files and links of a tree match their entries: each is looked up, read and hashed, on all cores.

    For part of a large tree, this takes less time than a walk through all of it. Empty directories are looked up too.

    Args:
        tree: the tree; if several threads read, further readers of it are opened.
        entries: the part of the tree to check.
        check_cancelled: called by several threads; raises to end the work.
    """

    def compare(reader: TreeReader, entry: Entry, check: Callable[[], None]) -> Finding | None:
        check()
        return _compare(reader, entry, check, _ignore, deep=True)

    if len(entries) == 1:
        # The common case of a single plain file, of which there may be very many.
        return compare(tree, entries[0], check_cancelled) is None
    with contextlib.closing(_findings(tree, entries, lambda entry: entry.size, compare, check_cancelled)) as findings:
        return next(findings, None) is None


def _listed(
    tree: TreeReader, manifest: Manifest, check_cancelled: Callable[[], None], most_extras: int | None
) -> tuple[bytearray, list[tuple[str, str]]]:
    """Return the kind of each entry on the disk, by index; and path and kind of all other names, or of too many of them."""
    entries = manifest.entries
    # One byte per entry: a directory may hold half a million names, so the names themselves are not kept.
    kinds = bytearray(len(entries))
    extras: list[tuple[str, str]] = []
    names = tree.names(check_cancelled)
    following = 0
    while some := sorted(itertools.islice(names, _SORTED_AT_ONCE), key=lambda item: path_key(item[0])):
        for path, kind in some:
            is_next = following < len(entries) and entries[following].path == path
            index = following if is_next else find_entry(entries, path)
            if index >= 0:
                kinds[index] = _KINDS.index(kind)
                following = index + 1
            elif kind != "folder" or not has_entry_below(entries, path):
                extras.append((path, kind))
        if most_extras is not None and len(extras) > most_extras:
            break
    return kinds, extras


def _differences(
    tree: TreeReader,
    manifest: Manifest,
    kinds: bytes | bytearray,
    check_cancelled: Callable[[], None],
    advance: Callable[[int], None],
    *,
    deep: bool,
) -> Iterator[Finding]:
    """Yield the differences between the entries of a manifest and what is at their paths, in their order."""
    entries = manifest.entries

    def target_of(path: str) -> str | None:
        index = find_entry(entries, path)
        return entries[index].target if index >= 0 and entries[index].kind == "link" else None

    def compare(reader: TreeReader, item: tuple[int, Entry], check: Callable[[], None]) -> Finding | None:
        check()
        kind, entry = _KINDS[item[0]], item[1]
        if not kind:
            return Finding(entry.path, "missing")
        if kind != entry.kind:
            return Finding(entry.path, "kind", entry.kind, kind)
        if kind == "folder":
            return None
        finding = _compare(reader, entry, check, advance, deep=deep)
        if finding is None and kind == "link" and (problem := link_problem(entry.path, entry.target, target_of)):
            return Finding(entry.path, "outside", "", problem)
        return finding

    # Without hashing, there is nothing that threads could do at the same time.
    threads = None if deep else 1
    items = zip(kinds, entries, strict=True)
    return _findings(tree, items, lambda item: item[1].size, compare, check_cancelled, threads=threads)


def _findings(
    tree: TreeReader,
    items: Iterable[T],
    size_of: Callable[[T], int],
    compare: Callable[[TreeReader, T, Callable[[], None]], Finding | None],
    check_cancelled: Callable[[], None],
    *,
    threads: int | None = None,
) -> Generator[Finding]:
    """Yield the findings of ``compare`` in the order of the items; several threads compare them, each with its own reader."""
    with contextlib.ExitStack() as opened:
        readers = Pool(lambda: opened.enter_context(TreeReader(tree.root, max_open=_MAX_OPEN)), tree)

        def compare_batch(batch: Sequence[T], check: Callable[[], None]) -> list[Finding]:
            with turns.turn([size_of(item) for item in batch]), readers.borrow() as reader:
                return [finding for item in batch if (finding := compare(reader, item, check)) is not None]

        turns = Turns()
        runs = batches(items, size_of)
        work = OrderedWork(compare_batch, runs, check_cancelled=check_cancelled, name="hash", threads=threads)
        with contextlib.closing(work.results()) as results:
            for found in results:
                yield from found


def _compare(
    tree: TreeReader, entry: Entry, check_cancelled: Callable[[], None], advance: Callable[[int], None], *, deep: bool
) -> Finding | None:
    """Return how a name in a tree differs from its entry, or ``None`` if it does not."""
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
        if deep and (actual := tree.sha256(entry.path, entry.size, check_cancelled, advance)) != entry.sha256:
            return Finding(entry.path, "digest", entry.sha256, actual)
    except FileNotFoundError:
        return Finding(entry.path, "missing")
    except OSError as error:
        return Finding(entry.path, "unreadable", "", error.strerror or str(error))
    return None
