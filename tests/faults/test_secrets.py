"""Secrets: a token and signed links that look real, searched for in whatever the whole suite makes the program say and write.

Beside these rows every process of every test is searched when it ends (its output), and every volume when its test is over.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.program import CANARY, SIGNATURE, TOKEN, Running, wait_until
from tests.support.shelf import some_files

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.command_lines import CommandLines
    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume

VALUE: Final = "0123456789abcdef"
SIGNED: Final = f"https://cdn.example.org/file?Key-Pair-Id=x&Signature={VALUE}"

CRASH: Final = """
import os, sys
import provisioner.{module} as module
def crash(*arguments, **names):
    raise RuntimeError("token " + os.environ["HF_TOKEN"] + " and " + os.environ["SIGNED"])
{place} = crash
from provisioner.cli.main import main
sys.argv[1:] = []
sys.exit(main([], os.environ))
"""


def test_no_command_line_ever_holds_one(command_lines: CommandLines) -> None:
    """All processes are looked at ten times a second while the suite runs; one that holds a canary is found."""
    with subprocess.Popen([sys.executable, "-c", "input()", CANARY], stdin=subprocess.PIPE) as process:
        begun = command_lines.looks()
        wait_until(lambda: command_lines.looks() > begun + 1, "another look at all of them")
        process.communicate(b"\n")
    assert command_lines.found(CANARY)
    for secret in (TOKEN, SIGNATURE):
        assert command_lines.found(secret) is None


@pytest.mark.parametrize(
    ("module", "place"),
    [
        ("engine.view", "module.make_plan"),
        ("remote.hub.client", "module.HubClient.listing"),
        ("volume.store.publish", "module.Publisher.publish"),
    ],
)
def test_a_crash(  # noqa: PLR0917 - fixtures and a table
    shelf: Shelf, volume: Volume, hub: HubServer, tmp_path: Path, module: str, place: str
) -> None:
    """A bug of ours (70, with a traceback) whose own words hold a token and a signed link shows neither, anywhere."""
    hub.hub.add_repo("ann/clips", some_files("clips"))
    shelf.add("clips", sources=[{"kind": "hub", "repo": "ann/clips"}])
    environ = volume.environ(HF_TOKEN=TOKEN, SIGNED=SIGNED)
    process = Running([sys.executable, "-c", CRASH.format(module=module, place=place)], environ)
    volume.running.append(process)
    outcome = process.wait()
    assert outcome.code == 70, outcome.err
    assert "Traceback" in outcome.err
    assert "RuntimeError: token" in outcome.err
    told = (tmp_path / "termination-log").read_text("utf-8")
    for secret in (TOKEN, VALUE):
        assert secret not in outcome.err + outcome.out + told
