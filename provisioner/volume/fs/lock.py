"""One writer at a time: a kernel lock that ends with its process.

It is a lock, not a lease: after a writer was killed there is nothing to clean up, and no clock is involved. If the volume's
file system has no kernel locks, writing is refused: the usual replacement, a lock *file*, would outlive its writer.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
from typing import TYPE_CHECKING, Any, Final

from provisioner.errors import LockTimeoutError, VolumeError, VolumeFullError, VolumeNotWritableError
from provisioner.volume.fs.files import open_file
from provisioner.volume.fs.modes import FILE_MODE, set_mode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from provisioner.cancellation import Cancellation

POLL_SECONDS: Final = 0.2
_SHORT_POLL_SECONDS: Final = 0.02
_HOLDER_BYTES: Final = 4096
_HELD_ELSEWHERE: Final = frozenset({errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK})
_OPEN_LOCK: Final[int] = os.O_RDWR | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


@contextlib.contextmanager
def writer_lock(
    path: Path,
    *,
    holder: Mapping[str, Any],
    timeout_seconds: float,
    cancellation: Cancellation,
    waiting: Callable[[str, float], None],
    keep: bool = True,
    shared: bool = False,
) -> Iterator[None]:
    """Hold the volume's lock while the block runs.

    Args:
        path: the lock file, which is created if it is missing.
        holder: describes this run; written into the lock file, so that others can say whom they wait for.
        timeout_seconds: how long to wait for another writer.
        cancellation: ends the wait.
        keep: leave the lock file in place afterwards; otherwise it is removed while the lock is still held.
        waiting: called before each further attempt with a description of the holder and the seconds waited so far.
        shared: exclude only writers that do not share it; the file is left unchanged, see :func:`sign`.

    Raises:
        LockTimeoutError: another writer held the lock for too long.
        VolumeNotWritableError: the lock file cannot be opened for writing.
        VolumeError: the file system has no kernel locks.
    """
    import filelock  # noqa: PLC0415 - off the warm path: a run with nothing to do never gets here

    lock: filelock.FileLock | _SharedLock
    if shared:
        lock = _SharedLock(path)
    else:
        lock = filelock.FileLock(
            path,
            mode=FILE_MODE,
            thread_local=False,
            fallback_to_soft=False,
            preserve_lock_file=True,
            on_acquired=lambda descriptor: _write_holder(descriptor, holder),
        )
    begun = time.monotonic()
    while True:
        cancellation.raise_if_requested()
        try:
            lock.acquire(timeout=0)
            break
        except filelock.Timeout:
            waited = time.monotonic() - begun
            who = describe_holder(path)
            if waited >= timeout_seconds:
                kept = f"kept the volume for {timeout_seconds:.0f} s" if timeout_seconds else "has the volume"
                raise LockTimeoutError(
                    f"another writer {kept}: {who}; nothing was changed",
                    hint="Start again later, or raise LOCK_TIMEOUT. A writer that was killed holds nothing.",
                ) from None
            waiting(who, waited)
            cancellation.wait(min(POLL_SECONDS, max(0.0, timeout_seconds - waited)))
        except (PermissionError, OSError, NotImplementedError) as error:
            raise _refusal(path, error) from error
    try:
        yield
    finally:
        if not keep:
            with contextlib.suppress(OSError):
                os.unlink(path)  # noqa: PTH108
        lock.release()


class _SharedLock:
    """A lock that several processes can hold at once, with the methods of ``filelock`` that are needed here."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self, timeout: float) -> None:  # noqa: ARG002 - as filelock has it; who waits does so himself
        """Take the lock at once, or raise ``Timeout``."""
        import filelock  # noqa: PLC0415 - as above

        self._descriptor = _try_lock(self._path, shared=True)
        if self._descriptor is None:
            raise filelock.Timeout(str(self._path))

    def release(self) -> None:
        """Release it."""
        if self._descriptor is not None:
            os.close(self._descriptor)


