"""``catalog add``: write a complete catalog entry for a reference, with what its source says of itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from provisioner.catalog.card_parts import splits_of
from provisioner.catalog.document import parse_document
from provisioner.catalog.entries import entry_of
from provisioner.catalog.parse import NO_CATALOG, parse_catalog
from provisioner.catalog.references import parse_reference
from provisioner.catalog.size import Size
from provisioner.catalog.written_entry import entry_text, id_for, with_entry
from provisioner.commands.result import CommandResult
from provisioner.engine.clients import Clients
from provisioner.engine.installation import load_catalog
from provisioner.engine.learn_digest import learn_digest
from provisioner.engine.supervise import deadline, supervise
from provisioner.errors import ConfigurationError, UsageError
from provisioner.redaction import show_url
from provisioner.volume.fs.atomic import write_atomic
from provisioner.volume.fs.files import read_named_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioner.catalog.model import Catalog
    from provisioner.commands.request import CommandRequest
    from provisioner.reporting.progress import Progress

_LARGEST_CATALOG: Final = 16 << 20
"""Bytes."""


@dataclass(frozen=True, slots=True)
class _Added:
    id: str
    text: str


def run(request: CommandRequest) -> CommandResult:
    """Ask the sources, and write the entries.

    Raises:
        UsageError: no reference was given, or several with the same id.
        ConfigurationError: a reference is malformed, an id is taken, or nothing can be added to the file.
        ProvisionerError: a source cannot be used.
    """
    written, given = request.options.references, request.options.id
    if not written:
        raise UsageError("'catalog add' needs a reference", hint="For example: catalog add hf://datasets/OWNER/NAME.")
    if given and len(written) > 1:
        raise UsageError("one id cannot name several references", hint="Add them one after the other.")
    clients = Clients(request.settings, request.settings.data_dir.absolute(), request.cancellation)
    progress = request.progress()
    try:
        with deadline(request.settings.deadline_seconds, request.cancellation):
            added = supervise(
                lambda: [_add(request, clients, text, given, progress) for text in written], request.cancellation, progress.tick
            )
    finally:
        progress.close()
        clients.close()
    file = Path(request.options.to) if request.options.to else None
    text = "".join(one.text for one in added)
    if file is not None:
        _write(file, added, request.settings.catalog_paths)
        text = f"{file}: added {', '.join(one.id for one in added)}; read what is written there of the licence"
    document: dict[str, Any] = {"file": str(file) if file else None, "entries": {one.id: one.text for one in added}}
    return CommandResult(document, text.rstrip("\n"))


def _add(request: CommandRequest, clients: Clients, written: str, given: str | None, progress: Progress) -> _Added:
    reference = parse_reference(written, request.settings.hf_endpoint)
    facts = clients.sources.describe(reference)
    dataset = entry_of(reference, reference.names[0], facts)
    source = dataset.sources[0]
    resolved = clients.sources.resolve(source)
    found = resolved.pin
    (first, *others) = resolved.artifacts
    if first.digest is None and not others and source.artifacts is not None:
        session = request.session()
        session.prepare()
        with session.lock():
            first = learn_digest(session, clients, first, cancellation=request.cancellation, progress=progress)
        options = f"{'&' if '#' in written else '#'}sha256={first.digest.hex}" if first.digest else ""
        proven = parse_reference(f"{written}{options}", request.settings.hf_endpoint)
        dataset = entry_of(proven, reference.names[0], facts)
        source = dataset.sources[0].sized(Size(first.exact_size or 0))
        found = str(first.digest)
    else:
        splits = splits_of(resolved.parts, [artifact.name for artifact in resolved.artifacts])
        source = source.pinned(resolved.pin).divided(splits)
    name = given or id_for(reference.names[0])
    entry = entry_text(
        name,
        replace(dataset, sources=(source,)),
        reference=reference.text,
        found=found,
        day=f"{datetime.now(UTC):%Y-%m-%d}",
    )
    # Whatever the source says, only what the parser accepts is written.
    parse_catalog(with_entry(None, entry, show_url(written)), f"the entry of {reference.text}")
    return _Added(name, entry)


def _write(file: Path, added: Sequence[_Added], catalogs: Sequence[Path]) -> None:
    """Add entries to a catalog's file, which is created if there is none.

    Args:
        file: its path.
        added: the entries.
        catalogs: the catalogs in the settings; if the file is one of them, it is on top of those before it.

    Raises:
        ConfigurationError: an id is taken, or the file is not a catalog.
        VolumeError: it cannot be written.
    """
    try:
        text: str | None = read_named_text(file, _LARGEST_CATALOG)
    except FileNotFoundError:
        text = None
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}", hint="Name a catalog, or a file that is not there.") from None
    names = [path.absolute() for path in catalogs]
    below = catalogs[: names.index(file.absolute())] if file.absolute() in names else catalogs
    base = load_catalog(below) if below and text is not None else NO_CATALOG
    for one in added:
        if text is not None and one.id in _ids(text, str(file), base):
            raise ConfigurationError(f"{file}: there is a data set {one.id!r} already", hint="Give another id with --id.")
        text = with_entry(text, one.text, str(file))
        parse_catalog(text, str(file), base)
    write_atomic(file, (text or "").encode())


def _ids(text: str, file: str, base: Catalog) -> set[str]:
    """Return the ids that a catalog's own text describes or excludes.

    Raises:
        ConfigurationError: it is not a catalog.
    """
    parse_catalog(text, file, base)
    sections = parse_document(text, file).mapping()
    return {name for key in ("datasets", "excluded") if key in sections for name in sections[key].mapping()}
