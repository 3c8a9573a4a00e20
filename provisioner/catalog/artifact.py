"""Artifacts: the files of a source, each with its size, digest and place in the tree."""

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
"""The origin of the digest that the bytes are compared with; ``peer``: the manifest of another volume.

``archive``: the whole archive was not fetched, and each of its files has the size and the CRC-32 in its index.
"""


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file to fetch, with what is known of it and what is done with it."""

    name: str
    """File name, or path in the repository; used in messages, and to find the file in local directories."""
    urls: tuple[str, ...]
    """Its stated URLs; empty for a file of a repository. See :attr:`locations`."""
    size: Size | None
    """Bytes to transfer, or ``None`` if unknown."""
    digest: Digest | None
    """``None`` if the bytes cannot be verified."""
    unpack: UnpackFormat
    into: str
    """Directory in the tree in which it is unpacked or put."""
    verified_against: VerifiedAgainst
    authorized: bool = False
    """Whether the Hub token is sent with the request (to the Hub's own origin only)."""
    unpacked_size: Size | None = None
    """Bytes after unpacking; ``None`` means unknown."""
    repository_url: str = ""
    """For a file of a repository: URL of the directory that ``name`` is relative to; shared by all of its files."""
    is_named: bool = True
    """Whether ``name`` is the file's own name; otherwise, its server may state a better one."""
    _content_id: str = field(default="", init=False, repr=False, compare=False)
    """Computed on first use, since it is needed several times."""

    @property
    def locations(self) -> tuple[str, ...]:
        """Its URLs, in the order in which they are tried."""
        # A repository may have very many files, and a URL is longer than everything else that is known of one.
        return self.urls or (f"{self.repository_url}/{quote(self.name, errors='surrogateescape')}",)

    @property
    def path(self) -> str:
        """The path in the tree of a file that is not unpacked."""
        directory, _, name = self.name.rpartition("/")
        if directory == self.into:
            # The same object is returned, which takes no memory.
            return self.name
        return f"{self.into}/{name}" if self.into else name

    @property
    def key(self) -> str:
        """An identifier of the bytes that is safe as a file name: the digest if known, else a hash of the first URL."""
        if self.digest is not None:
            return f"{self.digest.algorithm}-{self.digest.hex}"
        return f"url-{hashlib.sha256(without_user(self.locations[0]).encode()).hexdigest()[:32]}"

    @property
    def content_id(self) -> str:
        """An identifier of the artifact's part of a tree: the same id means the same files at the same paths."""
        if not self._content_id:
            target = self.into if self.unpack != "none" else self.path
            found = hashlib.sha256(f"{self.key}\n{self.unpack}\n{target}".encode()).hexdigest()[:32]
            object.__setattr__(self, "_content_id", found)
        return self._content_id

    @property
    def exact_size(self) -> int | None:
        """Bytes to transfer; ``None`` if the number is unknown or an estimate."""
        return self.size.exact if self.size else None

    @property
    def size_in_tree(self) -> Size | None:
        """Bytes that it takes in the tree; ``None`` if unknown."""
        return self.size if self.unpack == "none" else self.unpacked_size
