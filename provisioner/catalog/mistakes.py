"""The mistakes in a document written by people, collected so that all of them can be corrected at once."""

from __future__ import annotations

from typing import Final

from provisioner.errors import ConfigurationError

MAX_MISTAKES: Final = 50
"""Maximum number of mistakes that are collected before reading stops."""


class Mistakes:
    """The mistakes in one document, collected so that a user can correct all of them at once."""

    def __init__(self) -> None:
        """Begin without mistakes."""
        self._found: dict[str, ConfigurationError] = {}

    def add(self, error: ConfigurationError) -> None:
        """Add a mistake.

        Raises:
            ConfigurationError: there are so many that the document is probably something else.
        """
        self._found.setdefault(error.message, error)
        if len(self._found) == MAX_MISTAKES:
            more = f"these are the first {MAX_MISTAKES} mistakes; the rest of the file was not checked"
            self._found[more] = ConfigurationError(more)
            self.raise_all()

    def raise_all(self) -> None:
        """Raise the first mistake, with the others as its companions; return if there is none.

        Raises:
            ConfigurationError: there are mistakes.
        """
        if self._found:
            first, *others = self._found.values()
            raise ConfigurationError(first.message, hint=first.hint, others=others)


class MissingValue:
    """Stands for the value of a missing key, which has been reported."""


class ReportedError(ConfigurationError):
    """A mistake that has already been reported for the same value."""
