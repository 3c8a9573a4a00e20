"""The report of ``outdated`` about the sources of published data sets, as text for people and as JSON values."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from provisioner.reporting.tables import table, wrapped
from provisioner.reporting.text_width import USUAL_COLUMNS
from provisioner.units import format_count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioner.planning.upstream import Finding

_LONG_HEX: Final = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{28,}\b")


def outdated_document(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the findings as JSON values."""
    return {
        "datasets": [finding.as_record() for finding in findings],
        **{state: sum(finding.news.state == state for finding in findings) for state in ("current", "outdated", "unknown")},
    }


def outdated_text(findings: Sequence[Finding], *, columns: int = USUAL_COLUMNS) -> str:
    """Return the findings as text: a table, and how many data sets are in each state."""
    if not findings:
        return "The volume holds no published data set."
    rows = [["data set", "state", "published", "what is known"]]
    rows += [[finding.label, finding.news.state, finding.published_at[:10], _known(finding)] for finding in findings]
    states = [finding.news.state for finding in findings]
    counts = ", ".join(f"{states.count(state)} {state}" for state in ("outdated", "unknown", "current") if state in states)
    lines = [table(rows, columns=columns), "", f"{format_count(len(states), 'data set')}: {counts}"]
    if "outdated" in states:
        lines.append(wrapped("'provision' with UPDATE=auto builds the newer version beside the old one, and switches.", columns))
    return "\n".join(lines)


def _known(finding: Finding) -> str:
    news = finding.news
    moved = f": {news.recorded} then, {news.found} now" if news.pin and not news.pin.startswith("state:") else ""
    return _LONG_HEX.sub(r"\1", f"{news.why}{moved}")
