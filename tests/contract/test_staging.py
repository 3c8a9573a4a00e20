"""Bytes on their way in: whatever is written, in whatever pieces, with deaths in between, only right bytes are sealed."""

from __future__ import annotations

import hashlib
import itertools
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    """Name bytes by an algorithm."""
    if algorithm == "gitsha1":
        return Digest(algorithm, StoredFile.of("x.txt", content).blob_id)
    return Digest(algorithm, hashlib.new(algorithm, content, usedforsecurity=False).hexdigest())


def artifact(
    content: bytes = CONTENT, *, algorithm: str | None = "sha256", size: Size | str | None = "exact", url: str = "https://x/f"
) -> Artifact:
    """Describe a file."""
    return Artifact(
        name="f",
        urls=(url,),
        size=Size(len(content)) if isinstance(size, str) else size,
        digest=digest_of(algorithm, content) if algorithm else None,
        unpack="none",
        into="",
        verified_against="catalog",
    )


def opened(folder: Path, what: Artifact) -> Blob:
    """Open the staged file."""
    return Blob(folder, what, check_cancelled=lambda: None)


@pytest.mark.parametrize("algorithm", ["sha256", "sha1", "md5", "gitsha1", None])
def test_sealed(tmp_path: Path, algorithm: str | None) -> None:
    """Right bytes by any algorithm are sealed, and their SHA-256 is told."""
    with opened(tmp_path, artifact(algorithm=algorithm)) as blob:
        blob.write(CONTENT[:5000])
        blob.write(memoryview(CONTENT)[5000:])
        assert blob.seal() == hashlib.sha256(CONTENT).hexdigest()
        assert blob.have == len(CONTENT)


@pytest.mark.parametrize("algorithm", ["sha256", "sha1", "md5", "gitsha1"])
def test_one_wrong_bit(tmp_path: Path, algorithm: str) -> None:
    """It is found by any of them, and everything is dropped."""
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
    """A size that is known must be reached."""
    with opened(tmp_path, artifact()) as blob:
        blob.write(CONTENT[:-1])
        with pytest.raises(SizeMismatchError, match="expected 10,000 bytes, got 9,999"):
            blob.seal()


@pytest.mark.parametrize("size", [None, Size(5, estimate=True)])
def test_an_unknown_size(tmp_path: Path, size: Size | None) -> None:
    """Where the size is not known, or an estimate, the digest alone decides."""
    with opened(tmp_path, artifact(size=size)) as blob:
        blob.write(CONTENT)
        assert blob.seal() == hashlib.sha256(CONTENT).hexdigest()


@given(cuts=st.lists(st.integers(0, len(CONTENT)), max_size=6))
def test_deaths_in_between(cuts: list[int]) -> None:
    """Written in any pieces by any number of processes, one after the other: the hash goes on where the bytes stand."""
    with tempfile.TemporaryDirectory() as folder:
        places = [0, *sorted(cuts), len(CONTENT)]
        for start, stop in itertools.pairwise(places):
            with opened(Path(folder), artifact()) as blob:
                assert blob.have == start
                blob.write(CONTENT[start:stop])
        with opened(Path(folder), artifact()) as blob:
            assert blob.seal() == hashlib.sha256(CONTENT).hexdigest()


def test_any_source_goes_on(tmp_path: Path) -> None:
    """Bytes with a digest belong to whoever has the same digest, not to an address."""
    with opened(tmp_path, artifact(url="https://one/f")) as blob:
        blob.write(CONTENT[:5000])
    with opened(tmp_path, artifact(url="https://two/g")) as blob:
        assert blob.have == 5000


def test_without_a_digest_an_address_has_its_own(tmp_path: Path) -> None:
    """Nobody could tell later whose beginning it was."""
    with opened(tmp_path, artifact(algorithm=None, url="https://one/f")) as blob:
        blob.begin("https://one/f", '"etag"')
        blob.write(CONTENT)
    with opened(tmp_path, artifact(algorithm=None, url="https://two/g")) as blob:
        assert blob.have == 0


