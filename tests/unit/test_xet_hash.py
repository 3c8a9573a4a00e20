"""The Xet hash of bytes that come in pieces is that of the whole file, and leaves nothing behind."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import hf_xet
import pytest

from provisioner.volume.staging.xet_hash import XetHash, can_hash_xet
from tests.support.program import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path

DATA = bytes(range(256)) * 2000


@pytest.mark.parametrize("step", [1000, 65_537, len(DATA)])
def test_pieces_of_any_size(tmp_path: Path, step: int) -> None:
    """It does not depend on how the bytes come."""
    (tmp_path / "file").write_bytes(DATA)
    found = XetHash()
    for start in range(0, len(DATA), step):
        found.update(DATA[start : start + step])
    assert found.hexdigest() == found.hexdigest() == hf_xet.hash_files([str(tmp_path / "file")])[0].hash
    assert can_hash_xet()


def descriptors() -> int:
    """Return how many there are."""
    return len(os.listdir("/dev/fd"))


def test_one_that_is_dropped() -> None:
    """Half a file ends its thread, and closes what it had opened."""
    XetHash().hexdigest()
    before = descriptors()
    half = XetHash()
    half.update(DATA)
    thread = half._thread
    del half
    gc.collect()
    thread.join(30)
    assert not thread.is_alive()
    assert descriptors() == before
    assert "xet-hash" not in {one.name for one in threading.enumerate()}


def test_a_library_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever writes on learns why nobody reads, and does not wait for ever."""

    def fail(_: list[str]) -> None:
        raise OSError("no such thing")

    monkeypatch.setattr(hf_xet, "hash_files", fail)
    found = XetHash()
    with pytest.raises(RuntimeError, match="no such thing"):
        found.update(DATA * 10)
    with pytest.raises(RuntimeError, match="no such thing"):
        found.hexdigest()


MANY = """
import os, sys
os.environ["TOKIO_WORKER_THREADS"] = "1"
before = dict(os.environ)
from provisioner.volume.staging.xet_hash import XetHash
data = bytes(300_000)
hashes = [XetHash() for _ in range(40)]
for one in hashes:
    one.update(data)
assert len({one.hexdigest() for one in hashes}) == 1
assert dict(os.environ) == before
print(len(os.listdir("/dev/fd")))
"""


def test_many_at_once(tmp_path: Path) -> None:
    """Each of many files that arrive at once gets on, and the library's settings, log and descriptors are nobody else's."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    command = [sys.executable, "-c", MANY]
    done = subprocess.run(command, env=environ, cwd=CHECKOUT, capture_output=True, text=True, timeout=30, check=True)
    assert int(done.stdout) < 30
    assert list(tmp_path.iterdir()) == []
