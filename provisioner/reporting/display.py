"""The display of progress: bars on a terminal, a log line every ten seconds anywhere else."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO

from provisioner.reporting.progress import WHOLE_RUN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioner.reporting.logs import ConsoleHandler
    from provisioner.reporting.progress import Activity, Count, Display

_LOG: Final = logging.getLogger(__name__)


def make_display(
    stream: TextIO, *, log_format: Literal["text", "json"], quiet: bool = False, console: ConsoleHandler | None = None
) -> Display | None:
    """Return a display that suits the stream: bars on a terminal, log lines elsewhere, ``None`` if it is to be quiet.

    Args:
        stream: where the log goes; standard error.
        log_format: ``json`` never has bars.
        quiet: display nothing at all.
        console: the log's handler, which has to write its lines above the bars.
    """
    if quiet:
        return None
    if log_format == "text" and stream.isatty():
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


class Bars:
    """A bar for each active name; log lines appear above the bars."""

    def __init__(self, stream: TextIO, console: ConsoleHandler | None = None) -> None:
        # Imported here, because a run without a terminal, or with nothing to fetch, does not need it.
        from tqdm import tqdm  # noqa: PLC0415

        class Bar(tqdm):  # type: ignore[type-arg]
            """A bar that is only drawn on request, with the same text as a log line."""

            # No monitor thread: it would outlive the run.
            monitor_interval = 0
            numbers = ""

            @property
            def format_dict(self) -> dict[str, Any]:
                """The names that ``bar_format`` may use."""
                return {**super().format_dict, "numbers": self.numbers}

        # A lock between threads is enough; the default one also creates a semaphore between processes.
        Bar.set_lock(threading.RLock())
        self._bar = Bar
        self._stream = stream
        self._console = console
        self._bars: dict[str, tuple[Activity, Any]] = {}

    def show(self, counts: Mapping[str, Count], due: Sequence[str]) -> None:
        """Draw all bars with their current counts."""
        del due
        for name, (activity, bar) in list(self._bars.items()):
            if name not in counts or counts[name].activity != activity:
                del self._bars[name]
                bar.close()
        for name, count in counts.items():
            if name not in self._bars:
                self._bars[name] = (count.activity, self._new(name, count))
            bar = self._bars[name][1]
            bar.total = count.total_bytes if count.total_bytes is None or count.total_bytes >= count.done_bytes else None
            bar.n = count.done_bytes
            bar.numbers = str(count)
            bar.refresh()
        if self._console is not None:
            self._console.write_line = self._write_above if self._bars else self._console.write_to_stream

    def close(self) -> None:
        """Remove the bars."""
        self.show({}, ())

    def _new(self, name: str, count: Count) -> Any:  # noqa: ANN401 - the class is made in the constructor
        return self._bar(
            desc=name,
            total=count.total_bytes,
            initial=count.done_bytes,
            bar_format="{desc:12} |{bar:20}| {numbers}",
            leave=False,
            dynamic_ncols=True,
            file=self._stream,
        )

    def _write_above(self, line: str) -> None:
        self._bar.write(line, file=self._stream)
