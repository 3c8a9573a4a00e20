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
