"""The questions about the data-set repository for the app's logs: one to be created, or an existing one.

Nothing is created while questions are asked; :func:`create_repository` does that once the user has confirmed the answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioner.commands.questions.terminal import WrongAnswerError, reader_of
from provisioner.engine.repository_requests import request_for
from provisioner.errors import TryAgainError
from provisioner.remote.hub.repository.ensure import ensure_repository
from provisioner.settings import parsers
from provisioner.settings.repositories import DEFAULT_TEMPLATE, DeclaredRepository

if TYPE_CHECKING:
    from provisioner.commands.questions.account import Account
    from provisioner.commands.questions.terminal import Terminal
    from provisioner.remote.hub.repository.values import RepositoryOutcome


@dataclass(frozen=True, slots=True)
class RepositoryAnswer:
    """The variables that name the repository, and what is to be done about it."""

    variables: dict[str, str]
    outcome: RepositoryOutcome | None = None
    """``None`` if no repository is wanted, or if the Hub was not asked."""
    wanted: DeclaredRepository | None = None
    """The repository to create if it does not exist, or ``None`` if none is to be created."""
    place: str = ""
    """Its full name, for the user."""


def ask_repository(terminal: Terminal, account: Account) -> RepositoryAnswer:
    """Ask for a repository to create; without a token, ask for an existing one."""
    if account.token is None:
        return _ask_existing(terminal, account, "Without a token none can be created.")
    settings = account.settings
    name = terminal.ask(
        "Name of the data-set repository for the app's logs ('none': no repository)",
        settings.dataset_repo or "none",
        reader_of(parsers.repository),
    )
    if not name:
        return RepositoryAnswer({"DATASET_REPO": "none"})
    organization = _ask_organization(terminal, account) if "/" not in name else None
    visibility = terminal.ask(
        "Visibility of a new repository, public or private",
        "private" if settings.dataset_repo_private else "public",
        reader_of(parsers.one_of(("public", "private"))),
    )
    is_private = visibility == "private"
    owner = organization or str(account.user.get("name") or "")
    place = name if "/" in name or not owner else f"{owner}/{name}"
    variables = {"DATASET_REPO": place, "DATASET_REPO_PRIVATE": str(is_private).lower()}
    return RepositoryAnswer(variables, None, DeclaredRepository(name, organization, is_private, DEFAULT_TEMPLATE), place)


def create_repository(terminal: Terminal, account: Account, answer: RepositoryAnswer) -> RepositoryAnswer:
    """Create the requested repository; if that fails, ask for an existing one."""
    if answer.wanted is None:
        return answer
    outcome = ensure_repository(request_for(account.settings, answer.wanted), account.hub)
    for warning in outcome.warnings:
        terminal.say(f"{warning}.")
    if outcome.error is not None:
        return _ask_existing(terminal, account, f"{outcome.error.message}. {outcome.error.hint}")
    terminal.say(f"{outcome.note}.")
    return RepositoryAnswer({**answer.variables, "DATASET_REPO": outcome.repo_id or answer.place}, outcome)


def _ask_organization(terminal: Terminal, account: Account) -> str | None:
    own = str(account.user.get("name") or "yourself")
    organizations = account.organizations
    owners = [own, *organizations]

    def read(text: str) -> str | None:
        if text.casefold() == own.casefold():
            return None
        if account.user and text.casefold() not in {one.casefold() for one in organizations}:
            raise WrongAnswerError(f"the token's user is no member of {text!r}: {', '.join(owners)}")
        return reader_of(parsers.owner)(text)

    default = account.settings.dataset_repo_org
    question = f"Owner: {' or '.join(filter(None, [', '.join(owners[:-1]), owners[-1]]))}"
    return terminal.ask(question, default if default in organizations else own, read)


def _ask_existing(terminal: Terminal, account: Account, reason: str) -> RepositoryAnswer:
    """Ask for an existing repository, or none."""
    terminal.say(reason)
    terminal.say("You can create one by hand and name it here.")
    outcome: RepositoryOutcome | None = None

    def read(text: str) -> str:
        nonlocal outcome
        name = reader_of(parsers.repository)(text)
        if name and "/" not in name:
            raise WrongAnswerError("write OWNER/NAME, as in the address of its page")
        if not name or account.token is None:
            return name
        outcome = ensure_repository(request_for(account.settings, DeclaredRepository(name)), account.hub, make=False)
        if isinstance(outcome.error, TryAgainError):
            terminal.say(f"{outcome.error.message}. The name is used as it is.")
        elif outcome.error is not None:
            raise WrongAnswerError(f"{outcome.error.message}. {outcome.error.hint}")
        return name

    name = terminal.ask("Data-set repository that exists, OWNER/NAME ('none': no repository)", "none", read)
    return RepositoryAnswer({"DATASET_REPO": name or "none"}, outcome if name else None)
