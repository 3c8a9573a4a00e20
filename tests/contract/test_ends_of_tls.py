"""Bodies over TLS that end with the connection: anybody may have caused an end that TLS does not confirm."""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING, Final

import pytest
import trustme

from provisioner.cancellation import Cancellation
from provisioner.errors import RemoteUnavailableError
from provisioner.remote.dialing import Dialer
from provisioner.remote.http.client import HttpClient
from provisioner.remote.http.pool import BarePool
from provisioner.remote.http.proxied import ProxiedPool
from provisioner.remote.network import Network
from provisioner.remote.tls import tls_context
from tests.contract.test_http_fetch import Memory
from tests.support.fake_time import FakeTime
from tests.support.scripted import ScriptedServer, _read, response

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from provisioner.remote.http.connections import Pool
    from tests.support.scripted import Asked

CONTENT: Final = b"0123456789" * 2000


class SecureServer(ScriptedServer):
    """A scripted server over TLS, which either closes TLS properly or cuts the connection."""

    def __init__(self, script: Callable[[Asked], Iterator[bytes]], authority: trustme.CA, *, confirmed: bool) -> None:
        """Start to listen."""
        super().__init__(script)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(self._context)
        self._confirmed = confirmed

    @property
    def url(self) -> str:
        """Scheme, host and port."""
        return f"https://127.0.0.1:{self.port}"

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), self._context.wrap_socket(connection, server_side=True) as secure:
            self._open.append(secure)
            while (asked := _read(secure)) is not None:
                self.asked.append(asked)
                for piece in self._script(asked):
                    if piece:
                        secure.sendall(piece)
                        continue
                    if self._confirmed:
                        secure.settimeout(0)  # do not wait for the client's answer
                        secure.unwrap()
                    return


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Return a private certificate authority."""
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    """Return a file with the certificate of the authority."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


BODIES: Final = {
    "by the connection's end": response("200 OK", length=False) + CONTENT,
    "by its length": response("200 OK", body=CONTENT),
    "by chunks": response("200 OK", "Transfer-Encoding: chunked", length=False) + b"4e20\r\n" + CONTENT + b"\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("kind", ["direct", "by the library"])
@pytest.mark.parametrize("confirmed", [True, False], ids=["confirmed", "cut"])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_the_end_of_a_body(authority: trustme.CA, ca_file: Path, body: bytes, confirmed: bool, kind: str) -> None:
    """Only a body that ends with the connection needs TLS to confirm its end; all its bytes are delivered before the error."""
    dialer = Dialer()
    limits = {"connect_seconds": 5.0, "stall_seconds": 5.0}
    with SecureServer(lambda _: iter([body, b""]), authority, confirmed=confirmed) as server:
        context = tls_context(ca_file, dialer.pace)
        pool: Pool = (
            BarePool(server.url, lambda: context, dialer, **limits)
            if kind == "direct"
            else ProxiedPool(None, context, dialer, per_host=1, **limits)
        )
        found, view, data = pool.request(f"{server.url}/f", {}), memoryview(bytearray(4096)), b""
        is_cut = body is BODIES["by the connection's end"] and not confirmed
        with pytest.raises(Exception, match="EOF occurred") if is_cut else contextlib.nullcontext():
            while count := found.read_into(view):
                data += view[:count]
        found.close()
    assert data == CONTENT


@pytest.mark.parametrize("confirmed", [True, False], ids=["confirmed", "cut"])
def test_a_file_of_unknown_size(authority: trustme.CA, ca_file: Path, confirmed: bool) -> None:
    """The file is complete only if its end is confirmed; otherwise it is requested again, and the fetch fails in the end."""
    sink = Memory()
    body = BODIES["by the connection's end"]
    with SecureServer(lambda _: iter([body, b""]), authority, confirmed=confirmed) as server:
        client = HttpClient(Network(FakeTime().retry(), Cancellation(), ca_file=ca_file))
        with contextlib.nullcontext() if confirmed else pytest.raises(RemoteUnavailableError, match="the connection broke"):
            client.fetch(f"{server.url}/f", sink, size=None, verifiable=False)
        assert len(server.asked) == (1 if confirmed else 6)
    assert not confirmed or bytes(sink.content) == CONTENT


def test_a_connection_that_was_kept_and_cut(authority: trustme.CA, ca_file: Path) -> None:
    """A server may cut a connection that was kept open; the next request is sent over a new one, and nothing fails."""

    def script(asked: Asked) -> Iterator[bytes]:
        yield response("200 OK", body=CONTENT)
        if asked.target == "/1":
            yield b""

    time = FakeTime()
    with SecureServer(script, authority, confirmed=False) as server:
        client = HttpClient(Network(time.retry(), Cancellation(), ca_file=ca_file))
        for number in range(3):
            assert client.get(f"{server.url}/{number}", size=len(CONTENT)) == CONTENT
        assert len(server.asked) >= 3
    assert time.waits == []
