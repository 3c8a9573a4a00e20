"""References: one line that names a repository or a file, in place of a catalog entry. Parsing makes no request.

``hf://datasets/OWNER/NAME[@REVISION][/GLOB]``, ``hf://OWNER/NAME…`` and ``hf://buckets/OWNER/NAME[/GLOB]`` have the syntax of
the Hub client's file system; a Hub's web addresses mean the same. ``:PART`` in place of a repository's glob is a part that
its card describes. ``https:`` and ``file:`` name one file. Options follow after ``#``, in the form of a query.
"""

from __future__ import annotations

import re
from typing import Final

from provisioner.catalog import urls
from provisioner.catalog.document import nearest, quoted
from provisioner.catalog.file_references import parse_file
from provisioner.catalog.hub_references import parse_hub, parse_page, path_on_hub
from provisioner.catalog.hub_source import PUBLIC_HUBS
from provisioner.catalog.keys import URL_SCHEMES
from provisioner.catalog.reference_hints import OTHER_SCHEMES, with_slashes
from provisioner.catalog.written_reference import FILE_OPTIONS, HUB_OPTIONS, Reference, WrittenReference, options_of
from provisioner.redaction import redact_urls

MAX_LENGTH: Final = 8192
"""Characters of a reference; a signed URL has two thousand."""

_QUERY: Final = re.compile(r"\?[^#]*")
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/|(hf|https?|file):(?=.*[/\\])", re.IGNORECASE)
"""Matches what is meant as a reference, even without ``//``, but not an id with a split."""
_OPEN_HOST: Final = re.compile(r"(?:hf|https?)://[\w.-]*\.[\w.-]+(?::\d+)?/|hf://", re.IGNORECASE)
"""Matches the beginning of an address without a user before its host; an ``@`` after that is part of the path."""
_SCHEMES: Final = ("hf", *URL_SCHEMES)


def is_reference(text: str) -> bool:
    """Return whether a text is meant as a reference and not as an id; it may be malformed."""
    return _SCHEME.match(text) is not None


def parse_reference(text: str, endpoint: str = PUBLIC_HUBS[0]) -> Reference:
    """Return the reference in a text.

    Args:
        text: the text as the user wrote it.
        endpoint: the Hub's address (``HF_ENDPOINT``), whose web addresses are understood, besides those of the public Hub.

    Raises:
        ConfigurationError: it is malformed; neither message nor hint repeats a secret.
    """
    # What follows a '?' in a URL may be a secret; in a repository it belongs to a glob.
    shown = _QUERY.sub("", text) if text.lower().startswith(("http:", "https:")) else text
    in_quotes = quoted if _OPEN_HOST.match(shown) else urls.quoted_url
    part = WrittenReference(text, in_quotes(redact_urls(shown)), 0, "")
    scheme = _SCHEME.match(text)
    if scheme is None:
        part.fail("is not a reference", f"Begin with one of: {', '.join(f'{name}://' for name in _SCHEMES)}.")
    if strange := next((character for character in text if not character.isprintable()), None):
        part.fail(f"it has the character U+{ord(strange):04X}, which cannot be printed", "Remove it; in a URL write it as %0A.")
    if len(text) > MAX_LENGTH:
        part.fail(f"it has {len(text)} characters", f"Write at most {MAX_LENGTH}.")
    name = (scheme[1] or scheme[2]).lower()
    if name not in _SCHEMES:
        near = OTHER_SCHEMES.get(name) or nearest(name, _SCHEMES)
        part.fail(f"the scheme {quoted(name)} is not one of {', '.join(_SCHEMES)}", near)
    body, _, fragment = text[len(name) :].partition("#")
    if not body.startswith("://"):
        part.fail(f"{name}: is not followed by //", with_slashes(name))
    if name == "hf":
        return parse_hub(part, body[3:], options_of(part, fragment, HUB_OPTIONS))
    if (path := path_on_hub(name + body, endpoint)) is not None:
        # An address copied from a browser may also contain the position in the page.
        return parse_page(part, path, options_of(part, fragment if "=" in fragment else "", HUB_OPTIONS))
    return parse_file(part, name + body, options_of(part, fragment, FILE_OPTIONS))
