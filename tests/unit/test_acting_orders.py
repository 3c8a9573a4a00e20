"""What can be asked for on the page: the command lines that come of it, and what is refused."""

from __future__ import annotations

from typing import Final

import pytest

from provisioner.web.acting.orders import MOST_REFERENCES, BadOrderError, Choices, read_order

CHOICES: Final = Choices(
    {"minimal": "a phase"}, {"ljspeech": "LJ Speech", "urmp": "URMP"}, {"ljspeech": "ljspeech", "a/b": "hf://a/b"}
)
MANY: Final = "\n".join(f"hf://a/b{number}" for number in range(MOST_REFERENCES + 1))


@pytest.mark.parametrize(
    ("form", "plan", "command", "selection"),
    [
        ({"action": ["provision"], "what": ["phase"], "phase": ["minimal"]}, "plan", "provision", {"PHASE": "minimal"}),
        ({"action": ["provision"], "what": ["phase"], "phase": ["auto"]}, "plan", "provision", {"PHASE": "auto"}),
        (
            {"action": ["provision"], "dataset": ["urmp"], "references": ["hf://a/b\n\n hf://a/b "]},
            "plan",
            "provision",
            {"DATASETS": "urmp,hf://a/b"},
        ),
        ({"action": ["verify"]}, "verify", "verify", {}),
        ({"action": ["verify"], "deep": ["yes"], "present": ["a/b"]}, "verify a/b", "verify --deep a/b", {}),
        ({"action": ["repair"], "present": ["a/b", "a/b"]}, "verify a/b", "repair a/b", {}),
        ({"action": ["remove"], "present": ["ljspeech"]}, "remove --dry-run ljspeech", "remove ljspeech", {}),
        ({"action": ["gc"]}, "gc --dry-run", "gc", {}),
    ],
)
def test_orders(form: dict[str, list[str]], plan: str, command: str, selection: dict[str, str]) -> None:
    """Each action has a command that only shows, and one that does it; references are in the environment."""
    order = read_order(form, CHOICES)
    assert (" ".join(order.plan), " ".join(order.command), order.selection) == (plan, command, selection)


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({}, "not known"),
        ({"action": ["format"]}, "not known"),
        ({"action": ["provision"], "what": ["phase"], "phase": ["--help"]}, "no such phase"),
        ({"action": ["provision"], "what": ["sets"]}, "Choose a data set"),
        ({"action": ["provision"], "dataset": ["../x"]}, "no data set"),
        ({"action": ["provision"], "references": ["hf://a/b,hf://c/d"]}, "no comma"),
        ({"action": ["provision"], "references": ["hf://a/\x07b"]}, "no reference"),
        ({"action": ["provision"], "references": ["h" * 3000]}, "no reference"),
        ({"action": ["provision"], "references": [MANY]}, "too many"),
        ({"action": ["remove"]}, "at least one"),
        ({"action": ["remove"], "present": ["urmp"]}, "does not hold"),
    ],
)
def test_what_is_refused(form: dict[str, list[str]], says: str) -> None:
    """What there is not to choose from never becomes a command line."""
    with pytest.raises(BadOrderError, match=says):
        read_order(form, CHOICES)


def test_a_title_shows_no_secret() -> None:
    """User, password and query of a URL are not shown; of many names the first ones are."""
    form = {
        "action": ["provision"],
        "dataset": ["ljspeech", "urmp"],
        "references": ["https://u:pw@h.example/x?k=hidden#name=x\nhf://a/b"],
    }
    title = read_order(form, CHOICES).title
    assert "h.example/x" in title
    assert title.endswith(" and 1 more")
    assert not {"pw", "hidden"} & set(title.replace("@", " ").replace("?", " ").replace("=", " ").split())
    assert "hidden" not in title
