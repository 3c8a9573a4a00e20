"""The log lines about the plan of a run, and the line at its end with everything that a person asks the next morning."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from provisioner.planning.plan import HERE
from provisioner.units import format_bytes, format_duration, format_share

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from provisioner.engine.result import Failure
    from provisioner.errors import ProvisionerError
    from provisioner.planning.model import Inventory, Plan
    from provisioner.reporting.status import RunState

_LOGGER = logging.getLogger(__name__)

_SHOWN: Final = 12
"""Maximum number of names that a line lists; the others are only counted."""


def labelled(label: str, error: ProvisionerError) -> str:
    """Return an error's message, with the data set's name at the beginning exactly once."""
    return error.message if error.message.startswith((f"{label}: ", f"{label} ")) else f"{label}: {error.message}"


def log_plan(plan: Plan) -> None:
    """Log what a run will do, what it leaves out, and what the user must know of licences."""
    _log_kept(plan)
    for step in plan.steps:
        if step.warning and step.writes:
            _LOGGER.warning("%s", step.warning)
        if step.action == "skip":
            _LOGGER.warning("%s: skipped: %s", step.recipe.label, step.why)
    if plan.work and plan.shortfall is None:
        _LOGGER.info("To do: %s; %s", _listed(step.recipe.label for step in plan.work), _download_of(plan))


def log_nothing_to_do(plan: Plan, reason: str = "") -> None:
    """Log that a run ends at once, and what it left out.

    Args:
        plan: of the run.
        reason: why there is nothing to do, unless everything was there already.
    """
    _log_kept(plan)
    held = f"the phase {plan.phase}" if plan.phase else _listed(step.recipe.label for step in plan.steps)
    if left_out := _left_out(plan, ()):
        here = _listed(step.recipe.label for step in plan.steps if step.action == "keep") or "none of it"
        _LOGGER.info("Nothing to do%s: of %s the volume holds %s; left out: %s", reason, held, here, _listed(left_out))
    else:
        _LOGGER.info("Nothing to do%s: the volume holds %s", reason, held)


def log_end(
    state: RunState,
    plan: Plan,
    failures: Sequence[Failure],
    inventory: Inventory,
    *,
    seconds: float,
    fetched_bytes: int,
    served_by: Callable[[str], str],
    by_others: Collection[str] = (),
) -> None:
    """Log how a run ended: its state, what was published, fetched (and from where), left out, or failed.

    Args:
        state: how it ended.
        plan: the plan that was carried out.
        failures: the steps that failed.
        inventory: what the volume holds now.
        seconds: how long it took.
        fetched_bytes: bytes that came from the network.
        served_by: returns the URL that is used in place of a source's own.
        by_others: ids of the data sets that another run published meanwhile.
    """
    failed = [step.recipe.label for step, _ in failures]
    done = [step for step in plan.work if step.recipe.label not in failed and step.id not in by_others]
    others = [step.recipe.label for step in plan.work if step.id in by_others]
    receipts = [inventory.receipts.get((step.id, step.recipe.version)) for step in done if step.action == "fetch"]
    hosts = dict.fromkeys(_host_of(served_by(receipt.source_url)) for receipt in receipts if receipt is not None)
    left_out = _left_out(plan, failed)
    nothing = "nothing was fetched" if failed else "nothing had to be fetched"
    parts = [_fetched(fetched_bytes, seconds, [host for host in hosts if host]) if fetched_bytes else nothing]
    parts += [f"published: {_listed(step.recipe.label for step in done)}"] if done else []
    parts += [f"published by another run: {_listed(others)}"] if others else []
    parts += [f"left out: {_listed(left_out)}"] if left_out else []
    parts += [f"failed: {_listed(failed)}"] if failed else []
    fields: dict[str, Any] = {
        "event": "end",
        "state": state,
        "seconds": round(seconds, 1),
        "fetched_bytes": fetched_bytes,
        "published": [step.recipe.label for step in done],
        "failed": failed,
    }
    _LOGGER.info("%s after %s: %s", state.capitalize(), format_duration(seconds), "; ".join(parts), extra=fields)


def log_left_out_of_cache(plan: Plan, inventory: Inventory) -> None:
    """Log which fetched repositories are not in the Hub client's cache, because the mount does not keep links."""
    receipts = [inventory.receipts.get((step.id, step.recipe.version)) for step in plan.steps if step.action == "fetch"]
    if labels := [receipt.label for receipt in receipts if receipt is not None and receipt.repository is not None]:
        reason = "links on an object store's mount do not last"
        _LOGGER.warning("Not shown in the Hub client's cache, since %s: %s", reason, _listed(labels))


def log_interruption(state: RunState, *, seconds: float, fetched_bytes: int) -> None:
    """Log that a run ended before its plan was carried out."""
    kept = f"{format_bytes(fetched_bytes)} had arrived, and what is not published is kept for the next run"
    fields: dict[str, Any] = {"event": "end", "state": state, "seconds": round(seconds, 1), "fetched_bytes": fetched_bytes}
    text = kept if fetched_bytes else "nothing had arrived"
    _LOGGER.info("%s after %s: %s", state.capitalize(), format_duration(seconds), text, extra=fields)


def _log_kept(plan: Plan) -> None:
    """Log notable facts about data sets that stay as they are."""
    for step in plan.steps:
        if step.action == "keep" and step.why != HERE:
            _LOGGER.info("%s %s", step.recipe.label, step.why)


def _download_of(plan: Plan) -> str:
    """Return in words how much will be fetched, and how much of it an interrupted run has left."""
    size, staged = plan.download, plan.staged_bytes
    if size.is_unknown:
        text = "how much there is to fetch is not known yet"
    else:
        text = f"{'at least ' if size.at_least else 'about ' if size.estimate else ''}{format_bytes(size.value)} to fetch"
    if staged:
        share = format_share(staged, size.value + staged, estimate=size.estimate)
        text += f"; of a run that has not finished, {share} are here already"
    return text


def _fetched(count: int, seconds: float, hosts: Sequence[str]) -> str:
    rate = f" ({format_bytes(count / seconds)}/s)" if seconds > 0 else ""
    return f"{format_bytes(count)} fetched{f' from {_listed(hosts)}' if hosts else ''}{rate}"


def _left_out(plan: Plan, failed: Sequence[str]) -> list[str]:
    """Return what the plan leaves out, each with the reason."""
    return [
        f"{step.recipe.label} ({step.why})"
        for step in plan.steps
        if step.action in {"skip", "refuse"} and step.recipe.label not in failed
    ]


def _listed(names: Iterable[str]) -> str:
    all_names = list(names)
    shown = ", ".join(all_names[:_SHOWN])
    return shown if len(all_names) <= _SHOWN else f"{shown} and {len(all_names) - _SHOWN} more"


def _host_of(url: str) -> str:
    parts = urlsplit(url)
    return "this machine" if parts.scheme == "file" else parts.hostname or ""
