"""One data set on the page, and the small building blocks of the page."""

from __future__ import annotations

import contextlib
import math
from html import escape
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from provisioner.catalog.license import meaning
from provisioner.redaction import show_url
from provisioner.units import format_bytes, format_duration, format_share

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from provisioner.catalog.model import Catalog, DataSet

_REASONS: Final = {
    "storage_limit": "It does not fit into the space that there is.",
    "license_policy": "The licence policy refuses it.",
    "not_in_phase": "It is on the volume from an earlier run, and was not asked for now.",
}
_PROOFS: Final = {
    "catalog": "the digest that is stated for it",
    "listing": "the listing of the Hub",
    "peer": "the manifest of another volume",
    "archive": "sizes and CRC-32 in the index of the archive, which was not fetched whole",
    "none": "nothing: no digest is known",
}
LABELS: Final = {
    "pending": "Waiting",
    "fetching": "Fetching",
    "unpacking": "Unpacking",
    "ready": "Ready",
    "skipped": "Left out",
    "failed": "Failed",
}


def card(name: str, record: Mapping[str, Any], catalog: Catalog) -> str:
    """Return one data set as an item of a list."""
    state = str(record.get("state"))
    dataset = catalog.datasets.get(name)
    title = dataset.title if dataset else name
    kind = f"state-{state}" if state in LABELS else "state-unknown"
    badge = f'<span class="badge">{text(LABELS.get(state, state))}</span>'
    parts = [f'<li id="set-{escape(name)}" class="card {kind}"><div class="head"><h3>{text(title)}</h3>{badge}</div>']
    if state in {"fetching", "unpacking"}:
        parts.append(progress_bar(title, record.get("bytes_done"), record.get("bytes_total")))
    if line := _line(state, record):
        parts.append(f'<p class="line">{text(line)}</p>')
    if isinstance(record.get("error"), dict):
        parts.append(error_note(record["error"]))
    if dataset is not None:
        terms = dataset.license
        parts.append(f'<p class="terms">{text(terms.spdx)}: {text(meaning(terms))}</p>')
    rows = "".join(f"<div><dt>{text(term)}</dt><dd>{value}</dd></div>" for term, value in _details(name, record, dataset))
    parts.append(f"<details><summary>Details<span> of {text(title)}</span></summary><dl>{rows}</dl></details></li>")
    return "".join(parts)


def _line(state: str, record: Mapping[str, Any]) -> str:
    """Return the most important facts of a data set in one line."""
    done, total = plain_number(record.get("bytes_done")), plain_number(record.get("bytes_total"))
    files = plain_number(record.get("files"))
    if state == "skipped":
        return str(record.get("detail") or _REASONS.get(str(record.get("reason")), "It is left out."))
    if state == "ready" and total is not None:
        return f"{format_bytes(total)} in {int(files or 0):,} files" if files != 1 else f"{format_bytes(total)} in one file"
    if state == "pending":
        return f"{format_bytes(total)} to fetch" if total is not None else "Its size is not known yet"
    if state == "failed" and not done:
        return ""
    parts = [amount(done, total)] if done is not None else []
    rate, left = plain_number(record.get("rate_bytes_per_second")), plain_number(record.get("eta_seconds"))
    parts += [f"{format_bytes(rate)}/s"] if rate is not None else []
    parts += [f"{format_duration(left)} left"] if left is not None else []
    return " · ".join(parts)


def amount(done: float | None, total: float | None) -> str:
    """Return how much of a total is here; empty if that is not known."""
    if done is None:
        return ""
    return format_bytes(done) if total is None or done > total else format_share(int(done), int(total))


def _details(name: str, record: Mapping[str, Any], dataset: DataSet | None) -> Iterator[tuple[str, str]]:
    """Yield terms and their values, which are HTML."""
    yield "Name", f"<code>{text(name)}</code>"
    if dataset is not None:
        terms = dataset.license
        yield "Licence", link(terms.url, terms.name)
        if dataset.homepage:
            yield "Homepage", link(dataset.homepage, dataset.homepage)
    else:
        yield "Licence", text(record.get("license") or "not known")
    if source := shown_source(record):
        yield "Source", source
    if record.get("verified_against"):
        yield "Verified against", text(_PROOFS.get(str(record["verified_against"]), str(record["verified_against"])))
    if record.get("path"):
        yield "On the volume", f"<code>{text(record['path'])}</code>"
    if record.get("published_at"):
        yield "Published", text(record["published_at"])


def shown_source(record: Mapping[str, Any]) -> str:
    """Return as HTML where a data set came from; empty if that is not known."""
    source = record.get("source")
    with contextlib.suppress(ValueError):  # in a damaged status file
        if isinstance(source, dict) and source.get("url"):
            return text(show_url(str(source["url"])))
    return ""


def error_note(error: Mapping[str, Any]) -> str:
    """Return an error with its hint."""
    hint = f'<p class="hint">{text(error["hint"])}</p>' if error.get("hint") else ""
    return f'<div class="error"><p><strong>{text(error.get("message"))}</strong></p>{hint}</div>'


def progress_bar(name: str, done: object, total: object) -> str:
    """Return a bar, without a value if the share is not known."""
    label = escape(f"Progress of {name}")
    have, all_of_it = plain_number(done), plain_number(total)
    if have is None or not all_of_it or have > all_of_it:
        shown = "" if have is None else f'<p class="amount">{text(format_bytes(have))}</p>'
        return f'<progress aria-label="{label}"></progress>{shown}'
    share = have * 100 / all_of_it
    return f'<progress aria-label="{label}" max="100" value="{share:.1f}">{share:.0f} %</progress>'


def link(url: object, name: str) -> str:
    """Return a link, or only its name if the URL is not a web address."""
    address = str(url or "")
    try:
        is_web = urlsplit(address).scheme in {"http", "https"}
    except ValueError:
        is_web = False
    return f'<a href="{escape(address)}" rel="noreferrer noopener" target="_blank">{text(name)}</a>' if is_web else text(name)


def plain_number(value: object) -> float | None:
    """Return a number in a status document that is not negative, or ``None`` if it is not such a number."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if is_number and math.isfinite(value) and value >= 0 else None  # type: ignore[arg-type, operator, return-value]


def text(value: object) -> str:
    """Return any value as HTML text."""
    return "" if value is None else escape(str(value))
