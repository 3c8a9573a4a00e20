"""``healthcheck``: the image's ``HEALTHCHECK``. While this program runs, its heartbeat must be recent."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from provisioner.commands.result import CommandResult
from provisioner.errors import TryAgainError
from provisioner.reporting.liveness import heartbeat_of
from provisioner.reporting.status import STALE_SECONDS
from provisioner.volume.store.json_file import absence_of, read_json

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from provisioner.commands.request import CommandRequest

DESCRIPTION: Final = f"""\
For the container's HEALTHCHECK. While the volume is being filled, the status on it must have been updated within the last
{STALE_SECONDS:.0f} seconds. Once the app has taken over, the answer is always 0: the app has to check itself."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add no options; the common ones are enough."""


def run(request: CommandRequest) -> CommandResult:
    """Check the heartbeat of the run in this container.

    Raises:
        TryAgainError: the status file was not updated recently, or there is none.
    """
    if not any(_is_ours(words) for words in _first_processes()):
        return CommandResult()
    path = request.session().layout.status
    document = read_json(path)
    if document is None:
        raise TryAgainError(
            f"the run in this container is not known to be alive: {path} {absence_of(path)}",
            hint="A run writes it once it has the lock: it may be waiting for another writer, or cannot write. Look at the log.",
        )
    problem = heartbeat_of(document, time.time()).problem
    if problem:
        raise TryAgainError(f"{path}: {problem}", hint="The run may be waiting for another writer: look at the log.")
    return CommandResult()


def _first_processes() -> Iterator[list[str]]:
    """Yield the command lines of process 1 and its children: with ``docker run --init``, process 1 is the init process."""
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            # "PID (NAME) STATE PPID …", where the name may hold any characters (man 5 proc).
            parent = (directory / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[1]
            if directory.name == "1" or parent == "1":
                yield os.fsdecode((directory / "cmdline").read_bytes()).split("\0")
        except (OSError, IndexError):
            continue  # the process has ended meanwhile


def _is_ours(words: list[str]) -> bool:
    """Return whether a command line runs this program with Python."""
    return Path(words[0]).name.startswith("python") and any(Path(word).name == "entrypoint.py" for word in words[1:])
