"""The kinds of peers: a volume in a directory, or behind HTTP. They know where its records and trees are, and read them.

Over HTTP, every path is known in advance and nothing is listed, so that any static web server will do.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, cast
from urllib.parse import quote

from provisioner.engine.peer_bounds import (
    LARGEST_NAME,
    LARGEST_RECEIPT,
    LARGEST_RECEIPTS,
    MOST_TRIED,
    MOST_VERSIONS,
    largest_manifest,
    read_manifest,
)
from provisioner.errors import IntegrityError, NotFoundError
from provisioner.planning.versions_list import listed_versions
from provisioner.redaction import show_url
from provisioner.remote.peers import fetch_record
from provisioner.volume.fs.directories import make_directory
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.fs.files import open_file
from provisioner.volume.store.index_files import IndexFiles
from provisioner.volume.store.inventory import StoreReader
from provisioner.volume.store.layout import VolumeLayout
from provisioner.volume.store.listing import is_version
from provisioner.volume.store.published_names import PublishedNames
from provisioner.volume.store.receipt_file import parse_receipt
from provisioner.volume.store.tree_check import check_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from provisioner.engine.peer_checks import Wanted
    from provisioner.planning.model import Receipt
    from provisioner.remote.http.client import HttpClient
    from provisioner.volume.store.manifest import Manifest

_IN_MEMORY: Final = 4 << 20
"""Bytes of a record that are kept in memory; a larger one is spooled to an anonymous file while it is read."""


@dataclass(frozen=True, slots=True)
class PeerTree:
    """A version's tree on one peer."""

    peer: Peer
    url: str
    """URL of the tree's root directory, without a slash at the end."""
    directory: Path | None = None
    """The tree's root, if the peer is a directory."""
    joined: str = ""
    """The URL of all its files concatenated, which a peer may offer; empty if it does not."""


class Peer(Protocol):
    """Another volume."""

    @property
    def name(self) -> str:
        """The peer's name in messages."""
        ...

    def receipts(self, dataset: str, wanted: Wanted) -> Iterator[Receipt]:
        """Yield the receipts of versions that may be the wanted one: the likeliest first, then the published one.

        Raises:
            ProvisionerError: it cannot be asked.
        """
        ...

    def manifest(self, receipt: Receipt, most: int) -> tuple[Manifest, str]:
        """Return a version's manifest, which may have up to ``most`` entries, and the SHA-256 of its file.

        Raises:
            IntegrityError: it is not a valid manifest.
            ProvisionerError: the peer cannot be asked.
        """
        ...

    def tree(self, receipt: Receipt, manifest: Manifest) -> PeerTree:
        """Return where a version's tree is.

        Raises:
            IntegrityError: it is not there, or is not what the manifest says.
            ProvisionerError: the peer cannot be asked.
        """
        ...


class DirectoryPeer:
    """A volume in a directory of this machine, or one that is mounted here."""

    def __init__(self, root: Path, check_cancelled: Callable[[], None]) -> None:
        """Read nothing yet.

        Args:
            root: the other volume's root.
            check_cancelled: raises when the run must end.
        """
        self.name = str(root)
        self._root = root
        self._layout = VolumeLayout(root)
        indexes = IndexFiles(self._layout)
        self._published = PublishedNames(self._layout, "link", indexes)
        self._reader = StoreReader(self._layout, self._published, indexes, measures_space=False)
        self._check_cancelled = check_cancelled

    def receipts(self, dataset: str, wanted: Wanted) -> Iterator[Receipt]:
        """Yield the receipts of versions that may be the wanted one: the likeliest first, then the published one.

        Raises:
            NotFoundError: the directory is not there.
            IntegrityError: there are more receipts than may be read, or one is too large.
        """
        if not self._layout.private.is_dir():
            raise NotFoundError("it is no volume, or is not mounted")
        found = self._held(dataset, wanted)[:MOST_TRIED] if wanted.states is not None else []
        yield from found
        if all(receipt.version != wanted.version for receipt in found):
            receipt, _ = self._record(dataset, wanted.version)
            if receipt is not None:
                yield receipt

    def _held(self, dataset: str, wanted: Wanted) -> list[Receipt]:
        """Return the receipts of versions that may be the wanted one, in the order in which they are looked at.

        Raises:
            IntegrityError: there are more receipts than may be read.
        """
        receipts: list[Receipt] = []
        left = LARGEST_RECEIPTS
        try:
            with os.scandir(self._layout.receipts_of(dataset)) as listing:
                names = [entry.name for entry in itertools.islice(listing, MOST_VERSIONS + 1)]
        except OSError:
            names = []
        for version in (name.removesuffix(".json") for name in names):
            self._check_cancelled()
            receipt, size = self._record(dataset, version) if is_version(version) else (None, 0)
            left -= size
            if receipt is None or receipt.asked != wanted.recipe or not wanted.accepts(receipt.pin):
                continue
            if self._reader.tree_of(dataset, version) is not None:
                receipts.append(receipt)
        if left < 0 or len(names) > MOST_VERSIONS:
            raise IntegrityError(f"it has too many receipts of {dataset}")
        current = self._published.look(dataset).version

        def rank(receipt: Receipt) -> tuple[bool, bool, bool, tuple[str, bool]]:
            return (
                self._has_checksums(receipt, wanted.checksums),
                receipt.pin in wanted.likely,
                receipt.version == current,
                receipt.age_key,
            )

        return sorted(receipts, key=rank, reverse=True)

    def _has_checksums(self, receipt: Receipt, digest: str) -> bool:
        """Return whether a version's list of checksums has the digest that pins name; ``False`` if it is too large to read."""
        self._check_cancelled()
        try:
            size = self._layout.checksums(receipt.dataset, receipt.version).stat().st_size if digest else None
        except OSError:
            return False
        is_read = size is not None and size <= largest_manifest(receipt)
        return is_read and self._reader.checksums_digest(receipt.dataset, receipt.version) == digest

    def _record(self, dataset: str, version: str) -> tuple[Receipt | None, int]:
        """Return a receipt and its size in bytes; the receipt is ``None`` if it is missing or damaged.

        Raises:
            IntegrityError: it is larger than any receipt may be.
        """
        try:
            size = self._layout.receipt(dataset, version).stat().st_size
        except OSError:
            return None, 0
        if size > LARGEST_RECEIPT:
            raise IntegrityError(f"its receipt of {version} has more than {LARGEST_RECEIPT:,} bytes")
        return self._reader.receipt(dataset, version), size

    def manifest(self, receipt: Receipt, most: int) -> tuple[Manifest, str]:
        """Return a version's manifest, which may have up to ``most`` entries, and the SHA-256 of its file.

        Raises:
            IntegrityError: it is not a valid manifest.
        """
        path = self._layout.manifest(receipt.dataset, receipt.version)
        try:
            with open_file(path) as file:
                return read_manifest(file, str(path), receipt, most)
        except OSError as error:
            raise IntegrityError(f"{path}: {error.strerror or error}") from error

    def tree(self, receipt: Receipt, manifest: Manifest) -> PeerTree:
        """Return where a version's tree is; refuse a tree whose names, kinds or sizes differ from the manifest.

        Raises:
            IntegrityError: it is not there, or is not what the manifest says.
        """
        tree = self._reader.tree_of(receipt.dataset, receipt.version)
        if tree is None:
            raise IntegrityError(f"{self._root} has the receipt of {receipt.dataset} {receipt.version} and no tree")
        findings = check_tree(tree, manifest, deep=False, check_cancelled=self._check_cancelled, most_extras=0)
        if findings:
            raise IntegrityError(f"{tree} is not what its manifest says ({findings[0]})")
        return PeerTree(self, tree.absolute().as_uri(), tree)


