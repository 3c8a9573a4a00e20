"""Data that are larger than anybody knew: limits hold while bytes come and while archives unpack."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest

from provisioner.catalog.size import Size
from provisioner.errors import NoRoomError, VolumeFullError
from provisioner.planning.capacity import most_bytes
from provisioner.volume.fs.free_space import device_space
from provisioner.volume.fs.write_budget import Bound, Budget, SharedBounds, device_bound
from tests.support.media import noise
from tests.support.miniature import gzip_bytes, pack_tar
from tests.support.shelf import some_files
from tests.support.tally import count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.shelf import Shelf
    from tests.support.volume import Volume

LIMIT = 3_000_000
BIG = noise("big", 9_000_000)
_PORTS: list[int] = []
GROWN = {"grown/zeros": bytes(9_000_000)}


def _zip(files: dict[str, bytes]) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _without_size(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "size"}


def url(shelf: Shelf, tmp_path: Path) -> list[dict[str, Any]]:  # noqa: ARG001
    """Serve a file of unknown size."""
    return [{"kind": "url", "files": [_without_size(shelf.raw("big.bin", BIG))]}]


def estimated(shelf: Shelf, tmp_path: Path) -> list[dict[str, Any]]:  # noqa: ARG001
    """Serve a file whose size is estimated."""
    return [{"kind": "url", "files": [shelf.raw("big.bin", BIG) | {"size": {"value": 1000, "estimate": True}}]}]


def local(shelf: Shelf, tmp_path: Path) -> list[dict[str, Any]]:  # noqa: ARG001
    """Name a file of this machine, of unknown size."""
    (tmp_path / "big.bin").write_bytes(BIG)
    return [{"kind": "url", "files": [{"url": f"file://{tmp_path}/big.bin", "digest": "none"}]}]


class _Endless(BaseHTTPRequestHandler):
    """An answer without a size and without an end."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(bytes(1 << 16))

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module", autouse=True)
def endless() -> Iterator[None]:
    """Serve answers without an end while the tests of this module run."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Endless) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        _PORTS.append(server.server_port)
        yield
        server.shutdown()


def without_end(shelf: Shelf, tmp_path: Path) -> list[dict[str, Any]]:  # noqa: ARG001
    """Name a URL whose answer has neither a size nor an end."""
    return [{"kind": "url", "files": [{"url": f"http://127.0.0.1:{_PORTS[-1]}/big.bin", "digest": "none"}]}]


def left_by_hand(shelf: Shelf, tmp_path: Path) -> list[dict[str, Any]]:
    """Put a copy with the right digest into the volume's root."""
    root = tmp_path / "volume"
    root.mkdir(exist_ok=True)
    (root / "big.bin").write_bytes(BIG)
    return url(shelf, tmp_path)


def tar(shelf: Shelf, tmp_path: Path) -> list[dict[str, Any]]:  # noqa: ARG001
    """Serve an archive of which nobody knows to how much it unpacks."""
    return [{"kind": "url", "files": [shelf.file("grown.tar.gz", GROWN)]}]


def zipped(shelf: Shelf, tmp_path: Path) -> list[dict[str, Any]]:  # noqa: ARG001
    """Serve the same as a ZIP, which several threads unpack."""
    members = {f"grown/{number}": bytes(900_000) for number in range(10)}
    return [{"kind": "url", "files": [shelf.raw("grown.zip", _zip(members), unpack="zip")]}]


def hub_archive(shelf: Shelf, tmp_path: Path) -> list[dict[str, Any]]:  # noqa: ARG001
    """Serve an archive from a repository."""
    shelf.server.hub.add_repo("ann/grown", {"grown.tar.gz": gzip_bytes(pack_tar(GROWN))})
    return [{"kind": "hub", "repo": "ann/grown", "unpack": {"*.tar.gz": "tar.gz"}}]


