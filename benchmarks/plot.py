"""Plots as SVG: two logarithmic axes, a line for each tool, text as text. A few kilobytes, and the same for the same figures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from xml.sax.saxutils import escape

from benchmarks.ours import NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_WIDTH: Final = 420
_HEIGHT: Final = 300
_LEFT: Final = 62
_RIGHT: Final = 30
_TOP: Final = 34
_BOTTOM: Final = 78
_COLOURS: Final = {NAME: "#0b6e99", "curl -Z": "#8a8a8a", "curl": "#8a8a8a", "hf download": "#c2571a"}
_STYLE: Final = "text{font:12px sans-serif;fill:#222}.t{font-weight:bold}.g{stroke:#ddd}.a{stroke:#555;fill:none}"


@dataclass(frozen=True)
class Panel:
    """One diagram."""

    title: str
    across: str
    lines: Mapping[str, Sequence[tuple[float, float]]]


def by_files(points: Iterable[Mapping[str, Any]]) -> str:
    """Plot what a file costs against how many there are."""
    points = list(points)
    wall = Panel("wall time a file, ms", "files of 4 KiB", _lines(points, "wall_seconds", each=True))
    cpu = Panel("processor time a file, ms", "files of 4 KiB", _lines(points, "cpu_seconds", each=True))
    return _figure([wall, cpu])


def by_bytes(points: Iterable[Mapping[str, Any]]) -> str:
    """Plot what one file costs against its size."""
    points = [{**point, "at": point["at"] / 2**20} for point in points]
    wall = Panel("wall time, ms", "size of one file, MiB", _lines(points, "wall_seconds", each=False))
    cpu = Panel("processor time, ms", "size of one file, MiB", _lines(points, "cpu_seconds", each=False))
    return _figure([wall, cpu])


def _lines(points: Iterable[Mapping[str, Any]], key: str, *, each: bool) -> dict[str, list[tuple[float, float]]]:
    lines: dict[str, list[tuple[float, float]]] = {}
    for point in points:
        if point.get(key):
            cost = 1000 * point[key] / (point["at"] if each else 1)
            lines.setdefault(point["name"], []).append((point["at"], cost))
    return lines


def _figure(panels: Sequence[Panel]) -> str:
    width = _WIDTH * len(panels)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_HEIGHT}" width="{width}" height="{_HEIGHT}">']
    parts += [f"<style>{_STYLE}</style>", f'<rect width="{width}" height="{_HEIGHT}" fill="#fff"/>']
    for number, panel in enumerate(panels):
        parts += [f'<g transform="translate({number * _WIDTH} 0)">', *_drawn(panel), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _drawn(panel: Panel) -> Iterable[str]:
    across = _Axis([x for line in panel.lines.values() for x, _ in line], _LEFT, _WIDTH - _RIGHT)
    up = _Axis([y for line in panel.lines.values() for _, y in line], _HEIGHT - _BOTTOM, _TOP)
    yield f'<text class="t" x="{_LEFT}" y="20">{escape(panel.title)}</text>'
    for mark in across.marks:
        at = across.place(mark)
        yield f'<path class="g" d="M{at:.1f} {_TOP}V{_HEIGHT - _BOTTOM}"/>'
        yield f'<text x="{at:.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{_number(mark)}</text>'
    for mark in up.marks:
        at = up.place(mark)
        yield f'<path class="g" d="M{_LEFT} {at:.1f}H{_WIDTH - _RIGHT}"/>'
        yield f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{_number(mark)}</text>'
    yield f'<path class="a" d="M{_LEFT} {_TOP}V{_HEIGHT - _BOTTOM}H{_WIDTH - _RIGHT}"/>'
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    yield f'<text x="{middle:.1f}" y="{_HEIGHT - _BOTTOM + 36}" text-anchor="middle">{escape(panel.across)}</text>'
    for number, (name, line) in enumerate(panel.lines.items()):
        colour = _COLOURS.get(name, "#444")
        places = [(across.place(x), up.place(y)) for x, y in line]
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        yield f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2"/>'
        yield from (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places)
        left = _LEFT + number * 115
        yield f'<rect x="{left}" y="{_HEIGHT - 22}" width="12" height="4" fill="{colour}"/>'
        yield f'<text x="{left + 18}" y="{_HEIGHT - 15}">{escape(name)}</text>'


class _Axis:
    """A logarithmic axis that ends at powers of ten."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self._low = math.floor(math.log10(min(values, default=1)))
        self._high = max(self._low + 1, math.ceil(math.log10(max(values, default=10))))
        self._start, self._end = start, end
        self.marks = [10.0**power for power in range(self._low, self._high + 1)]

    def place(self, value: float) -> float:
        """Return where a value is drawn."""
        part = (math.log10(value) - self._low) / (self._high - self._low)
        return self._start + part * (self._end - self._start)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"
