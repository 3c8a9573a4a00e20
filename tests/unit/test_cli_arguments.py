"""Command lines: what is ours, what is the app's, and what cannot be understood."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner import __version__
from provisioner.cli.main import main
from provisioner.cli.parser import Invocation, parse_options, take_apart
from provisioner.commands.registry import COMMANDS
from provisioner.errors import UsageError
from provisioner.settings.model import SETTINGS

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("line", "command", "ours", "app"),
    [
        ("", "provision", "", ""),
        ("provision", "provision", "", ""),
        ("status", "status", "", ""),
        ("status --json", "status", "--json", ""),
        ("--json status", "status", "--json", ""),
        ("--data-dir /d status --check", "status", "--data-dir /d --check", ""),
        ("--data-dir status", "provision", "--data-dir status", ""),
        ("--phase plan plan", "plan", "--phase plan", ""),
        ("--dataset list provision", "provision", "--dataset list", ""),
        ("catalog check --online", "catalog", "check --online", ""),
        ("--list", "provision", "--list", ""),
        ("--status --cache-dir D", "provision", "--status --cache-dir D", ""),
        ("-- python app.py", "provision", "", "python app.py"),
        ("python app.py", "provision", "", "python app.py"),
        ("python app.py --phase x -- status", "provision", "", "python app.py --phase x -- status"),
        ("-- status", "provision", "", "status"),
        ("--phase minimal python app.py", "provision", "--phase minimal", "python app.py"),
        ("provision --phase minimal -- python --json", "provision", "--phase minimal", "python --json"),
        ("--phase=minimal app", "provision", "--phase=minimal", "app"),
        ("./status", "provision", "", "./status"),
        ("-- --weird", "provision", "", "--weird"),
    ],
)
def test_taken_apart(line: str, command: str, ours: str, app: str) -> None:
    """What begins with a dash is ours, until a word that is no command of ours, or two dashes, begin the app's."""
    assert take_apart(line.split()) == Invocation(command, tuple(ours.split()), tuple(app.split()))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--", "there is none"),
        ("provision --", "there is none"),
        ("status -- app", "starts no app"),
        ("plan -- x", "starts no app"),
    ],
)
def test_not_understood(line: str, words: str) -> None:
    """An app where none can be, and none where one was announced."""
    with pytest.raises(UsageError, match=words) as caught:
        take_apart(line.split())
    assert caught.value.exit_code == 64


@given(st.lists(st.sampled_from([*COMMANDS, "--", "--phase", "--json", "-x", "app", ""]), max_size=6))
def test_no_word_is_lost(line: list[str]) -> None:
    """Every word of the line is ours or the app's, once, in its order."""
    try:
        invocation = take_apart(line)
    except UsageError:
        return
    words = [*invocation.arguments, *invocation.app]
    rest = iter(line)
    assert all(word in rest for word in words)
    assert len(line) - len(words) <= 2


@pytest.mark.parametrize(
    "line",
    [
        "--fase minimal",
        "--phas minimal",
        "--phase",
        "--json=yes",
        "provision extra",
        "status --phase minimal",
        "status extra",
        "list --dataset x",
        "catalog",
        "catalog chek",
        "plan --check",
        "healthcheck now",
    ],
)
def test_wrong_options(line: str) -> None:
    """64, and where help is; abbreviations are not guessed."""
    with pytest.raises(UsageError) as caught:
        parse_options(take_apart(line.split()))
    assert "--help" in caught.value.hint


def test_options() -> None:
    """What they mean."""
    line = "--phase balanced --dataset a --dataset b:train --json --data-dir /d --config c.yaml --catalog k.yaml --dry-run"
    options = parse_options(take_apart(line.split()))
    assert (options.phase, options.dataset, options.json, options.data_dir) == ("balanced", ["a", "b:train"], True, "/d")
    assert (options.config, options.catalog, options.dry_run) == ("c.yaml", "k.yaml", True)
    verify = parse_options(take_apart(["verify", "a", "--deep", "b"]))
    assert (verify.ids, verify.deep) == (["a", "b"], True)
    assert parse_options(take_apart(["repair"])).ids == []
    assert parse_options(take_apart(["remove", "a", "--dry-run"])).dry_run
    older = parse_options(take_apart(["--cache-dir", "D"]))
    assert older.data_dir == "D"
    assert parse_options(take_apart(["status", "--check"])).check
    assert parse_options(take_apart(["catalog", "check", "--online"])).online


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_takes_the_common_options(command: str) -> None:
    """--json, --data-dir, --config, --catalog."""
    line = [
        command,
        *(["check"] if command in {"catalog", "repo"} else []),
        *(["alpha"] if command == "remove" else []),
        "--json",
        "--data-dir",
        "d",
        "--config",
        "c",
        "--catalog",
        "k",
    ]
    options = parse_options(take_apart(line))
    assert (options.json, options.data_dir, options.config, options.catalog) == (True, "d", "c", "k")


@pytest.mark.parametrize("command", ["", *sorted(COMMANDS)])
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command explains itself and exits with 0."""
    assert main([*command.split(), "--help"], {}) == 0
    out = capsys.readouterr().out
    assert "--json" in out
    assert "--data-dir" in out


def test_help_is_enough(capsys: pytest.CaptureFixture[str]) -> None:
    """All commands and all settings are in it, and how to start an app."""
    main(["--help"], {})
    out = capsys.readouterr().out
    for name in (*COMMANDS, *(setting.name for setting in SETTINGS), "--phase", "--dataset", "--dry-run", "-- APP"):
        assert re.search(rf"(?<!\w){re.escape(name)}(?!\w)", out), name


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    """And nothing else."""
    assert main(["--version"], {}) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


def test_a_wrong_line_as_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """With --json an error is a document too, whatever else is wrong with the line."""
    assert main(["--fase", "--json"], {"HOME": str(tmp_path)}) == 64
    document = json.loads(capsys.readouterr().out)
    assert (document["exit_code"], document["error"]["reference"]) == (64, "usage")