def hub_files(shelf: Shelf, tmp_path: Path) -> list[dict[str, Any]]:  # noqa: ARG001
    """Serve files from a repository, whose sizes the listing says."""
    shelf.server.hub.add_repo("ann/grown", {f"{number}.bin": noise(str(number), 900_000) for number in range(10)})
    return [{"kind": "hub", "repo": "ann/grown"}]


SOURCES = [url, estimated, local, without_end, left_by_hand, tar, zipped, hub_archive, hub_files]


@pytest.mark.parametrize(
    ("source", "staging"),
    [*((source, "on the volume") for source in SOURCES), *((source, "elsewhere") for source in (without_end, tar, zipped))],
)
def test_the_limit_of_what_is_kept(
    shelf: Shelf, volume: Volume, tmp_path: Path, source: Callable[[Shelf, Path], list[dict[str, Any]]], staging: str
) -> None:
    """MAX_STORAGE_GB is not exceeded by what turns out to be larger: it is left out, nothing of it stays, the others come."""
    if staging == "elsewhere":
        volume.settings["STAGING_DIR"] = str(tmp_path / "scratch")
    shelf.add("grown", sources=source(shelf, tmp_path), priority=5)
    shelf.add("beta", shelf.file("beta.tar.gz", some_files("beta")))
    volume.settings["MAX_STORAGE_GB"] = str(LIMIT / 1e9)
    volume.ready()
    count("faults")
    status = volume.status
    assert (status["state"], status["datasets"]["grown"]["reason"]) == ("partial", "storage_limit")
    assert status["volume"]["used_bytes"] <= LIMIT
    assert volume.published == ["beta"]
    assert volume.staged() == []
    assert not [path for path in (tmp_path / "scratch").rglob("*") if path.is_file()]


@pytest.mark.parametrize("source", [url, hub_files])
def test_nothing_less_than_what_was_asked_for(
    shelf: Shelf, volume: Volume, tmp_path: Path, source: Callable[[Shelf, Path], list[dict[str, Any]]]
) -> None:
    """By name, with ON_SHORTFALL=fail, and where nothing else is there, what does not fit is an error: 74."""
    shelf.add("grown", sources=source(shelf, tmp_path), priority=5)
    shelf.add("beta", shelf.file("beta.tar.gz", some_files("beta")))
    volume.settings["MAX_STORAGE_GB"] = str(LIMIT / 1e9)
    alone = {"DATASETS": "grown"}
    for changes in ({"ON_SHORTFALL": "fail"}, alone, alone | {"ON_SHORTFALL": "fail"}):
        outcome = volume.run(**changes)
        assert outcome.code == 74, outcome.err
        assert "grown" in outcome.err
        # Where the listing says the size, nothing is fetched before.
        assert source is url or volume.published == []
    shelf.document["phases"]["minimal"]["datasets"] = ["grown"]
    shelf.write()
    assert volume.run().code == 74
    assert volume.staged() == []


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.root
@pytest.mark.parametrize("source", [url, local, without_end, tar, zipped, hub_archive])
def test_the_last_bytes_of_a_volume(
    shelf: Shelf, volume: Volume, tmp_path: Path, source: Callable[[Shelf, Path], list[dict[str, Any]]]
) -> None:
    """They stay free: what would take them is stopped before (74), nothing of it stays, and the others come."""
    shelf.add("grown", sources=source(shelf, tmp_path), priority=5)
    shelf.add("beta", shelf.file("beta.tar.gz", some_files("beta", 2_000_000)))
    with _small_disk(volume.root):
        outcome = volume.run()
        count("faults")
        assert (outcome.code, volume.published, volume.staged()) == (74, ["beta"], []), outcome.err
        assert "stay free" in outcome.err


