"""Values as people write them: surrounded by blanks, invisible characters or quotes, or followed by a comment.

A shell and Compose remove quotes and comments; ``docker run --env-file``, Kubernetes and most other tools do not. So both
forms reach this program. A text with a clear meaning is accepted; anything else is refused, and never used in part.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection

_PAIRS: Final = {'"': '"', "'": "'", "“": "”", "”": "”", "„": "“”", "‘": "’", "’": "’", "‚": "‘’", "«": "»", "‹": "›"}  # noqa: RUF001
"""By opening quote, the quotes that may close it."""
DOUBLE_QUOTES: Final = frozenset('"“”„‟«»‹›″')  # noqa: RUF001
SINGLE_QUOTES: Final = frozenset("'‘’‚‛`´′")  # noqa: RUF001
QUOTES: Final = DOUBLE_QUOTES | SINGLE_QUOTES
_INVISIBLE: Final = "\ufeff\u200b\u200e\u200f\u2060\u00ad"
"""A byte order mark, and characters without a width that get in when text is copied from a web page."""
_AROUND: Final = re.compile(rf"^[\s{_INVISIBLE}]+|[\s{_INVISIBLE}]+$")
_COMMENT: Final = re.compile(r"(?:^|\s)#")
_ASSIGNMENT: Final = re.compile(r"(?:export\s+)?(\w+)\s*=")


class Problem(NamedTuple):
    """The reason why a text cannot be used. Neither sentence shows the text, which may be a secret."""

    problem: str
    hint: str


def unwrapped(text: str) -> str:
    """Return a text without surrounding blanks, invisible characters and a pair of quotes."""
    while True:
        text = _AROUND.sub("", text)
        inner = text[1:-1]
        if len(text) < 2 or text[-1] not in _PAIRS.get(text[0], "") or not {text[0], text[-1]}.isdisjoint(inner):  # noqa: PLR2004
            return text
        text = inner


def problem_of(text: str, names: Collection[str] = (), *, is_list: bool = False) -> Problem | None:
    """Return why a text without its quotes is not a value, or ``None`` if it may be one.

    Args:
        text: the text returned by :func:`unwrapped`.
        names: the variables of the setting, since a value must not begin with its own name.
        is_list: whether the items of the text may have their own quotes.
    """
    if _COMMENT.search(text):
        return Problem("a '#' behind a blank looks like a comment behind the value", "Write the comment on a line of its own.")
    if (found := _ASSIGNMENT.match(text)) and found[1] in names:
        return Problem(f"the value begins with '{found[1]}='", "Write the value alone.")
    if not is_list and text and (text[0] in QUOTES or text[-1] in QUOTES):
        return Problem("a quote has no partner at the other end of the value", "Write the value without quotes.")
    return None


def invisible_in(text: str) -> str | None:
    """Return the name of an invisible or blank-like character in the text, other than an ordinary blank, if there is one."""
    found = re.search(rf"[^\S ]|[{_INVISIBLE}]", text)
    return f"U+{ord(found[0]):04X}" if found else None
