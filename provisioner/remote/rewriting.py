"""Rewrite a URL just before it is requested: to a mirror of the user's (``URL_REWRITE``), and with the user's credentials.

Everywhere else, URLs have no user and password, so that these do not get into any file or message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from provisioner.errors import RemoteRefusedError
from provisioner.redaction import show_url, user_of, with_user, without_user
from provisioner.remote.urls import origin_of

if TYPE_CHECKING:
    from collections.abc import Sequence


class Rewriting:
    """A function from URLs to URLs, made from the user's settings."""

    def __init__(self, rules: Sequence[tuple[str, str]], logins: Sequence[str] = ()) -> None:
        """Remember the rules.

        Args:
            rules: prefixes and their replacements, the longest prefix first; replacements may hold a user and password.
            logins: further URLs with user and password, which apply to their whole origin.
        """
        self._rules = [(without_user(prefix), replacement) for prefix, replacement in rules]
        self._users: dict[tuple[str, str, int | None], str] = {}
        for url in (*logins, *(replacement for _, replacement in rules)):
            if user := user_of(url):
                self._users.setdefault(origin_of(url), user)

    def __call__(self, url: str) -> str:
        """Return the URL to request in place of another.

        Raises:
            RemoteRefusedError: a rule would lead out of the directory that it names.
        """
        plain = without_user(url)
        for prefix, replacement in self._rules:
            rest = plain[len(prefix) :]
            if plain.startswith(prefix) and (_ends_host(prefix) or rest[:1] in {"", "/", "?", "#"}):
                url = _checked(replacement, rest)
                break
        if self._users and user_of(url) is None and (user := self._users.get(origin_of(url))):
            return with_user(url, user)
        return url


def _ends_host(prefix: str) -> bool:
    """Return whether a prefix extends beyond the host; otherwise, what follows may belong to the name of another host."""
    return "/" in prefix.partition("://")[2]


def _checked(replacement: str, rest: str) -> str:
    if replacement.startswith("file:") and ".." in unquote(rest).replace("\\", "/").split("/"):
        raise RemoteRefusedError(
            f"{show_url(replacement)}: URL_REWRITE would lead out of it, to {rest!a}; not read",
            hint="Name the file without '..' in its URL.",
        )
    return replacement + rest
