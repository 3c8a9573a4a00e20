"""A status document as text for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provisioner.reporting.tables import table

if TYPE_CHECKING:
    from collections.abc import Mapping


def status_text(document: Mapping[str, Any]) -> str:
    """Return a status document as text; values that are missing or of the wrong type are left out or shown as ``-``."""
    lines = [
        f"State:   {document.get('state')}"
        + (f", phase {document['phase']}" if document.get("phase") else "")
        + f" (run {document.get('run_id')} on {document.get('host')})",
        f"Time:    started {document.get('started_at')}, updated {document.get('updated_at')}",
        f"         finished {document.get('finished_at') or 'not yet'}",
    ]
    volume = document.get("volume")
    if isinstance(volume, dict):
        limit = f", limit {volume['limit_bytes']:,}" if isinstance(volume.get("limit_bytes"), int) else ""
        lines.append(f"Volume:  {_number(volume.get('used_bytes'))} bytes used, {_number(volume.get('free_bytes'))} free{limit}")
    lines += _repositories(document)
    datasets = document.get("datasets")
    if isinstance(datasets, dict) and datasets:
        lines += _datasets({name: record for name, record in datasets.items() if isinstance(record, dict)})
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


def _datasets(records: Mapping[str, Mapping[str, Any]]) -> list[str]:
    rows = [["data set", "state", "bytes", "files", "verified against", "path"]]
    rows += [
        [
            str(name),
            f"{record.get('state')}" + (f" ({record['reason']})" if record.get("reason") else ""),
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
    return ["", table(rows, right=(2, 3)), *errors]


def _bytes(record: Mapping[str, Any]) -> str:
    done = _number(record.get("bytes_done"))
    is_unfinished = str(record.get("state")) in {"fetching", "unpacking"}
    return f"{done} of {_number(record.get('bytes_total'))}" if is_unfinished else done


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "-"
