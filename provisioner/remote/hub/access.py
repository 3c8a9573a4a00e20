"""A Hub and the user who accesses it: address, token, and the pages where the user can act."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from provisioner.errors import AccessDeniedError, ConfigurationError
from provisioner.redaction import redact_line

if TYPE_CHECKING:
    from provisioner.catalog.hub_source import RepoType

_TOKEN: Final = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class HubAccess:
    """A Hub's address and a token for it."""

    endpoint: str
    """For example ``https://hub.example``, without a slash at the end."""
    token: str | None = field(repr=False)
    """``None`` means anonymous access, even if the machine has a login."""

    @property
    def host(self) -> str:
        """The Hub's host and port."""
        return urlsplit(self.endpoint).netloc

    @property
    def tokens_page(self) -> str:
        """The page where a user creates and changes tokens."""
        return f"{self.endpoint}/settings/tokens"

    @property
    def new_token_hint(self) -> str:
        """A hint that says how a user gets a token."""
        return f"Make a token at {self.tokens_page} and set HF_TOKEN to it."

    def page_url(self, repo: str, repo_type: RepoType = "dataset") -> str:
        """Return where a user looks at the repository ``repo``."""
        return f"{self.endpoint}/{'datasets/' if repo_type == 'dataset' else ''}{repo}"

    def checked_token(self) -> str:
        """Return the token.

        Raises:
            AccessDeniedError: there is no token, or it cannot be valid.
        """
        if not self.token:
            raise AccessDeniedError("there is no token", hint=self.new_token_hint)
        # Otherwise, the HTTP library would show a header that it cannot send, including the token.
        if not _TOKEN.fullmatch(self.token):
            raise AccessDeniedError(
                "the token (HF_TOKEN) has spaces, line breaks or other characters that no token has",
                hint=f"Copy it again from {self.tokens_page}.",
            )
        return self.token


def hub_access(endpoint: str, token: str | None) -> HubAccess:
    """Return the access to a Hub.

    Args:
        endpoint: its address.
        token: the user's token; empty or ``None`` means anonymous access.

    Raises:
        ConfigurationError: the endpoint is not an ``http`` or ``https`` address.
    """
    parts = urlsplit(endpoint)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ConfigurationError(
            f"HF_ENDPOINT: {redact_line(endpoint)!r} is not the address of a Hub", hint="Write it like https://hub.example."
        )
    return HubAccess(endpoint.rstrip("/"), token or None)
