"""The question about the token and its user."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from provisioner.commands.hub_token import ask_hidden, checked_token
from provisioner.engine.clients import Clients
from provisioner.errors import ConfigurationError, ProvisionerError, TryAgainError
from provisioner.remote.retry import RetryPolicy
from provisioner.volume.store.environment_file import environment_lines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.cancellation import Cancellation
    from provisioner.commands.questions.terminal import Terminal
    from provisioner.remote.hub.client import HubClient
    from provisioner.settings.secret import Secret
    from provisioner.settings.settings import Settings

_RETRIES: Final = RetryPolicy(attempts=3, base_seconds=0.5, cap_seconds=2.0, total_seconds=20.0)
"""Few attempts, since a user is waiting and can be asked again."""


@dataclass(frozen=True, slots=True)
class Account:
    """A token, or none, and what the Hub says about its user."""

    settings: Settings
    """The settings, with the token."""
    hub: HubClient
    user: Mapping[str, Any]
    """The Hub's answer; empty if there is no token, or if the Hub could not be asked."""

    @property
    def token(self) -> Secret | None:
        """The token."""
        return self.settings.hf_token

    @property
    def organizations(self) -> list[str]:
        """The organizations that the user belongs to."""
        found = self.user.get("orgs")
        return [str(org["name"]) for org in found if isinstance(org, dict) and "name" in org] if isinstance(found, list) else []


def ask_account(terminal: Terminal, settings: Settings, cancellation: Cancellation) -> Account:
    """Ask for a token until a valid one is given, or none is wanted."""
    page = f"{settings.hf_endpoint}/settings/tokens"
    has_default = settings.hf_token is not None
    default = f"Enter: the one of {settings.origins.get('HF_TOKEN', '')}" if has_default else "Enter: none"
    prompt = f"Token of the Hub, of the type Write, from {page} (it is not shown) [{default}]: "
    while True:
        text = ask_hidden(prompt)
        if not text and not has_default:
            return _account(replace(settings, hf_token=None), {}, cancellation)
        try:
            if text:
                settings = replace(settings, hf_token=_checked(text, terminal))
            user = _account(settings, {}, cancellation).hub.whoami()
        except ConfigurationError as error:
            terminal.say(f"{error.message}. {error.hint}")
        except TryAgainError as error:
            terminal.say(f"The Hub cannot be asked now: {error.message}. The token is used as it is.")
            return _account(settings, {}, cancellation)
        except ProvisionerError as error:
            terminal.say(f"{error.message}. {error.hint}")
            has_default = False
            prompt = f"Token of the Hub, from {page} (it is not shown) [Enter: none]: "
        else:
            account = _account(settings, user, cancellation)
            orgs = ", ".join(account.organizations)
            terminal.say(f"The token belongs to {user['name']}" + (f"; organizations: {orgs}." if orgs else "."))
            return account


def _account(settings: Settings, user: Mapping[str, Any], cancellation: Cancellation) -> Account:
    return Account(settings, Clients(settings, settings.data_dir.absolute(), cancellation, _RETRIES).hub, user)


def _checked(text: str, terminal: Terminal) -> Secret:
    secret = checked_token(text, "the token")
    terminal.redactor.add(text)
    try:
        environment_lines({"HF_TOKEN": text})
    except ConfigurationError:
        raise ConfigurationError(
            "the token has characters that no token has", hint="Copy it again: one word, no quotes."
        ) from None
    return secret
