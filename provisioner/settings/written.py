"""Values as people write them: with blanks and invisible characters around them, between quotes, with a comment behind.

A shell and Compose remove quotes and comments; ``docker run --env-file``, Kubernetes and most tools that pass a file on do not.
So both forms reach this program. What has one meaning is understood; anything else is refused, and never used in part.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection

_PAIRS: Final = {'"': '"', "'": "'", "“": "”", "”": "”", "„": "“”", "‘": "’", "’": "’", "‚": "‘’", "«": "»", "‹": "›"}  # noqa: RUF001
"""By a quote that begins, those that may end it."""
DOUBLE_QUOTES: Final = frozenset('"“”„‟«»‹›″')  # noqa: RUF001
SINGLE_QUOTES: Final = frozenset("'‘’‚‛`´′")  # noqa: RUF001
QUOTES: Final = DOUBLE_QUOTES | SINGLE_QUOTES
_INVISIBLE: Final = "\ufeff\u200b\u200e\u200f\u2060\u00ad"
"""A byte order mark, and characters without a width that a copy from a web page brings along."""
_AROUND: Final = re.compile(rf"^[\s{_INVISIBLE}]+|[\s{_INVISIBLE}]+$")
_COMMENT: Final = re.compile(r"(?:^|\s)#")
_ASSIGNMENT: Final = re.compile(r"(?:export\s+)?(\w+)\s*=")


class Problem(NamedTuple):
    """Why a text cannot be used. Neither sentence shows the text, which may be a secret."""

    problem: str
    hint: str


def unwrapped(text: str) -> str:
    """Return a text without the blanks, the invisible characters and the pair of quotes around it."""
    while True:
        text = _AROUND.sub("", text)
        inner = text[1:-1]
        if len(text) < 2 or text[-1] not in _PAIRS.get(text[0], "") or not {text[0], text[-1]}.isdisjoint(inner):  # noqa: PLR2004
            return text
        text = inner


def problem_of(text: str, names: Collection[str] = (), *, is_list: bool = False) -> Problem | None:
    """Return why a text without its quotes is not a value; ``None``: it may be one.

    Args:
        text: what :func:`unwrapped` returned.
        names: the variables of the setting: a value does not begin with its own name.
        is_list: the items of the text may have quotes of their own.
    """
    if _COMMENT.search(text):
        return Problem("a '#' behind a blank looks like a comment behind the value", "Write the comment on a line of its own.")
    if (found := _ASSIGNMENT.match(text)) and found[1] in names:
        return Problem(f"the value begins with '{found[1]}='", "Write the value alone.")
    if not is_list and text and (text[0] in QUOTES or text[-1] in QUOTES):
        return Problem("a quote has no partner at the other end of the value", "Write the value without quotes.")
    return None


def invisible_in(text: str) -> str | None:
    """Return how a character is called that looks like a blank or like nothing, if the text holds one other than a blank."""
    found = re.search(rf"[^\S ]|[{_INVISIBLE}]", text)
    return f"U+{ord(found[0]):04X}" if found else None
