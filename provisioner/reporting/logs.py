"""What the run says on standard error: readable lines or JSON, and never a secret.

Everything that leaves the process goes through a :class:`~provisioner.redaction.Redactor`: what is known to be secret, and what
looks like it
(tokens of the Hub, passwords in URLs, the query of a signed URL), is replaced before it is written, also in the text of an
exception.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.redaction import Redactor

LOGGER_NAME: Final = "provisioner"
"""The root of our loggers; each module's own is below it."""


# Anything else than line ends and tabs that moves a terminal's cursor or changes its colours: names come from archives.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

# --- how a record looks ---------------------------------------------------------------------------------------------


class TextFormatter(logging.Formatter):
    """``12:34:56 message``; the level is named from WARNING on."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__(datefmt="%H:%M:%S")
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line, followed by its exception where it has one."""
        level = f"{record.levelname} " if record.levelno >= logging.WARNING else ""
        message = record.getMessage().rstrip("\n")
        text = f"{self.formatTime(record, self.datefmt)} {level}{message}{_exception(record, self)}"
        # Redacted after formatting: arguments and exceptions are in it by now.
        return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", self._redactor.redact(text))


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``ts``, ``level``, ``message``, then what the caller gave as ``extra``."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of ASCII."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        entry: dict[str, Any] = {"ts": time, "level": record.levelname.lower(), "message": record.getMessage().rstrip("\n")}
        entry.update({key: value for key, value in vars(record).items() if key not in _OWN and key not in entry})
        exception = _exception(record, self).lstrip("\n")
        if exception:
            entry["exception"] = exception
        return json.dumps(self._redactor.redact_value(entry))


_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; the rest is the caller's ``extra``."""


def _exception(record: logging.LogRecord, formatter: logging.Formatter) -> str:
    """Return the record's traceback and stack after a line end; empty when it has none.

    The text is not kept in the record, as the standard formatter does: another handler would find it unredacted.
    """
    parts = []
    if record.exc_info and record.exc_info[0] is not None:
        parts.append(formatter.formatException(record.exc_info))
    if record.stack_info:
        parts.append(record.stack_info)
    return "".join(f"\n{part}" for part in parts)


# --- where it goes --------------------------------------------------------------------------------------------------


class ConsoleHandler(logging.Handler):
    """Writes whole lines to a stream, or through whoever draws on it at the time (see :attr:`write_line`)."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.stream = stream
        self.write_line: Callable[[str], None] = self.write_to_stream
        """Takes each line; progress bars put themselves here, so that they and the lines do not mangle each other."""

    def write_to_stream(self, line: str) -> None:
        """Write one line as it is."""
        self.stream.write(f"{line}\n")
        self.stream.flush()

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record."""
        try:
            self.write_line(self.format(record))
        except Exception as error:  # noqa: BLE001 - a log line never ends a run
            self._complain(record, error)

    def _complain(self, record: logging.LogRecord, error: Exception) -> None:
        """Say that a line was lost; the standard way prints the record's arguments, secrets included."""
        if isinstance(error, OSError | ValueError) and not isinstance(error, UnicodeError):
            return  # nobody reads the stream any more, or it is closed: there is nobody to tell
        try:
            self.write_to_stream(f"a log line of {record.name}, line {record.lineno}, was lost: {type(error).__name__}")
        except (OSError, ValueError):
            return


_QUIET: Final[dict[str, int]] = {"urllib3": logging.ERROR, "filelock": logging.ERROR}
"""Libraries whose warnings repeat what we say ourselves, such as each retry. All others are heard from WARNING on."""

_ADOPTED: Final = ("huggingface_hub", "datasets", "hf_xet")
"""Libraries that bring a handler of their own, which knows no redactor."""


class _WithoutHandlers(logging.Logger):
    """A logger that hands everything to its parent, and takes no handler."""

    def addHandler(self, hdlr: logging.Handler) -> None:  # noqa: N802 - the standard library's name
        """Take none: what is written goes through our redactor."""


def set_up_logging(
    log_format: Literal["text", "json"] = "text",
    *,
    redactor: Redactor,
    stream: TextIO | None = None,
    level: int = logging.INFO,
) -> ConsoleHandler:
    """Send every log record of the process to ``stream`` (standard error by default), redacted; a second call replaces the first.

    Args:
        log_format: ``text`` or ``json``.
        redactor: what removes the secrets; more can be added to it later.
        stream: where the lines go.
        level: the lowest level of our own records that is written; libraries begin at WARNING.

    Returns:
        The handler, for :class:`provisioner.reporting.progress.Progress`.
    """
    handler = ConsoleHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(JsonFormatter(redactor) if log_format == "json" else TextFormatter(redactor))
    root = logging.getLogger()
    for old in [one for one in root.handlers if isinstance(one, ConsoleHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger(LOGGER_NAME).setLevel(level)
    for name, quiet_level in _QUIET.items():
        logging.getLogger(name).setLevel(quiet_level)
    for name in _ADOPTED:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        if type(logger) is logging.Logger:
            # They add it while they are imported, which is after us: the logger itself has to refuse.
            logger.__class__ = _WithoutHandlers
    logging.captureWarnings(capture=True)
    return handler
