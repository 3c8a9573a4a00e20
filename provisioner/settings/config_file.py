"""The config file: its sections and keys, and the text that each value stands for."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from provisioner.catalog.document import parse_document
from provisioner.catalog.mistakes import Mistakes
from provisioner.settings.settings import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from provisioner.catalog.document import Value

REPOSITORIES: Final = "repositories"
"""The section that describes repositories; see :mod:`provisioner.settings.repositories`."""
_SECTION: Final = "datasets"


def parse_config(text: str, file: str) -> Mapping[str, Value]:
    """Return the config file's values by dotted key.

    Args:
        text: the content of the file.
        file: its name, for messages.

    Raises:
        ConfigurationError: it is not valid YAML, a key is unknown or in the wrong section, or it contains a secret.
    """
    mistakes = Mistakes()
    root = parse_document(text, file, mistakes)
    keys = {setting.key for setting in SETTINGS if setting.key}
    inner = {key.removeprefix(f"{_SECTION}.") for key in keys if key.startswith(f"{_SECTION}.")}
    outer = {key for key in keys if "." not in key}
    secrets = {name.lower() for setting in SETTINGS if setting.secret for name in (setting.name, *setting.other_names)}
    for key, value in root.mapping().items():
        if key.lower() in secrets:
            variable = key.upper()
            value.report("a secret does not belong in a config file", f"Set {variable} or {variable}_FILE in the environment.")
        elif key in inner:
            value.report(f"unknown key {key!r}", f"Write it below '{_SECTION}:'.")
    refused = {key for key in root.mapping() if key.lower() in secrets or key in inner}
    top = root.mapping({*outer, _SECTION, REPOSITORIES, *refused})
    values = {key: value for key, value in top.items() if key != _SECTION}
    section = top.get(_SECTION)
    if section is not None and section.data is not None:
        found = section.attempt(_section, inner, outer) or {}
        values.update((f"{_SECTION}.{key}", value) for key, value in found.items())
    mistakes.raise_all()
    return values


def _section(value: Value, inner: Collection[str], outer: Collection[str]) -> Mapping[str, Value]:
    """Return the values of the section of the older tool."""
    misplaced = {key for key in value.mapping() if key in outer and key not in inner}
    for key in misplaced:
        value.mapping()[key].report(f"unknown key {key!r}", f"Write it at the top, not below '{_SECTION}:'.")
    return value.mapping({*inner, *misplaced})


def text_of(value: Value, separator: str) -> str:
    """Return a value of the config file as the text that a variable would hold; empty if there is none.

    Args:
        value: a scalar or, if there is a separator, a list or mapping of scalars.
        separator: joins the items of a list, and the ``KEY=VALUE`` pairs of a mapping.

    Raises:
        ConfigurationError: it is anything else.
    """
    match value.data:
        case None:
            return ""
        case list() if separator:
            return separator.join(_scalar(item) for item in value.items())
        case dict() if separator:
            return separator.join(f"{key}={_scalar(item)}" for key, item in value.mapping().items())
        case _:
            return _scalar(value)


def _scalar(value: Value) -> str:
    match value.data:
        case bool():
            return "true" if value.data else "false"
        case int():
            return str(value.data)
        case float():
            return f"{Decimal(repr(value.data)):f}"
        case _:
            return value.text()
