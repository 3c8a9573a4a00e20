"""The log on standard error: lines of text or JSON without secrets.

Every record passes through a :class:`~provisioner.redaction.Redactor`, which replaces known secrets and everything that has
the form of one (tokens of the Hub, passwords in URLs, the query of a signed URL), even in the text of an exception.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO

from provisioner.log_fields import log_fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.redaction import Redactor

LOGGER_NAME: Final = "provisioner"
"""The root of our loggers; the logger of each module is below it."""

LONGEST_LINE: Final = 4096
"""Bytes of a line, including its end: a pipe writes so many at once, and log collectors take them as one record."""
_ELLIPSIS: Final = " […] "
_SHORTEST_PART: Final = 64
"""The least number of characters to which a text that makes a line too long is shortened."""

# Names come from archives. These are characters (except line ends and tabs) that move the cursor, change colours, change the
# direction of writing, end a line for some readers, or are invisible.
_CONTROL: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)

# --- formatting ---------------------------------------------------------------------------------------------


class TextFormatter(logging.Formatter):
    """A formatter for lines such as ``12:34:56 message``, with the level's name for WARNING and above."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__(datefmt="%H:%M:%S")
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line, followed by its ``hint`` and its exception, if any, on further lines."""
        lines = [self._line(record, record.getMessage())]
        if hint := getattr(record, "hint", ""):
            lines.append(self._line(record, str(hint)))
        exception = _CONTROL.sub(_escaped, self._redactor.redact(_exception(record, self)))
        return "\n".join(lines) + "\n".join(_fitting_text(each, LONGEST_LINE - 1) for each in exception.split("\n"))

    def _line(self, record: logging.LogRecord, message: str) -> str:
        level = f"{record.levelname} " if record.levelno >= logging.WARNING else ""
        # Redacted after formatting, when the text includes the arguments.
        text = self._redactor.redact(message.rstrip("\n").replace("\n", "\\n"))
        return _fitting_text(_CONTROL.sub(_escaped, f"{self.formatTime(record, self.datefmt)} {level}{text}"), LONGEST_LINE - 1)


class JsonFormatter(logging.Formatter):
    """A formatter for one JSON object per line: ``ts``, ``level``, ``message``, ``run_id``, ``phase``, ``dataset``.

    The last three are included if known; they are followed by the fields of the caller's ``extra``.
    """

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of ASCII."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        entry: dict[str, Any] = {"ts": time, "level": record.levelname.lower(), "message": record.getMessage().rstrip("\n")}
        entry.update({key: value for key, value in vars(record).items() if key not in _STANDARD_ATTRIBUTES and key not in entry})
        entry = {**entry, **{key: value for key, value in log_fields().items() if key not in entry}}
        exception = _exception(record, self).lstrip("\n")
        if exception:
            entry["exception"] = exception
        return _fitting_json(self._redactor.redact_value(entry))


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"  # noqa: PLR2004 - as Python writes them


def _shortened(text: str, count: int) -> str:
    """Return a text shortened in the middle to ``count`` characters: its beginning names the subject, its end the problem."""
    kept = max(count, _SHORTEST_PART) - len(_ELLIPSIS)
    return text if len(text) <= kept + len(_ELLIPSIS) else f"{text[: kept - kept // 2]}{_ELLIPSIS}{text[-(kept // 2) :]}"


def _fitting_text(line: str, size: int) -> str:
    """Return a line shortened to at most ``size`` bytes in UTF-8."""
    count = len(line)
    while (taken := len(line.encode("utf-8", "backslashreplace"))) > size:
        count = min(count - 1, count * size // taken)
        line = _shortened(line, count)
    return line


def _fitting_json(entry: dict[str, Any]) -> str:
    """Return the entry as a line of ASCII of limited length, by shortening its longest texts."""
    line = json.dumps(entry)
    while len(line) >= LONGEST_LINE:
        name = max(entry, key=lambda key: len(json.dumps(entry[key])))
        value = entry[name]
        text = value if isinstance(value, str) else json.dumps(value)
        if len(text) <= _SHORTEST_PART:
            return json.dumps({key: entry[key] for key in ("ts", "level", "message")})
        taken = len(json.dumps(text))
        entry[name] = _shortened(text, min(len(text) - 1, len(text) * max(0, taken - (len(line) - LONGEST_LINE + 1)) // taken))
        line = json.dumps(entry)
    return line


_STANDARD_ATTRIBUTES: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""The attributes of every record; all others come from the caller's ``extra``."""


