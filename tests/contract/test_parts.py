"""Parts by rule, end to end: what is published, indexed and fetched, and that a part is a version like any other."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.test_death import deaths
from tests.support.media import wav
from tests.support.shelf import some_files
from tests.support.tar_members import file, hard, packed, tar
from tests.support.zips import Part, packed_zip

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.hub_server import HubServer
    from tests.support.shelf import Miniature, Shelf
    from tests.support.volume import Volume


def rows(volume: Volume, dataset: str) -> list[dict[str, Any]]:
    """Return all rows of an index."""
    tables = sorted((volume.root / "index" / dataset).glob("*/metadata.jsonl"))
    return [json.loads(line) for table in tables for line in table.read_text("utf-8").splitlines()]


def sounds(volume: Volume, dataset: str) -> list[str]:
    """Return the names of the audio files in a tree."""
    return sorted(path.name for path in (volume.root / "datasets" / dataset).rglob("*.wav"))


def test_condition_and_limit_on_an_archive(mini_volume: Volume) -> None:
    """Of NSynth's splits that are archives, the examples that fulfil the condition are published, at most as many as wanted."""
    mini_volume.settings["DATASET_REPO"] = "none"
    mini_volume.ready("--dataset", "nsynth:train")
    whole = rows(mini_volume, "nsynth")
    family = whole[0]["instrument_family"]
    asked = f"nsynth:train?limit=3&seed=7&where=instrument_family=='{family}'"
    outcome = mini_volume.ready("--dataset", asked)
    part = rows(mini_volume, "nsynth")
    assert len(part) == min(3, sum(row["instrument_family"] == family for row in whole))
    assert {row["instrument_family"] for row in part} == {family}
    assert sounds(mini_volume, "nsynth") == sorted(row["file_name"].rpartition("/")[2] for row in part)
    assert "taken over" in outcome.err  # the whole was there: nothing is fetched
    assert not list((mini_volume.root / "index" / "nsynth").glob("problems*"))
    assert f"where instrument_family == '{family}'" in (mini_volume.root / "ATTRIBUTION.md").read_text("utf-8")
    assert mini_volume.ready("--dataset", asked).err.count("Nothing to do") == 1
    mini_volume.ready("verify", "--deep")


def test_limit(mini_volume: Volume) -> None:
    """A part fetched onto an empty volume is the same as one that is made of a whole that is there."""
    mini_volume.settings["DATASET_REPO"] = "none"
    mini_volume.ready("--dataset", "ljspeech?limit=5")
    first = sounds(mini_volume, "ljspeech")
    assert len(first) == 5 == len(rows(mini_volume, "ljspeech"))
    mini_volume.ready("--dataset", "ljspeech")
    assert len(sounds(mini_volume, "ljspeech")) == 24
    mini_volume.ready("remove", "ljspeech")
    mini_volume.ready("--dataset", "ljspeech")
    mini_volume.ready("--dataset", "ljspeech?limit=5")
    assert sounds(mini_volume, "ljspeech") == first
    mini_volume.ready("--dataset", "ljspeech?limit=6")
    assert set(first) < set(sounds(mini_volume, "ljspeech"))


def test_only_the_part_of_a_repository_is_fetched(shelf: Shelf, volume: Volume) -> None:
    """Of a repository with 300 recordings 1 % are fetched: below 3 % of its bytes are requested."""
    shelf.add("songs", shelf.file("songs.tar.gz", some_files("songs")))
    data = {f"data/{number:03}.wav": wav(16000, 4000, str(number)) for number in range(300)}
    texts = {"README.md": b"# Sounds\n", "metadata.csv": b"file_name,text\ndata/000.wav,a\n"}
    shelf.server.hub.add_repo("acme/sounds", texts | data)
    reference = "hf://datasets/acme/sounds#limit=3&seed=1"
    plan = json.loads(volume.ready("plan", "--json", "--dataset", reference).out)
    shelf.server.log.clear()
    volume.ready("--dataset", reference)
    names = sounds(volume, "acme/sounds")
    assert len(names) == 3 == len(rows(volume, "acme/sounds"))
    sent = sum(entry.bytes_sent for entry in shelf.server.log.entries("*/resolve/*"))
    assert sent < 0.03 * sum(map(len, data.values()))
    assert plan["download"]["bytes"] == sum(len(data[f"data/{name}"]) for name in names) + sum(map(len, texts.values()))
    assert "Nothing to do" in volume.ready("--dataset", reference).err
    assert "acme/sounds" in volume.ready("outdated").out
    (volume.root / "datasets" / "acme" / "sounds" / "data" / names[0]).unlink()
    volume.ready("repair")
    assert sounds(volume, "acme/sounds") == names


