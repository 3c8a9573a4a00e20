"""Repositories that the config file describes in its section ``repositories:``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeVar, cast

from provisioner.settings import parsers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from provisioner.catalog.document import Value

Gate = Literal["auto", "manual", "none"]

KEYS: Final = ("name", "organization", "visibility", "template", "gated")
DEFAULT_TEMPLATE: Final = "experiment-logs"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DeclaredRepository:
    """A repository as described by one entry of the section."""

    name: str
    """``NAME`` or ``OWNER/NAME``."""
    organization: str | None = None
    """Owner of a plain ``NAME``, or ``None`` for the token's user."""
    private: bool | None = None
    """``None`` if not specified."""
    template: str = DEFAULT_TEMPLATE
    gate: Gate | None = None
    """Whether readers must ask for access; ``None`` if not specified."""
    location: str = ""
    """``file:line: key``, for messages."""


def read_repositories(value: Value) -> tuple[DeclaredRepository, ...]:
    """Return the repositories of the section.

    Raises:
        ConfigurationError: the section is not valid; the message names file, line and key.
    """
    if value.data is None:
        return ()
    seen: dict[tuple[str, str | None], int] = {}
    found = []
    for item in value.items():
        repository: DeclaredRepository | None = item.attempt(_read_one)
        if repository is None:
            continue  # its mistake has been collected
        key = (repository.name.casefold(), (repository.organization or "").casefold() or None)
        if key in seen:
            item.report("this repository is listed a second time", f"The first is on line {seen[key]}.")
        seen[key] = item.line
        found.append(repository)
    if value.mistakes is not None:
        value.mistakes.raise_all()
    return tuple(found)


def _read_one(item: Value) -> DeclaredRepository:
    keys = item.mapping(KEYS, required=("name",))
    name = _parsed(keys["name"], parsers.repository)
    if not name:
        keys["name"].fail("a repository of this list cannot be turned off", "Remove the entry.")
    organization = _parsed(keys["organization"], parsers.owner) if _given(keys, "organization") else None
    if organization and "/" in name:
        keys["organization"].fail(f"the name {name!r} already names its owner", "Leave one of the two out.")
    private = keys["visibility"].choice(("public", "private")) == "private" if _given(keys, "visibility") else None
    template = keys["template"].text() if _given(keys, "template") else DEFAULT_TEMPLATE
    if not template:
        keys["template"].fail("no template is named", "Leave the key out for the default.")
    return DeclaredRepository(name, organization, private, template, _gate(keys), f"{item.file}:{item.line}: {item.key}")


def _gate(keys: Mapping[str, Value]) -> Gate | None:
    if not _given(keys, "gated"):
        return None
    value = keys["gated"]
    if isinstance(value.data, bool):
        return "auto" if value.data else "none"
    return cast("Gate", value.choice(("auto", "manual", "none")))


def _given(keys: Mapping[str, Value], key: str) -> bool:
    value = keys.get(key)
    return value is not None and value.data is not None


def _parsed(value: Value, parse: Callable[[str], T]) -> T:
    try:
        return parse(value.text())
    except parsers.BadTextError as error:
        value.fail(error.problem, error.hint)
