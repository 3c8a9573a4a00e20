"""The parser of ``DATASETS``: a list of data sets, their splits and parts, and references."""

from __future__ import annotations

import re

from provisioner.catalog.references import is_reference
from provisioner.catalog.written_parts import parse_query
from provisioner.catalog.written_reference import WrittenReference
from provisioner.errors import ConfigurationError
from provisioner.settings.parsers import BadTextError, plain_text, several, shown
from provisioner.settings.written import QUOTES, unwrapped


def datasets(text: str) -> tuple[tuple[str, str | None], ...]:
    """Parse ``ID``, ``ID:PART``, ``ID:PART?RULE`` or references, separated by commas.

    The second value is ``None`` for the whole data set, and otherwise the name of a split or part, with its rule.
    """
    chosen: dict[tuple[str, str | None], None] = {}
    for item in several(text, map(_with_rule, split_items(text))):
        if is_reference(item):
            chosen[item, None] = None
            continue
        match = re.fullmatch(r"([\w.-]+)(?::([\w.-]+))?(\?.*)?", item)
        if match is None:
            is_repository = re.fullmatch(r"[\w.-]+/[\w.-]+", item)
            meant = f" A repository on the Hub is hf://datasets/{item}, or hf://{item} for a model." if is_repository else ""
            hint = f"Accepted: ID, ID:PART or a reference, such as ljspeech,nsynth:test,nsynth:train?limit=1000.{meant}"
            raise BadTextError(f"{shown(item)} is not a data set", hint)
        if match[3]:
            try:
                parse_query(match[3][1:], WrittenReference(item, shown(item), 0, ""))
            except ConfigurationError as error:
                raise BadTextError(error.message, error.hint) from error
        chosen[match[1], f"{match[2] or ''}{match[3]}" if match[3] else match[2]] = None
    return tuple(chosen)


def split_items(text: str) -> list[str]:
    """Return the items of a list of data sets; a comma in the condition of a part does not separate items.

    An item ends where the quotes and parentheses after its ``where=`` are closed.
    """
    items: list[str] = []
    for piece in text.split(","):
        if items and _is_open(items[-1]):
            items[-1] += f",{piece}"
        else:
            items.append(piece)
    return items


def _is_open(item: str) -> bool:
    """Return whether an item has a condition with an unclosed quote or parenthesis."""
    _, begins, condition = item.partition("where=")
    without_texts = re.sub(r"'[^']*'|\"[^\"]*\"", "", condition) if begins else ""
    return without_texts.count("(") > without_texts.count(")") or not QUOTES.isdisjoint(without_texts)


def _with_rule(item: str) -> str:
    """Parse one item of a list of data sets; quotes are allowed only in a condition."""
    if "where=" not in item:
        return plain_text(unwrapped(item))
    return plain_text(re.sub(f"[{''.join(QUOTES)}]", "", text := item.strip())) and text
