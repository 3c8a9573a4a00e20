"""The Python API, against a real server and a real volume."""

from __future__ import annotations

import doctest
from typing import TYPE_CHECKING, Any

import pytest

import provisioner
from provisioner import DatasetManager, setup_datasets_for_space
from provisioner.errors import DigestMismatchError, ProvisionerError
from tests.support.program import TOKEN
from tests.support.shelf import some_files

if TYPE_CHECKING:
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume


def manager(volume: Volume, **environ: str) -> DatasetManager:
    """Return the API on a volume, with a clean environment."""
    return DatasetManager(volume.root, environ={**volume.environ(), **environ})


def test_download_dataset_gives_the_folder_to_read(shelf: Shelf, volume: Volume) -> None:
    """``download_dataset`` fetches, verifies and publishes; a second call makes no request."""
    shelf.add("songs", shelf.file("songs.tar.gz", some_files("songs")))
    folder = manager(volume).download_dataset("songs")
    assert volume.root / "datasets" / "songs" == folder
    volume.check("songs", some_files("songs"))
    shelf.server.log.clear()
    assert manager(volume).download_dataset("songs") == folder
    assert shelf.server.log.entries() == ()


def test_download_dataset_takes_a_split(shelf: Shelf, volume: Volume) -> None:
    """``ID:SPLIT`` fetches that split alone, into the data set's own directory."""
    files = [shelf.file(f"{split}.tar.gz", some_files(split), split=split) for split in ("train", "test")]
    shelf.add("songs", *files)
    assert volume.root / "datasets" / "songs" == manager(volume).download_dataset("songs:test")
    volume.check("songs", some_files("test"))
    assert shelf.server.log.entries("*train*") == ()


def test_download_dataset_takes_a_reference(shelf: Shelf, volume: Volume) -> None:
    """A reference returns the directory at which it is published, and stands in the summary under its own name."""
    shelf.add("songs", shelf.file("songs.tar.gz", some_files("songs")))
    files = {"a.csv": b"x\n1\n"}
    shelf.server.hub.add_repo("acme/sounds", files)
    reference = "hf://datasets/acme/sounds"
    assert volume.root / "datasets" / "acme" / "sounds" == manager(volume).download_dataset(reference)
    volume.check("acme/sounds", files)
    summary = manager(volume).get_status_summary()
    assert (summary["downloaded"], list(summary["datasets"])) == (1, [reference])
    assert [one["id"] for one in manager(volume).list_available_datasets()] == ["songs", reference]


def test_download_phase_gives_all_folders(shelf: Shelf, volume: Volume) -> None:
    """``download_phase`` returns a directory for each data set that is ready, and none for one that was left out."""
    shelf.add("songs", shelf.file("songs.tar.gz", some_files("songs")))
    shelf.add("secret", shelf.file("secret.tar.gz", some_files("secret")), commercial="forbidden")
    assert {"songs": volume.root / "datasets" / "songs"} == manager(volume).download_phase("minimal")


def test_failures_are_raised_with_their_code(shelf: Shelf, volume: Volume) -> None:
    """Wrong bytes raise the same error that the command line ends with, and the summary says so."""
    file = shelf.file("songs.tar.gz", some_files("songs"))
    shelf.add("songs", file)
    rule = shelf.server.faults.add("flip", path="*songs.tar.gz", offset=100)
    with pytest.raises(DigestMismatchError) as caught:
        manager(volume).download_phase("minimal")
    assert rule.fired
    assert caught.value.exit_code == 65
    summary = manager(volume).get_status_summary()
    assert (summary["total_available"], summary["downloaded"], summary["failed"]) == (1, 0, 1)
    assert summary["failures"]["songs"]["reference"] == "digest-mismatch"


def test_status_summary_counts_what_is_there(shelf: Shelf, volume: Volume) -> None:
    """The summary has the older tool's keys, and counts what the volume holds, not what the last run did."""
    shelf.add("songs", shelf.file("songs.tar.gz", some_files("songs", 2_000_000)))
    shelf.add("more", shelf.file("more.tar.gz", some_files("more")))
    manager(volume).download_dataset("songs")
    summary = manager(volume).get_status_summary()
    keys = {"total_available", "downloaded", "failed", "downloaded_size_gb", "datasets", "failures"}
    assert keys == set(summary)
    assert (summary["total_available"], summary["downloaded"], summary["failed"]) == (2, 1, 0)
    assert summary["downloaded_size_gb"] == 0.002
    assert summary["datasets"]["songs"]["files"] == 2


