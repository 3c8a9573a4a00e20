"""Moves of whole trees: in one step if the system can do it, and never leaving half a tree at its path."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from provisioner.errors import ProvisionerError
from provisioner.volume.fs.atomic import exchange
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.fs.remove import remove_leftover
from provisioner.volume.tree.copy import copy_tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def move_tree(source: Path, target: Path, incoming: Path, check_cancelled: Callable[[], None]) -> None:
    """Move a tree to an unused path; from another device, it is copied first.

    Args:
        source: the tree.
        target: its new path.
        incoming: a path beside the target for an incomplete copy.
        check_cancelled: called for every file of a copy; raises to end the work.

    Raises:
        VolumeError: the volume failed; the tree is where it was.
    """
    try:
        os.rename(source, target)
        return
    except OSError as error:
        if error.errno != errno.EXDEV:
            with disk_errors(f"moving a tree to {target}"):
                raise
    try:
        copy_tree(source, incoming, check_cancelled)
        with disk_errors(f"moving a tree to {target}"):
            os.rename(incoming, target)
    except ProvisionerError:
        # Half a copy would take space that other data sets need, and the next attempt would copy everything again.
        remove_leftover(incoming)
        raise
    remove_leftover(source)


def replace_tree(
    source: Path,
    target: Path,
    *,
    incoming: Path,
    discarded: Path,
    sync: Callable[[Path], None],
    check_cancelled: Callable[[], None],
) -> Path:
    """Replace a tree by another one; from another device, it is copied first.

    This is one step if the system can exchange names; otherwise, there is a moment with neither tree. After a death at any
    moment, the tree in staging is still complete, or it is already at its new path.

    Args:
        source: the tree, already synced.
        target: the path of the tree that it replaces.
        incoming: a path on the target's device for an incomplete copy.
        discarded: a path on the target's device for the replaced tree.
        sync: makes a copy durable.
        check_cancelled: called for every file of a copy; raises to end the work.

    Returns:
        The present path of the tree that was replaced, for the caller to remove.

    Raises:
        VolumeError: the volume failed; the old tree is where it was.
    """
    try:
        return swap_trees(source, target, discarded)
    except OSError as error:
        if error.errno != errno.EXDEV:
            with disk_errors(f"moving a tree to {target}"):
                raise
    try:
        copy_tree(source, incoming, check_cancelled)
        sync(incoming)
        with disk_errors(f"moving a tree to {target}"):
            gone = swap_trees(incoming, target, discarded)
    except ProvisionerError:
        # Half a copy would take space that other data sets need, and the next attempt would copy everything again.
        remove_leftover(incoming)
        raise
    remove_leftover(source)
    return gone


def swap_trees(new: Path, old: Path, discarded: Path) -> Path:
    """Put ``new`` in place of ``old``, and return where the old tree is now.

    Raises:
        OSError: the system reported it; the old tree is still in place.
    """
    if exchange(new, old):
        return new
    os.rename(old, discarded)
    try:
        os.rename(new, old)
    except OSError:
        os.rename(discarded, old)
        raise
    return discarded
