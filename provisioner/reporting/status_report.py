"""A status document as text for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provisioner.reporting.tables import table, wrapped
from provisioner.reporting.text_width import USUAL_COLUMNS
from provisioner.units import format_bytes, format_share

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.reporting.liveness import Heartbeat


def status_text(document: Mapping[str, Any], *, columns: int = USUAL_COLUMNS, heartbeat: Heartbeat | None = None) -> str:
    """Return a status document as text; missing or invalid values are left out or shown as ``-``.

    Args:
        document: the status.
        columns: the width of the terminal.
        heartbeat: heartbeat of a run that has not finished; its problem, if any, is shown first.
    """
    lines = [
        f"State:   {document.get('state')}"
        + (f", phase {document['phase']}" if document.get("phase") else "")
        + f" (run {document.get('run_id')} on {document.get('host')})",
        f"Time:    started {document.get('started_at')}, updated {document.get('updated_at')}",
        f"         finished {document.get('finished_at') or 'not yet'}",
    ]
    if heartbeat is not None and heartbeat.problem:
        lines.insert(1, wrapped(f"         {heartbeat.problem}; the next run carries on", columns))
    volume = document.get("volume")
    if isinstance(volume, dict):
        limit = f", limit {_size(volume['limit_bytes'])}" if isinstance(volume.get("limit_bytes"), int) else ""
        lines.append(f"Volume:  {_size(volume.get('used_bytes'))} used, {_size(volume.get('free_bytes'))} free{limit}")
    lines += _repositories(document)
    datasets = document.get("datasets")
    if isinstance(datasets, dict) and datasets:
        lines += _datasets({name: record for name, record in datasets.items() if isinstance(record, dict)}, columns)
    error = document.get("error")
    if isinstance(error, dict):
        lines += ["", f"Error [{error.get('reference')}]: {error.get('message')}", f"{error.get('hint')}"]
    return "\n".join(lines)


def _repositories(document: Mapping[str, Any]) -> list[str]:
    lines = []
    repository = document.get("dataset_repo")
    if isinstance(repository, dict):
        lines.append(f"Repository for the app's logs: {repository.get('repo_id') or 'none'} ({repository.get('state')})")
    others = document.get("other_repos")
    lines += [
        f"Other repository: {other.get('repo_id') or 'none'} ({other.get('state')})"
        for other in (others if isinstance(others, list) else [])
        if isinstance(other, dict)
    ]
    return lines


def _state(record: Mapping[str, Any]) -> str:
    """Return the state of a data set, with the reason if it is left out."""
    if record.get("reason") == "not_in_phase":
        return "not asked for"  # It stays. With the name of a usual data set, the table fits into 80 columns.
    return f"{record.get('state')}" + (f" ({record['reason']})" if record.get("reason") else "")


def _datasets(records: Mapping[str, Mapping[str, Any]], columns: int) -> list[str]:
    rows = [["data set", "state", "size", "files", "verified against", "path"]]
    rows += [
        [
            str(name),
            _state(record),
            _bytes(record),
            _number(record.get("files")),
            str(record.get("verified_against") or "-"),
            str(record.get("path") or "-"),
        ]
        for name, record in records.items()
    ]
    errors = [
        f"{name}: {record['error'].get('message')}" for name, record in records.items() if isinstance(record.get("error"), dict)
    ]
    notes = [note for name, record in records.items() for note in _notes(str(name), record)]
    return ["", table(rows, right=(2, 3), columns=columns), *errors, *(wrapped(note, columns) for note in notes)]


def _notes(name: str, record: Mapping[str, Any]) -> list[str]:
    """Return which part of a data set is here, what its source says, and which version was published before."""
    upstream, previous = record.get("upstream"), record.get("previous")
    notes = [f"{name}: a part: {record['part']}"] if record.get("part") else []
    if isinstance(upstream, dict):
        error = upstream.get("error")
        why = error.get("message") if isinstance(error, dict) else upstream.get("why")
        notes.append(f"{name}: {upstream.get('state')} upstream: {why}")
    if isinstance(previous, dict):
        notes.append(f"{name}: the version before, {previous.get('version')} of {previous.get('published_at')}, is still here")
    return notes


def _bytes(record: Mapping[str, Any]) -> str:
    done, total = record.get("bytes_done"), record.get("bytes_total")
    is_unfinished = str(record.get("state")) in {"fetching", "unpacking"}
    if is_unfinished and isinstance(done, int) and isinstance(total, int) and 0 <= done <= total:
        return format_share(done, total)
    return _size(done)


def _size(value: object) -> str:
    return format_bytes(value) if isinstance(value, int) else "-"


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "-"
