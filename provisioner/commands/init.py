"""The command ``init``: asks on a terminal for what a first run needs, and writes it to ``.env`` for Compose.

The conversation is on standard error and on the terminal; standard output gets what was done. Every answer is looked at
when it is given, and a wrong one is asked for again with the reason. Nothing is written before the last question.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from provisioner._version import __version__
from provisioner.commands.repo import ask_hidden, checked_token
from provisioner.commands.result import CommandResult
from provisioner.engine.clients import Clients
from provisioner.engine.repositories import request_for
from provisioner.engine.request import make_rules
from provisioner.errors import ConfigurationError, ProvisionerError, TryAgainError, UsageError
from provisioner.planning.model import Request
from provisioner.planning.plan import make_plan
from provisioner.remote.hub.repository import ensure_repository
from provisioner.remote.retry import RetryPolicy
from provisioner.reporting.tables import size_text, table
from provisioner.reporting.units import format_bytes
from provisioner.settings import parsers
from provisioner.settings.repositories import DEFAULT_TEMPLATE, DeclaredRepository
from provisioner.volume.store.environment_file import environment_lines
from provisioner.volume.store.layout import VolumeLayout
from provisioner.volume.store.store import Store

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

    from provisioner.cancellation import Cancellation
    from provisioner.catalog.model import Catalog
    from provisioner.commands.request import CommandRequest
    from provisioner.planning.model import Plan
    from provisioner.redaction import Redactor
    from provisioner.remote.hub.repository import RepositoryOutcome
    from provisioner.settings.model import Settings

DESCRIPTION: Final = """\
Ask on a terminal for what a first run needs (token, repository, phase, licences), create the repository, and write the answers
to .env for Compose. Nothing is written before the last question."""

T = TypeVar("T")

_LOGGER = logging.getLogger(__name__)

PATIENCE: Final = RetryPolicy(attempts=3, base_seconds=0.5, cap_seconds=2.0, total_seconds=20.0)
"""Somebody waits in front of a screen, and can be asked."""
_OURS: Final = (
    "HF_TOKEN",
    "DATASET_REPO",
    "DATASET_REPO_ORG",
    "DATASET_REPO_PRIVATE",
    "PHASE",
    "LICENSE_POLICY",
    "ACCEPT_LICENSES",
)
"""What is written; other lines of a file that exists stay."""


_KEPT: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "HF_TOKEN": ("hf_token", parsers.token),
    "DATASET_REPO": ("dataset_repo", parsers.repository),
    "DATASET_REPO_PRIVATE": ("dataset_repo_private", parsers.boolean),
    "PHASE": ("phase", parsers.plain_text),
    "ACCEPT_LICENSES": ("accept_licenses", parsers.names),
}
"""What an earlier conversation wrote, and how it is read."""


class _WrongAnswerError(Exception):
    """An answer that is asked for again; the text says why."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's options."""
    parser.add_argument("--env-file", metavar="FILE", default=".env", help="the file to write (default: .env)")


def run(request: CommandRequest) -> CommandResult:
    """Ask, create the repository, write the file.

    Raises:
        UsageError: there is no terminal to ask on.
        ConfigurationError: the file cannot be written.
    """
    catalog, file = request.catalog(), Path(request.options.env_file)
    if sys.stdin is None or not sys.stdin.isatty() or not sys.stderr.isatty():
        raise UsageError(
            "'init' asks questions, and there is no terminal to ask on; nothing was written",
            hint="Set HF_TOKEN (or HF_TOKEN_FILE), DATASET_REPO, DATASET_REPO_ORG, DATASET_REPO_PRIVATE, PHASE and"
            f" ACCEPT_LICENSES in the environment or in {file}; 'repo create' makes the repository.",
        )
    return _Conversation(request.settings, catalog, file, request.redactor, request.cancellation).hold()


