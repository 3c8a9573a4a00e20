"""One writer at a time: the lock is the kernel's, dies with its process, and says who has it."""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from provisioner.cancellation import Cancellation
from provisioner.errors import InterruptedBySignal, LockTimeoutError, VolumeError, VolumeNotWritableError
from provisioner.volume.fs.lock import describe_holder, writer_lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOLDER = {"run_id": "run-1", "host": "here", "pid": 17, "since": "2026-01-01T00:00:00Z"}
SHOWN = "run run-1 on host here, process 17, since 2026-01-01T00:00:00Z"

OTHER = """
import fcntl, json, sys
file = open(sys.argv[1], "w+b", buffering=0)
fcntl.flock(file, fcntl.LOCK_EX)
file.write(json.dumps({"run_id": "run-2", "host": "there", "pid": 18, "since": "now"}).encode())
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the lock file's place."""
    return tmp_path / "lock"


@pytest.fixture
def other(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Return another process that holds the lock until its input ends."""
    command = [sys.executable, "-c", OTHER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def lock(
    path: Path, *, timeout: float = 30.0, cancellation: Cancellation | None = None, waiting: Any = lambda _who, _waited: None
) -> Any:
    """Ask for the lock."""
    return writer_lock(path, holder=HOLDER, timeout_seconds=timeout, cancellation=cancellation or Cancellation(), waiting=waiting)


def is_free(path: Path) -> bool:
    """Return whether anybody could have the lock now."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def test_held_and_given_back(path: Path) -> None:
    """It is signed while it is held, and free afterwards; the file stays."""
    with lock(path):
        assert not is_free(path)
        assert describe_holder(path) == SHOWN
        assert path.stat().st_mode & 0o777 == 0o664
    assert is_free(path)
    assert path.is_file()
    with lock(path):
        assert not is_free(path)


def test_given_back_after_an_error(path: Path) -> None:
    """Whatever ends the block."""
    with pytest.raises(ZeroDivisionError), lock(path):
        raise ZeroDivisionError
    assert is_free(path)


@pytest.mark.usefixtures("other")
def test_the_timeout(path: Path) -> None:
    """Who has it, and that nothing was changed; 75."""
    waits: list[tuple[str, float]] = []
    with (
        pytest.raises(LockTimeoutError, match="kept the volume for 1 s: run run-2 on host there, process 18") as caught,
        lock(path, timeout=0.6, waiting=lambda who, waited: waits.append((who, waited))),
    ):
        pytest.fail("it was held")
    assert caught.value.exit_code == 75
    assert waits[0][0] == "run run-2 on host there, process 18, since now"
    assert [waited for _, waited in waits] == sorted(waited for _, waited in waits)


@pytest.mark.usefixtures("other")
def test_no_wait_at_all(path: Path) -> None:
    """A timeout of 0 asks once."""
    with pytest.raises(LockTimeoutError, match="another writer has the volume"), lock(path, timeout=0):
        pytest.fail("it was held")


def test_the_holder_ends(path: Path, other: subprocess.Popen[bytes]) -> None:
    """Who waits gets it as soon as it is free."""

    def waiting(_who: str, _waited: float) -> None:
        assert other.stdin is not None
        other.stdin.close()

    with lock(path, waiting=waiting):
        assert describe_holder(path) == SHOWN


def test_the_holder_is_killed(path: Path, other: subprocess.Popen[bytes]) -> None:
    """Nothing has to be cleaned up after it."""
    with lock(path, waiting=lambda _who, _waited: other.send_signal(signal.SIGKILL)):
        assert describe_holder(path) == SHOWN


@pytest.mark.usefixtures("other")
def test_told_to_stop(path: Path) -> None:
    """A request to stop ends the wait."""
    stop = Cancellation()
    with (
        pytest.raises(InterruptedBySignal),
        lock(path, cancellation=stop, waiting=lambda *_: stop.request(InterruptedBySignal(15))),
    ):
        pytest.fail("it was held")


def test_threads_of_one_process(path: Path) -> None:
    """They exclude each other as well."""
    inside = 0
    most = 0

    def work() -> None:
        nonlocal inside, most
        with lock(path):
            inside += 1
            most = max(most, inside)
            threading.Event().wait(0.01)
            inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_a_child_does_not_keep_it(path: Path) -> None:
    """A program that was started under the lock does not inherit it."""
    with lock(path):
        child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    assert is_free(path)
    child.communicate()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b'{"run_id": 1}', b'"text"', b"[" * 9999])
def test_any_signature_is_survived(path: Path, content: bytes) -> None:
    """Whatever lies in the lock file, it is only text for people."""
    path.write_bytes(content)
    assert describe_holder(path) == "a writer that did not sign the lock"
    with lock(path):
        assert json.loads(path.read_bytes()) == HOLDER


def test_no_signature_at_all(tmp_path: Path) -> None:
    """Nor need there be a file."""
    assert describe_holder(tmp_path / "nothing") == "a writer that did not sign the lock"


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    """A directory in its place is a volume error; a missing right is 73 (see the refusals of real processes)."""
    with pytest.raises((VolumeError, VolumeNotWritableError)) as caught, lock(tmp_path):
        pytest.fail("that was a folder")
    assert caught.value.exit_code in {73, 74}


def test_no_kernel_locks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks is refused with what to set; a lock file that survives its writer is never made instead."""

    def refuse(_file: object, _operation: int) -> None:
        raise OSError(38, "Function not implemented")

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", refuse)
        with pytest.raises(VolumeError, match="no working kernel lock") as caught, lock(path):
            pytest.fail("there was no lock")
    assert "LOCK=external" in caught.value.hint
