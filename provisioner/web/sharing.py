"""The published versions of a volume as files for other volumes (``PEERS``), like those of a static web server.

Only records and trees of versions with a receipt are sent, and only regular files in them: no link is followed, and nothing
is listed. Each file is sent unchanged, or one range of it.
"""

from __future__ import annotations

import asyncio
import os
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import unquote_to_bytes

from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from provisioner.errors import IntegrityError
from provisioner.planning.versions_list import versions_document
from provisioner.volume.fs.paths import from_native
from provisioner.volume.store.layout import dataset_of, directory_name
from provisioner.volume.store.listing import is_version
from provisioner.volume.tree.reader import TreeReader
from provisioner.web.joined_files import JoinedTrees
from provisioner.web.zero_copy import ZERO_COPY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from provisioner.volume.store.store import Store
    from provisioner.web.joined_files import JoinedFiles

_AT_ONCE: Final = 1 << 20
_RANGE: Final = re.compile(r"bytes=(\d{1,19})-(\d{0,19})", re.ASCII)
_NOT_FOUND: Final = "no version with a receipt has such a file\n"
_MOST_PARTS: Final = 3
"""Maximum number of parts in a data set's name, as in ``models/OWNER/NAME``."""


class Sharing:
    """Serves the files of one volume."""

    def __init__(self, store: Store) -> None:
        """Prepare; nothing is read yet."""
        self._layout = store.layout
        self._reader = store.reader
        self._published = store.published
        self._joined = JoinedTrees()
        self._known: dict[tuple[str, str], tuple[int, int]] = {}
        """Receipts that were read, by directory and version, with facts that change when one is replaced."""

    def routes(self) -> list[Route]:
        """Return the routes, which answer GET and HEAD."""
        return [Route(f"/{top}/{{path:path}}", self._answer) for top in (self._layout.private.name, self._layout.datasets.name)]

    async def _answer(self, request: Request) -> Response:
        # A name need not be UTF-8, but what Starlette has decoded is.
        raw: bytes | None = request.scope.get("raw_path")
        # Some servers leave the query in the raw path; a '?' that is part of a name is encoded there.
        name = request.scope["path"].encode() if raw is None else unquote_to_bytes(raw.partition(b"?")[0])
        path = from_native(os.fsdecode(name))
        if "\0" in path:
            return PlainTextResponse(_NOT_FOUND, HTTPStatus.NOT_FOUND)
        joined = await asyncio.to_thread(self._joined_files, path.strip("/").split("/"))
        if joined is not None:
            return _content_response(request, joined, joined.size, joined.etag)
        versions = await asyncio.to_thread(self._versions, path.strip("/").split("/"))
        if versions is not None:
            return JSONResponse(versions)
        handle = await asyncio.to_thread(self._open, path)
        if handle is None:
            return PlainTextResponse(_NOT_FOUND, HTTPStatus.NOT_FOUND)
        return _file_response(request, handle)

    def _versions(self, parts: Sequence[str]) -> dict[str, Any] | None:
        """Return the list of a data set's versions, if a path stands for that."""
        match parts:
            case [top, "receipts", directory, "versions"] if top == self._layout.private.name:
                return versions_document(self._reader.inventory(measured=False), dataset_of(directory))
        return None

    def _joined_files(self, parts: Sequence[str]) -> JoinedFiles | None:
        """Return the concatenated files of a version, if a path stands for that."""
        match parts:
            case [top, "store", directory, name] if top == self._layout.private.name and name.endswith(".files"):
                version = name.removesuffix(".files")
                tree = self._layout.tree(dataset_of(directory), version)
                if self._has(directory, version) and tree.is_dir():
                    return self._joined.of(tree, self._layout.manifest(dataset_of(directory), version))
        return None

    def _open(self, path: str) -> int | None:
        """Return the descriptor of the file for a path, or ``None`` if there is none."""
        found = self._place(path.strip("/").split("/"))
        if found is None:
            return None
        directory, name = found
        try:
            with TreeReader(directory, max_open=8) as tree:
                return tree.open(name)
        except (OSError, IntegrityError):
            return None

    def _place(self, parts: Sequence[str]) -> tuple[Path, str] | None:
        """Return the directory of a path and the name in it, or ``None`` if the path is not shared."""
        layout = self._layout
        match parts:
            case [top, "receipts", directory, "current"] if top == layout.private.name and _is_plain(directory):
                return layout.receipts_of(dataset_of(directory)), "current"
            case [top, "receipts" | "manifests" as kind, directory, name] if top == layout.private.name:
                version, _, ending = name.partition(".")
                is_record = ending == "json" or (kind == "manifests" and ending == "sha256")
                return (layout.private / kind / directory, name) if is_record and self._has(directory, version) else None
            case [top, "store", directory, version, *rest] if top == layout.private.name and rest:
                return (layout.tree(dataset_of(directory), version), "/".join(rest)) if self._has(directory, version) else None
            case [top, *rest] if top == layout.datasets.name:
                return self._published_place(rest)
        return None

    def _has(self, directory: str, version: str) -> bool:
        """Return whether a version has a receipt; other names are refused before they become part of a path."""
        dataset = dataset_of(directory)
        if not _is_plain(directory) or not is_version(version):
            return False
        try:
            facts = self._layout.receipt(dataset, version).stat()
        except OSError:
            return False
        identity = facts.st_ino, facts.st_mtime_ns
        if self._known.get((directory, version)) != identity:
            if self._reader.receipt(dataset, version) is None:
                return False
            self._known[directory, version] = identity
        return True

    def _published_place(self, parts: Sequence[str]) -> tuple[Path, str] | None:
        """Return the location of a file in a data set that is published as a directory."""
        for count in range(1, _MOST_PARTS + 1):
            dataset = "/".join(parts[:count])
            if len(parts) <= count or {"", ".", ".."} & set(parts):
                return None
            name = self._published.look(dataset)
            if name.form == "dir" and name.version and self._has(directory_name(dataset), name.version):
                return self._layout.published(dataset), "/".join(parts[count:])
        return None


