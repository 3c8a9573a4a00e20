"""Whom to name: what tables say of artists and titles is text, whatever characters it has."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import pytest

from provisioner.indexing.credits import credits_of

if TYPE_CHECKING:
    from pathlib import Path


def credit(tree: Path, *, artist: str = "Ann", title: str = "Song", name: str = "fma_small/000/000002.mp3") -> str:
    """Return the line for one track of FMA's tables."""
    tables = tree / "fma_metadata"
    tables.mkdir(exist_ok=True)
    (tree / "fma_small").mkdir(exist_ok=True)
    with (tables / "tracks.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["", "track", "artist", "track", "set", "set"])
        rows.writerow(["", "title", "name", "license", "subset", "split"])
        rows.writerow(["track_id", "", "", "", "", ""])
        rows.writerow(["2", title, artist, "Attribution", "small", "training"])
    (line,) = credits_of(tree, {name})
    return line


@pytest.mark.parametrize(
    ("artist", "shown"),
    [
        ("Ann", "Ann"),
        ("Ann \x1b[31mred\x1b[0m", "Ann �\\[31mred�\\[0m"),
        ("A\x9b1mB", "A�1mB"),
        ("pay\u202eekaf\u202c", "pay�ekaf�"),
        ("a\u2066b\u2069", "a�b�"),
        ("zero\u200bwidth\ufeff", "zero�width�"),
        ("a\u00adb", "a�b"),
        ("\u3164\u2800", "��"),
        ("two\nlines\r\nand\u2028three\x0b", "two lines and three"),
        ("# A [b](c) *d* `e` <f> |", "\\# A \\[b\\](c) \\*d\\* \\`e\\` \\<f\\> \\|"),
        ("&#x202e; &lt;", "\\&\\#x202e; \\&lt;"),
        ("- a", "\\- a"),
        ("+ a - b", "\\+ a - b"),
        ("1. a 2. b", "1\\. a 2. b"),
        ("20) a", "20\\) a"),
        ("~~a~~ ![b] $c$", "\\~\\~a\\~\\~ \\!\\[b\\] \\$c\\$"),
        ("Bjö\u0308rk 東京 é", "Bjö\u0308rk 東京 é"),
        ("", "unknown artist"),
        ("\x00", "�"),
    ],
)
def test_what_an_artist_is_called(tmp_path: Path, artist: str, shown: str) -> None:
    """No name hides anything, turns the line around, or is read as Markdown; letters and accents of all scripts stay."""
    assert credit(tmp_path, artist=artist) == f"- {shown}: Song. Attribution (CC-BY). `fma_small/000/000002.mp3`"
    assert credit(tmp_path, title=artist).startswith(f"- Ann: {shown.replace('artist', 'title')}. ")
