"""``repo create``, ``repo list`` and ``repo check``: the user's data-set repositories, without a volume."""

from __future__ import annotations

import logging
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from provisioner.commands.hub_token import WAYS_TO_GIVE, checked_token, find_token
from provisioner.commands.result import CommandResult
from provisioner.engine.clients import Clients
from provisioner.engine.repository_requests import request_for, requests_of
from provisioner.engine.repository_template import TEMPLATES, load_template
from provisioner.engine.supervise import deadline, supervise
from provisioner.errors import UsageError
from provisioner.remote.hub.repository.ensure import ensure_repository
from provisioner.remote.hub.repository.values import environment
from provisioner.reporting.tables import table
from provisioner.settings import parsers
from provisioner.settings.repositories import DEFAULT_TEMPLATE, DeclaredRepository

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from provisioner.commands.request import CommandRequest
    from provisioner.redaction import Redactor
    from provisioner.remote.hub.repository.values import RepositoryRequest
    from provisioner.settings.settings import Settings

_LOGGER = logging.getLogger(__name__)

DESCRIPTION: Final = """\
Create, list or check the user's data-set repositories on the Hub, such as the one for an app's experiment logs. Needs a token
and no volume."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options and arguments."""
    words = "create what is missing; list what exists; check without a change"
    parser.add_argument("action", choices=["create", "list", "check"], metavar="create|list|check", help=words)
    words = "NAME or OWNER/NAME; by default what 'provision' would create"
    parser.add_argument("names", nargs="*", default=[], metavar="NAME", help=words)
    parser.add_argument("--org", metavar="ORG", help="the organization that owns a plain NAME (DATASET_REPO_ORG)")
    visibility = parser.add_mutually_exclusive_group()
    visibility.add_argument("--private", action="store_const", const=True, dest="private", help="make a new repository private")
    visibility.add_argument("--public", action="store_const", const=False, dest="private", help="make a new repository public")
    parser.add_argument(
        "--template", metavar="NAME", help=f"the initial content of a new repository: {', '.join(TEMPLATES)}, or a directory"
    )
    parser.add_argument(
        "--export", action="store_true", help='print assignments for a shell: eval "$(provisioner repo create --export)"'
    )
    parser.add_argument("--token-stdin", action="store_true", help="read the token from standard input")


def run(request: CommandRequest) -> CommandResult:
    """Create, list or check repositories.

    Raises:
        ProvisionerError: nothing could be done; failures of single repositories are in the result.
    """
    settings, options, cancellation = request.settings, request.options, request.cancellation
    if options.export and (options.json or options.action != "create"):
        raise UsageError("--export belongs to 'repo create', without --json", hint="Leave one of them out.")
    if settings.hf_hub_offline:
        raise UsageError(f"'repo {options.action}' asks the Hub, and HF_HUB_OFFLINE is set", hint="Unset HF_HUB_OFFLINE.")
    settings, names = _with_token(settings, options, request.redactor)
    clients = Clients(settings, settings.data_dir.absolute(), cancellation)
    clients.check()
    with deadline(settings.deadline_seconds, cancellation):
        if options.action == "list":
            return supervise(lambda: _list(settings, options, names, clients), cancellation, _no_progress)
        requests = _requests(settings, options, names)
        return supervise(lambda: _each(requests, options, clients), cancellation, _no_progress)


# --- the token -----------------------------------------------------------------------------------------------------------


def _with_token(settings: Settings, options: argparse.Namespace, redactor: Redactor) -> tuple[Settings, list[str]]:
    """Return the settings with the token to use, and the names on the command line without it."""
    tokens = [name for name in options.names if name.startswith(parsers.TOKEN_PREFIX)]
    redactor.add(*tokens)
    names = [name for name in options.names if name not in tokens]
    if len(tokens) > 1:
        raise UsageError("more than one token is on the command line", hint=WAYS_TO_GIVE)
    if tokens and options.token_stdin:
        raise UsageError("there is a token on the command line, and --token-stdin announces another", hint=WAYS_TO_GIVE)
    if tokens:
        _LOGGER.warning(
            "The token is on the command line, where other users of this machine can see it and the shell's history keeps it."
            " Better: %s",
            WAYS_TO_GIVE,
        )
        token = checked_token(tokens[0], "the token on the command line")
    else:
        token = find_token(settings, from_stdin=options.token_stdin)
    redactor.add(token.reveal())
    return replace(settings, hf_token=token), names


