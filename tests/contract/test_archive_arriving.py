"""Archives are unpacked while they arrive: they are read forward, and what was released is not read again."""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import lzma
import random
import struct
import sys
import tarfile
import threading
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provisioner.errors import BrokenArchiveError, UnsafeArchiveError, VolumeError
from provisioner.volume.archive import workers
from tests.support.incoming import Arriving
from tests.support.unpacking import unpack_into

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from provisioner.catalog.artifact import UnpackFormat
    from provisioner.volume.archive.target import Unpacked

NOISE = random.Random(0).randbytes(3_000_000)  # noqa: S311 - no secret
FILES = {
    "big": NOISE,
    **{f"d{n % 7}/small-{n}": NOISE[n : n + 700] for n in range(40)},
    **{f"e/middle-{n}": NOISE[n * 1000 : n * 1000 + 100_000] for n in range(20)},
}
COMPRESS: dict[UnpackFormat, Callable[[bytes], bytes]] = {
    "tar": lambda data: data,
    "tar.gz": gzip.compress,
    "tar.bz2": bz2.compress,
    "tar.xz": lambda data: lzma.compress(data, preset=0),
    "tar.zst": zstd.compress,
}
FORMS: list[UnpackFormat] = [*COMPRESS, "zip"]
METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


def tarred(files: dict[str, bytes]) -> bytes:
    """Return a tar of some files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def zipped(files: dict[str, bytes], methods: list[int]) -> bytes:
    """Return a zip of some files, whose methods alternate."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for number, (name, data) in enumerate(files.items()):
            packed.writestr(name, data, methods[number % len(methods)])
    return out.getvalue()


def packed(form: UnpackFormat, files: dict[str, bytes]) -> bytes:
    """Return an archive of some files."""
    return zipped(files, METHODS) if form == "zip" else COMPRESS[form](tarred(files))


def reordered(data: bytes, order: list[int]) -> bytes:
    """Return a zip with the entries of its index in another order."""
    end = data.rindex(b"PK\5\6")
    size, start = struct.unpack_from("<LL", data, end + 12)
    entries, at = [], start
    while at < start + size:
        length = 46 + sum(struct.unpack_from("<3H", data, at + 28))
        entries.append(data[at : at + length])
        at += length
    return data[:start] + b"".join(entries[number] for number in order) + data[end:]


def run(archive: Arriving, form: UnpackFormat, root: Path, **options: Any) -> Unpacked:
    """Unpack an archive that is still arriving."""
    return unpack_into(root, archive, form, **options)


def contents(root: Path, done: Unpacked) -> dict[str, bytes]:
    """Return the unpacked files by path, in the order of the entries."""
    return {entry.path: (root / entry.path).read_bytes() for entry in done.entries}


@pytest.fixture(autouse=True)
def no_thread_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Assert that every thread has ended; let there be two cores, however many this machine has."""
    monkeypatch.setattr(workers, "usable_cores", lambda: 2)
    before = threading.active_count()
    yield
    assert threading.active_count() == before


@pytest.mark.parametrize("form", FORMS)
def test_what_arrives_is_unpacked(tmp_path: Path, form: UnpackFormat) -> None:
    """Every file comes out in the archive's order, and what was released is not read again."""
    data = packed(form, FILES)
    told: list[int] = []
    with Arriving(data, piece=100_000) as archive:
        done = run(archive, form, tmp_path / "out", advance=told.append)
        assert list(contents(tmp_path / "out", done).items()) == list(FILES.items())
        assert sum(told) == sum(map(len, FILES.values()))
        assert archive.behind == 0
        assert archive.released > len(data) - (4 << 20)


@pytest.mark.parametrize("form", COMPRESS)
def test_a_tar_is_read_from_beginning_to_end(tmp_path: Path, form: UnpackFormat) -> None:
    """A tar is read forward, and no byte is read twice."""
    data = packed(form, FILES)
    with Arriving(data, piece=100_000) as archive:
        run(archive, form, tmp_path / "out")
        offsets = [offset for offset, _ in archive.reads if offset < archive.size]
        assert offsets == sorted(set(offsets))


def test_the_index_of_a_zip_takes_few_reads(tmp_path: Path) -> None:
    """However many members there are, the index is read in large pieces: each read may be a request to the server."""
    data = zipped({f"{number:05d}": b"" for number in range(20_000)}, [zipfile.ZIP_STORED])
    start = data.index(b"PK\1\2")
    with Arriving(data, piece=len(data)) as archive:
        run(archive, "zip", tmp_path / "out")
        assert len([offset for offset, _ in archive.reads if offset >= start]) < 8


@pytest.mark.parametrize("first", ["reversed", "shuffled", "last first"])
def test_an_index_in_another_order(tmp_path: Path, first: str) -> None:
    """Members are read by their position in the file, and entries are returned in the order of the index."""
    order = list(range(len(FILES)))
    if first == "reversed":
        order.reverse()
    elif first == "shuffled":
        random.Random(1).shuffle(order)  # noqa: S311 - no secret
    else:
        order.insert(0, order.pop())
    data = reordered(zipped(FILES, METHODS), order)
    names = list(FILES)
    with Arriving(data, piece=100_000) as archive:
        done = run(archive, "zip", tmp_path / "out")
        assert list(contents(tmp_path / "out", done).items()) == [(names[n], FILES[names[n]]) for n in order]
        assert archive.behind == 0
        assert archive.released > 0


