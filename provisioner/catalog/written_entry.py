"""A catalog entry as complete, commented text for a person to correct, and its place in a catalog file."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

import yaml

from provisioner.catalog.schema import VERSION
from provisioner.errors import ConfigurationError

if TYPE_CHECKING:
    from provisioner.catalog.model import DataSet

_TOP: Final = re.compile(r"^datasets:[ \t]*(?:#.*)?$", re.MULTILINE)
_ANY_TOP: Final = re.compile(r"^[\"']?datasets\b", re.MULTILINE)
_MAX_ID: Final = 64
_PART: Final = "part"
"""The name of the part for the rule of a reference."""


def id_for(name: str) -> str:
    """Return the id in a catalog for a data set that is published at ``name`` as a reference."""
    return re.sub(r"[^a-z0-9-]+", "_", name.lower()).strip("_-")[:_MAX_ID] or "dataset"


def entry_text(name: str, dataset: DataSet, *, reference: str, found: str, day: str) -> str:
    """Return the entry of a data set, indented as below ``datasets:``.

    Args:
        name: its new id.
        dataset: what is known of it.
        reference: the reference that it was made from.
        found: what its source resolved to.
        day: the day on which its source was asked, ISO 8601.
    """
    terms, size = dataset.license, dataset.unpacked_size
    lines = [
        f"{name}:  # made of {reference} on {day}: {found}",
        f"  title: {_text(dataset.title)}",
        *([f"  homepage: {_text(dataset.homepage)}"] if _is_page(dataset.homepage) else []),
        f"  description: {_text(dataset.description)}  # what is in it",
        f"  purpose: {_text(dataset.purpose)}  # what you use it for",
        f"  priority: {dataset.priority}  # 1 to 5: higher is fetched first and left out last",
        *([f"  unpacked_size: {size.value}"] if size else []),
        *_part_lines(name, dataset),
        "  license:  # read the terms yourself, and correct what is wrong here",
        f"    spdx: {_text(terms.spdx)}",
        f"    name: {_text(terms.name)}",
        *([f"    url: {_text(terms.url)}"] if _is_page(terms.url) else []),
        f"    commercial: {terms.commercial}  # allowed | forbidden | mixed | verify",
        f"    evidence: {_text(terms.evidence)}",
        f"    attribution: {_text(terms.attribution)}",
        "  sources:  # tried in this order",
    ]
    for source in dataset.sources:
        written = yaml.safe_dump([source.as_entry()], sort_keys=False, allow_unicode=True, width=1000)
        lines += [f"    {line}" for line in written.splitlines()]
    return "".join(f"  {line}\n" for line in lines)


def _part_lines(name: str, dataset: DataSet) -> list[str]:
    """Return the rule of the reference as a part of the entry, since an entry for the whole data set can have no rule."""
    rule = dataset.reference.rule if dataset.reference else None
    if rule is None:
        return []
    written = yaml.safe_dump({_PART: rule.identity}, sort_keys=False, allow_unicode=True, width=1000)
    return [f"  parts:  # ask for it as {name}:{_PART}", *(f"    {line}" for line in written.splitlines())]


def with_entry(catalog: str | None, entry: str, file: str) -> str:
    """Return the text of a catalog with one more entry; everything else in it stays unchanged.

    Args:
        catalog: the text, or ``None`` if there is none yet.
        entry: see :func:`entry_text`.
        file: the catalog's name, for messages.

    Raises:
        ConfigurationError: the data sets in the text are not below a line ``datasets:``.
    """
    if catalog is None:
        return f"version: {VERSION}\ndatasets:\n{entry}"
    if not _ANY_TOP.search(catalog):
        return f"{catalog.rstrip()}\ndatasets:\n{entry}"
    top = _TOP.search(catalog)
    if top is None:
        raise ConfigurationError(
            f"{file}: there is no line 'datasets:' to which the entry could be added", hint="Add it by hand."
        )
    end = top.end() + 1
    return f"{catalog[:end].rstrip()}\n{entry}{catalog[end:]}"


def _is_page(url: str) -> bool:
    return url.startswith(("http://", "https://"))


def _text(value: str) -> str:
    """Return a text as written between double quotes in YAML."""
    return json.dumps(value, ensure_ascii=False)
