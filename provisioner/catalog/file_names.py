"""Names of files behind URLs: the name in the URL's path, whether it really is one, and which names can be used."""

from __future__ import annotations

import posixpath
import re
from typing import Final
from urllib.parse import unquote, urlsplit

from provisioner.catalog.relative_path import path_problem, windows_objection

MAX_NAME: Final = 255
"""Bytes that a file system allows for a name."""

_NO_NAME: Final = re.compile(
    r"(?:content|contents|downloads?|files?|get|raw|exports?|view|open|uc|fetch|data|datafile|attachments?|blobs?|media|objects?"
    r"|original|bitstreams?|streams?|resources?|access|assets?|items?|documents?|records?|serve|retrieve|latest|output|results?"
    r"|archive|[0-9]+|[0-9a-f]{8,}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|)",
    re.IGNORECASE,
)
"""Last components of paths that servers use for any file."""
_PROGRAM: Final = re.compile(r"\.(?:php\d?|phtml|aspx?|ashx|jspx?|cgi|pl|py|do|action|dll)", re.IGNORECASE)
"""Endings of server programs that send files."""


def name_in_url(url: str) -> str:
    """Return the last component of a URL's path."""
    return unquote(urlsplit(url).path).rstrip("/").rsplit("/", 1)[-1]


def is_named_by(url: str) -> bool:
    """Return whether the last component of a URL's path is the file's name, not a word, number or program of the server."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return True
    stem, ending = posixpath.splitext(name_in_url(url))
    if ending:
        return not (parts.query and _PROGRAM.fullmatch(ending)) and not f"{stem}{ending}".replace(".", "").isdigit()
    return not (parts.query or _NO_NAME.fullmatch(stem))


def name_problem(name: str) -> str:
    """Return what is wrong with the name of a file; empty if it can be used on every system.

    Returns:
        The predicate of a sentence about the name, such as ``is no single name``.
    """
    if problem := path_problem(name):
        return problem
    if "/" in name:
        return "is no single name"
    if not name.isprintable() or "\ufffd" in name:
        return "has a character that cannot be printed"
    if len(name.encode()) > MAX_NAME:
        return f"has more than {MAX_NAME} bytes"
    return windows_objection(name)
