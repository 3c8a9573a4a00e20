"""Header fields and chunks that no server should send: the right bytes or our own error, never any other exception."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from provisioner.cancellation import Cancellation
from provisioner.errors import ProvisionerError
from provisioner.remote.http.client import HttpClient
from provisioner.remote.network import Network
from provisioner.remote.proxies import Proxies
from tests.contract.test_http_fetch import Memory
from tests.support.fake_time import FakeTime
from tests.support.scripted import ScriptedServer, response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.scripted import Asked

CONTENT: Final = b"0123456789" * 30
MANY: Final = "9" * 5000
"""More digits than the interpreter converts to a number."""
FIELDS: Final = {
    "a continuation of a line without a colon": "Garbage\r\n and its rest",
    "a continuation of no line": " X: y",
    "a line without a colon": "Garbage",
    "a name that is empty": ": y\r\n z",
    "a date beyond all years": "Last-Modified: Thu, 01 Jan 99999999999999 00:00:00 GMT",
    "a date in no time zone": "Date: Thu, 01 Jan 2020 00:00:00 +99999999999999",
    "a date with too many hours": "Last-Modified: Thu, 01 Jan 2020 99999999999999999999:00:00 GMT",
    "a date with many digits": f"Last-Modified: Thu, 01 Jan {MANY} 00:00:00 GMT",
    "a range with many digits": f"Content-Range: bytes 0-{MANY}/{MANY}",
    "a wait with many digits": f"Retry-After: {MANY}",
    "a wait until a date beyond all years": "Retry-After: Thu, 01 Jan 99999999999999 00:00:00 GMT",
    "a limit with many digits": f'RateLimit: "a";r=0;t={MANY}',
}


def client_of(server: ScriptedServer, *, by_proxy: bool) -> tuple[HttpClient, str]:
    """Return a client, and the beginning of the URLs that it requests from the server."""
    proxies = Proxies(http=server.url) if by_proxy else Proxies()
    client = HttpClient(Network(FakeTime().retry(), Cancellation(), proxies))
    return client, "http://files.example.org" if by_proxy else server.url


@pytest.mark.parametrize("by_proxy", [False, True], ids=["direct", "by proxy"])
@pytest.mark.parametrize("status", ["200 OK", "206 Partial Content", "416 Range Not Satisfiable", "503 Service Unavailable"])
@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS.keys())
def test_header_fields(fields: str, status: str, by_proxy: bool) -> None:
    """For every request and status, no exception but our own is raised, and no wrong byte is accepted."""
    sink = Memory()
    # End the connection, because the library for proxies drops the fields after a line that it cannot parse.
    with ScriptedServer(lambda _: iter([response(status, fields, body=CONTENT), b""])) as server:
        client, start = client_of(server, by_proxy=by_proxy)
        asked: dict[str, Callable[[], object]] = {
            "fetch": lambda: client.fetch(f"{start}/f", sink, size=None, verifiable=False),
            "get": lambda: client.get(f"{start}/f", size=len(CONTENT)),
            "range": lambda: client.get_range(f"{start}/f", 0, 10, len(CONTENT)),
            "facts": lambda: client.facts(f"{start}/f"),
        }
        done = set()
        for what, ask in asked.items():
            try:
                ask()
            except ProvisionerError:
                continue
            done.add(what)
    assert server.asked
    assert bytes(sink.content) == (CONTENT if "fetch" in done else b"")
    # Only the library for proxies may refuse what our own parser skips.
    assert done >= ({"fetch", "get", "facts"} if status == "200 OK" and not by_proxy else set())


CHUNKS: Final = {
    "a length below zero": b"-5\r\n0123456789\r\n0\r\n\r\n",
    "a length with a sign": b"+a\r\n0123456789\r\n0\r\n\r\n",
    "a length with a prefix": b"0xa\r\n0123456789\r\n0\r\n\r\n",
    "a length with a separator": b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n",
    "a blank before the length": b" a\r\n0123456789\r\n0\r\n\r\n",
    "a length that ends with the connection": b"a\r\n0123456789\r\n0",
    "no length": b"a\r\n0123456789\r\n\r\n",
    "a chunk that goes on": b"5\r\n01234560\r\n",
    "an endless length": b"f" * 70_000,
    "a huge length": b"f" * 40 + b"\r\n0123456789",
    "trailers without end": b"a\r\n0123456789\r\n0\r\n" + b"X: y\r\n" * 5000,
    "an end within a chunk": b"a\r\n01234",
    "an end behind a chunk": b"a\r\n0123456789\r\n",
}


@pytest.mark.parametrize("by_proxy", [False, True], ids=["direct", "by proxy"])
@pytest.mark.parametrize("body", CHUNKS.values(), ids=CHUNKS.keys())
def test_chunks(body: bytes, by_proxy: bool) -> None:
    """Without a size and a digest, only the chunks say where the file ends, so malformed chunks are refused."""

    def script(_: Asked) -> Iterator[bytes]:
        yield response("200 OK", "Transfer-Encoding: chunked", length=False) + body
        yield b""

    sink = Memory()
    with ScriptedServer(script) as server:
        client, start = client_of(server, by_proxy=by_proxy)
        with pytest.raises(ProvisionerError):
            client.fetch(f"{start}/f", sink, size=None, verifiable=False)


@pytest.mark.parametrize("by_proxy", [False, True], ids=["direct", "by proxy"])
@pytest.mark.parametrize(
    "body",
    [
        b"a\r\n0123456789\r\n0\r\n\r\n",
        b"000A ;name=value\r\n0123456789\r\n0000\r\nX: y\r\n\r\n",
        b"5\r\n01234\r\n5;x\r\n56789\r\n0\r\n\r\n",
        b"a\n0123456789\n0\n\n",
    ],
    ids=["plain", "blanks, an extension and a trailer", "two", "bare line feeds"],
)
def test_chunks_as_they_may_be(body: bytes, by_proxy: bool) -> None:
    """Spaces after the length, extensions, trailers and more than one zero are valid."""
    sink = Memory()
    answer = response("200 OK", "Transfer-Encoding: chunked", length=False) + body
    with ScriptedServer(lambda _: iter([answer])) as server:
        client, start = client_of(server, by_proxy=by_proxy)
        client.fetch(f"{start}/f", sink, size=None, verifiable=False)
    assert bytes(sink.content) == b"0123456789"


@pytest.mark.parametrize("by_proxy", [False, True], ids=["direct", "by proxy"])
@pytest.mark.parametrize("refusal", [["Content-Range: bytes */0"], []], ids=["with its size", "without its size"])
def test_facts_of_an_empty_file(refusal: list[str], by_proxy: bool) -> None:
    """A server refuses to send the first byte of an empty file; the length of the refusal is not taken for the file's."""

    def script(asked: Asked) -> Iterator[bytes]:
        if "range" in asked.headers:
            yield response("416 Range Not Satisfiable", *refusal, body=b"<html>no such range</html>")
        else:
            yield response("200 OK", 'ETag: "1"')

    with ScriptedServer(script) as server:
        client, start = client_of(server, by_proxy=by_proxy)
        facts = client.facts(f"{start}/f")
    assert (facts.size, facts.etag, facts.ranges) == (0, '"1"', False)
    assert facts.state is not None
    assert (facts.state.size, facts.state.etag) == (0, '"1"')


def test_a_query_without_a_path() -> None:
    """The query is not taken for part of the host: it is sent as a query, and the counts of requests do not reveal it."""
    with ScriptedServer(lambda _: iter([response("200 OK", body=CONTENT)])) as server:
        network = Network(FakeTime().retry(), Cancellation())
        sink = Memory()
        HttpClient(network).fetch(f"{server.url}?file=1&how=SECRET", sink, size=len(CONTENT), verifiable=False)
        assert [asked.target for asked in server.asked] == ["/?file=1&how=SECRET"]
        assert network.tally.requests == {(f"127.0.0.1:{server.port}", "200"): 1}
