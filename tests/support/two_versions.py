"""An in-memory server with two versions of a file, in whose responses only the validators can be trusted.

It replaces the client's connections, so that thousands of response sequences can be tried. The following may be wrong: the
status, the range, omitted headers, the end of a response, and which of the two versions it belongs to.
"""

from __future__ import annotations

import gzip
import http.client
import re
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import TYPE_CHECKING, Literal

from provisioner.remote.http.fields import Fields

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

Validators = Literal["etag", "etag and date", "weak etag", "date", "young date", "new etag each time", "none"]
VALIDATORS: tuple[Validators, ...] = ("etag", "etag and date", "weak etag", "date", "young date", "new etag each time", "none")
NOW = 1_700_000_000


class MemoryResponse:
    """A response whose body may end early."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes, end: int, random: Random) -> None:
        """Make a response of whose body only ``end`` bytes arrive."""
        self.status = status
        self.headers = Fields()
        for name, value in headers.items():
            self.headers.add(name.lower(), value)
        self._body = body
        self._end = end
        self._at = 0
        self._random = random

    def read_into(self, view: memoryview) -> int:
        if self._at == self._end:
            if self._end < len(self._body):
                self._fail()
            return 0
        count = min(len(view), self._end - self._at, self._random.choice((1, 700, 5000, 1 << 20)))
        view[:count] = self._body[self._at : self._at + count]
        self._at += count
        return count

    def _fail(self) -> None:
        """End early: where no length was announced, a client cannot recognize an orderly end as an error."""
        if "content-length" not in self.headers or self._random.random() < 0.5:
            raise http.client.IncompleteRead(b"")

    def read(self, count: int) -> bytes:
        data, view = b"", memoryview(bytearray(count))
        while len(data) < count and (arrived := self.read_into(view[: count - len(data)])):
            data += view[:arrived]
        return data

    def drain(self) -> None:
        """Do nothing: there is nothing to drain."""

    def shutdown(self) -> None:
        """Do nothing: there is no reader to wake."""

    def close(self) -> None:
        """Do nothing: there is no connection to keep."""


@dataclass
class TwoVersions:
    """The server; its attributes are properties that hold for all its responses."""

    random: Random
    versions: tuple[bytes, bytes]
    validators: Validators
    honours_if_range: bool
    change: float
    """Probability that a response is of the second version."""
    death: float
    """Probability that a body ends early."""
    omits: Literal["nothing", "all in a range", "date after a condition"]
    """Which validators are omitted from a partial response."""
    oddity: float
    """Probability that a request for a range is answered with something else."""
    has_length: bool
    has_total: bool
    nodes: bool
    """Whether requests are redirected at random to one of two nodes, each of which has one version."""
    compresses: float
    calm_after: int
    """Number of requests after which no body ends early and all responses are of the first version."""
    asked: int = 0
    faults: int = field(default=0)

    def request(self, url: str, headers: Mapping[str, str], *_: object, urgent: bool = False) -> MemoryResponse:  # noqa: ARG002 - as the class in its place
        """Answer a request."""
        self.asked += 1
        calm = self.asked > self.calm_after
        second = not calm and self.random.random() < self.change
        if self.nodes:
            if "node" not in url:
                node = f"http://node-{int(second)}.example.org/f.bin"
                return MemoryResponse(302, {"Location": node, "Content-Length": "0"}, b"", 0, self.random)
            second = "node-1" in url
        self.faults += second
        return self._deliver(headers, int(second), calm=calm)

    def _deliver(self, headers: Mapping[str, str], which: int, *, calm: bool) -> MemoryResponse:
        content = self.versions[which]
        validators = self._validators(which)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("Range", ""))
        condition = headers.get("If-Range")
        if condition is not None and self.honours_if_range and condition not in validators.values():
            wanted = None
        odd = not calm and self.random.random() < self.oddity
        self.faults += odd
        status, start, end = 200, 0, len(content)
        fields = {"Date": formatdate(NOW, usegmt=True), **validators}
        if wanted and not (odd and self.random.random() < 0.3):
            start = int(wanted[1])
            end = min(end, int(wanted[2]) + 1) if wanted[2] else end
            if start >= len(content):
                return MemoryResponse(416, {**fields, "Content-Range": f"bytes */{len(content)}"}, b"", 0, self.random)
            status = 206
            if odd:
                start, end = self._odd_range(start, end, len(content))
            total = len(content) if self.has_total else "*"
            fields["Content-Range"] = f"bytes {start}-{end - 1}/{total}"
            if self.omits == "all in a range":
                fields = {name: value for name, value in fields.items() if name not in validators}
            elif self.omits == "date after a condition" and condition is not None:
                fields.pop("Last-Modified", None)
            if odd and self.random.random() < 0.2:
                fields["Content-Type"] = "multipart/byteranges; boundary=x"
                del fields["Content-Range"]
        body = content[start:end]
        if self.random.random() < self.compresses and status == 200:
            body = gzip.compress(body, mtime=0)
            fields = {name: value for name, value in fields.items() if name not in validators}
            fields["Content-Encoding"] = "gzip"
        if self.has_length:
            fields["Content-Length"] = str(len(body))
        else:
            fields["Transfer-Encoding"] = "chunked"
        dies = not calm and self.random.random() < self.death
        self.faults += dies
        return MemoryResponse(status, fields, body, self.random.randrange(len(body)) if dies else len(body), self.random)

    def _odd_range(self, start: int, end: int, size: int) -> tuple[int, int]:
        match self.random.randrange(4):
            case 0:  # shorter
                return start, self.random.randrange(start + 1, end + 1)
            case 1:  # longer
                return start, self.random.randrange(end, size + 1)
            case 2:  # a different offset
                elsewhere = self.random.randrange(size)
                return elsewhere, self.random.randrange(elsewhere + 1, size + 1)
            case _:
                return start, end

    def _validators(self, which: int) -> dict[str, str]:
        old = NOW - 1_000_000 + 5000 * which
        match self.validators:
            # Two nodes may have the same ETag for different bytes: it is only valid for one URL.
            case "etag":
                return {"ETag": '"same"' if self.nodes else f'"version {which}"'}
            case "etag and date":
                return {"ETag": f'"version {which}"', "Last-Modified": formatdate(old, usegmt=True)}
            case "weak etag":
                return {"ETag": 'W/"alike"'}
            case "date":
                return {"Last-Modified": formatdate(old, usegmt=True)}
            case "young date":  # both versions were written within one second
                return {"Last-Modified": formatdate(NOW, usegmt=True)}
            case "new etag each time":
                return {"ETag": f'"{self.asked}"'}
            case _:
                return {}
