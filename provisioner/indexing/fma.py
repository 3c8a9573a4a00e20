"""FMA: ``tracks.csv`` has three lines of headings; ``raw_tracks.csv`` has the URL of each track's licence."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from provisioner.indexing.model import INTEGER, TEXT, TEXTS, Column, Problem, Reader, ReaderError, Row, label
from provisioner.indexing.tables import csv_records, csv_rows

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from provisioner.indexing.model import Found

_TABLES: Final = "fma_metadata"
_TRACKS: Final = f"{_TABLES}/tracks.csv"
_SUBSETS: Final = {
    "fma_small": ("small",),
    "fma_medium": ("small", "medium"),
    "fma_large": ("small", "medium", "large"),
    "fma_full": ("small", "medium", "large"),
}
_COLUMNS: Final = {
    ("track", "title"): "title",
    ("artist", "name"): "artist",
    ("artist", "id"): "artist_id",
    ("album", "title"): "album",
    ("album", "id"): "album_id",
    ("track", "genre_top"): "genre",
    ("track", "license"): "license_title",
    ("track", "duration"): "track_duration",
    ("track", "listens"): "listens",
    ("track", "language_code"): "language",
    ("track", "date_created"): "date_created",
    ("set", "subset"): "subset",
}
"""Headings in the first two lines, with the columns that they become."""
_INTEGERS: Final = ("artist_id", "album_id", "listens", "track_duration")
_GENRES: Final = ("track", "genres")
_SPLIT: Final = ("set", "split")
_URL: Final = re.compile(
    r"https?://(?:www\.)?creativecommons\.org/(?:licenses/by((?:-(?:nc|nd|sa))*)|publicdomain/(zero|mark))"
    r"(?:/[0-9.]+(?:/(?!\.)[a-z.]+)?)?/?(?:(?:deed|legalcode)(?:\.[a-z_-]+)?)?",
    re.IGNORECASE | re.ASCII,
)
"""Matches a whole licence URL: only version, jurisdiction and page may vary."""
_TITLE: Final = re.compile(
    r"(?:creative commons )?(?:cc )?attribution((?: (?:non ?commercial|no ?deriv(?:ative)?s?(?: works)?|share ?alike))*)"
    r"(?: aka music sharing)?(?: [0-9](?: [0-9])?)?"
    r"(?: (?:international|unported|generic|argentina|australia|austria|belgium|brazil|bulgaria|canada|chile|china mainland"
    r"|colombia|costa rica|croatia|czech republic|denmark|ecuador|estonia|finland|france|germany|greece|guatemala|hong kong"
    r"|hungary|india|ireland|israel|italy|japan|korea|luxembourg|macedonia|malaysia|malta|mexico|netherlands|new zealand"
    r"|norway|peru|philippines|poland|portugal|puerto rico|romania|serbia|singapore|slovenia|south africa|south korea|spain"
    r"|sweden|switzerland|taiwan|thailand|uk england wales|uk scotland|united states|us|vietnam))?"
)
"""Matches a title in lower case with words separated by single blanks; the version is followed by the jurisdiction."""
_HINTS: Final = {
    "NC": re.compile(r"commercial|\bnc\b", re.IGNORECASE),
    "ND": re.compile(r"deriv|\bnd\b", re.IGNORECASE),
    "SA": re.compile(r"share.?alike|\bsa\b", re.IGNORECASE),
}
"""Patterns of terms in a title that is not one of the known ones."""
_PUBLIC_TITLE: Final = re.compile(r"(?:(cc0)|public domain (mark))(?: 1 0)?(?: universal)?(?: public domain dedication)?")
_WORDS: Final = {"NC": "noncommercial", "ND": "noderiv", "SA": "sharealike"}
"""Terms of a licence in their usual order, with their names in titles, without blanks and marks."""
_PUBLIC: Final = {"zero": "CC0", "mark": "PDM"}


def _tops(tree: Path) -> list[str]:
    """Return the directories with audio."""
    return [top for top in _SUBSETS if (tree / top).is_dir()]


def _recognizes(tree: Path) -> bool:
    return (tree / _TRACKS).is_file() and bool(_tops(tree))


def _read(tree: Path) -> Iterator[Found]:
    return _rows(tree, _tops(tree))


def _read_tables(tree: Path, files: Collection[str]) -> Iterator[Found]:
    tops = {path.partition("/")[0] for path in files}
    return _rows(tree, [top for top in _SUBSETS if top in tops])


def _rows(tree: Path, tops: Iterable[str]) -> Iterator[Found]:
    genres = _genres(tree)
    known = _raw_facts(tree)
    for top in tops:
        for one in _tracks(tree, genres):
            if isinstance(one, Problem):
                yield one
                continue
            track, split, values = one
            if values["subset"] in _SUBSETS[top]:
                url, page = known.get(track, (None, None))
                values |= {"license": license_id(url, values["license_title"]), "license_url": url, "track_url": page}
                yield Row(split, f"{top}/{track // 1000:03}/{track:06}.mp3", values)


def _tracks(tree: Path, genres: Mapping[int, str]) -> Iterator[tuple[int, str, dict[str, Any]] | Problem]:
    """Yield number, split and facts of each track."""
    rows = csv_rows(tree, _TRACKS)
    upper, lower, _ = (next(rows, (0, []))[1] for _ in range(3))
    if len(upper) != len(lower):
        raise ReaderError(f"{_TRACKS} has not the headings of FMA")
    places = {pair: place for place, pair in enumerate(zip(upper, lower, strict=True))}
    if _SPLIT not in places or ("set", "subset") not in places:
        raise ReaderError(f"{_TRACKS} has not the headings of FMA")
    for number, row in rows:
        if len(row) != len(upper) or not row[0].isdecimal():
            yield Problem(f"{_TRACKS}:{number}", f"no track, or not {len(upper)} fields")
            continue
        values: dict[str, Any] = {"id": int(row[0])}
        for pair, column in _COLUMNS.items():
            values[column] = row[places[pair]].strip() or None if pair in places else None
        for column in _INTEGERS:
            values[column] = _integer(values[column])
        numbers = _numbers(row[places[_GENRES]]) if _GENRES in places else None
        values["genres"] = None if numbers is None else [genres.get(each, str(each)) for each in numbers]
        yield values["id"], row[places[_SPLIT]].strip() or "training", values


def _genres(tree: Path) -> dict[int, str]:
    name = f"{_TABLES}/genres.csv"
    if not (tree / name).is_file():
        return {}
    found = {}
    for record in csv_records(tree, name):
        if not isinstance(record, Problem) and (number := _integer(record.get("genre_id"))) is not None:
            found[number] = record.get("title", "")
    return found


def _raw_facts(tree: Path) -> dict[int, tuple[str | None, str | None]]:
    """Return the URLs of each track's licence and page; the few licences are shared objects."""
    name = f"{_TABLES}/raw_tracks.csv"
    if not (tree / name).is_file():
        return {}
    found: dict[int, tuple[str | None, str | None]] = {}
    known: dict[str, str] = {}
    for record in csv_records(tree, name):
        if isinstance(record, Problem):
            continue
        number, url = _integer(record.get("track_id")), record.get("license_url", "").strip()
        if number is not None:
            found[number] = known.setdefault(url, url) or None, record.get("track_url", "").strip() or None
    return found


