"""Command lines: which words are ours, which are the app's, and which cannot be understood."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner import __version__
from provisioner._version import described_version
from provisioner.cli.main import main
from provisioner.cli.parser import Invocation, parse_options, take_apart
from provisioner.commands.registry import COMMANDS
from provisioner.errors import UsageError
from provisioner.settings.settings import SETTINGS

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
    """Words are ours until two dashes, or a first word that is no command of ours, begin the app's command line."""
    assert take_apart(line.split()) == Invocation(command, tuple(ours.split()), tuple(app.split()))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--", "no app's command line after"),
        ("provision --", "no app's command line after"),
        ("status -- app", "starts no app"),
        ("plan -- x", "starts no app"),
    ],
)
def test_not_understood(line: str, words: str) -> None:
    """An app behind a command that starts none, and two dashes without an app, are wrong command lines."""
    with pytest.raises(UsageError, match=words) as caught:
        take_apart(line.split())
    assert caught.value.exit_code == 64


@given(st.lists(st.sampled_from([*COMMANDS, "--", "--phase", "--json", "-x", "app", ""]), max_size=6))
def test_no_word_is_lost(line: list[str]) -> None:
    """Every word of a command line is kept once, in its order: it is ours or the app's."""
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
    """A wrong command line is an error that names '--help'; abbreviated options are not accepted."""
    with pytest.raises(UsageError) as caught:
        parse_options(take_apart(line.split()))
    assert "--help" in caught.value.hint


@pytest.mark.parametrize(
    ("line", "option"),
    [("--fase", "--phase"), ("--fase=minimal", "--phase"), ("verify --deap", "--deep"), ("remove x --dry-rum", "--dry-run")],
)
def test_the_nearest_option(line: str, option: str) -> None:
    """A wrong option is answered with the nearest one of the command."""
    with pytest.raises(UsageError, match="Unrecognized arguments: --") as caught:
        parse_options(take_apart(line.split()))
    assert caught.value.hint.startswith(f"Did you mean '{option}'?")


@pytest.mark.parametrize("line", [["export", ""], ["adopt", "x", "a", " "], ["report", "--output", ""], ["init", "--env-file="]])
def test_an_empty_path(line: list[str]) -> None:
    """A path that is empty, such as that of a variable which is not set, does not stand for the current directory."""
    with pytest.raises(UsageError, match="the path is empty"):
        parse_options(take_apart(line))


def test_what_is_required() -> None:
    """A missing argument is named, without those that may be left out."""
    with pytest.raises(UsageError, match=r"required: DIR$"):
        parse_options(take_apart(["export"]))


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("plan nsynth:test", "--dataset nsynth:test"),
        ("provision hf://a/b", "--dataset hf://a/b"),
        ("provision --phase minimal nsynth", "--dataset nsynth"),
        ("list nsynth", "info nsynth"),
        ("status nsynth", "info nsynth"),
    ],
)
def test_a_data_set_without_its_option(line: str, hint: str) -> None:
    """A word where none is wanted is probably a data set: the hint writes it as one."""
    word = line.rpartition(" ")[2]
    with pytest.raises(UsageError, match=f"Unrecognized arguments: {word}") as caught:
        parse_options(take_apart(line.split()))
    assert f"'{hint}'" in caught.value.hint


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("--list", "list"),
        ("--status --data-dir d", "status"),
        ("--dry-run", "plan"),
        ("provision --status", "status"),
        ("", "provision"),
    ],
)
def test_flags_that_choose_a_command(line: str, command: str) -> None:
    """--list, --status and --dry-run of the older tool run the commands list, status and plan."""
    assert parse_options(take_apart(line.split())).command == command


