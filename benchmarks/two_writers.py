"""Two runs on one volume against one, at a host that gives each connection the same small rate.

    python -m benchmarks.two_writers [--size BYTES] [--rate BYTES] [--connections N|auto] [--directory DIR]

Eight data sets of one file each are fetched onto an empty volume by one run, and onto another by two that start together, each
with N connections as in a container of its own. Prints both times, what each run has published and what the server has sent;
ends with 1 if two take more than 0.6 of the time of one, if a byte was sent twice, or if one of the two had nothing to do. With
``auto`` one run opens more connections as long as they bring more, and two bring less of a gain.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Final

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT: Final = Path(__file__).resolve().parent.parent
MOST: Final = 0.6
NAMES: Final = tuple("abcdefgh")
_SLICE: Final = 64 << 10
_RANGE: Final = re.compile(r"bytes=(\d+)-(\d*)")


class Host(ThreadingHTTPServer):
    """Files by ranges, each connection at one rate."""

    daemon_threads = True

    def __init__(self, files: Mapping[str, bytes], rate: int) -> None:
        """Listen on a free port of loopback."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.rate = rate
        self.sent = 0
        """Bytes of bodies that were handed to the kernel."""
        self.counting = threading.Lock()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Host

    def do_GET(self) -> None:
        content = self.server.files[self.path]
        asked = _RANGE.fullmatch(self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        end = int(asked[2]) + 1 if asked and asked[2] else len(content)
        self.send_response(206 if asked else 200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(end - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
        self.end_headers()
        due = time.monotonic()
        for offset in range(start, end, _SLICE):
            data = content[offset : min(offset + _SLICE, end)]
            due = max(due, time.monotonic() - 0.1) + len(data) / self.server.rate
            self.wfile.write(data)
            with self.server.counting:
                self.server.sent += len(data)
            time.sleep(max(0.0, due - time.monotonic()))

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def write_catalog(path: Path, host: Host, size: int) -> None:
    """Describe one data set for each file."""
    license_ = {"spdx": "CC0-1.0", "name": "CC0", "url": "https://example.org", "commercial": "allowed", "evidence": "noise"}
    datasets = {
        name: {
            "license": license_,
            "sources": [
                {
                    "kind": "url",
                    "files": [
                        {
                            "url": f"http://127.0.0.1:{host.server_port}/{name}.bin",
                            "size": size,
                            "digest": f"sha256:{hashlib.sha256(host.files[f'/{name}.bin']).hexdigest()}",
                        }
                    ],
                }
            ],
        }
        for name in NAMES
    }
    document = {"version": 1, "datasets": datasets, "phases": {"minimal": {"datasets": list(NAMES)}}}
    path.write_text(yaml.safe_dump(document), "utf-8")


def fill(volume: Path, catalog: Path, runs: int, connections: str) -> tuple[float, list[int]]:
    """Return how long so many runs take to fill a volume, and how many data sets each has published.

    Raises:
        RuntimeError: one of them failed.
    """
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(volume.parent),
        "DATA_DIR": str(volume),
        "CATALOG_PATH": str(catalog),
        "CONNECTIONS": connections,
        "PYTHONPATH": str(ROOT),
    }
    begun = time.monotonic()
    command = [sys.executable, "-m", "provisioner"]
    processes = [subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) for _ in range(runs)]
    texts = [process.communicate()[1] for process in processes]
    seconds = time.monotonic() - begun
    if any(process.returncode for process in processes):
        raise RuntimeError("\n".join(texts))
    for name in NAMES:
        if not (volume / "datasets" / name / f"{name}.bin").is_file():
            raise RuntimeError(f"{name} is missing")
    return seconds, [len(re.findall(r"\w: ready, 1 file", text)) for text in texts]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.two_writers", description=__doc__)
    parser.add_argument("--size", type=int, default=16_000_000, help="of each of the eight files")
    parser.add_argument("--rate", type=int, default=2_000_000, help="bytes a second of a connection")
    parser.add_argument("--connections", default="4", help="of each run: a number, or auto")
    parser.add_argument("--directory", type=Path, help="on a local disk")
    options = parser.parse_args(arguments)
    noise = random.Random(18)  # noqa: S311 - the same bytes each time
    files = {f"/{name}.bin": noise.randbytes(options.size) for name in NAMES}
    with tempfile.TemporaryDirectory(dir=options.directory) as place, Host(files, options.rate) as host:
        threading.Thread(target=host.serve_forever, daemon=True).start()
        catalog = Path(place, "catalog.yaml")
        write_catalog(catalog, host, options.size)
        times, shares, sent = [], [], []
        for runs in (1, 2):
            host.sent = 0
            seconds, published = fill(Path(place, f"volume-{runs}"), catalog, runs, options.connections)
            times.append(seconds)
            shares.append(published)
            sent.append(host.sent)
            print(f"{runs} at once: {seconds:.1f} s, {host.sent:,} bytes sent, data sets published: {published}")
        host.shutdown()
    ratio = times[1] / times[0]
    print(f"two take {ratio:.2f} of the time of one; at most {MOST} is aimed at")
    is_right = all(count == options.size * len(NAMES) for count in sent) and all(shares[1])
    return 0 if ratio <= MOST and is_right else 1


if __name__ == "__main__":
    raise SystemExit(main())
