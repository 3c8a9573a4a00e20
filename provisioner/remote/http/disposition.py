"""The name that a server states for a file: ``Content-Disposition`` by RFC 6266 and RFC 8187, and as really sent."""

from __future__ import annotations

import contextlib
import re
from typing import Final
from urllib.parse import unquote_to_bytes

_PARAMETER: Final = re.compile(r';\s*(filename\*?)\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)', re.IGNORECASE)
_EXTENDED: Final = re.compile(r"(utf-8|iso-8859-1|us-ascii)'[^']*'(.*)", re.IGNORECASE | re.DOTALL)


def stated_name(header: str | None) -> str | None:
    """Return the name in a ``Content-Disposition`` header unchanged, safe or not; ``None`` if it states none.

    The form with a character set (``filename*``) takes precedence, whatever the order.
    """
    found: dict[str, str] = {}
    for parameter in _PARAMETER.finditer(f";{header or ''}"):
        found.setdefault(parameter[1].lower(), _unquoted(parameter[2].strip()))
    extended = _EXTENDED.fullmatch(found.get("filename*", ""))
    if extended:
        with contextlib.suppress(UnicodeDecodeError):  # the plain form may be readable
            return unquote_to_bytes(extended[2]).decode(extended[1]) or None
    name = found.get("filename", "")
    with contextlib.suppress(UnicodeError):
        # Headers are decoded as Latin-1, but most servers send UTF-8.
        name = name.encode("latin-1").decode()
    return name or None


def _unquoted(value: str) -> str:
    # A backslash before any other character belongs to a path, as sent by old browsers.
    return re.sub(r'\\(["\\])', r"\1", value[1:-1]) if value[:1] == value[-1:] == '"' and len(value) > 1 else value
