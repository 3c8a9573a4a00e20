"""Make texts of others harmless, for terminals, for single lines, and for Markdown documents."""

from __future__ import annotations

import re
from typing import Final

_INVISIBLE: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Characters that count as printable but show nothing; all others of that kind, such as U+200B, are not printable."""
_MARKS: Final = re.compile(r"([\\`*_\[\]<>#|&~$])")


def plain_line(text: str) -> str:
    """Return a text as one line of visible characters, none of which moves a cursor or changes the direction of writing."""
    shown = "".join(character for character in " ".join(text.split()) if character.isprintable())
    return " ".join(_INVISIBLE.sub("", shown).split())


def markdown_line(text: str) -> str:
    """Return a text as one line in which no Markdown or HTML markup has an effect."""
    return _MARKS.sub(r"\\\1", plain_line(text))


def code_span(text: str) -> str:
    """Return a text, such as a path, as code in one line of Markdown; invisible characters are shown as escapes."""
    shown = "".join(map(_escaped, text))
    fence = "`" * (max(map(len, re.findall("`+", shown)), default=0) + 1)
    blank = " " if shown.startswith(("`", " ")) or shown.endswith(("`", " ")) else ""
    return f"{fence}{blank}{shown}{blank}{fence}"


def _escaped(character: str) -> str:
    if character.isprintable() and not _INVISIBLE.match(character):
        return character
    return character.encode("unicode_escape").decode("ascii")
