"""The commonest mistakes of new users: each gets a message that says what to do, and the documents show just that message."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest

from tools.examples_doc import documents
from tools.generated import ROOT
from tools.mistakes import MISTAKES

if TYPE_CHECKING:
    from pathlib import Path

    from tools.mistakes import Mistake

STALE = "the example is not what the program prints today: run 'python -m tools.examples_doc' (or 'make docs')"
pytestmark = pytest.mark.skipif(shutil.which("setpriv") is None, reason="root cannot give up its rights without setpriv")


@pytest.fixture(scope="module")
def found() -> dict[Path, tuple[str, str]]:
    """Return each document with examples: as it is, and as the program makes it."""
    return {path: (text, now) for path, text, now in documents()}


def entry(text: str, mistake: Mistake) -> str:
    """Return what a document says of a mistake."""
    number = MISTAKES.index(mistake) + 1
    matched = re.search(rf"\*\*{number}\. {re.escape(mistake.title)}\*\*.*?\n```\n", text, re.DOTALL)
    assert matched, STALE
    return matched[0]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.title)
def test_a_mistake_of_a_new_user(found: dict[Path, tuple[str, str]], mistake: Mistake) -> None:
    """The message names what is wrong and what to do, and stands in the document as the program prints it."""
    text, now = found[ROOT / "docs" / "troubleshooting.md"]
    shown = entry(now, mistake)
    assert entry(text, mistake) == shown, STALE
    errors = re.findall(r" ERROR (.*)", shown)
    assert re.match(r"\[[a-z-]+\] ", errors[0])
    assert len(errors) > 1, "no word of what to do"
    assert "Traceback" not in shown
    assert f"Exit code {mistake.code}." in shown


@pytest.mark.parametrize("name", ["usage", "reference", "dataset-repository", "troubleshooting"])
def test_examples_are_what_the_program_prints(found: dict[Path, tuple[str, str]], name: str) -> None:
    """Every example in a document is what the program prints today."""
    text, now = found[ROOT / "docs" / f"{name}.md"]
    assert text == now, STALE