class _Conversation:
    """The questions, in their order."""

    def __init__(self, settings: Settings, catalog: Catalog, file: Path, redactor: Redactor, cancellation: Cancellation) -> None:
        self._settings = settings
        self._catalog = catalog
        self._file = file
        self._redactor = redactor
        self._cancellation = cancellation
        self._edges = self._new_edges(settings)
        self._values: dict[str, str] = {}

    def hold(self) -> CommandResult:
        """Hold it."""
        existing = _read(self._file)
        self._say("Enter keeps what is in [brackets]. Ctrl-C leaves; nothing is written before the end.")
        if existing is not None:
            self._say(f"{self._file} is there already: what is answered here is replaced in it, other lines stay.")
            self._take_over(existing)
        user = self._ask_token()
        outcome = self._ask_repository(user) if user is not None else self._ask_by_hand("Without a token none can be made.")
        self._ask_phase()
        write_private(self._file, merged(existing or "", self._values))
        return self._answer(outcome)

    def _take_over(self, text: str) -> None:
        """Let what an earlier conversation wrote be the answers that Enter keeps; what cannot be read is no answer."""
        lines = (line.partition("=") for line in text.splitlines())
        old = {key.strip(): value.strip() for key, _, value in lines if key.strip() in _OURS and value.strip()}
        changes: dict[str, Any] = {}
        for key, (attribute, parse) in _KEPT.items():
            if key in old:
                with contextlib.suppress(parsers.BadTextError):
                    changes[attribute] = parse(old[key])
        if "dataset_repo" in changes:
            changes["dataset_repo"] = changes["dataset_repo"] or None
        if self._settings.hf_token is not None:
            changes.pop("hf_token", None)  # the one of the environment is newer
        elif "hf_token" in changes:
            self._redactor.add(old["HF_TOKEN"])
            changes["origins"] = {**self._settings.origins, "HF_TOKEN": str(self._file)}
        self._settings = replace(self._settings, **changes)
        self._edges = self._new_edges(self._settings)

    # --- the token and the repository ---

    def _ask_token(self) -> Mapping[str, Any] | None:
        """Ask until a token is valid, or none is wanted; give who it belongs to (nothing known: an empty mapping)."""
        page = f"{self._settings.hf_endpoint}/settings/tokens"
        known = self._settings.hf_token is not None
        origin = self._settings.origins.get("HF_TOKEN", "")
        keeps = f"Enter: the one of {origin}" if known else "Enter: none"
        prompt = f"Token of the Hub, of the type Write, from {page} (it is not shown) [{keeps}]: "
        while True:
            text = ask_hidden(prompt)
            if not text and not known:
                return None
            try:
                if text:
                    self._use_token(text)
                user = self._edges.hub.whoami()
            except ConfigurationError as error:
                self._say(f"{error.message}. {error.hint}")
            except TryAgainError as error:
                self._say(f"The Hub cannot be asked now: {error.message}. The token is taken as it is.")
                self._keep_token()
                return {}
            except ProvisionerError as error:
                self._say(f"{error.message}. {error.hint}")
                known = False
                prompt = f"Token of the Hub, from {page} (it is not shown) [Enter: none]: "
            else:
                orgs = ", ".join(_organizations(user))
                self._say(f"The token belongs to {user['name']}" + (f"; organizations: {orgs}." if orgs else "."))
                self._keep_token()
                return user

    def _use_token(self, text: str) -> None:
        secret = checked_token(text, "the token")
        self._redactor.add(text)
        try:
            environment_lines({"HF_TOKEN": text})
        except ConfigurationError:
            raise ConfigurationError(
                "the token has characters that no token has", hint="Copy it again: one word, no quotes."
            ) from None
        self._settings = replace(self._settings, hf_token=secret)
        self._edges = self._new_edges(self._settings)

    def _keep_token(self) -> None:
        if self._settings.hf_token is not None:
            self._values["HF_TOKEN"] = self._settings.hf_token.reveal()

    def _new_edges(self, settings: Settings) -> Clients:
        return Clients(settings, settings.data_dir.absolute(), self._cancellation, PATIENCE)

    def _ask_repository(self, user: Mapping[str, Any]) -> RepositoryOutcome | None:
        settings = self._settings
        name = self._ask(
            "Name of the data-set repository for the app's logs ('none': no repository)",
            settings.dataset_repo or "none",
            _reading(parsers.repository),
        )
        if not name:
            self._values["DATASET_REPO"] = "none"
            return None
        organization = None
        if "/" not in name:
            organization = self._ask_organization(user)
        private = self._ask(
            "Visibility of a new repository, public or private",
            "private" if settings.dataset_repo_private else "public",
            _reading(parsers.one_of(("public", "private"))),
        )
        wanted = DeclaredRepository(name, organization, private == "private", DEFAULT_TEMPLATE)
        outcome = ensure_repository(request_for(settings, wanted), self._edges.hub)
        for warning in outcome.warnings:
            self._say(f"{warning}.")
        if outcome.error is not None:
            return self._ask_by_hand(f"{outcome.error.message}. {outcome.error.hint}")
        self._say(f"{outcome.note}.")
        self._values["DATASET_REPO"] = outcome.repo_id or name
        self._values["DATASET_REPO_PRIVATE"] = str(private == "private").lower()
        return outcome

    def _ask_organization(self, user: Mapping[str, Any]) -> str | None:
        own = str(user.get("name") or "yourself")
        known = _organizations(user)

        def read(text: str) -> str | None:
            if text.casefold() == own.casefold():
                return None
            if user and text.casefold() not in {one.casefold() for one in known}:
                raise _WrongAnswerError(f"the token's user is no member of {text!r}: {', '.join([own, *known])}")
            return _reading(parsers.owner)(text)

        default = self._settings.dataset_repo_org
        return self._ask(f"Owner: {' or '.join([own, *known])}", default if default in known else own, read)

    def _ask_by_hand(self, reason: str) -> RepositoryOutcome | None:
        """Ask for a repository that exists already, or for none."""
        self._say(f"{reason}")
        self._say("You can make one by hand and name it here.")
        outcome: RepositoryOutcome | None = None

        def read(text: str) -> str:
            nonlocal outcome
            name = _reading(parsers.repository)(text)
            if name and "/" not in name:
                raise _WrongAnswerError("write OWNER/NAME, as in the address of its page")
            if not name or self._settings.hf_token is None:
                return name
            request = request_for(self._settings, DeclaredRepository(name))
            outcome = ensure_repository(request, self._edges.hub, make=False)
            if isinstance(outcome.error, TryAgainError):
                self._say(f"{outcome.error.message}. The name is taken as it is.")
            elif outcome.error is not None:
                raise _WrongAnswerError(f"{outcome.error.message}. {outcome.error.hint}")
            return name

        name = self._ask("Data-set repository that exists, OWNER/NAME ('none': no repository)", "none", read)
        self._values["DATASET_REPO"] = name or "none"
        return outcome if name else None

    # --- the data ---

    def _ask_phase(self) -> None:
        plans = self._plans()
        free = next(iter(plans.values()))[1]
        rows = [["phase", "to fetch, bytes", "peak disk, bytes", "data sets"]]
        rows += [
            [name, size_text(plan.download), f"{plan.peak_bytes:,}", " ".join(self._catalog.phases[name].datasets)]
            for name, (plan, _) in plans.items()
        ]
        self._say(f"{table(rows, right=(1, 2))}\nFree in {self._settings.data_dir}: {_bytes(free)}.")

        def read(text: str) -> str:
            phase = _reading(parsers.one_of(tuple(plans)))(text)
            needed = plans[phase][0].peak_bytes
            if (
                free is not None
                and needed > free
                and not self._confirm(
                    f"{phase} needs {format_bytes(needed)}, {format_bytes(free)} are free: the lowest priorities"
                    " will be left out. Take it all the same?"
                )
            ):
                raise _WrongAnswerError("choose a smaller one, or make room")
            return phase

        default = self._settings.phase if self._settings.phase in plans else next(iter(plans))
        phase = self._ask("Phase", default, read)
        self._values["PHASE"] = phase
        self._ask_licenses(phase)

    def _plans(self) -> dict[str, tuple[Plan, int | None]]:
        """Return the plan of each phase on this volume as if there were room, and the free space."""
        layout = VolumeLayout(self._settings.data_dir.absolute())
        store = Store(
            layout, self._settings.publish, program_version=__version__, check_cancelled=self._cancellation.raise_if_requested
        )
        inventory = store.reader.inventory()
        roomy = replace(inventory, free_bytes=None)
        rules = replace(make_rules(self._settings), license_policy="any", limit_bytes=None)
        plans = {
            name: make_plan(Request(phase=name, datasets=(), layouts=self._settings.layouts), self._catalog, roomy, rules)
            for name in self._catalog.phases
        }
        return {name: (plan, inventory.free_bytes) for name, plan in plans.items()}

    def _ask_licenses(self, phase: str) -> None:
        accepted: list[str] = []
        declined: list[str] = []
        for name in self._catalog.phases[phase].datasets:
            dataset = self._catalog.datasets[name]
            terms = dataset.license
            if terms.commercial == "allowed":
                continue
            self._say(f"{name} ({dataset.title}): {terms.name}, commercial use: {terms.commercial}. {terms.evidence} {terms.url}")
            known = name in self._settings.accept_licenses
            (accepted if self._confirm(f"Accept the licence of {name}?", default=known) else declined).append(name)
        if accepted:
            self._values["ACCEPT_LICENSES"] = ",".join(accepted)
        if declined:
            # `curated` would only warn of most of them, and fetch them.
            self._values["LICENSE_POLICY"] = "commercial"
            self._say(f"Left out: {', '.join(declined)}.")

    # --- asking ---

    def _say(self, text: str) -> None:
        sys.stderr.write(self._redactor.redact(text) + "\n")
        sys.stderr.flush()

    def _ask(self, question: str, default: str, read: Callable[[str], T]) -> T:
        while True:
            sys.stderr.write(f"{question} [{default}]: ")
            sys.stderr.flush()
            line = sys.stdin.readline()
            if not line:
                raise UsageError("the answers ended before the questions did; nothing was written", hint="Run 'init' again.")
            try:
                return read(line.strip() or default)
            except _WrongAnswerError as wrong:
                self._say(f"Not taken: {wrong}")

    def _confirm(self, question: str, *, default: bool = False) -> bool:
        def read(text: str) -> bool:
            if text.casefold() not in {"y", "yes", "n", "no"}:
                raise _WrongAnswerError("answer y or n")
            return text.casefold().startswith("y")

        return self._ask(f"{question} y or n", "y" if default else "n", read)

    # --- the end ---

    def _answer(self, outcome: RepositoryOutcome | None) -> CommandResult:
        load = f"set -a; . {_in_shell(self._file)}; set +a"
        following = ["docker compose up --build", f"{load}; make provision PHASE={self._values['PHASE']}"]
        if self._file.name != ".env":
            following[0] = f"docker compose --env-file {_in_shell(self._file)} up --build"
        document = {
            "file": str(self._file),
            "set": sorted(self._values),
            "repository": outcome.as_record() if outcome else None,
            "next": following,
        }
        text = (
            f"{self._file} is written, readable by you alone: {', '.join(sorted(self._values))}.\n"
            f"Next, with Compose:        {following[0]}\n"
            f"or without, in a checkout: {following[1]}"
        )
        return CommandResult(document, text)


