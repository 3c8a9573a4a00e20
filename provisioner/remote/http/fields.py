"""Header fields of a response, and the length of its body by them (RFC 9112, section 6.3)."""

from __future__ import annotations

import http.client
from typing import Any, Final

_ONCE: Final = frozenset({"content-length", "content-range", "date", "etag", "last-modified", "location"})
"""Fields with a single value. Some servers, and proxies in front of them, send the same one twice."""

_MAX_DIGITS: Final = 18


class Fields(dict[str, str]):
    """Header fields by name, regardless of case.

    Several fields with the same name are joined by commas, or by line breaks for cookies, which contain commas. If a field
    can have only one value, repeating that value changes nothing.
    """

    def get(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - as a mapping's
        """Return a field's value, or ``default``."""
        return super().get(name.lower(), default)

    def __contains__(self, name: object) -> bool:
        return super().__contains__(str(name).lower())

    def add(self, name: str, value: str) -> None:
        """Add a field whose name is in lower case."""
        before = super().get(name)
        if before is None:
            self[name] = value
        elif name == "set-cookie":
            self[name] = f"{before}\n{value}"
        elif name != "location" and not (name in _ONCE and value == before):
            self[name] = f"{before}, {value}"


def is_chunked(fields: Fields) -> bool:
    """Return whether the body comes in chunks, in which case a length is ignored (RFC 9112, section 6.3).

    Raises:
        http.client.HTTPException: the body has a transfer coding that was not requested.
    """
    coding = fields.get("transfer-encoding")
    if coding is None or (coding := coding.lower()) == "identity":
        return False
    if coding != "chunked":
        raise http.client.HTTPException(f"the transfer coding {coding[:40]!r}, which nobody asked for")
    fields.pop("content-length", None)
    return True


def body_length(fields: Fields) -> int | None:
    """Return the number of bytes of the body, or ``None`` if it ends with the connection.

    Raises:
        http.client.HTTPException: the length is not a number, or there are several lengths.
    """
    text = fields.get("content-length")
    if text is None:
        return None
    if (number := number_in(text)) is not None:
        return number
    length, *others = {value.strip() for value in text.split(",")}
    number = None if others else number_in(length)
    if number is None:
        raise http.client.HTTPException(f"the length of the body is {text[:40]!r}")
    fields["content-length"] = length
    return number


def number_in(text: str) -> int | None:
    """Return a field's value as a whole number, or ``None`` if it is not one or is larger than any possible size."""
    return int(text) if len(text) <= _MAX_DIGITS and text.isascii() and text.isdigit() else None
