"""Disks that fail or are no ordinary ones: errors of the device, buckets that are mounted as directories, no locks, no links."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.media import noise
from tests.support.odd_disk import Failure, Mounted
from tests.support.program import wait_until
from tests.support.shelf import some_files
from tests.support.tar_members import file as tar_file
from tests.support.tar_members import packed, pax, tar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.hub_server import HubServer
    from tests.support.odd_disk import Quirk
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume

pytestmark = pytest.mark.root

ALPHA: Final = some_files("alpha", 300_000)
BETA: Final = {"plain.bin": noise("plain", 30_000)}
BUCKET: Final[tuple[Quirk, ...]] = ("append-only", "no-rename-over-folder", "no-hardlinks", "no-fsync-of-readers")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Mounted]:
    """Return a disk without any oddity as yet."""
    disk = Mounted(tmp_path)
    yield disk
    disk.close()


@pytest.fixture
def pair(shelf: Shelf, volume: Volume, disk: Mounted) -> Volume:
    """Return a volume on it, and a catalog of an archive and a plain file."""
    shelf.add("alpha", shelf.file("alpha.tar.gz", ALPHA))
    shelf.add("beta", shelf.raw("plain.bin", BETA["plain.bin"]))
    volume.root = disk.place / "volume"
    return volume


def check_whole(volume: Volume) -> None:
    """Show that whatever can be seen of a data set is all of it."""
    for name, expected in (("alpha", ALPHA), ("beta", BETA)):
        tree = volume.tree(name)
        found = {path.relative_to(tree).as_posix(): path.read_bytes() for path in tree.rglob("*") if path.is_file()}
        assert found == expected or not tree.exists()


def check_both(volume: Volume) -> None:
    """Show that both data sets are there."""
    volume.check("alpha", ALPHA)
    volume.check("beta", BETA)


def asked(hub: HubServer) -> list[str]:
    """Return the names of what was asked for."""
    return sorted(entry.path.rpartition("/")[2] for entry in hub.log.entries())


FAILURES: Final = [
    *(Failure("write", since, errno.EIO) for since in (1, 3, 9)),
    *(Failure("fsync", since, errno.EIO) for since in (1, 2, 9, 14)),
    *(Failure("rename", since, errno.EIO) for since in (1, 3, 5, 8)),
    *(Failure("mkdir", since, errno.EIO) for since in (1, 6)),
    Failure("unlink", 1, errno.EIO),
    Failure("write", 5, errno.ENOSPC),
    Failure("write", 5, errno.EDQUOT),
    Failure("fsync", 2, errno.ENOSPC),
    Failure("write", 5, errno.EROFS),
]


@pytest.mark.parametrize("failure", FAILURES, ids=str)
def test_the_device_fails(pair: Volume, disk: Mounted, hub: HubServer, failure: Failure) -> None:
    """From some operation on (EIO, a quota, a file system that turned read-only): said so, nothing half there; it converges."""
    disk.mount(failure)
    outcome = pair.run(CONNECTIONS="1")
    assert disk.fired(str(failure)) >= 1
    assert outcome.code == (73 if failure.number == errno.EROFS else 74), outcome.err
    assert os.strerror(failure.number) in outcome.err
    check_whole(pair)
    disk.mount()
    check_whole(pair)
    hub.log.clear()
    pair.ready()
    check_both(pair)
    assert pair.staged() == []
    hub.log.clear()
    pair.ready()
    assert asked(hub) == []


def test_the_device_fails_while_it_is_read(pair: Volume, disk: Mounted) -> None:
    """`verify --deep` names the files and the device's failure, 65; with the device well again, all is right."""
    pair.ready()
    failure = Failure("read", 8, errno.EIO)
    disk.mount(failure)
    outcome = pair.run("verify", "--deep")
    assert disk.fired(str(failure)) >= 1
    assert outcome.code == 65, outcome.err
    assert f"cannot be read: {os.strerror(errno.EIO)}" in outcome.out
    assert "Errno" not in outcome.err
    disk.mount()
    pair.ready("verify", "--deep")


def test_no_space_for_the_status_while_data_sets_are_built(pair: Volume, disk: Mounted) -> None:
    """One data set may have all space for a while: the others are published, and what was not written is written later."""
    disk.mount("full-for-status")
    pair.ready()
    assert disk.fired("full-for-status") == 2
    assert {name: entry["state"] for name, entry in pair.status["datasets"].items()} == {"alpha": "ready", "beta": "ready"}
    check_both(pair)


