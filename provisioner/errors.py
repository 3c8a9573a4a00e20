"""The program's errors: one class for each cause, with its exit code.

Each class is a row in the table of exit codes in ``docs/reference.md``: ``reference`` is a stable name for documents and
searches, and ``exit_code`` is the exit code of the process. An instance says what failed, on what, and what was done about it
(``message``), and what the user can do (``hint``). This module imports nothing of the package, so that every layer may raise
its errors.

::

    ProvisionerError
    ├── OutdatedError              3
    ├── UsageError                64
    ├── IntegrityError            65  DigestMismatchError, SizeMismatchError, UnexpectedContentError,
    │                             UnsafeArchiveError, BrokenArchiveError, DamagedTreeError
    ├── NotFoundError             66  MissingDataError
    ├── RemoteRefusedError        69
    ├── VolumeNotWritableError    73
    ├── VolumeError               74  VolumeFullError (NoRoomError)
    ├── TryAgainError             75  RemoteUnavailableError, LockTimeoutError, DeadlineError
    ├── AccessDeniedError         77  LicenseRefusedError
    ├── ConfigurationError        78  PartError
    ├── AppNotExecutableError    126
    ├── AppNotFoundError         127
    └── InterruptedBySignal      128 + N
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERNAL_ERROR_EXIT_CODE: Final = 70
"""The exit code for any other exception: a bug, and the only case in which a traceback is printed."""


class ProvisionerError(Exception):
    """A failure with a known cause: it is reported with a message and an exit code, without a traceback."""

    reference: ClassVar[str] = "provisioner-error"
    """A stable kebab-case name of the cause."""
    exit_code: ClassVar[int] = INTERNAL_ERROR_EXIT_CODE
    meaning: ClassVar[str] = ""
    """One line for the table of exit codes."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        """A sentence about what failed, on what, and what was done about it."""
        self.hint = hint
        """A sentence about what the user can do."""

    def as_record(self) -> dict[str, str]:
        """Return the form in which status file, termination log and ``--json`` carry an error."""
        return {"reference": self.reference, "message": self.message, "hint": self.hint}


class OutdatedError(ProvisionerError):
    """A data set has a newer version upstream, and the user asked for a check (``outdated --check``)."""

    reference = "outdated"
    exit_code = 3
    meaning = "`outdated --check`: a newer version exists upstream"


class UsageError(ProvisionerError):
    """The command line is not valid."""

    reference = "usage"
    exit_code = 64
    meaning = "wrong command line"


class IntegrityError(ProvisionerError):
    """Bytes are wrong."""

    reference = "bytes-wrong"
    exit_code = 65
    meaning = "wrong bytes: digest mismatch, unsafe archive, or a damaged published tree (`verify`)"


class DigestMismatchError(IntegrityError):
    """The bytes that arrived have a digest that differs from the one in the catalog or the listing."""

    reference = "digest-mismatch"


class SizeMismatchError(IntegrityError):
    """More or fewer bytes arrived than the catalog or the listing states."""

    reference = "size-mismatch"


class UnexpectedContentError(IntegrityError):
    """A server sent something other than the file: a page, an error document, a Git LFS pointer, or nothing."""

    reference = "unexpected-content"


class UnsafeArchiveError(IntegrityError):
    """An archive has a member that would leave its directory, or that is not a file, a directory or a link within it."""

    reference = "unsafe-archive"


class ArchiveTooLargeError(UnsafeArchiveError):
    """An archive unpacks to more than planned; what has been unpacked only takes space."""


class TreeTooLargeError(SizeMismatchError):
    """A data set is larger than its catalog entry states; what has been fetched only takes space."""


class BrokenArchiveError(IntegrityError):
    """An archive cannot be read to its end."""

    reference = "broken-archive"


class DamagedTreeError(IntegrityError):
    """A published tree differs from its manifest."""

    reference = "tree-damaged"


class NotFoundError(ProvisionerError):
    """The remote has no such repository, revision or file."""

    reference = "not-found"
    exit_code = 66
    meaning = "not found: repository, file, revision; or data missing with `AUTO_DOWNLOAD=false`"


class MissingDataError(NotFoundError):
    """Data are missing on the volume, and ``AUTO_DOWNLOAD`` forbids fetching them."""

    reference = "data-missing"


class RemoteRefusedError(ProvisionerError):
    """The remote refuses a request, and would refuse it again."""

    reference = "remote-refused"
    exit_code = 69
    meaning = "the server refuses, and a retry does not help"


class VolumeNotWritableError(ProvisionerError):
    """This user may not write to the volume, and something is missing on it."""

    reference = "volume-not-writable"
    exit_code = 73
    meaning = "this uid cannot create or write the volume, and something is missing on it"


class VolumeError(ProvisionerError):
    """The volume failed, or is in a state in which nothing may be changed."""

    reference = "volume-error"
    exit_code = 74
    meaning = "the volume failed, or is full (the message says what is needed and what is free)"


class VolumeFullError(VolumeError):
    """There is not enough free space on the device, or within ``MAX_STORAGE_GB``."""

    reference = "volume-full"


class NoRoomError(VolumeFullError):
    """A data set does not fit, as its sizes or bytes show only after planning; in a phase, it is left out."""

    reference = "no-room"


class StatedTooLargeError(NoRoomError):
    """The sizes that a source states do not fit, even without other downloads."""


class TryAgainError(ProvisionerError):
    """The same command may succeed later."""

    reference = "try-again"
    exit_code = 75
    meaning = "try again: the server kept failing, another writer kept the lock, or the deadline passed"


class RemoteUnavailableError(TryAgainError):
    """The remote failed until all retries were used up."""

    reference = "remote-unavailable"


class OfflineError(RemoteUnavailableError):
    """The remote was not asked, since ``HF_HUB_OFFLINE`` is set."""

    def __init__(self, what: str) -> None:
        hint = "Unset HF_HUB_OFFLINE, or name a directory that has the data in PEERS or SEARCH_DIRS."
        super().__init__(f"{what}: not asked, since HF_HUB_OFFLINE is set", hint=hint)


class UpstreamChangedError(RemoteUnavailableError):
    """A file was changed upstream while it was fetched, several times."""


class LockTimeoutError(TryAgainError):
    """Another writer kept the volume's lock longer than ``LOCK_TIMEOUT``."""

    reference = "lock-timeout"


