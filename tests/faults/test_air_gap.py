"""The commands of docs/air-gap.md, as they stand there: a workstation with a Hub, and a cluster without any network."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.program import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.hub_server import HubServer
    from tests.support.shelf import Miniature
    from tests.support.volume import Volume


def commands(side: str) -> list[str]:
    """Return the commands of one side, as the document has them."""
    text = (CHECKOUT / "docs" / "air-gap.md").read_text("utf-8")
    found = re.search(rf"<!-- air-gap {side}:begin -->\n```sh\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return found[1].splitlines()


def run(lines: list[str], directory: Path, environ: dict[str, str], *under: str) -> str:
    """Run commands in a shell, one after the other, and return what they wrote."""
    script = "\n".join(["set -eu", f'provisioner() {{ {sys.executable} -m provisioner "$@"; }}', *lines])
    ended = subprocess.run(
        [*under, "bash", "-c", script],
        cwd=directory,
        env=environ | {"PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout + ended.stderr


@pytest.mark.root
def test_the_document(volume: Volume, hub: HubServer, mini: Miniature, tmp_path: Path) -> None:
    """The five commands bring the minimal phase over; in the cluster nothing is asked, since there is no network."""
    workstation, cluster = commands("workstation"), commands("cluster")
    assert len(workstation) + len(cluster) == 5
    hub.load(mini.collection.root)
    environ = volume.environ(CATALOG_PATH=str(mini.catalog), DATA_DIR=None, PHASE=None) | {"USB": str(tmp_path / "usb")}
    for name in ("workstation", "cluster"):
        (tmp_path / name).mkdir()
    run(workstation, tmp_path / "workstation", environ)
    shutil.rmtree(tmp_path / "workstation")
    hub.log.clear()
    said = run(cluster, tmp_path / "cluster", environ, "unshare", "--net")
    assert "verified against the catalog" in said
    assert hub.log.entries() == ()
    for name in ("nsynth", "ljspeech", "urmp", "fma_small"):
        found = tmp_path / "cluster" / "volume" / "datasets" / name
        expected = mini.collection.root / "trees" / name
        theirs = {path.relative_to(expected): path.read_bytes() for path in expected.rglob("*") if path.is_file()}
        assert {path.relative_to(found): path.read_bytes() for path in found.rglob("*") if path.is_file()} == theirs
