"""Kill a fetch with SIGKILL at random byte counts, and measure how much the next run fetches again.

    python -m tools.kills [--kills 50] [--size 1073741824] [--seed 1] [--connections 8] [--rate BYTES] [--directory DIR]

For each kill: an empty volume, a run that is killed when the server has sent N bytes, and a run to the end. *Fetched twice*
is the number of bytes that the server sent in both runs beyond the file's size. It includes the content of the kernel's socket
buffers at the kill: sent, but never seen by the program. To keep that small, the server has small send buffers and a rate
that the program can follow; it is read from the kernel at the kill and shown beside the total. Ends with a nonzero exit
code if any kill cost more than 16 MiB, the buffers included, or a result was wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ROOT: Final = Path(__file__).resolve().parent.parent
MOST: Final = 16 << 20
"""Number of bytes that one kill may cost."""
RATE: Final = 400_000_000
"""Maximum rate of the server in bytes per second, over all connections."""

_SLICE: Final = 64 << 10
_SEND_BUFFER: Final = 64 << 10
_BLOCK: Final = 1 << 20
_RANGE: Final = re.compile(rb"\r\nrange: *bytes=(\d+)-(\d*)", re.IGNORECASE)
_CONDITION: Final = re.compile(rb'\r\nif-range: *"([^"]*)"', re.IGNORECASE)
_PATIENCE_SECONDS: Final = 600.0


class Server:
    """Serves one file by ranges over any number of connections; stops at a given number of bytes until it is told to go on."""

    def __init__(self, path: Path, rate: int = RATE) -> None:
        """Listen on a free port of loopback."""
        self._path = path
        self._size = path.stat().st_size
        self._rate = rate
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._socket.getsockname()[1]
        self.sent = 0
        """Number of body bytes that were passed to the kernel."""
        self.answers: list[int] = []
        """The status of each answer."""
        self._limit: int | None = None
        self._due = time.monotonic()
        self._turn = threading.Condition()
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.run_free()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        with self._turn:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._turn.wait_for(lambda: not self._open, _PATIENCE_SECONDS)

    def hold_at(self, limit: int) -> None:
        """Send exactly ``limit`` more bytes, then wait."""
        with self._turn:
            self._limit = self.sent + limit

    def run_free(self) -> None:
        """Remove the limit."""
        with self._turn:
            self._limit = None
            self._turn.notify_all()

    def wait_held(self, gone: Callable[[], bool]) -> None:
        """Wait until the limit has been sent.

        Raises:
            RuntimeError: the client ended before the limit was reached.
        """
        with self._turn:
            while self._limit is not None and self.sent < self._limit:
                if gone():
                    raise RuntimeError("the run ended before it could be killed")
                self._turn.wait(0.05)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._turn:
                self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with self._path.open("rb") as file:
                head = b""
                while data := connection.recv(_SLICE):
                    head += data
                    if head.endswith(b"\r\n\r\n"):
                        self._answer(connection, file.fileno(), head)
                        head = b""
        except OSError:
            pass  # # the client has closed the connection
        finally:
            with self._turn:
                self._open.discard(connection)
                self._turn.notify_all()
            connection.close()

    def _answer(self, connection: socket.socket, file: int, head: bytes) -> None:
        start, end, status = 0, self._size, "200 OK"
        wanted, condition = _RANGE.search(head), _CONDITION.search(head)
        if wanted and (condition is None or condition[1] == b"one"):
            start, end = int(wanted[1]), min(int(wanted[2]) + 1, self._size) if wanted[2] else self._size
            status = "206 Partial Content"
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {end - start}", 'ETag: "one"', "Accept-Ranges: bytes"]
        if status.startswith("206"):
            lines.append(f"Content-Range: bytes {start}-{end - 1}/{self._size}")
        with self._turn:
            self.answers.append(int(status[:3]))
        connection.sendall("\r\n".join((*lines, "", "")).encode())
        for count in self._allowed(end - start):
            done = 0
            while done < count:
                done += os.sendfile(connection.fileno(), file, start + done, count - done)
            start += count

    def _allowed(self, length: int) -> Iterator[int]:
        """Yield the number of bytes that may be sent next, as soon as they may."""
        while length:
            with self._turn:
                # Counted before sending: at the limit the count is exact, and bytes cut off by the kill count as sent.
                self._turn.wait_for(lambda: self._limit is None or self.sent < self._limit)
                count = min(length, _SLICE)
                if self._limit is not None:
                    count = min(count, self._limit - self.sent)
                self.sent += count
                self._due = max(self._due, time.monotonic() - 0.01) + count / self._rate
                wait = self._due - time.monotonic()
                self._turn.notify_all()
            if wait > 0.002:  # noqa: PLR2004 - shorter waits cost more than they shape
                time.sleep(wait)
            yield count
            length -= count


@dataclass(frozen=True, slots=True)
class Kill:
    """The cost of one kill."""

    at: int
    """Number of bytes that the server had sent."""
    twice: int
    """Number of bytes that were fetched twice."""
    buffered: int
    """Number of these that were in the kernel's buffers at the kill, unseen by the program."""
    right: bool


def in_buffers(port: int) -> int:
    """Return the number of bytes in the kernel between a server's port and its clients, on both sides."""
    total = 0
    for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]:
        fields = line.split()
        sides = [int(address.rpartition(":")[2], 16) for address in fields[1:3]]
        sending, receiving = (int(count, 16) for count in fields[4].split(":"))
        if sides[0] == port and sides[1]:
            total += sending
        elif sides[1] == port:
            total += receiving
    return total


