"""Whom to name for each file of a part: one line of Markdown, whatever the tables say."""

from __future__ import annotations

from typing import Any

import pytest

from provisioner.indexing.credits import _line

BY = {"license": "CC-BY", "license_title": "Attribution 4.0", "license_url": "https://creativecommons.org/licenses/by/4.0/"}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            {"artist": "A", "title": "T", **BY, "track_url": "http://x.org/t"},
            "- A: T. Attribution 4.0 (CC-BY), <https://creativecommons.org/licenses/by/4.0/>. <http://x.org/t>, `f.mp3`",
        ),
        ({"artist": "A", "title": None, "license": "CC0"}, "- A: unknown title. CC0. `f.mp3`"),
        ({"artist": "", "title": "T"}, "- unknown artist: T. licence not stated. `f.mp3`"),
        (
            {"artist": "A\n# B", "title": "[T](http://evil.org) <b>*x*_`", "license": "CC0"},
            r"- A \# B: \[T\](http://evil.org) \<b\>\*x\*\_\`. CC0. `f.mp3`",
        ),
        (
            {"artist": "A", "title": "T", "license": "CC0", "license_url": "javascript:x", "track_url": "http://x.org/> <b"},
            "- A: T. CC0. `f.mp3`",
        ),
    ],
)
def test_a_line(values: dict[str, Any], expected: str) -> None:
    """Marks of Markdown in names count for nothing, and what is no address of a page is left out."""
    assert _line("f.mp3", values) == expected


@pytest.mark.parametrize(
    "character",
    [
        "\x1b",
        "\x07",
        "\x9b",
        "\u202e",
        "\u2066",
        "\u200b",
        "\u200f",
        "\ufeff",
        "\u00ad",
        "\u2028",
        "\x85",
        "\u3164",
        "\ufe0f",
        "\n",
    ],
)
def test_what_cannot_be_seen(character: str) -> None:
    """Nothing that moves a cursor, turns the direction or is not seen comes from artist, title, licence or path."""
    text = f"a{character}b"
    line = _line(f"{text}.mp3", {"artist": text, "title": text, "license": text, "license_title": text})
    assert character not in line
    assert line.startswith(("- ab: ab. ab (ab).", "- a b: a b. a b (a b)."))
    assert "\\" in line.partition("`")[2]


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("a`b.mp3", "``a`b.mp3``"),
        ("`a``b`", "``` `a``b` ```"),
        ("a|b [x](y) <b>.mp3", "`a|b [x](y) <b>.mp3`"),
        ("a\n# b.mp3", "`a\\n# b.mp3`"),
        ("ä/é.mp3", "`ä/é.mp3`"),
    ],
)
def test_a_path_is_code(path: str, shown: str) -> None:
    """A path stands there as code, whatever its characters."""
    assert _line(path, {"artist": "A", "title": "T", "license": "CC0"}) == f"- A: T. CC0. {shown}"


def test_marks() -> None:
    """Entities, links, tables, formulas and elements in names are shown as they are written."""
    line = _line("f", {"artist": "&#x202e;|~x~", "title": "$a$ ![i](u)", "license": "<i>CC0</i>"})
    assert line == r"- \&\#x202e;\|\~x\~: \$a\$ !\[i\](u). \<i\>CC0\</i\>. `f`"
