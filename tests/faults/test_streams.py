"""Where a program finds itself: streams that are closed or full, a user whom nobody knows, a locale that cannot write names."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from tests.support import tally
from tests.support.program import CHECKOUT
from tests.support.shelf import some_files

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume

OUT: Final = ("", ">&-", ">/dev/full", "> >(:)")
ERR: Final = ("", "2>&-", "2>/dev/full")
STREAMS: Final = ["<&-", *filter(None, (*OUT, *ERR)), *map(" ".join, itertools.product(("<&-",), OUT[1:], ERR[1:]))]
"""What a shell can make of the three: one of them, or all."""
ODD_NAMES: Final = {"naïve é.txt": b"x", "日本.bin": b"y" * 3_000_000}


def through_shell(volume: Volume, words: str, streams: str, **changes: str | None) -> subprocess.CompletedProcess[bytes]:
    """Run the program as a shell starts it."""
    tally.count("processes")
    tally.count("faults")
    line = f"{sys.executable} -m provisioner {words} {streams}"
    return subprocess.run(
        ["bash", "-c", line], env=volume.environ(**changes), cwd=CHECKOUT, capture_output=True, check=False, timeout=30
    )


@pytest.fixture(autouse=True)
def one(shelf: Shelf) -> None:
    """Return a catalog of one data set."""
    shelf.add("alpha", shelf.file("alpha.tar.gz", some_files("alpha")))


@pytest.mark.parametrize("streams", STREAMS)
def test_closed_and_full_streams(volume: Volume, tmp_path: Path, streams: str) -> None:
    """The volume is filled, the app is started, no log line gets into a file, and there is no traceback."""
    app = f"-- /bin/sh -c 'echo started >{tmp_path}/started'"
    done = through_shell(volume, f"provision --json {app}", streams)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "started").read_text() == "started\n"
    assert b"Traceback" not in done.stderr + done.stdout
    volume.check("alpha", some_files("alpha"))
    assert json.loads((volume.root / "dataset_status.json").read_bytes())["state"] == "ready"


@pytest.mark.parametrize(
    ("words", "streams", "code"),
    [
        ("list", ">&-", 0),
        ("list --json", ">/dev/full", 74),
        ("list", "> >(:)", 141),
        ("list", ">/dev/full 2>/dev/full", 74),
        ("--help", ">/dev/full", 74),
        ("status --json", ">/dev/full", 66),
    ],
)
def test_a_result_that_nobody_gets(volume: Volume, words: str, streams: str, code: int) -> None:
    """A result that cannot be written is an error of its own, not a bug of ours; a closed stream is the caller's wish."""
    done = through_shell(volume, words, f"{streams}; code=$?; wait; exit $code")
    # A reader that is gone may be noticed too late.
    assert done.returncode in ({code, 0} if code == 141 else {code}), done.stderr
    assert b"Traceback" not in done.stderr + done.stdout


NOBODY: Final = """
import pwd
def nobody(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")
pwd.getpwuid = nobody
"""


@pytest.mark.parametrize("words", ["provision", "plan", "status", "doctor", "healthcheck", "list"])
def test_a_user_whom_nobody_knows(volume: Volume, tmp_path: Path, words: str) -> None:
    """Without HOME and without an entry in the list of users, everything works."""
    (tmp_path / "sitecustomize.py").write_text(NOBODY)
    if words in {"status", "healthcheck"}:
        volume.ready()
    volume.ready(words, HOME=None, PYTHONPATH=str(tmp_path))


def test_a_working_directory_that_was_removed(volume: Volume, tmp_path: Path) -> None:
    """A path of the volume that begins there is refused by name; with a whole path nothing needs it."""
    line = f'mkdir {tmp_path}/gone && cd {tmp_path}/gone && rmdir ../gone && exec {sys.executable} -m provisioner "$@"'
    for data_dir, code in (("data", 78), (str(volume.root), 0)):
        tally.count("faults")
        environ = volume.environ(DATA_DIR=data_dir, PYTHONPATH=str(CHECKOUT))
        done = subprocess.run(["sh", "-c", line, "sh", "provision"], env=environ, capture_output=True, check=False)
        assert done.returncode == code, done.stderr
        assert (b"DATA_DIR: 'data' is relative" in done.stderr) == (code == 78)


LOCALES: Final = {
    "ASCII": {"LC_ALL": "C", "PYTHONUTF8": "0"},
    "strict ASCII output": {"PYTHONIOENCODING": "ascii:strict"},
}


@pytest.mark.parametrize("locale", LOCALES.values(), ids=LOCALES)
def test_a_locale_without_the_names(hub: HubServer, shelf: Shelf, volume: Volume, tmp_path: Path, locale: dict[str, str]) -> None:
    """The tree has the same names of bytes as anywhere; names that the terminal cannot show are escaped."""
    hub.hub.add_repo("ann/odd", ODD_NAMES)
    shelf.add("odd", sources=[{"kind": "hub", "repo": "ann/odd"}], title="Жук")
    shelf.add("packed", shelf.file("packed.tar.gz", {"naïve/日本": b"z"}))
    root = tmp_path / "vôlume"
    changes = {**locale, "DATA_DIR": str(root)}
    outcome = volume.ready("provision", **changes)
    assert sorted(path.name for path in (root / "datasets" / "odd").iterdir()) == sorted(ODD_NAMES)
    assert (root / "datasets" / "packed" / "naïve" / "日本").read_bytes() == b"z"
    volume.ready("verify", "--deep", DATA_DIR=str(root))
    listed = volume.ready("list", **changes)
    assert "Жук" not in listed.out
    assert json.loads(volume.ready("list", "--json", **changes).out)["datasets"]["odd"]["title"] == "Жук"
    refused = volume.run("plan", "--catalog", "/é", **changes)
    assert refused.code == 78
    assert "\\xe9" in refused.err
    assert "Traceback" not in outcome.err + refused.err


API: Final = """
import os
from provisioner import DatasetManager
from provisioner.errors import ConfigurationError
try:
    DatasetManager().download_dataset("odd")
except ConfigurationError as error:
    print(error.message, error.hint)
"""


def test_a_program_of_others_in_such_a_locale(shelf: Shelf, volume: Volume) -> None:
    """The Python API cannot start the process anew: names in the tree are UTF-8 all the same."""
    shelf.add("odd", shelf.file("odd.tar.gz", {"a": b"z"}), {**shelf.raw("x.bin", b"x"), "into": "naïve"})
    environ = volume.environ(LC_ALL="C", PYTHONUTF8="0", PYTHONPATH=str(CHECKOUT))
    done = subprocess.run([sys.executable, "-c", API], env=environ, capture_output=True, text=True, check=True)
    tally.count("faults")
    assert done.stdout == ""
    assert (volume.tree("odd") / "naïve" / "x.bin").read_bytes() == b"x"
