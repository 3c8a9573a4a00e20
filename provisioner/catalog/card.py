"""The licence and the title on the card of a repository, from values that anybody may have written.

Nothing is guessed from names: a licence identifier without a certain meaning for commercial use is marked ``verify``.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from provisioner.catalog.keys import PAGE
from provisioner.catalog.license import NOT_STATED
from provisioner.catalog.model import License
from provisioner.catalog.plain_text import plain_line
from provisioner.redaction import redact_urls

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioner.catalog.model import Commercial, EntryFacts

MAX_LINE: Final = 200
"""Characters of a text in a card that are kept."""

_ALLOWED: Final[Mapping[str, str]] = {
    name.lower(): name
    for line in (
        "Apache-2.0 MIT BSD-2-Clause BSD-3-Clause BSD-3-Clause-Clear ISC Zlib Unlicense WTFPL MPL-2.0 BSL-1.0",
        "MS-PL NCSA PostgreSQL",
        "CC0-1.0 CC-BY-2.0 CC-BY-2.5 CC-BY-3.0 CC-BY-4.0 CC-BY-SA-3.0 CC-BY-SA-4.0 PDDL-1.0 ODbL-1.0 ODC-By-1.0",
        "CDLA-Permissive-1.0 CDLA-Permissive-2.0 CDLA-Sharing-1.0 GPL-2.0 GPL-3.0 LGPL-2.1 LGPL-3.0 AGPL-3.0",
        "EPL-1.0 EPL-2.0 EUPL-1.1 EUPL-1.2 ECL-2.0 OSL-3.0 AFL-3.0 Artistic-2.0 OFL-1.1 LPPL-1.3c",
    )
    for name in line.split(" ")
}
"""Licences that allow commercial use, by identifier in lower case; the values are the SPDX identifiers."""
_OTHER_SPELLINGS: Final[Mapping[str, str]] = {"pddl": "PDDL-1.0", "odbl": "ODbL-1.0", "odc-by": "ODC-By-1.0"}
"""Identifiers of the Hub that differ from those of SPDX."""
_FORBIDDEN: Final = re.compile(r"cc-by-nc(?:-sa|-nd)?-[0-9]\.[0-9]")
_UNKNOWN: Final = frozenset({"", "unknown", "none"})
_SPECIAL: Final = re.compile(r"[`<>\[\]\\]")
"""Characters that Markdown and HTML use for links, code and elements."""


def line_of(value: object, limit: int = MAX_LINE) -> str:
    """Return a text from a card as one harmless line of at most ``limit`` characters; empty for a value that is not text."""
    if not isinstance(value, str):
        return ""
    text = plain_line(value[: 20 * limit])
    text = " ".join(_SPECIAL.sub(" ", redact_urls(text)).split())
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def license_of(card: Mapping[str, Any], tags: Sequence[str], *, page: str, attribution: str) -> License:
    """Return the terms that a card states.

    Args:
        card: its front matter.
        tags: the tags of the repository, which may state a licence if the card is not available.
        page: the card's page for users.
        attribution: whom to name.
    """
    stated = card.get("license")
    names = [name for name in (stated if isinstance(stated, list) else [stated]) if isinstance(name, str)]
    if stated is None:
        names = [tag.removeprefix("license:") for tag in tags if tag.startswith("license:")]
    identifiers = [name.strip().lower() for name in names[:10] if name.strip().lower() not in _UNKNOWN]
    if not identifiers:
        return License(
            spdx="NOASSERTION",
            name=NOT_STATED,
            url=page,
            commercial="verify",
            evidence="the repository's card states no licence",
            attribution=attribution,
        )
    marks = {_mark(identifier) for identifier in identifiers}
    known = [_spdx(identifier, card) for identifier in identifiers]
    words = ", ".join(line_of(identifier, 60) for identifier in identifiers)
    own_name = line_of(card.get("license_name")) if identifiers == ["other"] else ""
    listed = f"https://spdx.org/licenses/{known[0]}.html" if _is_listed(identifiers) else page
    return License(
        spdx=" AND ".join(dict.fromkeys(known)),
        name=own_name or words,
        url=_link(card.get("license_link")) or listed,
        commercial=next(iter(marks)) if len(marks) == 1 else "verify" if "verify" in marks else "mixed",
        evidence=f"the repository's card says: license: {words}",
        attribution=attribution,
    )


def stated_license(spdx: str, page: str) -> License:
    """Return the terms if a catalog states only the licence's identifier.

    Args:
        spdx: the SPDX identifier; ``NOASSERTION`` if none is stated.
        page: a page where a user may find the terms.
    """
    identifier = spdx.lower()
    if identifier in {"noassertion", *_UNKNOWN}:
        return License("NOASSERTION", NOT_STATED, page, "verify", "the catalog states no licence", "")
    mark = _mark(identifier)
    url = f"https://spdx.org/licenses/{_spdx(identifier, {})}.html" if _is_listed([identifier]) else page
    return License(spdx, spdx, url, mark, f"the catalog says: {spdx}", "")


def facts_of_peer(facts: EntryFacts, peer: str) -> EntryFacts:
    """Return another volume's facts about a reference, as harmless texts, with our own verdict on the licence.

    Args:
        facts: the facts in its receipt.
        peer: the name of the volume, for the evidence.
    """
    said = facts.license
    ours = stated_license(line_of(said.spdx), "").commercial
    terms = License(
        spdx=line_of(said.spdx) or "NOASSERTION",
        name=line_of(said.name) or NOT_STATED,
        url=_link(said.url),
        commercial=said.commercial if ours == "allowed" or said.commercial == "forbidden" else ours,
        evidence=line_of(f"as the peer {peer} has recorded it, since the source cannot be asked: {said.evidence}"),
        attribution=line_of(said.attribution),
    )
    return replace(
        facts,
        title=line_of(facts.title) or facts.reference,
        homepage=_link(facts.homepage),
        description=line_of(facts.description),
        license=terms,
        notes=tuple(filter(None, map(line_of, facts.notes[:10]))),
        parts=tuple(part for part in facts.parts[:1000] if part == line_of(part)),
    )


def _mark(identifier: str) -> Commercial:
    if identifier in _ALLOWED or identifier in _OTHER_SPELLINGS:
        return "allowed"
    return "forbidden" if _FORBIDDEN.fullmatch(identifier) else "verify"


def _spdx(identifier: str, card: Mapping[str, Any]) -> str:
    """Return the SPDX identifier; ``LicenseRef-…`` for a licence that SPDX does not list."""
    if known := _ALLOWED.get(identifier) or _OTHER_SPELLINGS.get(identifier):
        return known
    if _FORBIDDEN.fullmatch(identifier):
        return identifier.upper()
    own = line_of(card.get("license_name"), 60) if identifier == "other" else ""
    return f"LicenseRef-{re.sub(r'[^A-Za-z0-9.]+', '-', own or identifier[:60]).strip('-') or 'other'}"


def _is_listed(identifiers: Sequence[str]) -> bool:
    return len(identifiers) == 1 and _mark(identifiers[0]) != "verify"


def _link(value: object) -> str:
    """Return the URL of a licence's text; empty if it cannot be shown."""
    link = value if isinstance(value, str) else ""
    return link if len(link) <= MAX_LINE and re.fullmatch(PAGE, link) and not set("<>`\"'?#()[]") & set(link) else ""
