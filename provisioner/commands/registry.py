"""All commands: their names, their texts for ``--help``, and the modules with their code.

A command's module is imported when the command is used.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol, cast

from provisioner.errors import (
    AccessDeniedError,
    AppNotExecutableError,
    AppNotFoundError,
    IntegrityError,
    NotFoundError,
    OutdatedError,
    RemoteRefusedError,
    TryAgainError,
    VolumeError,
    VolumeNotWritableError,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from provisioner.commands.request import CommandRequest
    from provisioner.commands.result import CommandResult
    from provisioner.errors import ProvisionerError


class CommandModule(Protocol):
    """The module of a command."""

    DESCRIPTION: str
    """The description of the command for its ``--help``."""

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """Add the options and arguments that only this command has."""

    @staticmethod
    def run(request: CommandRequest) -> CommandResult:
        """Execute the command.

        Raises:
            ProvisionerError: the command could not be executed, and has no result to show.
        """


@dataclass(frozen=True, slots=True)
class Command:
    """A command, as known before its module is imported."""

    name: str
    summary: str
    """Its line in the program's ``--help``."""
    errors: tuple[type[ProvisionerError], ...] = ()
    """Errors with which it may fail, in addition to those of every command."""
    success: str = "done"
    """The meaning of exit code 0."""
    module: str = ""
    """The module in this package; empty if it has the command's name."""
    graceful: bool = False
    """Whether a signal asks the command to stop and tidy up; otherwise it ends the process immediately."""
    group_writable: bool = False
    """Whether the volume's group may change what the command writes."""
    meanings: Mapping[type[ProvisionerError], str] = field(default_factory=dict)
    """The meanings of errors for this command, if they differ from those for all commands."""

    def load(self) -> CommandModule:
        """Import the command's module."""
        return cast("CommandModule", importlib.import_module(f"provisioner.commands.{self.module or self.name}"))


_HUB: Final = (NotFoundError, RemoteRefusedError, TryAgainError, AccessDeniedError)
_REMOTE: Final = (IntegrityError, *_HUB)
_ABSENT: Final = "a named data set is not on the volume, or the volume holds none"
_ENDED: Final = "try again: the deadline passed"
_LOCKED: Final = "try again: another writer kept the lock, or the deadline passed"
_VOLUME: Final = (VolumeNotWritableError, VolumeError, TryAgainError)

_ALL: Final = (
    Command(
        "provision",
        "fill the volume with the requested data sets (the default command)",
        (*_REMOTE, VolumeNotWritableError, VolumeError, AppNotExecutableError, AppNotFoundError),
        "the volume is ready, or partial (policy, space or an optional data set left something out)",
        graceful=True,
        group_writable=True,
    ),
    Command(
        "plan",
        "show what 'provision' would do and why; writes nothing, and asks only the sources of references that are not there",
        (*_HUB, VolumeError),
        "such a run would not be refused",
    ),
    Command(
        "status",
        "show what the volume holds and how the last run ended",
        (NotFoundError, TryAgainError),
        "the status was shown; with --check: it is ready or partial",
        meanings={
            NotFoundError: "nothing has been provisioned on this volume; --check: or the last run failed",
            TryAgainError: "--check: a run is at work, or was interrupted",
        },
    ),
    Command("list", "show the catalog: data sets, splits, phases, sizes, licences", (VolumeError,)),
    Command(
        "info",
        "'info ID or REF': show one data set: sizes, licence, sources, digests, and what is on this volume",
        (*_REMOTE, VolumeError),
    ),
    Command(
        "catalog",
        "'catalog check [--online]': check the catalog, and its sources; 'catalog add REF ...'; 'catalog pin ...'",
        (*_REMOTE, VolumeNotWritableError, VolumeError),
        "the catalog is well formed; with --online: every source matches it; add, pin: the file was written",
        graceful=True,
    ),
    Command(
        "verify",
        "'verify [--deep] [ID or REF ...]': compare the published trees with their manifests; changes nothing",
        (IntegrityError, NotFoundError, VolumeError, TryAgainError),
        "every tree matches its manifest",
        graceful=True,
        meanings={
            IntegrityError: "a published tree differs from its manifest",
            NotFoundError: _ABSENT,
            TryAgainError: _ENDED,
        },
    ),
    Command(
        "repair",
        "'repair [ID or REF ...]': fetch what 'verify --deep' finds wrong, and nothing else",
        (*_REMOTE, VolumeNotWritableError, VolumeError),
        "every tree now matches its manifest",
        graceful=True,
        group_writable=True,
    ),
    Command(
        "remove",
        "'remove ID or REF ... [--dry-run]': remove data sets from the volume",
        (NotFoundError, *_VOLUME),
        graceful=True,
        meanings={NotFoundError: _ABSENT, TryAgainError: _LOCKED},
    ),
    Command(
        "outdated",
        "'outdated [--check] [ID or REF ...]': ask the sources of the published data sets whether they have changed",
        (OutdatedError, *_HUB, VolumeError),
        "every source was asked, whatever the result; with --check: nothing is outdated",
    ),
    Command(
        "gc",
        "'gc [--dry-run] [--older-than DURATION]': remove superseded versions and leftovers",
        _VOLUME,
        graceful=True,
        meanings={TryAgainError: _LOCKED},
    ),
    Command(
        "adopt",
        "'adopt ID PATH ...': build a data set from files that were downloaded or unpacked by hand",
        (*_REMOTE, VolumeNotWritableError, VolumeError),
        "the data set is ready",
        graceful=True,
        group_writable=True,
    ),
    Command(
        "export",
        "'export DIR [ID or REF ...]': write a verified copy of published versions, for filling other volumes",
        (IntegrityError, NotFoundError, *_VOLUME),
        "all versions are complete in the directory",
        graceful=True,
        group_writable=True,
        meanings={IntegrityError: "a file differs from its manifest", NotFoundError: _ABSENT, TryAgainError: _LOCKED},
    ),
    Command(
        "doctor",
        "test the volume, the settings, the token and the Hub, and say what to fix",
        (*_HUB, VolumeNotWritableError, VolumeError),
        "nothing keeps a run from filling the volume",
        graceful=True,
    ),
    Command("repo", "'repo create|list|check [NAME ...]': create, list or check your data-set repositories on the Hub", _HUB),
    Command("init", "ask on a terminal for token, repository, phase and licences; write .env for Compose"),
    Command(
        "report",
        "write one HTML page about the last run: sources, times, rates, retries",
        (NotFoundError, VolumeError),
        "the report was written",
        meanings={NotFoundError: "no run has left a record on this volume"},
    ),
    Command(
        "serve",
        "serve the status page, metrics and health endpoints of the volume until a signal comes",
        success="it ended by itself",
        graceful=True,
    ),
    Command(
        "healthcheck",
        "for the container's HEALTHCHECK: check that this run is alive, or the app started",
        (TryAgainError,),
        "the run is alive, or the app has taken over",
        meanings={TryAgainError: "there is no sign of life of the run"},
    ),
)

COMMANDS: Final = {command.name: command for command in _ALL}
