"""Equal files, different files with the same path, and sources that undo each other's work."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.media import noise
from tests.support.miniature import gzip_bytes, pack_tar
from tests.support.program import CHECKOUT, TOKEN
from tests.support.shelf import some_files

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume


def sha256(content: bytes) -> str:
    """Return a digest as a catalog writes it."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


# --- the same bytes in several places ---------------------------------------------------------------------------------------


def test_a_repository_repeats_files(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """Licences and empty files stand in every directory of many repositories: each is asked for once, and all are there."""
    files = {f"part{number}/{name}": text for number in range(6) for name, text in (("LICENSE", b"the same\n"), ("empty", b""))}
    files["big.bin"] = noise("big", 3_000_000)
    files["copy/big.bin"] = files["big.bin"]
    hub.hub.add_repo("ann/songs", files)
    shelf.add("songs", sources=[{"kind": "hub", "repo": "ann/songs"}])
    volume.ready()
    volume.check("songs", files)
    assert len(hub.log.entries("*/resolve/*")) == 3


def test_a_url_that_is_put_in_several_places(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """One archive unpacked into two directories, and one file put into two more, cost two requests."""
    archive, plain = shelf.file("a.tar.gz", some_files("a")), shelf.raw("plain.bin", b"plain")
    shelf.add("songs", {**archive, "into": "x"}, {**archive, "into": "y"}, {**plain, "into": "x"}, {**plain, "into": "z"})
    volume.ready()
    expected = {f"{folder}/{name}": content for folder in "xy" for name, content in some_files("a").items()}
    volume.check("songs", expected | {"x/plain.bin": b"plain", "z/plain.bin": b"plain"})
    assert len(hub.log.entries(origin="cdn")) == 2


# --- two files with one path ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("other", [b"no!\n", b"another length\n"])
def test_a_file_and_an_archive_that_disagree(shelf: Shelf, volume: Volume, order: tuple[int, int], other: bytes) -> None:
    """Exit code 65, and nothing is published, whichever comes first and whether or not the sizes are equal."""
    files = [shelf.file("a.tar.gz", {"README": b"yes\n"}), shelf.raw("README", other)]
    shelf.add("songs", *(files[place] for place in order))
    outcome = volume.run()
    assert outcome.code == 65, outcome.err
    assert "README" in outcome.err
    assert volume.published == []


def test_a_file_and_an_archive_that_agree(shelf: Shelf, volume: Volume) -> None:
    """The same bytes under one path are published once."""
    shelf.add("songs", shelf.file("a.tar.gz", {"README": b"yes\n", "more": b"more"}), shelf.raw("README", b"yes\n"))
    volume.ready()
    volume.check("songs", {"README": b"yes\n", "more": b"more"})


# --- sources that undo each other -------------------------------------------------------------------------------------------


def test_what_another_source_changed_is_not_used(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """After a failed source unpacked an archive and the next one overwrote a file of it, the archive is unpacked again."""
    right, wrong = {"t/one.txt": b"right"}, {"t/one.txt": b"wrong"}
    packed, other = gzip_bytes(pack_tar(right)), gzip_bytes(pack_tar(wrong))
    hub.hub.add_repo("ann/songs", {"x.tar.gz": packed, "y.bin": b"y"})
    entry = shelf.raw("z.tar.gz", other, unpack="tar.gz")
    missing = {**shelf.raw("y.bin", b"y"), "url": "https://files.example.org/gone.bin"}
    hub_source: dict[str, Any] = {"kind": "hub", "repo": "ann/songs", "unpack": {"*.tar.gz": "tar.gz"}}
    shelf.add("songs", sources=[hub_source, {"kind": "url", "files": [entry, missing]}])
    rule = hub.faults.add("status", path="*/y.bin", status=404)
    assert volume.run(CONNECTIONS="1").code == 66
    assert rule.fired
    hub.faults.clear()
    volume.ready(CONNECTIONS="1")
    volume.check("songs", right | {"y.bin": b"y"})


def test_a_failure_does_not_wait_for_the_others(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """A 404 makes the run try the next source while another file of the first is still being fetched."""
    hub.hub.add_repo("ann/songs", {"slow.bin": noise("slow", 3_000_000), "gone.bin": b"g"})
    shelf.add("songs", sources=[{"kind": "hub", "repo": "ann/songs"}, {"kind": "url", "files": [shelf.raw("fine.bin", b"fine")]}])
    gone = hub.faults.add("status", path="*/gone.bin", status=404)
    slow = hub.faults.add("throttle", path="*slow.bin", rate=50_000)
    volume.ready()
    # The failure may come before the other file was requested.
    assert gone.fired == 1
    assert slow.fired <= 1
    volume.check("songs", {"fine.bin": b"fine"})
    assert sum(entry.bytes_sent for entry in hub.log.entries("*slow.bin", origin="cdn")) < 3_000_000


# --- what is kept, and what is not done -------------------------------------------------------------------------------------


def test_one_bad_answer_does_not_cost_what_has_arrived(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """After an error page with status 200 in place of the rest, only the rest is fetched."""
    content = noise("songs", 3_000_000)
    shelf.add("songs", shelf.raw("songs.bin", content))
    first = hub.faults.add("reset", path="*songs.bin", after=1_500_000, first=1)
    page = hub.faults.add("html", path="*songs.bin", nth=2)
    assert volume.run().code == 65
    assert (first.fired, page.fired) == (1, 1)
    kept = volume.staged_bytes()
    assert kept > 0
    hub.log.clear()
    volume.ready()
    [entry] = hub.log.entries("*songs.bin")
    assert entry.range == f"bytes={kept}-"
    volume.check("songs", {"songs.bin": content})


def test_another_data_set_does_not_cost_what_has_arrived(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """An interrupted data set can still be resumed after another one was provisioned."""
    content = noise("songs", 3_000_000)
    shelf.add("songs", shelf.raw("songs.bin", content))
    shelf.add("more", shelf.raw("more.bin", b"more"))
    rule = hub.faults.add("reset", path="*songs.bin", after=1_500_000)
    status = hub.faults.add("status", path="*songs.bin", status=403, nth=2)
    assert volume.run(DATASETS="songs").code == 77
    assert (rule.fired, status.fired) == (1, 1)
    kept = volume.staged_bytes()
    hub.faults.clear()
    volume.ready(DATASETS="more")
    hub.log.clear()
    volume.ready(DATASETS="songs")
    assert hub.log.entries("*songs.bin")[0].range == f"bytes={kept}-"


def test_only_a_check_does_nothing_else(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """With AUTO_DOWNLOAD=false a wrong tree without a receipt stays and counts as missing; no repository is created."""
    shelf.add("songs", shelf.raw("songs.bin", b"songs"))
    volume.ready()
    [receipt] = volume.receipts("songs")
    receipt.unlink()
    place = volume.tree("songs") / "songs.bin"
    place.write_bytes(b"SONGS")
    hub.log.clear()
    outcome = volume.run(AUTO_DOWNLOAD="false", HF_TOKEN=TOKEN)
    assert outcome.code == 66, outcome.err
    assert hub.log.entries() == ()
    assert place.read_bytes() == b"SONGS"


def test_the_limit_holds_where_the_catalog_knows_no_size(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """Sizes in the source's listing count before the first byte: skipped in a phase, an error when asked for by name."""
    hub.hub.add_repo("ann/songs", {"songs.bin": noise("songs", 2_000_000)})
    shelf.add("songs", sources=[{"kind": "hub", "repo": "ann/songs"}])
    shelf.add("more", shelf.raw("more.bin", b"more"))
    volume.ready(MAX_STORAGE_GB="0.0005")
    assert volume.status["state"] == "partial"
    assert volume.status["datasets"]["songs"]["reason"] == "storage_limit"
    assert volume.published == ["more"]
    assert volume.run(MAX_STORAGE_GB="0.0005", DATASETS="songs").code == 74
    assert hub.log.entries("*/resolve/*") == ()


def test_an_empty_archive_is_no_data_set(shelf: Shelf, volume: Volume) -> None:
    """An archive without a file is an error, and nothing is published."""
    shelf.add("songs", shelf.file("songs.tar.gz", {}))
    assert volume.run().code == 65
    assert volume.published == []


def test_a_linked_datasets_directory_is_an_error(shelf: Shelf, volume: Volume, tmp_path: Path) -> None:
    """Where `datasets` is itself a link, published links would lead nowhere: exit code 74, with what to do."""
    shelf.add("songs", shelf.raw("songs.bin", b"songs"))
    elsewhere = tmp_path / "deep" / "er"
    elsewhere.mkdir(parents=True)
    volume.root.mkdir()
    (volume.root / "datasets").symlink_to(elsewhere)
    for _ in range(2):
        outcome = volume.run()
        assert outcome.code == 74, outcome.err
        assert "PUBLISH=dir" in outcome.err


@pytest.mark.parametrize("current", ["", "garbage", "../../../evil"])
def test_a_damaged_version_file_of_a_published_directory(shelf: Shelf, volume: Volume, current: str) -> None:
    """With PUBLISH=dir a version file that holds no version is ignored, and nothing outside the volume is touched."""
    shelf.add("songs", shelf.raw("songs.bin", b"songs"))
    volume.ready(PUBLISH="dir")
    (volume.private / "receipts" / "songs" / "current").write_text(current)
    outcome = volume.run(PUBLISH="dir")
    assert outcome.code == 74, outcome.err
    assert "did not put there" in outcome.err
    assert (volume.tree("songs") / "songs.bin").read_bytes() == b"songs"


@pytest.mark.root
def test_a_full_volume_beside_a_staging_elsewhere(shelf: Shelf, volume: Volume, tmp_path: Path) -> None:
    """A copy that does not fit is removed again, so that the next run can continue."""
    shelf.add("songs", shelf.raw("songs.bin", noise("songs", 3_000_000)), unpacked_size=1000)
    shelf.document["datasets"]["songs"]["sources"][0]["files"][0]["size"] = {"value": 1000, "estimate": True}
    shelf.write()
    shelf.add("more", shelf.raw("more.bin", b"more"))
    volume.root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(volume.root)], check=True)
    try:
        for _ in range(2):
            outcome = volume.run(STAGING_DIR=str(tmp_path / "staging"))
            assert outcome.code == 74, outcome.err
            assert volume.published == ["more"]
            assert not list(volume.private.glob("store/*/.incoming-*"))
    finally:
        subprocess.run(["umount", str(volume.root)], check=True)


# --- signals ----------------------------------------------------------------------------------------------------------------


def test_a_signal_while_the_program_is_loaded(volume: Volume) -> None:
    """The entry point handles signals before it imports the rest of the program."""
    code = (
        "import os, signal, sys; sys.argv = ['entrypoint.py', '--version'];"
        "from provisioner.cli import early_signals;"
        "before = set(sys.modules); early_signals.exit_on_signals();"
        "assert 'provisioner.cli.main' not in sys.modules;"
        "os.kill(os.getpid(), signal.SIGTERM); import time; time.sleep(30)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, env=volume.environ(), timeout=20, check=False)
    assert done.returncode == 143
    lines = (CHECKOUT / "entrypoint.py").read_text("utf-8").splitlines()
    assert lines.index("    exit_on_signals()") < lines.index(next(line for line in lines if "provisioner.cli.main" in line))


def test_a_signal_just_before_the_hand_off(shelf: Shelf, volume: Volume) -> None:
    """A SIGTERM just before the app starts ends the process; the app does not start."""
    shelf.add("songs", shelf.raw("songs.bin", b"songs"))
    code = (
        "import logging, os, signal, sys\n"
        "class Kill(logging.Handler):\n"
        "    def emit(self, record):\n"
        "        if record.getMessage().startswith('Starting the app'):\n"
        "            os.kill(os.getpid(), signal.SIGTERM)\n"
        "logging.getLogger('provisioner.cli.main').addHandler(Kill())\n"
        "from provisioner.cli.main import main\n"
        "sys.exit(main(['--', 'sh', '-c', 'exit 5'], os.environ))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, env=volume.environ(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 143, done.stderr


@pytest.mark.root
def test_old_records_on_a_read_only_volume(shelf: Shelf, volume: Volume) -> None:
    """With all data there, a status file of another selection and an existing staging directory are no error: exit code 0."""
    shelf.add("songs", shelf.raw("songs.bin", b"songs"))
    shelf.add("more", shelf.raw("more.bin", b"more"))
    volume.ready()
    (volume.private / "staging").mkdir(exist_ok=True)
    subprocess.run(["mount", "--bind", str(volume.root), str(volume.root)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(volume.root)], check=True)
        for changes in ({}, {"LOCK": "external"}):
            volume.ready(DATASETS="songs", **changes)
            assert os.statvfs(volume.root).f_flag & os.ST_RDONLY
    finally:
        subprocess.run(["umount", str(volume.root)], check=True)
