"""The state of a file as its server describes it without sending it, and whether two such states differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Change = Literal["same", "changed", "unknown"]


@dataclass(frozen=True, slots=True)
class FileState:
    """The state of a file as reported by a server at one moment."""

    url: str
    """The requested URL, without anything that may be secret."""
    etag: str = ""
    """Empty if the server does not send it; the same applies to ``modified``."""
    modified: str = ""
    """``Last-Modified``."""
    size: int | None = None
    """Bytes, or ``None`` if not known."""

    @property
    def text(self) -> str:
        """The state for people: what the server says, the most reliable first."""
        parts = [f"ETag {self.etag}"] if self.etag else []
        parts += [f"Last-Modified {self.modified}"] if self.modified else []
        parts += [f"{self.size:,} bytes"] if self.size is not None else []
        return ", ".join(parts) or "nothing"

    def compare(self, now: FileState) -> tuple[Change, str]:
        """Return whether a file in this state has changed since, and how that is known, or why it is not known.

        If there is an ETag for both moments, it alone decides, since a date may change with every copy of a file.
        """
        if self.size is not None and now.size is not None and self.size != now.size:
            return "changed", f"{self.size:,} bytes then, {now.size:,} now"
        if self.etag and now.etag:
            if self.etag.removeprefix("W/") == now.etag.removeprefix("W/"):
                return "same", "the ETag is the same"
            return "changed", f"ETag {self.etag} then, {now.etag} now"
        if self.modified and now.modified:
            if self.modified == now.modified:
                return "same", "the date is the same"
            return "changed", f"changed on {self.modified} then, {now.modified} now"
        if not now.etag and not now.modified:
            return "unknown", "the server gives neither ETag nor Last-Modified"
        return "unknown", "the server gave neither ETag nor Last-Modified when it was fetched"
