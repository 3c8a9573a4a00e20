"""Bounds on what a peer may make this machine read and hold: what the catalog expects, or else an absolute number.

A peer itself states how many files and bytes a version has. That is compared with what is known without the peer, before
anything of the stated size is read.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from provisioner.errors import IntegrityError, VolumeError
from provisioner.planning.capacity import most_bytes, stated_size
from provisioner.redaction import show_url
from provisioner.volume.fs.files import LARGEST_RECORD
from provisioner.volume.store.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from provisioner.planning.model import Receipt
    from provisioner.planning.recipe import Recipe

LARGEST_RECEIPT: Final = 4 << 20
"""Bytes of a receipt, or of a list of versions. Read at once, a document may take up to 25 times its bytes in memory."""
LARGEST_NAME: Final = 1 << 10
MOST_VERSIONS: Final = 1_000
"""Maximum number of names that are looked at in the directory of a data set's receipts."""
MOST_TRIED: Final = 8
"""Maximum number of candidate versions that are looked at, since a manifest must be read for each."""
LARGEST_RECEIPTS: Final = 64 << 20
"""Bytes of all receipts of one data set together."""
_USUAL_ENTRIES: Final = 1_000_000
"""Entries that any tree may have: a manifest with so many takes some 200 MB."""
_BYTES_OF_ENTRY: Final = 4 << 10
"""A data set of more bytes than that many entries of this size may have more entries, by the catalog's own word."""
_MOST_ENTRIES: Final = 10_000_000
_OTHER_ENTRIES: Final = 100_000
"""Allowed number of links and empty directories beyond the number of files: the receipt does not state their number."""
_BYTES_OF_FILE: Final = 1 << 10
"""Average bytes per file that a manifest may have, in addition to :data:`_BYTES_OF_OTHERS`."""
_BYTES_OF_OTHERS: Final = 64 << 20
"""Bytes that a manifest may have for links and empty directories."""
_LONGEST_LINE: Final = 128 << 10
"""Bytes of one entry of a manifest: each character of a path or link may take twelve."""
_BYTES_OF_KEY: Final = 80
"""Bytes per file that the first line of a manifest may have, in addition to :data:`_LONGEST_LINE`."""
_MOST_BRACKETS: Final = 100
"""Brackets in the first line of a manifest, which needs three; each further one may be a list of 20 times its bytes."""


def check_extent(receipt: Receipt, recipe: Recipe) -> None:
    """Compare the numbers in a peer's receipt with what the catalog expects, before its manifest is read.

    Raises:
        IntegrityError: it states more files or bytes than there may be.
    """
    most, known = most_entries(recipe), _number_of_files(receipt, recipe)
    if receipt.files > most or (known is not None and receipt.files != known):
        expected = f"the data set has {known:,}" if known is not None else f"there may be {most:,}"
        raise IntegrityError(f"its receipt has another number of files than can be: {expected}")
    stated = stated_size(recipe) if not recipe.splits else None
    limit = most_bytes(replace(stated, estimate=True)) if stated else None
    if limit is not None and receipt.size > limit:
        raise IntegrityError(f"its receipt has more bytes than the catalog allows, {limit:,}")


def most_entries(recipe: Recipe) -> int:
    """Return how many entries the manifest of a version may have, which is more if the catalog says that it is large."""
    sizes = [stated_size(recipe), *(source.size for source in recipe.sources)]
    largest = max((most_bytes(size) or 0 for size in sizes if size is not None), default=0)
    return min(_MOST_ENTRIES, max(_USUAL_ENTRIES, largest // _BYTES_OF_ENTRY))


def _number_of_files(receipt: Receipt, recipe: Recipe) -> int | None:
    """Return the number of files, if the catalog names each of them, nothing is unpacked, and no rule applies."""
    for source in recipe.sources if recipe.rule is None else ():
        if source.kind == receipt.source_kind and source.is_at(receipt.source_url):
            artifacts = source.artifacts
            is_plain = artifacts is not None and all(artifact.unpack == "none" for artifact in artifacts)
            return len(artifacts) if artifacts is not None and is_plain else None
    return None


def largest_manifest(receipt: Receipt) -> int:
    """Return how many bytes the manifest of a version may have."""
    return min(LARGEST_RECORD, _BYTES_OF_OTHERS + receipt.files * _BYTES_OF_FILE)


def read_manifest(file: BinaryIO, source: str, receipt: Receipt, most: int) -> tuple[Manifest, str]:
    """Return the manifest in an open file, and the SHA-256 of the file.

    Args:
        file: is read line by line; a line longer than any in a manifest is refused.
        source: the file's name, for messages.
        receipt: states how many files it has.
        most: how many entries there may be; see :func:`most_entries`.

    Raises:
        IntegrityError: it is not a valid manifest.
    """
    hasher = hashlib.sha256()
    most = min(most, 2 * receipt.files + _OTHER_ENTRIES)

    def hashed() -> Iterator[bytes]:
        left = largest_manifest(receipt)
        limit = min(LARGEST_RECORD, _LONGEST_LINE + receipt.files * _BYTES_OF_KEY)
        line = file.readline(limit + 1)
        if line.count(b"[") + line.count(b"{") > _MOST_BRACKETS:
            raise ValueError("its first line holds more than a manifest's")
        number = 0
        while line:
            if len(line) > limit:
                raise ValueError(f"it has a line of more than {limit:,} bytes")
            left -= len(line)
            if left < 0 or number > most + 1:
                raise ValueError(f"it has more than {most:,} entries, or more bytes than so many have")
            hasher.update(line)
            yield line
            number += 1
            limit = _LONGEST_LINE
            line = file.readline(limit + 1)

    try:
        manifest = Manifest.read(hashed(), show_url(source) if "://" in source else source)
    except VolumeError as error:
        raise IntegrityError(error.message) from error
    return manifest, hasher.hexdigest()
