"""The lines of a ``.env`` file, byte by byte: which of them assign a variable, and which value.

Compose, a shell and ``docker run --env-file`` each read such a file by their own rules. Lines that are not an assignment by
any of them (comments, empty lines, anything else) are kept unchanged, in whatever encoding they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

_ASSIGNMENT: Final = re.compile(rb"(?:\xef\xbb\xbf)?[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*[=:][ \t]*")
_END_OF_QUOTED: Final = {b'"': re.compile(rb'(?:[^"\\]|\\.)*"', re.DOTALL), b"'": re.compile(rb"[^']*'")}
_COMMENT: Final = re.compile(rb"(?:^|[ \t])#.*")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line with its line end, or the lines of one quoted value."""

    content: bytes
    name: str | None = None
    """The variable that it assigns, or ``None`` if it assigns none."""
    value: str = ""
    """The value without quotes, comment and surrounding blanks."""


def entries_of(content: bytes, ours: Collection[str] = ()) -> Iterator[Entry]:
    """Yield the lines of a file; concatenated, they are the content of the file.

    Args:
        content: the file's bytes.
        ours: variables whose value has a single line; an unclosed quote there does not include further lines.
    """
    lines = re.findall(rb"[^\n]*\n|[^\n]+\Z", content)
    position = 0
    while position < len(lines):
        found = _ASSIGNMENT.match(lines[position])
        if found is None:
            yield Entry(lines[position])
            position += 1
            continue
        name = found[1].decode("ascii")
        count, value = _value(lines[position:], found.end(), is_ours=name in ours)
        yield Entry(b"".join(lines[position : position + count]), name, value)
        position += count


def _value(lines: Sequence[bytes], start: int, *, is_ours: bool) -> tuple[int, str]:
    """Return the number of lines of a value that begins in the first of them, and the value."""
    rest = lines[0][start:]
    end = _END_OF_QUOTED.get(rest[:1])
    if end is not None:
        quoted = rest[1:]
        for count in range(1, len(lines) + 1):
            if found := end.match(quoted):
                return count, _text(found[0][:-1])
            if count == len(lines) or (is_ours and (_ASSIGNMENT.match(lines[count]) or _COMMENT.match(lines[count]))):
                break
            quoted += lines[count]
    return 1, _text(_COMMENT.sub(b"", rest))


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape").strip()