def make_file(path: Path, size: int, seed: int) -> str:
    """Write incompressible bytes; return their SHA-256."""
    source, digest = random.Random(seed), hashlib.sha256()  # noqa: S311 - the same bytes for the same seed
    with path.open("wb") as file:
        while left := size - file.tell():
            block = source.randbytes(min(_BLOCK, left))
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def write_catalog(path: Path, size: int, digest: str) -> None:
    """Write a catalog with one data set that consists of this file."""
    licence = {
        "spdx": "CC0-1.0",
        "name": "CC0 1.0",
        "url": "https://creativecommons.org/publicdomain/zero/1.0/",
        "commercial": "allowed",
        "evidence": "random numbers",
        "attribution": "",
    }
    file = {"url": "https://files.example.org/big.bin", "size": size, "digest": f"sha256:{digest}"}
    entry = {
        "title": "Random numbers",
        "homepage": "https://files.example.org",
        "priority": 3,
        "license": licence,
        "sources": [{"kind": "url", "files": [file]}],
    }
    phases = {"minimal": {"description": "all there is", "datasets": ["big"]}}
    path.write_text(yaml.safe_dump({"version": 1, "datasets": {"big": entry}, "phases": phases}), "utf-8")


class Killer:
    """Fetches a file repeatedly, and kills the fetching process."""

    def __init__(self, scratch: Path, size: int, *, seed: int = 1, connections: int = 8, rate: int = RATE) -> None:
        """Create the file and its catalog in ``scratch``."""
        self._scratch = scratch
        self._size = size
        self._connections = connections
        self._rate = rate
        self._source = scratch / "big.bin"
        self._digest = make_file(self._source, size, seed)
        write_catalog(scratch / "catalog.yaml", size, self._digest)

    def kill_at(self, count: int, *, forget: bool = False) -> Kill:
        """Fetch into an empty volume, kill when ``count`` bytes have been sent, and fetch the rest.

        Args:
            count: bytes that the server has sent at the kill.
            forget: remove what the first run left, to check that the measurement shows it.

        Raises:
            RuntimeError: a run did not end as expected.
        """
        volume = self._scratch / "volume"
        shutil.rmtree(volume, ignore_errors=True)
        with Server(self._source, self._rate) as server:
            server.hold_at(count)
            process = self._start(volume, server)
            server.wait_held(lambda: process.poll() is not None)
            # Stopped first, so that the buffers are read in the state in which the process is killed.
            process.send_signal(signal.SIGSTOP)
            buffered = in_buffers(server.port)
            process.kill()
            process.communicate()
            server.run_free()
        if forget:
            shutil.rmtree(volume)
        with Server(self._source, self._rate) as second:
            process = self._start(volume, second)
            _, said = process.communicate(timeout=_PATIENCE_SECONDS)
            if process.returncode:
                raise RuntimeError(f"the run after a kill at {count:,} bytes ended with {process.returncode}:\n{said.decode()}")
        with (volume / "datasets" / "big" / "big.bin").open("rb") as file:
            right = hashlib.file_digest(file, "sha256").hexdigest() == self._digest
        staged = [path for path in (volume / ".provisioner" / "staging").rglob("*") if path.is_file()]
        return Kill(count, count + second.sent - self._size, buffered, right and not staged)

    def _start(self, volume: Path, server: Server) -> subprocess.Popen[bytes]:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._scratch),
            "DATA_DIR": str(volume),
            "CATALOG_PATH": str(self._scratch / "catalog.yaml"),
            "TERMINATION_LOG": str(self._scratch / "termination-log"),
            "PHASE": "minimal",
            "CONNECTIONS": str(self._connections),
            "URL_REWRITE": f"https://files.example.org/=http://127.0.0.1:{server.port}/",
        }
        command = [sys.executable, "-m", "provisioner"]
        return subprocess.Popen(  # noqa: S603 - the program itself
            command, env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )


def random_counts(kills: int, size: int, seed: int) -> list[int]:
    """Choose byte counts at which to kill."""
    source = random.Random(seed)  # noqa: S311 - the same counts for the same seed
    return [source.randrange(1, size) for _ in range(kills)]


def main(arguments: Sequence[str]) -> int:
    """Kill the given number of times; return 0 if no kill cost too much and every result was right."""
    parser = argparse.ArgumentParser(prog="kills", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50, help="how often")
    parser.add_argument("--size", type=int, default=1 << 30, help="bytes of the file")
    parser.add_argument("--seed", type=int, default=1, help="decides the file's bytes and where to kill")
    parser.add_argument("--connections", type=int, default=8, help="CONNECTIONS")
    parser.add_argument("--rate", type=int, default=RATE, help="bytes a second that the server sends")
    parser.add_argument("--folder", type=Path, help="where to work; needs twice the size")
    options = parser.parse_args(arguments)
    results = []
    with tempfile.TemporaryDirectory(prefix="provisioner-kills-", dir=options.folder) as scratch:
        killer = Killer(Path(scratch), options.size, seed=options.seed, connections=options.connections, rate=options.rate)
        print("     bytes at the kill   fetched twice   in the kernel's buffers", flush=True)
        for place, count in enumerate(random_counts(options.kills, options.size, options.seed), start=1):
            kill = killer.kill_at(count)
            results.append(kill)
            wrong = "" if kill.right else "   WRONG RESULT"
            print(f"{place:3}  {kill.at:17,}   {kill.twice:13,}   {kill.buffered:23,}{wrong}", flush=True)
    most = max(kill.twice for kill in results)
    failed = [kill for kill in results if kill.twice > MOST or not kill.right]
    print(f"Most bytes fetched twice: {most:,} of {MOST:,} allowed; {len(failed)} of {len(results)} kills not as they should be.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
