"""One of several connections is slow or waits: the others take over the rest of its range, so the file is not held up."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING, Final

import pytest

from provisioner.cancellation import Cancellation
from provisioner.catalog.artifact import Artifact
from provisioner.catalog.digest import Digest
from provisioner.catalog.size import Size
from provisioner.engine.fetch_threads import FetchThreads, FileJob
from provisioner.remote.http.client import HttpClient
from provisioner.remote.http.codings import FileForm
from provisioner.remote.http.ranges import RangedFetch
from provisioner.remote.network import Network
from provisioner.remote.transfers import Transfers
from provisioner.volume.staging.ranged_file import RangedFile
from tests.support.fake_time import FakeTime
from tests.support.media import noise
from tests.support.program import PATIENCE
from tests.support.scripted import ScriptedServer, delivery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.scripted import Asked

MIB: Final = 1 << 20
CONTENT: Final = noise("a large file", MIB) * 40 + noise("its end", 12_345)


def fetched(folder: Path, url: str, connections: Callable[[], int], *, digest: bool) -> bytes:
    """Fetch a file over several connections, and return its content."""
    time, stop = FakeTime(), Cancellation()
    known = Digest("sha256", hashlib.sha256(CONTENT).hexdigest()) if digest else None
    artifact = Artifact("f.bin", (url,), Size(len(CONTENT)), known, "none", "", "catalog" if digest else "none")
    threads = FetchThreads(connections, label="test", check_cancelled=stop.raise_if_requested)
    client = HttpClient(Network(time.retry(), stop), connections=16)
    arrived: list[int] = []
    with RangedFile.on_disk(
        folder, artifact, len(CONTENT), check_cancelled=threads.check_cancelled, connections=connections
    ) as file:

        def fetch() -> None:
            Transfers(client).fetch_ranges(artifact, file, threads, arrived.append)

        threads.run([FileJob(fetch, is_large=True)], files_at_once=lambda: 1)
        assert sum(arrived) == file.have == len(CONTENT)
        return (folder / f"{artifact.key}.part").read_bytes()


@pytest.mark.parametrize(
    ("slow", "after", "digest"),
    [
        ("the first range", 0, True),
        ("the first range", 3, False),
        ("a range in the middle", 1, True),
        ("a range in the middle", 0, False),
        ("the last range", 0, True),
    ],
)
def test_a_slow_connection_leaves_half_of_its_range(tmp_path: Path, slow: str, after: int, *, digest: bool) -> None:
    """Another connection requests the second half of the slow one's range before the slow one goes on."""
    index = {"the first range": 1, "a range in the middle": 3}.get(slow)
    taken, counted = threading.Event(), threading.Lock()
    requests: list[int] = []
    held: list[tuple[int, int]] = []

    def script(asked: Asked) -> Iterator[bytes]:
        start = asked.start
        end = int(asked.headers["range"].partition("-")[2]) + 1
        answer = delivery(asked, CONTENT, 'ETag: "one"')
        with counted:
            requests.append(start)
            is_slow = not held and (len(requests) == index if index else end == len(CONTENT))
            if is_slow:
                held.append((start, end))
            elif held and held[0][0] < start < held[0][1]:
                taken.set()
        if not is_slow:
            yield answer
            return
        head = len(answer) - (end - start) + min(after * MIB, end - start - 2 * MIB - 1)
        yield answer[:head]
        assert taken.wait(PATIENCE)
        for begin in range(head, len(answer), MIB):
            yield answer[begin : begin + MIB]

    with ScriptedServer(script) as server:
        assert fetched(tmp_path, f"{server.url}/f.bin", lambda: 4, digest=digest) == CONTENT
    assert taken.is_set()
    assert len(held) == 1


def test_a_connection_that_is_one_too_many_ends_with_its_range(tmp_path: Path) -> None:
    """Otherwise the connections would take turns, and the range of a waiting one would arrive last."""
    crowded, time, stop = [False, False, True], FakeTime(), Cancellation()
    artifact = Artifact("f.bin", (), Size(len(CONTENT)), Digest("sha256", "0" * 64), "none", "", "catalog")
    with (
        ScriptedServer(lambda asked: iter([delivery(asked, CONTENT, 'ETag: "one"')])) as server,
        RangedFile.on_disk(
            tmp_path, artifact, len(CONTENT), check_cancelled=stop.raise_if_requested, connections=lambda: 4
        ) as file,
    ):
        client, form = HttpClient(Network(time.retry(), stop)), FileForm("f.bin", size=len(CONTENT), verifiable=True)
        url = f"{server.url}/f.bin"
        ranged = RangedFetch(client, url, file, form=form, verifiable=True, authorized=False, advance=lambda _count: None)
        ranged._ranges, ranged._is_crowded = True, lambda: crowded.pop(0)
        ranged.help()
        assert (len(server.asked), crowded) == (3, [])
        assert file.have < len(CONTENT)
        ranged._is_crowded = lambda: False
        ranged.help()
        assert file.have == len(CONTENT)


def test_how_many_threads_are_too_many() -> None:
    """Threads that use a connection are counted; the limit may fall while they do."""
    allowed, seen = [1], []
    threads = FetchThreads(lambda: allowed[0], label="test", check_cancelled=lambda: None)

    def fetch() -> None:
        seen.append(threads.is_crowded())
        allowed[0] = 0
        seen.append(threads.is_crowded())
        allowed[0] = 1

    threads.run([FileJob(fetch, is_large=False)], files_at_once=lambda: 1)
    assert seen == [False, True]
