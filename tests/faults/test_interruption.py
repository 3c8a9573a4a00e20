"""Runs that are killed, stopped by a signal, out of time, or wait for each other: what is lost, and what is fetched again."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from provisioner.cancellation import Cancellation
from provisioner.engine.installation import load_catalog, load_settings
from provisioner.engine.run import Run
from provisioner.errors import InterruptedBySignal, ProvisionerError, VolumeFullError
from provisioner.reporting.progress import Progress
from provisioner.volume.fs.lock import writer_lock
from tests.support.media import noise
from tests.support.program import TOKEN, wait_until
from tests.support.shelf import Shelf, some_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.faults import Gate
    from tests.support.hub_server import HubServer
    from tests.support.program import Running
    from tests.support.volume import Volume

SIZE = 3_000_000
ARRIVED = 2_000_000


@pytest.fixture
def big(shelf: Shelf) -> bytes:
    """Return a catalog with one file that is worth interrupting, and its bytes."""
    content = noise("big", SIZE)
    shelf.add("big", shelf.raw("big.bin", content))
    return content


def held_after(hub: HubServer, path: str, count: int | None) -> Gate:
    """Hold the first request for ``path`` after ``count`` bytes of its body (``None``: before any answer)."""
    rule = hub.faults.add("gate", path=path, after=count, first=1)
    return hub.faults.gate(rule.gate)


@pytest.fixture
def half_way(big: bytes, volume: Volume, hub: HubServer) -> Iterator[Running]:
    """Yield a run that has written two of three million bytes, and waits for the rest."""
    assert len(big) == SIZE
    gate = held_after(hub, "*/big.bin", ARRIVED)
    run = volume.start()
    assert gate.wait_reached()
    wait_until(lambda: volume.staged_bytes() == ARRIVED, "two million bytes in staging")
    yield run
    gate.release()


def resumes(volume: Volume, hub: HubServer, content: bytes) -> None:
    """Check that another run requests only the missing bytes, and that the whole file is right."""
    hub.faults.clear()
    hub.log.clear()
    volume.ready()
    (entry,) = hub.log.entries("*/big.bin")
    assert (entry.range, entry.bytes_sent) == (f"bytes={ARRIVED}-", SIZE - ARRIVED)
    volume.check("big", {"big.bin": content})
    assert volume.staged() == []
    assert volume.status["state"] == "ready"


# --- death ---------------------------------------------------------------------------------------------------------------


def test_killed_in_the_middle(half_way: Running, big: bytes, volume: Volume, hub: HubServer) -> None:
    """After SIGKILL during a transfer nothing is published, and bytes that had arrived are not requested again."""
    half_way.send(signal.SIGKILL)
    assert half_way.wait().code == -signal.SIGKILL
    assert volume.published == []
    resumes(volume, hub, big)


def test_killed_twice(half_way: Running, big: bytes, volume: Volume, hub: HubServer) -> None:
    """A resumed transfer that is killed is resumed again, from where it stood."""
    half_way.send(signal.SIGKILL)
    half_way.wait()
    hub.faults.clear()
    gate = held_after(hub, "*/big.bin", 500_000)
    second = volume.start()
    assert gate.wait_reached()
    wait_until(lambda: volume.staged_bytes() == ARRIVED + 500_000, "half a million more bytes in staging")
    second.send(signal.SIGKILL)
    second.wait()
    hub.faults.clear()
    volume.ready()
    assert [entry.range for entry in hub.log.entries("*/big.bin")] == [None, f"bytes={ARRIVED}-", f"bytes={ARRIVED + 500_000}-"]
    volume.check("big", {"big.bin": big})


def test_killed_between_two_archives(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """An archive that was unpacked before the run was killed is not requested again, though its data set was not published."""
    shelf.add("alpha", shelf.file("one.tar.gz", some_files("one")), shelf.file("two.tar.gz", some_files("two")))
    gate = held_after(hub, "*/two.tar.gz", None)
    run = volume.start(CONNECTIONS="1")
    assert gate.wait_reached()
    run.send(signal.SIGKILL)
    run.wait()
    assert volume.published == []
    hub.faults.clear()
    hub.log.clear()
    volume.ready()
    assert [entry.path for entry in hub.log.entries()] == ["/files.example.org/two.tar.gz"]
    volume.check("alpha", some_files("one") | some_files("two"))


@pytest.mark.parametrize("harm", ["file", "tree"])
def test_a_staged_tree_that_lost_something(shelf: Shelf, volume: Volume, hub: HubServer, harm: str) -> None:
    """A record that an archive is in the staged tree counts only if all its files are right: otherwise it is unpacked again."""
    shelf.add("alpha", shelf.file("one.tar.gz", some_files("one")), shelf.file("two.tar.gz", some_files("two")))
    gate = held_after(hub, "*/two.tar.gz", None)
    run = volume.start(CONNECTIONS="1")
    assert gate.wait_reached()
    run.send(signal.SIGKILL)
    run.wait()
    (tree,) = (volume.private / "staging" / "trees" / "alpha").glob("*/tree")
    if harm == "file":
        (tree / "one" / "README").unlink()
    else:
        shutil.rmtree(tree)
    hub.faults.clear()
    hub.log.clear()
    volume.ready()
    # While there is room, archives stay until everything is published.
    assert [entry.path for entry in hub.log.entries()] == ["/files.example.org/two.tar.gz"]
    volume.check("alpha", some_files("one") | some_files("two"))


def test_killed_between_two_data_sets(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """A data set that was published before the run was killed stays, and is not requested again."""
    shelf.add("alpha", shelf.file("one.tar.gz", some_files("one")))
    shelf.add("beta", shelf.file("two.tar.gz", some_files("two")))
    gate = held_after(hub, "*/two.tar.gz", None)
    run = volume.start()
    wait_until(lambda: gate.wait_reached() and volume.status["datasets"]["alpha"]["state"] == "ready", "alpha is published")
    run.send(signal.SIGKILL)
    run.wait()
    volume.check("alpha", some_files("one"))
    assert volume.status["state"] == "provisioning"
    hub.faults.clear()
    hub.log.clear()
    volume.ready()
    assert [entry.path for entry in hub.log.entries()] == ["/files.example.org/two.tar.gz"]
    volume.check("beta", some_files("two"))


def test_an_unverified_file_is_resumed_only_with_its_validator(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """Without a digest a file is resumed only if the server says that it is unchanged; a changed one is fetched whole."""
    content = noise("loose", SIZE)
    entry = {**shelf.raw("big.bin", content), "digest": "none"}
    shelf.add("big", entry)
    gate = held_after(hub, "*/big.bin", ARRIVED)
    run = volume.start()
    assert gate.wait_reached()
    wait_until(lambda: volume.staged_bytes() == ARRIVED, "two million bytes in staging")
    run.send(signal.SIGKILL)
    run.wait()
    hub.faults.clear()
    changed = noise("loose, changed upstream", SIZE)
    shelf.raw("big.bin", changed)
    hub.log.clear()
    volume.ready()
    (asked,) = hub.log.entries("*/big.bin")
    assert (asked.range, asked.status, asked.bytes_sent) == (f"bytes={ARRIVED}-", 200, SIZE)
    volume.check("big", {"big.bin": changed})
    assert volume.status["datasets"]["big"]["verified_against"] == "none"


def test_a_beginning_that_rotted_is_found_out(half_way: Running, big: bytes, volume: Volume, hub: HubServer) -> None:
    """Bytes in staging that changed after a kill are noticed: the file is fetched from its beginning, once."""
    half_way.send(signal.SIGKILL)
    half_way.wait()
    (part,) = (volume.private / "staging" / "blobs").glob("*.part")
    content = bytearray(part.read_bytes())
    content[1000] ^= 1
    part.write_bytes(content)
    hub.faults.clear()
    hub.log.clear()
    volume.ready()
    assert [entry.range for entry in hub.log.entries("*/big.bin")] == [f"bytes={ARRIVED}-", None]
    volume.check("big", {"big.bin": big})


# --- signals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal(  # noqa: PLR0917 - fixtures and a table
    half_way: Running, big: bytes, volume: Volume, hub: HubServer, number: signal.Signals, code: int
) -> None:
    """A signal ends a run within two seconds with 128+N; the status says interrupted, and the next run resumes."""
    begun = time.monotonic()
    half_way.send(number)
    outcome = half_way.wait()
    assert time.monotonic() - begun < 2
    assert outcome.code == code
    assert len(outcome.errors()) == 1
    status = volume.status
    assert (status["state"], status["error"]["reference"]) == ("interrupted", "interrupted")
    assert status["datasets"]["big"]["state"] == "fetching"
    assert status["datasets"]["big"]["bytes_done"] == ARRIVED
    resumes(volume, hub, big)


@pytest.mark.parametrize("how", ["signal", "deadline"])
def test_what_a_run_has_published_is_named(shelf: Shelf, volume: Volume, hub: HubServer, how: str) -> None:
    """A run that ends before its last step leaves ATTRIBUTION.md with what it has published until then."""
    shelf.add("small", shelf.file("small.tar.gz", some_files("small")), priority=5)
    shelf.add("big", shelf.raw("big.bin", noise("big", 2 * ARRIVED)), priority=1)
    held_after(hub, "*/big.bin", ARRIVED)
    changes = {"DEADLINE": "3"} if how == "deadline" else {}
    run = volume.start(**changes)
    run.wait_line("small: ready")
    if how != "deadline":
        run.send(signal.SIGTERM)
    assert run.wait().code == (75 if how == "deadline" else 143)
    assert "datasets/small" in (volume.root / "ATTRIBUTION.md").read_text("utf-8")
    assert volume.status["state"] == "interrupted"


def test_a_second_signal_ends_at_once(shelf: Shelf, volume: Volume) -> None:
    """When a run is stuck in the system, a second signal ends it at once, without tidying up."""
    pipe = shelf.path.with_name("pipe")
    os.mkfifo(pipe)
    entry = {**shelf.raw("pipe", b"never"), "url": pipe.as_uri()}
    shelf.add("alpha", entry)
    run = volume.start()
    run.wait_line("alpha is missing")
    # In this order: should both come at the same moment, Python handles the lower number first.
    run.send(signal.SIGINT)
    run.send(signal.SIGTERM)
    assert run.wait().code == 143
    assert volume.status["state"] == "provisioning"


def test_a_signal_while_waiting_for_another_attempt(big: bytes, volume: Volume, hub: HubServer) -> None:
    """A signal also ends the wait between two attempts."""
    assert big
    fault = hub.faults.add("status", path="*/big.bin", status=503, headers={"Retry-After": "200"})
    run = volume.start()
    run.wait_line("asking again in 20")
    begun = time.monotonic()
    run.send(signal.SIGTERM)
    assert run.wait().code == 143
    assert time.monotonic() - begun < 2
    assert fault.fired == 1


def test_the_deadline(big: bytes, volume: Volume, hub: HubServer) -> None:
    """When DEADLINE passes during a transfer: 75, state interrupted, and the next run resumes."""
    gate = held_after(hub, "*/big.bin", ARRIVED)
    outcome = volume.run(DEADLINE="1")
    assert gate.state()["reached"] == 1
    assert (outcome.code, len(outcome.errors())) == (75, 1)
    status = volume.status
    assert (status["state"], status["error"]["reference"]) == ("interrupted", "deadline")
    resumes(volume, hub, big)


def test_the_deadline_comes_before_an_app(big: bytes, volume: Volume, hub: HubServer) -> None:
    """After DEADLINE the app is not started, even where it may start after a failure."""
    assert big
    gate = held_after(hub, "*/big.bin", ARRIVED)
    outcome = volume.run("--", "echo", "the app", DEADLINE="1", ON_FAILURE="degraded")
    assert gate.state()["reached"] == 1
    assert (outcome.code, outcome.out) == (75, "")


# --- the lock ------------------------------------------------------------------------------------------------------------


def test_two_at_once(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """Of two runs at once the second says for whom it waits, finds the work done, exits 0; each artifact is requested once."""
    shelf.add("alpha", shelf.file("one.tar.gz", some_files("one")))
    shelf.add("beta", shelf.file("two.tar.gz", some_files("two")))
    gate = held_after(hub, "*/one.tar.gz", 1000)
    first = volume.start()
    assert gate.wait_reached()
    run_id = volume.status["run_id"]
    second = volume.start()
    second.wait_line(rf"Waiting for run {run_id} on host \S+, process {first.pid}, since .*: 0 s so far, giving up in 21600 s")
    gate.release()
    assert [first.wait().code, second.wait().code] == [0, 0]
    assert sorted(entry.path for entry in hub.log.entries()) == ["/files.example.org/one.tar.gz", "/files.example.org/two.tar.gz"]
    assert volume.status["run_id"] == run_id
    volume.check("alpha", some_files("one"))


def test_the_lock_timeout(half_way: Running, volume: Volume) -> None:
    """When another process keeps the lock: 75 with its name, and the status file is not touched."""
    status = volume.status
    outcome = volume.run(LOCK_TIMEOUT="0")
    assert outcome.code == 75
    assert f"process {half_way.pid}" in outcome.errors()[0]
    assert volume.status == status


def test_a_killed_holder_blocks_nobody(half_way: Running, big: bytes, volume: Volume, hub: HubServer) -> None:
    """The lock ends with its process: a run that waited for it goes on at once, and resumes."""
    waiter = volume.start()
    waiter.wait_line("Waiting for run")
    hub.faults.gate("nobody")
    half_way.send(signal.SIGKILL)
    half_way.wait()
    assert waiter.wait().code == 0
    assert [entry.range for entry in hub.log.entries("*/big.bin")] == [None, f"bytes={ARRIVED}-"]
    volume.check("big", {"big.bin": big})


def test_a_signal_while_waiting_for_the_lock(half_way: Running, volume: Volume) -> None:
    """A run that waits for the lock can be stopped by a signal, and leaves the other's status file alone."""
    status = volume.status
    waiter = volume.start()
    waiter.wait_line("Waiting for run")
    waiter.send(signal.SIGTERM)
    assert waiter.wait().code == 143
    assert volume.status == status
    assert half_way.pid != waiter.pid


