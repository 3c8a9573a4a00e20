"""Servers, redirects and networks as they really are, on each path of a file: small, by one connection, in ranges, by a proxy."""

from __future__ import annotations

import bz2
import gc
import gzip
import hashlib
import io
import socket
import threading
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import pytest

from provisioner.cancellation import Cancellation
from provisioner.catalog.artifact import Artifact, UnpackFormat
from provisioner.catalog.digest import Digest
from provisioner.catalog.size import Size
from provisioner.engine.fetch_threads import FetchThreads, FileJob
from provisioner.errors import DigestMismatchError, IntegrityError, ProvisionerError, RemoteRefusedError, RemoteUnavailableError
from provisioner.remote import sockets
from provisioner.remote.dialing import Dialer
from provisioner.remote.http import connections
from provisioner.remote.http.client import HttpClient
from provisioner.remote.hub.client import HubClient
from provisioner.remote.network import Network
from provisioner.remote.proxies import Proxies
from provisioner.remote.transfers import Transfers
from provisioner.volume.staging.blob import Blob
from provisioner.volume.staging.hashing import checked_sha256
from provisioner.volume.staging.ranged_file import RangedFile
from tests.support import tally
from tests.support.fake_time import FakeTime
from tests.support.media import noise
from tests.support.scripted import Asked, ScriptedServer, delivery, response

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SMALL: Final = noise("small", 5000)
LARGE: Final = noise("large", (5 << 20) + 77)
"""Fetched in two ranges."""
WAYS: Final = ("small", "one", "ranges")
ETAG: Final = 'ETag: "1"'


def content_of(way: str) -> bytes:
    """Return the file that is fetched this way."""
    return LARGE if way == "ranges" else SMALL


@dataclass
class Fetch:
    """One file on its way by the real client."""

    folder: Path
    proxy: str | None = None
    time: FakeTime = field(default_factory=FakeTime)
    dialer: Dialer = field(default_factory=Dialer)
    stop: Cancellation = field(default_factory=Cancellation)
    _transfers: tuple[str | None, Transfers] | None = None

    @property
    def transfers(self) -> Transfers:
        """What fetches, with the connections of earlier files."""
        if self._transfers is None or self._transfers[0] != self.proxy:
            self._transfers = (self.proxy, Transfers(HttpClient(self.network(), connections=3)))
        return self._transfers[1]

    def network(self) -> Network:
        """Return what clients share."""
        return Network(self.time.retry(), self.stop, Proxies(http=self.proxy), dialer=self.dialer)

    def run(
        self,
        way: str,
        *urls: str,
        content: bytes | None = None,
        digest: bool = True,
        size: bool = True,
        name: str = "f.bin",
        unpack: UnpackFormat = "none",
    ) -> bytes:
        """Fetch a file, and return what came."""
        content = content_of(way) if content is None else content
        artifact = Artifact(
            name,
            urls,
            Size(len(content)) if size else None,
            Digest("sha256", hashlib.sha256(content).hexdigest()) if digest else None,
            unpack,
            "",
            "none",
        )
        transfers = self.transfers
        check = self.stop.raise_if_requested
        if way == "small":
            kept = [b""]

            def accept(data: bytes) -> str:
                kept[0] = data
                return checked_sha256(artifact, data)

            transfers.fetch_small(artifact, len(content), accept, lambda _count: None)
            return kept[0]
        if way == "one":
            with Blob(self.folder, artifact, check_cancelled=check) as blob:
                transfers.fetch(artifact, blob, lambda _count: None)
                return blob.path.read_bytes()
        threads = FetchThreads(lambda: 3, label="test", check_cancelled=check)
        with RangedFile.on_disk(self.folder, artifact, len(content), check_cancelled=check, connections=lambda: 3) as file:

            def fetch() -> None:
                transfers.fetch_ranges(artifact, file, threads, lambda _count: None)

            threads.run([FileJob(fetch, is_large=True)], files_at_once=lambda: 1)
            return (self.folder / f"{artifact.key}.part").read_bytes()


@pytest.fixture
def fetch(tmp_path: Path) -> Fetch:
    """Return a file to be fetched."""
    return Fetch(tmp_path / "blobs")


