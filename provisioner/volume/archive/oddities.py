"""What is odd about an archive although common readers unpack it: accepted with one warning, or refused.

Whether it is accepted depends on one fact: a digest is known that the archive's bytes are compared with before anything is
published. It proves that these are the publisher's bytes, and that the oddity is the publisher's, too. Without a digest the
same oddity may be damage or an attack, and the archive is refused. What a safety rule forbids is refused in any case, and
never comes here.
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
            proven: whether all of its bytes are compared with a known digest before anything that came out is published.
        """
        self._archive = archive
        self.proven = proven
        self._found: dict[str, tuple[str, int]] = {}
        """For each oddity the first member that has it, or nothing, and how many have it."""
        self._lock = threading.Lock()

    def accept(self, what: str, member: str = "", *, refusal: ProvisionerError | None = None) -> None:
        """Record an oddity if the bytes are proven, and refuse the archive otherwise.

        Args:
            what: the oddity, as in "two members have the same name"; the same words are recorded once.
            member: which member has it.
            refusal: the error to raise in place of the common one.

        Raises:
            BrokenArchiveError: no digest proves the bytes.
            ProvisionerError: ``refusal``, for the same reason.
        """
        if not self.proven:
            example = f" ({quoted(member)})" if member else ""
            raise refusal or BrokenArchiveError(f"{self._archive}: {what}{example}", hint=UNPROVEN_HINT)
        self.remark(what, member)

    def remark(self, what: str, member: str = "") -> None:
        """Record what is worth a warning and is accepted without a digest, too."""
        with self._lock:
            first, count = self._found.get(what, (member, 0))
            self._found[what] = first, count + 1

    def summary(self) -> str:
        """Return all that was recorded, as one sentence without the archive's name; empty if there is nothing."""
        return "; ".join(
            what + (f" ({quoted(first)}{f' and {count - 1} more' if count > 1 else ''})" if first else "")
            for what, (first, count) in self._found.items()
        )