def test_who_has_all_does_not_wait(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """A run whose data sets are all there does not wait for the lock, and leaves the other's status file alone."""
    shelf.add("alpha", shelf.file("one.tar.gz", some_files("one")))
    shelf.add("beta", shelf.file("two.tar.gz", some_files("two")))
    gate = held_after(hub, "*/two.tar.gz", None)
    busy = volume.start()
    wait_until(lambda: gate.wait_reached() and volume.status["datasets"]["alpha"]["state"] == "ready", "alpha is published")
    status = volume.status
    outcome = volume.run(DATASETS="alpha", LOCK_TIMEOUT="5")
    assert outcome.code == 0, outcome.err
    assert volume.status == status
    gate.release()
    assert busy.wait().code == 0


def test_the_other_writer_publishes_what_was_missing(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """A run that gives up waiting for the lock looks again: what it wanted may be there by now."""
    shelf.add("alpha", shelf.file("one.tar.gz", some_files("one")))
    shelf.add("beta", shelf.file("two.tar.gz", some_files("two")))
    first, second = held_after(hub, "*/one.tar.gz", None), held_after(hub, "*/two.tar.gz", None)
    busy = volume.start()
    assert first.wait_reached()
    assert second.wait_reached()
    waiting = volume.start(DATASETS="alpha", LOCK_TIMEOUT="4")
    waiting.wait_line("Waiting for")
    first.release()
    outcome = waiting.wait()
    assert outcome.code == 0, outcome.err
    assert volume.published == ["alpha"]
    second.release()
    assert busy.wait().code == 0


def test_only_a_repository_is_missing(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """With all data there, a run that lacks only a repository does not wait for the lock, and records nothing without it."""
    shelf.add("alpha", shelf.file("one.tar.gz", some_files("one")))
    shelf.add("beta", shelf.file("two.tar.gz", some_files("two")))
    gate = held_after(hub, "*/two.tar.gz", None)
    busy = volume.start()
    wait_until(lambda: gate.wait_reached() and volume.status["datasets"]["alpha"]["state"] == "ready", "alpha is published")
    outcome = volume.run(DATASETS="alpha", LOCK_TIMEOUT="5", DATASET_REPO="ann/diary", HF_TOKEN=TOKEN)
    assert outcome.code == 0, outcome.err
    assert len(hub.log.entries("/api/repos/create")) == 1
    assert not (volume.private / "repository.json").exists()
    gate.release()
    assert busy.wait().code == 0


@pytest.mark.parametrize("end", ["cancelled", "does not fit"])
def test_the_next_writer_is_quick(big: bytes, volume: Volume, hub: HubServer, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    """A run writes how it ended before it releases the lock: the status of a writer that waited for it is not overwritten."""
    status, theirs, at_release = volume.root / "dataset_status.json", b'{"run_id": "another"}', []

    @contextlib.contextmanager
    def followed_at_once(*arguments: Any, **options: Any) -> Iterator[None]:
        try:
            with writer_lock(*arguments, **options):
                yield
        finally:
            at_release.append(volume.status["state"])
            status.write_bytes(theirs)

    monkeypatch.setattr("provisioner.engine.volume_session.writer_lock", followed_at_once)
    cancellation, reason = Cancellation(), InterruptedBySignal(signal.SIGTERM)
    if end == "does not fit":
        volume.settings["MAX_STORAGE_GB"] = str(len(big) / 2 / 10**9)
    else:
        gate = held_after(hub, "*/big.bin", 0)

        def cancel() -> None:
            if gate.wait_reached():
                cancellation.request(reason)

        threading.Thread(target=cancel).start()
    settings = load_settings({}, volume.environ())
    run = Run(settings, load_catalog(settings.catalog_paths), cancellation=cancellation, progress=Progress())
    with pytest.raises(ProvisionerError) as caught:
        run.provision()
    assert isinstance(caught.value, VolumeFullError if end == "does not fit" else InterruptedBySignal)
    assert at_release == ["failed" if end == "does not fit" else "interrupted"]
    assert status.read_bytes() == theirs


def test_an_external_lock(big: bytes, volume: Volume) -> None:
    """With LOCK=external the lock file is ignored: somebody else guarantees that there is one writer."""
    volume.private.mkdir(parents=True)
    with (volume.private / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert volume.run(LOCK_TIMEOUT="0").code == 75
        volume.ready(LOCK="external")
    volume.check("big", {"big.bin": big})


def test_many_at_once(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """Of six processes with two selections one is killed: each artifact is fetched once, and all others exit 0."""
    shelf.add("alpha", shelf.file("one.tar.gz", some_files("one")))
    shelf.add("beta", shelf.file("two.tar.gz", some_files("two")))
    gate = held_after(hub, "*/one.tar.gz", 1000)
    first = volume.start()
    assert gate.wait_reached()
    others = [volume.start(**({"DATASETS": "beta"} if place % 2 else {})) for place in range(5)]
    others[0].wait_line("Waiting for run")
    others[0].send(signal.SIGKILL)
    gate.release()
    assert [run.wait().code for run in (first, *others)] == [0, -signal.SIGKILL, 0, 0, 0, 0]
    assert sorted(entry.path for entry in hub.log.entries()) == ["/files.example.org/one.tar.gz", "/files.example.org/two.tar.gz"]
    volume.check("alpha", some_files("one"))
    volume.check("beta", some_files("two"))
