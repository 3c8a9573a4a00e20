"""What a server says of the state of a file without sending it, and whether two such states differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Change = Literal["same", "changed", "unknown"]


@dataclass(frozen=True, slots=True)
class FileState:
    """What a server says of a file at one moment."""

    url: str
    """Where it was asked for, without what may be secret."""
    etag: str = ""
    """Empty: the server gives none; the same holds for ``modified``."""
    modified: str = ""
    """``Last-Modified``."""
    size: int | None = None
    """Bytes; ``None``: not known."""

    @property
    def text(self) -> str:
        """The state for people: what the server says, in the order of its weight."""
        parts = [f"ETag {self.etag}"] if self.etag else []
        parts += [f"Last-Modified {self.modified}"] if self.modified else []
        parts += [f"{self.size:,} bytes"] if self.size is not None else []
        return ", ".join(parts) or "nothing"

    def compare(self, now: FileState) -> tuple[Change, str]:
        """Return whether a file that was in this state has changed, and by what that is known, or why it is not known.

        An ETag decides alone, where there is one of both moments: a date may change with every copy of a file.
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
