"""The program run in this process: faster than a process of its own, for tests that need neither signals nor kills."""

from __future__ import annotations

import contextlib
import io
import logging
from typing import TYPE_CHECKING
from unittest.mock import patch

from provisioner.cli import main as cli
from provisioner.remote.hub.library import HubLibrary
from tests.support.program import Outcome

if TYPE_CHECKING:
    from tests.support.volume import Volume


def release_hub() -> None:
    """Restore the original client of the Hub's library, as the end of a separate process would."""
    if HubLibrary._active is not None:
        HubLibrary._active.close()


def run(volume: Volume, *arguments: str, **changes: str | None) -> Outcome:
    """Run a command line on a volume until it has ended."""
    out, err = io.StringIO(), io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        # The signal handlers must remain those of the process that runs the tests.
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            patch.object(cli, "listen", lambda _cancellation: lambda: None),
        ):
            code = cli.main(list(arguments), volume.environ(**changes))
    finally:
        if HubLibrary._active is not None:
            HubLibrary._active.close()
        root.handlers[:] = handlers
        root.setLevel(level)
    return Outcome(code, out.getvalue(), err.getvalue())


def ready(volume: Volume, *arguments: str, **changes: str | None) -> Outcome:
    """Run a command line, which must succeed."""
    outcome = run(volume, *arguments, **changes)
    assert outcome.code == 0, outcome.err
    return outcome
