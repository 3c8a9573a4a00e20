"""Copies on this machine that go, or change, between the look at them and their use: the bytes are then fetched."""

from __future__ import annotations

import hashlib
import io
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from provisioner.catalog.artifact import Artifact
from provisioner.catalog.digest import Digest
from provisioner.catalog.size import Size
from provisioner.remote.resolved import Resolved
from provisioner.volume.staging.local_copies import LocalCopy, file_facts
from tests.contract.test_store import _builder
from tests.support.media import noise

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from provisioner.volume.staging.blob import Blob


def archive_of(content: bytes) -> bytes:
    """Return a tar with one file."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        info = tarfile.TarInfo("a.bin")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def remove(path: Path) -> None:
    """Take the copy away."""
    path.unlink()


def overwrite(path: Path) -> None:
    """Put other bytes of the same size in its place."""
    path.write_bytes(bytes(path.stat().st_size))


def replace_archive(path: Path) -> None:
    """Put another archive of the same size in its place."""
    path.write_bytes(archive_of(noise("other", 5000)))


def make_a_directory(path: Path) -> None:
    """Put a directory in its place."""
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("change", [remove, overwrite, replace_archive, make_a_directory])
@pytest.mark.parametrize(("unpack", "size"), [("none", 5000), ("none", 3 << 20), ("tar", 5000)])
def test_a_copy_that_changes(tmp_path: Path, change: Callable[[Path], None], unpack: Any, size: int) -> None:
    """It is not used, the bytes are fetched in its place, and the tree has the right ones."""
    content = noise("right", size)
    wire = archive_of(content) if unpack == "tar" else content
    copy = tmp_path / "a.bin"
    copy.write_bytes(wire)
    digest = Digest("sha256", hashlib.sha256(wire).hexdigest())
    artifact = Artifact("a.bin", ("https://example.org/a.bin",), Size(len(wire)), digest, unpack, "", "catalog")
    fetched: list[str] = []

    class Found:
        """The copies, one of which changes when all are looked at."""

        has_trees = False

        def find(self, _: Artifact) -> LocalCopy:
            return LocalCopy(copy, file_facts(copy))

    def fetch(_: Artifact, blob: Blob, advance: Callable[[int], None], accept: Callable[[], None] = lambda: None) -> str:
        fetched.append("whole")
        blob.restart()
        blob.write(wire)
        advance(len(wire))
        sha256 = blob.seal()
        accept()
        return sha256

    def fetch_small(_: Artifact, __: int, accept: Callable[[bytes], str], ___: object) -> str:
        fetched.append("small")
        return accept(wire)

    shop, builder = _builder(
        tmp_path / "volume",
        lambda _: Resolved("url", "https://example.org/a.bin", str(digest), (artifact,)),
        Found(),
        fetch=fetch,
        fetch_small=fetch_small,
    )
    use = builder._fetcher._use_local_copy

    def changed_before_its_use(needed: Any, path: Path) -> Any:
        change(path)
        return use(needed, path)

    builder._fetcher._use_local_copy = changed_before_its_use  # type: ignore[method-assign]
    builder.build(lambda: "2026-01-01T00:00:00Z")
    assert len(fetched) == 1
    assert (shop.layout.datasets / "alpha" / "a.bin").read_bytes() == content