FORMS = ("nsynth", "ljspeech", "urmp", "fma_small", "libritts", "musicnet", "lakh_midi")


@pytest.mark.parametrize("form", FORMS)
def test_examples_of_a_repository_of_single_files(mini: Miniature, mini_volume: Volume, hub: HubServer, form: str) -> None:
    """Whatever form a repository of single files has, a limit takes examples of it, before any of them was fetched."""
    tree = mini.collection.tree(form)
    files = {path.relative_to(tree).as_posix(): path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    hub.hub.add_repo("acme/form", files)
    hub.log.clear()
    mini_volume.ready("--dataset", "hf://datasets/acme/form#limit=2", DATASET_REPO="none")
    found = rows(mini_volume, "acme/form")
    assert len(found) == 2
    # Of MusicNet's miniature, tables are broken that belong to every part.
    assert form == "musicnet" or not list((mini_volume.root / "index" / "acme" / "form").glob("problems*"))
    media = (".wav", ".mp3", ".mid")
    published = [path for path in (mini_volume.root / "datasets/acme/form").rglob("*") if path.suffix in media]
    assert len(published) < sum(name.endswith(media) for name in files)
    fetched = {entry.path.rpartition("/")[2] for entry in hub.log.entries("*/resolve/*") if entry.path.endswith(media)}
    assert fetched <= {path.name for path in published}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("songs?where=pich==60", "no index has a column 'pich'; nothing was fetched"),
        ("songs?limit=5", "no reader of this program knows its examples"),
        ("songs?include=nothing/*", "the rule takes no file of it"),
        ("songs:tiny", "songs has no split or part 'tiny'"),
        ("songs:small,songs?limit=1", "songs is asked for twice, once by a rule"),
        ("songs:small?limit=x", "limit: expected a whole number"),
        ("hf://datasets/acme/sounds#where=label=='x'&limit=1", "the rule takes none of its 3 examples"),
        ("hf://datasets/acme/sounds#bytes=2", "The rule: at most 2 bytes of examples (seed 0). Loosen it, or leave it out."),
        ("hf://datasets/acme/empty#limit=1", "it has no examples that where, limit or bytes could choose"),
        ("hf://datasets/acme/sounds#where=pitch==1", "there is no column 'pitch'"),
        ("hf://datasets/acme/sounds#where=label==1", "the column 'label' has texts"),
        ("hf://datasets/acme/tables#limit=1", "it has no audio, image or MIDI files and no archives"),
        ("hf://datasets/acme/sounds?limit=1", "Options stand behind '#'"),
    ],
)
def test_rules_that_do_not_fit(shelf: Shelf, volume: Volume, asked: str, said: str) -> None:
    """A rule that is malformed, does not fit, or takes nothing is an error that says so, and nothing is published."""
    shelf.add("songs", shelf.file("songs.tar.gz", {"a/x.txt": b"x", "b/y.txt": b"y"}), parts={"small": {"include": ["a/*"]}})
    shelf.server.hub.add_repo("acme/sounds", {f"data/{number}.wav": wav(16000, 400, str(number)) for number in range(3)})
    shelf.server.hub.add_repo("acme/tables", {"a.csv": b"x", "b.csv": b"y"})
    empty = {"LJSpeech-1.1/metadata.csv": b"", "LJSpeech-1.1/wavs/LJ001-0001.wav": wav(16000, 400, "x")}
    shelf.server.hub.add_repo("acme/empty", empty)
    outcome = volume.run("--dataset", asked)
    assert outcome.code in {66, 78}
    assert said in outcome.err
    assert not (volume.root / "datasets").exists() or not list((volume.root / "datasets").iterdir())


LINKS: dict[str, str] = {
    "kept": "keep/a.txt",
    "to_left_out": "drop/b.txt",
    "keep/up": "../drop/b.txt",
    "keep/up_kept": "../keep/a.txt",
    "chain": "to_left_out",
    "chain_of_chain": "chain",
    "chain_kept": "kept",
    "folder": "drop",
    "folder_kept": "keep",
    "through": "folder/b.txt",
    "through_kept": "folder_kept/a.txt",
    "through_out": "folder_kept/../drop/b.txt",
    "half": "both/x.txt",
    "half_folder": "both",
    "never": "nothing/at/all",
}
"""Links of an archive with the directories ``keep``, ``drop`` and ``both``, of which a part has the first."""
KEPT: set[str] = {"kept", "keep/up_kept", "chain_kept", "folder_kept", "through_kept", "half_folder"}
"""Those that lead to something in the part."""


