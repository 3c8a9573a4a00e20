"""``init`` on a pseudo-terminal, as a person uses it, against a Hub that speaks the real protocol."""

from __future__ import annotations

import os
import pty
import re
import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.program import CHECKOUT, PATIENCE, TOKEN
from tests.support.readable import readable
from tests.support.shelf import Shelf, some_files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.support.hub_server import HubServer
    from tests.support.volume import Volume

READ = "hf_" + "UmVhZE9ubHlUb2tlbkZvclRlc3RzT25s"
NAME = "trackio-experiments"
GO = r"Go ahead\?[^\n]*\[y\]: "
ANSWERS = (("Token", TOKEN), ("Name", ""), ("Owner", ""), ("Visibility", ""))
TAKE_TERMINAL = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
"""Makes standard input the process's controlling terminal, so that keys become signals, and becomes the program."""


class Terminal:
    """A terminal with a program on it: a screen that tests wait for, and keys that they press."""

    def __init__(self, command: list[str], environ: Mapping[str, str], cwd: Path) -> None:
        """Start the program with this terminal as its controlling one."""
        self.screen = ""
        self._seen = 0
        self._master, slave = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, *command],
            env=dict(environ),
            cwd=cwd,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)

    def read_until(self, pattern: str) -> str:
        """Wait until the screen shows ``pattern`` after what was waited for before; return what was shown until then."""
        deadline = time.monotonic() + PATIENCE
        while not (found := re.compile(pattern).search(self.screen, self._seen)):
            assert time.monotonic() < deadline, f"{pattern!r} never came: {self.screen}"
            assert self._more(), f"ended without {pattern!r}: {self.screen}"
        came = self.screen[self._seen : found.end()]
        self._seen = found.end()
        return came

    def answer(self, question: str, text: str) -> str:
        """Wait for a question and answer it; return what was shown until then."""
        came = self.read_until(question)
        os.write(self._master, f"{text}\n".encode())
        return came

    def press(self, keys: bytes) -> None:
        """Press keys without Enter."""
        os.write(self._master, keys)

    def _more(self) -> bool:
        if not readable([self._master], 1.0):
            return True
        try:
            piece = os.read(self._master, 1 << 16)
        except OSError:  # the other side has closed it
            return False
        self.screen += piece.decode(errors="replace")
        return bool(piece)

    def end(self) -> int:
        """Wait for the end of the program, and return its exit code."""
        deadline = time.monotonic() + PATIENCE
        while self._more():
            assert time.monotonic() < deadline, self.screen
        code = self._process.wait(PATIENCE)
        os.close(self._master)
        for token in (TOKEN, READ):
            assert token not in self.screen
        assert "Traceback" not in self.screen
        return code


class Desk:
    """An empty working directory and the settings of a person who starts ``init``."""

    def __init__(self, volume: Volume, directory: Path) -> None:
        """Make the directory."""
        self.volume = volume
        self.directory = directory
        directory.mkdir()

    def start(self, *arguments: str, command: str = "init", **changes: str | None) -> Terminal:
        """Start ``init`` there."""
        environ = self.volume.environ(PYTHONPATH=str(CHECKOUT), TERM="dumb", **changes)
        return Terminal([sys.executable, "-m", "provisioner", command, *arguments], environ, self.directory)

    @property
    def env(self) -> dict[str, str]:
        """What was written."""
        return dict(line.split("=", 1) for line in self.env_file.read_text("utf-8").splitlines() if "=" in line)

    @property
    def env_file(self) -> Path:
        """Where it is written."""
        return self.directory / ".env"


@pytest.fixture
def desk(hub: HubServer, volume: Volume, shelf: Shelf, tmp_path: Path) -> Desk:
    """Return a desk with a catalog of two data sets, one with a licence to accept."""
    hub.hub.add_user("ann", orgs={"lab": "write", "club": "read"})
    hub.hub.add_token(READ, "ann", "read")
    shelf.add("free", shelf.file("free.tar.gz", some_files("free")))
    shelf.add("odd", shelf.file("odd.tar.gz", some_files("odd")), commercial="verify")
    return Desk(volume, tmp_path / "desk")


