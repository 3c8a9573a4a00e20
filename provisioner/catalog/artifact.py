"""Artifacts: the files that a source consists of, each with its size, digest and place in the tree."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import quote

from provisioner.redaction import without_user

if TYPE_CHECKING:
    from provisioner.catalog.digest import Digest
    from provisioner.catalog.size import Size

UnpackFormat = Literal["none", "zip", "tar", "tar.gz", "tar.bz2", "tar.xz", "tar.zst"]
UNPACK_FORMATS: Final[tuple[UnpackFormat, ...]] = ("none", "zip", "tar", "tar.gz", "tar.bz2", "tar.xz", "tar.zst")

VerifiedAgainst = Literal["catalog", "listing", "peer", "archive", "none"]
"""Where the digest comes from that the bytes are checked against; ``peer``: the manifest of another volume.

``archive``: the whole archive was not fetched, and each of its files has the size and the CRC-32 that its index states.
"""


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file to fetch, with what is known of it and what becomes of it."""

    name: str
    """Its file name, or its path in the repository; used in messages, and to find the file in local directories."""
    urls: tuple[str, ...]
    """Its stated URLs; none for a file of a repository. See :attr:`locations`."""
    size: Size | None
    """Bytes on the wire; ``None``: unknown."""
    digest: Digest | None
    """``None``: the bytes cannot be verified."""
    unpack: UnpackFormat
    into: str
    """Directory in the tree: where it is unpacked, or where it is put."""
    verified_against: VerifiedAgainst
    authorized: bool = False
    """Whether the Hub token is sent with the request (to the Hub's own origin only)."""
    unpacked_size: Size | None = None
    """Bytes after unpacking; ``None``: unknown."""
    repository_url: str = ""
    """Of a file of a repository: the URL of the directory that ``name`` is a path in; shared by all of its files."""
    is_named: bool = True
    """Whether ``name`` is the file's own; otherwise its server may state a better one."""
    _content_id: str = field(default="", init=False, repr=False, compare=False)
    """Computed when it is needed first: it is asked for several times."""

    @property
    def locations(self) -> tuple[str, ...]:
        """Where it can be fetched, in the order in which the URLs are tried."""
        # A repository may have very many files, and a URL is longer than all else that is known of one.
        return self.urls or (f"{self.repository_url}/{quote(self.name, errors='surrogateescape')}",)

    @property
    def path(self) -> str:
        """The path in the tree of a file that is not unpacked."""
        directory, _, name = self.name.rpartition("/")
        if directory == self.into:
            # The same object, which takes no memory.
            return self.name
        return f"{self.into}/{name}" if self.into else name

    @property
    def key(self) -> str:
        """An identifier of these bytes, safe as a file name: the digest if it is known, else a hash of the first URL."""
        if self.digest is not None:
            return f"{self.digest.algorithm}-{self.digest.hex}"
        return f"url-{hashlib.sha256(without_user(self.locations[0]).encode()).hexdigest()[:32]}"

    @property
    def content_id(self) -> str:
        """An identifier of the part of a tree that this artifact becomes: the same id means the same files at the same paths."""
        if not self._content_id:
            target = self.into if self.unpack != "none" else self.path
            found = hashlib.sha256(f"{self.key}\n{self.unpack}\n{target}".encode()).hexdigest()[:32]
            object.__setattr__(self, "_content_id", found)
        return self._content_id

    @property
    def exact_size(self) -> int | None:
        """Bytes on the wire; ``None`` where the number is unknown or an estimate."""
        return self.size.exact if self.size else None

    @property
    def size_in_tree(self) -> Size | None:
        """Bytes that it takes in the tree; ``None``: unknown."""
        return self.size if self.unpack == "none" else self.unpacked_size