@pytest.mark.parametrize("how", ["tar", "zip", "two archives", "known before it is opened"])
def test_links_of_a_part(shelf: Shelf, volume: Volume, how: str) -> None:
    """A link that leads to nothing in the part is left out, however it gets there, and stays so when the part is repaired."""
    files = {"keep/a.txt": b"a", "drop/b.txt": b"b", "both/x.txt": b"x", "both/y.txt": b"y"}
    members: list[tuple[str, bytes | str]] = [*files.items(), *LINKS.items()]
    rule = {"exclude": ["drop/", "*x.txt"]}
    if how == "zip":
        content = packed_zip(
            *(Part(name.encode(), data) for name, data in files.items()),
            *(Part(name.encode(), text.encode(), attributes=(stat.S_IFLNK | 0o777) << 16) for name, text in LINKS.items()),
        )
        shelf.add("songs", shelf.raw("songs.zip", content, unpack="zip"), parts={"small": rule})
    elif how == "two archives":
        shelf.add(
            "songs",
            shelf.raw("one.tar", packed(*members[:1], *members[4:]), unpack="tar"),
            shelf.raw("two.tar", packed(*members[1:4]), unpack="tar"),
            parts={"small": rule},
        )
    else:
        shelf.add("songs", shelf.raw("songs.tar", packed(*members), unpack="tar"), parts={"small": rule})
    if how == "known before it is opened":
        volume.ready("--dataset", "songs")
    outcome = volume.ready("--dataset", "songs:small")
    tree = volume.root / "datasets" / "songs"

    def found() -> set[str]:
        return {path.relative_to(tree.resolve()).as_posix() for path in tree.resolve().rglob("*") if path.is_symlink()}

    assert found() == KEPT
    assert all((tree / name).exists() for name in KEPT)
    assert f"{len(LINKS) - len(KEPT)} links are left out, since they lead to nothing in the part" in outcome.err
    volume.ready("verify", "--deep")
    (tree / "keep" / "a.txt").unlink()
    (tree / "kept").unlink()
    volume.ready("repair")
    assert found() == KEPT
    volume.ready("verify", "--deep")
    assert "Nothing to do" in volume.ready("--dataset", "songs:small").err


def test_hard_links_of_a_part(shelf: Shelf, volume: Volume) -> None:
    """A file with two names is kept by the one that belongs to the part; where its content is left out, that is said."""
    for dataset, first, second in (("songs", "keep/h.wav", "drop/b.wav"), ("other", "drop/b.wav", "keep/h.wav")):
        content = tar(file(first, wav(16000, 400, "h")), hard(second, first))
        shelf.add(dataset, shelf.raw(f"{dataset}.tar", content, unpack="tar"))
        volume.ready("--dataset", f"{dataset}?limit=1&where=label=='keep'")
        path = volume.root / "datasets" / dataset / "keep" / "h.wav"
        assert path.read_bytes() == wav(16000, 400, "h")
        assert not (volume.root / "datasets" / dataset / "drop").exists()
        path.unlink()
        volume.ready("repair")
        assert path.read_bytes() == wav(16000, 400, "h")
        volume.ready("verify", "--deep")
    volume.ready("--dataset", "songs?exclude=drop/")
    refused = volume.run("--dataset", "other?exclude=drop/")
    assert refused.code == 78
    assert "'keep/h.wav' belongs to the part and is another name of 'drop/b.wav', which does not" in refused.err


