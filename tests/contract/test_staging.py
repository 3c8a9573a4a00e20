"""Partial files: however the bytes are divided, and whenever the process dies in between, only right bytes are sealed."""

from __future__ import annotations

import hashlib
import itertools
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.catalog.answers import HEAD
from provisioner.catalog.artifact import Artifact
from provisioner.catalog.digest import Digest
from provisioner.catalog.size import Size
from provisioner.errors import DigestMismatchError, InterruptedBySignal, SizeMismatchError, VolumeError
from provisioner.volume.staging.blob import RESUMABLE, Blob
from provisioner.volume.staging.hashing import hash_file
from tests.support.hub_model import StoredFile
from tests.support.media import noise

CONTENT = noise("staged", 10_000)


def digest_of(algorithm: str, content: bytes) -> Digest:
    """Return the digest of bytes by an algorithm."""
    if algorithm == "gitsha1":
        return Digest(algorithm, StoredFile.of("x.txt", content).blob_id)
    return Digest(algorithm, hashlib.new(algorithm, content, usedforsecurity=False).hexdigest())


def artifact(
    content: bytes = CONTENT, *, algorithm: str | None = "sha256", size: Size | str | None = "exact", url: str = "https://x/f"
) -> Artifact:
    """Return the artifact for a file."""
    return Artifact(
        name="f",
        urls=(url,),
        size=Size(len(content)) if isinstance(size, str) else size,
        digest=digest_of(algorithm, content) if algorithm else None,
        unpack="none",
        into="",
        verified_against="catalog",
    )


def opened(directory: Path, what: Artifact) -> Blob:
    """Open the partial file."""
    return Blob(directory, what, check_cancelled=lambda: None)


@pytest.mark.parametrize("algorithm", ["sha256", "sha1", "md5", "gitsha1", None])
def test_sealed(tmp_path: Path, algorithm: str | None) -> None:
    """Right bytes are sealed, whatever the algorithm of their digest, and their SHA-256 is returned."""
    with opened(tmp_path, artifact(algorithm=algorithm)) as blob:
        blob.write(CONTENT[:5000])
        blob.write(memoryview(CONTENT)[5000:])
        assert blob.seal() == hashlib.sha256(CONTENT).hexdigest()
        assert blob.have == len(CONTENT)


@pytest.mark.parametrize("algorithm", ["sha256", "sha1", "md5", "gitsha1"])
def test_one_wrong_bit(tmp_path: Path, algorithm: str) -> None:
    """One wrong bit is found with any algorithm, and all bytes are dropped."""
    wrong = bytearray(CONTENT)
    wrong[4321] ^= 1
    with opened(tmp_path, artifact(algorithm=algorithm)) as blob:
        blob.write(wrong)
        with pytest.raises(DigestMismatchError, match=f"expected {algorithm}:"):
            blob.seal()
        assert (blob.have, blob.path.stat().st_size) == (0, 0)
        blob.write(CONTENT)
        blob.seal()


def test_too_short(tmp_path: Path) -> None:
    """A file that is shorter than its known size is refused."""
    with opened(tmp_path, artifact()) as blob:
        blob.write(CONTENT[:-1])
        with pytest.raises(SizeMismatchError, match="expected 10,000 bytes, got 9,999"):
            blob.seal()


@pytest.mark.parametrize("size", [None, Size(5, estimate=True)])
def test_an_unknown_size(tmp_path: Path, size: Size | None) -> None:
    """Where the size is unknown or an estimate, the digest alone decides."""
    with opened(tmp_path, artifact(size=size)) as blob:
        blob.write(CONTENT)
        assert blob.seal() == hashlib.sha256(CONTENT).hexdigest()


@given(cuts=st.lists(st.integers(0, len(CONTENT)), max_size=6))
def test_deaths_in_between(cuts: list[int]) -> None:
    """A file that several processes write one after the other is hashed as a whole."""
    with tempfile.TemporaryDirectory() as directory:
        offsets = [0, *sorted(cuts), len(CONTENT)]
        for start, stop in itertools.pairwise(offsets):
            with opened(Path(directory), artifact()) as blob:
                assert blob.have == start
                blob.write(CONTENT[start:stop])
        with opened(Path(directory), artifact()) as blob:
            assert blob.seal() == hashlib.sha256(CONTENT).hexdigest()


def test_any_source_continues(tmp_path: Path) -> None:
    """Bytes with a known digest are continued from another URL of the same digest."""
    with opened(tmp_path, artifact(url="https://one/f")) as blob:
        blob.write(CONTENT[:5000])
    with opened(tmp_path, artifact(url="https://two/g")) as blob:
        assert blob.have == 5000


def test_without_a_digest_each_url_has_its_own_file(tmp_path: Path) -> None:
    """Without a digest, the bytes of one URL are not continued from another."""
    with opened(tmp_path, artifact(algorithm=None, url="https://one/f")) as blob:
        blob.record_origin("https://one/f", '"etag"')
        blob.write(CONTENT)
    with opened(tmp_path, artifact(algorithm=None, url="https://two/g")) as blob:
        assert blob.have == 0


def test_bytes_without_digest_and_validator(tmp_path: Path) -> None:
    """A partial file with neither a digest nor a validator is dropped."""
    with opened(tmp_path, artifact(algorithm=None)) as blob:
        blob.write(CONTENT[:5000])
    with opened(tmp_path, artifact(algorithm=None)) as blob:
        assert blob.have == 0


