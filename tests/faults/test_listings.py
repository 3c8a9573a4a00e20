"""Listings and revisions of the Hub in a whole run: paths that lead outside, and requests that fail half-way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.support.media import noise

if TYPE_CHECKING:
    from tests.support.faults import Kind
    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume

CLIPS: Final = {f"clips/{number}.bin": noise(f"clip {number}", 40_000) for number in range(6)}


@pytest.fixture
def clips(shelf: Shelf, hub: HubServer) -> Shelf:
    """Return a catalog of one repository."""
    hub.hub.add_repo("ann/clips", dict(CLIPS))
    shelf.add("clips", sources=[{"kind": "hub", "repo": "ann/clips"}])
    return shelf


@pytest.mark.usefixtures("clips")
@pytest.mark.parametrize("name", ["../x", "/etc/x", "clips/../../x", "..", "clips//x", "./x", "clips/", "x\0y"])
def test_a_name_that_leads_outside(volume: Volume, hub: HubServer, name: str) -> None:
    """`../x`, an absolute path and the like are refused before a file is requested, and no such path is created."""
    before = {path for path in volume.root.parent.rglob("*") if volume.root not in path.parents}
    fault = hub.faults.add("bad_path", path="*/tree/*", body=name)
    outcome = volume.run()
    assert fault.fired >= 1
    assert outcome.code in {65, 69}, outcome.err
    assert "Traceback" not in outcome.err
    assert hub.log.entries("*/resolve/*") == ()
    assert volume.published == []
    after = {path for path in volume.root.parent.rglob("*") if volume.root not in path.parents}
    assert {path.name for path in after - before} <= {volume.root.name, "termination-log"}
    hub.faults.clear()
    volume.ready()
    volume.check("clips", CLIPS)


QUESTIONS: Final = ["*/revision/main", "*/tree/*"]
FAILURES: Final[list[tuple[Kind, dict[str, Any], int]]] = [
    ("status", {"status": 404}, 66),
    ("status", {"status": 403}, 77),
    ("status", {"status": 400}, 69),
]


@pytest.mark.usefixtures("clips")
@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize(("kind", "fields", "code"), FAILURES)
def test_a_question_that_fails_with_files_already_there(  # noqa: PLR0917 - fixtures and a table
    volume: Volume, hub: HubServer, question: str, kind: Kind, fields: dict[str, Any], code: int
) -> None:
    """Files that have arrived are neither published nor lost; the next run fetches only the rest, and a third one asks nobody."""
    cut = hub.faults.add("status", path="*/resolve/*/clips/5.bin", status=404)
    assert volume.run(CONNECTIONS="1").code == 66
    assert cut.fired >= 1
    hub.faults.clear()
    fault = hub.faults.add(kind, path=question, **fields)
    outcome = volume.run()
    assert fault.fired >= 1
    assert outcome.code == code, outcome.err
    assert volume.published == []
    hub.faults.clear()
    hub.log.clear()
    volume.ready()
    volume.check("clips", CLIPS)
    assert [entry.path.rpartition("/")[2] for entry in hub.log.entries("*/resolve/*")] == ["5.bin"]
    fault = hub.faults.add(kind, path="*", **fields)
    volume.ready()
    assert fault.fired == 0


ODD_NAMES: Final = ["sub\\file.txt", "a//b", "C:/x", "clips/0.bin/below", "a\0b"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_an_odd_name_that_is_not_taken(shelf: Shelf, volume: Volume, hub: HubServer, name: str) -> None:
    """A name that cannot be used keeps no other file away, as long as the source does not take it."""
    hub.hub.add_repo("ann/clips", dict(CLIPS))
    shelf.add("clips", sources=[{"kind": "hub", "repo": "ann/clips", "include": ["clips/?.bin"]}])
    fault = hub.faults.add("bad_path", path="*/tree/*", body=name)
    volume.ready()
    assert fault.fired >= 1
    volume.check("clips", CLIPS)


def test_globs_that_name_nothing(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """A run and `catalog check --online` both name the glob; without any file the data set fails, and there is no next source."""
    hub.hub.add_repo("ann/clips", dict(CLIPS))
    source = {"kind": "hub", "repo": "ann/clips"}
    shelf.add("some", sources=[{**source, "exclude": ["*.BIN"]}])
    shelf.add("none", sources=[{**source, "include": ["clip/*"]}])
    outcome = volume.run()
    assert outcome.code == 66, outcome.err
    volume.check("some", CLIPS)
    assert volume.published == ["some"]
    checked = volume.run("catalog", "check", "--online")
    for text in (outcome.err, checked.out):
        assert "'*.BIN' names no file" in text
        assert "does not hold clip/*" in text
        assert "next source" not in text
