"""Questions on the terminal: each answer is checked immediately; after a wrong one, the question is repeated."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeVar

from provisioner.errors import UsageError
from provisioner.reporting.text_width import terminal_size
from provisioner.settings.parsers import BadTextError

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.redaction import Redactor

T = TypeVar("T")


class WrongAnswerError(Exception):
    """An answer that cannot be accepted; the text says why."""


class Terminal:
    """A user at a terminal. The conversation is on standard error; standard output is for the result."""

    def __init__(self, redactor: Redactor) -> None:
        """Prepare; nothing is asked yet.

        Args:
            redactor: removes secrets from what is shown, and is told of new ones.
        """
        self.redactor = redactor

    @property
    def columns(self) -> int:
        """Width of the terminal."""
        return terminal_size(sys.stderr)[0]

    def say(self, text: str) -> None:
        """Show a line."""
        sys.stderr.write(self.redactor.redact(text) + "\n")
        sys.stderr.flush()

    def ask(self, question: str, default: str, read: Callable[[str], T]) -> T:
        """Ask until an answer is accepted.

        Args:
            question: the question.
            default: the answer if only Enter is pressed.
            read: converts the text of an answer; raises :class:`WrongAnswerError`.

        Raises:
            UsageError: the input has ended.
        """
        while True:
            sys.stderr.write(f"{question} [{default}]: ")
            sys.stderr.flush()
            line = sys.stdin.readline()
            if not line:
                raise UsageError("the answers ended before the questions did; nothing was written", hint="Run 'init' again.")
            try:
                return read(line.strip() or default)
            except WrongAnswerError as wrong:
                self.say(f"Not accepted: {wrong}")

    def confirm(self, question: str, *, default: bool = False) -> bool:
        """Ask a question with the answers y and n."""

        def read(text: str) -> bool:
            if text.casefold() not in {"y", "yes", "n", "no"}:
                raise WrongAnswerError("answer y or n")
            return text.casefold().startswith("y")

        return self.ask(f"{question} y or n", "y" if default else "n", read)


def reader_of(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Return a reader of answers that uses the parser of a setting."""

    def read(text: str) -> T:
        try:
            return parse(text)
        except BadTextError as bad:
            raise WrongAnswerError(f"{bad.problem}. {bad.hint}") from None

    return read
