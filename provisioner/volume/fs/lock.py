"""One writer at a time: a kernel lock that dies with its process.

It is a lock, not a lease: after a writer was killed there is nothing to clean up, and no clock decides. Where the volume's
file system has no kernel locks, writing is refused: the usual replacement, a lock *file*, would outlive its writer.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
from typing import TYPE_CHECKING, Any, Final

from provisioner.errors import LockTimeoutError, VolumeError, VolumeNotWritableError
from provisioner.volume.fs.files import open_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from provisioner.cancellation import Cancellation

POLL_SECONDS: Final = 0.2
_HOLDER_BYTES: Final = 4096


@contextlib.contextmanager
def writer_lock(
    path: Path,
    *,
    holder: Mapping[str, Any],
    timeout_seconds: float,
    cancellation: Cancellation,
    waiting: Callable[[str, float], None],
    keep: bool = True,
) -> Iterator[None]:
    """Hold the volume's lock while the block runs.

    Args:
        path: of the lock file; made if missing.
        holder: describes this run; written into the lock file, so that others can say who they wait for.
        timeout_seconds: how long to wait for another writer.
        cancellation: ends the wait.
        keep: leave the lock file where it is afterwards; otherwise it is removed while the lock is still held.
        waiting: called before each further attempt with a description of the holder and the seconds waited so far.

    Raises:
        LockTimeoutError: another writer kept the lock.
        VolumeNotWritableError: the lock file cannot be opened for writing.
        VolumeError: the file system has no kernel locks.
    """
    import filelock  # noqa: PLC0415 - off the warm path: a run with nothing to do never gets here

    def write_holder(descriptor: int) -> None:
        text = json.dumps(dict(holder)).encode()[:_HOLDER_BYTES]
        os.ftruncate(descriptor, 0)
        os.write(descriptor, text)

    lock = filelock.FileLock(
        path, mode=0o664, thread_local=False, fallback_to_soft=False, preserve_lock_file=True, on_acquired=write_holder
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


def describe_holder(path: Path) -> str:
    """Return a description of the lock's holder from the lock file, whose content may be anything."""
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
    return VolumeError(
        f"{path}: this volume has no working kernel lock ({error}); nothing was changed",
        hint="If something else makes sure that there is only one writer, set LOCK=external.",
    )
