"""FMA under LICENSE_POLICY=commercial: the tracks that may be used commercially, with whom to name for each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import pandas as pd
import pytest

from tests.support import miniature
from tests.support.media import wav

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.hub_server import HubServer
    from tests.support.shelf import Miniature, Shelf
    from tests.support.volume import Volume

RULE: Final = {"where": "license in ('CC-BY', 'CC-BY-SA', 'CC0')", "commercial": "allowed"}


def commercial(metadata: Path, top: str) -> set[str]:
    """Return the paths of the tracks that may be used commercially, computed from the metadata by pandas."""
    tracks = pd.read_csv(metadata / "tracks.csv", index_col=0, header=[0, 1])
    urls = pd.read_csv(metadata / "raw_tracks.csv", index_col="track_id")["license_url"].reindex(tracks.index)
    by_url = urls.str.contains(r"creativecommons\.org/(?:licenses/by(?:-sa)?|publicdomain/zero)/", na=False)
    titles = tracks["track", "license"].fillna("")
    by_title = urls.isna() & titles.str.fullmatch(r"(?:CC0.*|Attribution(?:-ShareAlike)?(?: [\d.]+.*)?)")
    is_in = tracks["set", "subset"].isin(["small"] if top == "fma_small" else ["small", "medium", "large"])
    return {f"{top}/{track // 1000:03}/{track:06}.mp3" for track in tracks.index[(by_url | by_title) & is_in]}


def tracks_in(tree: Path) -> set[str]:
    """Return the paths of the tracks in a tree."""
    return {path.relative_to(tree).as_posix() for path in tree.rglob("*.mp3")}


@pytest.mark.parametrize("dataset", ["fma_small", "fma_large"])
def test_the_part_is_what_the_metadata_say(mini_volume: Volume, mini: Miniature, dataset: str) -> None:
    """The policy takes the commercial part in place of the whole, says so, and every track of it is attributed."""
    mini_volume.settings |= {"LICENSE_POLICY": "commercial", "DATASET_REPO": "none"}
    plan = json.loads(mini_volume.ready("plan", "--json", "--dataset", dataset).out)
    assert plan["steps"][0]["license"]["commercial"] == "allowed"
    assert "takes only the part that may be used commercially" in plan["steps"][0]["warning"]
    outcome = mini_volume.ready("--dataset", dataset)
    assert "LICENSE_POLICY=commercial takes only the part" in outcome.err
    tree = mini_volume.tree(dataset)
    expected = commercial(mini.collection.tree(dataset) / "fma_metadata", dataset)
    assert tracks_in(tree) == expected
    assert (tree / "fma_metadata" / "tracks.csv").is_file()
    assert RULE["where"] in mini_volume.status["datasets"][dataset]["part"]
    attribution = (mini_volume.root / "ATTRIBUTION.md").read_text("utf-8")
    for path in expected:
        facts = miniature.fma_track(int(path[-10:-4]))
        (line,) = [line for line in attribution.splitlines() if f"`{path}`" in line]
        assert facts["title"] in line
        assert facts["artist"] in line
        assert facts["license"] in line
    assert len([line for line in attribution.splitlines() if ".mp3`" in line]) == len(expected)
    assert mini_volume.ready("--dataset", f"{dataset}:commercial").err.count("Nothing to do") == 1
    mini_volume.ready("remove", dataset)
    assert not list((mini_volume.private / "manifests").rglob("*.credits"))


def test_an_accepted_licence_takes_the_whole(mini_volume: Volume, mini: Miniature) -> None:
    """Whoever accepts the terms of the whole gets the whole, whatever the policy."""
    mini_volume.settings |= {"LICENSE_POLICY": "commercial", "DATASET_REPO": "none", "ACCEPT_LICENSES": "fma_small"}
    mini_volume.ready("--dataset", "fma_small")
    assert tracks_in(mini_volume.tree("fma_small")) == tracks_in(mini.collection.tree("fma_small"))


def test_a_rule_narrows_the_commercial_part(mini_volume: Volume, mini: Miniature) -> None:
    """What else is asked for by rule is taken of what the policy allows."""
    mini_volume.settings |= {"LICENSE_POLICY": "commercial", "DATASET_REPO": "none"}
    mini_volume.ready("--dataset", "fma_large?limit=5&seed=3")
    expected = commercial(mini.collection.tree("fma_large") / "fma_metadata", "fma_large")
    found = tracks_in(mini_volume.tree("fma_large"))
    assert len(found) == 5
    assert found < expected


def test_a_repair_without_the_tables_keeps_whom_to_name(mini_volume: Volume) -> None:
    """Each track stays attributed when a part without its tables is repaired."""
    mini_volume.settings |= {"LICENSE_POLICY": "commercial", "DATASET_REPO": "none"}
    mini_volume.ready("--dataset", "fma_small?exclude=fma_metadata/")
    attribution = mini_volume.root / "ATTRIBUTION.md"
    before = attribution.read_text("utf-8")
    (track,) = sorted(mini_volume.tree("fma_small").rglob("*.mp3"))[:1]
    assert f"{track.name}`" in before
    track.resolve().unlink()
    mini_volume.ready("repair", "fma_small")
    assert track.is_file()
    assert attribution.read_text("utf-8") == before


def test_narrowed_it_is_marked_everywhere(mini_volume: Volume) -> None:
    """Plan and ATTRIBUTION.md say the same of a part of the commercial part."""
    mini_volume.settings |= {"LICENSE_POLICY": "commercial", "DATASET_REPO": "none"}
    mini_volume.ready("--dataset", "fma_small?limit=3")
    plan = json.loads(mini_volume.ready("plan", "--json", "--dataset", "fma_small?limit=3").out)
    assert plan["steps"][0]["license"]["commercial"] == "allowed"
    assert "- Commercial use: **allowed** for this part; for all of it: mixed" in (mini_volume.root / "ATTRIBUTION.md").read_text(
        "utf-8"
    )


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ("songs:few", 0),
        ("songs:few?limit=1", 0),
        ("songs:few?limit=2", 0),
        ("songs:few?limit=1000", 77),
        ("songs:few?limit=2&seed=5", 77),
        ("songs:few?bytes=999999999", 77),
        ("songs:few?where=label=='b'", 77),
        ("songs:few?exclude=a/", 77),
        ("songs?limit=1", 0),
        ("songs?limit=9", 77),
        ("songs", 0),
    ],
)
def test_a_part_of_a_few_examples(shelf: Shelf, volume: Volume, hub: HubServer, asked: str, code: int) -> None:
    """A verdict on two examples is none on others: who asks for those is refused before anything of the data is requested."""
    songs = {f"{folder}/{number}.wav": wav(16000, 400, f"{folder}{number}") for folder in "ab" for number in range(5)}
    few = {"limit": 2, "commercial": "allowed"}
    shelf.add("songs", shelf.file("songs.tar.gz", songs), commercial="mixed", parts={"few": few})
    outcome = volume.run("--dataset", asked, LICENSE_POLICY="commercial")
    assert outcome.code == code, outcome.err
    tree = volume.root / "datasets" / "songs"
    found = {path.relative_to(tree).as_posix() for path in tree.rglob("*.wav")}
    if code:
        assert not found
        assert not hub.log.entries("*songs.tar.gz")
        assert "ACCEPT_LICENSES=songs" in outcome.err
    else:
        assert 1 <= len(found) <= 2
        assert "**allowed** for this part" in (volume.root / "ATTRIBUTION.md").read_text("utf-8")
        volume.ready("--dataset", "songs:few", LICENSE_POLICY="commercial")
        assert found <= {path.relative_to(tree).as_posix() for path in tree.rglob("*.wav")}