def test_the_whole_conversation(hub: HubServer, desk: Desk) -> None:
    """Every question is asked again, with the reason, until its answer is right; then `.env` is written."""
    terminal = desk.start()
    terminal.answer(r"Token of the Hub.*: ", "hf_nonsense")
    assert "mistyped, revoked or expired" in terminal.answer(r"Token of the Hub.*: ", TOKEN)
    assert "belongs to ann; organizations: lab, club" in terminal.answer(
        rf"Name of the data-set repository.*\[{NAME}\]: ", "a--b"
    )
    assert "is not the name of a repository" in terminal.answer(r"Name of the data-set repository.*: ", "my-logs")
    terminal.answer(r"Owner: ann, lab or club \[ann\]: ", "bob")
    assert "no member of 'bob'" in terminal.answer(r"Owner.*: ", "lab")
    terminal.answer(r"Visibility.*\[public\]: ", "secret")
    assert "is not one of public, private" in terminal.answer(r"Visibility.*: ", "private")
    came = terminal.answer(r"Phase \[minimal\]: ", "maximal")
    assert re.search(r"Free in .*: [0-9.]+ [kMGT]?B", came)
    assert "free odd" in came
    assert "Did you mean 'minimal'?" in terminal.answer(r"Phase.*: ", "")
    assert "commercial use: verify" in terminal.answer(r"Accept the licence of odd\?.*\[n\]: ", "perhaps")
    assert "answer y or n" in terminal.answer(r"Accept.*: ", "y")
    assert ("dataset", "lab/my-logs") not in hub.hub.repos
    assert "the private data-set repository lab/my-logs is created" in terminal.answer(GO, "")
    assert "datasets/lab/my-logs: made" in terminal.read_until("docker compose up")
    assert terminal.end() == 0
    assert desk.env == {
        "HF_TOKEN": TOKEN,
        "DATASET_REPO": "lab/my-logs",
        "DATASET_REPO_PRIVATE": "true",
        "PHASE": "minimal",
        "ACCEPT_LICENSES": "odd",
    }
    assert stat.S_IMODE(desk.env_file.stat().st_mode) == 0o600
    assert hub.hub.repos["dataset", "lab/my-logs"].private
    assert [path.name for path in desk.directory.iterdir()] == [".env"]


