"""A server with two versions of one file, in any sequence of its responses: what comes out is one version, or an error.

The server is honest about validators, and about nothing else.
"""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

import pytest

from provisioner.cancellation import Cancellation
from provisioner.catalog.artifact import Artifact
from provisioner.catalog.digest import Digest
from provisioner.catalog.size import Size
from provisioner.engine.fetch_threads import FetchThreads, FileJob
from provisioner.errors import ProvisionerError
from provisioner.remote.http.client import HttpClient
from provisioner.remote.network import Network
from provisioner.remote.transfers import Transfers
from provisioner.volume.staging import (
    arrival_window,
    claims,
    journal,
    piece_file,
    piece_memory,
    pieces,
)
from provisioner.volume.staging.blob import Blob
from provisioner.volume.staging.hashing import checked_sha256
from provisioner.volume.staging.ranged_file import RangedFile
from tests.support import tally
from tests.support.fake_time import FakeTime
from tests.support.media import noise
from tests.support.two_versions import NOW, VALIDATORS, TwoVersions

if TYPE_CHECKING:
    from pathlib import Path

SEQUENCES: Final = int(os.environ.get("SEQUENCES", "400"))
SEED: Final = int(os.environ.get("SEED", "1"))
PIECE: Final = 1024
SIZE: Final = 20 * PIECE + 77
REQUESTS: Final = 400
"""The most requests of one run: nothing goes on for ever."""


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut files into pieces of 1 KiB, and stop the clock of the responses."""
    for module in (arrival_window, claims, journal, piece_file, piece_memory, pieces):
        monkeypatch.setattr(module, "PIECE", PIECE)
    monkeypatch.setattr(claims, "LARGEST_RANGE", 8 * PIECE)
    monkeypatch.setattr(claims, "SMALLEST_RANGE", 2 * PIECE)
    monkeypatch.setattr(time, "time", lambda: NOW)


def server_for(source: random.Random) -> TwoVersions:
    """Return a server with any traits."""
    first = noise(f"first {source.randrange(5)}", SIZE)
    second = noise(f"second {source.randrange(5)}", source.choice((SIZE, SIZE, SIZE - PIECE, SIZE + 300)))
    nodes = source.random() < 0.3
    return TwoVersions(
        random=source,
        versions=(first, second),
        # Two nodes with the same ETag for two files are what is easily mistaken.
        validators="etag" if nodes and source.random() < 0.6 else source.choice(VALIDATORS),
        honours_if_range=source.random() < 0.5,
        change=source.choice((0, 0.1, 0.5)),
        death=source.choice((0, 0.3, 0.8)),
        omits=source.choice(("nothing", "nothing", "all in a range", "date after a condition")),
        oddity=source.choice((0, 0, 0.2, 0.6)),
        has_length=source.random() < 0.8,
        has_total=source.random() < 0.9,
        nodes=nodes,
        compresses=source.choice((0, 0, 0, 0.5, 1)),
        calm_after=source.choice((5, 20, 1000)),
    )


class Fetch:
    """The file on its way, through the real client, from a server in memory."""

    def __init__(self, folder: Path, server: TwoVersions, artifact: Artifact) -> None:
        """Begin with what is in the directory."""
        self._folder = folder
        self._artifact = artifact
        self._stop = Cancellation()
        client = HttpClient(Network(FakeTime().retry(), self._stop), connections=3)
        client._requester._connections = server  # type: ignore[assignment]
        self._transfers = Transfers(client)

    def small(self) -> bytes:
        """Fetch it into memory."""
        kept = b""

        def accept(data: bytes) -> str:
            nonlocal kept
            kept = data
            return checked_sha256(self._artifact, data)

        assert self._artifact.exact_size is not None
        self._transfers.fetch_small(self._artifact, self._artifact.exact_size, accept, lambda _count: None)
        return kept

    def one_connection(self) -> bytes:
        """Fetch it by one connection."""
        with Blob(self._folder, self._artifact, check_cancelled=self._stop.raise_if_requested) as blob:
            sha256 = self._transfers.fetch(self._artifact, blob, lambda _count: None)
            content = blob.path.read_bytes()
            assert hashlib.sha256(content).hexdigest() == sha256
            return content

    def ranges(self) -> bytes:
        """Fetch it in ranges."""
        assert self._artifact.exact_size is not None
        threads = FetchThreads(lambda: 3, label="test", check_cancelled=self._stop.raise_if_requested)
        with RangedFile.on_disk(
            self._folder,
            self._artifact,
            self._artifact.exact_size,
            check_cancelled=threads.check_cancelled,
            connections=lambda: 3,
        ) as file:
            jobs = [FileJob(lambda: _ignore(self._transfers.fetch_ranges(self._artifact, file, threads, _ignore)), is_large=True)]
            threads.run(jobs, files_at_once=lambda: 1)
            return (self._folder / f"{self._artifact.key}.part").read_bytes()


def _ignore(_value: object) -> None:
    """Do nothing."""


@pytest.mark.parametrize("path", ["small", "one_connection", "of_unknown_size", "ranges"])
def test_any_sequence_of_responses_of_two_versions(tmp_path: Path, path: str) -> None:
    """What is accepted is one version, whole, and the right one where a digest is known; or it is an error."""
    outcomes: Counter[str] = Counter()
    for number in range(SEQUENCES // (4 if path == "ranges" else 1)):
        source = random.Random(f"{SEED}, {path}, {number}")  # noqa: S311 - the same sequence for the same seed
        server = server_for(source)
        digest = Digest("sha256", hashlib.sha256(server.versions[0]).hexdigest()) if source.random() < 0.4 else None
        size = None if path == "of_unknown_size" else Size(SIZE)
        mirrors = ("http://mirror.example.org/f.bin",) if source.random() < 0.2 else ()
        artifact = Artifact("f.bin", ("http://files.example.org/f.bin", *mirrors), size, digest, "none", "", "none")
        folder = tmp_path / str(number)
        way = "one_connection" if size is None else path
        for _ in range(3):  # the later runs resume what the first left
            server.asked, before = 0, server.asked
            server.calm_after = max(0, server.calm_after - before)
            try:
                content = getattr(Fetch(folder, server, artifact), way)()
            except ProvisionerError as error:
                outcomes[error.reference] += 1
            else:
                accepted = server.versions[:1] if digest else server.versions
                assert content in accepted, (number, server)
                outcomes["accepted"] += 1
                break
            finally:
                assert server.asked <= REQUESTS, (number, server)
        tally.count("faults", server.faults)
        tally.count("inputs")
    assert outcomes["accepted"] > sum(outcomes.values()) / 4, outcomes