def test_a_part_that_the_catalog_names(shelf: Shelf, volume: Volume) -> None:
    """A part by globs is published alone, named everywhere, and then the whole, the part again and a repair need no more."""
    files = {"a/x.txt": b"x", "a/y.txt": b"why", "b/y.txt": b"y"}
    shelf.add("songs", shelf.file("songs.tar.gz", files), parts={"small": {"include": ["a/*"], "exclude": ["*x.txt"]}})
    outcome = volume.ready("--dataset", "songs:small")
    volume.check("songs", {"a/y.txt": b"why"})
    assert "songs:small: ready" in outcome.err
    assert "small" in volume.ready("list").out
    assert "- Part: `only a/*, not *x.txt`" in (volume.root / "ATTRIBUTION.md").read_text("utf-8")
    (volume.root / "datasets" / "songs" / "a" / "y.txt").write_bytes(b"who")
    volume.ready("repair")
    volume.check("songs", {"a/y.txt": b"why"})
    volume.ready("--dataset", "songs")
    volume.check("songs", files)
    shelf.server.log.clear()
    volume.ready("gc", "--older-than", "0")
    volume.ready("--dataset", "songs:small")
    volume.check("songs", {"a/y.txt": b"why"})
    assert not shelf.server.log.entries("*songs.tar.gz")
    volume.ready("verify", "--deep")


TABLE = "".join(f"LJ001-{number:04}|text {number}|text {number}\n" for number in range(12))
SPEECH = {
    "LJSpeech-1.1/metadata.csv": TABLE.encode(),
    **{f"LJSpeech-1.1/wavs/LJ001-{number:04}.wav": wav(16000, 400, str(number)) for number in range(12)},
    "LJSpeech-1.1/wavs/LJ001-9999.wav": wav(16000, 400, "no line in the table has it"),
}
CHOSEN = "where=id!='LJ001-0003'&limit=4"


def is_the_part(volume: Volume, dataset: str) -> bool:
    """Show that what the app sees is the whole part or nothing; return which."""
    names = sounds(volume, dataset)
    assert len(names) in {0, 4}
    assert not {"LJ001-0003.wav", "LJ001-9999.wav"} & set(names)
    return bool(names)


@pytest.mark.parametrize("form", ["archive", "files"])
def test_killed(shelf: Shelf, volume: Volume, tmp_path: Path, form: str) -> None:
    """Killed at any change, a run leaves the whole part or none of it; the next one makes it, and nothing is left over."""
    shelf.add("speech", shelf.file("speech.tar.gz", SPEECH))
    shelf.server.hub.add_repo("acme/speech", SPEECH)
    asked, dataset = (
        ("speech?" + CHOSEN, "speech") if form == "archive" else (f"hf://datasets/acme/speech#{CHOSEN}", "acme/speech")
    )
    volume.root.mkdir()
    for _ in deaths(volume, tmp_path, 0, "--dataset", asked):
        is_the_part(volume, dataset)
        volume.ready("--dataset", asked)
        assert is_the_part(volume, dataset)
        assert volume.staged() == []


def test_from_an_export(shelf: Shelf, volume: Volume, tmp_path: Path) -> None:
    """A part is exported, and taken from there by another volume, as any version; no source is asked."""
    shelf.add("speech", shelf.file("speech.tar.gz", SPEECH))
    asked, site = f"speech?{CHOSEN}", tmp_path / "site"
    volume.ready("--dataset", asked)
    first = sounds(volume, "speech")
    volume.ready("export", str(site))
    other = replace(volume, root=tmp_path / "other")
    shelf.server.log.clear()
    other.ready("--dataset", asked, PEERS=str(site))
    assert sounds(other, "speech") == first
    assert shelf.server.log.entries("*speech*") == ()
    assert [row["id"] for row in rows(other, "speech")] == [name.removesuffix(".wav") for name in first]
    outcome = other.run("--dataset", "speech?limit=5", PEERS=str(site))
    assert outcome.code == 0  # another part is not what the export has
    assert shelf.server.log.entries("*speech.tar.gz")


def test_in_shares(shelf: Shelf, volume: Volume) -> None:
    """Workers fetch what is needed to know the part; whoever publishes fetches the rest of it, and nothing else."""
    shelf.add("songs", shelf.file("songs.tar.gz", some_files("songs")))
    shelf.server.hub.add_repo("acme/speech", SPEECH)
    settings = {"DATASETS": f"songs,hf://datasets/acme/speech#{CHOSEN}"}
    volume.ready(SHARD="0/2", **settings)
    volume.ready(SHARD="1/2", **settings)
    assert is_the_part(volume, "acme/speech")
    fetched = {entry.path.rpartition("/")[2] for entry in shelf.server.log.entries("*.wav")}
    assert fetched <= {*sounds(volume, "acme/speech")}


