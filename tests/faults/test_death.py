"""Death at any step: a process that kills itself before its Nth change of the volume, and the run after it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.damage import NOISE, README, flip
from tests.support.media import noise
from tests.support.program import Running
from tests.support.shelf import Shelf, some_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.support.hub_server import HubServer
    from tests.support.program import Outcome
    from tests.support.volume import Volume

USUAL: Final = 8
STEPS: Final = int(os.environ.get("DEATHS", USUAL))
"""How many moments of each command are tried, evenly spread from the first change to the last; 0: every single one."""
PARTS: Final = 4
MAY_BE_FEWER: Final = 12
"""By how many changes a run may differ from the one that was counted: each write of the status is three."""

MORTAL: Final = """
import os, signal, sys
root, limit, said, crippled, only = sys.argv[1], int(sys.argv[2]), *sys.argv[3:6]
arguments = sys.argv[6:]
sys.argv[1:] = []
begun, count = False, 0
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod"}

def watch(event, arguments):
    global begun, count
    if event == "open":
        changes = isinstance(arguments[0], (str, bytes)) and bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    elif event == "ctypes.dlsym":
        # Two names changing places is no call of Python's own: looking it up is the moment before it.
        changes = begun and arguments[1] == "renameat2"
    else:
        changes = event in CHANGES
    # Names relative to an open folder carry no root; before the first change there is none of them.
    if not changes or (not begun and not os.fsdecode(arguments[0]).startswith(root)):
        return
    begun = True
    if only and event != only:
        return
    count += 1
    if count == limit:
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(watch)
exec(crippled)
from provisioner.cli.main import main
code = main(arguments, os.environ)
with os.fdopen(os.open(said, os.O_WRONLY | os.O_CREAT, 0o644), "w") as file:
    file.write(str(count))
os._exit(code)
"""

REFUSED: Final = "two names cannot change places here"
NO_EXCHANGE: Final = f"""
import ctypes

class Library(ctypes.CDLL):
    def __getattr__(self, name):
        if name == "renameat2":
            os.write(2, b"{REFUSED}\\n")
            raise AttributeError(name)
        return super().__getattr__(name)

