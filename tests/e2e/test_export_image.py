"""An export as an image without a program: what is in it is the export, and a volume can be filled from it."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.containers import IMAGE
from tests.support.direct_calls import ready
from tests.support.program import CHECKOUT
from tests.support.shelf import some_files
from tests.support.volume import Volume

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf

pytestmark = pytest.mark.docker

SONGS: Final = some_files("songs", 50_000)
TAG: Final = f"{IMAGE.partition(':')[0]}-export:test"


def docker(*words: str) -> str:
    """Run a command of Docker, which must succeed, and return what it printed."""
    ended = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def test_a_volume_is_filled_from_an_image(shelf: Shelf, volume: Volume, hub: HubServer, tmp_path: Path) -> None:
    """The recipe of deploy/ builds an image of an export, of which nothing is lost: links, manifests, receipts."""
    shelf.add("songs", shelf.file("songs.tar.gz", SONGS))
    ready(volume)
    ready(volume, "export", str(tmp_path / "export"))
    recipe = CHECKOUT / "deploy" / "export-image" / "Dockerfile"
    docker("build", "--quiet", "--file", str(recipe), "--tag", TAG, str(tmp_path / "export"))
    try:
        container = docker("create", TAG, "nothing")
        docker("cp", f"{container}:/", str(tmp_path / "from-image"))
        docker("rm", container)
    finally:
        docker("image", "rm", TAG)
    copy = Volume(tmp_path / "from-image", volume.settings)
    copy.check("songs", SONGS)
    ready(copy, "verify", "--deep")
    hub.log.clear()
    new = Volume(tmp_path / "new", volume.settings, hub)
    ready(new, PEERS=str(copy.root))
    new.check("songs", SONGS)
    assert hub.log.entries() == ()