def test_as_a_catalog_entry(shelf: Shelf, volume: Volume, tmp_path: Path) -> None:
    """``catalog add`` writes the rule of a reference as a part of the entry, which is then the same part."""
    shelf.add("songs", shelf.file("songs.tar.gz", some_files("songs")))
    shelf.server.hub.add_repo("acme/speech", SPEECH)
    volume.ready("--dataset", f"hf://datasets/acme/speech#{CHOSEN}")
    first = sounds(volume, "acme/speech")
    site = tmp_path / "site.yaml"
    volume.ready("catalog", "add", f"hf://datasets/acme/speech#{CHOSEN}", "--id", "speech", "--to", str(site))
    volume.ready("--dataset", "speech:part", CATALOG_PATH=str(site))
    assert sounds(volume, "speech") == first


def test_a_budget(mini_volume: Volume) -> None:
    """With a budget each data set gives a part, in the size that the plan names, and a second start does nothing."""
    mini_volume.settings |= {"DATASET_REPO": "none", "PHASE": "minimal", "BUDGET_GB": "0.002"}
    plan = json.loads(mini_volume.ready("plan", "--json").out)
    shares = {step["dataset"]: step["part"]["bytes"] for step in plan["steps"] if step["part"]}
    assert shares
    mini_volume.ready()
    for dataset, share in shares.items():
        tree = mini_volume.root / "datasets" / dataset
        assert 0 < sum(path.stat().st_size for path in tree.rglob("*.wav")) <= share
    assert "Nothing to do" in mini_volume.ready().err


def test_newer_states_and_pins(shelf: Shelf, volume: Volume, tmp_path: Path) -> None:
    """A branch that moved is taken over as the same part; with pins the part is that of the commit which they name."""
    shelf.add("songs", shelf.file("songs.tar.gz", some_files("songs")))
    repo = shelf.server.hub.add_repo("acme/speech", SPEECH)
    reference = f"hf://datasets/acme/speech#{CHOSEN}"
    volume.ready("--dataset", reference)
    first = sounds(volume, "acme/speech")
    usual = "hf://datasets/acme/speech#where=id%20!=%20'LJ001-0003'&limit=4&seed=0"
    assert volume.status["datasets"][usual]["part"].startswith("where id != 'LJ001-0003', at most 4 examples")
    pins = tmp_path / "pins.yaml"
    volume.ready("catalog", "pin", "--output", str(pins))
    more = {
        "LJSpeech-1.1/metadata.csv": (TABLE + "LJ001-0100|new|new\n").encode(),
        "LJSpeech-1.1/wavs/LJ001-0100.wav": wav(16000, 400, "new"),
    }
    repo.commit(more)
    assert "newer" in volume.ready("outdated").out
    shelf.server.log.clear()
    volume.ready("--dataset", reference, UPDATE="auto")
    assert is_the_part(volume, "acme/speech")
    assert volume.tree("acme/speech").joinpath("LJSpeech-1.1/metadata.csv").read_text() == TABLE + "LJ001-0100|new|new\n"
    assert len(shelf.server.log.entries("*.wav")) <= 1  # what both states share is linked
    other = replace(volume, root=tmp_path / "other")
    other.ready("--dataset", reference, PINS=str(pins))
    assert sounds(other, "acme/speech") == first
    assert other.tree("acme/speech").joinpath("LJSpeech-1.1/metadata.csv").read_text() == TABLE


def test_a_corrected_rule(shelf: Shelf, volume: Volume) -> None:
    """After a rule that takes nothing, what was unpacked is removed and the archive stays: the next rule fetches nothing."""
    shelf.add("speech", shelf.file("speech.tar.gz", SPEECH))
    assert "takes none of its 12 examples" in volume.run("--dataset", "speech?where=id=='nobody'").err
    assert not list((volume.private / "staging").rglob("*.wav"))
    shelf.server.log.clear()
    volume.ready("--dataset", "speech?limit=2")
    assert len(sounds(volume, "speech")) == 2
    assert not shelf.server.log.entries("*speech.tar.gz")


def test_what_globs_leave_out_of_an_archive_is_not_written(shelf: Shelf, volume: Volume) -> None:
    """An archive whose tree is larger than the limit gives a part by globs, which is not."""
    large = {f"large/{number}.bin": bytes(1_000_000) for number in range(8)}
    shelf.add("songs", shelf.file("songs.tar.gz", {"small/a.txt": b"a"} | large), unpacked_size={"value": 1000, "estimate": True})
    volume.ready("--dataset", "songs?include=small/*", MAX_STORAGE_GB="0.001")
    volume.check("songs", {"small/a.txt": b"a"})
