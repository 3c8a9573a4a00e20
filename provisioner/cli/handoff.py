"""Start the app: its executable is found before the first byte is fetched, and nothing of ours is left behind.

The app replaces this process, so that as process 1 of a container it gets the container's signals, and its exit code is the
container's. The module can be imported on every platform; replacing the process needs POSIX.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from provisioner.catalog.document import nearest
from provisioner.errors import AppNotExecutableError, AppNotFoundError, InterruptedBySignal

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

_DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_RESTORED: Final = ("SIGINT", "SIGTERM", "SIGHUP", "SIGPIPE", "SIGXFSZ")
"""Signals whose default action is restored: Python ignores SIGPIPE and SIGXFSZ, and exec leaves ignored signals ignored."""


def find_app(command: Sequence[str], environ: Mapping[str, str], sub_commands: Collection[str]) -> str:
    """Return the path of the app's executable.

    Args:
        command: the app's command line.
        environ: the environment that the app will get.
        sub_commands: our own commands, for a hint if one was misspelt.

    Raises:
        AppNotFoundError: no file has that name.
        AppNotExecutableError: a file with that name exists but cannot be executed.
    """
    name = command[0]
    path = environ.get("PATH", _DEFAULT_PATH)
    found = shutil.which(name, path=path)
    if found is not None:
        return found
    directories = [""] if os.sep in name else path.split(os.pathsep)
    for directory in directories:
        candidate = Path(directory, name) if directory else Path(name)
        # Unlike `Path.exists`, this does not raise if the name is too long or the directory may not be searched.
        if os.path.exists(candidate):  # noqa: PTH110
            raise AppNotExecutableError(
                f"the app {str(candidate)!r} cannot be executed; nothing was fetched",
                hint="It is a directory." if os.path.isdir(candidate) else f"Make it executable: chmod +x {candidate}",  # noqa: PTH112
            )
    from provisioner.catalog.references import is_reference  # noqa: PLC0415 - only this mistake needs it

    if is_reference(name):
        raise AppNotFoundError(
            f"{name!r} stands where a command or an app's command line begins; nothing was fetched",
            hint=f"To fetch it, write '--dataset {name}'.",
        )
    raise AppNotFoundError(
        f"{name!r} is no command of the provisioner, and no app of that name was found; nothing was fetched",
        hint=f"{nearest(name, sub_commands)} To start an app, give its command line after '--'.",
    )


def relative_paths(command: Sequence[str]) -> list[str]:
    """Return the words of an app's command line that name a file or directory only relative to the current directory."""
    words = (word for word in command[1:] if not word.startswith("-") and not Path(word).is_absolute())
    return [word for word in words if os.path.exists(word)]  # noqa: PTH110 - a word may be too long, or not a path


def exec_app(
    executable: str,
    command: Sequence[str],
    environ: Mapping[str, str],
    *,
    directory: Path | None = None,
    mask: object,
    umask: int | None,
    received: Callable[[], int | None],
) -> NoReturn:
    """Replace this process by the app.

    Args:
        executable: the path returned by :func:`find_app`.
        command: the app's command line.
        environ: the complete environment of the app.
        directory: the directory in which the app starts; ``None`` means the current one.
        mask: the signals that were blocked when this process started.
        umask: the umask when this process started, or ``None`` if it was not changed.
        received: returns the signal that our own handler has received, or ``None``.

    Raises:
        InterruptedBySignal: a signal arrived before the app could receive it.
        AppNotExecutableError: the system refuses to execute it, or the directory cannot be entered.
    """
    if directory is not None:
        executable = str(Path(executable).absolute())
        _enter(directory)
    blocked = _block()
    for signum in (received(), *_pending(blocked)):
        if signum is not None:
            raise InterruptedBySignal(signum)
    for name in _RESTORED:
        number = getattr(signal, name, None)
        if number is not None:
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_DFL)
    _reap()
    if umask is not None:
        os.umask(umask)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)  # type: ignore[arg-type]
    try:
        os.execve(executable, list(command), dict(environ))  # noqa: S606 - what the user asked for, without a shell
    except OSError as error:
        if error.errno == errno.ENOENT:
            problem = "its interpreter (the first line of the script) does not exist"
        elif error.errno == errno.ENOEXEC:
            problem = "it is neither a program for this machine nor a script with a '#!' line"
        else:
            problem = error.strerror or str(error)
        raise AppNotExecutableError(
            f"the app {executable!r} could not be started: {problem}", hint="Correct the command."
        ) from error


def _enter(directory: Path) -> None:
    try:
        os.chdir(directory)
    except OSError as error:
        raise AppNotExecutableError(
            f"the app could not be started in {directory}: {error.strerror or error}",
            hint="APP_WORKDIR=keep starts it where the container does.",
        ) from error


def original_mask() -> object:
    """Return the signals that are blocked now, for :func:`exec_app`."""
    return signal.pthread_sigmask(signal.SIG_BLOCK, ()) if hasattr(signal, "pthread_sigmask") else None


def _block() -> tuple[int, ...]:
    signals = tuple(number for number in (signal.SIGINT, signal.SIGTERM) if number)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    return signals


def _pending(signals: Collection[int]) -> list[int]:
    return [number for number in signals if number in signal.sigpending()] if hasattr(signal, "sigpending") else []


def _reap() -> None:
    """Reap zombies: as process 1, we inherit the children of other processes, and the app would have to do so."""
    if not hasattr(os, "WNOHANG"):
        return
    with contextlib.suppress(OSError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
