"""Death at any step: a process that kills itself before its Nth change of the volume, and the run after it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from typing import TYPE_CHECKING, Final

import pytest

from tests.conftest import Running, Shelf, Volume, some_files
from tests.support.media import noise

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.support.hub_server import HubServer

STEPS: Final = int(os.environ.get("DEATHS", "8"))
"""How many moments of each provision are tried, evenly spread from the first change to the last."""

MORTAL: Final = """
import os, signal, sys
root, limit, said = sys.argv[1], int(sys.argv[2]), sys.argv[3]
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

sys.addaudithook(watch)
from provisioner.cli import main
code = main([], os.environ)
with os.fdopen(os.open(said, os.O_WRONLY | os.O_CREAT, 0o644), "w") as file:
    file.write(str(count))
os._exit(code)
"""


def mortal(volume: Volume, limit: int, said: Path, **changes: str) -> int:
    """Provision by a process that dies before its Nth change; 0: it lives, and says how many there were. Give its code."""
    command = [sys.executable, "-c", MORTAL, str(volume.root), str(limit), str(said)]
    process = Running(command, volume.environ(CONNECTIONS="1", **changes))
    volume.running.append(process)
    return process.wait().code


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


@pytest.mark.parametrize("publish", ["link", "dir"])
@pytest.mark.parametrize("part", range(4))
def test_death_before_any_change(  # noqa: PLR0917 - fixtures and a table
    shelf_of_two: Shelf, volume: Volume, hub: HubServer, tmp_path: Path, publish: str, part: int
) -> None:
    """Whenever it dies: nothing half there is ever seen; the next run converges, fetches nothing twice, leaves nothing over."""
    alpha = some_files("alpha", 3000) | {"plain.bin": noise("plain", 3000)}
    volume.settings["PUBLISH"] = publish
    volume.ready(DATASETS="beta")
    entry = shelf_of_two.file("new.tar.gz", NEW)
    shelf_of_two.document["datasets"]["beta"]["sources"] = [{"kind": "url", "files": [entry]}]
    shelf_of_two.write()
    shutil.copytree(volume.root, tmp_path / "before", symlinks=True)
    said = tmp_path / "said"
    assert mortal(volume, 0, said) == 0
    changes = int(said.read_text())
    places = sorted({1 + place * (changes - 1) // (STEPS - 1) for place in range(STEPS)})
    assert len(places) == min(changes, STEPS)
    for limit in places[part::4]:
        shutil.rmtree(volume.root)
        shutil.copytree(tmp_path / "before", volume.root, symlinks=True)
        hub.log.clear()
        assert mortal(volume, limit, said) == -signal.SIGKILL
        is_whole(volume, "alpha", alpha)
        is_whole(volume, "beta", OLD, NEW)
        volume.ready()
        volume.check("alpha", alpha)
        volume.check("beta", NEW)
        assert leftovers(volume) == []
        # A file of a few bytes may have been sent whole without a byte of it on the disk: twice is the most.
        paths = [each.path for each in hub.log.entries()]
        assert len(paths) <= len(set(paths)) + 1
        hub.log.clear()
        volume.ready()
        assert hub.log.entries() == ()
        assert json.loads((volume.root / "dataset_status.json").read_bytes())["state"] == "ready"
