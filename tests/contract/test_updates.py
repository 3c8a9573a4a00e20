"""``UPDATE``: a newer version is built beside the published one, what both share is linked, and the name is switched."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.in_process import ready, run
from tests.support.shelf import some_files

if TYPE_CHECKING:
    from tests.support.hub_model import Repo
    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume

FILES = {f"data/{number:03}.txt": f"{number}\n".encode() for number in range(200)}
CHANGED = FILES | {"data/007.txt": b"changed\n"}
NOTES = "https://files.example.org/notes.csv"


@pytest.fixture
def repo(shelf: Shelf) -> Repo:
    """Return a repository of which the catalog has the branch."""
    shelf.add("songs", sources=[{"kind": "hub", "repo": "ann/songs"}])
    return shelf.server.hub.add_repo("ann/songs", dict(FILES))


def record(volume: Volume, dataset: str = "songs") -> dict[str, Any]:
    """Return what the status says of a data set."""
    return dict(volume.status["datasets"][dataset])


def test_one_file_of_many(repo: Repo, volume: Volume, hub: HubServer) -> None:
    """An upstream change of one file fetches that one; the others are linked; a reader of the old version reads on."""
    ready(volume)
    then, old = repo.head.commit, volume.version("songs")
    reader = volume.tree("songs").resolve()
    ready(volume, UPDATE="auto")
    assert volume.version("songs") == old
    now = repo.commit({"data/007.txt": b"changed\n"}).commit
    hub.log.clear()
    assert "Nothing to do" in ready(volume).err
    assert hub.log.entries() == ()  # UPDATE is not set: nobody is asked
    outcome = ready(volume, UPDATE="auto")
    assert [each.path for each in hub.log.entries("*/resolve/*")] == [f"/datasets/ann/songs/resolve/{now}/data/007.txt"]
    assert f"songs: updated from {then} to {now}: 1 file fetched" in outcome.err
    volume.check("songs", CHANGED)
    assert (reader / "data/007.txt").read_bytes() == FILES["data/007.txt"]
    same = (reader / "data/008.txt").stat(), (volume.tree("songs") / "data/008.txt").stat()
    assert same[0].st_ino == same[1].st_ino
    found = record(volume)
    assert (found["source"]["pin"], found["previous"]["version"], found["previous"]["pin"]) == (now, old, then)
    # It satisfies what was asked for from now on, with and without UPDATE.
    hub.log.clear()
    before = volume.snapshot()
    assert "Nothing to do" in ready(volume).err
    assert (hub.log.entries(), volume.snapshot()) == ((), before)
    assert "Nothing to do" in ready(volume, UPDATE="auto").err
    assert len(hub.log.entries()) == 1
    ready(volume, "verify", "--deep")


def test_readers_see_one_version(repo: Repo, volume: Volume) -> None:
    """Who opens the directory while it is switched reads all of one version, however long that takes."""
    ready(volume)
    repo.commit({f"data/{number:03}.txt": b"changed\n" for number in range(50)})
    now = FILES | {f"data/{number:03}.txt": b"changed\n" for number in range(50)}
    ended, seen = threading.Event(), set[bool]()

    def read() -> None:
        while not ended.is_set():
            handle = os.open(volume.tree("songs") / "data", os.O_RDONLY)
            found = {name: _content(name, handle) for name in os.listdir(handle)}
            os.close(handle)
            whole = {f"data/{name}": content for name, content in found.items()}
            seen.add(whole == now)
            assert whole in (FILES, now)

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        try:
            ready(volume, UPDATE="auto")
        finally:
            ended.set()
        reading.result()
    volume.check("songs", now)
    assert False in seen


def _content(name: str, directory: int) -> bytes:
    handle = os.open(name, os.O_RDONLY, dir_fd=directory)
    try:
        return os.read(handle, 100)
    finally:
        os.close(handle)


def test_check(repo: Repo, volume: Volume, hub: HubServer) -> None:
    """``UPDATE=check`` says in log and status what is outdated, fetches nothing, and says no more when it was seen to."""
    ready(volume)
    then, now = repo.head.commit, repo.commit({"data/007.txt": b"changed\n"}).commit
    outcome = ready(volume, UPDATE="check")
    assert "songs is outdated: main has moved to another commit; UPDATE=auto fetches it" in outcome.err
    upstream = record(volume)["upstream"]
    assert (upstream["state"], upstream["recorded"], upstream["found"]) == ("outdated", then, now)
    volume.check("songs", FILES)
    assert "songs: outdated upstream: main has moved to another commit" in ready(volume, "status").out
    before = volume.snapshot()
    ready(volume, UPDATE="check")
    assert volume.snapshot() == before
    assert hub.log.entries(f"*/resolve/{now}/*") == ()
    ready(volume, UPDATE="auto")
    assert "upstream" not in record(volume)


@pytest.mark.parametrize("trouble", ["down", "gone", "listing", "file", "offline"])
def test_a_newer_version_that_cannot_be_had(repo: Repo, volume: Volume, hub: HubServer, trouble: str) -> None:
    """What is published stays, and the app starts: the log and the status say why; later the update is made."""
    ready(volume)
    repo.commit({"data/007.txt": b"changed\n"})
    settings: dict[str, str | None] = {"UPDATE": "auto"}
    if trouble == "down":
        hub.faults.add("status", path="/api/*", status=404)
    elif trouble == "gone":
        repo.private = True
    elif trouble == "listing":
        hub.faults.add("status", path="*/tree/*", status=404)
    elif trouble == "file":
        hub.faults.add("status", path="*/007.txt", status=404)
    else:
        settings["HF_HUB_OFFLINE"] = "1"
    outcome = ready(volume, **settings)
    assert "WARNING songs" in outcome.err, outcome.err
    volume.check("songs", FILES)
    assert (volume.status["state"], record(volume)["state"]) == ("ready", "ready")
    hub.faults.clear()
    repo.private = False
    ready(volume, UPDATE="auto")
    volume.check("songs", CHANGED)


def test_a_branch_that_moves_back(repo: Repo, volume: Volume, hub: HubServer) -> None:
    """The version of that commit is there: it is linked, and nothing is fetched."""
    ready(volume)
    then, old = repo.head.commit, volume.version("songs")
    repo.commit({"data/007.txt": b"changed\n"})
    ready(volume, UPDATE="auto")
    repo.branches["main"] = then
    hub.log.clear()
    ready(volume, UPDATE="auto")
    assert volume.version("songs") == old
    assert hub.log.entries("*/resolve/*") == ()
    volume.check("songs", FILES)


def test_going_back(repo: Repo, shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """With the commit of the version before in the catalog, all its files are linked, and none is fetched."""
    ready(volume)
    then = repo.head.commit
    repo.commit({"data/007.txt": b"changed\n"})
    ready(volume, UPDATE="auto")
    assert record(volume)["previous"]["pin"] == then
    shelf.document["datasets"]["songs"]["sources"][0]["revision"] = then
    shelf.write()
    hub.log.clear()
    ready(volume, UPDATE="auto")
    assert hub.log.entries("*/resolve/*") == ()
    volume.check("songs", FILES)


def test_a_death_between_the_name_and_the_receipt(repo: Repo, volume: Volume, hub: HubServer) -> None:
    """The next run takes the newer version over that is there, and does not go back to the one before first."""
    ready(volume)
    repo.commit({"data/007.txt": b"changed\n"})
    ready(volume, UPDATE="auto")
    new = volume.version("songs")
    volume.current_receipt("songs").unlink()
    hub.log.clear()
    ready(volume, UPDATE="auto")
    assert (volume.version("songs"), hub.log.entries("*/resolve/*")) == (new, ())
    volume.check("songs", CHANGED)
    ready(volume, "verify", "--deep")


def test_directories(repo: Repo, volume: Volume, hub: HubServer) -> None:
    """With PUBLISH=dir the two versions change places, and the one before stays in the store, for GC_GRACE from that moment."""
    volume.settings["PUBLISH"] = "dir"
    ready(volume)
    old = volume.current_receipt("songs").stem
    repo.commit({"data/007.txt": b"changed\n"})
    hub.log.clear()
    ready(volume, UPDATE="auto")
    assert len(hub.log.entries("*/resolve/*")) == 1
    volume.check("songs", CHANGED)
    assert record(volume)["previous"]["version"] == old
    assert "nothing to remove" in ready(volume, "gc", GC_GRACE="1h").out
    assert f"removed songs {old}" in ready(volume, "gc").out
    volume.check("songs", CHANGED)


def test_a_lost_link_and_a_damaged_file(repo: Repo, volume: Volume) -> None:
    """The newer version is the one that a lost link leads to again, and the one that is repaired, at its own commit."""
    ready(volume)
    repo.commit({"data/007.txt": b"changed\n"})
    ready(volume, UPDATE="auto")
    new = volume.version("songs")
    repo.commit({"data/007.txt": b"third\n"})
    volume.tree("songs").unlink()
    ready(volume)
    assert volume.version("songs") == new
    damaged = volume.tree("songs") / "data/007.txt"
    damaged.unlink()
    damaged.write_bytes(b"wrong")
    assert run(volume, "verify", "--deep").code == 65
    ready(volume, "repair")
    volume.check("songs", CHANGED)
    assert volume.version("songs") == new


@pytest.mark.parametrize("now", [b"two\n", b"three\n"])
def test_a_file_without_a_digest(shelf: Shelf, volume: Volume, hub: HubServer, now: bytes) -> None:
    """A file that only its server describes is fetched anew when that says something else."""
    shelf.raw("notes.csv", b"one\n")
    shelf.add("notes", {"url": NOTES, "digest": "none"})
    shelf.add("songs", shelf.file("songs.tar.gz", some_files("songs")))
    ready(volume)
    hub.add_static(NOTES, now)
    hub.add_static("https://files.example.org/songs.tar.gz", b"another one")
    outcome = ready(volume, UPDATE="auto")
    volume.check("notes", {"notes.csv": now})
    volume.check("songs", some_files("songs"))
    assert "must be corrected" in outcome.err
    assert record(volume)["upstream"]["state"] == "outdated"
    hub.log.clear()
    ready(volume, UPDATE="auto")
    assert len(hub.log.entries()) == 2


def test_one_file_of_several_without_digests(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """The others are unchanged by what their servers say: they are linked from the version before, and so on after that."""
    contents = {f"{name}.csv": f"{name}\n".encode() for name in "abcd"}
    urls = {name: f"https://files.example.org/{name}" for name in contents}
    for name, content in contents.items():
        hub.add_static(urls[name], content)
    shelf.add("notes", *({"url": url, "digest": "none"} for url in urls.values()))
    ready(volume)
    for changed in ("b.csv", "c.csv"):
        contents[changed] = f"{changed} has changed\n".encode()
        hub.add_static(urls[changed], contents[changed])
        hub.log.clear()
        old = volume.tree("notes").resolve()
        outcome = ready(volume, UPDATE="auto")
        assert "1 file fetched" in outcome.err
        # Each is asked for its first byte; one is fetched.
        assert sorted(entry.path for entry in hub.log.entries() if not entry.range) == [f"/files.example.org/{changed}"]
        volume.check("notes", contents)
        assert (old / "a.csv").stat().st_ino == (volume.tree("notes") / "a.csv").stat().st_ino
        assert record(volume, "notes")["verified_against"] == "none"
    (volume.tree("notes") / "a.csv").unlink()
    ready(volume, "repair")
    volume.check("notes", contents)


def test_the_plan_of_an_update(repo: Repo, volume: Volume) -> None:
    """``plan`` says what has changed upstream, and with UPDATE=auto what is fetched; nothing is written."""
    ready(volume)
    then = repo.head.commit
    repo.commit({"data/007.txt": b"changed\n"})
    before = volume.snapshot()
    assert "outdated" not in ready(volume, "plan").out
    text = " ".join(ready(volume, "plan", UPDATE="check").out.split())
    assert "songs: is outdated: main has moved to another commit; UPDATE=auto fetches it" in text
    (step,) = ready(volume, "plan", "--json", UPDATE="check").json["steps"]
    assert (step["action"], step["upstream"]["state"], step["upstream"]["recorded"]) == ("keep", "outdated", then)
    text = " ".join(ready(volume, "plan", UPDATE="auto").out.split())
    assert f"songs: has a newer version upstream; {then} is here" in text
    (step,) = ready(volume, "plan", "--json", UPDATE="auto").json["steps"]
    assert (step["action"], step["upstream"]) == ("fetch", None)
    assert volume.snapshot() == before


def test_a_change_while_files_are_fetched(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """Files without digests that change after they were asked about are not mixed: nothing is published, and later all is."""
    files = [f"https://files.example.org/{name}.csv" for name in ("a", "b")]
    for url in files:
        hub.add_static(url, b"one\n")
    shelf.add("notes", *({"url": url, "digest": "none"} for url in files))
    ready(volume)
    for url in files:
        hub.add_static(url, b"two\n")
    hub.faults.add("change", path="*/b.csv", since=2)
    outcome = ready(volume, UPDATE="auto")
    assert "b.csv was changed upstream while it was fetched" in outcome.err
    volume.check("notes", {"a.csv": b"one\n", "b.csv": b"one\n"})
    assert volume.staged() == []
    hub.faults.clear()
    ready(volume, UPDATE="auto")
    volume.check("notes", {"a.csv": b"two\n", "b.csv": b"two\n"})


def test_a_reference(repo: Repo, volume: Volume) -> None:
    """A reference is updated as a data set of the catalog is, with what its repository says of itself now."""
    volume.settings["DATASETS"] = "hf://datasets/ann/songs"
    ready(volume)
    repo.commit({"data/007.txt": b"changed\n", "README.md": b"---\nlicense: mit\n---\n"})
    outcome = ready(volume, UPDATE="auto")
    assert "updated from" in outcome.err
    assert record(volume, "hf://datasets/ann/songs")["license"] == "MIT"
    ready(volume, "gc", "--older-than", "0")
    ready(volume)
    volume.check("ann/songs", CHANGED | {"README.md": b"---\nlicense: mit\n---\n"})


def test_what_stays_and_for_how_long(repo: Repo, volume: Volume, hub: HubServer) -> None:
    """Within GC_GRACE of the switch the version before stays; of older ones the time counts from the one that followed."""
    volume.settings.pop("GC_GRACE")
    ready(volume)
    first = volume.version("songs")
    repo.commit({"data/007.txt": b"changed\n"})
    ready(volume, UPDATE="auto")
    assert "nothing to remove" in ready(volume, "gc").out
    switched = time.time() - 6 * 86_400
    os.utime(volume.tree("songs"), (switched, switched), follow_symlinks=False)
    assert "nothing to remove" in ready(volume, "gc").out
    assert "would remove songs" in ready(volume, "gc", "--dry-run", "--older-than", "5d").out
    assert "would remove songs" in ready(volume, "gc", "--dry-run", GC_GRACE="120h").out
    assert run(volume, "gc", "--older-than", "soon").code == 64
    assert record(volume)["previous"]["version"] == first
    ready(volume, "gc", "--older-than", "5d")
    assert "previous" not in record(volume)
    hub.log.clear()
    before = volume.snapshot()
    assert "Nothing to do" in ready(volume).err
    assert (volume.snapshot(), hub.log.entries()) == (before, ())


def test_space_that_is_not_there(repo: Repo, volume: Volume) -> None:
    """Where a newer version does not fit beside the published one, that stays and the reason is said."""
    ready(volume)
    repo.commit({"more.txt": bytes(900_000)})
    outcome = ready(volume, UPDATE="auto", MAX_STORAGE_GB="0.0005")
    assert "WARNING songs" in outcome.err, outcome.err
    volume.check("songs", FILES)
