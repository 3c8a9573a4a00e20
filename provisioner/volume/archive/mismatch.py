"""Better messages for an archive that cannot be read because it is something else, or one part of a split archive."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from provisioner.catalog.answers import HEAD, hint_for
from provisioner.errors import BrokenArchiveError, ProvisionerError
from provisioner.volume.archive.errors import JOIN_HINT, part_of_archive
from provisioner.volume.archive.recognition import is_part_name, recognise

if TYPE_CHECKING:
    from provisioner.catalog.artifact import UnpackFormat
    from provisioner.volume.archive.recognition import Kind
    from provisioner.volume.staging.incoming import Incoming


def explained(error: BrokenArchiveError, archive: Incoming, form: UnpackFormat) -> BrokenArchiveError:
    """Return an error that says what the file looks like, if that differs from its format; otherwise ``error`` itself."""
    head = b""
    with contextlib.suppress(ProvisionerError):
        while len(head) < HEAD and (more := archive.read_at(len(head), HEAD - len(head))):
            head += more
    kind = recognise(head, len(head))
    if kind is not None and kind.name == "zip-part":
        return part_of_archive(archive.name, f"it is {kind.words}")
    if error.hint == JOIN_HINT:
        return error
    if is_part_name(archive.name):
        reason = error.message.removeprefix(f"{archive.name}: ")
        return part_of_archive(archive.name, f"by its name it is one part of a split archive: {reason}")
    if kind is not None and form not in kind.forms:
        return BrokenArchiveError(f"{archive.name}: it is no {form} file: it looks like {kind.words}", hint=_hint(kind))
    return error


def _hint(kind: Kind) -> str:
    if kind.forms:
        form = kind.forms[0]
        return f"If that is what the publisher offers, its entry should say 'unpack: {form}' (a reference: '#unpack={form}')."
    if kind.answer is not None:
        return hint_for(kind.answer)
    return "Formats that can be unpacked are zip, tar, tar.gz, tar.bz2, tar.xz and tar.zst: find one of them, or pack it again."