def test_what_it_writes_is_enough(desk: Desk) -> None:
    """With `.env` in its environment, `provision` fills the volume and finds the repository."""
    terminal = desk.start()
    for question, text in (*ANSWERS, ("Phase", ""), ("Accept", "n"), ("Go ahead", "y")):
        terminal.answer(rf"{question}[^\n]*\[[^\n]*\]: ", text)
    assert terminal.end() == 0
    script = f"set -a; . ./.env; set +a; exec {sys.executable} -m provisioner --json"
    environ = desk.volume.environ(PHASE=None, PYTHONPATH=str(CHECKOUT))
    done = subprocess.run(["sh", "-c", script], env=environ, cwd=desk.directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert desk.volume.published == ["free"]
    assert desk.volume.status["datasets"]["odd"]["reason"] == "license_policy"
    assert desk.volume.status["dataset_repo"]["repo_id"] == f"ann/{NAME}"


def test_a_declined_licence_says_which_part_is_taken_all_the_same(desk: Desk, shelf: Shelf) -> None:
    """Of a data set with a part that may be used commercially, `init` says that this part is taken, not that all is left out."""
    part = {"free": {"include": ["mixed/data/*"], "commercial": "allowed"}}
    shelf.add("mixed", shelf.file("mixed.tar.gz", some_files("mixed")), commercial="mixed", parts=part)
    terminal = desk.start()
    for question, text in (*ANSWERS, ("Phase", ""), ("Accept the licence of odd", "n"), ("Accept the licence of mixed", "n")):
        terminal.answer(rf"{question}[^\n]*\[[^\n]*\]: ", text)
    came = terminal.answer(GO, "")
    assert "Left out: odd.\r\n" in came
    assert "Of mixed only the part that may be used commercially is taken: mixed:free.\r\n" in came
    assert terminal.end() == 0
    script = f"set -a; . ./.env; set +a; exec {sys.executable} -m provisioner --json"
    environ = desk.volume.environ(PHASE=None, PYTHONPATH=str(CHECKOUT))
    done = subprocess.run(["sh", "-c", script], env=environ, cwd=desk.directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert desk.volume.published == ["free", "mixed"]


def test_a_repository_that_cannot_be_made(hub: HubServer, desk: Desk) -> None:
    """With a read-only token the reason is shown, and a repository that exists is asked for until one is right."""
    hub.hub.add_repo("ann/by-hand")
    terminal = desk.start(HF_TOKEN=READ)
    terminal.answer(r"Token of the Hub.*Enter: the one of HF_TOKEN\]: ", "")
    for question in ("Name", "Owner", "Visibility"):
        terminal.answer(rf"{question}[^\n]*\]: ", "")
    terminal.answer(r"Phase.*: ", "")
    terminal.answer(r"Accept.*: ", "y")
    terminal.answer(GO, "")
    assert "read-only" in terminal.answer(r"Data-set repository that exists.*: ", "plain")
    assert "write OWNER/NAME" in terminal.answer(r"Data-set repository that exists.*: ", "ann/by-hand")
    assert "read-only" in terminal.answer(r"Data-set repository that exists.*: ", "none")
    assert terminal.end() == 0
    assert desk.env["DATASET_REPO"] == "none"


def test_when_creation_fails_another_is_named(hub: HubServer, desk: Desk) -> None:
    """When creation is refused (402), a repository that was made by hand is checked and used."""
    hub.hub.add_repo("lab/by-hand")
    hub.faults.add("status", path="*/repos/create", status=402)
    terminal = desk.start()
    terminal.answer(r"Token.*: ", TOKEN)
    for question in ("Name", "Owner", "Visibility"):
        terminal.answer(rf"{question}[^\n]*\]: ", "")
    terminal.answer(r"Phase.*: ", "")
    terminal.answer(r"Accept.*: ", "y")
    terminal.answer(GO, "")
    assert "billing" in terminal.answer(r"Data-set repository that exists.*: ", "lab/missing")
    assert "does not exist" in terminal.answer(r"Data-set repository that exists.*: ", "lab/by-hand")
    assert terminal.end() == 0
    assert desk.env["DATASET_REPO"] == "lab/by-hand"


def test_without_a_token(desk: Desk) -> None:
    """Enter at the question for the token means no token and no repository."""
    terminal = desk.start()
    terminal.answer(r"Token.*Enter: none\]: ", "")
    terminal.answer(r"Data-set repository that exists.*: ", "")
    terminal.answer(r"Phase.*: ", "")
    terminal.answer(r"Accept.*: ", "y")
    terminal.answer(GO, "")
    assert terminal.end() == 0
    assert desk.env == {"DATASET_REPO": "none", "PHASE": "minimal", "ACCEPT_LICENSES": "odd"}


def test_a_file_that_is_there(desk: Desk) -> None:
    """Other lines of an existing `.env` stay, ours are replaced, and its mode becomes 0600."""
    desk.env_file.write_text("# mine\nPHASE=other\nMAX_STORAGE_GB=5\n", "utf-8")
    desk.env_file.chmod(0o644)
    terminal = desk.start()
    terminal.read_until("is there already")
    terminal.answer(r"Token.*: ", "")
    terminal.answer(r"Data-set repository.*\]: ", "")
    terminal.answer(r"Phase.*: ", "")
    terminal.answer(r"Accept.*: ", "y")
    terminal.answer(GO, "")
    assert terminal.end() == 0
    lines = desk.env_file.read_text("utf-8").splitlines()
    assert lines[:2] == ["# mine", "MAX_STORAGE_GB=5"]
    assert desk.env["PHASE"] == "minimal"
    assert stat.S_IMODE(desk.env_file.stat().st_mode) == 0o600


def test_a_second_conversation_keeps_the_answers_of_the_first(desk: Desk) -> None:
    """Enter at every question writes the same file again; its token is used and not shown."""
    terminal = desk.start()
    for question, text in (
        ("Token", TOKEN),
        ("Name", "logs"),
        ("Owner", "lab"),
        ("Visibility", "private"),
        ("Phase", ""),
        ("Acc", "y"),
        ("Go ahead", ""),
    ):
        terminal.answer(rf"{question}[^\n]*\[[^\n]*\]: ", text)
    assert terminal.end() == 0
    first = desk.env_file.read_bytes()
    terminal = desk.start()
    terminal.answer(r"Token.*Enter: the one of \.env\]: ", "")
    terminal.answer(r"Name.*\[lab/logs\]: ", "")
    terminal.answer(r"Visibility.*\[private\]: ", "")
    terminal.answer(r"Phase.*: ", "")
    terminal.answer(r"Accept.*\[y\]: ", "")
    terminal.answer(GO, "")
    terminal.read_until("reused as it is")
    assert terminal.end() == 0
    assert desk.env_file.read_bytes() == first


@pytest.mark.parametrize(("keys", "code"), [(b"n\n", 64), (b"\x03", 130), (b"\x04", 64)], ids=["no", "ctrl-c", "ctrl-d"])
def test_nothing_is_created_before_it_is_confirmed(hub: HubServer, desk: Desk, keys: bytes, code: int) -> None:
    """Until the answers are confirmed nothing is created on the Hub and nothing is written, however the person leaves."""
    terminal = desk.start()
    for question, text in (*ANSWERS, ("Phase", ""), ("Accept", "y")):
        terminal.answer(rf"{question}[^\n]*\[[^\n]*\]: ", text)
    terminal.read_until(GO)
    terminal.press(keys)
    assert terminal.end() == code
    assert not list(desk.directory.iterdir())
    assert not hub.log.entries(path="*create*")
    assert ("dataset", f"ann/{NAME}") not in hub.hub.repos


def test_a_file_that_cannot_be_written_is_no_reason_to_ask(hub: HubServer, desk: Desk) -> None:
    """Where the file cannot be written, that is said before the first question."""
    terminal = desk.start("--env-file", str(desk.directory / "missing" / ".env"))
    terminal.read_until("cannot be written: No such file or directory; nothing was asked")
    assert terminal.end() == 78
    assert hub.log.entries() == ()


def test_ctrl_c_leaves_everything_as_it_was(desk: Desk) -> None:
    """Ctrl-C is exit code 130, and no file is written."""
    terminal = desk.start()
    terminal.answer(r"Token.*: ", "")
    terminal.read_until(r"Data-set repository.*: ")
    terminal.press(b"\x03")
    assert terminal.end() == 130
    assert not list(desk.directory.iterdir())


def test_the_end_of_input_is_no_answer(desk: Desk) -> None:
    """Ctrl-D at a question is exit code 64, and nothing is written."""
    terminal = desk.start()
    terminal.answer(r"Token.*: ", "")
    terminal.read_until(r"Data-set repository.*: ")
    terminal.press(b"\x04")
    assert terminal.end() == 64
    assert not list(desk.directory.iterdir())


def test_without_a_terminal(desk: Desk) -> None:
    """Without a terminal it fails at once and names what to set instead."""
    outcome = desk.volume.run("init")
    assert outcome.code == 64
    for name in ("HF_TOKEN", "DATASET_REPO", "PHASE", "ACCEPT_LICENSES"):
        assert name in outcome.err


def test_repo_create_asks_for_the_token(hub: HubServer, desk: Desk) -> None:
    """On a terminal 'repo create' asks for the token, which is not shown while it is typed."""
    terminal = desk.start("create", command="repo")
    terminal.answer(r"Token of the Hub.*: ", TOKEN)
    terminal.read_until(f"ann/{NAME}: made")
    assert terminal.end() == 0
    assert ("dataset", f"ann/{NAME}") in hub.hub.repos
