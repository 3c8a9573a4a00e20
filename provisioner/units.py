"""Sizes and durations as text for people."""

from __future__ import annotations

from typing import Final

_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def format_bytes(count: float) -> str:
    """Return a number of bytes with three figures and a decimal unit, such as ``2.75 GB``, ``35.1 MB`` or ``999 B``."""
    exponent = _exponent_of(count)
    return f"{_figures(count / 1000**exponent, whole=exponent == 0)} {_UNITS[exponent]}"


def format_count(count: int, noun: str) -> str:
    """Return a number of things: ``1 file``, ``1,000 files``; the plural of the noun must end in ``s``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def format_pair(count: float, other: float) -> tuple[str, str]:
    """Return two numbers of bytes for comparison: exact ones, if three figures would make different numbers look equal."""
    texts = format_bytes(count), format_bytes(other)
    return (f"{count:,.0f} bytes", f"{other:,.0f}") if texts[0] == texts[1] and count != other else texts


def format_share(done: int, total: int, *, estimate: bool = False) -> str:
    """Return two numbers of bytes in the unit of the second, and their ratio, such as ``1.20 of 2.75 GB (43 %)``.

    Args:
        done: the first number.
        total: the second.
        estimate: whether the second is an estimate, shown as ``about 2.75 GB``.
    """
    exponent = _exponent_of(total)
    decimals = 2 if exponent else 0
    percent = f" ({done * 100 // total} %)" if total else ""
    about = "about " if estimate else ""
    return f"{done / 1000**exponent:.{decimals}f} of {about}{total / 1000**exponent:.{decimals}f} {_UNITS[exponent]}{percent}"


def format_duration(seconds: float) -> str:
    """Return a time in its two largest units, such as ``44 s``, ``4 min 30 s``, ``1 h 05 min`` or ``2 d 3 h``."""
    rounded = max(0, round(seconds))
    minutes, second = divmod(rounded, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days} d {hour} h"
    if hours:
        return f"{hours} h {minute:02} min"
    return f"{minutes} min {second:02} s" if minutes else f"{second} s"


def _exponent_of(count: float) -> int:
    """Return the power of 1000 that leaves one to three figures before the decimal point, after rounding."""
    exponent = 0
    while exponent < len(_UNITS) - 1 and abs(count) / 1000**exponent >= (999.5 if exponent else 1000):
        exponent += 1
    return exponent


def _figures(number: float, *, whole: bool) -> str:
    if whole:
        return f"{number:.0f}"
    # The limits apply to the rounded number: 9.996 is written as 10.0.
    decimals = 2 if abs(number) < 9.995 else 1 if abs(number) < 99.95 else 0  # noqa: PLR2004
    return f"{number:.{decimals}f}"
