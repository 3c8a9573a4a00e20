"""Nothing outside the data set's own tree is made, followed, replaced or removed, whatever a source sends in how many parts."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.support import tally
from tests.support.media import noise
from tests.support.program import CHECKOUT
from tests.support.tar_members import packed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume

MIXTURES: Final = int(os.environ.get("MIXTURES", "120"))
SEED: Final = os.environ.get("SEED", "1")
PARTS: Final = 2
DEEP: Final = "k/l/m"
"""A directory some levels below the root, so that `..` in two links can add up."""
UPS: Final = "../../.."


@pytest.fixture
def neighbour(volume: Volume) -> Path:
    """Return a directory of the user's beside the data, with files that must stay as they are."""
    place = volume.root / "neighbour"
    (place / "sub").mkdir(parents=True)
    (place / "a").write_bytes(b"the user's own")
    (place / "sub" / "b").write_bytes(b"the user's own, too")
    return place


def serve(shelf: Shelf, hub: HubServer, files: Mapping[str, bytes], label: str = "songs") -> None:
    """Serve a repository whose tars are unpacked, as an honest catalog would have it."""
    hub.hub.add_repo(f"ann/{label}", dict(files))
    unpack = {"unpack": {"*.tar": "tar"}} if any(name.endswith(".tar") for name in files) else {}
    shelf.add(label, sources=[{"kind": "hub", "repo": f"ann/{label}", **unpack}])


# --- what only the whole tree shows -----------------------------------------------------------------------------------------

TOGETHER: Final = (packed((f"{DEEP}/l", f"d/{UPS}/../neighbour"), (f"{DEEP}/f", b"1")), packed((f"{DEEP}/d", UPS)))
"""By name, ``d/../../..`` is the root of the tree; as ``d`` is that root already, it is three levels above it."""

REFUSED: dict[str, tuple[dict[str, bytes], str, dict[str, bytes]]] = {
    # What is refused, with what words; and what is like it, and is published.
    "links of two archives that lead out together": (
        {"a.tar": TOGETHER[0], "b.tar": TOGETHER[1]},
        "is a link out of its directory",
        {"a.tar": packed((f"{DEEP}/l", f"d/{UPS}/f"), ("f", b"1")), "b.tar": packed((f"{DEEP}/d/g", b"2"))},
    ),
    "links of three archives": (
        {"a.tar": packed(("x/a", "b/../../f"), ("f", b"1")), "b.tar": packed(("x/b", "../z")), "c.tar": packed(("z", "."))},
        "is a link out of its directory",
        {"a.tar": packed(("x/a", "b/../../f"), ("f", b"1")), "b.tar": packed(("x/b", "../z")), "c.tar": packed(("z", "x/y"))},
    ),
    "links of two archives that go in a circle": (
        {"a.tar": packed(("a", "b"), ("f", b"1")), "b.tar": packed(("b", "a"))},
        "leads through more than 40 others",
        {"a.tar": packed(("a", "b"), ("f", b"1")), "b.tar": packed(("b", "f"))},
    ),
    "a file below an archive's link": (
        {"a.tar": packed(("d", "e"), ("e/f", b"1")), "d/x": b"below"},
        "'d'",
        {"a.tar": packed(("d", "e"), ("e/f", b"1")), "e/x": b"beside"},
    ),
    "a large file below an archive's link": (
        {"a.tar": packed(("d", "e"), ("e/f", b"1")), "d/x": noise("large", 2_000_000)},
        "'d'",
        {"a.tar": packed(("d", "e"), ("e/f", b"1")), "e/x": noise("large", 2_000_000)},
    ),
    "a member below another archive's link": (
        {"a.tar": packed(("d", "e"), ("e/f", b"1")), "b.tar": packed(("d/x", b"below"))},
        "'d'",
        {"a.tar": packed(("d", "e"), ("e/f", b"1")), "b.tar": packed(("e/x", b"below"))},
    ),
    "a file in place of a directory with content": (
        {"a.tar": packed(("d/f", b"1")), "d": b"a file"},
        "'d'",
        {"a.tar": packed(("d/f", b"1")), "e": b"a file"},
    ),
    "a directory in place of a file": (
        {"a.tar": packed(("d", b"1")), "d/f": b"in it"},
        "'d'",
        {"a.tar": packed(("d", b"1")), "e/f": b"in it"},
    ),
    "a link in place of a file": (
        {"a.tar": packed(("d", "e"), ("e", b"1")), "d": b"a file"},
        "'d'",
        {"a.tar": packed(("d", "e"), ("e", b"1")), "e": b"1"},
    ),
    "another file in place of a file": (
        {"a.tar": packed(("d", b"1")), "d": b"2"},
        "'d'",
        {"a.tar": packed(("d", b"1")), "d": b"1"},
    ),
}


def test_what_only_the_whole_tree_shows(shelf: Shelf, volume: Volume, hub: HubServer, neighbour: Path) -> None:
    """Exit code 65 with the path and the reason, at the first attempt and at the next; what is like it is published."""
    labels = {f"songs-{number}": row for number, row in enumerate(REFUSED)}
    for label, row in labels.items():
        serve(shelf, hub, REFUSED[row][0], label)
    before = volume.snapshot(neighbour)
    for _ in range(2):
        outcome = volume.run()
        assert outcome.code == 65, outcome.err
        for label, row in labels.items():
            assert any(f"ERROR {label}: " in line and REFUSED[row][1] in line for line in outcome.err.splitlines()), row
        assert volume.published == []
        assert volume.snapshot(neighbour) == before
    tally.count("inputs", len(REFUSED))
    for label, row in labels.items():
        files, _, honest = REFUSED[row]
        hub.hub.repos["dataset", f"ann/{label}"].commit({**dict.fromkeys(files), **honest})
    volume.ready()
    assert volume.published == sorted(labels)
    assert volume.snapshot(neighbour) == before