def test_empty_directories_in_another_order(tmp_path: Path) -> None:
    """Empty directories follow the files, in the order of the index."""
    files = dict.fromkeys(("c/", "b/x", "b/", "a/", "y"), b"")
    with Arriving(reordered(zipped(files, [zipfile.ZIP_STORED]), [4, 3, 2, 1, 0])) as archive:
        done = run(archive, "zip", tmp_path / "out")
    assert [entry.path for entry in done.entries] == ["y", "b/x", "a", "c"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_transfer_that_fails(tmp_path: Path, form: UnpackFormat, share: float) -> None:
    """The error of the transfer is raised unchanged, whichever thread it occurred in."""
    data = packed(form, FILES)
    here = int(len(data) * share) or 1
    # So that the last whole piece ends there.
    piece = max(here, len(data) - here) if share else len(data) + 1
    with Arriving(data, piece=piece, error=VolumeError("lost")) as archive, pytest.raises(VolumeError, match="lost"):
        run(archive, form, tmp_path / "out")


@pytest.mark.parametrize("form", FORMS)
def test_cancellation_in_any_thread(tmp_path: Path, form: UnpackFormat) -> None:
    """Cancellation ends the work, whichever thread notices it, and at whichever check."""
    data = packed(form, FILES)
    for when in (1, 2, 5, 30, 60):
        asked = itertools.count(1)

        def stop(asked: itertools.count[int] = asked, when: int = when) -> None:
            # One call of C: whole, whichever thread makes it.
            if next(asked) >= when:
                raise KeyboardInterrupt

        with Arriving(data, piece=500_000) as archive, pytest.raises(KeyboardInterrupt):
            run(archive, form, tmp_path / f"out{when}", check_cancelled=stop)


def test_the_first_wrong_member_is_named(tmp_path: Path) -> None:
    """If a broken file precedes a refused name, the error names the file, though another thread reads it."""
    files = {"a": NOISE[:500_000], "b": NOISE[:100_000], "c": NOISE[:100_000], "../d": b"x"}
    whole = zipped(files, [zipfile.ZIP_DEFLATED])
    with Arriving(whole) as archive, pytest.raises(UnsafeArchiveError, match="leads out"):
        run(archive, "zip", tmp_path / "one")
    for broken in ("a", "b", "c"):
        data = bytearray(whole)
        at = data.index(b"PK\1\2")
        for _ in range("abc".index(broken)):
            at = data.index(b"PK\1\2", at + 1)
        data[at + 16] ^= 1
        with Arriving(bytes(data), piece=100_000) as archive, pytest.raises(BrokenArchiveError, match=f"'{broken}' has a wrong"):
            run(archive, "zip", tmp_path / broken)


def test_large_members_with_the_same_name(tmp_path: Path) -> None:
    """Equal content is accepted and other content refused, even while the first member is still being written."""
    for second, fine in ((NOISE[:200_000], True), (NOISE[1:200_001], False)):
        data = zipped({"x": NOISE[:200_000], "y": second}, [zipfile.ZIP_STORED])
        changed = bytearray(data)
        for signature, place in ((b"PK\3\4", 30), (b"PK\1\2", 46)):
            at = changed.rindex(signature)
            changed[at + place] = ord("x")
        root = tmp_path / str(fine)
        with Arriving(bytes(changed), piece=100_000) as archive:
            if fine:
                assert contents(root, run(archive, "zip", root)) == {"x": second}
            else:
                with pytest.raises(UnsafeArchiveError, match="twice, and different"):
                    run(archive, "zip", root)


names = st.lists(st.sampled_from(["a", "b", "ü"]), min_size=1, max_size=3).map("-".join)
trees = st.dictionaries(
    st.tuples(names, names).map("/".join),
    st.tuples(st.sampled_from([0, 1, 511, 512, 513, 2048, 40_000, 300_000, 1 << 20]), st.integers(0, 1000)),
    max_size=8,
)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=trees, piece=st.integers(20_000, 500_000), seed=st.integers(0, 5))
def test_any_archive(
    tmp_path_factory: pytest.TempPathFactory, form: UnpackFormat, tree: dict[str, tuple[int, int]], piece: int, seed: int
) -> None:
    """An archive of any files, arriving in any pieces, unpacks to these files, with the same result each time."""
    files = {name: NOISE[start : start + size] for name, (size, start) in tree.items()}
    data = packed(form, files)
    if form == "zip" and files:
        order = list(range(len(files)))
        random.Random(seed).shuffle(order)  # noqa: S311 - no secret
        data = reordered(data, order)
        files = {name: files[name] for name in (list(files)[number] for number in order)}
    root = tmp_path_factory.mktemp("any")
    with Arriving(data, piece=piece) as archive:
        done = run(archive, form, root / "one")
    assert list(contents(root / "one", done).items()) == list(files.items())
    with Arriving(data, piece=piece * 2) as archive:
        assert run(archive, form, root / "two") == done
