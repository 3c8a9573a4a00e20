"""Files that are already on this machine: found by name or in the Hub client's cache, used only if their digest is right."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from provisioner.catalog.artifact import Artifact
from provisioner.catalog.digest import Digest
from provisioner.catalog.size import Size
from provisioner.errors import InterruptedBySignal
from provisioner.volume.staging.local_copies import LocalCopies
from tests.support.hub_model import StoredFile
from tests.support.media import noise

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.hub_server import HubServer

CONTENT = noise("found", 5000)


def artifact(name: str = "f.zip", *, algorithm: str | None = "sha256", size: int | None = len(CONTENT)) -> Artifact:
    """Return the artifact to look for."""
    digests = {
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
        "md5": hashlib.md5(CONTENT, usedforsecurity=False).hexdigest(),
        "gitsha1": StoredFile.of("x.txt", CONTENT).blob_id,
    }
    digest = Digest(algorithm, digests[algorithm]) if algorithm else None
    return Artifact(name, ("https://x/f",), Size(size) if size else None, digest, "none", "", "catalog")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return an empty volume."""
    (tmp_path / "volume").mkdir()
    return tmp_path / "volume"


def copies(root: Path, cache: Path | None = None) -> LocalCopies:
    """Return the local copies of a volume and a cache."""
    return LocalCopies(root, cache, lambda: None)


def found_by(copies: LocalCopies, artifact: Artifact) -> Path | None:
    """Return where a copy of an artifact is."""
    copy = copies.find(artifact)
    return copy and copy.path


@pytest.mark.parametrize(
    ("name", "size", "found"),
    [
        ("f.zip", 5000, True),
        ("deep/er/f.zip", 5000, True),
        ("f (1).zip", 200_000, True),  # as a browser calls it
        ("0a1b2c", 200_000, True),  # as another tool's cache does
        ("datasets/audio/f.zip", 5000, True),  # only the volume's own directory of this name has trees
        ("f (1).zip", 5000, False),  # too small to be told by its size
    ],
)
def test_in_directories_that_the_user_names(root: Path, tmp_path: Path, name: str, size: int, found: bool) -> None:
    """A file is found by its name, or by its size if that tells it; its digest decides, and what is wrong is passed over."""
    content = noise("further", size)
    path = tmp_path / "downloads" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    (tmp_path / "downloads" / "wrong").write_bytes(bytes(size))
    digest = Digest("sha256", hashlib.sha256(content).hexdigest())
    wanted = Artifact("f.zip", ("https://x/f",), Size(size), digest, "none", "", "catalog")
    copies = LocalCopies(root, None, lambda: None, further=(tmp_path / "nowhere", tmp_path / "downloads"))
    assert found_by(copies, wanted) == (path if found else None)


@pytest.mark.parametrize("place", ["f.zip", "downloads/f.zip"])
@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_left_beside_the_data_sets(root: Path, place: str, algorithm: str) -> None:
    """A file in the volume's root, or in a directory of it, is found."""
    path = root / place
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(CONTENT)
    assert found_by(copies(root), artifact(algorithm=algorithm)) == path
    assert found_by(copies(root), artifact("d/e/f.zip", algorithm=algorithm)) == path


@pytest.mark.parametrize(
    "place", ["other.zip", "a/b/f.zip", "datasets/f.zip", ".provisioner/f.zip", "lost+found/f.zip"]
)  # fmt: skip
def test_not_searched(root: Path, place: str) -> None:
    """Other names, deeper directories, published data sets and the program's own directory are not searched."""
    path = root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(CONTENT)
    assert found_by(copies(root), artifact()) is None


def test_links_are_not_followed(root: Path, tmp_path: Path) -> None:
    """A link on the volume could lead anywhere, so it is not used."""
    (tmp_path / "outside.zip").write_bytes(CONTENT)
    (root / "f.zip").symlink_to(tmp_path / "outside.zip")
    (root / "folder").symlink_to(tmp_path)
    assert found_by(copies(root), artifact()) is None


@pytest.mark.parametrize("leads_to", ["file", "nowhere", "itself", "device", "directory"])
def test_links_that_the_user_names(root: Path, tmp_path: Path, leads_to: str) -> None:
    """In a directory that the user names, links to files are followed: a snapshot in the Hub client's cache is made of them."""
    snapshot, blobs = tmp_path / "snapshots" / "commit", tmp_path / "blobs"
    for directory in (snapshot, blobs):
        directory.mkdir(parents=True)
    (blobs / "0a1b").write_bytes(CONTENT)
    targets = {
        "file": blobs / "0a1b",
        "nowhere": blobs / "2c",
        "itself": snapshot / "f.zip",
        "device": root.joinpath("/dev/zero"),
    }
    (snapshot / "f.zip").symlink_to(targets.get(leads_to, blobs))
    copies = LocalCopies(root, None, lambda: None, further=(tmp_path / "snapshots",))
    assert found_by(copies, artifact()) == (snapshot / "f.zip" if leads_to == "file" else None)


