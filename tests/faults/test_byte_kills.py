"""Death at random byte counts of a whole collection: the server stops at a byte, the process is killed, the next one goes on."""

from __future__ import annotations

import os
import random
import shutil
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import pytest
import yaml

if TYPE_CHECKING:
    from tests.support.hub_server import HubServer
    from tests.support.shelf import Miniature
    from tests.support.volume import Volume

KILLS: Final = int(os.environ.get("DEATHS_AT_BYTES", "48"))
SEED: Final = int(os.environ.get("SEED", "1"))
PARTS: Final = 8


def places(mini: Miniature) -> dict[str, set[str]]:
    """Return what the server is asked for each data set: paths of archives, repositories."""
    found: dict[str, set[str]] = {}
    for dataset, entry in yaml.safe_load(mini.catalog.read_text("utf-8"))["datasets"].items():
        source = entry["sources"][0]
        if source["kind"] == "hub":
            found[dataset] = {f"/datasets/{source['repo']}/resolve/"}
        else:
            found[dataset] = {f"/{urlsplit(file['url']).netloc}{urlsplit(file['url']).path}" for file in source["files"]}
    return found


def check_published(volume: Volume, mini: Miniature) -> set[str]:
    """Show that each name under ``datasets/`` leads to the whole tree; give the names."""
    for dataset in volume.published:
        expected = mini.collection.expected(dataset)
        tree = volume.tree(dataset)
        found = {path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()}
        assert found == set(expected)
        for name, content in expected.items():
            assert (tree / name).read_bytes() == (content if isinstance(content, bytes) else content.read_bytes()), name
    return set(volume.published)


@pytest.mark.parametrize("part", range(PARTS))
def test_death_at_random_byte_counts(mini_volume: Volume, mini: Miniature, hub: HubServer, part: int) -> None:
    """What is published is whole at each death; nothing whole is fetched again; in the end all is there and nothing else."""
    volume = mini_volume
    volume.settings |= {"PHASE": "comprehensive", "DATASET_REPO": "none"}
    source = random.Random(f"{SEED}, {part}")  # noqa: S311 - the same moments for the same seed
    volume.ready()
    total = sum(entry.bytes_sent for entry in hub.log.entries())
    wanted = places(mini)
    kills = 0
    while kills < -(-KILLS // PARTS):
        shutil.rmtree(volume.root)
        while True:
            whole = check_published(volume, mini)
            hub.log.clear()
            hub.quota.hold_after(source.randrange(1, total))
            process = volume.start()
            killed = hub.quota.wait_reached(process.ended)
            if killed:
                process.end()
                kills += 1
            hub.quota.lift()
            asked = [entry.path for entry in hub.log.entries()]
            missing = set().union(*(wanted[dataset] for dataset in wanted if dataset not in whole))
            again = {place for dataset in whole for place in wanted[dataset]} - missing
            assert not [path for path in asked if any(path.startswith(place) for place in again)]
            if not killed:
                assert process.wait().code == 0
                break
        assert check_published(volume, mini) == set(mini.collection.datasets)
        assert volume.staged() == []
        hub.log.clear()
        volume.ready()
        assert hub.log.entries() == ()
