"""Rows in which a volume is filled from another one: by this program from ``serve``, and by ``rsync`` over its own protocol.

The other volume is filled once, before the clock starts, in memory as all else; both servers read the same tree.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from benchmarks import measure, ours, peers
from benchmarks.ours import NAME
from benchmarks.rows import Row, Target, free_port, large, peer_for, size_text, small, tiny
from benchmarks.work import ROOT, Bench, Entrant, WrongResultError, empty

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from benchmarks.data import Corpus
    from benchmarks.measure import Command

_RSYNC: Final = "rsync -a"
_CHECKSUM: Final = "rsync -a --checksum"
_ONE: Final = f"{NAME}, one peer"
_RATE: Final = 5_000_000
"""Bytes a second of one connection to a slow peer."""
_CONNECTIONS: Final = 4
"""To each of them."""
_MODULE: Final = """\
use chroot = no
port = {port}
address = 127.0.0.1
uid = {uid}
gid = {gid}
[tree]
path = {path}
read only = yes
"""


def peer_small(bench: Bench) -> Row:
    """20,000 files of 4 KiB."""
    corpus = tiny(bench).first(bench.scale.tiny_files)
    title = f"{len(corpus.files):,} × {bench.scale.tiny_size // 1024} KiB from another volume"
    return _row(bench, "peer-small", title, "bench/hub-tiny", corpus)


def peer_large(bench: Bench) -> Row:
    """One large file."""
    corpus = large(bench, bench.scale.large_size)
    return _row(bench, "peer-large", f"{size_text(corpus.size)} in one file from another volume", "bench/large", corpus)


def peer_two(bench: Bench) -> Row:
    """Two peers at a limited rate."""
    corpus = small(bench)
    ports, slow = (free_port(), free_port()), (free_port(), free_port())
    addresses = [f"http://127.0.0.1:{port}" for port in slow]
    entrants = (
        _taker(bench, "bench/hub-small", corpus, addresses, NAME),
        _taker(bench, "bench/hub-small", corpus, addresses[:1], _ONE),
    )
    rate = _RATE * _CONNECTIONS // 1_000_000
    title = f"{len(corpus.files):,} × {bench.scale.small_size // 1024} KiB from two volumes, of which each sends {rate} MB/s"

    @contextlib.contextmanager
    def around() -> Iterator[None]:
        words = ["--round-trip", "0", "--rate", str(_RATE), "--most", str(_CONNECTIONS)]
        ways = [f"{near}:{far}" for near, far in zip(slow, ports, strict=True)]
        with _filled(bench, "bench/hub-small", corpus) as volume, contextlib.ExitStack() as running:
            for port in ports:
                running.enter_context(_serving(volume, port))
            running.enter_context(_started([sys.executable, "-m", "benchmarks.distance", *words, *ways]))
            for address in addresses:
                _wait_for(address)
            yield

    target = Target(1 / 1.8, _ONE)
    return Row("peer-two", title, entrants, (target,), files=len(corpus.files), around=around)


def _row(bench: Bench, key: str, title: str, repo: str, corpus: Corpus) -> Row:
    port, daemon = free_port(), free_port()
    source = f"rsync://127.0.0.1:{daemon}/tree/"
    entrants = (
        _taker(bench, repo, corpus, [f"http://127.0.0.1:{port}"], NAME),
        peer_for(_RSYNC, partial(peers.rsync, source), corpus.files),
        peer_for(_CHECKSUM, partial(peers.rsync, source, checksum=True), corpus.files),
    )

    @contextlib.contextmanager
    def around() -> Iterator[None]:
        with _filled(bench, repo, corpus) as volume, _serving(volume, port), _daemon(bench, volume, daemon):
            yield

    note = "rsync compares its own checksum of what it sends, and keeps no digest; with --checksum it reads what is there, too"
    targets = (Target(1.0, _RSYNC), Target(1.0, _CHECKSUM))
    return Row(key, title, entrants, targets, note=note, files=len(corpus.files), around=around)


def _taker(bench: Bench, repo: str, corpus: Corpus, addresses: Sequence[str], name: str) -> Entrant:
    """Let this program fill a volume from others; the Hub that the catalog names is not asked."""
    catalog = ours.catalog(ours.from_hub(repo, corpus.files), bench.work / "catalogs" / "taker.json")

    def start(volume: Path) -> Command:
        command = ours.command(bench.server.hub, catalog, volume)
        return replace(command, environment={**command.environment, "PEERS": ";".join(addresses)})

    def check(volume: Path) -> None:
        ours.check(volume, corpus.files)
        receipt = next((volume / ".provisioner" / "receipts" / ours.DATASET).glob("*.json"))
        if '"verified_against": "peer"' not in receipt.read_text("utf-8"):
            raise WrongResultError("it came from its source, and not from the other volume")

    return Entrant(name, start, check, work_bytes=corpus.size)


@contextlib.contextmanager
def _filled(bench: Bench, repo: str, corpus: Corpus) -> Iterator[Path]:
    """Yield a volume that has been filled from the Hub."""
    volume = bench.memory / "neighbour"
    catalog = ours.catalog(ours.from_hub(repo, corpus.files), bench.work / "catalogs" / "neighbour.json")
    empty(volume)
    empty(bench.work / "home")
    try:
        done = measure.run(ours.command(bench.server.hub, catalog, volume), bench.work / "home", bench.work / "last.log")
        if done.code:
            raise WrongResultError(f"the other volume could not be filled: exit code {done.code}")
        yield volume
    finally:
        shutil.rmtree(volume, ignore_errors=True)


@contextlib.contextmanager
def _serving(volume: Path, port: int) -> Iterator[None]:
    """Run ``serve`` over a volume."""
    words = [sys.executable, "-m", "provisioner", "serve", "--port", str(port), "--data-dir", str(volume)]
    with _started(words):
        _wait_for(f"http://127.0.0.1:{port}")
        yield


@contextlib.contextmanager
def _daemon(bench: Bench, volume: Path, port: int) -> Iterator[None]:
    """Run rsync's daemon over the same tree."""
    settings = bench.work / "rsyncd.conf"
    tree = (volume / "datasets" / ours.DATASET).resolve()
    settings.write_text(_MODULE.format(port=port, path=tree, uid=os.getuid(), gid=os.getgid()), encoding="utf-8")
    with _started(["rsync", "--daemon", "--no-detach", f"--config={settings}"]):
        time.sleep(0.5)
        yield


@contextlib.contextmanager
def _started(words: list[str]) -> Iterator[None]:
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT) as process:
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)


def _wait_for(address: str) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/healthz", timeout=5):
            return
        time.sleep(0.1)
    raise WrongResultError(f"{address} does not answer")


ROWS: Final[dict[str, Callable[[Bench], Row]]] = {"peer-small": peer_small, "peer-large": peer_large, "peer-two": peer_two}
"""By their ids, in the table's order."""