@pytest.mark.parametrize("publish", ["link", "dir"])
def test_a_disk_that_keeps_only_what_was_synced_by_file(pair: Volume, disk: Mounted, hub: HubServer, publish: str) -> None:
    """FUSE is not told of syncfs: every file is synced by itself, and all is there after the mount was taken away."""
    disk.mount("keeps-until-fsync")
    witness = disk.place / "witness"
    witness.write_bytes(b"nobody synced it")
    pair.ready(PUBLISH=publish)
    disk.mount()
    assert disk.fired("keeps-until-fsync") >= 1
    assert witness.read_bytes() == b""
    check_both(pair)
    hub.log.clear()
    pair.ready(PUBLISH=publish)
    assert asked(hub) == []
    pair.ready("verify", "--deep")


@pytest.mark.parametrize("quirk", ["no-locks", "locks-not-implemented"])
def test_no_locks(pair: Volume, disk: Mounted, hub: HubServer, quirk: Quirk) -> None:
    """74 before the first request, and what can be done; where somebody else guarantees one writer it works."""
    disk.mount(quirk)
    outcome = pair.run()
    assert disk.fired(quirk) >= 1
    assert outcome.code == 74, outcome.err
    assert "no working kernel lock" in outcome.err
    assert "LOCK=external" in outcome.err
    assert (asked(hub), pair.published) == ([], [])
    pair.ready(LOCK="external")
    check_both(pair)


def test_no_links(pair: Volume, disk: Mounted, hub: HubServer) -> None:
    """Neither symbolic nor hard ones: directories are published in their place, and a second run asks for nothing."""
    disk.mount("no-symlinks", "no-hardlinks")
    pair.ready()
    assert disk.fired("no-symlinks") >= 1
    check_both(pair)
    hub.log.clear()
    pair.ready()
    assert asked(hub) == []


def test_links_that_a_mount_forgets(pair: Volume, disk: Mounted, hub: HubServer) -> None:
    """They are made again from store and receipt, and nothing is fetched."""
    pair.ready()
    disk.unmount(forget_links=True)
    disk.mount()
    assert pair.published == []
    hub.log.clear()
    pair.ready()
    assert asked(hub) == []
    check_both(pair)


def test_a_bucket_needs_a_promise(pair: Volume, disk: Mounted, hub: HubServer) -> None:
    """A lock on a bucket's mount excludes nobody on another machine: 74 without `LOCK=external`, and nothing is written."""
    disk.mount(*BUCKET)
    outcome = pair.run(VOLUME_KIND="object")
    assert outcome.code == 74
    assert "LOCK=external" in outcome.err
    assert (asked(hub), pair.root.exists()) == ([], False)


@pytest.mark.parametrize("staging", ["on the bucket", "local"])
def test_a_bucket(pair: Volume, shelf: Shelf, disk: Mounted, hub: HubServer, staging: str) -> None:
    """Append-only, no rename over a directory, no links: filled, remounted, switched to a version and back, nothing twice."""
    disk.mount(*BUCKET)
    pair.settings |= {"VOLUME_KIND": "object", "LOCK": "external"}
    if staging == "local":
        pair.settings["STAGING_DIR"] = str(disk.place.parent / "staging")
    pair.ready()
    check_both(pair)
    disk.unmount(forget_links=True)
    disk.mount(*BUCKET)
    hub.log.clear()
    pair.ready()
    assert asked(hub) == []
    check_both(pair)
    old = shelf.document["datasets"]["alpha"]["sources"]
    changed = ALPHA | {"alpha/more": b"more"}
    shelf.document["datasets"]["alpha"]["sources"] = [{"kind": "url", "files": [shelf.file("changed.tar.gz", changed)]}]
    shelf.write()
    pair.ready()
    pair.check("alpha", changed)
    assert asked(hub) == ["changed.tar.gz"]
    shelf.document["datasets"]["alpha"]["sources"] = old
    shelf.write()
    pair.ready()
    check_both(pair)
    assert asked(hub) == ["changed.tar.gz"]
    pair.ready("gc")
    pair.ready("verify", "--deep")
    tree = pair.tree("alpha")
    (tree / "alpha" / "README").unlink()
    pair.ready("repair")
    check_both(pair)