def test_a_beginning_that_nobody_can_judge(tmp_path: Path) -> None:
    """Neither digest nor validator: it is dropped."""
    with opened(tmp_path, artifact(algorithm=None)) as blob:
        blob.write(CONTENT[:5000])
    with opened(tmp_path, artifact(algorithm=None)) as blob:
        assert blob.have == 0


def test_where_it_came_from(tmp_path: Path) -> None:
    """For a file that is worth it, address and validator survive, for the next run's If-Range."""
    large = artifact(size=Size(RESUMABLE))
    with opened(tmp_path, large) as blob:
        blob.begin("https://x/f", '"etag"')
        blob.write(b"x")
    with opened(tmp_path, large) as blob:
        assert blob.origin == ("https://x/f", '"etag"')
        blob.restart()
        assert blob.origin is None


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b"\xff", b'{"url": 5}', b'{"url": "https://x/f"}', b"[" * 9999])
def test_a_damaged_note(tmp_path: Path, note: bytes) -> None:
    """It is none."""
    large = artifact(size=Size(RESUMABLE))
    with opened(tmp_path, large) as blob:
        blob.begin("https://x/f", '"etag"')
        blob.write(b"x")
    (path,) = tmp_path.glob("*.json")
    path.write_bytes(note)
    with opened(tmp_path, large) as blob:
        assert (blob.have, blob.origin) == (1, None)


def test_more_than_there_can_be(tmp_path: Path) -> None:
    """A beginning longer than the file is dropped at once."""
    with opened(tmp_path, artifact(size=Size(99_999))) as blob:
        blob.write(CONTENT + CONTENT)
    with opened(tmp_path, artifact()) as blob:
        assert blob.have == 0


def test_told_to_stop_while_hashing(tmp_path: Path) -> None:
    """A large beginning is hashed in pieces, with a look for a request to stop between them."""
    with opened(tmp_path, artifact()) as blob:
        blob.write(CONTENT[:5000])

    def stop() -> None:
        raise InterruptedBySignal(15)

    with pytest.raises(InterruptedBySignal):
        Blob(tmp_path, artifact(), check_cancelled=stop)
    with opened(tmp_path, artifact()) as blob:
        assert blob.have == 5000


def test_dropped_and_moved(tmp_path: Path) -> None:
    """Either way staging is empty afterwards."""
    blobs = tmp_path / "blobs"
    with opened(blobs, artifact(size=None)) as blob:
        blob.begin("https://x/f", '"etag"')
        blob.write(CONTENT)
        blob.drop()
    assert os.listdir(blobs) == []
    with opened(blobs, artifact(size=None)) as blob:
        blob.begin("https://x/f", '"etag"')
        blob.write(CONTENT)
        blob.move_to(tmp_path / "tree" / "d" / "f")
    assert os.listdir(blobs) == []
    assert (tmp_path / "tree" / "d" / "f").read_bytes() == CONTENT


def test_a_folder_in_the_way(tmp_path: Path) -> None:
    """An error of ours, with the name."""
    what = artifact()
    (tmp_path / f"{what.key}.part").mkdir()
    with pytest.raises(VolumeError, match="staging f"):
        opened(tmp_path, what)


@pytest.mark.parametrize("algorithm", ["sha256", "sha1", "md5", "gitsha1"])
def test_hashing_a_file(tmp_path: Path, algorithm: str) -> None:
    """Whether a file is the artifact, and its SHA-256."""
    path = tmp_path / "f"
    path.write_bytes(CONTENT)
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    assert hash_file(path, artifact(algorithm=algorithm), lambda: None) == (True, sha256)
    assert hash_file(path, artifact(b"other", algorithm=algorithm), lambda: None) == (False, sha256)
    assert hash_file(path, artifact(algorithm=None), lambda: None) == (False, sha256)