class DeadlineError(TryAgainError):
    """The whole run took longer than ``DEADLINE``."""

    reference = "deadline"


class AccessDeniedError(ProvisionerError):
    """The remote does not allow access."""

    reference = "access-denied"
    exit_code = 77
    meaning = "access denied: bad token, gated, missing permission, licence refused"


class LicenseRefusedError(AccessDeniedError):
    """The policy refuses the licence of a data set that was requested by name."""

    reference = "license-refused"


class ConfigurationError(ProvisionerError):
    """A setting, the config file or the catalog is not valid."""

    reference = "configuration"
    exit_code = 78
    meaning = "wrong settings or catalog (file, line, key)"

    def __init__(self, message: str, *, hint: str = "", others: Sequence[ConfigurationError] = ()) -> None:
        super().__init__(message, hint=hint)
        self.others = tuple(others)
        """Further mistakes in the same file, in order."""


class PartError(ConfigurationError):
    """The rule of a part does not fit the data set, or takes nothing from it."""

    reference = "part-rule"


class AppNotExecutableError(ProvisionerError):
    """The app's command exists and cannot be executed."""

    reference = "app-not-executable"
    exit_code = 126
    meaning = "the app could not be executed"


class AppNotFoundError(ProvisionerError):
    """The app's command does not exist."""

    reference = "app-not-found"
    exit_code = 127
    meaning = "the app was not found"


class InterruptedBySignal(ProvisionerError):  # noqa: N818 - it names an event, not a fault
    """A signal ended the run; what had arrived is kept in staging."""

    reference = "interrupted"
    exit_code = 128
    meaning = "ended by signal N after tidying up"

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by signal {signum}", hint="Start again: what had arrived is kept and resumed.")
        self.signum = signum


def exit_code_of(error: BaseException) -> int:
    """Return the exit code of the process for ``error``; 70 for any that is not a :class:`ProvisionerError`."""
    if isinstance(error, InterruptedBySignal):
        return error.exit_code + error.signum
    if isinstance(error, ProvisionerError):
        return error.exit_code
    return INTERNAL_ERROR_EXIT_CODE


def companions_of(error: ProvisionerError) -> Sequence[ProvisionerError]:
    """Return the errors that were found together with ``error`` and should be corrected with it."""
    return error.others if isinstance(error, ConfigurationError) else ()


NOT_THE_FILE: Final = (UnexpectedContentError, UnsafeArchiveError, BrokenArchiveError)
"""Errors about bytes that cannot be the requested file, although no digest proves that; another URL may be right."""

TRY_NEXT_AFTER: Final = (NotFoundError, AccessDeniedError, IntegrityError, RemoteRefusedError, TryAgainError)
"""Errors of one URL or source after which the next one is tried."""


def error_to_report(errors: Sequence[ProvisionerError]) -> ProvisionerError:
    """Return the error to report of several, if every URL or source failed.

    This is the first error about wrong bytes, since a person must look at it; or else the first one after which a retry may
    succeed; or else the last one.
    """
    for kind in (IntegrityError, TryAgainError):
        for error in errors:
            if isinstance(error, kind):
                return error
    return errors[-1]
