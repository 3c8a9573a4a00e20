"""Some members of a remote zip archive: only these and the index are fetched, each is checked, and versions are never mixed.

Every row asks for members of an archive of 12 MB, with the real client, staging area and reader of archives.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from provisioner.cancellation import Cancellation
from provisioner.catalog.artifact import Artifact
from provisioner.catalog.digest import Digest
from provisioner.catalog.size import Size
from provisioner.engine.fetch_threads import FetchThreads, FileJob
from provisioner.engine.unpack import ArrivingArchive, Unpacker
from provisioner.errors import (
    BrokenArchiveError,
    DigestMismatchError,
    ProvisionerError,
    RemoteRefusedError,
    RemoteUnavailableError,
    SizeMismatchError,
    UnsafeArchiveError,
)
from provisioner.remote.http.client import HttpClient
from provisioner.remote.network import Network
from provisioner.remote.transfers import Transfers
from provisioner.volume.staging.partial_file import PartialFile
from tests.support import zips
from tests.support.fake_time import FakeTime
from tests.support.media import noise
from tests.support.program import PATIENCE
from tests.support.unpacking import unpack_into
from tests.support.zips import End, Part, packed_zip

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from provisioner.volume.archive.target import Choose
    from provisioner.volume.staging.incoming import Incoming
    from tests.support.faults import Kind, Rule
    from tests.support.hub_server import HubServer

MEMBERS = {f"a/{number:03}.bin": noise(f"member {number}", 40_000) for number in range(300)}
CONTENT = packed_zip(*(Part(name.encode(), data) for name, data in MEMBERS.items()))
OTHER = packed_zip(*(Part(name.encode(), data[::-1]) for name, data in MEMBERS.items()))
"""The archive's next version, of the same size."""
CHOSEN = ("a/007.bin", "a/150.bin", "a/299.bin")
WANTED = {name: MEMBERS[name] for name in CHOSEN}
MOST_REQUESTS = 4
"""Requests without a fault: the end with the index, and each member but the last, which comes with the index; plus one."""


class FolderUnpacker:
    """Unpacks the chosen members into a directory, as the engine does into a staged tree."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.attempts = 0

    def unpack(
        self,
        artifact: Artifact,
        archive: Incoming,
        wait_verified: Callable[[], None],
        *,
        is_proven: bool,
        choose: Choose | None,
    ) -> object:
        self.attempts += 1
        target = self.target / str(self.attempts)
        done = unpack_into(target, archive, "zip", into=artifact.into, proven=is_proven, choose=choose)
        wait_verified()
        return done


@dataclass
class PartFetch:
    """One fetch of some members."""

    folder: Path
    time: FakeTime = field(default_factory=FakeTime)
    stop: Cancellation = field(default_factory=Cancellation)
    is_resumed: bool = False
    counted: int = 0
    chosen: Callable[[str], bool] = lambda path: path in CHOSEN

    def run(self, *urls: str, content: bytes = CONTENT, digest: bytes | None = None) -> dict[str, bytes]:
        """Fetch the chosen members and return what came out, by path."""
        stated = Digest("sha256", hashlib.sha256(content if digest is None else digest).hexdigest())
        artifact = Artifact("x.zip", urls, Size(len(content)), stated, "zip", "", "archive")
        client = HttpClient(Network(self.time.retry(), self.stop), connections=2)
        threads = FetchThreads(lambda: 2, label="test", check_cancelled=self.stop.raise_if_requested)
        unpacker = FolderUnpacker(self.folder / "trees")
        with PartialFile.in_staging(
            self.folder / "blobs", artifact, len(content), check_cancelled=threads.check_cancelled, connections=lambda: 2
        ) as file:
            self.is_resumed, self.counted = file.have > 0, file.have

            def advance(count: int) -> None:
                self.counted += count

            def fetch() -> None:
                archive = ArrivingArchive(cast("Unpacker", unpacker), artifact, file, lambda _sizes: self.chosen)
                try:
                    Transfers(client).fetch_ranges(artifact, file, threads, advance, lambda: (archive.part(), None)[1])
                except BaseException as error:
                    file.end(error)
                    archive.wait()
                    raise

            threads.run([FileJob(fetch, is_large=True)], files_at_once=lambda: 1)
        tree = unpacker.target / str(unpacker.attempts)
        return {path.relative_to(tree).as_posix(): path.read_bytes() for path in tree.rglob("*") if path.is_file()}


@pytest.fixture
def fetch(tmp_path: Path) -> PartFetch:
    """Return a fetch that has not begun."""
    return PartFetch(tmp_path)


@pytest.fixture
def url(hub: HubServer) -> str:
    """Return the archive's address."""
    return hub.add_static("https://files.example.org/x.zip", CONTENT)


