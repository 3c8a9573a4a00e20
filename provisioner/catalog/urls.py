"""Checks of URLs, of files to fetch and of pages for people, so that those repeated in logs and documents have no secrets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from provisioner.catalog.document import nearest, quoted
from provisioner.catalog.file_names import MAX_NAME
from provisioner.catalog.keys import PAGE, URL, URL_SCHEMES

if TYPE_CHECKING:
    from provisioner.catalog.document import Value

_CREDENTIALS: Final = frozenset(
    {"access_token", "api_key", "apikey", "auth", "password", "secret", "sig", "signature", "token"}
    | {"x-amz-credential", "x-amz-security-token", "x-amz-signature", "x-goog-credential", "x-goog-signature"}
)
"""Names of query parameters that carry a secret, in lower case."""
_AUTHORITY: Final = re.compile(r"(?:[^@]*@)*(?:\[[^\]]*\]|[^\[\]]*)(?::\d*)?")
"""User, host and port; more than one user is refused elsewhere."""
_NO_SECRETS: Final = "A catalog is no place for secrets: serve the file without them."


def page_url(value: Value) -> str:
    """Return the URL of a page for people."""
    text = value.text()
    _check_no_credentials(value, _split_url(value, text))
    if not re.fullmatch(PAGE, text):
        value.fail(f"{quoted(text)} is not the address of a page", "Write it in full, such as https://example.org/page.")
    return text


def file_url(value: Value, *, is_named: bool = False, may_be_signed: bool = False) -> str:
    """Return the URL of a file whose name is usable, unless the catalog gives it another name (``is_named``).

    It may hold a user and password, for a server of the user's own; they are sent only to that server, and never repeated.
    With ``may_be_signed``, so may its query; the caller then makes sure that the query is not recorded.
    """
    text = value.text()
    scheme, colon, _ = text.partition(":")
    if not colon:
        value.fail(f"{quoted_url(text)} is not a URL", f"Begin with one of: {', '.join(URL_SCHEMES)}.")
    if scheme not in URL_SCHEMES:
        known = ", ".join(URL_SCHEMES)
        value.fail(f"the scheme {quoted(scheme)} is not one of {known}", nearest(scheme, URL_SCHEMES))
    if any(not "!" <= character <= "~" or character == "\\" for character in text):
        value.fail("the URL has a space, a backslash or a character that is not ASCII", "Write it percent-encoded, such as %20.")
    parts = _split_url(value, text)
    if not may_be_signed:
        _check_no_signature(value, parts)
    if "#" in text:
        value.fail("the URL has a '#' part, which is never sent", "Remove it, or write %23 where it belongs to the name.")
    if scheme == "file" and (parts.netloc or parts.query):
        value.fail("a file URL has neither a host nor a '?' part", "Write file:///path/to/file.")
    if scheme != "file" and not parts.hostname:
        value.fail(f"{quoted_url(text)} names no host", f"Write {scheme}://host/path.")
    if not is_named:
        _check_file_name(value, unquote(parts.path))
    if not re.fullmatch(URL, text):
        value.fail(f"{quoted_url(text)} is not the URL of a file", "Write it in full, such as https://example.org/data.zip.")
    return text


def _split_url(value: Value, text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        is_right = parts.port != 0 and _AUTHORITY.fullmatch(parts.netloc) is not None
    except ValueError:
        is_right = False
    if not is_right:
        value.fail(f"{quoted_url(text)} is not a URL", "Look at the host and the port.")
    if re.search(r"%(?![0-9A-Fa-f]{2})", parts.path):
        value.fail("a '%' of the URL is not followed by two digits", "Write %25 for the character itself.")
    return parts


def _check_no_credentials(value: Value, parts: SplitResult) -> None:
    """Refuse a URL with a user, a password or a parameter that carries a secret."""
    if "@" in parts.netloc:
        value.fail("the URL carries credentials: a user or password before the '@'", _NO_SECRETS)
    _check_no_signature(value, parts)


def _check_no_signature(value: Value, parts: SplitResult) -> None:
    """Refuse a URL with a parameter that carries a secret, since such a URL is repeated in messages and records."""
    for name, _ in parse_qsl(parts.query, keep_blank_values=True):
        if name.lower() in _CREDENTIALS:
            value.fail(f"the URL carries credentials: the parameter {name!r}", _NO_SECRETS)


def quoted_url(text: str) -> str:
    """Return an invalid URL for a message, without anything that may be a password."""
    return quoted(re.sub(r"//.*@", "//…@", text))


def _check_file_name(value: Value, path: str) -> None:
    """Refuse a path whose last component cannot be the name of a file in the data set."""
    parts = path.split("/")
    name = parts[-1]
    if not name:
        value.fail(
            "the URL names a directory, not a file",
            "Name one file: directories cannot be listed. If it is a file all the same, give it a 'name'.",
        )
    if "\\" in name or not name.isprintable() or "\ufffd" in name:
        value.fail(f"the file's name has an unsafe character: {quoted(name)}", "Rename the file, or give it a 'name'.")
    if "." in parts or ".." in parts:
        value.fail("the URL's path has a '.' or '..' part", "Write the path that it stands for.")
    if len(name.encode()) > MAX_NAME:
        value.fail(f"the file's name has more than {MAX_NAME} bytes: {quoted(name)}", "Rename the file, or give it a 'name'.")
