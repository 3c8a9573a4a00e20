"""The page as HTML: complete as sent, so that it needs no script, with all external text escaped."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, Final

from provisioner.reporting.liveness import moment_of
from provisioner.reporting.shares import share_done, share_line
from provisioner.reporting.status import DATASET_STATES
from provisioner.units import format_bytes, format_duration
from provisioner.web.plot import throughput_plot
from provisioner.web.record import LABELS, amount, card, error_note, link, plain_number, progress_bar, text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from provisioner.catalog.model import Catalog
    from provisioner.reporting.history import Throughput
    from provisioner.reporting.observation import Observation

HEADLINES: Final = {
    "provisioning": "Provisioning",
    "ready": "Ready",
    "partial": "Ready in part",
    "degraded": "Degraded",
    "failed": "Failed",
    "interrupted": "Interrupted",
}
EXPLANATIONS: Final = {
    "provisioning": "The data sets are being fetched, verified and published.",
    "ready": "All data sets that were asked for are on the volume.",
    "partial": "Some data sets were left out; the others are on the volume.",
    "degraded": "Some data sets failed, and the app is started all the same.",
    "failed": "Some data sets failed; what was published before stays.",
    "interrupted": "The run was stopped; the next one goes on where it ended.",
}
_ORDER: Final = {state: number for number, state in enumerate(("failed", "fetching", "unpacking", "pending", "ready", "skipped"))}
_RELOAD_SECONDS: Final = {"provisioning": 5}
"""Seconds after which a page without scripts reloads itself; 30 in other states."""


def render_page(observation: Observation, main: str, *, acts: bool = False) -> str:
    """Return the whole page.

    Args:
        observation: what is known of the run.
        main: the result of :func:`render_main` for it.
        acts: whether the page links to the one for acting.
    """
    document = observation.document or {}
    way = '<nav><a href="act">Act on this volume</a></nav>\n' if acts else ""
    seconds = _RELOAD_SECONDS.get(str(document.get("state")), 30)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<noscript><meta http-equiv="refresh" content="{seconds}"></noscript>\n'
        f"<title>{escape(_title(document))}</title>\n"
        '<link rel="icon" href="provisioner.svg">\n'
        '<link rel="stylesheet" href="provisioner.css">\n<script src="provisioner.js" defer></script>\n</head>\n<body>\n'
        '<p id="connection" class="notice" role="alert" hidden></p>\n'
        f"{way}{main}\n"
        '<footer><p>Data-volume provisioner. <a href="status.json">Status as JSON</a> '
        '<a href="metrics">Metrics</a></p></footer>\n</body>\n</html>\n'
    )


def render_main(observation: Observation, history: Throughput, catalog: Catalog, now: float) -> str:
    """Return the changing part of the page.

    Args:
        observation: what is known of the run.
        history: its throughput.
        catalog: titles and licences.
        now: seconds since the epoch.
    """
    document = observation.document
    if document is None:
        sections = ["<h1>No run yet</h1>", f"<p>{text(observation.problem) or 'Nothing is known of a run on this volume.'}</p>"]
    else:
        sections = [
            *_summary(document, observation.problem, now),
            *_shares(document),
            *_throughput(document, history),
            *_datasets(document, catalog),
        ]
    return f'<main id="main" data-title="{escape(_title(document or {}))}">{"".join(sections)}</main>'


def _title(document: Mapping[str, Any]) -> str:
    state = str(document.get("state", ""))
    done, total = plain_number(document.get("bytes_done")), plain_number(document.get("bytes_total"))
    share = f"{min(100, int(done * 100 // total))} % " if state == "provisioning" and done is not None and total else ""
    return f"{share}{HEADLINES.get(state, 'No run yet')} | data volume"


def _summary(document: Mapping[str, Any], problem: str, now: float) -> Iterator[str]:
    state = str(document.get("state"))
    phase = document.get("phase")
    yield f'<header class="{escape(_class(state))}"><h1>{text(HEADLINES.get(state, state))}'
    yield f" <span>{text(phase)}</span></h1>" if phase else "</h1>"
    # Screen readers announce it when it changes, which is seldom.
    yield f'<p role="status">{text(EXPLANATIONS.get(state, ""))} {text(_census(document))}</p></header>'
    if problem:
        yield f'<p class="notice">{text(problem)}</p>'
    if isinstance(document.get("error"), dict):
        yield error_note(document["error"])
    if state == "provisioning":
        yield '<section class="whole" aria-labelledby="whole"><h2 id="whole">The whole run</h2>'
        done, total = document.get("bytes_done"), document.get("bytes_total")
        yield progress_bar("the whole run", done, total)
        yield _pace(document, amount(plain_number(done), plain_number(total)))
        yield "</section>"
    yield _facts(document, now)


def _pace(record: Mapping[str, Any], done: str) -> str:
    """Return how much is done, the rate, and the time left."""
    rate, left = plain_number(record.get("rate_bytes_per_second")), plain_number(record.get("eta_seconds"))
    parts = [f"<dt>Fetched</dt><dd>{text(done or 'not known yet')}</dd>"]
    parts += [f"<dt>Rate</dt><dd>{text('not known yet' if rate is None else f'{format_bytes(rate)}/s')}</dd>"]
    parts += [f"<dt>Time left</dt><dd>{text('not known yet' if left is None else format_duration(left))}</dd>"]
    return f'<dl class="pace">{"".join(f"<div>{part}</div>" for part in parts)}</dl>'


def _census(document: Mapping[str, Any]) -> str:
    """Return in words how many data sets are in each state."""
    found = document.get("datasets")
    states = [record.get("state") for record in found.values() if isinstance(record, dict)] if isinstance(found, dict) else []
    parts = [f"{states.count(state)} {LABELS[state].lower()}" for state in DATASET_STATES if state in states]
    return f"Data sets: {', '.join(parts)}." if parts else ""


def _facts(document: Mapping[str, Any], now: float) -> str:
    volume = document.get("volume")
    facts = []
    if isinstance(volume, dict):
        used, free, limit = (plain_number(volume.get(key)) for key in ("used_bytes", "free_bytes", "limit_bytes"))
        facts += [("Used on the volume", format_bytes(used))] if used is not None else []
        facts += [("Free on the volume", format_bytes(free))] if free is not None else []
        facts += [("Limit", format_bytes(limit))] if limit is not None else []
    begun, ended = moment_of(document.get("started_at")), moment_of(document.get("finished_at"))
    if begun is not None:
        facts += [("Took" if ended else "Running for", format_duration((ended or now) - begun))]
    shown = [f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in facts]
    repository = document.get("dataset_repo")
    if isinstance(repository, dict) and repository.get("repo_id"):
        name = link(repository.get("url"), str(repository["repo_id"]))
        shown.append(f"<div><dt>Repository for logs of the app</dt><dd>{name} ({text(repository.get('state'))})</dd></div>")
    shown.append(f"<div><dt>Run</dt><dd>{text(document.get('run_id'))} on {text(document.get('host'))}</dd></div>")
    return f'<section class="facts" aria-label="Volume and run"><dl>{"".join(shown)}</dl></section>'


def _shares(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the machines that fill the volume together, while they do so."""
    found = document.get("shares")
    shares = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    if shares:
        yield '<section aria-labelledby="shares"><h2 id="shares">Shares</h2><ul class="cards">'
        for share in shares:
            state = {"complete": "ready", "missing": "pending"}.get(str(share.get("state")), "fetching")
            name = f"Share {share.get('share')}"
            badge = f'<span class="badge">{text("Complete" if state == "ready" else LABELS[state])}</span>'
            bar = progress_bar(name, share_done(share), share.get("bytes_total")) if state == "fetching" else ""
            yield f'<li class="card state-{state}"><div class="head"><h3>{text(name)}</h3>{badge}</div>{bar}'
            yield f'<p class="line">{text(share_line(share))}</p></li>'
        yield "</ul></section>"