def sent(hub: HubServer, path: str = "*/x.zip") -> int:
    """Return how many bytes were served."""
    return sum(entry.bytes_sent for entry in hub.log.entries(path))


def test_only_what_is_needed(fetch: PartFetch, url: str, hub: HubServer) -> None:
    """Of a part of 1 % less than 3 % of the archive is served: the index, the members, and no range twice."""
    assert fetch.run(url) == WANTED
    assert sent(hub) < 0.03 * len(CONTENT)
    ranges = [entry.range for entry in hub.log.entries("*/x.zip")]
    assert None not in ranges
    assert len(set(ranges)) == len(ranges) <= MOST_REQUESTS


def test_neighbours_come_together(fetch: PartFetch, url: str, hub: HubServer) -> None:
    """Members that lie next to each other, or nearly so, are fetched by one request."""
    fetch.chosen = lambda path: "a/100.bin" <= path < "a/120.bin"
    assert fetch.run(url) == {name: data for name, data in MEMBERS.items() if "a/100.bin" <= name < "a/120.bin"}
    assert len(hub.log.entries("*/x.zip")) <= 3


def test_all_is_a_part_too(fetch: PartFetch, url: str, hub: HubServer) -> None:
    """Where every member is chosen, the whole arrives and its digest is checked."""
    fetch.chosen = lambda _path: True
    assert fetch.run(url) == MEMBERS
    assert sent(hub) <= len(CONTENT)


def test_nothing_is_chosen(fetch: PartFetch, url: str, hub: HubServer) -> None:
    """Where no member is chosen, the index alone is fetched."""
    fetch.chosen = lambda _path: False
    assert fetch.run(url) == {}
    assert sent(hub) < 0.01 * len(CONTENT)


# --- servers -------------------------------------------------------------------------------------------------------------

PASSING: list[tuple[Kind, dict[str, Any]]] = [
    ("reset", {"after": None, "first": 1}),
    ("reset", {"after": 10_000, "nth": 2}),
    ("close", {"after": 20_000, "nth": 2}),
    ("status", {"status": 503, "nth": 2}),
    ("status", {"status": 416, "nth": 2}),
    ("status", {"status": 429, "nth": 3, "headers": {"Retry-After": "7"}}),
    ("content_range", {"offset": 5, "nth": 2}),
    ("ignore_range", {"nth": 2}),
]


@pytest.mark.parametrize(("kind", "fields"), PASSING)
def test_what_passes(fetch: PartFetch, url: str, hub: HubServer, kind: Kind, fields: dict[str, Any]) -> None:
    """A temporary fault of one range costs that range once more; bytes of another range are never taken for it."""
    fault = hub.faults.add(kind, path="*/x.zip", **fields)
    assert fetch.run(url) == WANTED
    assert fault.fired >= 1
    assert all(entry.range for entry in hub.log.entries("*/x.zip"))


WHOLE: list[tuple[Kind, dict[str, Any]]] = [
    ("ignore_range", {}),
    ("no_validator", {}),
    ("etag", {}),
]


@pytest.mark.parametrize(("kind", "fields"), WHOLE)
def test_servers_without_ranges(fetch: PartFetch, url: str, hub: HubServer, kind: Kind, fields: dict[str, Any]) -> None:
    """Where ranges are not to be had, or nothing says that they are of one version, the whole is fetched, and a part written."""
    fault = hub.faults.add(kind, path="*/x.zip", **fields)
    assert fetch.run(url) == WANTED
    assert fault.fired >= 1
    assert hub.log.entries("*/x.zip")[-1].bytes_sent == len(CONTENT)


def test_the_whole_is_checked_against_the_digest(fetch: PartFetch, url: str, hub: HubServer) -> None:
    """Where the whole had to be fetched, its digest counts."""
    hub.faults.add("ignore_range", path="*/x.zip")
    with pytest.raises(ProvisionerError, match="sha256"):
        fetch.run(url, digest=b"something else")


REFUSED: list[tuple[Kind, dict[str, Any], type[ProvisionerError]]] = [
    ("status", {"status": 416, "headers": {"Content-Range": "bytes */12"}}, SizeMismatchError),
    ("content_range", {"offset": 5}, RemoteUnavailableError),
    ("status", {"status": 403}, ProvisionerError),
    ("status", {"status": 501}, RemoteRefusedError),
    ("html", {}, ProvisionerError),
]