def test_the_right_one_of_several(root: Path) -> None:
    """A wrong file with the right name does not hide the right one."""
    (root / "f.zip").write_bytes(CONTENT[::-1])
    (root / "d").mkdir()
    (root / "d" / "f.zip").write_bytes(CONTENT)
    assert found_by(copies(root), artifact()) == root / "d" / "f.zip"


def test_wrong_bytes_and_no_digest(root: Path) -> None:
    """A name and a size are not enough: without a matching digest no file is used."""
    (root / "f.zip").write_bytes(CONTENT[::-1])
    assert found_by(copies(root), artifact()) is None
    (root / "f.zip").write_bytes(CONTENT)
    assert found_by(copies(root), artifact(algorithm=None)) is None


def test_an_unknown_size(root: Path) -> None:
    """Where the size is unknown, the digest alone decides."""
    (root / "f.zip").write_bytes(CONTENT)
    assert found_by(copies(root), artifact(size=None)) == root / "f.zip"


def test_nothing_to_search(tmp_path: Path) -> None:
    """A volume or a cache that does not exist is no error, and neither is a FIFO in its place."""
    assert found_by(copies(tmp_path / "nothing", tmp_path / "nothing"), artifact()) is None
    os.mkfifo(tmp_path / "f.zip")
    assert found_by(copies(tmp_path, tmp_path / "f.zip"), artifact()) is None


def blob(cache: Path, name: str) -> Path:
    """Write the content into the Hub client's cache under a name."""
    folder = cache / "datasets--ann--songs" / "blobs"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(CONTENT)
    return folder / name


@pytest.mark.parametrize("algorithm", ["sha256", "gitsha1"])
def test_in_the_hub_clients_cache(root: Path, tmp_path: Path, algorithm: str) -> None:
    """A blob is found by its name, which is the SHA-256 of a large file and the Git SHA-1 of a small one."""
    wanted = artifact(algorithm=algorithm)
    assert wanted.digest is not None
    path = blob(tmp_path / "cache", wanted.digest.hex)
    assert found_by(copies(root, tmp_path / "cache"), wanted) == path
    assert found_by(copies(root), wanted) is None


def test_a_damaged_or_partial_blob(root: Path, tmp_path: Path) -> None:
    """A blob with wrong bytes is not used, and neither is a partial download."""
    wanted = artifact()
    assert wanted.digest is not None
    path = blob(tmp_path / "cache", wanted.digest.hex)
    path.write_bytes(CONTENT[::-1])
    assert found_by(copies(root, tmp_path / "cache"), wanted) is None
    path.rename(path.with_name(f"{path.name}.incomplete"))
    assert found_by(copies(root, tmp_path / "cache"), wanted) is None


DOWNLOAD = """
import sys
from huggingface_hub import hf_hub_download
for name in sys.argv[2:]:
    hf_hub_download("ann/songs", name, repo_type="dataset", endpoint=sys.argv[1])
"""


def test_what_the_real_client_left(root: Path, tmp_path: Path, hub: HubServer) -> None:
    """In a cache that the real Hub client filled, large and small files are found."""
    small = b"small"
    hub.hub.add_repo("ann/songs", {"a.wav": CONTENT, "notes.txt": small})
    cache = tmp_path / "cache"
    environ = {
        "PATH": os.environ["PATH"],
        "HF_HUB_CACHE": str(cache),
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
    }
    command = [sys.executable, "-c", DOWNLOAD, hub.endpoint, "a.wav", "notes.txt"]
    subprocess.run(command, env=environ, check=True, capture_output=True)
    found = found_by(copies(root, cache), artifact("a.wav"))
    assert found is not None
    assert found.read_bytes() == CONTENT
    digest = Digest("gitsha1", StoredFile.of("notes.txt", small).blob_id)
    note = Artifact("notes.txt", ("https://x",), Size(5), digest, "none", "", "listing")
    found = found_by(copies(root, cache), note)
    assert found is not None
    assert found.read_bytes() == small


def test_cancelled_while_hashing(root: Path) -> None:
    """Cancellation ends the hashing of a found file."""
    (root / "f.zip").write_bytes(CONTENT)

    def stop() -> None:
        raise InterruptedBySignal(15)

    with pytest.raises(InterruptedBySignal):
        LocalCopies(root, None, stop).find(artifact())
