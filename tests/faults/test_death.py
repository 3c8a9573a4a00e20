"""Death at any step: a process that kills itself before its Nth change of the volume, and the run after it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

from tests.conftest import Running, Shelf, Volume, some_files
from tests.support.damage import flip
from tests.support.media import noise

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.support.hub_server import HubServer

STEPS: Final = int(os.environ.get("DEATHS", "8"))
"""How many moments of each run are tried, evenly spread from the first change to the last; 0: all of them."""

MORTAL: Final = """
import os, signal, sys
root, limit, said, trades = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4] == "trades"
arguments = sys.argv[5:]
sys.argv[1:] = []
count = 0
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod"}

def watch(event, arguments):
    global count
    if event == "open":
        changes = isinstance(arguments[0], (str, bytes)) and bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    else:
        changes = event in CHANGES
    # Names relative to an open folder carry no root; before the first change there is none of them.
    if not changes or (not count and not os.fsdecode(arguments[0]).startswith(root)):
        return
    count += 1
    if count == limit:
        os.kill(os.getpid(), signal.SIGKILL)

if not trades:
    # As on a file system that cannot let two names change places in one step.
    import provisioner.volume.store
    provisioner.volume.store.exchange = lambda one, other: False
sys.addaudithook(watch)
from provisioner.cli import main
code = main(arguments, os.environ)
with os.fdopen(os.open(said, os.O_WRONLY | os.O_CREAT, 0o644), "w") as file:
    file.write(str(count))