def test_a_large_file_on_a_bucket(shelf: Shelf, volume: Volume, disk: Mounted, hub: HubServer, tmp_path: Path) -> None:
    """It comes in ranges, which a bucket cannot take: 74 and `STAGING_DIR` is named, also by `doctor`; with it all is right."""
    content = noise("large", 20 << 20)
    shelf.add("large", shelf.raw("large.bin", content))
    volume.root = disk.place / "volume"
    volume.settings |= {"VOLUME_KIND": "object", "LOCK": "external"}
    disk.mount(*BUCKET)
    # One connection alone brings it in order if it is fast enough: it waits until another one has written further on.
    gate = hub.faults.gate(hub.faults.add("gate", path="*/large.bin", after=3 << 20, first=1).gate)
    running = volume.start()
    assert gate.wait_reached()
    wait_until(lambda: disk.fired("append-only"), "a write into the middle was refused")
    gate.release()
    outcome = running.wait()
    assert outcome.code == 74, outcome.err
    assert "STAGING_DIR" in outcome.err
    assert volume.published == []
    outcome = volume.run("doctor", HF_HUB_OFFLINE="1")
    assert (outcome.code, "STAGING_DIR" in outcome.out) == (74, True), outcome.out
    volume.settings["STAGING_DIR"] = str(tmp_path / "staging")
    volume.ready()
    volume.check("large", {"large.bin": content})
    volume.ready("doctor", HF_HUB_OFFLINE="1")


def test_a_sparse_file_on_a_bucket(shelf: Shelf, volume: Volume, disk: Mounted, hub: HubServer) -> None:
    """A bucket accepts bytes only in order, so holes, including one at the end, are written as zeros."""
    del hub
    disk.mount(*BUCKET)
    volume.root = disk.place / "volume"
    volume.settings |= {"VOLUME_KIND": "object", "LOCK": "external"}
    sparse = pax({b"GNU.sparse.size": b"3000000", b"GNU.sparse.name": b"s", b"GNU.sparse.map": b"0,4,2000000,5"})
    shelf.add("sparse", shelf.raw("sparse.tar", tar(sparse, tar_file("s", b"firstlast"), tar_file("a", b"x")), unpack="tar"))
    volume.ready()
    assert disk.fired("append-only") >= 2
    content = b"firs" + bytes(1_999_996) + b"tlast"
    volume.check("sparse", {"s": content + bytes(3_000_000 - len(content)), "a": b"x"})


def test_a_bucket_that_refuses(pair: Volume, disk: Mounted) -> None:
    """The oddities are real: writes in the middle, renames over directories, hard links and fsync of what is read are refused."""
    disk.mount(*BUCKET)
    (disk.place / "file").write_bytes(b"file")
    for name in ("one", "other"):
        (disk.place / name).mkdir()
    with (disk.place / "file").open("r+b", buffering=0) as file, pytest.raises(OSError, match="not supported"):
        file.write(b"x")
    with pytest.raises(OSError, match="not empty"):
        (disk.place / "one").rename(disk.place / "other")
    with pytest.raises(OSError, match="not permitted"):
        (disk.place / "link").hardlink_to(disk.place / "file")
    with (disk.place / "file").open("rb") as file, pytest.raises(OSError, match="Bad file"):
        os.fsync(file.fileno())
    assert [disk.fired(quirk) for quirk in BUCKET] == [1, 1, 1, 1]
    assert pair.published == []


NORMAL_FORMS: Final = (("composed", "\u00e9"), ("decomposed", "e\u0301"))


