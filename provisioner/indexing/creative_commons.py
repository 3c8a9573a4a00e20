"""Licences of Creative Commons, as the tables of a data set name them: by their addresses, or by their titles.

https://creativecommons.org/licenses/list.en has all of them, with the places that they were adapted to.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

_HOSTS: Final = frozenset({"creativecommons.org", "www.creativecommons.org"})
_TERMS: Final = ("NC", "ND", "SA")
_PATH: Final = re.compile(
    r"/(?:licenses/by(?P<terms>(?:-(?:nc|nd|sa)){0,3})|publicdomain/(?P<public>zero|mark))"
    r"(?:/[1-4]\.[0-9](?:/[a-z]{2,3}|/scotland|/igo)?(?:/(?:deed|legalcode|rdf)(?:\.[a-z-]{2,7})?)?)?/?"
)
_PUBLIC: Final = {"zero": "CC0", "mark": "PDM"}
_PLACES: Final = (
    "argentina|armenia|australia|austria|azerbaijan|belgium|brazil|bulgaria|canada|chile|china mainland|colombia|costa rica"
    "|croatia|czech republic|denmark|ecuador|egypt|england (?:and )?wales|estonia|finland|france|georgia|germany|greece|guatemala"
    "|hong kong|hungary|igo|india|ireland|israel|italy|japan|korea|luxembourg|macedonia|malaysia|malta|mexico|netherlands"
    "|new zealand|norway|peru|philippines|poland|portugal|puerto rico|romania|scotland|serbia|singapore|slovenia|south africa"
    "|south korea|spain|sweden|switzerland|taiwan|thailand|uganda|uk england (?:and )?wales|uk scotland|ukraine|united kingdom"
    "|united states|us|usa|venezuela|vietnam|international|unported|generic|universal"
)
_TERM_WORDS: Final = {
    "NC": r"non ?commercial|nc",
    "ND": r"no ?deriv(?:s|ative|atives)?(?: works)?|nd",
    "SA": r"share ?alike|sa",
}
_TITLE: Final = re.compile(
    r"(?:creative commons |cc )?(?:attribution|by)"
    rf"(?P<terms>(?: (?:{'|'.join(_TERM_WORDS.values())}))*)"
    rf"(?: aka music sharing)?(?: licen[cs]e)?(?: v?[1-4]\.[0-9])?(?: (?:{_PLACES}))?(?: licen[cs]e)?"
)
_PUBLIC_TITLES: Final = {
    "CC0": re.compile(r"(?:cc ?0|(?:cc|creative commons) zero)(?: 1\.0)?(?: universal)?(?: public domain dedication)?"),
    "PDM": re.compile(r"(?:creative commons )?public domain mark(?: 1\.0)?(?: universal)?"),
}
_RESERVED: Final = re.compile(r"\b(?:sampling|limited|only|rights reserved|not|no|non)\b")
"""Words of a title that speak of something which no address above allows to be ignored."""


def license_id(url: str | None, title: str | None) -> str | None:
    """Return a licence without its version: ``CC-BY-NC-SA``, ``CC0``, ``PDM``; ``None``: another one, or unknown.

    The URL counts, and the title where there is no URL. What is not certainly one of these has no name here, so that a
    condition on names leaves it out: also where the two contradict each other.
    """
    stated = _of_title(title)
    if not url:
        return stated
    found = _of_url(url)
    return found if found is not None and not _contradicts(title, stated, found) else None


def _of_url(url: str) -> str | None:
    try:
        parts = urlsplit(url if "//" in url else f"//{url}", "https")
        is_theirs = parts.scheme in {"http", "https"} and parts.netloc.lower() in _HOSTS
    except ValueError:
        return None
    match = _PATH.fullmatch(parts.path.lower()) if is_theirs else None
    if match is None:
        return None
    return _PUBLIC[match["public"]] if match["public"] else _named(match["terms"].upper().split("-"))


def _of_title(title: str | None) -> str | None:
    text = _words(title)
    for name, pattern in _PUBLIC_TITLES.items():
        if pattern.fullmatch(text):
            return name
    match = _TITLE.fullmatch(text)
    return _named([term for term in _TERMS if _has(term, match["terms"])]) if match else None


def _contradicts(title: str | None, stated: str | None, found: str) -> bool:
    """Return whether a title says something else than the address does, whether or not it is a title that is known."""
    if stated is not None:
        return stated != found
    text = _words(title)
    terms = found.split("-")
    missing = [term for term in _TERMS if _has(term, text) and term not in terms]
    rest = text
    for term in _TERMS:
        rest = re.sub(rf"\b(?:{_TERM_WORDS[term]})\b", " ", rest)
    return bool(missing) or _RESERVED.search(rest) is not None


def _has(term: str, text: str) -> bool:
    return re.search(rf"\b(?:{_TERM_WORDS[term]})\b", text) is not None


def _named(terms: list[str]) -> str:
    return "-".join(("CC-BY", *(term for term in _TERMS if term in terms)))


def _words(title: str | None) -> str:
    return " ".join(re.sub(r"[^a-z0-9.]+", " ", (title or "").lower()).split())
