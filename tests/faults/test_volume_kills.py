"""Kills at random moments of an update, an export and a transfer from a peer: nothing half is seen, and the next run converges.

A process dies by SIGKILL before one of its changes of a directory, sometimes again in the run after it. The moments follow from
a seed: ``VOLUME_KILLS=50 SEED=7`` tries more of them.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import traceback
from typing import TYPE_CHECKING, Final

import pytest

from tests.support import tally
from tests.support.direct_calls import call, ready
from tests.support.media import noise
from tests.support.shelf import some_files
from tests.support.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf

KILLS: Final = int(os.environ.get("VOLUME_KILLS", "4"))
"""Of each kind."""
SEED: Final = int(os.environ.get("SEED", "1"))
_AGAIN: Final = 0.3
"""How often the run after a kill is killed as well."""
_CHANGES: Final = frozenset(
    {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod"}
)

SONGS: Final = some_files("songs", 60_000) | {f"songs/{number}.txt": f"{number}\n".encode() for number in range(20)}
TABLE: Final = {f"{number}.csv": f"{number}\n".encode() for number in range(9)} | {"noise.bin": noise("table", 20_000)}
CHANGED: Final = TABLE | {"3.csv": b"changed\n"}


class Mortal:
    """A command that is killed at a moment of a seeded choice."""

    def __init__(self, kind: str, run: Callable[[], object]) -> None:
        """Run it once in a process of its own that is not killed, on what is there now, to know how many moments it has."""
        self._source = random.Random(f"{SEED}, {kind}")  # noqa: S311 - the same moments for the same seed
        self._run = run
        self.kills = 0
        self._moments, _ = self._fork(0)

    def die(self) -> None:
        """Run it until it is killed, once at least."""
        while True:
            limit = self._source.randrange(1, self._moments + 1)
            _, code = self._fork(limit)
            assert code in {0, -signal.SIGKILL}
            self.kills += code != 0
            tally.count("kills", int(code != 0))
            if self._source.random() > _AGAIN:
                return

    def _fork(self, limit: int) -> tuple[int, int]:
        """Return how many changes a process has made, and how it ended; it dies before one of them, if ``limit`` is not 0."""
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            count = 0

            def watch(event: str, arguments: tuple[object, ...]) -> None:
                nonlocal count
                is_change = event in _CHANGES or (
                    event == "open" and isinstance(arguments[2], int) and bool(arguments[2] & 0o103)
                )
                count += is_change
                if is_change and count == limit:
                    os.kill(os.getpid(), signal.SIGKILL)

            sys.addaudithook(watch)
            try:
                self._run()
                os.write(writing, str(count).encode())
            except BaseException:  # noqa: BLE001 - nothing may get out of this process
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        os.close(writing)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with os.fdopen(reading, "rb") as said:
            return int(said.read() or 0), code


def seen(volume: Volume, dataset: str) -> dict[str, bytes] | None:
    """Return all files of what an app sees of a data set; ``None``: it sees nothing."""
    place = volume.tree(dataset)
    if not place.is_dir():
        return None
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def is_whole(volume: Volume, contents: Mapping[str, tuple[Mapping[str, bytes], ...]]) -> None:
    """Show that of each data set one of some trees is seen, or nothing, and that what has a receipt is right."""
    for dataset, versions in contents.items():
        assert seen(volume, dataset) in [None, *versions], dataset
    # The receipt is written last: without one nothing is believed yet.
    proven = [dataset for dataset in volume.published if volume.current_receipt(dataset).exists()]
    if proven:
        ready(volume, "verify", "--deep", *proven)


def again(volume: Volume, pristine: Path) -> None:
    """Put a volume back to what it was; without a copy of it, to nothing."""
    shutil.rmtree(volume.root, ignore_errors=True)
    if pristine.exists():
        shutil.copytree(pristine, volume.root, symlinks=True)


@pytest.fixture
def filled(shelf: Shelf, volume: Volume, hub: HubServer) -> Volume:
    """Return a volume with songs and a table, whose repository has changed since."""
    shelf.add("songs", shelf.file("songs.tar.gz", SONGS))
    shelf.add("table", sources=[{"kind": "hub", "repo": "ann/table"}])
    repo = hub.hub.add_repo("ann/table", dict(TABLE))
    ready(volume)
    repo.commit({"3.csv": b"changed\n"})
    return volume


def test_kills_of_updates(filled: Volume, hub: HubServer, tmp_path: Path) -> None:
    """Seen is the version before or the newer one; in the end the newer one, of which one file is fetched in each attempt."""
    pristine = tmp_path / "pristine"
    shutil.copytree(filled.root, pristine, symlinks=True)
    mortal = Mortal("update", lambda: ready(filled, UPDATE="auto"))
    while mortal.kills < KILLS:
        again(filled, pristine)
        hub.log.clear()
        mortal.die()
        is_whole(filled, {"songs": (SONGS,), "table": (TABLE, CHANGED)})
        ready(filled, UPDATE="auto")
        assert (seen(filled, "songs"), seen(filled, "table")) == (SONGS, CHANGED)
        ready(filled, "verify", "--deep")
        assert filled.staged() == []
        assert {entry.path.rpartition("/")[2] for entry in hub.log.entries("*/resolve/*")} <= {"3.csv"}


@pytest.mark.parametrize("words", [(), ("--copy",)])
def test_kills_of_exports(filled: Volume, tmp_path: Path, words: tuple[str, ...]) -> None:
    """Whatever an export left, what has a receipt in it is right; the next export completes it, with entries and pins."""
    copy, before = Volume(tmp_path / "export", filled.settings), tmp_path / "before"
    ready(filled, "export", str(copy.root), "table")
    shutil.copytree(copy.root, before, symlinks=True)
    ready(filled, UPDATE="auto")
    mortal = Mortal(f"export {words}", lambda: ready(filled, "export", str(copy.root), *words))
    while mortal.kills < -(-KILLS // 2):
        again(copy, before)
        mortal.die()
        is_whole(copy, {"songs": (SONGS,), "table": (TABLE, CHANGED)})
        ready(filled, "export", str(copy.root), *words)
        assert (seen(copy, "songs"), seen(copy, "table")) == (SONGS, CHANGED)
        ready(copy, "verify", "--deep")
        assert copy.staged() == []
        other = Volume(tmp_path / "other", copy.settings)
        carried = {"CATALOG_PATH": str(copy.private / "catalog.yaml"), "PINS": str(copy.private / "pins.yaml")}
        ready(other, PEERS=str(copy.root), HF_HUB_OFFLINE="1", **carried)
        assert (seen(other, "songs"), seen(other, "table")) == (SONGS, CHANGED)
        shutil.rmtree(other.root)


def test_kills_of_transfers_from_a_peer(filled: Volume, hub: HubServer, tmp_path: Path) -> None:
    """Nothing is seen before it is whole; the next run completes it from the peer, and no source is asked."""
    peer = tmp_path / "sites" / "peer.example.org"
    ready(filled, "export", str(peer), "--copy")
    hub.add_archives(tmp_path / "sites")
    volume = Volume(tmp_path / "other", filled.settings, hub)
    settings = {"PEERS": f"{hub.static_url}/peer.example.org", "CONNECTIONS": "2"}
    mortal = Mortal("peer", lambda: call(volume, **settings))
    while mortal.kills < KILLS:
        again(volume, tmp_path / "nothing")
        hub.log.clear()
        mortal.die()
        is_whole(volume, {"songs": (SONGS,), "table": (TABLE,)})
        ready(volume, **settings)
        assert (seen(volume, "songs"), seen(volume, "table")) == (SONGS, TABLE)
        ready(volume, "verify", "--deep")
        assert volume.staged() == []
        assert hub.log.entries("/api/*") == hub.log.entries("*songs.tar.gz") == ()
