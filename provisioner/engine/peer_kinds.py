"""One peer: a volume in a directory, or behind HTTP; where its records and trees are, and how they are read.

Behind HTTP every path is known beforehand, so that any static web server will do: nothing is listed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, cast
from urllib.parse import quote

from provisioner.engine.peer_checks import wanted_state
from provisioner.errors import IntegrityError, NotFoundError, VolumeError
from provisioner.planning.versions_list import listed_version
from provisioner.redaction import show_url
from provisioner.remote.peers import fetch_record
from provisioner.volume.fs.directories import make_directory
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.fs.files import LARGEST_RECORD, open_file
from provisioner.volume.store.index_files import IndexFiles
from provisioner.volume.store.inventory import StoreReader
from provisioner.volume.store.layout import VolumeLayout
from provisioner.volume.store.listing import is_version
from provisioner.volume.store.manifest import Manifest
from provisioner.volume.store.published_names import PublishedNames
from provisioner.volume.store.receipt_file import parse_receipt
from provisioner.volume.store.tree_check import check_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from provisioner.planning.model import Receipt
    from provisioner.planning.recipe import Recipe
    from provisioner.remote.http.client import HttpClient

_LARGEST_RECEIPT: Final = 4 << 20
"""Of a receipt, or of a list of versions: read at once, a document takes up to 25 times its bytes."""
_LARGEST_NAME: Final = 1 << 10
_BYTES_OF_FILE: Final = 1 << 10
"""What a manifest has for each file at most, on average, beside :data:`_BYTES_OF_OTHERS`."""
_BYTES_OF_OTHERS: Final = 64 << 20
"""What it has for links and empty directories at most, of which the receipt does not tell the number."""
_LONGEST_LINE: Final = 128 << 10
"""Bytes of an entry of a manifest, of which each character of a path or link may take twelve."""
_BYTES_OF_KEY: Final = 80
"""What the first line of a manifest has for each file at most, beside :data:`_LONGEST_LINE`."""
_MOST_BRACKETS: Final = 100
"""In the first line of a manifest, whose own form has three: each more may be a list that takes 20 times its bytes."""
_IN_MEMORY: Final = 4 << 20
"""Bytes of a record that are kept in memory; a larger one is in a file without a name while it is read."""


@dataclass(frozen=True, slots=True)
class PeerTree:
    """A version's tree on one peer."""

    peer: Peer
    url: str
    """Of the tree's root directory, without a slash at the end."""
    directory: Path | None = None
    """The tree's root, where the peer is a directory."""


