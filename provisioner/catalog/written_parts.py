"""Rules of parts as people write them: under ``parts`` in a catalog, and after ``?`` in a request."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import quote, unquote

from provisioner.catalog.document import Value, nearest, quoted
from provisioner.catalog.fields import filled, optional_size
from provisioner.catalog.keys import BYTES, FULL_TEXT, GLOB, MAX_SIZE, SPLIT, Key, Table, list_of, pattern, ref
from provisioner.catalog.model import COMMERCIAL
from provisioner.catalog.paths import globs
from provisioner.catalog.written_reference import PART_OPTIONS, WrittenReference

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioner.catalog.model import Commercial
    from provisioner.catalog.parts import PartRule

MAX_LIMIT: Final = 10**12
"""Number of examples; more than any data set has."""
_COUNT: Final = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}
_SEED: Final = {"type": "integer", "minimum": 0, "maximum": MAX_SIZE}

PART: Final = Table(
    "A part of a data set by rule: all that is stated must hold; 'limit' and 'bytes' then take some of what is left.",
    (
        Key("include", list_of(pattern(GLOB), least=1), "Globs over the paths of the tree; by default every file."),
        Key("exclude", list_of(pattern(GLOB)), "Globs of the files to leave out."),
        Key("where", FULL_TEXT, "A condition on the columns of the index, such as license in ('CC-BY', 'CC0')."),
        Key("limit", _COUNT, "The most examples."),
        Key("bytes", {**BYTES, "minimum": 1}, "The most bytes of the examples' files together."),
        Key("seed", _SEED, "Which examples 'limit' and 'bytes' take; by default 0."),
        Key(
            "commercial",
            {"enum": list(COMMERCIAL)},
            "Whether what it takes may be used commercially; where 'allowed', LICENSE_POLICY=commercial takes it for the whole.",
        ),
        Key("download", ref("size"), "Bytes on the wire, where only what it takes is fetched."),
        Key("unpacked_size", ref("size"), "Bytes of its tree."),
    ),
)
_SEVERAL: Final = frozenset({"include", "exclude"})
_OF_CATALOG: Final = frozenset({"commercial", "download", "unpacked_size"})
_NUMBERS: Final = frozenset({"limit", "bytes", "seed"})
_PLAIN: Final = "'(),=<>!"
"""Characters that need no encoding after ``#``."""
PART_NAME: Final = SPLIT
"""The names of parts have the same form as those of splits, since they are used in the same place."""


def parse_part(value: Value) -> PartRule:
    """Return a rule as a catalog describes it.

    Raises:
        ConfigurationError: it is not well formed.
    """
    # Most catalogs and requests have no rules.
    from provisioner.catalog.parts import PartRule  # noqa: PLC0415

    keys = value.mapping(PART.names)
    rule = PartRule(
        include=keys["include"].attempt(_included) if "include" in keys else (),
        exclude=keys["exclude"].attempt(_excluded) if "exclude" in keys else (),
        where=keys["where"].attempt(_condition) if "where" in keys else "",
        limit=keys["limit"].attempt(Value.integer, 1, MAX_LIMIT) if "limit" in keys else None,
        bytes=keys["bytes"].attempt(Value.integer, 1, MAX_SIZE) if "bytes" in keys else None,
        seed=keys["seed"].attempt(Value.integer, 0, MAX_SIZE) if "seed" in keys else 0,
        commercial=cast("Commercial", keys["commercial"].attempt(Value.choice, COMMERCIAL)) if "commercial" in keys else None,
        download=optional_size(keys, "download"),
        unpacked_size=optional_size(keys, "unpacked_size"),
    )
    if not keys.keys() & {"include", "exclude", "where", "limit", "bytes"}:
        value.report("the part has no rule", "Write include, exclude, where, limit or bytes.")
    return rule


def part_entry(rule: PartRule) -> dict[str, Any]:
    """Return a rule as written under ``parts:`` in a catalog."""
    found: dict[str, Any] = {
        "include": list(rule.include),
        "exclude": list(rule.exclude),
        "where": rule.where,
        "limit": rule.limit,
        "bytes": rule.bytes,
        "seed": rule.seed,
        "commercial": rule.commercial,
        "download": rule.download.written if rule.download is not None else None,
        "unpacked_size": rule.unpacked_size.written if rule.unpacked_size is not None else None,
    }
    return {key: value for key, value in found.items() if value}