def _is_plain(directory: str) -> bool:
    """Return whether a text may be the name of a data set's private directories."""
    return directory not in {"", ".", ".."} and directory_name(dataset_of(directory)) == directory


def _file_response(request: Request, handle: int) -> Response:
    """Return a response with an open file, or with one range of it; the file is closed at the end."""
    facts = os.fstat(handle)
    etag = f'"{facts.st_ino:x}-{facts.st_size:x}-{facts.st_mtime_ns:x}"'
    return _content_response(request, _OpenFile(handle), facts.st_size, etag)


class _Content(Protocol):
    """Bytes to send."""

    def read(self, start: int, count: int) -> bytes:
        """Return up to ``count`` bytes; none at the end."""
        ...

    def close(self) -> None:
        """Release its resources."""
        ...


class _OpenFile:
    """An open file."""

    def __init__(self, handle: int) -> None:
        self.handle = handle

    def read(self, start: int, count: int) -> bytes:
        return os.pread(self.handle, count, start)

    def close(self) -> None:
        os.close(self.handle)


def _content_response(request: Request, content: _Content, size: int, etag: str) -> Response:
    """Return a response with all bytes, or with one range of them; their source is closed at the end."""
    headers = {"ETag": etag, "Accept-Ranges": "bytes", "Content-Disposition": "attachment"}
    start, end, status = 0, size, HTTPStatus.OK
    wanted = _RANGE.fullmatch(request.headers.get("range", ""))
    if wanted is not None and request.headers.get("if-range", etag) == etag:
        start = int(wanted[1])
        end = min(size, int(wanted[2]) + 1) if wanted[2] else size
        if start >= size or end <= start:
            content.close()
            headers["Content-Range"] = f"bytes */{size}"
            return PlainTextResponse("", HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers)
        status = HTTPStatus.PARTIAL_CONTENT
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    headers["Content-Length"] = str(end - start)
    if request.method == "HEAD":
        content.close()
        return Response(None, status, headers, "application/octet-stream")
    if isinstance(content, _OpenFile):
        return _FileResponse(content, start, end, status, headers)
    return StreamingResponse(_blocks(content, start, end), status, headers, "application/octet-stream")


class _FileResponse(Response):
    """A response with bytes of an open file, which the kernel sends if the server supports that."""

    def __init__(self, content: _OpenFile, start: int, end: int, status: HTTPStatus, headers: dict[str, str]) -> None:
        super().__init__(None, status, headers, "application/octet-stream")
        self._content = content
        self._start = start
        self._end = end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if ZERO_COPY not in scope.get("extensions", {}):
            blocks = _blocks(self._content, self._start, self._end)
            response = StreamingResponse(blocks, self.status_code)
            response.raw_headers = self.raw_headers
            await response(scope, receive, send)
            return
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            if self._start < self._end:
                file, count = self._content.handle, self._end - self._start
                await send({"type": ZERO_COPY, "file": file, "offset": self._start, "count": count, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._content.close()


async def _blocks(content: _Content, start: int, end: int) -> AsyncIterator[bytes]:
    try:
        while start < end:
            data = await asyncio.to_thread(content.read, start, min(_AT_ONCE, end - start))
            if not data:
                return  # The file has become shorter; the client notices by the announced length.
            yield data
            start += len(data)
    finally:
        content.close()
