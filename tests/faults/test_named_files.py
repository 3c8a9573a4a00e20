"""Files that settings name: read with a limit, in bounded time, whatever is found in their place."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import pytest

from provisioner.engine.installation import load_catalog, load_settings
from provisioner.errors import ConfigurationError
from provisioner.remote.tls import tls_context
from provisioner.volume.fs import files
from provisioner.volume.fs.files import read_file, read_named_file, read_named_text
from provisioner.volume.store.json_file import read_json
from tests.support import tally
from tests.support.program import TOKEN
from tests.support.shelf import some_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.shelf import Shelf
    from tests.support.volume import Volume


def fifo(path: Path) -> None:
    """Make a FIFO that nobody writes to."""
    os.mkfifo(path)


def dripping(path: Path) -> None:
    """Make a FIFO that somebody holds open and never ends."""
    os.mkfifo(path)
    os.write(os.open(path, os.O_RDWR), b"# ")


def endless(path: Path) -> None:
    """Make a link to a device without an end."""
    path.symlink_to("/dev/zero")


def large(path: Path) -> None:
    """Make a file larger than any of its kind, which takes no space."""
    with path.open("wb") as file:
        file.truncate(5 << 30)


def directory(path: Path) -> None:
    """Make a directory."""
    path.mkdir()


def unreadable(path: Path) -> None:
    """Make a link to itself: nobody can open it, not even root."""
    path.symlink_to(path)


PLACES: Final = [fifo, dripping, endless, large, directory, unreadable]
NAMES: Final = ["HF_TOKEN_FILE", "CONFIG_PATH", "CATALOG_PATH", "SSL_CERT_FILE"]


@pytest.fixture(autouse=True)
def one(shelf: Shelf) -> None:
    """Return a catalog of one data set."""
    shelf.add("alpha", shelf.file("alpha.tar.gz", some_files("alpha")))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("make", PLACES)
def test_what_is_found_in_place_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], name: str
) -> None:
    """It is refused by the variable's name, in bounded time and with bounded memory."""
    place = tmp_path / "place"
    make(place)
    tally.count("faults")
    monkeypatch.setattr(files, "_PATIENCE_SECONDS", 0.05)

    def use() -> None:
        settings = load_settings({}, {"HOME": str(tmp_path), name: str(place)})
        load_catalog(settings.catalog_paths)
        tls_context(settings.ssl_cert_file)

    with pytest.raises(ConfigurationError, match=f"^{name}: "):
        use()


@pytest.mark.parametrize("name", ["HF_TOKEN_FILE", "CATALOG_PATH"])
def test_a_run_that_meets_a_fifo(volume: Volume, tmp_path: Path, name: str) -> None:
    """A run and ``doctor`` end with 78, and say the same; nothing is fetched."""
    fifo(tmp_path / "place")
    tally.count("faults")
    messages = set()
    for command in ("provision", "doctor"):
        outcome = volume.run(command, **{name: str(tmp_path / "place")})
        assert outcome.code == 78, outcome.err
        messages.add(outcome.errors()[0].partition("ERROR ")[2])
    assert len(messages) == 1
    assert volume.published == []


@pytest.mark.parametrize("make", PLACES)
def test_a_login_that_nobody_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None]) -> None:
    """The Hub client's login is left alone: nobody asked for it."""
    make(tmp_path / "token")
    tally.count("faults")
    monkeypatch.setattr(files, "_PATIENCE_SECONDS", 0.05)
    settings = load_settings({}, {"HOME": "/", "HF_HOME": str(tmp_path)})
    assert (settings.hf_token, settings.warnings) == (None, ())


@pytest.mark.parametrize("make", PLACES)
def test_records_of_ours(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """Whatever stands in place of a record is no record."""
    make(tmp_path / "record.json")
    tally.count("faults")
    assert read_json(tmp_path / "record.json") is None


def test_a_run_that_meets_fifos(volume: Volume) -> None:
    """The run goes on, and what it writes for others is there again."""
    volume.ready()
    for path in (volume.root / "dataset_status.json", volume.root / "provision.env"):
        path.unlink()
        fifo(path)
        tally.count("faults")
    volume.ready()
    volume.ready("status")
    volume.check("alpha", some_files("alpha"))


def test_a_termination_log_that_nobody_reads(volume: Volume, tmp_path: Path) -> None:
    """A FIFO without a reader, a directory, a full disk: the error is reported by its own code, not by this."""
    fifo(tmp_path / "fifo")
    for place in (tmp_path / "fifo", tmp_path, "/dev/full"):
        outcome = volume.run(PHASE="nothing", TERMINATION_LOG=str(place))
        assert outcome.code == 78
        assert "The termination log" in outcome.err


def test_a_token_that_comes_through_a_pipe(tmp_path: Path) -> None:
    """What a shell passes as a file is read to its end, however late that comes within the time."""
    reader, writer = os.pipe()
    os.write(writer, f"{TOKEN}\n".encode())
    os.close(writer)
    assert read_named_text(tmp_path / "/dev/fd" / str(reader)) == f"{TOKEN}\n"
    os.close(reader)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_with_a_mark(tmp_path: Path, encoding: str) -> None:
    """What an editor marks as UTF-16 is understood as what it is."""
    (tmp_path / "file").write_text("é\n", encoding)
    assert read_named_text(tmp_path / "file") == "é\n"


def test_the_limit_is_exact(tmp_path: Path) -> None:
    """As many bytes as are allowed are read, and not one more."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10)
    for read in (read_file, read_named_file):
        assert read(path, 10) == b"x" * 10
        with pytest.raises(OSError, match="more than 9 bytes"):
            read(path, 9)


def test_an_empty_name_of_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty SSL_CERT_FILE is not set: the system's certificates are trusted."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    usual = tls_context(None).get_ca_certs()
    for text in ("", '""'):
        monkeypatch.setenv("SSL_CERT_FILE", text)
        assert tls_context(None).get_ca_certs() == usual
