"""The report on a finished run, as one self-contained HTML file."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from provisioner.reporting.history import Throughput
from provisioner.reporting.liveness import moment_of
from provisioner.units import format_bytes, format_duration
from provisioner.web.plot import throughput_plot
from provisioner.web.record import LABELS, error_note, plain_number, shown_source, text
from provisioner.web.render import EXPLANATIONS, HEADLINES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from provisioner.catalog.model import Catalog

_SHORT_SECONDS: Final = 10.0
_STYLE: Final = Path(__file__).parent / "assets" / "page.css"


def render_report(record: Mapping[str, Any], catalog: Catalog) -> str:
    """Return the report.

    Args:
        record: the result of :func:`provisioner.reporting.run_record.run_record`; missing or damaged values are left out.
        catalog: the titles of the data sets.
    """
    found = record.get("status")
    status: Mapping[str, Any] = found if isinstance(found, dict) else {}
    state = str(status.get("state"))
    heading = HEADLINES.get(state, state)
    body = "".join([*_head(record, status, state), *_plot(record), *_datasets(record, status, catalog), *_network(record)])
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(heading)} | report on a run</title>\n<style>\n{_STYLE.read_text('utf-8')}</style>\n</head>\n"
        f"<body>\n<main>{body}</main>\n</body>\n</html>\n"
    )


def _head(record: Mapping[str, Any], status: Mapping[str, Any], state: str) -> Iterator[str]:
    yield f"<header><h1>{text(HEADLINES.get(state, state))} <span>{text(status.get('phase'))}</span></h1>"
    yield f"<p>{text(EXPLANATIONS.get(state, ''))}</p></header>"
    error = status.get("error")
    if isinstance(error, dict) and error not in [each.get("error") for each in _records(status).values()]:
        yield error_note(error)
    begun, ended = moment_of(status.get("started_at")), moment_of(status.get("finished_at") or status.get("updated_at"))
    seconds = max(0.0, ended - begun) if begun is not None and ended is not None else None
    received = plain_number(record.get("received_bytes"))
    facts = [("Run", f"{status.get('run_id')} on {status.get('host')}"), ("Begun", status.get("started_at"))]
    facts += [("Took", format_duration(seconds))] if seconds is not None else []
    facts += [("Over the network", format_bytes(received))] if received is not None else []
    facts += [("Mean rate", f"{format_bytes(received / seconds)}/s")] if received and seconds else []
    facts += [("Program", status.get("provisioner_version"))]
    rows = "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in facts if value)
    yield f'<section class="facts"><dl>{rows}</dl></section>'


def _plot(record: Mapping[str, Any]) -> Iterator[str]:
    found = record.get("throughput")
    rates = found.get("bytes_per_second") if isinstance(found, dict) else None
    numbers = [plain_number(rate) for rate in rates] if isinstance(rates, list) else []
    seconds = plain_number(found.get("seconds_per_point")) if isinstance(found, dict) else None
    history = Throughput(seconds or 1.0, tuple(rate for rate in numbers if rate is not None))
    yield f'<section class="plot"><h2>Throughput</h2>{throughput_plot(history, ended=True)}</section>'


def _datasets(record: Mapping[str, Any], status: Mapping[str, Any], catalog: Catalog) -> Iterator[str]:
    records = _records(status)
    stages = {(each.get("dataset"), each.get("stage")): plain_number(each.get("seconds")) for each in _items(record, "stages")}
    rows = []
    for name, each in records.items():
        dataset, size, files = catalog.datasets.get(name), plain_number(each.get("bytes_total")), plain_number(each.get("files"))
        fetching, unpacking = stages.get((name, "fetching")), stages.get((name, "unpacking"))
        rows.append(
            [
                f"{text(dataset.title if dataset else name)}",
                text(LABELS.get(str(each.get("state")), each.get("state"))),
                shown_source(each),
                text(format_bytes(size) if size is not None else ""),
                text(f"{files:,.0f}" if files else ""),
                _duration(fetching),
                _duration(unpacking),
            ]
        )
    if rows:
        yield "<section><h2>Data sets</h2>"
        yield _table(
            ("Data set", "State", "From", "Size", "Files", "Fetching", "Unpacking after that"), rows, numbers=(3, 4, 5, 6)
        )
        yield "</section>"
    failed = [(name, each["error"]) for name, each in records.items() if isinstance(each.get("error"), dict)]
    if failed:
        yield "<section><h2>What failed</h2>"
        yield from (f"<h3>{text(name)}</h3>{error_note(error)}" for name, error in failed)
        yield "</section>"


def _network(record: Mapping[str, Any]) -> Iterator[str]:
    requests = [[text(each.get(key)) for key in ("host", "outcome", "count")] for each in _items(record, "requests")]
    if requests:
        yield f"<section><h2>Requests</h2>{_table(('Host', 'Outcome', 'Requests'), requests, numbers=(2,))}</section>"
    retries = [[text(each.get(key)) for key in ("what", "cause", "count")] for each in _items(record, "retries")]
    yield "<section><h2>What was asked again</h2>"
    yield _table(("Request", "Cause", "Times"), retries, numbers=(2,)) if retries else '<p class="quiet">Nothing.</p>'
    yield "</section>"


def _duration(seconds: float | None) -> str:
    """Return a time, with a decimal if it is short; empty if it is not known."""
    if seconds is None:
        return ""
    return f"{seconds:.1f} s" if seconds < _SHORT_SECONDS else format_duration(seconds)


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[int] = ()) -> str:
    """Return a table; the cells of ``rows`` are HTML."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in heading)
    lines = (
        "".join(f'<td class="number">{cell}</td>' if index in numbers else f"<td>{cell}</td>" for index, cell in enumerate(row))
        for row in rows
    )
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _items(record: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    found = record.get(key)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _records(status: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    found = status.get("datasets")
    return {str(name): each for name, each in found.items() if isinstance(each, dict)} if isinstance(found, dict) else {}