def _throughput(document: Mapping[str, Any], history: Throughput) -> Iterator[str]:
    if document.get("state") == "provisioning" or history.rates:
        yield '<section class="plot" aria-labelledby="plot"><h2 id="plot">Throughput</h2>'
        yield throughput_plot(history)
        yield "</section>"


def _datasets(document: Mapping[str, Any], catalog: Catalog) -> Iterator[str]:
    found = document.get("datasets")
    records = {str(name): record for name, record in found.items() if isinstance(record, dict)} if isinstance(found, dict) else {}
    ordered = sorted(records, key=lambda name: _ORDER.get(str(records[name].get("state")), len(_ORDER)))
    wanted = [name for name in ordered if records[name].get("state") != "skipped"]
    if wanted:
        yield '<section aria-labelledby="sets"><h2 id="sets">Data sets</h2><ul class="cards">'
        yield from (card(name, records[name], catalog) for name in wanted)
        yield "</ul></section>"
    skipped = [name for name in ordered if records[name].get("state") == "skipped"]
    if skipped:
        yield '<section aria-labelledby="left-out"><h2 id="left-out">Not part of this run</h2><ul class="cards">'
        yield from (card(name, records[name], catalog) for name in skipped)
        yield "</ul></section>"


def _class(state: str) -> str:
    return f"state-{state}" if state in HEADLINES else "state-unknown"
