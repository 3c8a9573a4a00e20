"""The display of progress: bars on a terminal, and otherwise a log line every ten seconds."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO

from provisioner.reporting.progress import WHOLE_RUN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioner.reporting.logs import ConsoleHandler
    from provisioner.reporting.progress import Count, Display

_LOG: Final = logging.getLogger(__name__)


def make_display(
    stream: TextIO,
    *,
    log_format: Literal["text", "json"],
    quiet: bool = False,
    terminal: str = "",
    console: ConsoleHandler | None = None,
) -> Display | None:
    """Return a display that suits the stream: bars on a terminal, log lines otherwise, ``None`` if quiet.

    Args:
        stream: where the log goes; standard error.
        log_format: with ``json``, there are never bars.
        quiet: display nothing at all.
        terminal: the terminal's type (``TERM``); a ``dumb`` one cannot move its cursor.
        console: the log's handler, which must write its lines above the bars.
    """
    if quiet:
        return None
    if log_format == "text" and stream.isatty() and terminal != "dumb":
        from provisioner.reporting.bars import Bars  # noqa: PLC0415 - most runs have no terminal

        return Bars(stream, console)
    return Lines()


class Lines:
    """A log line for each name that is due, with the numbers as fields for ``LOG_FORMAT=json``."""

    def show(self, counts: Mapping[str, Count], due: Sequence[str]) -> None:
        """Log the lines that are due."""
        for name in due:
            count = counts[name]
            fields: dict[str, Any] = {"event": "progress", "phase_word": count.activity, "done_bytes": count.done_bytes}
            fields["total_bytes"] = count.total_bytes
            if count.estimate:
                fields["total_is_estimate"] = True
            if count.bytes_per_second is not None:
                fields["bytes_per_second"] = round(count.bytes_per_second)
            left = count.seconds_left
            if left is not None:
                fields["seconds_left"] = round(left)
            if name != WHOLE_RUN:
                fields["dataset"] = name
            _LOG.info("%s: %s", name, count, extra=fields)

    def close(self) -> None:
        """Do nothing: every line is complete."""