def _exception(record: logging.LogRecord, formatter: logging.Formatter) -> str:
    """Return the record's traceback and stack after a line end; empty if it has none.

    Unlike the standard formatter, this does not store the text in the record, where another handler would find it unredacted.
    """
    parts = []
    if record.exc_info and record.exc_info[0] is not None:
        parts.append(formatter.formatException(record.exc_info))
    if record.stack_info:
        parts.append(record.stack_info)
    return "".join(f"\n{part}" for part in parts)


# --- output --------------------------------------------------------------------------------------------------


class ConsoleHandler(logging.Handler):
    """A handler that writes whole lines to a stream, or through the progress bars that are drawn on it."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.stream = stream
        self.write_line: Callable[[str], None] = self.write_to_stream
        """Writes each line; progress bars replace this function, so that lines appear above them."""

    def write_to_stream(self, line: str) -> None:
        """Write one line to the stream."""
        self.stream.write(f"{line}\n")
        self.stream.flush()

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record."""
        try:
            self.write_line(self.format(record))
        except Exception as error:  # noqa: BLE001 - a log line never ends a run
            self._report_lost_line(record, error)

    def _report_lost_line(self, record: logging.LogRecord, error: Exception) -> None:
        """Write that a line was lost. The standard handler would print the arguments of the record, including secrets."""
        if isinstance(error, OSError | ValueError) and not isinstance(error, UnicodeError):
            return  # the stream is closed, or nobody reads it any more
        try:
            self.write_to_stream(f"a log line of {record.name}, line {record.lineno}, was lost: {type(error).__name__}")
        except (OSError, ValueError):
            return


_QUIET_LIBRARIES: Final[dict[str, int]] = {"urllib3": logging.ERROR, "filelock": logging.ERROR}
"""Libraries whose warnings repeat ours, such as those about a retry. Other libraries are logged from WARNING on."""

_LIBRARIES_WITH_HANDLERS: Final = ("huggingface_hub", "datasets", "hf_xet")
"""Libraries that add their own handler, which would write unredacted lines."""


class _WithoutHandlers(logging.Logger):
    """A logger that passes everything to its parent and accepts no handlers."""

    def addHandler(self, hdlr: logging.Handler) -> None:  # noqa: N802 - the standard library's name
        """Ignore the handler, so that everything is written through our redactor."""


def set_up_logging(
    log_format: Literal["text", "json"] = "text",
    *,
    redactor: Redactor,
    stream: TextIO | None = None,
    level: int = logging.INFO,
) -> ConsoleHandler:
    """Write every log record of the process to ``stream``, redacted; a second call replaces the first.

    Args:
        log_format: ``text`` or ``json``.
        redactor: removes secrets; further ones can be added to it later.
        stream: the stream; ``None`` means standard error.
        level: the lowest level of our own records that is written; for libraries it is WARNING.

    Returns:
        The handler, for :func:`provisioner.reporting.display.make_display`.
    """
    handler = ConsoleHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(JsonFormatter(redactor) if log_format == "json" else TextFormatter(redactor))
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if isinstance(handler, ConsoleHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger(LOGGER_NAME).setLevel(level)
    for name, quiet_level in _QUIET_LIBRARIES.items():
        logging.getLogger(name).setLevel(quiet_level)
    for name in _LIBRARIES_WITH_HANDLERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        if type(logger) is logging.Logger:
            # They add their handler when they are imported, which is later, so the logger itself must ignore it.
            logger.__class__ = _WithoutHandlers
    logging.captureWarnings(capture=True)
    return handler