def merged(text: str, values: Mapping[str, str]) -> bytes:
    """Return the file's new content: the lines of ``text`` that are not ours, then ours."""
    kept = [line for line in text.splitlines() if line.partition("=")[0].removeprefix("export ").strip() not in _OURS]
    return ("".join(f"{line}\n" for line in kept)).encode() + environment_lines(values)


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, whole or not at all.

    Raises:
        ConfigurationError: it cannot be written.
    """
    # A link is followed, not replaced: whoever made it wants the file elsewhere.
    target = path.resolve()
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(draft, target)
        except OSError:
            draft.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be written: {error.strerror}; it is as it was",
            hint="Give another place with --env-file, or make the folder writable.",
        ) from error


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigurationError(
            f"{path} is there and cannot be read: {reason}; nothing was asked", hint="Move it away, or give --env-file."
        ) from None


def _reading(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Return ``parse`` with its complaint as a reason to ask again."""

    def read(text: str) -> T:
        try:
            return parse(text)
        except parsers.BadTextError as bad:
            raise _WrongAnswerError(f"{bad.problem}. {bad.hint}") from None

    return read


def _organizations(user: Mapping[str, Any]) -> list[str]:
    found = user.get("orgs")
    return [str(org["name"]) for org in found if isinstance(org, dict) and "name" in org] if isinstance(found, list) else []


def _bytes(count: int | None) -> str:
    return "unknown" if count is None else f"{count:,} bytes ({format_bytes(count)})"


def _in_shell(path: Path) -> str:
    import shlex  # noqa: PLC0415 - for the last line alone

    # `.` looks along PATH for a name without a directory.
    return shlex.quote(str(path) if path.parent.name or path.is_absolute() else f"./{path}")