class Peer(Protocol):
    """Another volume."""

    @property
    def name(self) -> str:
        """What it is called in messages."""
        ...

    def receipt(self, recipe: Recipe) -> Receipt | None:
        """Return the receipt of the version that satisfies a recipe, the published one first; ``None``: it has none.

        Raises:
            ProvisionerError: it cannot be asked.
        """
        ...

    def manifest(self, receipt: Receipt) -> tuple[Manifest, str]:
        """Return a version's manifest, and the SHA-256 of its file.

        Raises:
            IntegrityError: it is none.
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
    """A volume in a directory of this machine, or of one that is mounted here."""

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
        self._reader = StoreReader(self._layout, PublishedNames(self._layout, "link", indexes), indexes, measures_space=False)
        self._check_cancelled = check_cancelled

    def receipt(self, recipe: Recipe) -> Receipt | None:
        """Return the receipt of the version that satisfies a recipe, the published one first; ``None``: it has none.

        Raises:
            NotFoundError: the directory is not there.
        """
        if not self._layout.private.is_dir():
            raise NotFoundError("it is no volume, or is not mounted")
        dataset, state, found = recipe.dataset.id, wanted_state(recipe), None
        if state is not None:
            found = self._reader.inventory(measured=False).satisfying(dataset, recipe.asked, state)
        return found or self._reader.receipt(dataset, recipe.version)

    def manifest(self, receipt: Receipt) -> tuple[Manifest, str]:
        """Return a version's manifest, and the SHA-256 of its file.

        Raises:
            IntegrityError: it is none.
        """
        path = self._layout.manifest(receipt.dataset, receipt.version)
        try:
            with open_file(path) as file:
                return _read_manifest(file, str(path), receipt.files)
        except OSError as error:
            raise IntegrityError(f"{path}: {error.strerror or error}") from error

    def tree(self, receipt: Receipt, manifest: Manifest) -> PeerTree:
        """Return where a version's tree is: one that has other names, kinds or sizes than the manifest is refused.

        Raises:
            IntegrityError: it is not there, or is not what the manifest says.
        """
        tree = self._reader.tree_of(receipt.dataset, receipt.version)
        if tree is None:
            raise IntegrityError(f"{self._root} has the receipt of {receipt.dataset} {receipt.version} and no tree")
        findings = check_tree(tree, manifest, deep=False, check_cancelled=self._check_cancelled)
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

    def receipt(self, recipe: Recipe) -> Receipt | None:
        """Return the receipt of the version that satisfies a recipe, the published one first; ``None``: it has none.

        Raises:
            ProvisionerError: the server cannot be asked.
        """
        dataset, state, listed = recipe.dataset.id, wanted_state(recipe), None
        if state is not None and (versions := self._document(self._layout.versions_list(dataset))) is not None:
            listed = listed_version(versions, recipe.asked, state)
        for version in dict.fromkeys((listed, recipe.version)):
            if version is not None and is_version(version):
                document = self._document(self._layout.receipt(dataset, version))
                receipt = parse_receipt(document, dataset, version) if document is not None else None
                if receipt is not None:
                    return receipt
        return None

    def _document(self, path: Path) -> dict[str, Any] | None:
        """Return a small record; ``None``: there is none. Some servers answer every request with a page."""
        with contextlib.suppress(NotFoundError, ValueError, RecursionError), self._record(path, _LARGEST_RECEIPT) as file:
            document = json.loads(file.read())
            return document if isinstance(document, dict) else None
        return None

    def manifest(self, receipt: Receipt) -> tuple[Manifest, str]:
        """Return a version's manifest, and the SHA-256 of its file.

        Raises:
            IntegrityError: it is none.
            ProvisionerError: the server cannot be asked.
        """
        path = self._layout.manifest(receipt.dataset, receipt.version)
        limit = min(LARGEST_RECORD, _BYTES_OF_OTHERS + receipt.files * _BYTES_OF_FILE)
        with self._record(path, limit) as file:
            return _read_manifest(file, self._url(path), receipt.files)

    def tree(self, receipt: Receipt, manifest: Manifest) -> PeerTree:  # noqa: ARG002 - nothing is listed
        """Return where a version's tree is: in the store, or published as a directory.

        Raises:
            ProvisionerError: the server cannot be asked.
        """
        layout, dataset, version = self._layout, receipt.dataset, receipt.version
        path = layout.tree(dataset, version)
        with contextlib.suppress(NotFoundError), self._record(layout.version_of_directory(dataset), _LARGEST_NAME) as file:
            if file.read().strip() == version.encode():
                path = layout.published(dataset)
        return PeerTree(self, self._url(path))

    @contextlib.contextmanager
    def _record(self, path: Path, limit: int) -> Iterator[BinaryIO]:
        """Yield a record, fetched into memory, or into a file that is gone when it is closed."""
        make_directory(self._spool)
        with disk_errors(f"reading {path.name} of {self.name}", self._spool), contextlib.ExitStack() as opened:
            file = cast("BinaryIO", opened.enter_context(tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(self._spool))))
            fetch_record(self._http(), self._url(path), file, limit)
            file.seek(0)
            yield file

    def _url(self, path: Path) -> str:
        return f"{self._address}/{quote(path.as_posix(), errors='surrogateescape')}"


def _read_manifest(file: BinaryIO, source: str, files: int) -> tuple[Manifest, str]:
    """Return the manifest in an open file, and the SHA-256 of the file.

    Args:
        file: is read line by line, and none that is longer than a manifest's own.
        source: the file's name, for messages.
        files: how many it has, by the receipt.

    Raises:
        IntegrityError: it is none.
    """
    hasher = hashlib.sha256()

    def hashed() -> Iterator[bytes]:
        limit = min(LARGEST_RECORD, _LONGEST_LINE + files * _BYTES_OF_KEY)
        line = file.readline(limit + 1)
        if line.count(b"[") + line.count(b"{") > _MOST_BRACKETS:
            raise ValueError("its first line holds more than a manifest's")
        while line:
            if len(line) > limit:
                raise ValueError(f"it has a line of more than {limit:,} bytes")
            hasher.update(line)
            yield line
            limit = _LONGEST_LINE
            line = file.readline(limit + 1)

    try:
        manifest = Manifest.read(hashed(), show_url(source) if "://" in source else source)
    except VolumeError as error:
        raise IntegrityError(error.message) from error
    return manifest, hasher.hexdigest()