def test_names_that_are_one_to_the_disk(shelf: Shelf, volume: Volume, disk: Mounted, hub: HubServer) -> None:
    """`a` and `A` of one archive, or of one repository, are refused where one would hide the other; all else works."""
    disk.mount("folds-case")
    volume.root = disk.place / "volume"
    shelf.add("honest", shelf.file("honest.tar.gz", ALPHA))
    shelf.add("packed", shelf.file("packed.tar.gz", {"a/Name": b"one", "a/name": b"other"}))
    hub.hub.add_repo("ann/plain", {"Name": b"one", "name": b"other"})
    shelf.add("plain", sources=[{"kind": "hub", "repo": "ann/plain"}])
    of = [shelf.raw(f"{form}.tar", packed((f"{name}/{form}", b"1")), unpack="tar") for form, name in (("one", "D"), ("two", "d"))]
    shelf.add("apart", *of)
    twins = [shelf.raw(f"{name}-twin.tar", packed((f"{name}/file", b"1")), unpack="tar") for name in ("E", "e")]
    shelf.add("twins", *twins)
    outcome = volume.run()
    assert disk.fired("folds-case") >= 1
    assert outcome.code == 74, outcome.err
    assert "apart holds both 'D' and 'd'" in outcome.err
    assert "together with another file of this data set, holds both 'E/file' and 'e/file'" in outcome.err
    assert "packed.tar.gz holds both 'a/Name' and 'a/name'" in outcome.err
    # The names of plain files are known before they are fetched.
    assert "plain holds both 'Name' and 'name'" in outcome.err
    assert not hub.log.entries("*/ann/plain/resolve/*")
    assert volume.published == ["honest"]
    volume.check("honest", ALPHA)
    assert [volume.status["datasets"][dataset]["state"] for dataset in ("packed", "plain", "apart", "twins")] == ["failed"] * 4


def test_names_that_differ_in_composition_alone(shelf: Shelf, volume: Volume, disk: Mounted) -> None:
    """`é` as one character and as two is refused on a disk that compares names as text, in one archive and in several."""
    disk.mount("composes-names")
    volume.root = disk.place / "volume"
    shelf.add("honest", shelf.file("honest.tar.gz", {"a": b"1", "A": b"2", "\u00e9": b"3"}))
    shelf.add("packed", shelf.file("packed.tar.gz", {"d/\u00e9": b"one", "d/e\u0301": b"other"}))
    twins = [shelf.raw(f"{name}.tar", packed((f"{letter}/{name}", b"1")), unpack="tar") for name, letter in NORMAL_FORMS]
    shelf.add("twins", *twins)
    outcome = volume.run()
    assert disk.fired("composes-names") >= 1
    assert outcome.code == 74, outcome.err
    assert outcome.err.count("takes them for the same name") >= 2
    assert volume.published == ["honest"]
    volume.check("honest", {"a": b"1", "A": b"2", "\u00e9": b"3"})


def test_links_through_names_that_are_one_to_the_disk(shelf: Shelf, volume: Volume, disk: Mounted) -> None:
    """A link that leaves the tree only because the disk takes `D` for `d` is refused when the tree is complete."""
    disk.mount("folds-case")
    volume.root = disk.place / "volume"
    beside = [shelf.raw("a.tar", packed(("f", b"1"), ("l", "D/../f")), unpack="tar")]
    shelf.add("songs", *beside, shelf.raw("b.tar", packed(("d", ".")), unpack="tar"))
    shelf.add("honest", *beside, shelf.raw("c.tar", packed(("d/g", b"2")), unpack="tar"))
    outcome = volume.run()
    assert outcome.code == 65, outcome.err
    assert "a.tar: member 'l' is a link out of its directory, to 'D/../f'" in outcome.err
    assert volume.published == ["honest"]
    assert not list((volume.private / "staging" / "trees" / "songs").rglob("l"))


# --- disks that change while they are used -------------------------------------------------------------------------------