os._exit(code)
"""


@dataclass
class Mortal:
    """A command that can be made to die before its Nth change of the volume."""

    volume: Volume
    said: Path
    arguments: tuple[str, ...] = ()
    trades: bool = True
    """Two names change places in one step, where they must."""

    def run(self, limit: int) -> int:
        """Run it until its Nth change; 0: to its end. Give its code."""
        words = [str(self.volume.root), str(limit), str(self.said), "trades" if self.trades else "", *self.arguments]
        process = Running([sys.executable, "-c", MORTAL, *words], self.volume.environ(CONNECTIONS="1"))
        self.volume.running.append(process)
        return process.wait().code

    def deaths(self, part: int = 0, parts: int = 1) -> Iterator[int]:
        """Let it die at some moments, or at a part of them, each time on the volume as it is now."""
        root, before = self.volume.root, self.said.with_name("before")
        shutil.copytree(root, before, symlinks=True)
        assert self.run(0) == 0
        changes = int(self.said.read_text())
        steps = min(STEPS or changes, changes)
        places = sorted({1 + place * (changes - 1) // max(1, steps - 1) for place in range(steps)})
        assert len(places) == steps
        for limit in places[part::parts]:
            shutil.rmtree(root)
            shutil.copytree(before, root, symlinks=True)
            assert self.volume.server is not None
            self.volume.server.log.clear()
            assert self.run(limit) == -signal.SIGKILL
            yield limit


def is_whole(volume: Volume, dataset: str, *versions: Mapping[str, bytes]) -> None:
    """Show that what the app sees is one of some trees, whole, or nothing at all."""
    place = volume.tree(dataset)
    found = {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()}
    assert found in [dict(version) for version in versions] or not place.exists()


def leftovers(volume: Volume) -> list[str]:
    """Give the names that no finished run leaves: temporary files, half-made links and trees, bytes in staging."""
    odd = [path.name for path in volume.root.rglob("*") if path.name.startswith(".") and path != volume.private]
    return sorted(odd) + volume.staged()


OLD, NEW = some_files("old", 3000), some_files("new", 3000) | {"more": b"more"}


@pytest.fixture
def shelf_of_two(shelf: Shelf) -> Shelf:
    """Give a catalog of a data set of an archive and a plain file, and of one whose version will change."""
    shelf.add("alpha", shelf.file("alpha.tar.gz", some_files("alpha", 3000)), shelf.raw("plain.bin", noise("plain", 3000)))
    shelf.add("beta", shelf.file("old.tar.gz", OLD))
    return shelf


ALPHA = some_files("alpha", 3000) | {"plain.bin": noise("plain", 3000)}
WAYS = pytest.mark.parametrize(("publish", "trades"), [("link", True), ("dir", True), ("dir", False)])


@WAYS
@pytest.mark.parametrize("part", range(4))
def test_death_before_any_change(  # noqa: PLR0917 - fixtures and a table
    shelf_of_two: Shelf, volume: Volume, hub: HubServer, tmp_path: Path, publish: str, trades: bool, part: int
) -> None:
    """Whenever it dies: nothing half there is ever seen; the next run converges, fetches nothing twice, leaves nothing over."""
    volume.settings["PUBLISH"] = publish
    volume.ready(DATASETS="beta")
    entry = shelf_of_two.file("new.tar.gz", NEW)
    shelf_of_two.document["datasets"]["beta"]["sources"] = [{"kind": "url", "files": [entry]}]
    shelf_of_two.write()
    for _ in Mortal(volume, tmp_path / "said", trades=trades).deaths(part, 4):
        is_whole(volume, "alpha", ALPHA)
        is_whole(volume, "beta", OLD, NEW)
        volume.ready()
        volume.check("alpha", ALPHA)
        volume.check("beta", NEW)
        assert leftovers(volume) == []
        # A file of a few bytes may have been sent whole without a byte of it on the disk: twice is the most.
        paths = [each.path for each in hub.log.entries()]
        assert len(paths) <= len(set(paths)) + 1
        hub.log.clear()
        volume.ready()
        assert hub.log.entries() == ()
        assert json.loads((volume.root / "dataset_status.json").read_bytes())["state"] == "ready"


@WAYS
@pytest.mark.parametrize("part", range(2))
def test_death_of_a_repair(  # noqa: PLR0917 - fixtures and a table
    shelf_of_two: Shelf, volume: Volume, hub: HubServer, tmp_path: Path, publish: str, trades: bool, part: int
) -> None:
    """What was right stays so and is not asked for, what was wrong is as it was or mended; the next repair ends the work."""
    assert shelf_of_two.document
    volume.settings["PUBLISH"] = publish
    volume.ready()
    tree = volume.tree("alpha")
    flip(tree / "alpha" / "data" / "noise.bin")
    (tree / "alpha" / "README").unlink()
    damaged = {path.relative_to(tree).as_posix(): path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    assert sorted(damaged) == ["alpha/data/noise.bin", "plain.bin"]
    for _ in Mortal(volume, tmp_path / "said", ("repair",), trades=trades).deaths(part, 2):
        is_whole(volume, "beta", OLD)
        is_whole(volume, "alpha", damaged, ALPHA)
        # Without the one step there is a moment with neither; nowhere else may it be missing.
        assert tree.exists() or not trades
        volume.ready("repair")
        volume.check("alpha", ALPHA)
        volume.check("beta", OLD)
        volume.ready("verify", "--deep")
        assert leftovers(volume) == []
        names = [entry.path.rpartition("/")[2] for entry in hub.log.entries()]
        assert names.count("alpha.tar.gz") in {1, 2}
        assert set(names) == {"alpha.tar.gz"}
        hub.log.clear()
        volume.ready()
        assert hub.log.entries() == ()


@pytest.mark.parametrize("publish", ["link", "dir"])
@pytest.mark.parametrize("command", ["gc", "remove beta"])
def test_death_of_a_cleaning(  # noqa: PLR0917 - fixtures and a table
    shelf_of_two: Shelf, volume: Volume, hub: HubServer, tmp_path: Path, publish: str, command: str
) -> None:
    """What stays is whole, what goes is whole or gone; the same command again ends the work, and provisioning brings all back."""
    volume.settings["PUBLISH"] = publish
    volume.ready()
    entry = shelf_of_two.file("new.tar.gz", NEW)
    shelf_of_two.document["datasets"]["beta"]["sources"] = [{"kind": "url", "files": [entry]}]
    shelf_of_two.write()
    volume.ready()
    for _ in Mortal(volume, tmp_path / "said", tuple(command.split())).deaths():
        is_whole(volume, "alpha", ALPHA)
        is_whole(volume, "beta", NEW)
        assert volume.tree("beta").exists() or command != "gc"
        # All of it may be gone already, and then there is no data set of that name.
        assert volume.run(*command.split()).code in ({0} if command == "gc" else {0, 66})
        assert [len(list((volume.private / kind / "beta").glob("*.json"))) for kind in ("receipts", "manifests")] == (
            [1, 1] if command == "gc" else [0, 0]
        )
        hub.log.clear()
        volume.ready()
        assert len(hub.log.entries()) == (0 if command == "gc" else 1)
        assert leftovers(volume) == []
        volume.check("alpha", ALPHA)
        volume.check("beta", NEW)