@pytest.mark.parametrize(("kind", "fields", "error"), REFUSED)
def test_what_does_not_pass(  # noqa: PLR0917 - fixtures and a table
    fetch: PartFetch, url: str, hub: HubServer, kind: Kind, fields: dict[str, Any], error: type[ProvisionerError]
) -> None:
    """A server that never gives the range that was asked for is an error, and a mirror is asked in its place."""
    mirror = hub.add_static("https://mirror.example.org/x.zip", CONTENT)
    fault = hub.faults.add(kind, path="*files.example.org/x.zip", **fields)
    with pytest.raises(error):
        fetch.run(url)
    assert fault.fired >= 1
    assert fetch.run(url, mirror) == WANTED


def change_at(hub: HubServer, nth: int) -> Rule:
    """Let the archive change before the Nth request is answered."""
    rule = hub.faults.add("hold", path="*/x.zip", nth=nth)

    def change() -> None:
        assert hub.faults.gate(rule.gate).wait_reached(PATIENCE)
        hub.add_static("https://files.example.org/x.zip", OTHER)
        hub.faults.gate(rule.gate).release()

    threading.Thread(target=change, daemon=True).start()
    return rule


@pytest.mark.parametrize("nth", [2, 3])
def test_a_change_between_two_ranges(fetch: PartFetch, url: str, hub: HubServer, nth: int) -> None:
    """A file that changes between two ranges comes out as its new version alone."""
    rule = change_at(hub, nth)
    assert fetch.run(url) == {name: data[::-1] for name, data in WANTED.items()}
    assert rule.fired == 1


def test_a_change_that_no_validator_shows(fetch: PartFetch, url: str, hub: HubServer) -> None:
    """Without validators the whole comes by one response, so that no two versions can be mixed, and the digest decides."""
    hub.faults.add("no_validator", path="*/x.zip")
    rule = change_at(hub, 2)
    with pytest.raises(DigestMismatchError):
        fetch.run(url)
    assert rule.fired == 1


def test_mirrors_with_two_versions(fetch: PartFetch, url: str, hub: HubServer) -> None:
    """Where a mirror with another version takes over, all members are of that version."""
    mirror = hub.add_static("https://mirror.example.org/x.zip", OTHER)
    fault = hub.faults.add("status", path="*files.example.org/x.zip", status=404, since=3)
    assert fetch.run(url, mirror) == {name: data[::-1] for name, data in WANTED.items()}
    assert fault.fired >= 1


def test_a_broken_archive_has_a_mirror(fetch: PartFetch, hub: HubServer, url: str) -> None:
    """A member that contradicts the index is damage: the next URL is asked, and nothing of the first is kept."""
    at = CONTENT.index(WANTED["a/150.bin"]) + 100
    fault = hub.faults.add("flip", path="*files.example.org/x.zip", offset=at)
    with pytest.raises(BrokenArchiveError, match=r"'a/150.bin' has a wrong checksum"):
        fetch.run(url)
    mirror = hub.add_static("https://mirror.example.org/x.zip", CONTENT)
    assert fetch.run(url, mirror) == WANTED
    assert fault.fired >= 2


def test_resumed(fetch: PartFetch, url: str, hub: HubServer) -> None:
    """What an earlier run fetched of a part is not fetched again, and the index is not either."""
    fault = hub.faults.add("status", path="*/x.zip", status=404, since=3)
    with pytest.raises(ProvisionerError):
        fetch.run(url)
    assert fault.fired >= 1
    hub.faults.clear()
    before = sent(hub)
    assert fetch.run(url) == WANTED
    assert fetch.is_resumed
    assert sent(hub) - before < 0.01 * len(CONTENT)
    assert fetch.counted < 0.03 * len(CONTENT)


def test_resumed_after_a_change(fetch: PartFetch, url: str, hub: HubServer) -> None:
    """Ranges of an earlier run are dropped where the file has changed since."""
    hub.faults.add("status", path="*/x.zip", status=404, since=3)
    with pytest.raises(ProvisionerError):
        fetch.run(url)
    hub.faults.clear()
    hub.add_static("https://files.example.org/x.zip", OTHER)
    assert fetch.run(url) == {name: data[::-1] for name, data in WANTED.items()}


# --- archives ------------------------------------------------------------------------------------------------------------