class WebPeer:
    """A volume behind a web server."""

    def __init__(self, address: str, http: Callable[[], HttpClient], spool: Path) -> None:
        """Ask nothing yet.

        Args:
            address: URL of the volume's root, without a slash at the end.
            http: returns the client.
            spool: directory for records while they are read.
        """
        self.name = show_url(address)
        self._layout = VolumeLayout(Path())
        self._address = address
        self._http = http
        self._spool = spool

    def receipts(self, dataset: str, wanted: Wanted) -> Iterator[Receipt]:
        """Yield the receipts of versions that may be the wanted one: the likeliest first, then the published one.

        Raises:
            ProvisionerError: the server cannot be asked.
        """
        listed: list[tuple[str, str]] = []
        if wanted.states is not None and (versions := self._document(self._layout.versions_list(dataset))) is not None:
            listed = [each for each in listed_versions(versions, wanted.recipe) if wanted.accepts(each[1])]
            listed.sort(key=lambda each: each[1] not in wanted.likely)
        for version in dict.fromkeys((*(version for version, _ in listed[:MOST_TRIED]), wanted.version)):
            if is_version(version):
                document = self._document(self._layout.receipt(dataset, version))
                receipt = parse_receipt(document, dataset, version) if document is not None else None
                if receipt is not None:
                    yield receipt

    def _document(self, path: Path) -> dict[str, Any] | None:
        """Return a small record; ``None`` if there is none, or if the server sent something else, such as its usual page."""
        with contextlib.suppress(NotFoundError, ValueError, RecursionError), self._record(path, LARGEST_RECEIPT) as file:
            document = json.loads(file.read())
            return document if isinstance(document, dict) else None
        return None

    def manifest(self, receipt: Receipt, most: int) -> tuple[Manifest, str]:
        """Return a version's manifest, which may have up to ``most`` entries, and the SHA-256 of its file.

        Raises:
            IntegrityError: it is not a valid manifest.
            ProvisionerError: the server cannot be asked.
        """
        path = self._layout.manifest(receipt.dataset, receipt.version)
        with self._record(path, largest_manifest(receipt)) as file:
            return read_manifest(file, self._url(path), receipt, most)

    def tree(self, receipt: Receipt, manifest: Manifest) -> PeerTree:  # noqa: ARG002 - nothing is listed
        """Return where a version's tree is: in the store, or published as a directory.

        Raises:
            ProvisionerError: the server cannot be asked.
        """
        layout, dataset, version = self._layout, receipt.dataset, receipt.version
        path = layout.tree(dataset, version)
        with contextlib.suppress(NotFoundError), self._record(layout.version_of_directory(dataset), LARGEST_NAME) as file:
            if file.read().strip() == version.encode():
                return PeerTree(self, self._url(layout.published(dataset)))
        return PeerTree(self, self._url(path), joined=self._url(layout.joined_files(dataset, version)))

    @contextlib.contextmanager
    def _record(self, path: Path, limit: int) -> Iterator[BinaryIO]:
        """Yield a record as a file in memory, or as an anonymous file that disappears when it is closed."""
        make_directory(self._spool)
        with disk_errors(f"reading {path.name} of {self.name}", self._spool), contextlib.ExitStack() as opened:
            file = cast("BinaryIO", opened.enter_context(tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(self._spool))))
            fetch_record(self._http(), self._url(path), file, limit)
            file.seek(0)
            yield file

    def _url(self, path: Path) -> str:
        return f"{self._address}/{quote(path.as_posix(), errors='surrogateescape')}"
