"""Exports of a volume that is updated, repaired or cleared meanwhile: only whole versions are exported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from provisioner.errors import NotFoundError
from provisioner.volume.tree.writer import TreeWriter
from tests.support.direct_calls import call, ready
from tests.support.media import noise
from tests.support.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf

OLD: Final = {f"data/{number}.txt": f"{number}\n".encode() for number in range(8)} | {"big.bin": noise("big", 100_000)}
NEW: Final = OLD | {"data/7.txt": b"changed\n"}


def update(volume: Volume) -> None:
    """Publish the newer version; the older one stays."""
    volume.ready(UPDATE="auto")


def update_and_gc(volume: Volume) -> None:
    """Publish the newer version, and remove the one that is being exported."""
    volume.ready(UPDATE="auto")
    volume.ready("gc", "--older-than", "0")


def repair(volume: Volume) -> None:
    """Replace the tree that is being exported with a repaired one."""
    path = volume.tree("songs") / "data/6.txt"
    path.unlink()
    path.write_bytes(b"wrong")
    volume.ready("repair")


def publish_otherwise(volume: Volume) -> None:
    """Publish the same version in the other form."""
    form = "dir" if volume.settings["PUBLISH"] == "link" else "link"
    volume.ready(PUBLISH=form)


def remove(volume: Volume) -> None:
    """Remove the whole data set."""
    volume.ready("remove", "songs")


@pytest.mark.parametrize("publish", ["link", "dir"])
@pytest.mark.parametrize("words", [(), ("--copy",)])
@pytest.mark.parametrize("change", [update, update_and_gc, repair, publish_otherwise, remove])
def test_the_volume_changes(  # noqa: PLR0917
    shelf: Shelf,
    volume: Volume,
    hub: HubServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Volume], None],
    words: tuple[str, ...],
    publish: str,
) -> None:
    """The chosen version or its replacement is exported; a removal is reported as such, and no file is called damaged."""
    shelf.add("songs", sources=[{"kind": "hub", "repo": "ann/songs"}])
    repo = hub.hub.add_repo("ann/songs", OLD)
    volume.settings["PUBLISH"] = publish
    ready(volume)
    repo.commit({"data/7.txt": NEW["data/7.txt"]})
    target = Volume(tmp_path / "export", volume.settings)
    name = "file" if words else "share_from"
    original: Callable[..., Any] = getattr(TreeWriter, name)
    calls = []

    def changing(self: TreeWriter, *arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 4:
            change(volume)
        return original(self, *arguments, **options)

    monkeypatch.setattr(TreeWriter, name, changing)
    result = call(volume, "export", str(target.root), *words)
    assert len(calls) >= 4
    if change is remove:
        assert isinstance(result.error, NotFoundError)
        assert "was removed from the volume while it was exported" in result.error.message
        assert target.published == []
        assert target.receipts("songs") == []
        return
    assert result.error is None, result.error
    found = (target.tree("songs") / "data/7.txt").read_bytes()
    target.check("songs", NEW if found == NEW["data/7.txt"] else OLD)
    ready(target, "verify", "--deep")
    ready(volume, "export", str(target.root))
    volume.check("songs", NEW if change in {update, update_and_gc} else OLD)
    target.check("songs", NEW if change in {update, update_and_gc} else OLD)
    assert target.staged() == []
