"""Completion for bash, zsh and fish, and the man page: current, and right in the shells themselves."""

from __future__ import annotations

import contextlib
import os
import pty
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING, Final

import pytest

from provisioner.commands.registry import COMMANDS
from provisioner.settings.settings import SETTINGS
from tests.support.program import CHECKOUT
from tools import completions, man_page

if TYPE_CHECKING:
    from pathlib import Path

SHELL: Final = CHECKOUT / "deploy" / "shell"
PHASES: Final = "minimal balanced comprehensive auto"
IDS: Final = "nsynth ljspeech urmp fma_small libritts musicnet fma_large lakh_midi"

CASES: Final = [
    ("provisioner pla", "plan"),
    ("provisioner re", "repair remove repo report"),
    ("provisioner --ver", "--version"),
    ("provisioner --phase ", PHASES),
    ("provisioner plan --phase bal", "balanced"),
    ("provisioner --dataset fma", "fma_small fma_large"),
    ("provisioner --data-dir plan sta", "status"),
    ("provisioner status --che", "--check"),
    ("provisioner --json verify --de", "--deep"),
    ("provisioner catalog ", "check add pin"),
    ("provisioner catalog check --on", "--online"),
    ("provisioner verify ", IDS),
    ("provisioner remove ljspeech fma_l", "fma_large"),
    ("provisioner repo cre", "create"),
    ("provisioner repo create --org ", ""),
]
"""What is typed, and what it may go on with."""

BASH: Final = """\
source "$1"
mapfile -t COMP_WORDS <"$2"
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_provisioner
printf '%s\\n' "${COMPREPLY[@]}"
"""


def offered_by_bash(tmp_path: Path, *words: str) -> list[str]:
    """Return what bash's own function offers for the last of some words, in a directory with two files and a directory."""
    (tmp_path / "words").write_text("".join(f"{word}\n" for word in words), "utf-8")
    (tmp_path / "volume").mkdir(exist_ok=True)
    ended = subprocess.run(
        ["bash", "--norc", "-c", BASH, "bash", SHELL / "provisioner.bash", tmp_path / "words"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert ended.stderr == ""
    return ended.stdout.split()


@pytest.mark.parametrize("name", completions.SCRIPTS)
def test_scripts_are_current(name: str) -> None:
    """Each script is what its generator writes now: 'make docs' updates it."""
    assert (SHELL / name).read_text("utf-8") == completions.SCRIPTS[name]()


@pytest.mark.parametrize(("typed", "expected"), CASES)
def test_bash(typed: str, expected: str, tmp_path: Path) -> None:
    """Bash offers commands, options, phases, ids and actions, and nothing where a text cannot be guessed."""
    assert offered_by_bash(tmp_path, *typed.split(" ")) == expected.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("provisioner", "--phase", "=", "bal"), ["balanced"]),
        (("provisioner", "--phase", "="), PHASES.split()),
        (("provisioner", "--phase", "=", "minimal", "pla"), ["plan"]),
        (("provisioner", "--data-dir", ""), ["volume"]),
        (("provisioner", "--config", ""), ["volume", "words"]),
        (("provisioner", "--", "wor"), ["words"]),
        (("provisioner", "python", "wor"), ["words"]),
    ],
)
def test_bash_with_paths_and_equal_signs(words: tuple[str, ...], expected: list[str], tmp_path: Path) -> None:
    """Bash separates words at equal signs; directories are offered for directories, and files for an app."""
    assert sorted(offered_by_bash(tmp_path, *words)) == sorted(expected)


def test_a_tab_in_bash(tmp_path: Path) -> None:
    """In a bash on a terminal, a tab completes a command."""
    script = shlex.quote(str(SHELL / "provisioner.bash"))
    typed = f'source {script}; provisioner() {{ echo "Got=$*"; }}\nprovisioner sta\t--che\t\nexit\n'
    ours, theirs = pty.openpty()
    with open(ours, "r+b", buffering=0) as terminal:  # noqa: PTH123 - a descriptor
        shell = subprocess.Popen(
            ["bash", "--norc", "-i"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "INPUTRC": "/dev/null", "TERM": "dumb"},
        )
        os.close(theirs)
        terminal.write(typed.encode())
        shown = b""
        with contextlib.suppress(OSError):  # the end of a terminal
            while data := terminal.read(4096):
                shown += data
        assert shell.wait(20) == 0
    assert b"Got=status --check" in shown


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish(tmp_path: Path) -> None:
    """Fish offers the same, but for a command behind a value that is a command's name."""
    cases = [case for case in CASES if "--data-dir plan" not in case[0]]
    script = "".join(f"complete -C '{typed}'; echo ==;" for typed, _ in cases)
    ended = subprocess.run(
        ["fish", "--no-config", "-c", f"source '{SHELL / 'provisioner.fish'}'; {script}"],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        check=True,
        capture_output=True,
        text=True,
    )
    offered = [sorted(line.split("\t")[0] for line in part.splitlines()) for part in ended.stdout.split("==\n")[:-1]]
    assert offered == [sorted(expected.split()) for _, expected in cases]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_reads_its_script() -> None:
    """Zsh finds no mistake in its script."""
    subprocess.run(["zsh", "-n", SHELL / "_provisioner"], check=True)


def test_the_man_page_is_current() -> None:
    """The page is what its generator writes now, and has every command, setting and option of the program."""
    text = (SHELL / "provisioner.1").read_text("utf-8")
    assert text == man_page.man_page()
    for name in COMMANDS:
        assert f"\n.SS {name}" in text
    for setting in SETTINGS:
        assert f"\n.B {setting.name}" in text
    assert text.isascii()


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_the_man_page_is_read_without_a_warning() -> None:
    """Roff understands the page, and shows options as they are typed."""
    page = str(SHELL / "provisioner.1")
    ended = subprocess.run(["groff", "-man", "-ww", "-Tutf8", "-P-cbou", page], check=True, capture_output=True, text=True)
    assert ended.stderr == ""
    assert "--dry-run" in ended.stdout