@pytest.mark.root
def test_the_last_bytes_of_a_staging_directory(shelf: Shelf, volume: Volume, tmp_path: Path) -> None:
    """They stay free as well, and the next run can work."""
    shelf.add("grown", sources=tar(shelf, tmp_path), priority=5)
    shelf.add("beta", shelf.file("beta.tar.gz", some_files("beta", 2_000_000)))
    with _small_disk(tmp_path / "scratch"):
        outcome = volume.run(STAGING_DIR=str(tmp_path / "scratch"))
        assert (outcome.code, volume.published) == (74, ["beta"]), outcome.err
        assert "STAGING_DIR" in outcome.err
        assert not [path for path in (tmp_path / "scratch").rglob("*") if path.is_file()]


# --- planned sizes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stated", "code"),
    [(9_000_000, 0), (8_999_999, 65), ({"value": 9_000_000, "estimate": True}, 0), ({"value": 5_000_000, "estimate": True}, 0)],
)
@pytest.mark.parametrize("where", ["archive", "Hub source"])
def test_a_planned_size(shelf: Shelf, volume: Volume, where: str, stated: Any, code: int) -> None:
    """An exact one holds exactly, an estimate up to a factor of two and 64 MiB: beyond it 65, nothing stays, the others come."""
    fields: dict[str, Any] = {}
    if where == "Hub source":
        shelf.server.hub.add_repo("ann/grown", {f"{number}.bin": noise(str(number), 900_000) for number in range(10)})
        fields = {"sources": [{"kind": "hub", "repo": "ann/grown", "size": stated}]}
    entry = shelf.file("grown.tar.gz", GROWN, **({"unpacked_size": stated} if where == "archive" else {}))
    shelf.add("grown", *([] if "sources" in fields else [entry]), priority=5, **fields)
    shelf.add("beta", shelf.file("beta.tar.gz", some_files("beta")))
    outcome = volume.run()
    assert outcome.code == code, outcome.err
    assert volume.published == (["beta"] if code else ["beta", "grown"])
    assert not code or not list((volume.private / "staging").glob("trees/grown"))


def test_what_an_estimate_allows() -> None:
    """Twice the estimate and 64 MiB; an exact size allows itself, an unknown one everything."""
    assert most_bytes(Size(10)) == 10
    assert most_bytes(Size(1000, estimate=True)) == 2000 + (64 << 20)
    assert most_bytes(None) is None


@pytest.mark.parametrize(("name", "where"), [("grown.tar.gz", "archive"), ("grown.zip", "archive"), ("grown.zip", "data set")])
def test_an_archive_far_beyond_what_was_planned(shelf: Shelf, volume: Volume, name: str, where: str) -> None:
    """It ends at its bound, before the volume is full: 65, nothing of it stays, and the others come."""
    members = {f"grown/{number}": bytes(20_000_000) for number in range(4)}
    content = _zip(members) if name.endswith("zip") else gzip_bytes(pack_tar(members))
    form = "zip" if name.endswith("zip") else "tar.gz"
    planned: dict[str, Any] = {"unpacked_size": {"value": 1000, "estimate": True}}
    entry = shelf.raw(name, content, unpack=form, **(planned if where == "archive" else {}))
    shelf.add("grown", entry, priority=5, **(planned if where == "data set" else {}))
    shelf.add("beta", shelf.file("beta.tar.gz", some_files("beta")))
    outcome = volume.run()
    assert (outcome.code, volume.published) == (65, ["beta"]), outcome.err
    assert "more than" in outcome.err
    assert not list((volume.private / "staging").glob("trees/grown"))


# --- repair ---------------------------------------------------------------------------------------------------------------


def test_a_repair_keeps_to_the_limit(shelf: Shelf, volume: Volume) -> None:
    """What is fetched to repair a version must not exceed MAX_STORAGE_GB either; the version stays as it was."""
    first = {key: value for key, value in shelf.raw("big.bin", b"small").items() if key != "size"} | {"digest": "none"}
    shelf.add("grown", first)
    volume.ready()
    (volume.tree("grown") / "big.bin").write_bytes(b"wrong")
    shelf.raw("big.bin", BIG)
    outcome = volume.run("repair", MAX_STORAGE_GB=str(LIMIT / 1e9))
    assert outcome.code == 74, outcome.err
    assert (volume.tree("grown") / "big.bin").read_bytes() == b"wrong"
    assert volume.staged() == []