def test_options() -> None:
    """Each option has its meaning, before and behind names."""
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
    """Every command takes --json, --data-dir, --config and --catalog."""
    line = [
        command,
        *(["check"] if command in {"catalog", "repo"} else []),
        *(["alpha", "path"] if command == "adopt" else []),
        *(["alpha"] if command in {"export", "info", "remove"} else []),
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
def test_help(command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The help of every command has its options and exit codes, fits a usual terminal, and exits with 0."""
    monkeypatch.setenv("COLUMNS", "80")
    assert main([*command.split(), "--help"], {}) == 0
    out = capsys.readouterr().out
    assert "--json" in out
    assert "--data-dir" in out
    assert re.search(r"^ +64  wrong command line$", out, re.MULTILINE)
    assert max(map(len, out.splitlines())) <= 80
    assert "](" not in out, "a link of Markdown leads nowhere on a terminal"


@pytest.mark.parametrize(
    ("words", "same"),
    [
        ("help", "--help"),
        ("help plan", "plan --help"),
        ("help repo create", "repo --help"),
        ("--json help list", "list --help"),
        ("help help", "--help"),
        ("help --json status", "status --help"),
    ],
)
def test_help_is_a_command_too(words: str, same: str, capsys: pytest.CaptureFixture[str]) -> None:
    """``help COMMAND`` shows what ``COMMAND --help`` shows, and ``help`` what ``--help`` shows."""
    assert main(same.split(), {}) == 0
    expected = capsys.readouterr().out
    assert main(words.split(), {}) == 0
    assert capsys.readouterr().out == expected


def test_help_for_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Help for a command that does not exist is exit code 64, with the nearest one."""
    assert main(["help", "provison"], {}) == 64
    assert "Did you mean 'provision'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("catalog chek", "'chek' is none of check, add, pin", "Did you mean 'check'?"),
        ("repo delete", "'delete' is none of create, list, check", "See 'provisioner repo --help'."),
        ("plan --format yaml", "--format: 'yaml' is none of text, pvc", "See 'provisioner plan --help'."),
        ("catalog", "arguments are required: check|add|pin", "See 'provisioner catalog --help'."),
        ("repo", "arguments are required: create|list|check", "See 'provisioner repo --help'."),
    ],
)
def test_one_of_some_words(line: str, message: str, hint: str) -> None:
    """Where one of some words must stand, the message has these words, and the hint the nearest one."""
    with pytest.raises(UsageError) as caught:
        parse_options(take_apart(line.split()))
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("command", "code", "meaning"),
    [
        ("status", 66, "nothing has been provisioned"),
        ("status", 75, "--check: a run is at work"),
        ("verify", 65, "a published tree differs from its manifest"),
        *((name, 66, "is not on the volume") for name in ("verify", "remove", "export")),
        ("report", 66, "no run has left a record"),
        ("healthcheck", 75, "no sign of life"),
    ],
)
def test_help_says_what_a_code_means_for_this_command(
    capsys: pytest.CaptureFixture[str], command: str, code: int, meaning: str
) -> None:
    """Of an exit code that means something of its own for a command, its help says that."""
    assert main([command, "--help"], {}) == 0
    table = " ".join(capsys.readouterr().out.partition("Exit codes:")[2].split())
    assert re.search(rf" {code} [^0-9]*{re.escape(meaning)}", table), table
    assert "AUTO_DOWNLOAD" not in table


def test_help_is_enough(capsys: pytest.CaptureFixture[str]) -> None:
    """The program's help names all commands, all settings, and how to start an app."""
    main(["--help"], {})
    out = capsys.readouterr().out
    for name in (*COMMANDS, *(setting.name for setting in SETTINGS), "--phase", "--dataset", "--dry-run", "-- APP"):
        assert re.search(rf"(?<!\w){re.escape(name)}(?!\w)", out), name


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints the version and nothing else."""
    assert main(["--version"], {}) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (None, ""),
        ('{"commit": "", "build": ""}', ""),
        ('{"commit": "1f2e3d4c5b6a"}', " (commit 1f2e3d4c5b6a)"),
        ('{"commit": "1f2e3d4c5b6a", "build": "42"}', " (commit 1f2e3d4c5b6a, build 42)"),
        ('{"commit": ', ""),
    ],
)
def test_the_version_names_commit_and_build(content: str | None, shown: str, tmp_path: Path) -> None:
    """The version of an image or a release names what it was built from; nothing of it is needed."""
    file = tmp_path / "build.json"
    if content is not None:
        file.write_text(content, "utf-8")
    assert described_version(file) == f"{__version__}{shown}"


def test_a_wrong_line_as_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """With --json an error is a document too, whatever else is wrong with the command line."""
    assert main(["--fase", "--json"], {"HOME": str(tmp_path)}) == 64
    document = json.loads(capsys.readouterr().out)
    assert (document["exit_code"], document["error"]["reference"]) == (64, "usage")
