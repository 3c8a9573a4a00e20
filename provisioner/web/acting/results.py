"""The result of a command as HTML: its JSON document in tables."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from provisioner.units import format_bytes, format_duration
from provisioner.web.record import error_note, plain_number, text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from provisioner.web.acting.worker import Job


def shown_result(job: Job) -> str:
    """Return the result of a command that has ended."""
    if job.result is None:
        return "" if job.code == 0 else f'<div class="error"><p>It ended with exit code {job.code}; its log says why.</p></div>'
    found = job.result
    parts: list[str] = []
    if "steps" in found:
        parts += _plan(found)
    elif "trees" in found:
        parts += _trees(found)
    elif "items" in found:
        parts += _items_to_remove(found)
    elif "state" in found:
        parts += _status(found)
    if isinstance(found.get("error"), dict):
        parts.append(error_note(found["error"]))
    return "".join(parts)


def _plan(plan: Mapping[str, Any]) -> Iterator[str]:
    rows = []
    for step in _records(plan, "steps"):
        terms = step.get("license")
        error = step.get("error")
        why = str(error.get("message")) if isinstance(error, dict) else str(step.get("why"))
        rows.append(
            [
                text(step.get("dataset")),
                text(step.get("action")),
                text(why),
                text(_size(step.get("download"))),
                text(_size(step.get("unpacked"))),
                text(terms.get("spdx")) if isinstance(terms, dict) else "",
            ]
        )
    if rows:
        yield _table(("Data set", "Action", "Why", "To fetch", "On disk", "Licence"), rows)
    volume = plan.get("volume")
    peak, free = (
        plain_number(plan.get("peak_bytes")),
        plain_number(volume.get("free_bytes")) if isinstance(volume, dict) else None,
    )
    facts = [("To fetch", _size(plan.get("download")) or "nothing")]
    facts += [("Space at the peak", format_bytes(peak))] if peak is not None else []
    facts += [("Free on the volume", format_bytes(free))] if free is not None else []
    seconds = plan.get("seconds")
    if isinstance(seconds, dict):
        known = ((name, plain_number(value)) for name, value in seconds.items())
        facts += [(f"At {name}", format_duration(value)) for name, value in known if value]
    removed = plan.get("evict")
    if isinstance(removed, list) and removed:
        facts.append(("Removed for space", ", ".join(map(str, removed))))
    yield _facts(facts)


def _trees(found: Mapping[str, Any]) -> Iterator[str]:
    rows = []
    for tree in _records(found, "trees"):
        findings, error, size = _records(tree, "findings"), tree.get("error"), plain_number(tree.get("bytes"))
        if isinstance(error, dict):
            state = f"not repaired: {error.get('message')}"
        elif tree.get("done"):
            state = str(tree["done"])
        else:
            state = "; ".join(" ".join(map(str, each.values())) for each in findings[:10]) or "right"
        rows.append(
            [
                text(tree.get("dataset")),
                text(f"{plain_number(tree.get('files')) or 0:,.0f}"),
                text(format_bytes(size) if size is not None else ""),
                text(state),
            ]
        )
    yield _table(("Data set", "Files", "Size", "State"), rows) if rows else '<p class="quiet">There is no tree.</p>'


def _items_to_remove(found: Mapping[str, Any]) -> Iterator[str]:
    rows = [
        [
            text(item.get("dataset") or "leftovers"),
            text(item.get("version")),
            text(item.get("why")),
            text(format_bytes(plain_number(item.get("bytes")) or 0)),
        ]
        for item in _records(found, "items")
    ]
    if rows:
        yield _table(("Data set", "Version", "Why", "Size"), rows)
        yield _facts([("In all", format_bytes(plain_number(found.get("bytes")) or 0))])
    else:
        yield "<p>There is nothing to remove.</p>"


def _status(found: Mapping[str, Any]) -> Iterator[str]:
    records = found.get("datasets")
    states = [each.get("state") for each in records.values() if isinstance(each, dict)] if isinstance(records, dict) else []
    census = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    nothing = "" if found.get("fetched", True) else " Everything was there already."
    yield f'<p>The volume is {text(found["state"])} ({text(census)}).{nothing} <a href="./">Each data set</a></p>'


def _size(value: object) -> str:
    """Return a size in a plan for people; empty if there is none."""
    if not isinstance(value, dict):
        return ""
    number = plain_number(value.get("bytes"))
    if number is None:
        return "not known"
    prefix = "at least " if value.get("at_least") else "about " if value.get("estimate") else ""
    return f"{prefix}{format_bytes(number)}" if number else ""


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; the cells of ``rows`` are HTML."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in heading)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        '<div class="table" tabindex="0" role="region" aria-label="Result">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    rows = "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in facts)
    return f'<div class="facts"><dl>{rows}</dl></div>'


def _records(found: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    items = found.get(key)
    return [each for each in items if isinstance(each, dict)] if isinstance(items, list) else []
