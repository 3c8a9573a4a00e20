"""The actions that can be requested on the page, and the command lines that show their plans and carry them out."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from provisioner.redaction import redact_urls

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOST_REFERENCES: Final = 50
LONGEST_REFERENCE: Final = 2048
"""Length in characters."""
AUTO: Final = "auto"
_QUERY: Final = re.compile(r"\?[^#]*")


class BadOrderError(Exception):
    """The requested action cannot be done; the text says why."""


@dataclass(frozen=True, slots=True)
class Choices:
    """The phases and data sets to choose from."""

    phases: Mapping[str, str]
    """Names and descriptions."""
    datasets: Mapping[str, str]
    """Ids and titles of the catalog."""
    present: Mapping[str, str]
    """The data sets on the volume: ids, and names for people."""
    phase: str = ""
    """The phase in the settings."""


@dataclass(frozen=True, slots=True)
class Order:
    """A requested action: first its plan is shown, and then it is done."""

    action: str
    title: str
    plan: tuple[str, ...]
    """The command that shows what would be done, and changes nothing."""
    command: tuple[str, ...]
    selection: Mapping[str, str] = field(default_factory=dict)
    """Settings that replace those of ``serve``. They are passed in the environment, because a reference may contain a
    password, and command lines are visible to everybody on the machine."""


Form = dict[str, list[str]]


def read_order(form: Form, choices: Choices) -> Order:
    """Return the action that a form requests.

    Raises:
        BadOrderError: it is not one of the choices.
    """
    action = (form.get("action") or [""])[-1]
    match action:
        case "provision":
            return _provision(form, choices)
        case "verify":
            ids, deep = _present(form, choices), "deep" in form
            how = "by its bytes" if deep else "by names, kinds and sizes"
            words = ("verify", *(("--deep",) if deep else ()), *ids)
            return Order(action, f"Verify {_named(ids, choices)} {how}", ("verify", *ids), words)
        case "repair":
            ids = _present(form, choices)
            return Order(action, f"Repair {_named(ids, choices)}", ("verify", *ids), ("repair", *ids))
        case "remove":
            ids = _present(form, choices)
            if not ids:
                raise BadOrderError("Choose at least one data set to remove.")
            return Order(action, f"Remove {_named(ids, choices)}", ("remove", "--dry-run", *ids), ("remove", *ids))
        case "gc":
            return Order(action, "Remove superseded versions and leftovers", ("gc", "--dry-run"), ("gc",))
        case _:
            raise BadOrderError("This action is not known.")


def _provision(form: Form, choices: Choices) -> Order:
    if (form.get("what") or [""])[-1] == "phase":
        phase = (form.get("phase") or [""])[-1]
        if phase != AUTO and phase not in choices.phases:
            raise BadOrderError("The catalog has no such phase.")
        return _provision_order(f"Provision the phase {phase}", {"PHASE": phase})
    ids = form.get("dataset", [])
    if unknown := [name for name in ids if name not in choices.datasets]:
        raise BadOrderError(f"The catalog has no data set {unknown[0][:LONGEST_REFERENCE]!r}.")
    references = _references("\n".join(form.get("references", [])))
    names = list(dict.fromkeys([*ids, *references]))
    if not names:
        raise BadOrderError("Choose a data set, or write a reference.")
    return _provision_order(f"Provision {_listed([_shown(name) for name in names])}", {"DATASETS": ",".join(names)})


def _shown(name: str) -> str:
    """Return an id or a reference for people: without user, password and query."""
    return _QUERY.sub("", redact_urls(name)) if name.startswith(("http://", "https://")) else name


def _provision_order(title: str, selection: Mapping[str, str]) -> Order:
    return Order("provision", title, ("plan",), ("provision",), selection)


def _references(text: str) -> list[str]:
    found = [line.strip() for line in text.splitlines() if line.strip()]
    if len(found) > MOST_REFERENCES:
        raise BadOrderError(f"More than {MOST_REFERENCES} references at once are too many.")
    for line in found:
        if len(line) > LONGEST_REFERENCE or not line.isprintable():
            raise BadOrderError(f"This is no reference: {line[:80]!r}.")
        if "," in line:
            raise BadOrderError(f"A reference has no comma; write one on each line: {line[:80]!r}.")
    return found


def _present(form: Form, choices: Choices) -> tuple[str, ...]:
    ids = tuple(dict.fromkeys(form.get("present", [])))
    if unknown := [name for name in ids if name not in choices.present]:
        raise BadOrderError(f"The volume does not hold {unknown[0][:LONGEST_REFERENCE]!r}.")
    return ids


def _named(ids: Sequence[str], choices: Choices) -> str:
    return _listed([choices.present[each] for each in ids]) if ids else "everything on the volume"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{', '.join(names[:3])} and {len(names) - 3} more"  # noqa: PLR2004
