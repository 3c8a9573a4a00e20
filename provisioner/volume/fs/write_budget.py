"""Budgets of bytes that may still be written: each writer of a data set's bytes charges them before or while it writes them.

A plan compares the sizes that it knows. Many are unknown or wrong, or somebody else fills the device meanwhile, so the limits
are also enforced while bytes arrive.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from provisioner.errors import NoRoomError, VolumeFullError
from provisioner.units import format_bytes
from provisioner.volume.fs.free_space import device_space

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from provisioner.errors import ProvisionerError

_LARGEST_STEP: Final = 256 << 20
"""Bytes after which a bound is measured again at the latest."""
_SMALLEST_STEP: Final = 1 << 20
"""Bytes that may be written between two measurements of a nearly exhausted bound, since measuring may mean walking a tree."""

_REMOVED: Final = "it was stopped while it came, and what had come of it was removed"
_HINT: Final = "Enlarge the volume, raise MAX_STORAGE_GB, or ask for a split of it (see 'list')."


class Bound:
    """One limit: of a device, or of what may be kept on a volume. Not safe for several threads; see :class:`Budget`."""

    def __init__(self, remaining: Callable[[], int | None], error: Callable[[str, int], ProvisionerError]) -> None:
        """Measure nothing yet.

        Args:
            remaining: measures how many more bytes may be written now, or returns ``None`` if that is not known.
            error: returns the error for the label of a data set and a number of bytes that no longer fit.
        """
        self._remaining = remaining
        self.error = error
        self.headroom = 0
        """Bytes that may be written before the bound is measured again."""

    def allows(self, count: int, reserved: int = 0) -> bool:
        """Count bytes that are about to be written; return whether they may be written.

        Args:
            count: the number of bytes.
            reserved: bytes that were allowed before but are not written yet, so that no measurement includes them.
        """
        self.headroom -= count
        if self.headroom >= 0:
            return True
        remaining = self._remaining()
        if remaining is None:
            self.headroom = _LARGEST_STEP
            return True
        left = remaining - reserved - count
        if left < 0:
            self.headroom = 0
            return False
        # Others write to the device too, so it is measured again after half of what is left.
        self.headroom = min(_LARGEST_STEP, left, max(_SMALLEST_STEP, left // 2))
        return True


class SharedBounds:
    """Limits that the budgets of several data sets share; safe for several threads."""

    def __init__(
        self, *, staged: Sequence[Bound] = (), tree: Sequence[Bound] = (), free: Callable[[], bool] = lambda: False
    ) -> None:
        """Begin to count; nothing is measured yet.

        Args:
            staged: limits for everything that is written into staging.
            tree: further limits for what becomes part of a published tree.
            free: makes space by removing what is of least use, and returns whether it did; it is called until that is enough,
                or it returns ``False``.
        """
        self.lock = threading.Lock()
        """Held while bounds are consulted or changed."""
        self.staged = tuple(staged)
        self.tree = (*staged, *tree)
        self._free = free
        self.reserved = 0
        """Bytes that are charged and not yet written."""
        self.granted = 0
        """Bytes that budgets may write without asking again."""

    def allow(self, bound: Bound, count: int) -> bool:
        """Count bytes that are about to be written, making space if necessary; return whether they may be written."""
        reserved = self.reserved + self.granted
        while not bound.allows(count, reserved):
            if not self._free():
                return False
        return True


class Budget:
    """All limits for one data set while it is built; safe for several threads."""

    def __init__(self, label: str, shared: SharedBounds, *, tree: Sequence[Bound] = ()) -> None:
        """Begin to count; nothing is charged yet.

        Args:
            label: names the data set, in messages.
            shared: the limits of all data sets together.
            tree: further limits for what becomes part of this one's tree.
        """
        self._label = label
        self._shared = shared
        self._own = tuple(tree)
        self._credit = 0
        """Bytes of the tree that may be written before any bound is consulted; they are taken from the headroom of each."""
        self.reserved = 0
        """Bytes that are charged and not yet written."""
        self.unpacked = 0
        """Bytes charged for the tree, except for files that are put into it as they are."""

    def charge_staged(self, count: int) -> None:
        """Charge bytes that are about to be written into staging and will not be published.

        Raises:
            VolumeFullError: they must not be written.
        """
        with self._shared.lock:
            self._return_credit()
            self._charge(count, self._shared.staged)

    def charge_plain(self, count: int) -> None:
        """Charge bytes of a file that is being fetched and will be published as it is.

        Raises:
            VolumeFullError: they must not be written.
        """
        with self._shared.lock:
            self._return_credit()
            self._charge(count, self._shared.tree, self._own)

    def charge_tree(self, count: int) -> None:
        """Charge bytes that are about to be written into the staged tree.

        Raises:
            VolumeFullError: they must not be written.
            ProvisionerError: another bound is exceeded.
        """
        self.reserve_tree(count)
        self.settle(count)

    def reserve_tree(self, count: int) -> None:
        """Charge bytes that will be written into the staged tree, but perhaps not immediately; see :meth:`settle`.

        Raises:
            VolumeFullError, ProvisionerError: see :meth:`charge_tree`.
        """
        # This is called for every file of an archive.
        with self._shared.lock:
            if count <= self._credit:
                self._credit -= count
                self._shared.granted -= count
            else:
                self._return_credit()
                self._charge(count, self._shared.tree, self._own)
                self._take_credit()
            self.reserved += count
            self._shared.reserved += count
            self.unpacked += count

    def settle(self, count: int) -> None:
        """Note that reserved bytes have been written."""
        with self._shared.lock:
            self._settle(min(count, self.reserved))

    def clear_reserved(self) -> None:
        """Note that what is reserved and not yet written will not be written."""
        with self._shared.lock:
            self._settle(self.reserved)

    def clear_unpacked(self, count: int = 0) -> None:
        """Set the count of unpacked bytes to ``count``, since the others were removed."""
        with self._shared.lock:
            self._return_credit()
            self.unpacked = count

    def close(self) -> None:
        """Return what was granted and not used; nothing more will be written."""
        with self._shared.lock:
            self._return_credit()
            self._settle(self.reserved)

    def _settle(self, count: int) -> None:
        self.reserved -= count
        self._shared.reserved -= count

    def _charge(self, count: int, shared: Sequence[Bound], own: Sequence[Bound] = ()) -> None:
        for bound in shared:
            if not self._shared.allow(bound, count):
                raise bound.error(self._label, count)
        for bound in own:
            if not bound.allows(count, self.reserved):
                raise bound.error(self._label, count)

    def _take_credit(self) -> None:
        """Take half of the headroom that all bounds have, since other data sets may need the rest."""
        bounds = (*self._shared.tree, *self._own)
        self._credit = min((bound.headroom for bound in bounds), default=_LARGEST_STEP) // 2
        self._shared.granted += self._credit
        for bound in bounds:
            bound.headroom -= self._credit

    def _return_credit(self) -> None:
        for bound in (*self._shared.tree, *self._own):
            bound.headroom += self._credit
        self._shared.granted -= self._credit
        self._credit = 0


def device_bound(path: Path, what: str, *, pending: Callable[[], int] = lambda: 0) -> Bound:
    """Return the bound of a device, whose last bytes stay free for the status file, the app and the system.

    Args:
        path: any path on the device.
        what: the name of the device in messages.
        pending: returns the number of bytes that will also be written to it later.
    """

    def remaining() -> int | None:
        space = device_space(path)
        return space.free - space.reserve - pending() if space is not None else None

    def error(label: str, count: int) -> VolumeFullError:
        space = device_space(path)
        free = f": {space.free:,} bytes are free, and the last {space.reserve:,} stay free" if space is not None else ""
        return VolumeFullError(f"{label} needs {count:,} bytes more in {what}{free}; {_REMOVED}", hint=_HINT)

    return Bound(remaining, error)


def kept_bound(limit: int, kept: Callable[[], int]) -> Bound:
    """Return the bound of what may be kept on a volume (``MAX_STORAGE_GB``).

    Args:
        limit: the limit in bytes.
        kept: measures what is kept now, staged files included.
    """

    def error(label: str, _count: int) -> NoRoomError:
        return NoRoomError(f"{label} does not fit into the {format_bytes(limit)} of MAX_STORAGE_GB; {_REMOVED}", hint=_HINT)

    return Bound(lambda: limit - kept(), error)
