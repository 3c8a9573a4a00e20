"""What the process prints and records: results on standard output, errors in the log, the last error for Kubernetes."""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import TYPE_CHECKING, Any, Final

from provisioner.errors import INTERNAL_ERROR_EXIT_CODE, exit_code_of
from provisioner.settings.model import DEFAULT_TERMINATION_LOG

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.commands.result import CommandResult
    from provisioner.errors import ProvisionerError
    from provisioner.redaction import Redactor

_LOGGER = logging.getLogger(__name__)

_CLOSED_PIPE_EXIT_CODE: Final = 128 + 13
"""The code of a process that SIGPIPE ended; Python ignores that signal."""


class Output:
    """The outputs of one process, without secrets. With ``--json`` standard output gets one document, whatever happens."""

    def __init__(self, redactor: Redactor, *, json: bool) -> None:
        """Print nothing yet.

        Args:
            redactor: removes the secrets.
            json: print JSON documents instead of text.
        """
        self.json = json
        self.termination_log = DEFAULT_TERMINATION_LOG
        self._redactor = redactor
        self._has_document = False

    def print_line(self, text: str) -> None:
        """Print a line for people; with ``--json``, print nothing."""
        if not self.json:
            sys.stdout.write(self._redactor.redact(text) + "\n")

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
        _LOGGER.error("[%s] %s", record["reference"], record["message"])
        if record["hint"]:
            _LOGGER.error("%s", record["hint"])
        if self.json and not self._has_document:
            json.dump({"error": record, "exit_code": code}, sys.stdout, ensure_ascii=False)
            sys.stdout.write("\n")
        self.record(record)
        return code

    def report_bug(self, error: Exception) -> int:
        """Log an exception that no code of ours foresaw, with its traceback, and return its exit code."""
        _LOGGER.critical("This is a bug of the provisioner: %s", error, exc_info=error)
        self.record({"reference": "internal-error", "message": str(error), "hint": ""})
        return INTERNAL_ERROR_EXIT_CODE

    def record(self, record: Mapping[str, str]) -> None:
        """Write an error to the termination log, where Kubernetes looks for it: one line of JSON.

        In its default place the file is written only where it exists.
        """
        path = self.termination_log
        try:
            if path == DEFAULT_TERMINATION_LOG and not path.exists():
                return
            path.write_text(json.dumps(self._redactor.redact_value(dict(record)), ensure_ascii=False) + "\n", encoding="utf-8")
        except OSError as problem:
            _LOGGER.warning("The termination log %s cannot be written: %s", path, problem.strerror)

    @staticmethod
    def discard() -> int:
        """Discard what is still buffered for a reader that has closed its end of the pipe, and return the exit code."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _CLOSED_PIPE_EXIT_CODE

    def _print_document(self, document: Mapping[str, Any]) -> None:
        value = self._redactor.redact_value(document)
        text = json.dumps(value, indent=2, ensure_ascii=False)
        if any("\ud800" <= character <= "\udfff" for character in text):
            # Bytes of a file name that are not UTF-8: escaped they pass through every encoding.
            text = json.dumps(value, indent=2)
        sys.stdout.write(text + "\n")
        self._has_document = True