@pytest.mark.parametrize("settings", [{"PUBLISH": "dir"}, {"STAGING_DIR": "staging"}], ids=str)
def test_the_published_links_of_several_archives(
    settings: dict[str, str], shelf: Shelf, volume: Volume, hub: HubServer, tmp_path: Path
) -> None:
    """A link through the link of another archive works where it stays inside, however the tree is built and published."""
    if "STAGING_DIR" in settings:
        settings = {"STAGING_DIR": str(tmp_path / "staging")}
    serve(shelf, hub, {"a.tar": packed(("d", "e/real"), ("g", "d/f")), "b.tar": packed(("e/real/f", b"1")), "e/x": b"2"})
    volume.ready(**settings)
    tree = volume.tree("songs")
    assert (tree / "g").read_bytes() == b"1"
    assert os.readlink(tree / "d") == "e/real"
    assert volume.run("verify", "--deep", **settings).code == 0


# --- what others left in staging --------------------------------------------------------------------------------------------

LEFT: dict[str, dict[str, str]] = {
    "the tree": {"trees/songs/{version}/tree": "neighbour"},
    "the data set": {"trees/songs": "neighbour"},
    "version and records": {"trees/songs/{version}/parts": "neighbour", "trees/songs/{version}/tree/packed": "neighbour"},
    "directories": {"trees/songs/{version}/tree/small": "neighbour", "trees/songs/{version}/tree/large": "neighbour/sub"},
    "files": {
        "trees/songs/{version}/tree/small/a": "neighbour/a",
        "trees/songs/{version}/tree/small/new": "neighbour/new",
        "trees/songs/{version}/tree/large/b": "neighbour/sub/b",
        "trees/songs/{version}/tree/packed/a": "neighbour/a",
        "blobs/{key}.part": "neighbour/a",
        "blobs/{key}.json": "neighbour/a",
    },
}


@pytest.mark.parametrize("row", LEFT)
def test_links_that_others_left_in_staging(row: str, shelf: Shelf, volume: Volume, hub: HubServer, neighbour: Path) -> None:
    """A link out of the volume in place of anything that a run writes or resumes is replaced, and never followed."""
    large = noise("large", 2_000_000)
    files = {"small/a": b"small", "small/new": b"new", "large/b": large, "packed.tar": packed(("packed/a", b"member"))}
    serve(shelf, hub, files)
    version = next(step["version"] for step in json.loads(volume.ready("plan", "--json").out)["steps"])
    key = f"sha256-{hashlib.sha256(large).hexdigest()}"
    for place, target in LEFT[row].items():
        left = volume.private / "staging" / place.format(version=version, key=key)
        left.parent.mkdir(parents=True, exist_ok=True)
        left.symlink_to(volume.root / target)
        tally.count("faults")
    before = volume.snapshot(neighbour)
    volume.ready()
    assert volume.snapshot(neighbour) == before
    volume.check("songs", {"small/a": b"small", "small/new": b"new", "large/b": large, "packed/a": b"member"})
    assert not any(path.is_symlink() for path in volume.tree("songs").rglob("*"))


# --- what others made of what is published ----------------------------------------------------------------------------------

PLACES: Final = ("store/songs/{version}/d", "store/songs/{version}", "store/songs", "manifests/songs", "receipts/songs")


@pytest.mark.parametrize("replaced", PLACES)
def test_links_that_others_put_in_place_of_directories(
    replaced: str, shelf: Shelf, volume: Volume, hub: HubServer, neighbour: Path
) -> None:
    """Whatever a command finds, and whatever its exit code, it follows no link that a third party put there."""
    serve(shelf, hub, {"d/a": b"1", "d/e/b": b"2", "c": b"3"})
    volume.ready()
    place = volume.private / replaced.format(version=volume.version("songs"))
    # The neighbour looks like what it stands for, so that following would do something.
    shutil.copytree(place, neighbour / "copy", symlinks=True)
    shutil.rmtree(place)
    place.symlink_to(neighbour / "copy")
    before = volume.snapshot(neighbour)
    for command in (("gc",), ("provision",), ("repair",), ("remove", "songs")):
        outcome = volume.run(*command)
        assert outcome.code in {0, 65, 66, 74}, outcome.err
        assert volume.snapshot(neighbour) == before, command
    tally.count("faults")


# --- any mixture ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", range(PARTS))
def test_any_mixture(part: int, tmp_path: Path) -> None:
    """Archives, plain files, links, deaths and leftovers in any mixture: nothing outside changes, no published link leaves."""
    count = -(-MIXTURES // PARTS)
    command = [sys.executable, "-m", "tests.support.mixtures", str(tmp_path), SEED, str(part * count), str(count)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    counts = Counter(found["counts"])
    assert found["failures"] == [], done.stderr[-5000:]
    # Each of these did happen.
    assert min(counts["published"], counts["exit 65"], counts["dead"], counts["planted"]) > 0, counts
    tally.count("inputs", count)
    tally.count("kills", counts["dead"])
    tally.count("faults", counts["planted"])