def try_lock(path: Path) -> int | None:
    """Take a separate lock without waiting; its file is created if it is missing, and stays. See :func:`sign`.

    Returns:
        A descriptor, which holds the lock until it is closed; ``None`` if another process, or other code in this one, has the
        lock.

    Raises:
        VolumeNotWritableError, VolumeError: see :func:`writer_lock`.
    """
    try:
        return _try_lock(path, shared=False)
    except OSError as error:
        raise _refusal(path, error) from error


@contextlib.contextmanager
def short_lock(path: Path, *, seconds: float, cancellation: Cancellation | None = None) -> Iterator[bool]:
    """Hold a lock around a short piece of work; yield ``False`` if another process kept it.

    Args:
        path: the lock file.
        seconds: how long to wait.
        cancellation: ends the wait, or ``None`` if nothing does.

    Raises:
        VolumeNotWritableError, VolumeError: see :func:`writer_lock`.
        ProvisionerError: the wait was cancelled.
    """
    begun = time.monotonic()
    while (descriptor := try_lock(path)) is None:
        if time.monotonic() - begun >= seconds:
            yield False
            return
        if cancellation is None:
            time.sleep(_SHORT_POLL_SECONDS)
        else:
            cancellation.wait(_SHORT_POLL_SECONDS)
    try:
        yield True
    finally:
        os.close(descriptor)


def check_held(is_held: bool, path: Path, seconds: float) -> None:  # noqa: FBT001 - what short_lock yields
    """Raise an error if a short lock was not obtained.

    Raises:
        LockTimeoutError: another process kept it for ``seconds``.
    """
    if not is_held:
        raise LockTimeoutError(
            f"another writer kept the lock {path}, which is needed only for moments, for {seconds:.0f} s; it may be suspended",
            hint="Look for a run that is paused or hangs, and end it: a writer that was killed holds nothing.",
        )


def sign(path: Path, holder: Mapping[str, Any]) -> None:
    """Write into a lock file which run works under the lock, for those who wait; several processes may share it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, _OPEN_LOCK)
        try:
            _write_holder(descriptor, holder)
        finally:
            os.close(descriptor)


def _try_lock(path: Path, *, shared: bool) -> int | None:
    import fcntl  # noqa: PLC0415 - not on Windows, where the volume has one lock alone

    try:
        descriptor = os.open(path, _OPEN_LOCK | os.O_CREAT | os.O_EXCL, FILE_MODE)
    except FileExistsError:
        descriptor = os.open(path, _OPEN_LOCK)
    else:
        set_mode(descriptor, FILE_MODE)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno in _HELD_ELSEWHERE:
            return None
        raise
    return descriptor


def _write_holder(descriptor: int, holder: Mapping[str, Any]) -> None:
    os.ftruncate(descriptor, 0)
    os.write(descriptor, json.dumps(dict(holder)).encode()[:_HOLDER_BYTES])


def describe_holder(path: Path) -> str:
    """Return a description of the holder, taken from the lock file, whose content may be anything."""
    try:
        with open_file(path) as file:
            record = json.loads(file.read(_HOLDER_BYTES))
        return f"run {record['run_id']} on host {record['host']}, process {record['pid']}, since {record['since']}"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "a writer that did not sign the lock"


def _refusal(path: Path, error: BaseException) -> Exception:
    if isinstance(error, OSError) and error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return VolumeNotWritableError(
            f"{path}: {os.strerror(error.errno)}",
            hint="The volume must be writable for this user or for group 0; see 'docs/troubleshooting.md'.",
        )
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return VolumeFullError(
            f"{path}: {os.strerror(error.errno)}", hint="Give the volume more space, or remove data sets from it."
        )
    return VolumeError(
        f"{path}: this volume has no working kernel lock ({error}); nothing was changed",
        hint="If something else makes sure that there is only one writer, set LOCK=external.",
    )
