"""A plot of throughput over time, as SVG without inline styles, which the page's policy forbids."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from provisioner.units import format_bytes, format_duration

if TYPE_CHECKING:
    from provisioner.reporting.history import Throughput

_WIDTH: Final = 720
_HEIGHT: Final = 120
_FEWEST: Final = 2
"""Minimum number of points of a line."""


def throughput_plot(history: Throughput, *, ended: bool = False) -> str:
    """Return the plot as HTML, or a sentence if there is nothing to plot.

    Args:
        history: the throughput.
        ended: whether the run has ended; otherwise, the last point is now.
    """
    rates = history.rates
    if len(rates) < _FEWEST:
        return '<p class="quiet">Nothing was fetched for long enough to be plotted.</p>'
    highest = max(rates) or 1.0
    step = _WIDTH / (len(rates) - 1)
    points = [(number * step, _HEIGHT - rate / highest * (_HEIGHT - 6)) for number, rate in enumerate(rates)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    span = format_duration((len(rates) - 1) * history.seconds)
    first, last = ("start of the fetch", f"{span} later") if ended else (f"{span} ago", "now")
    label = f"Throughput over {span}: at last {format_bytes(rates[-1])}/s, highest {format_bytes(highest)}/s"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{escape(label)}">'
        f'<path class="area" d="M0,{_HEIGHT} L{line.replace(" ", " L")} L{_WIDTH},{_HEIGHT} Z"></path>'
        f'<polyline class="line" points="{line}"></polyline></svg>'
        f'<p class="scale"><span>{escape(first)}</span><span>highest {escape(format_bytes(highest))}/s</span>'
        f"<span>{escape(last)}</span></p>"
    )
