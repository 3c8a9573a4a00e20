"""Small files over kept connections: bodies of every length come whole, however they are cut, and nobody waits for more."""

from __future__ import annotations

import contextlib
import io
import ssl
from typing import TYPE_CHECKING, Final

import pytest

from provisioner.remote.dialing import Dialer
from provisioner.remote.http.pool import BarePool
from tests.support.media import noise
from tests.support.scripted import ScriptedServer, response

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.scripted import Asked

_READER: Final = io.DEFAULT_BUFFER_SIZE
"""Bytes that a buffered reader asks for at once."""
STALL: Final = 4.0
"""Seconds that a read waits for bytes that do not come."""
CONTENT: Final = noise("small files", 300_000)


def pool_of(server: ScriptedServer, *, stall_seconds: float) -> BarePool:
    """Return connections to a server that give up early."""
    return BarePool(server.url, ssl.create_default_context, Dialer(), connect_seconds=5, stall_seconds=stall_seconds)


@pytest.mark.parametrize("cut", [1, 100, _READER, 65_536, 400_000])
@pytest.mark.parametrize("field", ["X: y", "X: " + "y" * (_READER - 400)], ids=["short header", "long header"])
def test_bodies_of_every_length(cut: int, field: str) -> None:
    """Around the size of the reader's buffer too, in which some of the body is with the header; the connection is kept."""
    lengths = [0, 1, 300, _READER - 1, _READER, _READER + 1, 2 * _READER - 300, 2 * _READER, 100_000, len(CONTENT)]

    def script(asked: Asked) -> Iterator[bytes]:
        answer = response("200 OK", field, body=CONTENT[: int(asked.target[1:])])
        for start in range(0, len(answer), max(cut, len(answer) // 50)):
            yield answer[start : start + max(cut, len(answer) // 50)]

    with ScriptedServer(script) as server:
        pool = pool_of(server, stall_seconds=STALL)
        for length in lengths:
            found = pool.request(f"{server.url}/{length}", {})
            assert found.read(length + 1) == CONTENT[:length]
            assert found.read(1) == b""
            assert found._sock._waited < STALL  # type: ignore[attr-defined]
            found.close()
        assert len(server.asked) == len(lengths)
        assert len(server._open) == 1


@pytest.mark.parametrize("wanted", [1, 200, _READER, 50_000, 99_999])
def test_a_part_of_a_body(wanted: int) -> None:
    """What is not asked for is left, and can be read afterwards."""
    with ScriptedServer(lambda _: iter([response("200 OK", body=CONTENT[:100_000])])) as server:
        pool = pool_of(server, stall_seconds=5)
        with contextlib.closing(pool.request(f"{server.url}/", {})) as found:
            assert found.read(wanted) == CONTENT[:wanted]
            assert found.read(200_000) == CONTENT[wanted:100_000]


@pytest.mark.parametrize("sent", [0, 10, _READER, 50_000, 99_999])
@pytest.mark.parametrize("end", ["silence", "the connection's end"])
def test_a_body_that_stops(sent: int, end: str) -> None:
    """A server that says nothing more is given up, after what it takes to be sure; one that ends the connection, at once."""
    answer = response("200 OK", body=CONTENT[:100_000])

    def script(_: Asked) -> Iterator[bytes]:
        yield answer[: len(answer) - 100_000 + sent]
        if end != "silence":
            yield b""

    with (
        ScriptedServer(script) as server,
        contextlib.closing(pool_of(server, stall_seconds=0.2).request(f"{server.url}/", {})) as found,
    ):
        if end == "silence":
            with pytest.raises(TimeoutError):
                found.read(100_001)
        else:
            assert found.read(100_001) == CONTENT[:sent]


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Len"])
def test_a_header_that_stops(sent: bytes) -> None:
    """Silence before or within the header is the same."""
    with ScriptedServer(lambda _: iter([sent] if sent else [])) as server, pytest.raises(TimeoutError):
        pool_of(server, stall_seconds=0.2).request(f"{server.url}/", {})
