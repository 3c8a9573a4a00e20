"""One line in place of a phase, in the image: the commands of README as they are written there."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.program import CHECKOUT

if TYPE_CHECKING:
    from tests.support.containers import Engine
    from tests.support.hub_model import RepoKind
    from tests.support.hub_server import HubServer

pytestmark = pytest.mark.docker

FILES: Final = {"README.md": b"---\nlicense: cc-by-4.0\n---\n# A card\n", "data/one.txt": b"one\n", "config.json": b"{}\n"}
LINE: Final = re.compile(
    r"^    docker run --rm -v data:/data provisioner (--dataset (hf://\S+)) +# -> (/data/\S+)$", re.MULTILINE
)


def test_the_lines_of_readme(engine: Engine, hub: HubServer) -> None:
    """Each fills a volume from nothing with the repository that it names, without catalog and phase, where README says."""
    lines = LINE.findall((CHECKOUT / "README.md").read_text("utf-8"))
    assert len(lines) == 2
    for written, reference, place in lines:
        kind: RepoKind = "dataset" if "hf://datasets/" in reference else "model"
        repo = reference.removeprefix("hf://").removeprefix("datasets/")
        hub.hub.add_repo(repo, FILES, kind=kind)
        volume = engine.volume()
        # Without the catalog and the phase that other containers have here.
        ended = engine.run(*shlex.split(written), volume=volume, env={"PHASE": "", "CATALOG_PATH": "", "DATASET_REPO": "none"})
        assert ended.code == 0, ended.err
        listed = engine.shell(f"cd {place}/ && find . -type f | sort && cat data/one.txt", volume=volume)
        assert listed.out.split() == ["./README.md", "./config.json", "./data/one.txt", "one"]
