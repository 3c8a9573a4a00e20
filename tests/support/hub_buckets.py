"""Answers of the test Hub about storage buckets, which :mod:`tests.support.hub_model` keeps as repositories without revisions.

The Xet hashes are computed as the Hub does, so that the Hub's own client can use them too.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hf_xet

from tests.support.hub_model import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.hub_model import Repo, StoredFile
    from tests.support.wire import Request

_HASHES: dict[str, str] = {}
"""Xet hashes by SHA-256."""


def xet_hash(file: StoredFile) -> str:
    """Return the real Xet hash of a file."""
    if file.sha256 not in _HASHES:
        with tempfile.TemporaryDirectory() as folder:
            path = file.content if isinstance(file.content, Path) else Path(folder, "file")
            if isinstance(file.content, bytes):
                path.write_bytes(file.content)
            _HASHES[file.sha256] = hf_xet.hash_files([str(path)])[0].hash
    return _HASHES[file.sha256]


def file_of(bucket: Repo, path: str) -> StoredFile:
    """Return a file of a bucket."""
    try:
        return bucket.head.files[path]
    except KeyError:
        raise Refusal(404, "EntryNotFound", f"{path} does not exist") from None


def headers_of(request: Request, bucket: Repo, file: StoredFile) -> dict[str, str]:
    """Return the headers of a redirect to a file's bytes."""
    route = f"{request.base_url}/api/buckets/{bucket.id}/xet-read-token"
    return {
        "ETag": f'"{xet_hash(file)}"',
        "X-Linked-Size": str(file.size),
        "X-Xet-Hash": xet_hash(file),
        "Link": f'<{route}>; rel="xet-auth"',
        "Accept-Ranges": "bytes",
    }


def info(bucket: Repo) -> dict[str, Any]:
    """Return the Hub's information about a bucket."""
    files = bucket.head.files
    return {
        "id": bucket.id,
        "private": bucket.private,
        "createdAt": "2026-01-01T00:00:00.000Z",
        "size": sum(file.size for file in files.values()),
        "totalFiles": len(files),
    }


def tree(bucket: Repo, prefix: str, *, recursive: bool) -> list[dict[str, Any]]:
    """Return the listing of a bucket, or of a prefix; directories are included unless ``recursive``."""
    start = f"{prefix.rstrip('/')}/" if prefix else ""
    found: dict[str, dict[str, Any]] = {}
    for path, file in sorted(bucket.head.files.items()):
        if not path.startswith(start):
            continue
        below, slash, _ = path[len(start) :].partition("/")
        if slash and not recursive:
            found[start + below] = {"type": "directory", "path": start + below}
        else:
            found[path] = _item(file)
    return list(found.values())


def paths_info(bucket: Repo, paths: Iterable[str]) -> list[dict[str, Any]]:
    """Return the listing of the given files; missing ones are left out."""
    return [_item(bucket.head.files[path]) for path in paths if path in bucket.head.files]


def _item(file: StoredFile) -> dict[str, Any]:
    return {
        "type": "file",
        "path": file.path,
        "size": file.size,
        "xetHash": xet_hash(file),
        "mtime": "2026-01-01T00:00:00.000Z",
        "uploadedAt": "2026-01-01T00:00:00.000Z",
    }
