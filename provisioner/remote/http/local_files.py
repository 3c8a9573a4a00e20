"""Files behind ``file:`` URLs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes, urlsplit

from provisioner.catalog.file_state import FileState
from provisioner.errors import (
    AccessDeniedError,
    NotFoundError,
    ProvisionerError,
    RemoteRefusedError,
    SizeMismatchError,
    UpstreamChangedError,
)
from provisioner.redaction import show_url
from provisioner.remote.http.bandwidth import CHUNK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def is_local(url: str) -> bool:
    """Return whether a URL names a file on this machine."""
    return url.startswith("file:")


def local_size(url: str, expected: int | None = None) -> int:
    """Return the size in bytes of a file that can be opened.

    Args:
        url: a ``file:`` URL.
        expected: the exact size that it must have; ``None`` means any size.

    Raises:
        SizeMismatchError: it has a different size.
        ProvisionerError: it cannot be read.
    """
    path = _path(url)
    try:
        with path.open("rb", buffering=0):
            size = path.stat().st_size
    except OSError as error:
        raise _error_for(url, error) from error
    if expected is not None and size != expected:
        raise SizeMismatchError(
            f"{path}: expected {expected:,} bytes, it has {size:,}; nothing of it was used",
            hint="Put the right file there, or correct the size that is stated for it.",
        )
    return size


def local_state(url: str) -> FileState:
    """Return the state of a file that can be opened, with its date in the form that a server would send.

    Raises:
        ProvisionerError: it cannot be read.
    """
    from email.utils import formatdate  # noqa: PLC0415 - most files come from a network

    size = local_size(url)
    return FileState(show_url(url), modified=formatdate(_path(url).stat().st_mtime, usegmt=True), size=size)


def read_local(url: str, check_cancelled: Callable[[], None], *, start: int = 0) -> Iterator[bytes]:
    """Yield the bytes of a file from ``start`` to its end.

    Args:
        url: a ``file:`` URL.
        check_cancelled: called before each part; raises when the run must end.
        start: offset of the first byte.

    Raises:
        UpstreamChangedError: it was written to meanwhile, so the bytes read may be of two versions.
        ProvisionerError: it cannot be read.
    """
    try:
        with _path(url).open("rb", buffering=0) as file:
            before = os.fstat(file.fileno())
            file.seek(start)
            while data := file.read(CHUNK):
                check_cancelled()
                yield data
            after = os.fstat(file.fileno())
    except OSError as error:
        raise _error_for(url, error) from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise UpstreamChangedError(
            f"{show_url(url)}: it was changed while it was read; nothing of it was used", hint="Start again when it is complete."
        )


def _path(url: str) -> Path:
    from pathlib import Path  # noqa: PLC0415 - annotations only elsewhere

    if os.name != "nt":
        # A name need not be UTF-8.
        return Path(os.fsdecode(unquote_to_bytes(urlsplit(url).path)))
    from urllib.request import url2pathname  # noqa: PLC0415 - it imports an HTTP client that nobody uses

    return Path(url2pathname(urlsplit(url).path))


def _error_for(url: str, error: OSError) -> ProvisionerError:
    shown = show_url(url)
    if isinstance(error, FileNotFoundError):
        return NotFoundError(f"{shown}: no such file", hint="Check the path, and that it is mounted.")
    if isinstance(error, PermissionError):
        return AccessDeniedError(f"{shown}: permission denied", hint="Make it readable for this user.")
    return RemoteRefusedError(f"{shown}: {error.strerror or error}", hint="Check the path, and that it is mounted.")
