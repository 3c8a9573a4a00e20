"""Everything that can go wrong, as types: one class for each cause, with its exit code.

The class *is* the row of the exit-code table: ``reference`` is a stable handle for documents and searches, ``exit_code``
is the process's answer (see ``docs/reference.md``). An instance says what failed and on what (``message``) and what the user
can do (``hint``). This module imports nothing of ours, so that every layer may raise from it.

::

    ProvisionerError
    ├── UsageError                64
    ├── IntegrityError            65  DigestMismatchError, SizeMismatchError, UnsafeArchiveError, BrokenArchiveError,
    │                             DamagedTreeError
    ├── NotFoundError             66  MissingDataError
    ├── RemoteRefusedError        69
    ├── VolumeNotWritableError    73
    ├── VolumeError               74  VolumeFullError (NoRoomError)
    ├── TryAgainError             75  RemoteUnavailableError, LockTimeoutError, DeadlineError
    ├── AccessDeniedError         77  LicenseRefusedError
    ├── ConfigurationError        78
    ├── AppNotExecutableError    126
    ├── AppNotFoundError         127
    └── InterruptedBySignal      128 + N
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERNAL_ERROR_EXIT_CODE: Final = 70
"""What an exception that is not ours ends with: a bug, and the only case that prints a traceback."""


class ProvisionerError(Exception):
    """A failure that we understand: no traceback, one message, one exit code."""

    reference: ClassVar[str] = "provisioner-error"
    """A stable kebab-case name of the cause."""
    exit_code: ClassVar[int] = INTERNAL_ERROR_EXIT_CODE
    meaning: ClassVar[str] = ""
    """One line for the table of exit codes."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        """What failed, on what, and what was done about it."""
        self.hint = hint
        """What the user can do."""

    def as_record(self) -> dict[str, str]:
        """Return the form in which status file, termination log and ``--json`` carry an error."""
        return {"reference": self.reference, "message": self.message, "hint": self.hint}


class UsageError(ProvisionerError):
    """The command line cannot be understood."""

    reference = "usage"
    exit_code = 64
    meaning = "wrong command line"


class IntegrityError(ProvisionerError):
    """Bytes arrived, and they are wrong."""

    reference = "bytes-wrong"
    exit_code = 65
    meaning = "bytes are wrong: digest mismatch, unsafe archive; or a published tree is, as `verify` found"


class DigestMismatchError(IntegrityError):
    """The digest of what arrived is not the one that the catalog or the listing names."""

    reference = "digest-mismatch"


class SizeMismatchError(IntegrityError):
    """There is more, or less, than the catalog or the listing says."""

    reference = "size-mismatch"


class UnsafeArchiveError(IntegrityError):
    """An archive holds a member that would leave its directory or is no plain file, directory or inner link."""

    reference = "unsafe-archive"


class BrokenArchiveError(IntegrityError):
    """An archive cannot be read to its end."""

    reference = "broken-archive"


class DamagedTreeError(IntegrityError):
    """A published tree is not what its manifest says."""

    reference = "tree-damaged"


class NotFoundError(ProvisionerError):
    """The remote does not have it: repository, file or revision."""

    reference = "not-found"
    exit_code = 66
    meaning = "not found: repository, file, revision; or data missing with `AUTO_DOWNLOAD=false`"


class MissingDataError(NotFoundError):
    """Data are missing on the volume, and fetching them was forbidden."""

    reference = "data-missing"


class RemoteRefusedError(ProvisionerError):
    """The remote refuses, and asking again will not help."""

    reference = "remote-refused"
    exit_code = 69
    meaning = "remote refuses for good"


class VolumeNotWritableError(ProvisionerError):
    """The volume cannot be made or written by this user, and something is missing on it."""

    reference = "volume-not-writable"
    exit_code = 73
    meaning = "volume cannot be made or written by this uid, and something is missing on it"


class VolumeError(ProvisionerError):
    """The volume failed or is in a state that we do not touch."""

    reference = "volume-error"
    exit_code = 74
    meaning = "volume error, or full (says needed and free)"


class VolumeFullError(VolumeError):
    """There is not enough room, by the device or by the limit that was set."""

    reference = "volume-full"


class NoRoomError(VolumeFullError):
    """A data set does not fit, found out before its first byte: for a phase a reason to leave it out, not a failure."""

    reference = "no-room"


class TryAgainError(ProvisionerError):
    """It may work later, unchanged."""

    reference = "try-again"
    exit_code = 75
    meaning = "try again: remote kept failing, another writer kept the lock, or the deadline passed"


class RemoteUnavailableError(TryAgainError):
    """The remote kept failing for as long as we were willing to ask."""

    reference = "remote-unavailable"


class UpstreamChangedError(RemoteUnavailableError):
    """A file became another one while it was fetched, again and again."""


class LockTimeoutError(TryAgainError):
    """Another writer kept the volume's lock longer than ``LOCK_TIMEOUT``."""

    reference = "lock-timeout"


class DeadlineError(TryAgainError):
    """The whole run took longer than ``DEADLINE``."""

    reference = "deadline"


class AccessDeniedError(ProvisionerError):
    """The remote knows it and does not give it to us."""

    reference = "access-denied"
    exit_code = 77
    meaning = "access denied: bad token, gated, missing permission, licence refused"


class LicenseRefusedError(AccessDeniedError):
    """A data set that was asked for by name has a licence that the policy refuses."""

    reference = "license-refused"


class ConfigurationError(ProvisionerError):
    """A setting, the config file or the catalog is wrong."""

    reference = "configuration"
    exit_code = 78
    meaning = "wrong settings or catalog (file, line, key)"


class AppNotExecutableError(ProvisionerError):
    """The app's command is there and cannot be executed."""

    reference = "app-not-executable"
    exit_code = 126
    meaning = "the app could not be executed"


class AppNotFoundError(ProvisionerError):
    """The app's command is not there."""

    reference = "app-not-found"
    exit_code = 127
    meaning = "the app was not found"


class InterruptedBySignal(ProvisionerError):  # noqa: N818 - it names an event, not a fault
    """A signal asked us to stop; what had arrived stays in staging."""

    reference = "interrupted"
    exit_code = 128
    meaning = "ended by signal N after tidying up"

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by signal {signum}", hint="Start again: what had arrived is kept and resumed.")
        self.signum = signum


def exit_code_of(error: BaseException) -> int:
    """Return the process exit code for ``error``; 70 for whatever is not ours."""
    if isinstance(error, InterruptedBySignal):
        return error.exit_code + error.signum
    if isinstance(error, ProvisionerError):
        return error.exit_code
    return INTERNAL_ERROR_EXIT_CODE


TRY_NEXT_AFTER: Final = (NotFoundError, AccessDeniedError, IntegrityError, RemoteRefusedError, TryAgainError)
"""Errors of one URL or source after which the next one is tried."""


def error_to_report(errors: Sequence[ProvisionerError]) -> ProvisionerError:
    """Return the one of several errors that is reported when every URL or source failed.

    The first about wrong bytes if there is one, since that needs a person; else the first after which a retry may succeed;
    else the last.
    """
    for kind in (IntegrityError, TryAgainError):
        for error in errors:
            if isinstance(error, kind):
                return error
    return errors[-1]
