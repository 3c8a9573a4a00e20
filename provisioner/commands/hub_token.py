"""Get the token for commands without a volume: from the settings, standard input, a pipe, or a hidden prompt."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Final

from provisioner.errors import AccessDeniedError, ConfigurationError
from provisioner.settings import parsers
from provisioner.settings.written import unwrapped

if TYPE_CHECKING:
    from provisioner.settings.secret import Secret
    from provisioner.settings.settings import Settings

_LOGGER = logging.getLogger(__name__)

_LONGEST_LINE: Final = 10_000
WAYS_TO_GIVE: Final = "Set HF_TOKEN or HF_TOKEN_FILE, log in with 'hf auth login', or pipe the token in with --token-stdin."


def find_token(settings: Settings, *, from_stdin: bool) -> Secret:
    """Return the token in the settings, or else the first line of a pipe, or else the answer to a hidden prompt.

    Args:
        settings: the settings.
        from_stdin: read standard input even if the settings have a token.

    Raises:
        AccessDeniedError: there is no token.
        ConfigurationError: the given text cannot be a token.
    """
    if settings.hf_token is not None and not from_stdin:
        return settings.hf_token
    stdin = sys.stdin
    if stdin is None or stdin.closed:
        text = ""
    elif stdin.isatty():
        text = ask_hidden(f"Token of the Hub, from {settings.hf_endpoint}/settings/tokens (it is not shown): ")
    else:
        _LOGGER.info("Reading the token from standard input")
        try:
            text = unwrapped(stdin.readline(_LONGEST_LINE))
        except ValueError:
            # The input is not repeated in the message, because it was meant to be a secret.
            raise ConfigurationError("standard input: not text, so no token", hint=WAYS_TO_GIVE) from None
    if not text:
        raise AccessDeniedError(
            "there is no token; the Hub was not asked",
            hint=f"Make one at {settings.hf_endpoint}/settings/tokens. {WAYS_TO_GIVE}",
        )
    return checked_token(text, "the token")


def ask_hidden(prompt: str) -> str:
    """Return what is typed on the terminal, without showing it; end of input counts as an empty answer."""
    from getpass import getpass  # noqa: PLC0415 - only for those who are asked

    try:
        return unwrapped(getpass(prompt, stream=sys.stderr))
    except EOFError:
        return ""


def checked_token(text: str, what: str) -> Secret:
    """Return a text as a token.

    Args:
        text: the token.
        what: the name of the text in the error's message.

    Raises:
        ConfigurationError: it cannot be a token; the message does not show it.
    """
    try:
        return parsers.token(text)
    except parsers.BadTextError as bad:
        raise ConfigurationError(f"{what}: {bad.problem}", hint=bad.hint) from None