def license_id(url: str | None, title: str | None) -> str | None:
    """Return a licence without its version (``CC-BY-NC-SA``, ``CC0``, ``PDM``), or ``None`` if it is another one, or unknown.

    The URL decides, or the title if there is no URL. A licence that is not certainly one of these has no name here, so that a
    condition on names leaves it out; the same goes for a track whose URL and title contradict each other.
    """
    by_title = _by_title(title or "")
    if not url:
        return by_title
    by_url = _by_url(url)
    if by_title is not None:
        return by_url if by_url == by_title else None
    # An unknown title is ignored, unless it names terms that the URL lacks.
    named = {term for term, pattern in _HINTS.items() if pattern.search(title or "")}
    return by_url if named <= set((by_url or "").split("-")) else None


def _by_url(url: str) -> str | None:
    match = _URL.fullmatch(url)
    if match is None:
        return None
    return _PUBLIC[match[2].lower()] if match[2] else _named(match[1].upper().split("-"))


def _by_title(title: str) -> str | None:
    words = " ".join(re.findall(r"[^\W_]+", title.lower()))
    if public := _PUBLIC_TITLE.fullmatch(words):
        return "CC0" if public[1] else "PDM"
    match = _TITLE.fullmatch(words)
    if match is None:
        return None
    return _named([term for term, word in _WORDS.items() if word in _joined(match[1])])


def _named(terms: Collection[str]) -> str:
    return "-".join(("CC-BY", *(term for term in _WORDS if term in terms)))


def _joined(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.lower())


def _integer(text: str | None) -> int | None:
    try:
        return int(float(text)) if text else None
    except (ValueError, OverflowError):
        return None


def _numbers(text: str) -> list[int] | None:
    """Return a list such as ``[21, 38]``, or ``None`` if the text is not such a list."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, list) and all(type(each) is int for each in found) else None


READER: Final = Reader(
    "audio",
    (
        Column("id", INTEGER, "number of the track"),
        Column("title", TEXT, "title of the track"),
        Column("artist", TEXT, "name of the artist"),
        Column("artist_id", INTEGER, "number of the artist"),
        Column("album", TEXT, "title of the album"),
        Column("album_id", INTEGER, "number of the album"),
        Column("genre", label(), "the top genre; null where there are several"),
        Column("genres", TEXTS, "all genres of the track"),
        Column("license", TEXT, "CC-BY, CC-BY-SA, CC-BY-NC, CC-BY-ND, CC-BY-NC-SA, CC-BY-NC-ND, CC0 or PDM; null: another one"),
        Column("license_title", TEXT, "the licence, as tracks.csv has it"),
        Column("license_url", TEXT, "the licence, as raw_tracks.csv has it"),
        Column("track_url", TEXT, "the track's page, as raw_tracks.csv has it"),
        Column("track_duration", INTEGER, "seconds of the whole track, of which the file is a part"),
        Column("listens", INTEGER, "how often it was listened to"),
        Column("language", TEXT, "language code"),
        Column("date_created", TEXT, "when it was added to the archive"),
        Column("subset", TEXT, "small, medium or large"),
    ),
    _recognizes,
    _read,
    _read_tables,
)
