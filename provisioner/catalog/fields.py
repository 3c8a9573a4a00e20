"""Checks of single values: text, names, sizes and digests. Each returns the value, or refuses it with a hint."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from provisioner.catalog.artifact import UNPACK_FORMATS
from provisioner.catalog.digest import DIGEST_LENGTHS, Digest
from provisioner.catalog.document import nearest, quoted
from provisioner.catalog.keys import ID, MAX_SIZE, SIZE, SPLIT
from provisioner.catalog.size import Size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.catalog.artifact import UnpackFormat
    from provisioner.catalog.document import Value


def line(value: Value, *, empty: bool = False) -> str:
    """Return text as one line without control characters, so that it cannot break a table or a terminal."""
    text = " ".join(value.text().split())
    if not text and not empty:
        value.fail("is empty")
    if not text.isprintable():
        value.fail("holds a character that cannot be printed", "Write plain text.")
    return text


def optional_line(keys: Mapping[str, Value], key: str) -> str:
    """Return text as one line; empty if the key is missing."""
    return line(keys[key], empty=True) if key in keys else ""


def filled(value: Value, what: str) -> tuple[Value, ...]:
    """Return the values of a list with at least one value; ``what`` is the word for one of them."""
    items = tuple(value.items())
    if not items:
        value.fail(f"there is no {what} here", f"Name one {what} at least, or leave the key out where it may be.")
    return items


def named(value: Value, what: str, *, empty: bool = False) -> Mapping[str, Value]:
    """Return the entries of a mapping whose keys are ids."""
    entries = value.mapping()
    if not entries and not empty:
        value.fail(f"there is no {what} here", f"Name one {what} at least.")
    for name, entry in entries.items():
        if not re.fullmatch(ID, name):
            entry.report(f"{quoted(name)} cannot be the name of a {what}", _id_hint(name))
    return entries


def _id_hint(name: str) -> str:
    """Return a hint with the rule for names, and the valid name nearest to ``name``."""
    rule = "Use a-z, 0-9, '_' and '-', beginning with a letter or a digit, 64 characters at most."
    better = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:64]
    return f"{rule} For example {better!r}." if better else rule


def word(value: Value, pattern: str, what: str, hint: str) -> str:
    """Return text that matches ``pattern`` as a whole; ``what`` says in the message what it should be."""
    text = value.text()
    if not re.fullmatch(pattern, text):
        value.fail(f"{quoted(text)} is not {what}", hint)
    return text


def layout(keys: Mapping[str, Value]) -> str:
    """Return the name of a layout; ``raw`` if the key is missing."""
    return word(keys["layout"], ID, "the name of a layout", "For example raw or parquet.") if "layout" in keys else "raw"


def split(value: Value) -> str:
    """Return the name of a split."""
    return word(value, SPLIT, "the name of a split", "Use letters, digits, '.', '_' and '-', for example train-clean-100.")


def unpack_format(value: Value) -> UnpackFormat:
    """Return a way of unpacking."""
    return cast("UnpackFormat", value.choice(UNPACK_FORMATS))


def optional_size(keys: Mapping[str, Value], key: str) -> Size | None:
    """Return a size: a plain number, or a mapping that may mark an estimate; ``None`` if the key is missing."""
    return _size(keys[key]) if key in keys else None


def _size(value: Value) -> Size:
    if isinstance(value.data, dict):
        keys = value.mapping(SIZE.names, SIZE.required)
        estimate = keys["estimate"].boolean() if "estimate" in keys else False
        return Size(_bytes(keys["value"]), estimate=estimate)
    return Size(_bytes(value))


def _bytes(value: Value) -> int:
    if isinstance(value.data, bool) or not isinstance(value.data, int):
        found = quoted(value.data) if isinstance(value.data, str) else value.kind
        value.fail(
            f"expected a number of bytes, found {found}",
            "Write whole bytes, such as 2748572632, or {value: 3860000000, estimate: true}; no key where nobody knows.",
        )
    return value.integer(0, MAX_SIZE)


def optional_digest(value: Value) -> Digest | None:
    """Return the digest written as ``algorithm:hex``; ``None`` for the word ``none``."""
    text = value.text()
    if text == "none":
        return None
    algorithm, colon, digits = text.partition(":")
    if not colon:
        fits = _algorithms(len(text))
        better = f"{fits[0]}:{text[:8]}…" if fits else "sha256:be1a…"
        value.fail(f"{quoted(text)} is not a digest", f"Write algorithm:digits, such as {better}, or none.")
    if algorithm not in DIGEST_LENGTHS:
        value.fail(f"{quoted(algorithm)} is not a digest algorithm", nearest(algorithm, DIGEST_LENGTHS))
    if wrong := re.search(r"[^0-9a-fA-F]", digits):
        value.fail(f"a digest has hexadecimal digits only, found {wrong.group()!r}", "Copy it again.")
    if len(digits) != DIGEST_LENGTHS[algorithm]:
        fits = _algorithms(len(digits))
        hint = (
            f"{len(digits)} digits are a {fits[0]}." if fits else "Copy it again: part of it is missing, or too much was taken."
        )
        value.fail(f"a {algorithm} has {DIGEST_LENGTHS[algorithm]} digits, found {len(digits)}", hint)
    return Digest(algorithm, digits.lower())


def stated_digest(value: Value) -> Digest:
    """Return a digest where ``none`` would have no meaning."""
    digest = optional_digest(value)
    if digest is None:
        value.fail("'none' says nothing here", "Remove the line.")
    return digest


def _algorithms(digits: int) -> list[str]:
    """Return the digest algorithms with this number of hexadecimal digits."""
    return [name for name, length in DIGEST_LENGTHS.items() if length == digits]
