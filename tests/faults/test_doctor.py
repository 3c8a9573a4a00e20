"""``doctor``: everything that a run needs is tried out, and what is wrong is named, with what to do."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.program import TOKEN
from tests.support.shelf import some_files

if TYPE_CHECKING:
    from tests.support.hub_server import HubServer
    from tests.support.program import Outcome
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume


@pytest.fixture(autouse=True)
def one(shelf: Shelf) -> None:
    """Return a catalog of one data set."""
    shelf.add("alpha", shelf.file("alpha.tar.gz", some_files("alpha")))


def results(outcome: Outcome) -> dict[str, str]:
    """Return the result of each check; of several with one name the last."""
    return {check["check"]: check["result"] for check in outcome.json["checks"]}


def test_all_right(volume: Volume) -> None:
    """With nothing wrong the exit code is 0, every check has a result, and nothing stays on the volume."""
    volume.settings["HF_TOKEN"] = TOKEN
    volume.ready()
    names = sorted(volume.snapshot())
    found = results(volume.ready("doctor", "--json"))
    assert set(found.values()) == {"ok"}, found
    for name in (
        "settings",
        "catalog",
        "clock",
        "mount",
        "space",
        "write",
        "staging",
        "names",
        "rename",
        "links",
        "lock",
        "certificates",
        "proxy",
    ):
        assert name in found
    assert sorted(volume.snapshot()) == names
    text = volume.ready("doctor").out
    assert "it is that of ann" in text
    assert "all right" in text


def test_before_the_first_run(volume: Volume) -> None:
    """A volume that does not exist yet is named and not made; a missing token is not wrong."""
    outcome = volume.ready("doctor", "--json")
    assert (results(outcome)["volume"], results(outcome)["token"], volume.root.exists()) == ("note", "note", False)


@pytest.mark.parametrize(
    ("changes", "name", "code"),
    [
        ({"HF_TOKEN": "hf_" + "x" * 30}, "token", 77),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "hub", 75),
        ({"CATALOG_PATH": "/nowhere"}, "catalog", 78),
        ({"SSL_CERT_FILE": "/nowhere"}, "certificates", 78),
        ({"VOLUME_KIND": "object"}, "mount", 74),
    ],
)
def test_what_is_wrong(volume: Volume, changes: dict[str, str], name: str, code: int) -> None:
    """Each fault is named, with what to do; the exit code is that of a run which fails for this reason."""
    volume.root.mkdir()
    outcome = volume.run("doctor", "--json", **changes)
    assert outcome.code == code, outcome.err
    wrong = [check for check in outcome.json["checks"] if check["result"] == "wrong"]
    assert name in [check["check"] for check in wrong]
    assert all(check["hint"] for check in wrong)


def test_misspelt_settings(volume: Volume) -> None:
    """A variable whose name is nearly that of a setting is named, with the setting."""
    text = volume.ready("doctor", DATASET_REPOO="x", PROVISIONER_PHAES="minimal").out
    assert "DATASET_REPOO is set and is no setting. Did you mean 'DATASET_REPO'?" in text
    assert "PROVISIONER_PHAES" in text


def test_offline(volume: Volume, hub: HubServer) -> None:
    """With HF_HUB_OFFLINE no request is made."""
    volume.ready("doctor", HF_HUB_OFFLINE="1", HF_TOKEN=TOKEN)
    assert hub.log.entries() == ()


@pytest.mark.root
def test_a_read_only_mount(volume: Volume) -> None:
    """On a read-only mount the exit code is 73, and the result names what still works."""
    volume.ready()
    mount = volume.root.parent / "mount"
    mount.mkdir()
    subprocess.run(["mount", "--bind", "-o", "ro", str(volume.root), str(mount)], check=True)
    try:
        outcome = volume.run("doctor", DATA_DIR=str(mount))
    finally:
        subprocess.run(["umount", str(mount)], check=True)
    assert outcome.code == 73
    assert "'verify' and 'status' work" in outcome.out