# --- what is requested ---------------------------------------------------------------------------------------------------


def _requests(settings: Settings, options: argparse.Namespace, names: Sequence[str]) -> tuple[RepositoryRequest, ...]:
    org = _owner(options.org) if options.org else settings.dataset_repo_org
    if options.template:
        load_template(options.template)  # a wrong one is reported before the Hub is asked
    if not names and not (options.org or options.template or options.private is not None):
        requests = tuple(request for request in requests_of(settings) if request.name)
        if not requests:
            raise UsageError("no repository is named: DATASET_REPO is 'none'", hint="Give a NAME.")
        return tuple(replace(request, asked=True) for request in requests)
    wanted = dict.fromkeys(names or [settings.dataset_repo or ""])
    if "" in wanted:
        raise UsageError("no repository is named", hint="Give a NAME.")
    private = settings.dataset_repo_private if options.private is None else options.private
    template, kind = options.template or DEFAULT_TEMPLATE, settings.dataset_repo_kind
    if options.template and kind == "bucket":
        raise UsageError("a bucket begins empty, so there is no --template", hint="Unset DATASET_REPO_KIND, or leave it out.")
    return tuple(
        request_for(settings, DeclaredRepository(name, org, private, template), called=f"repo {options.action}", kind=kind)
        for name in wanted
    )


def _owner(text: str) -> str:
    try:
        return parsers.owner(text)
    except parsers.BadTextError as bad:
        raise UsageError(f"--org: {bad.problem}", hint=bad.hint) from None


def _each(requests: Sequence[RepositoryRequest], options: argparse.Namespace, clients: Clients) -> CommandResult:
    """Create or check repositories one after the other; a failing one does not stop the others."""
    make = options.action == "create"
    outcomes = [ensure_repository(request, clients.hub, make=make) for request in requests]
    for outcome in outcomes:
        for warning in outcome.warnings:
            _LOGGER.warning("%s", warning)
    failed = [outcome.error for outcome in outcomes if outcome.error is not None]
    for error in failed[1:]:
        _LOGGER.error("%s%s", error.message, f" {error.hint}" if error.hint else "")
    # The app has one repository, the first one.
    values = environment(outcomes[0]) if outcomes[0].state == "ready" else {}
    document = {
        "repositories": [{**outcome.as_record(), "warnings": list(outcome.warnings)} for outcome in outcomes],
        "environment": values,
    }
    if options.export:
        text = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in sorted(values.items()))
    else:
        text = "\n".join(outcome.note for outcome in outcomes if outcome.error is None)
    return CommandResult(document, text, failed[0] if failed else None)


def _list(settings: Settings, options: argparse.Namespace, names: Sequence[str], clients: Clients) -> CommandResult:
    if names or options.template or options.private is not None:
        raise UsageError("'repo list' takes no names, only --org", hint="'repo check NAME' looks at one repository.")
    owner = _owner(options.org) if options.org else settings.dataset_repo_org or str(clients.hub.whoami()["name"])
    found = clients.hub.repositories_of(owner)
    document = {
        "owner": owner,
        "repositories": [
            {
                "repo_id": one.id,
                "url": clients.hub.page_url(one.id),
                "private": one.private,
                "gated": one.gate,
                "updated": one.updated,
            }
            for one in found
        ],
    }
    rows = [["repository", "visibility", "gated", "updated"]]
    rows += [[one.id, "private" if one.private else "public", one.gate, one.updated or "-"] for one in found]
    return CommandResult(document, table(rows) if found else f"{owner} has no data-set repositories that this token may see")


def _no_progress() -> None:
    """Show nothing: a few requests have no progress to show."""
