"""The output of the process: results on standard output, errors in the log, the last error for Kubernetes."""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import TYPE_CHECKING, Any, Final, TextIO

from provisioner.errors import INTERNAL_ERROR_EXIT_CODE, VolumeError, companions_of, exit_code_of
from provisioner.settings.settings import DEFAULT_TERMINATION_LOG

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.commands.result import CommandResult
    from provisioner.errors import ProvisionerError
    from provisioner.redaction import Redactor

_LOGGER = logging.getLogger(__name__)

_CLOSED_PIPE_EXIT_CODE: Final = 128 + 13
"""The exit code of a process that SIGPIPE ended; Python ignores that signal."""


class Output:
    """The outputs of one process, without secrets. With ``--json``, standard output gets exactly one document in any case."""

    def __init__(self, redactor: Redactor, *, json: bool) -> None:
        """Prepare; nothing is printed yet.

        Args:
            redactor: removes the secrets.
            json: print JSON documents instead of text.
        """
        self.json = json
        self.termination_log = DEFAULT_TERMINATION_LOG
        self._redactor = redactor
        self._has_document = False
        self._failure: OSError | None = None
        """The error because of which standard output no longer accepts anything."""

    def print_help(self, text: str) -> None:
        """Print the text that ``--help`` or ``--version`` requested, even with ``--json``."""
        self._write(text)

    def print_line(self, text: str) -> None:
        """Print a line for people; with ``--json``, print nothing."""
        if not self.json:
            self._write(self._redactor.redact(text) + "\n")

    def print_result(self, result: CommandResult) -> None:
        """Print what a command found or did."""
        if self.json and result.document is not None:
            self._print_document(result.document)
        elif result.text:
            self.print_line(result.text)

    def report(self, error: ProvisionerError) -> int:
        """Log an error, record it, and return its exit code."""
        code = exit_code_of(error)
        record = self._redactor.redact_value(error.as_record())
        hint = {"hint": record["hint"]} if record["hint"] else {}
        _LOGGER.error(
            "[%s] %s", record["reference"], record["message"], extra={"reference": record["reference"], **hint, "exit_code": code}
        )
        others = [self._redactor.redact_value(other.as_record()) for other in companions_of(error)]
        for other in others:
            _LOGGER.error("Also: %s", f"{other['message']}. {other['hint']}" if other["hint"] else other["message"])
        if self.json and not self._has_document:
            further = {"further_errors": others} if others else {}
            self._print_document({"error": record, **further, "exit_code": code}, indent=None)
        self.record(record)
        return code

    def report_bug(self, error: Exception) -> int:
        """Log an unexpected exception with its traceback, and return its exit code."""
        _LOGGER.critical("This is a bug of the provisioner: %s", error, exc_info=error)
        record = self._redactor.redact_value({"reference": "internal-error", "message": str(error), "hint": ""})
        if self.json and not self._has_document:
            self._print_document({"error": record, "exit_code": INTERNAL_ERROR_EXIT_CODE}, indent=None)
        self.record(record)
        return INTERNAL_ERROR_EXIT_CODE

    def record(self, record: Mapping[str, str]) -> None:
        """Write an error to the termination log, where Kubernetes looks for it, as one line of JSON.

        At its default path, the file is written only if it exists.
        """
        path = self.termination_log
        line = _dumps(self._redactor.redact_value(dict(record)), "utf-8") + "\n"
        try:
            if path == DEFAULT_TERMINATION_LOG and not path.exists():
                return
            # Opening a FIFO that nobody reads must not block.
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NONBLOCK", 0), 0o666)
            with open(handle, "wb", buffering=0) as file:  # noqa: PTH123 - a descriptor has no path
                file.write(line.encode())
        except OSError as problem:
            _LOGGER.warning("The termination log %s cannot be written: %s", path, problem.strerror)

    def flush(self) -> None:
        """Write buffered output; a failure is remembered for :meth:`end`."""
        self._write("")

    def end(self) -> int:
        """Return the exit code of a successful command, which is not 0 if its output could not be written."""
        self.flush()
        if self._failure is None:
            return 0
        if isinstance(self._failure, BrokenPipeError):
            return _CLOSED_PIPE_EXIT_CODE
        hint = "Send the output somewhere else. What the command did is done."
        return self.report(VolumeError(f"standard output cannot be written: {self._failure.strerror}", hint=hint))

    def _write(self, text: str) -> None:
        """Write to standard output until that fails: a reader that has gone, or a full disk, does not end the run."""
        if self._failure is not None:
            return
        try:
            _write_shown(sys.stdout, text)
            sys.stdout.flush()
        except OSError as error:
            self._failure = error
            # Otherwise, buffered output would be tried again when the process ends. The descriptor stays unchanged, for the
            # app.
            sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115

    def _print_document(self, document: Mapping[str, Any], *, indent: int | None = 2) -> None:
        encoding = sys.stdout.encoding or "utf-8"
        self._write(_dumps(self._redactor.redact_value(document), encoding, indent=indent) + "\n")
        self._has_document = True


def _dumps(value: object, encoding: str, *, indent: int | None = None) -> str:
    """Return a JSON text that the encoding can represent; other characters, such as undecodable bytes, are escaped."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = json.dumps(value, indent=indent)
    return text


def _write_shown(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