def serve(asked: Asked, way: str) -> bytes:
    """Deliver the file of this way, with a validator."""
    return delivery(asked, content_of(way), ETAG)


# --- where redirects lead ------------------------------------------------------------------------------------------------

LOCATIONS: Final = [
    (b"/a file.bin", "/a%20file.bin"),
    (b"/x?name=my file; filename=my file", "/x?name=my%20file;%20filename=my%20file"),
    (b"/t\tb.bin", "/t%09b.bin"),
    ("/bücher.bin".encode(), "/b%C3%BCcher.bin"),
    (b"/b\xfccher.bin", "/b%FCcher.bin"),
    (b'/a|b"c<d>{e}^`\\.bin', "/a%7Cb%22c%3Cd%3E%7Be%7D%5E%60%5C.bin"),
    (b"/100%.bin", "/100%25.bin"),
    (b"/100%zz.bin?a=5%", "/100%25zz.bin?a=5%25"),
    (b"/a%20b%2Fc.bin?sig=a%2Bb+c", "/a%20b%2Fc.bin?sig=a%2Bb+c"),
    (b"  /f.bin  ", "/f.bin"),
    (b"/f.bin#part", "/f.bin"),
    (b"f.bin", "/start/f.bin"),
    (b"../f.bin", "/f.bin"),
    (b"?again=1", "/start/here.bin?again=1"),
    (b"//HOST/f.bin", "/f.bin"),
    (b"HTTP://HOST/f.bin", "/f.bin"),
]  # fmt: skip