def parse_query(query: str, written: WrittenReference) -> PartRule:
    """Return the rule after ``?``: ``limit=1000&seed=7&where=instrument_family=='bass'``.

    Characters may be percent-encoded. Within quotes and parentheses, ``&`` needs no encoding.

    Args:
        query: the text after the ``?``.
        written: the whole request, for errors.

    Raises:
        ConfigurationError: it is not well formed.
    """
    found: dict[str, list[str]] = {}
    for item in filter(None, split_outside_quotes(query, "&")):
        key, equals, text = item.partition("=")
        if not equals or not text:
            written.fail(f"{quoted(item)} behind the '?' is no rule", "Write KEY=VALUE, such as limit=1000.")
        if key not in PART.names:
            asked = [name for name in sorted(PART.names) if name not in _OF_CATALOG]
            written.fail(f"{quoted(key)} is no rule", nearest(key, asked))
        if key in _OF_CATALOG:
            written.fail(f"{key!r} is said of a part in a catalog alone", "Leave it out.")
        if key in found and key not in _SEVERAL:
            written.fail(f"{key!r} stands there twice", "Keep one of them.")
        found.setdefault(key, []).append(unquote(text))
    if not found:
        written.fail("there is no rule behind the '?'", "Write one, such as ?limit=1000&seed=7, or leave the '?' out.")

    rule = parse_part(_values(found, written))
    text = "&".join(f"{key}={one}" for key, texts in sorted(found.items()) for one in texts)
    return replace(rule, text=f"?{text}")


def parse_options(options: Mapping[str, Sequence[str]], written: WrittenReference) -> tuple[PartRule | None, list[str]]:
    """Return the rule in the options of a reference (``None`` if there is none), and its options in their usual form.

    The globs of a reference choose files of its source, and are not part of the rule.

    Raises:
        ConfigurationError: it is not well formed.
    """
    found = {key: options[key] for key in PART_OPTIONS if key in options}
    if not found:
        return None, []
    rule = parse_part(_values(found, written))
    return rule, [f"{key}={quote(str(value), safe=_PLAIN)}" for key, value in rule.identity.items()]


def _values(found: Mapping[str, Sequence[str]], written: WrittenReference) -> WrittenReference:
    """Return texts by key as the values of a mapping, as in a catalog."""

    def value(key: str, texts: Sequence[str]) -> WrittenReference:
        here = WrittenReference(None, f"{written.file}: {key}", 0, "")
        if key in _SEVERAL:
            return here.of([here.of(text) for text in texts])
        is_number = key in _NUMBERS and re.fullmatch(r"[0-9]{1,4000}", texts[0])
        return here.of(int(texts[0]) if is_number else texts[0])

    return written.of({key: value(key, texts) for key, texts in found.items()})


def _included(value: Value) -> tuple[str, ...]:
    return globs(filled(value, "glob"))


def _excluded(value: Value) -> tuple[str, ...]:
    return globs(value.items())


def _condition(value: Value) -> str:
    """Return a condition in its usual form."""
    from provisioner.catalog.condition_parser import parse_condition  # noqa: PLC0415 - as above
    from provisioner.catalog.conditions import ConditionError  # noqa: PLC0415 - the same

    try:
        return str(parse_condition(value.text()))
    except ConditionError as error:
        value.fail(error.problem, error.hint)


def split_outside_quotes(text: str, separator: str) -> list[str]:
    """Return the pieces of a text between separators that are neither within quotes nor within parentheses.

    An unpaired quote or an unclosed parenthesis counts as an ordinary character.
    """
    pieces, begin, at = [], 0, 0
    depth = 0
    while at < len(text):
        mark = text[at]
        if mark in "'\"" and (end := text.find(mark, at + 1)) >= 0:
            at = end
        elif mark == "(":
            depth += 1
        elif mark == ")":
            depth = max(0, depth - 1)
        elif mark == separator and not depth:
            pieces.append(text[begin:at])
            begin = at + 1
        at += 1
    return [*pieces, text[begin:]]
