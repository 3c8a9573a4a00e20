"""One writer at a time: the kernel's lock ends with its process, and the lock file says who holds it."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from provisioner.cancellation import Cancellation
from provisioner.errors import InterruptedBySignal, LockTimeoutError, VolumeError, VolumeNotWritableError
from provisioner.volume.fs.lock import describe_holder, short_lock, sign, try_lock, writer_lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOLDER = {"run_id": "run-1", "host": "here", "pid": 17, "since": "2026-01-01T00:00:00Z"}
DESCRIPTION = "run run-1 on host here, process 17, since 2026-01-01T00:00:00Z"

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
    """Return the path of the lock file."""
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
    path: Path,
    *,
    timeout: float = 30.0,
    cancellation: Cancellation | None = None,
    waiting: Any = lambda _who, _waited: None,
    shared: bool = False,
) -> Any:
    """Ask for the lock on behalf of :data:`HOLDER`."""
    cancellation = cancellation or Cancellation()
    return writer_lock(path, holder=HOLDER, timeout_seconds=timeout, cancellation=cancellation, waiting=waiting, shared=shared)


def is_free(path: Path) -> bool:
    """Return whether the lock could be taken now."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def test_held_and_released(path: Path) -> None:
    """While the lock is held its file names the holder; afterwards it is free, and the file stays."""
    with lock(path):
        assert not is_free(path)
        assert describe_holder(path) == DESCRIPTION
        assert path.stat().st_mode & 0o777 == 0o664
    assert is_free(path)
    assert path.is_file()
    with lock(path):
        assert not is_free(path)


def test_released_after_an_error(path: Path) -> None:
    """The lock is free after any exception in the block."""
    with pytest.raises(ZeroDivisionError), lock(path):
        raise ZeroDivisionError
    assert is_free(path)


@pytest.mark.usefixtures("other")
def test_the_timeout(path: Path) -> None:
    """After the timeout the error names the holder; its exit code is 75."""
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
def test_a_timeout_of_zero(path: Path) -> None:
    """With a timeout of 0 the lock is asked for once."""
    with pytest.raises(LockTimeoutError, match="another writer has the volume"), lock(path, timeout=0):
        pytest.fail("it was held")


def test_the_holder_ends(path: Path, other: subprocess.Popen[bytes]) -> None:
    """A waiting writer gets the lock once the holder releases it."""

    def waiting(_who: str, _waited: float) -> None:
        assert other.stdin is not None
        other.stdin.close()

    with lock(path, waiting=waiting):
        assert describe_holder(path) == DESCRIPTION


def test_the_holder_is_killed(path: Path, other: subprocess.Popen[bytes]) -> None:
    """A waiting writer gets the lock after the holder was killed; nothing has to be cleaned up."""
    with lock(path, waiting=lambda _who, _waited: other.send_signal(signal.SIGKILL)):
        assert describe_holder(path) == DESCRIPTION


@pytest.mark.usefixtures("other")
def test_cancelled_while_waiting(path: Path) -> None:
    """Cancellation ends the wait."""
    stop = Cancellation()
    with (
        pytest.raises(InterruptedBySignal),
        lock(path, cancellation=stop, waiting=lambda *_: stop.request(InterruptedBySignal(15))),
    ):
        pytest.fail("it was held")


def test_threads_of_one_process(path: Path) -> None:
    """Threads of one process exclude each other too."""
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


def test_a_child_process_does_not_keep_the_lock(path: Path) -> None:
    """A program that was started while the lock was held does not inherit it."""
    with lock(path):
        child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    assert is_free(path)
    child.communicate()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b'{"run_id": 1}', b'"text"', b"[" * 9999])
def test_any_content_of_the_lock_file(path: Path, content: bytes) -> None:
    """The content of the lock file is only used in messages; damaged content does no harm."""
    path.write_bytes(content)
    assert describe_holder(path) == "a writer that did not sign the lock"
    with lock(path):
        assert json.loads(path.read_bytes()) == HOLDER


def test_no_lock_file(tmp_path: Path) -> None:
    """Without a lock file the holder is unknown."""
    assert describe_holder(tmp_path / "nothing") == "a writer that did not sign the lock"


def test_a_lock_file_that_cannot_be_opened(tmp_path: Path) -> None:
    """A directory in place of the lock file is an error of the volume, with exit code 73 or 74."""
    with pytest.raises((VolumeError, VolumeNotWritableError)) as caught, lock(tmp_path):
        pytest.fail("that was a directory")
    assert caught.value.exit_code in {73, 74}


def test_no_kernel_locks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks is refused; the error names the setting that helps, and no other kind of lock is used."""

    def refuse(_file: object, _operation: int) -> None:
        raise OSError(38, "Function not implemented")

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", refuse)
        with pytest.raises(VolumeError, match="no working kernel lock") as caught, lock(path):
            pytest.fail("there was no lock")
    assert "LOCK=external" in caught.value.hint


# --- a lock that several hold, and locks of parts ------------------------------------------------------------------------


def test_several_share_it(path: Path) -> None:
    """Any number of writers share the lock; who wants it alone waits for all of them, and says who signed it."""
    with lock(path, shared=True):
        with lock(path, shared=True):
            sign(path, HOLDER)
            assert not is_free(path)
        with pytest.raises(LockTimeoutError, match=f"another writer has the volume: {DESCRIPTION}"), lock(path, timeout=0):
            pass
    with lock(path, timeout=0):
        assert not is_free(path)


def test_who_has_it_alone_is_no_sharer(path: Path, other: subprocess.Popen[bytes]) -> None:
    """A process that has the lock for itself, as every older version takes it, keeps out who would share it; a kill frees it."""
    with pytest.raises(LockTimeoutError, match="run run-2 on host there"), lock(path, timeout=0, shared=True):
        pass
    other.kill()
    with lock(path, shared=True):
        assert describe_holder(path).startswith("run run-2")  # who shares a lock does not sign it


def test_a_part_has_one_holder(path: Path) -> None:
    """A lock that is taken without waiting has one holder, in one process too, until its descriptor is closed."""
    descriptor = try_lock(path)
    assert descriptor is not None
    assert try_lock(path) is None
    assert path.stat().st_mode & 0o777 == 0o664
    assert not os.get_inheritable(descriptor)
    with short_lock(path, seconds=0.0) as is_held:
        assert not is_held
    os.close(descriptor)
    with short_lock(path, seconds=0.0) as is_held:
        assert is_held
        assert try_lock(path) is None


def test_a_cancelled_wait_for_a_short_lock(path: Path) -> None:
    """Cancellation ends the wait for a short lock as well."""
    cancellation = Cancellation()
    descriptor = try_lock(path)
    assert descriptor is not None
    cancellation.request(InterruptedBySignal(signal.SIGTERM))
    with pytest.raises(InterruptedBySignal), short_lock(path, seconds=30.0, cancellation=cancellation):
        pass
    os.close(descriptor)


def test_a_part_that_cannot_be_locked(tmp_path: Path) -> None:
    """A directory, or a link, in the place of a lock is an error of the volume."""
    with pytest.raises((VolumeError, VolumeNotWritableError)):
        try_lock(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises((VolumeError, VolumeNotWritableError)):
        try_lock(tmp_path / "link")
    assert not (tmp_path / "elsewhere").exists()
