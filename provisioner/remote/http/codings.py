"""Content codings that were not requested: recognise which form of a file is sent, and decode it (RFC 9110, section 8.4).

Every request asks for the file without a coding. Some servers compress it all the same, and several archive hosts label a
``.tar.gz`` as ``Content-Encoding: gzip``, although that is the compression of the file itself.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from provisioner.errors import RemoteRefusedError
from provisioner.redaction import show_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MEANINGLESS: Final = frozenset({"", "identity", "none", "binary", "7bit", "8bit", "utf-8", "utf8", "aws-chunked", "chunked"})
"""Values that servers send but that do not denote a coding."""
_NAMES: Final = {"x-gzip": "gzip", "x-compress": "compress", "x-bzip2": "bzip2"}
_DECODABLE: Final = frozenset({"gzip", "deflate"})
_OF_ENDINGS: Final = {
    "gz": "gzip", "tgz": "gzip", "z": "compress", "bz2": "bzip2", "tbz2": "bzip2", "xz": "xz", "zst": "zstd", "br": "br",
}  # fmt: skip
_OUTPUT: Final = 1 << 20
"""Bytes that are decoded at once at most."""


def codings_of(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Return the content codings of a response, in the order in which they were applied."""
    names = (name.strip().lower() for name in headers.get("Content-Encoding", "").split(","))
    return tuple(_NAMES.get(name, name) for name in names if name not in _MEANINGLESS)


class FileForm:
    """Chooses between the bytes as sent and their decoded form, for one file."""

    def __init__(self, name: str, *, size: int | None, verifiable: bool) -> None:
        """Prepare.

        Args:
            name: the file's name, whose ending says how the file itself is compressed.
            size: exact number of bytes; ``None`` means unknown.
            verifiable: whether a digest is known, so that the wrong form would be detected.
        """
        self._name = name
        self._size = size
        self._verifiable = verifiable
        self._is_doubted = False
        self.is_encoded = False
        """Whether a response had a coding."""

    def doubt(self) -> None:
        """Choose the other form from now on, because the digest of the first one was wrong."""
        self._is_doubted = self.is_encoded and not self._is_doubted

    def decoder(self, headers: Mapping[str, str], length: int | None, url: str) -> Decoder | None:
        """Return the decoder for a response, or ``None`` if its bytes are taken as they are.

        Args:
            headers: the headers of the response.
            length: bytes of the whole response as sent, or ``None`` if the server does not say.
            url: the URL that was requested.

        Raises:
            RemoteRefusedError: the file is sent in a form that is not its own and cannot be decoded.
        """
        if headers.get("Content-Encoding") is None or not (codings := codings_of(headers)):
            return None
        self.is_encoded = True
        if self._size is not None and length is not None:
            as_it_comes = length == self._size
        else:
            own = _OF_ENDINGS.get(self._name.rpartition(".")[2].lower(), "")
            as_it_comes = (codings == (own,)) != self._is_doubted
        if as_it_comes:
            return None
        if _DECODABLE.issuperset(codings):
            return Decoder(codings)
        # With a digest, the bytes may still turn out to be those that the catalog means.
        if self._verifiable and (self._size is None or length in {None, self._size}):
            return None
        raise RemoteRefusedError(
            f"{show_url(url)}: it comes in a form that nobody asked for (Content-Encoding: {', '.join(codings)[:60]});"
            " nothing of it was used",
            hint="Try a mirror, or ask whoever runs the server to send the file as it is.",
        )


class Decoder:
    """Undoes content codings while the bytes arrive."""

    def __init__(self, codings: tuple[str, ...]) -> None:
        """Begin with the last coding; only ``gzip`` and ``deflate`` are supported."""
        self._stages = [_Stage(coding) for coding in reversed(codings)]

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        """Yield the decoded form of the next bytes, in parts of a bounded size.

        Raises:
            ValueError: the bytes are not in this coding.
        """
        yield from self._through(0, data)

    def finish(self) -> None:
        """Check that the end has been reached.

        Raises:
            ValueError: something is missing.
        """
        if not all(stage.is_complete for stage in self._stages):
            raise ValueError("the compressed data ends too early")

    def _through(self, index: int, data: bytes | memoryview) -> Iterator[bytes]:
        if index == len(self._stages):
            yield bytes(data)
            return
        for part in self._stages[index].feed(data):
            yield from self._through(index + 1, part)


class _Stage:
    """Undoes one coding."""

    def __init__(self, coding: str) -> None:
        self._is_gzip = coding == "gzip"
        self._inflater: zlib._Decompress | None = None
        self._head = b""
        self.is_complete = True
        """Whether the bytes so far may be complete; no bytes at all are an empty file."""

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        """Yield decoded parts.

        Raises:
            ValueError: the bytes are not in this coding.
        """
        rest = self._head + bytes(data) if self._head else bytes(data)
        self._head = b""
        while rest:
            if self._inflater is None:
                if not self._is_gzip and len(rest) < 2:  # noqa: PLR2004 - what tells the two forms of deflate apart
                    self._head, self.is_complete = rest, False
                    return
                self._inflater = zlib.decompressobj(self._window_bits(rest))
                self.is_complete = False
            yield from self._inflate(self._inflater, rest)
            if not self._inflater.eof:
                return
            rest = self._inflater.unused_data
            self._inflater, self.is_complete = None, True
            # Zeros may pad the end, and another member may follow.
            if not rest.strip(b"\0"):
                return
            if not self._is_gzip:
                raise ValueError("bytes behind the compressed data")

    def _inflate(self, inflater: zlib._Decompress, data: bytes) -> Iterator[bytes]:
        while True:
            try:
                part = inflater.decompress(data, _OUTPUT)
            except zlib.error as error:
                raise ValueError(f"the compressed data is broken: {error}") from error
            if part:
                yield part
            data = inflater.unconsumed_tail
            if inflater.eof or (not data and len(part) < _OUTPUT):
                return

    def _window_bits(self, rest: bytes) -> int:
        """Return zlib's parameter for the format: for gzip, and for deflate with or without its standard zlib header."""
        if self._is_gzip:
            return 31
        is_framed = rest[0] & 0x0F == 8 and int.from_bytes(rest[:2]) % 31 == 0  # noqa: PLR2004 - RFC 1950, section 2.2
        return 15 if is_framed else -15