ctypes.CDLL = Library
"""
"""What makes a mortal process one of a system whose C library has no such call."""


def mortal(volume: Volume, limit: int, said: Path, *arguments: str, crippled: str = "", only: str = "") -> Outcome:
    """Run a command in a process that dies before its Nth change, or one of a kind; 0: it lives, and says how many there were."""
    command = [sys.executable, "-c", MORTAL, str(volume.root), str(limit), str(said), crippled, only, *arguments]
    process = Running(command, volume.environ(CONNECTIONS="1"))
    volume.running.append(process)
    return process.wait()


def deaths(volume: Volume, place: Path, part: int, *arguments: str, crippled: str = "", only: str = "") -> Iterator[Outcome]:
    """Let a command die at one moment after the other, each time on the volume as it is now; give how each ended.

    Of one kind of change all are tried, unless fewer moments than usual are asked for; of all changes as many as is asked for.
    """
    before, said = place / "before", place / "said"
    shutil.copytree(volume.root, before, symlinks=True)
    outcome = mortal(volume, 0, said, *arguments, crippled=crippled, only=only)
    assert outcome.code == 0, outcome.err
    assert (REFUSED in outcome.err) == bool(crippled)
    changes = int(said.read_text())
    steps = changes if only and STEPS >= USUAL else min(STEPS, changes) or changes
    limits = sorted({1 + number * (changes - 1) // max(steps - 1, 1) for number in range(steps)})
    assert len(limits) == steps
    for limit in limits[part::PARTS]:
        shutil.rmtree(volume.root)
        shutil.copytree(before, volume.root, symlinks=True)
        assert volume.server is not None
        volume.server.log.clear()
        outcome = mortal(volume, limit, said, *arguments, crippled=crippled, only=only)
        if outcome.code == 0:
            # How often the status is written depends on how fast a run is: this one made fewer changes, so its last one is tried.
            fewer = int(said.read_text())
            assert limit - MAY_BE_FEWER <= fewer < limit
            shutil.rmtree(volume.root)
            shutil.copytree(before, volume.root, symlinks=True)
            outcome = mortal(volume, max(fewer - MAY_BE_FEWER, 1), said, *arguments, crippled=crippled, only=only)
        assert outcome.code == -signal.SIGKILL, (limit, outcome.err)
        yield outcome


def seen(volume: Volume, dataset: str) -> dict[str, bytes] | None:
    """Return all files of what the app sees of a data set; ``None``: it sees nothing."""
    place = volume.tree(dataset)
    if not place.is_dir():
        return None
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def is_whole(volume: Volume, dataset: str, *versions: Mapping[str, bytes]) -> None:
    """Show that what the app sees is one of some trees, whole, or nothing at all."""
    assert seen(volume, dataset) in [None, *versions]


def asked(hub: HubServer) -> list[str]:
    """Return the names of all files that were asked for."""
    return [entry.path.rpartition("/")[2] for entry in hub.log.entries()]


def leftovers(volume: Volume) -> list[str]:
    """Return the names that no finished run leaves: temporary files, half-made links and trees, bytes in staging."""
    odd = [path.name for path in volume.root.rglob("*") if path.name.startswith(".") and path != volume.private]
    return sorted(odd) + volume.staged()


ALPHA = some_files("alpha", 3000) | {"plain.bin": noise("plain", 3000)}
OLD, NEW = some_files("old", 3000), some_files("new", 3000) | {"more": b"more"}


@pytest.fixture
def shelf_of_two(shelf: Shelf) -> Shelf:
    """Return a catalog of a data set of an archive and a plain file, and of one whose version will change."""
    shelf.add("alpha", shelf.file("alpha.tar.gz", some_files("alpha", 3000)), shelf.raw("plain.bin", noise("plain", 3000)))
    shelf.add("beta", shelf.file("old.tar.gz", OLD))
    return shelf


def change_beta(shelf: Shelf) -> None:
    """Let the catalog have another version of the second data set."""
    entry = shelf.file("new.tar.gz", NEW)
    shelf.document["datasets"]["beta"]["sources"] = [{"kind": "url", "files": [entry]}]
    shelf.write()


@pytest.mark.parametrize("publish", ["link", "dir"])
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("only", ["", "os.rename"])
def test_death_before_any_change(  # noqa: PLR0917 - fixtures and a table
    shelf_of_two: Shelf, volume: Volume, hub: HubServer, tmp_path: Path, publish: str, part: int, only: str
) -> None:
    """Nothing half there is ever seen; the next run converges, fetches nothing twice, leaves nothing over.

    All steps end in a renaming: a record, a manifest, a tree, a switch, a receipt.
    """
    volume.settings["PUBLISH"] = publish
    volume.ready(DATASETS="beta")
    change_beta(shelf_of_two)
    for _ in deaths(volume, tmp_path, part, only=only):
        is_whole(volume, "alpha", ALPHA)
        is_whole(volume, "beta", OLD, NEW)
        converges(volume, hub)


def converges(volume: Volume, hub: HubServer) -> None:
    """Show that the next run makes all right, and that the one after it has nothing to do."""
    volume.ready()
    volume.check("alpha", ALPHA)
    volume.check("beta", NEW)
    assert leftovers(volume) == []
    # A file of a few bytes may have been sent whole without a byte of it on the disk: twice is the most.
    assert len(asked(hub)) <= len(set(asked(hub))) + 1
    hub.log.clear()
    volume.ready()
    assert hub.log.entries() == ()
    assert json.loads((volume.root / "dataset_status.json").read_bytes())["state"] == "ready"


@pytest.mark.parametrize("part", range(PARTS))
def test_a_switch_where_names_cannot_change_places(
    shelf_of_two: Shelf, volume: Volume, hub: HubServer, tmp_path: Path, part: int
) -> None:
    """Plain directories that cannot be exchanged: the old version whole, the new one, or neither; the next run converges."""
    volume.settings["PUBLISH"] = "dir"
    volume.ready()
    old = volume.current_receipt("beta").stem
    change_beta(shelf_of_two)
    volume.ready()
    new = volume.current_receipt("beta").stem
    # Back to the old one, and the tree of the new one in its place with nobody to vouch for it: it must be replaced.
    store = volume.private / "store" / "beta"
    volume.tree("beta").rename(store / new)
    (store / old).rename(volume.tree("beta"))
    (volume.private / "receipts" / "beta" / "current").write_text(old)
    for records in ("receipts", "manifests"):
        for path in (volume.private / records / "beta").glob(f"{new}.*"):
            path.unlink()
    volume.check("beta", OLD)
    for _ in deaths(volume, tmp_path, part, crippled=NO_EXCHANGE):
        assert seen(volume, "alpha") == ALPHA
        is_whole(volume, "beta", OLD, NEW)
        converges(volume, hub)


@pytest.mark.parametrize("part", [0, 2])
def test_death_of_an_update(shelf: Shelf, volume: Volume, hub: HubServer, tmp_path: Path, part: int) -> None:
    """Whenever a run dies that takes over what is new upstream: seen is one version or the other; the next run converges."""
    then = {f"{number}.txt": f"{number}".encode() for number in range(9)}
    now = then | {"0.txt": b"changed"}
    shelf.add("songs", sources=[{"kind": "hub", "repo": "ann/songs"}])
    repo = hub.hub.add_repo("ann/songs", dict(then))
    volume.ready()
    repo.commit({"0.txt": b"changed"})
    volume.settings["UPDATE"] = "auto"
    for _ in deaths(volume, tmp_path, part):
        assert seen(volume, "songs") in [then, now]
        volume.ready()
        volume.check("songs", now)
        assert volume.staged() == []
        assert set(asked(hub)) <= {"0.txt", "main", repo.head.commit}


# --- repair ----------------------------------------------------------------------------------------------------------------

OTHER: Final = {"other/more.bin": noise("more", 2000)}
MENDED: Final = some_files("alpha", 3000) | OTHER


def damaged(shelf: Shelf, volume: Volume, publish: str) -> dict[str, bytes]:
    """Fill a volume with two data sets, of which one is wrong in two files of one of its archives; give what is seen of it."""
    shelf.add("alpha", shelf.file("alpha.tar.gz", some_files("alpha", 3000)), shelf.file("other.tar.gz", OTHER))
    shelf.add("beta", shelf.file("old.tar.gz", OLD))
    volume.settings["PUBLISH"] = publish
    volume.ready()
    flip(volume.tree("alpha") / NOISE, 100)
    (volume.tree("alpha") / README).unlink()
    found = seen(volume, "alpha")
    assert found is not None
    assert sorted(found) == sorted({*MENDED} - {README})
    assert found[NOISE] != MENDED[NOISE]
    assert volume.run("verify", "--deep").code == 65
    return found


def is_mended(volume: Volume, hub: HubServer) -> None:
    """Show that one more repair makes all right, for which nobody asked for what was right already."""
    volume.ready("repair")
    assert volume.ready("verify", "--deep").code == 0
    volume.check("alpha", MENDED)
    volume.check("beta", OLD)
    assert leftovers(volume) == []
    # The archive may have come whole without a record of it on the disk.
    assert asked(hub) in [["alpha.tar.gz"], ["alpha.tar.gz"] * 2]
    hub.log.clear()
    volume.ready()
    assert asked(hub) == []


@pytest.mark.parametrize("publish", ["link", "dir"])
@pytest.mark.parametrize("part", range(PARTS))
def test_death_of_a_repair(  # noqa: PLR0917 - fixtures and a table
    shelf: Shelf, volume: Volume, hub: HubServer, tmp_path: Path, publish: str, part: int
) -> None:
    """Whenever a repair dies: seen is what was, or all mended, never less; the next ends it and fetches only what is wrong."""
    wrong = damaged(shelf, volume, publish)
    for _ in deaths(volume, tmp_path, part, "repair"):
        assert seen(volume, "beta") == OLD
        assert seen(volume, "alpha") in [wrong, MENDED]
        is_mended(volume, hub)


@pytest.mark.parametrize("publish", ["link", "dir"])
@pytest.mark.parametrize("part", range(PARTS))
def test_death_of_a_repair_where_names_cannot_change_places(  # noqa: PLR0917 - fixtures and a table
    shelf: Shelf, volume: Volume, hub: HubServer, tmp_path: Path, publish: str, part: int
) -> None:
    """Without an exchange in one step: seen is what was, all mended, or for one moment nothing; the next repair ends it."""
    wrong = damaged(shelf, volume, publish)
    # Before each renaming: that one moment lies between two of them.
    for _ in deaths(volume, tmp_path, part, "repair", crippled=NO_EXCHANGE, only="os.rename"):
        assert seen(volume, "beta") == OLD
        is_whole(volume, "alpha", wrong, MENDED)
        is_mended(volume, hub)


# --- gc and remove ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("publish", ["link", "dir"])
@pytest.mark.parametrize("part", range(PARTS))
def test_death_of_a_collection(  # noqa: PLR0917 - fixtures and a table
    shelf_of_two: Shelf, volume: Volume, hub: HubServer, tmp_path: Path, publish: str, part: int
) -> None:
    """Whenever gc dies: all that is shown is whole; gc again takes the rest of what is superseded, and nothing is fetched."""
    volume.settings["PUBLISH"] = publish
    volume.ready()
    old = volume.current_receipt("beta").stem
    change_beta(shelf_of_two)
    volume.ready()
    assert traces(volume, old)
    for _ in deaths(volume, tmp_path, part, "gc"):
        assert (seen(volume, "alpha"), seen(volume, "beta")) == (ALPHA, NEW)
        volume.ready("gc")
        assert traces(volume, old) == []
        converges(volume, hub)
        assert volume.ready("verify", "--deep").code == 0


def traces(volume: Volume, name: str) -> list[str]:
    """Return everything but directories without a file that has a name in its path."""
    found = (path.relative_to(volume.root).as_posix() for path in volume.root.rglob("*") if not path.is_dir())
    return sorted(path for path in found if name in path)


@pytest.mark.parametrize("publish", ["link", "dir"])
@pytest.mark.parametrize("part", range(PARTS))
def test_death_of_a_removal(  # noqa: PLR0917 - fixtures and a table
    shelf_of_two: Shelf, volume: Volume, hub: HubServer, tmp_path: Path, publish: str, part: int
) -> None:
    """Whenever a removal dies: the data set is seen whole or not at all; the same again ends it, and it can be fetched anew."""
    volume.settings["PUBLISH"] = publish
    volume.ready()
    change_beta(shelf_of_two)
    volume.ready()
    for _ in deaths(volume, tmp_path, part, "remove", "beta"):
        assert seen(volume, "alpha") == ALPHA
        is_whole(volume, "beta", NEW)
        # Dead after its last change, there is nothing left to be removed.
        over = not traces(volume, "beta")
        assert volume.run("remove", "beta").code == (66 if over else 0)
        assert traces(volume, "beta") == []
        assert (volume.published, leftovers(volume)) == (["alpha"], [])
        assert (list(volume.status["datasets"]), volume.status["state"]) == (["alpha"], "partial")
        converges(volume, hub)
        assert volume.ready("verify", "--deep").code == 0