def test_the_origin_is_kept(tmp_path: Path) -> None:
    """Of a file of 1 MiB or more, URL and validator are kept for the If-Range of the next run."""
    large = artifact(size=Size(RESUMABLE))
    with opened(tmp_path, large) as blob:
        blob.record_origin("https://x/f", '"etag"')
        blob.write(b"x")
    with opened(tmp_path, large) as blob:
        assert blob.origin == ("https://x/f", '"etag"')
        blob.restart()
        assert blob.origin is None


@pytest.mark.parametrize("how", ["restart", "no validator", "no bytes"])
def test_an_origin_of_other_bytes_is_forgotten(tmp_path: Path, how: str) -> None:
    """A record of the origin is never believed of bytes that came after it, also in a later run."""
    large = artifact(size=Size(RESUMABLE), algorithm=None)
    with opened(tmp_path, large) as blob:
        blob.record_origin("https://x/f", '"etag"')
        if how != "no bytes":
            blob.write(b"x")
    with opened(tmp_path, large) as blob:
        if how == "restart":
            blob.restart()
        blob.record_origin("https://x/f", None)
        blob.write(b"y")
    with opened(tmp_path, large) as blob:
        assert (blob.have, blob.origin) == (0, None)


def test_a_disk_that_reads_less_than_it_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first bytes, by which a file is recognised, are complete even if single reads return fewer."""
    real = os.read
    monkeypatch.setattr(os, "read", lambda handle, count: real(handle, min(count, 100)))
    with opened(tmp_path, artifact()) as blob:
        blob.write(CONTENT)
        assert blob.head() == CONTENT[:HEAD]
        blob.write(b"")
        assert blob.seal() == hashlib.sha256(CONTENT).hexdigest()


def test_pieces_are_no_beginning(tmp_path: Path) -> None:
    """A file in which ranges left holes is not continued by one connection, whatever its length."""
    large = artifact(size=Size(RESUMABLE))
    with opened(tmp_path, large) as blob:
        blob.write(b"x")
        blob.path.with_suffix(".journal").write_bytes(b"any")
    with opened(tmp_path, large) as blob:
        assert blob.have == 0
    assert not list(tmp_path.rglob("*.journal"))


def test_a_journal_without_pieces_costs_nothing(tmp_path: Path) -> None:
    """A journal of ranges that never arrived is not applied to bytes that arrive in order: these survive a kill."""
    with opened(tmp_path, artifact()) as blob:
        pass
    blob.path.with_suffix(".journal").write_bytes(b"any")
    with opened(tmp_path, artifact()) as blob:
        blob.write(CONTENT[:5000])
    with opened(tmp_path, artifact()) as blob:
        assert blob.have == 5000


@pytest.mark.parametrize("record", [b"", b"{", b"[]", b"\xff", b'{"url": 5}', b'{"url": "https://x/f"}', b"[" * 9999])
def test_a_damaged_record_of_the_origin(tmp_path: Path, record: bytes) -> None:
    """A damaged record of the origin counts as missing; the bytes are kept."""
    large = artifact(size=Size(RESUMABLE))
    with opened(tmp_path, large) as blob:
        blob.record_origin("https://x/f", '"etag"')
        blob.write(b"x")
    (path,) = tmp_path.glob("*.json")
    path.write_bytes(record)
    with opened(tmp_path, large) as blob:
        assert (blob.have, blob.origin) == (1, None)


def test_a_partial_file_that_is_too_long(tmp_path: Path) -> None:
    """A partial file that is longer than the whole is dropped."""
    with opened(tmp_path, artifact(size=Size(99_999))) as blob:
        blob.write(CONTENT + CONTENT)
    with opened(tmp_path, artifact()) as blob:
        assert blob.have == 0


def test_cancelled_while_hashing(tmp_path: Path) -> None:
    """Cancellation ends the hashing of existing bytes, which are kept."""
    with opened(tmp_path, artifact()) as blob:
        blob.write(CONTENT[:5000])

    def stop() -> None:
        raise InterruptedBySignal(15)

    with pytest.raises(InterruptedBySignal):
        Blob(tmp_path, artifact(), check_cancelled=stop)
    with opened(tmp_path, artifact()) as blob:
        assert blob.have == 5000


def test_dropped_and_moved(tmp_path: Path) -> None:
    """Nothing is left in staging after a file was dropped or moved into a tree."""
    blobs = tmp_path / "blobs"
    with opened(blobs, artifact(size=None)) as blob:
        blob.record_origin("https://x/f", '"etag"')
        blob.write(CONTENT)
        blob.drop()
    assert os.listdir(blobs) == []
    with opened(blobs, artifact(size=None)) as blob:
        blob.record_origin("https://x/f", '"etag"')
        blob.write(CONTENT)
        blob.move_to(lambda path: os.replace(path, tmp_path / "f"))
    assert os.listdir(blobs) == []
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_directory_in_the_way(tmp_path: Path) -> None:
    """A directory in place of the partial file is an error of the volume that names the file."""
    what = artifact()
    (tmp_path / f"{what.key}.part").mkdir()
    with pytest.raises(VolumeError, match="staging f"):
        opened(tmp_path, what)


@pytest.mark.parametrize("algorithm", ["sha256", "sha1", "md5", "gitsha1"])
def test_hashing_a_file(tmp_path: Path, algorithm: str) -> None:
    """Hashing a file tells whether it is the artifact, and its SHA-256."""
    path = tmp_path / "f"
    path.write_bytes(CONTENT)
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    assert hash_file(path, artifact(algorithm=algorithm), lambda: None) == (True, sha256)
    assert hash_file(path, artifact(b"other", algorithm=algorithm), lambda: None) == (False, sha256)
    assert hash_file(path, artifact(algorithm=None), lambda: None) == (False, sha256)
