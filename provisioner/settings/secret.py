"""A text that cannot be shown by accident."""

from __future__ import annotations

__all__ = ["Secret"]


class Secret:
    """A text that is hidden in every representation; only :meth:`reveal` returns it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself; never log it."""
        return self._text

    def __repr__(self) -> str:
        """Return the same text for every secret."""
        return "Secret(***)"

    def __str__(self) -> str:
        """Return the same text for every secret."""
        return "***"

    def __eq__(self, other: object) -> bool:
        """Return whether the other object is a secret with the same text."""
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        """Return the same number for equal secrets."""
        return hash((Secret, self._text))