def test_list_available_datasets_is_the_catalog(shelf: Shelf, volume: Volume) -> None:
    """Each data set is listed with its licence terms, its phases, and whether it is on the volume."""
    shelf.add("songs", shelf.file("songs.tar.gz", some_files("songs")))
    manager(volume).download_dataset("songs")
    listed: list[dict[str, Any]] = manager(volume).list_available_datasets()
    assert [dataset["id"] for dataset in listed] == ["songs"]
    assert tuple(listed[0][key] for key in ("phases", "commercial", "downloaded")) == (["minimal"], "allowed", True)


@pytest.mark.parametrize(("space", "there"), [("", False), ("ann/space", True)])
def test_auto_download_happens_in_a_space_only(shelf: Shelf, volume: Volume, space: str, there: bool) -> None:
    """Outside a Space ``auto_download_on_space`` does nothing and returns ``False``."""
    shelf.add("songs", shelf.file("songs.tar.gz", some_files("songs")))
    assert there is manager(volume, SPACE_ID=space).auto_download_on_space(max_size_gb=1)
    assert (["songs"] if there else []) == volume.published


def test_auto_download_keeps_the_limit(shelf: Shelf, volume: Volume) -> None:
    """A data set that exceeds the limit is not fetched, and no error is raised."""
    shelf.add("songs", shelf.file("songs.tar.gz", some_files("songs", 3_000_000)), unpacked_size=3_000_000)
    assert manager(volume, SPACE_ID="ann/space").auto_download_on_space(max_size_gb=0.001) is False
    assert volume.published == []


def test_setup_datasets_for_space_is_one_call(shelf: Shelf, volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """``setup_datasets_for_space`` provisions a phase and returns the summary."""
    shelf.add("songs", shelf.file("songs.tar.gz", some_files("songs")))
    for name, value in volume.environ().items():
        monkeypatch.setenv(name, value)
    assert setup_datasets_for_space("minimal", volume.root)["downloaded"] == 1
    volume.check("songs", some_files("songs"))


def test_the_hubs_library_is_left_as_it_was(shelf: Shelf, volume: Volume) -> None:
    """A program that uses the Hub's library itself finds it unchanged: with its own transport and token."""
    from huggingface_hub import get_session  # noqa: PLC0415 - it keeps state that this test looks at

    shelf.server.hub.add_repo("ann/clips", {"a.bin": b"a"})
    shelf.add("clips", sources=[{"kind": "hub", "repo": "ann/clips"}])
    manager(volume, HF_TOKEN=TOKEN).download_dataset("clips")
    assert "provisioner" not in type(get_session()._transport).__module__


def test_the_usage_example(shelf: Shelf, volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example in the package's docstring does what it shows."""
    shelf.add("ljspeech", shelf.file("ljspeech.tar.gz", some_files("ljspeech")))
    for name, value in volume.environ().items():
        monkeypatch.setenv(name, value)
    assert provisioner.__doc__
    text = provisioner.__doc__.replace("/data", str(volume.root), 1).replace("/data/datasets", str(volume.root / "datasets"))
    example = doctest.DocTestParser().get_doctest(text, {}, "provisioner", None, None)
    assert doctest.DocTestRunner().run(example) == doctest.TestResults(0, 4)


def test_wrong_names_are_refused(shelf: Shelf, volume: Volume) -> None:
    """A name that the catalog does not have raises an error that names the nearest one."""
    shelf.add("songs", shelf.file("songs.tar.gz", some_files("songs")))
    with pytest.raises(ProvisionerError) as caught:
        manager(volume).download_dataset("song")
    assert "songs" in caught.value.hint


def test_only_the_api_is_public() -> None:
    """The package has the API's names, and any other one raises ``AttributeError``."""
    assert {"DatasetManager", "__version__", "setup_datasets_for_space"} == set(provisioner.__all__)
    with pytest.raises(AttributeError):
        _ = provisioner.nothing_of_that_name