@pytest.fixture
def small(volume: Volume, tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Mount a tmpfs of its own as the volume; give what mounts it again with other options."""
    volume.root = tmp_path / "small"
    volume.root.mkdir()

    def mount(options: str, *, over: bool = False) -> None:
        how = options if over else f"remount,{options}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", how, "tmpfs", str(volume.root)], check=True, capture_output=True)

    mount("size=4m", over=True)
    yield mount
    volume.close()
    while subprocess.run(["umount", str(volume.root)], check=False, capture_output=True).returncode == 0:
        pass


LARGE: Final = some_files("alpha", 1_000_000)


@pytest.mark.parametrize("how", ["shrinks", "a neighbour", "read-only"])
def test_it_changes_while_a_file_arrives(
    shelf: Shelf, volume: Volume, hub: HubServer, small: Callable[..., None], how: str
) -> None:
    """It shrinks, a neighbour fills it, it turns read-only: 74 or 73 with the numbers; it converges when it is well again."""
    shelf.add("alpha", shelf.file("alpha.tar.gz", LARGE))
    rule = hub.faults.add("gate", path="*/alpha.tar.gz", after=300_000, first=1)
    run = volume.start(CONNECTIONS="1")
    assert hub.faults.gate(rule.gate).wait_reached()
    neighbour = volume.root / "neighbour"
    if how == "shrinks":
        # More than has arrived by now, whether it has been written yet or not, and less than the file.
        small("size=600k")
    elif how == "a neighbour":
        filled = subprocess.run(["dd", "if=/dev/zero", f"of={neighbour}", "bs=4096"], check=False, capture_output=True)
        assert b"No space left" in filled.stderr
    else:
        # As the kernel does after an error of the device; what is open for writing would keep a remount out.
        subprocess.run(["mount", "-o", "bind", str(volume.root), str(volume.root)], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", str(volume.root)], check=True)
    hub.faults.clear()
    outcome = run.wait()
    assert rule.fired == 1
    assert outcome.code == (73 if how == "read-only" else 74), outcome.err
    assert ("bytes are free" if how != "read-only" else "Read-only") in outcome.err
    assert volume.published == []
    if how == "shrinks":
        small("size=4m")
    elif how == "a neighbour":
        neighbour.unlink()
    else:
        subprocess.run(["umount", str(volume.root)], check=True)
    volume.ready()
    volume.check("alpha", LARGE)


def test_another_volume_in_its_place(shelf: Shelf, volume: Volume, hub: HubServer, small: Callable[..., None]) -> None:
    """Mounted over it while a file arrives: nothing half there on either, and each is filled by its next run."""
    shelf.add("alpha", shelf.file("alpha.tar.gz", LARGE))
    rule = hub.faults.add("gate", path="*/alpha.tar.gz", after=300_000, first=1)
    run = volume.start(CONNECTIONS="1")
    assert hub.faults.gate(rule.gate).wait_reached()
    small("size=4m", over=True)
    hub.faults.clear()
    outcome = run.wait()
    assert rule.fired == 1
    assert outcome.code in {0, 74}, outcome.err
    for _ in range(2):
        assert volume.published == [] or outcome.code == 0
        if volume.published:
            volume.check("alpha", LARGE)
        volume.ready()
        volume.check("alpha", LARGE)
        hub.log.clear()
        volume.ready()
        assert asked(hub) == []
        subprocess.run(["umount", str(volume.root)], check=True)
    volume.root.rmdir()


def test_another_volume_between_two_runs(shelf: Shelf, volume: Volume, hub: HubServer, small: Callable[..., None]) -> None:
    """An empty one is filled; the old one, back in its place, is believed as it was."""
    shelf.add("alpha", shelf.file("alpha.tar.gz", ALPHA))
    volume.ready()
    small("size=4m", over=True)
    assert volume.published == []
    hub.log.clear()
    volume.ready()
    assert asked(hub) == ["alpha.tar.gz"]
    subprocess.run(["umount", str(volume.root)], check=True)
    hub.log.clear()
    volume.ready()
    assert asked(hub) == []
    volume.check("alpha", ALPHA)


def test_a_home_of_the_hubs_client_that_cannot_be_written(shelf: Shelf, volume: Volume, hub: HubServer, tmp_path: Path) -> None:
    """HF_HOME is only ever read by us: a read-only one is no trouble, and nothing is written into it."""
    home = tmp_path / "hf"
    home.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(home)], check=True)
    try:
        with pytest.raises(OSError, match="Read-only"):
            (home / "x").touch()
        hub.hub.add_repo("ann/plain", BETA)
        shelf.add("plain", sources=[{"kind": "hub", "repo": "ann/plain"}])
        volume.ready(HF_HOME=str(home))
        volume.check("plain", BETA)
        assert list(home.iterdir()) == []
    finally:
        subprocess.run(["umount", str(home)], check=True)


def test_the_status_of_a_run_whose_device_failed(pair: Volume, disk: Mounted) -> None:
    """It says so where it can still be written, and the termination log, which lies elsewhere, says so in any case."""
    failure = Failure("fsync", 2, errno.EIO)
    disk.mount(failure)
    assert pair.run().code == 74
    assert disk.fired(str(failure)) >= 1
    told = json.loads((pair.root.parents[1] / "termination-log").read_text("utf-8"))
    assert os.strerror(errno.EIO) in told["message"]
