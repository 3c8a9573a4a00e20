"""Oddities of an archive that common readers unpack all the same: they are accepted with one warning, or refused.

They are accepted if the archive's bytes are compared with a known digest before anything is published. That proves that the
bytes are the publisher's, and so is the oddity. Without a digest, the same oddity may be damage or an attack, and the archive
is refused. What a safety rule forbids is always refused, and is not handled here.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from provisioner.errors import BrokenArchiveError
from provisioner.volume.archive.errors import quoted

if TYPE_CHECKING:
    from provisioner.errors import ProvisionerError

UNPROVEN_HINT: Final = (
    "Readers of archives differ in what they make of this, and no digest is known that shows whether the bytes are the"
    " publisher's: state the archive's digest, and it is unpacked with a warning; or fetch it again."
)


class Oddities:
    """The oddities of one archive, which several threads may find."""

    def __init__(self, archive: str, *, proven: bool) -> None:
        """Start without any.

        Args:
            archive: its name, for messages.
            proven: whether all bytes are compared with a known digest before anything from the archive is published.
        """
        self._archive = archive
        self.proven = proven
        self._found: dict[str, tuple[str, int]] = {}
        """For each oddity, the first member that has it (or an empty string), and how many members have it."""
        self._lock = threading.Lock()

    def accept(self, what: str, member: str = "", *, refusal: ProvisionerError | None = None) -> None:
        """Record an oddity if the bytes are proven, and refuse the archive otherwise.

        Args:
            what: the oddity, as in "two members have the same name"; equal texts are counted together.
            member: the member that has it.
            refusal: the error to raise instead of the usual one.

        Raises:
            BrokenArchiveError: no digest proves the bytes.
            ProvisionerError: ``refusal``, if no digest proves the bytes.
        """
        if not self.proven:
            example = f" ({quoted(member)})" if member else ""
            raise refusal or BrokenArchiveError(f"{self._archive}: {what}{example}", hint=UNPROVEN_HINT)
        self.remark(what, member)

    def remark(self, what: str, member: str = "") -> None:
        """Record something that deserves a warning but is accepted even without a digest."""
        with self._lock:
            first, count = self._found.get(what, (member, 0))
            self._found[what] = first, count + 1

    def summary(self) -> str:
        """Return all that was recorded, as one sentence without the archive's name; empty if there is nothing."""
        return "; ".join(
            what + (f" ({quoted(first)}{f' and {count - 1} more' if count > 1 else ''})" if first else "")
            for what, (first, count) in self._found.items()
        )