SOME = noise("some", 30_000)
FEW = [Part(f"m/{number:02}.bin".encode(), noise(f"few {number}", 30_000)) for number in range(20)]
GOOD: dict[str, bytes] = {
    "plain": packed_zip(*FEW),
    "descriptors": packed_zip(*(replace(part, flags=zips.DESCRIPTOR, after=part.descriptor()) for part in FEW)),
    "zip64": packed_zip(*FEW, end=End(zip64=True, refers=True)),
    "prefix": b"#!/bin/sh\nexit\n" + packed_zip(*FEW),
    "comment": packed_zip(*FEW, end=End(comment=b"a comment" * 1000)),
    "out of order": packed_zip(*FEW, reverse=True),
    "deflated": packed_zip(*(replace(part, method=8) for part in FEW)),
    "bzip2": packed_zip(*(replace(part, method=12) for part in FEW)),
    "encrypted, not chosen": packed_zip(*FEW, Part(b"z.bin", SOME, flags=1)),
    "broken, not chosen": packed_zip(*FEW, Part(b"z.bin", SOME, index={"crc": 1})),
    "same twice": packed_zip(*FEW, FEW[7]),
}


@pytest.mark.parametrize("what", GOOD)
def test_archives(fetch: PartFetch, hub: HubServer, what: str) -> None:
    """The same members come out as of the whole archive, however it is written."""
    content = GOOD[what]
    url = hub.add_static("https://files.example.org/x.zip", content)
    fetch.chosen = lambda path: path in {"m/07.bin", "m/08.bin"}
    assert fetch.run(url, content=content) == {f"m/{part.name[2:].decode()}": part.data for part in FEW[7:9]}


_LAST = packed_zip(*FEW)
BAD: dict[str, tuple[bytes, type[ProvisionerError], str]] = {
    "truncated index": (_LAST[:-500], BrokenArchiveError, "no zip index"),
    "damaged index": (_LAST[:-400] + b"XXXX" + _LAST[-396:], BrokenArchiveError, "index"),
    "wrong CRC": (packed_zip(*FEW[:7], replace(FEW[7], index={"crc": 1})), BrokenArchiveError, "wrong checksum"),
    "size too small": (packed_zip(*FEW[:7], replace(FEW[7], index={"size": 100})), BrokenArchiveError, "unpacks to more"),
    "size too large": (packed_zip(*FEW[:7], replace(FEW[7], index={"size": 31_000}), FEW[8]), BrokenArchiveError, "unpacks to"),
    "packed too large": (packed_zip(*FEW[:7], replace(FEW[7], index={"packed": 99_000}), FEW[8]), UnsafeArchiveError, "overlap"),
    "overlap before": (packed_zip(*FEW[:6], replace(FEW[6], index={"packed": 99_000}), FEW[7]), UnsafeArchiveError, "overlap"),
    "same offset": (packed_zip(*FEW[:8], replace(FEW[8], index={"offset": 0})), UnsafeArchiveError, "overlap"),
    "encrypted": (packed_zip(*FEW[:7], replace(FEW[7], flags=1)), UnsafeArchiveError, "encrypted"),
    "unsafe name": (packed_zip(*FEW[:8], Part(b"../x", SOME)), UnsafeArchiveError, "leads out"),
    "absolute name": (packed_zip(*FEW[:8], Part(b"/x", SOME)), UnsafeArchiveError, "absolute"),
    "twice, different": (packed_zip(*FEW[:8], replace(FEW[7], data=SOME)), UnsafeArchiveError, "twice"),
    "another name in its own header": (
        packed_zip(*FEW[:7], replace(FEW[7], local_name=b"m/17.bin")), BrokenArchiveError, "another name",
    ),
    "hidden member": (packed_zip(*FEW[:8], replace(FEW[8], listed=False)), BrokenArchiveError, "does not list"),
    "offset behind": (packed_zip(*FEW[:7], replace(FEW[7], index={"offset": 10**9})), BrokenArchiveError, "not where"),
    "no zip": (noise("no zip", 500_000), BrokenArchiveError, "zip"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_bad_archives(fetch: PartFetch, hub: HubServer, what: str) -> None:
    """An archive that contradicts itself is refused, whichever part of it is asked for, also where the whole has a digest."""
    content, error, words = BAD[what]
    url = hub.add_static("https://files.example.org/x.zip", content)
    fetch.chosen = lambda path: path == "m/07.bin"
    with pytest.raises(error, match=words):
        fetch.run(url, content=content)