# --- sizes that nobody knows ----------------------------------------------------------------------------------------------


def test_unknown_sizes_are_called_so(shelf: Shelf, volume: Volume) -> None:
    """In plan, list, log and status, as text and as JSON: never 0."""
    shelf.add("grown", _without_size(shelf.raw("a.bin", b"a" * 100)))
    plan = volume.ready("plan", "--json").json
    assert plan["download"]["bytes"] is None
    assert plan["steps"][0]["download"] is None
    assert set(plan["seconds"].values()) == {None}
    text = volume.ready("plan").out
    assert "To fetch:    unknown" in text
    assert "Peak disk:   unknown" in text
    assert "unknown" in volume.ready("list").out
    shelf.add("beta", shelf.raw("b.bin", b"b" * 5000))
    plan = volume.ready("plan", "--json").json
    assert plan["download"] == {"bytes": 5000, "estimate": True, "at_least": True}
    assert "at least 5.00 kB" in volume.ready("plan").out
    assert "at least 5.00 kB to fetch" in volume.ready().err
    shelf.document["datasets"]["beta"]["sources"] = [{"kind": "url", "files": [_without_size(shelf.raw("c.bin", b"c"))]}]
    shelf.write()
    assert "not known yet" in volume.ready().err


# --- the budget -----------------------------------------------------------------------------------------------------------


def _bound(remaining: Callable[[], int | None]) -> Bound:
    return Bound(remaining, lambda label, count: NoRoomError(f"{label}: {count}"))


@pytest.mark.parametrize("size", [1000, 1 << 20, 3 << 20, 70 << 20])
def test_a_bound_never_allows_more_than_remains(size: int) -> None:
    """Whatever the sizes of the writes, what is allowed ends at what remains, and it is measured rarely."""
    total, written, measured = 64 << 20, 0, 0

    def remaining() -> int:
        nonlocal measured
        measured += 1
        return total - written

    budget = Budget("alpha", SharedBounds(staged=[_bound(remaining)]))
    with contextlib.suppress(NoRoomError):
        while written <= total:
            budget.charge_staged(size)
            written += size
    assert total - size < written <= total or size > total
    assert measured < 100


def test_a_budget_frees_space() -> None:
    """What is of less use is given up before anything is refused."""
    freed: list[int] = []

    def free() -> bool:
        freed.append(1)
        return len(freed) == 1

    budget = Budget("alpha", SharedBounds(staged=[_bound(lambda: 100 if freed else 0)], free=free))
    budget.charge_staged(50)
    with pytest.raises(NoRoomError):
        budget.charge_tree(200)
    assert len(freed) == 2


def test_a_device_keeps_its_last_bytes(tmp_path: Path) -> None:
    """No more is allowed than is free without the reserve; the message says how much that is."""
    space = device_space(tmp_path)
    assert space is not None
    assert 0 < space.reserve <= 32 << 20
    bound = device_bound(tmp_path, "the volume")
    assert bound.allows(1)
    assert not bound.allows(space.free)
    error = bound.error("alpha", 10)
    assert isinstance(error, VolumeFullError)
    assert f"{space.reserve:,} stay free" in error.message


@pytest.mark.parametrize(
    ("blocks", "available", "known"),
    [(0, 0, False), (1000, 0, True), (1000, 2000, False), (1000, -1, False), (1 << 60, 1 << 60, False)],
)
def test_what_a_mount_says_of_its_space(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, blocks: int, available: int, known: bool
) -> None:
    """A size of 0, more free than there is, or an absurd number is no knowledge; 0 of 1000 is."""
    facts = type("Facts", (), {"f_frsize": 4096, "f_bsize": 4096, "f_blocks": blocks, "f_bavail": available})
    monkeypatch.setattr(os, "statvfs", lambda _path: facts)
    assert (device_space(tmp_path) is not None) == known