@pytest.mark.parametrize("by_proxy", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_locations_as_servers_write_them(fetch: Fetch, way: str, by_proxy: bool) -> None:
    """What cannot stand in a request is encoded, as curl and browsers do; what is encoded stays as it is."""
    rows = LOCATIONS if way == "small" else LOCATIONS[:2]
    turn = [0]

    def script(asked: Asked) -> Iterator[bytes]:
        location, expected = rows[turn[0]]
        if asked.target == "/start/here.bin":
            yield response("302 Found", b"Location: " + location.replace(b"HOST", asked.host.encode()))
        elif asked.target == expected:
            yield serve(asked, way)
        else:
            yield response("400 Bad Request")

    with ScriptedServer(script) as server:
        fetch.proxy = server.url if by_proxy else None
        host = "http://files.test" if by_proxy else server.url
        for turn[0], (_, expected) in enumerate(rows):
            fetch.folder = fetch.folder.with_name(f"{turn[0]}")
            assert fetch.run(way, f"{host}/start/here.bin") == content_of(way), server.asked[-1]
            assert server.asked[-1].target == expected
        assert by_proxy == all(asked.host == "files.test" for asked in server.asked)


@pytest.mark.parametrize("location", [b"", b"Location:", b"Location:   ", b"Location: http://", b"Location: http://\xff\xff/"])
@pytest.mark.parametrize("way", WAYS)
def test_a_redirect_to_nowhere(fetch: Fetch, way: str, location: bytes) -> None:
    """It is a refusal, at once and with one request."""

    def script(_asked: Asked) -> Iterator[bytes]:
        yield response("302 Found", *([location] if location else []))

    with ScriptedServer(script) as server:
        with pytest.raises(RemoteRefusedError):
            fetch.run(way, f"{server.url}/f.bin")
        assert len(server.asked) == 1


# --- cookies -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_proxy", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_a_chain_that_needs_its_cookies(fetch: Fetch, way: str, by_proxy: bool) -> None:
    """They are returned within the chain, and to their host alone; the next chain begins without."""

    def script(asked: Asked) -> Iterator[bytes]:
        cookie = asked.headers.get("cookie")
        if asked.target == "/f.bin" and cookie is None:
            fields = (
                "Set-Cookie: a=1; Expires=Wed, 21 Oct 2099 07:28:00 GMT",
                "Set-Cookie: b=2; Path=/elsewhere",
                "Set-Cookie: s=3; Secure",
                "Set-Cookie: d=4; Domain=example.org",
            )
            yield response("302 Found", *fields, "Location: /checked/f.bin")
        elif asked.target == "/checked/f.bin" and cookie == "a=1":
            yield response("302 Found", f"Location: {other}/other.bin")
        elif asked.target == "/other.bin" and cookie is None:
            yield serve(asked, way)
        else:
            yield response("403 Forbidden")

    with ScriptedServer(script) as server:
        fetch.proxy = server.url if by_proxy else None
        # Cookies know no ports, so the server has another name.
        first = "http://files.test" if by_proxy else server.url.replace("127.0.0.1", "localhost")
        other = "http://other.test" if by_proxy else server.url
        assert fetch.run(way, f"{first}/f.bin") == content_of(way)
        assert {asked.target for asked in server.asked} == {"/f.bin", "/checked/f.bin", "/other.bin"}


def test_the_file_itself_needs_the_cookies(fetch: Fetch) -> None:
    """Each range goes through the chain again, since its last URL alone would refuse."""

    def script(asked: Asked) -> Iterator[bytes]:
        if asked.target == "/f.bin":
            yield response("302 Found", "Set-Cookie: key=1; Path=/", "Location: /file")
        elif asked.headers.get("cookie") == "key=1":
            yield serve(asked, "ranges")
        else:
            yield response("200 OK", "Content-Type: text/html", body=b"<html>log in</html>")

    with ScriptedServer(script) as server:
        assert fetch.run("ranges", f"{server.url}/f.bin") == LARGE
        assert {asked.headers.get("cookie") for asked in server.asked if asked.target == "/file"} == {"key=1"}


# --- nodes that die ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["refuses", "resets", "503", "403", "404", "dies in the middle", "is silent"])
@pytest.mark.parametrize("way", WAYS)
def test_a_node_that_dies(fetch: Fetch, way: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first URL is requested again, and says which node has the file now."""
    if how == "is silent":
        monkeypatch.setattr(connections, "STALL_SECONDS", 0.4)
    served = [0]

    def dying(asked: Asked) -> Iterator[bytes]:
        if way == "ranges" and not asked.start:
            yield serve(asked, way)
            return
        served[0] += 1
        tally.count("faults")
        if how in {"503", "403", "404"}:
            yield response(f"{how} {how}")
        elif how == "dies in the middle":
            yield serve(asked, way)[:-1000]
            yield b""
        elif how == "is silent":
            node.done.wait()
        else:
            yield b""

    def healthy(asked: Asked) -> Iterator[bytes]:
        yield serve(asked, way)

    def redirector(_asked: Asked) -> Iterator[bytes]:
        yield response("302 Found", f"Location: {(other if served[0] else node).url}/f.bin")

    with ScriptedServer(healthy) as other, ScriptedServer(redirector) as first:
        node = ScriptedServer(dying)
        with node:
            if how == "refuses":
                node.__exit__()
                served[0] = way != "ranges"
                first_answers = iter([node.url])
                first._script = lambda _asked: iter([response("302 Found", f"Location: {next(first_answers, other.url)}/f.bin")])
            assert fetch.run(way, f"{first.url}/f.bin") == content_of(way)
        assert other.asked
        assert len(first.asked) <= 8
    if how == "refuses":
        tally.count("faults")


# --- lengths, interim responses ------------------------------------------------------------------------------------------

CHUNKED: Final = b"%x\r\n%s\r\n0\r\n\r\n" % (len(SMALL), SMALL)
LENGTHS: Final = [
    (["Content-Length: 5000", "Content-Length: 5000"], SMALL, True),
    (["Content-Length: 5000, 5000"], SMALL, True),
    (["Content-Length: 5000", "Content-Length: 4000"], SMALL, False),
    (["Content-Length: 5000, 4000"], SMALL, False),
    (["Content-Length: -5000"], SMALL, False),
    (["Content-Length: +5000"], SMALL, False),
    (["Content-Length: 17", "Transfer-Encoding: chunked"], CHUNKED, True),
    (["Transfer-Encoding: Chunked"], CHUNKED, True),
    (["Transfer-Encoding: gzip, chunked"], CHUNKED, False),
    (["Last-Modified: Mon, 02 Nov 2020 10:00:00 GMT"] * 2 + ["Content-Length: 5000"], SMALL, True),
]


# The library for proxies closes a connection whose response has no length that makes sense, and forgets its file.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("by_proxy", [False, True])
@pytest.mark.parametrize("way", ["small", "one"])
@pytest.mark.parametrize(("fields", "body", "is_right"), LENGTHS, ids=["; ".join(row[0]) for row in LENGTHS])
def test_lengths_that_are_said_twice(  # noqa: PLR0917 - fixtures and a table
    fetch: Fetch, way: str, by_proxy: bool, fields: list[str], body: bytes, is_right: bool
) -> None:
    """The same length twice is one length; chunks go before a length; lengths that differ are an error (RFC 9112, 6.3)."""

    def script(_asked: Asked) -> Iterator[bytes]:
        yield response("200 OK", *fields, body=body, length=False)

    with ScriptedServer(script) as server:
        fetch.proxy = server.url if by_proxy else None
        if is_right:
            assert fetch.run(way, f"{server.url}/f.bin") == SMALL
            assert len(server.asked) == 1
        else:
            with pytest.raises(RemoteUnavailableError):
                fetch.run(way, f"{server.url}/f.bin")
            assert len(server.asked) == 6
            gc.collect()


@pytest.mark.parametrize(
    ("interim", "is_right"),
    [("100 Continue", True), ("103 Early Hints", True), ("199 Odd", True), ("101 Switching Protocols", False)],
)
def test_interim_responses(fetch: Fetch, interim: str, is_right: bool) -> None:
    """They are passed over, except for one after which something else than HTTP comes."""

    def script(asked: Asked) -> Iterator[bytes]:
        yield f"HTTP/1.1 {interim}\r\nLink: x\r\n\r\n".encode() * 3 + serve(asked, "small")

    with ScriptedServer(script) as server:
        if is_right:
            assert fetch.run("small", f"{server.url}/f.bin") == SMALL
        else:
            with pytest.raises(RemoteUnavailableError):
                fetch.run("small", f"{server.url}/f.bin")


def test_interim_responses_without_end(fetch: Fetch) -> None:
    """They are no response, however quickly they come."""

    def script(_asked: Asked) -> Iterator[bytes]:
        while not server.done.is_set():
            yield b"HTTP/1.1 102 Processing\r\n\r\n"

    server = ScriptedServer(script)
    with server, pytest.raises(RemoteUnavailableError, match="no final response"):
        fetch.run("small", f"{server.url}/f.bin")


# --- lines that bring next to nothing ------------------------------------------------------------------------------------


def drip(server: ScriptedServer, data: bytes) -> Iterator[bytes]:
    """Yield a byte now and then, for ever."""
    for byte in data:
        yield bytes([byte])
        if server.done.wait(0.02):
            return


DRIPS: Final = {
    "status line": b"HTTP/1.1 200 " + b"O" * 10_000,
    "headers": b"HTTP/1.1 200 OK\r\n" + b"X-A: 1\r\n" * 2000,
    "interim responses": b"HTTP/1.1 102 Processing\r\n\r\n" * 2000,
    "body": b"",
    "chunk sizes": b"5;" + b"x" * 10_000,
    "trailers": b"",
}
HEADS: Final = {
    "body": b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n",
    "chunk sizes": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "trailers": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n" % (5000, SMALL),
}


@pytest.fixture
def impatient(fetch: Fetch) -> Fetch:
    """Give lines a third of a second for their bytes, in place of half a minute."""
    fetch.dialer.pace.seconds = 0.3
    return fetch


@pytest.mark.parametrize("by_proxy", [False, True])
@pytest.mark.parametrize("what", DRIPS)
def test_what_comes_in_drops(impatient: Fetch, what: str, by_proxy: bool) -> None:
    """A line that brings next to nothing is given up after a bounded time, whatever drips; three times in all."""
    data = DRIPS[what] or (b"X-A: 1\r\n" * 2000 if what == "trailers" else SMALL)

    def script(_asked: Asked) -> Iterator[bytes]:
        tally.count("faults")
        if what in HEADS:
            yield HEADS[what]
        yield from drip(server, data)

    server = ScriptedServer(script)
    with server:
        impatient.proxy = server.url if by_proxy else None
        with pytest.raises(RemoteUnavailableError, match="too slowly"):
            impatient.run("one", f"{server.url}/f.bin", size=False)
        assert len(server.asked) == 3


def test_a_proxys_answer_in_drops(impatient: Fetch) -> None:
    """So is a tunnel that never comes to be."""

    def script(_asked: Asked) -> Iterator[bytes]:
        yield from drip(server, b"HTTP/1.1 200 OK\r\n" + b"X-A: 1\r\n" * 2000)

    server = ScriptedServer(script)
    with server:
        network = Network(impatient.time.retry(), impatient.stop, Proxies(https=server.url), dialer=impatient.dialer)
        with pytest.raises(RemoteUnavailableError):
            HttpClient(network).get("https://files.test/f.bin", size=5)
        assert {asked.method for asked in server.asked} == {"CONNECT"}
        assert len(server.asked) <= 6


def test_the_hubs_answer_in_drops(impatient: Fetch) -> None:
    """So is a response of the Hub."""

    def script(_asked: Asked) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n"
        yield from drip(server, b" " * 5000)

    server = ScriptedServer(script)
    with server, HubClient(server.url, None, impatient.network()) as hub:
        with pytest.raises(RemoteUnavailableError, match="too slowly"):
            hub.resolve("acme/songs", "main")
        assert len(server.asked) == 3


@pytest.mark.parametrize("way", ["small", "one"])
def test_an_honest_slow_line(impatient: Fetch, way: str) -> None:
    """A line that brings its bytes, slowly, is waited for."""
    impatient.dialer.pace.least = 500
    pieces = [0]

    def script(asked: Asked) -> Iterator[bytes]:
        whole = serve(asked, way)
        for start in range(0, len(whole), 200):
            pieces[0] += 1
            yield whole[start : start + 200]
            server.done.wait(0.03)

    server = ScriptedServer(script)
    with server:
        assert impatient.run(way, f"{server.url}/f.bin") == SMALL
        assert len(server.asked) == 1
        assert pieces[0] > 20


# --- addresses -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def two_addresses(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Let the name ``files.test`` have several addresses; return them, and those that were asked."""
    known: dict[str, list[str]] = {"addresses": [], "asked": []}
    ask = socket.getaddrinfo
    start = sockets.PacedSocket.connect_ex

    def resolve(host: str, port: int, *rest: int) -> object:
        names = known["addresses"] if host == "files.test" else [host]
        return [entry for name in names for entry in ask(name, port, *rest)]

    def note(self: sockets.PacedSocket, address: tuple[str, int]) -> int:
        known["asked"].append(address[0])
        return start(self, address)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(sockets.PacedSocket, "connect_ex", note)
    return known


@pytest.fixture
def dead_port() -> Iterator[int]:
    """Return a port on which 127.0.0.2 answers nobody: its queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.2", 0))
        listener.listen(0)
        waiting = []
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
            waiting.append(one)
        yield listener.getsockname()[1]
        for one in waiting:
            one.close()


@pytest.mark.parametrize("how", ["swallows", "refuses"])
@pytest.mark.parametrize("client", ["files", "proxy", "Hub", "Hub by a proxy"])
def test_the_first_address_is_dead(
    fetch: Fetch, two_addresses: dict[str, list[str]], dead_port: int, how: str, client: str
) -> None:
    """The next one is asked as well, soon; what answered is asked first from then on, by every client."""
    two_addresses["addresses"] = ["127.0.0.2" if how == "swallows" else "127.0.0.3", "127.0.0.1"]

    def script(asked: Asked) -> Iterator[bytes]:
        if "api" in asked.target:
            yield response("404 Not Found", "X-Error-Code: RepoNotFound", "Connection: close", body=b"{}")
        else:
            yield response("200 OK", "Connection: close", body=SMALL)
        yield b""

    with ScriptedServer(script, port=dead_port) as server:
        there = f"http://files.test:{dead_port}"
        fetch.proxy = there if "proxy" in client else None
        target = "http://elsewhere.test" if "proxy" in client else there
        for _ in range(3):
            if "Hub" in client:
                with HubClient(target, None, fetch.network()) as hub, pytest.raises(ProvisionerError):
                    hub.resolve("acme/songs", "main")
            else:
                assert fetch.run("small", f"{target}/f.bin") == SMALL
        assert len(server.asked) == 3
    dead = [address for address in two_addresses["asked"] if address != "127.0.0.1"]
    assert len(dead) == 1
    tally.count("faults", len(dead))


def test_no_address_answers(fetch: Fetch, two_addresses: dict[str, list[str]]) -> None:
    """All are asked, and the error says why the first failed."""
    two_addresses["addresses"] = ["127.0.0.3", "127.0.0.4"]
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(RemoteUnavailableError, match="refused"):
        fetch.run("small", f"http://files.test:{port}/f.bin")
    assert set(two_addresses["asked"]) == {"127.0.0.3", "127.0.0.4"}


# --- forms that nobody asked for -----------------------------------------------------------------------------------------

TEXT: Final = b"id,genre\n1,rock\n" * 400
BIG_TEXT: Final = noise("text", 1 << 20).hex().encode() * 2 + b"end"


def tarball() -> bytes:
    """Return a small tar.gz."""
    import tarfile  # noqa: PLC0415 - for this alone

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("a.wav")
        info.size = 5
        archive.addfile(info, io.BytesIO(b"audio"))
    return gzip.compress(buffer.getvalue(), mtime=0)


TARBALL: Final = tarball()
RAW_DEFLATE: Final = zlib.compressobj(wbits=-15)
ENCODED: Final = [
    ("gzip", TEXT, "x.csv", "none", gzip.compress(TEXT, mtime=0), TEXT),
    ("x-gzip", TEXT, "x.csv", "none", gzip.compress(TEXT[:99], mtime=0) + gzip.compress(TEXT[99:], mtime=0) + b"\0\0", TEXT),
    ("deflate", TEXT, "x.csv", "none", zlib.compress(TEXT), TEXT),
    ("deflate", TEXT, "x.csv", "none", RAW_DEFLATE.compress(TEXT) + RAW_DEFLATE.flush(), TEXT),
    ("gzip, deflate", TEXT, "x.csv", "none", zlib.compress(gzip.compress(TEXT, mtime=0)), TEXT),
    ("identity", TEXT, "x.csv", "none", TEXT, TEXT),
    ("utf-8", TEXT, "x.csv", "none", TEXT, TEXT),
    ("aws-chunked", TEXT, "x.csv", "none", TEXT, TEXT),
    ("gzip", b"", "x.csv", "none", gzip.compress(b"", mtime=0), b""),
    ("x-gzip", TARBALL, "x.tar.gz", "tar.gz", TARBALL, TARBALL),
    ("gzip", TARBALL, "download", "tar.gz", TARBALL, TARBALL),
    ("gzip", TEXT, "x.csv.gz", "none", gzip.compress(TEXT, mtime=0), gzip.compress(TEXT, mtime=0)),
    ("x-bzip2", TEXT, "x.csv.bz2", "none", bz2.compress(TEXT), bz2.compress(TEXT)),
    ("br", TEXT, "x.csv", "none", b"\x8b\x02\x80", None),
    ("compress", TEXT, "x.csv", "none", b"\x1f\x9d\x90", None),
    ("gzip", TEXT, "x.csv", "none", gzip.compress(TEXT, mtime=0)[:-9], None),
    ("gzip", TEXT, "x.csv", "none", b"no gzip at all", None),
]  # fmt: skip


@pytest.mark.parametrize("known", ["digest", "size", "both", "nothing"])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("coding", "content", "name", "unpack", "sent", "expected"),
    ENCODED,
    ids=[f"{row[0]}-{row[2]}-{number}" for number, row in enumerate(ENCODED)],
)
def test_a_coding_that_nobody_asked_for(  # noqa: PLR0917 - fixtures and a table
    fetch: Fetch,
    coding: str,
    content: bytes,
    name: str,
    unpack: UnpackFormat,
    sent: bytes,
    expected: bytes | None,
    chunked: bool,
    known: str,
) -> None:
    """It is undone, or is the file's own and stays, or the file is refused: never published in another form."""
    digest, size = known in {"digest", "both"}, known in {"size", "both"}

    def script(_asked: Asked) -> Iterator[bytes]:
        if chunked:
            body = (b"%x\r\n%s\r\n" % (len(sent), sent) if sent else b"") + b"0\r\n\r\n"
            yield response("200 OK", f"Content-Encoding: {coding}", "Transfer-Encoding: chunked", body=body, length=False)
        else:
            yield response("200 OK", f"Content-Encoding: {coding}", body=sent)

    meant = content if expected is None else expected
    with ScriptedServer(script) as server:
        ways = ("small", "one") if size and unpack == "none" and meant else ("one",)
        for way in ways:
            arguments = {"content": meant, "digest": digest, "size": size, "name": name, "unpack": unpack}
            if expected is None or (not expected and known == "nothing"):
                with pytest.raises((RemoteRefusedError, IntegrityError, RemoteUnavailableError)):
                    fetch.run(way, f"{server.url}/{name}", **arguments)  # type: ignore[arg-type]
            else:
                assert fetch.run(way, f"{server.url}/{name}", **arguments) == expected  # type: ignore[arg-type]
        assert len(server.asked) <= 12


@pytest.mark.parametrize("form", ["as it comes", "decoded"])
def test_the_digest_is_of_the_other_form(fetch: Fetch, form: str) -> None:
    """Where only a digest is known and the likely form is wrong, the other one is tried once."""
    packed = gzip.compress(TEXT, mtime=0)
    name, meant = ("x.csv", packed) if form == "as it comes" else ("x.gz", TEXT)

    def script(_asked: Asked) -> Iterator[bytes]:
        yield response("200 OK", "Content-Encoding: gzip", body=packed)

    with ScriptedServer(script) as server:
        assert fetch.run("one", f"{server.url}/{name}", content=meant, size=False, name=name) == meant
        assert len(server.asked) == 2
        with pytest.raises(DigestMismatchError):
            fetch.run("one", f"{server.url}/{name}", content=b"another", size=False, name=name)
        assert len(server.asked) == 4


@pytest.mark.parametrize("digest", [True, False])
def test_a_large_file_that_comes_compressed(fetch: Fetch, digest: bool) -> None:
    """Ranges of the compressed form are never taken for ranges of the file: one response brings the whole."""
    packed = gzip.compress(BIG_TEXT, 1, mtime=0)

    def script(asked: Asked) -> Iterator[bytes]:
        yield delivery(asked, packed, ETAG, "Content-Encoding: gzip")

    with ScriptedServer(script) as server:
        assert fetch.run("ranges", f"{server.url}/x.txt", content=BIG_TEXT, digest=digest, name="x.txt") == BIG_TEXT
        assert len(server.asked) <= 4


@pytest.mark.parametrize("digest", [True, False])
def test_one_range_that_comes_compressed(fetch: Fetch, digest: bool) -> None:
    """Its bytes do not meet those of the file, though the ETag is the same."""
    odd = [1]

    def script(asked: Asked) -> Iterator[bytes]:
        if asked.start and odd and odd.pop():
            tally.count("faults")
            yield delivery(asked, zlib.compress(LARGE, 0)[: len(LARGE)], ETAG, "Content-Encoding: deflate")
        else:
            yield serve(asked, "ranges")

    with ScriptedServer(script) as server:
        assert fetch.run("ranges", f"{server.url}/f.bin", digest=digest) == LARGE
        assert not odd


# --- wrong bytes once ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_proxy", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_a_byte_that_is_wrong_once(fetch: Fetch, way: str, by_proxy: bool) -> None:
    """The file is fetched once more before anybody gives up; a byte that stays wrong ends it after that."""
    content, wrong, left = content_of(way), bytearray(content_of(way)), [1]
    wrong[700] ^= 1
    lock = threading.Lock()

    def script(asked: Asked) -> Iterator[bytes]:
        with lock:
            is_wrong = not asked.start and left[0] > 0
            left[0] -= is_wrong
        tally.count("faults", int(is_wrong))
        yield delivery(asked, bytes(wrong) if is_wrong else content, ETAG)

    with ScriptedServer(script) as server:
        fetch.proxy = server.url if by_proxy else None
        assert fetch.run(way, f"{server.url}/f.bin") == content
        left[0] = 1000
        fetch.folder = fetch.folder.with_name("again")
        with pytest.raises(DigestMismatchError):
            fetch.run(way, f"{server.url}/f.bin")
        assert left[0] == 998
