"""The user's request in the terms of planning. This is the only place where names are looked up in the catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.catalog.document import nearest, quoted
from provisioner.catalog.references import is_reference
from provisioner.catalog.written_parts import parse_query
from provisioner.catalog.written_reference import WrittenReference
from provisioner.errors import ConfigurationError, LicenseRefusedError, MissingDataError
from provisioner.planning.model import Request, Rules

if TYPE_CHECKING:
    from provisioner.catalog.model import Catalog, DataSet
    from provisioner.catalog.parts import PartRule
    from provisioner.settings.settings import Settings


def make_request(settings: Settings, catalog: Catalog) -> Request:
    """Return the request: data sets by name, or else a phase.

    Raises:
        ConfigurationError: a name is not in the catalog.
        LicenseRefusedError: the catalog excludes a data set on purpose.
    """
    phase = settings.phase or catalog.default_phase
    if not settings.datasets and phase != "auto" and phase not in catalog.phases:
        raise ConfigurationError(f"PHASE: {phase!r} is not a phase of the catalog", hint=_known_phases(phase, catalog))
    chosen: dict[str, list[str]] = {}
    rules: dict[str, PartRule] = {}
    for written, part in settings.datasets:
        name = catalog.references.get(written, written)
        _check_name(catalog, settings.datasets_label, name)
        split, rule = _part_of(catalog.datasets[name], part, settings.datasets_label)
        if name in rules or (rule is not None and name in chosen):
            raise ConfigurationError(
                f"{settings.datasets_label}{name} is asked for twice, once by a rule: both would be at one path",
                hint="Ask for one part of a data set at a time; describe what both take as one rule.",
            )
        if rule is not None:
            rules[name] = rule
        if split is None:
            chosen[name] = []  # all of it, whatever splits were named as well
        elif chosen.get(name) != []:
            chosen.setdefault(name, []).append(split)
    for variable, names in (
        ("LAYOUTS", settings.layouts),
        ("PRIORITIES", settings.priorities),
        ("ACCEPT_LICENSES", settings.accept_licenses),
    ):
        for name in names:
            # Another request may have named it by a reference, so it may stay accepted.
            if not is_reference(name) and "/" not in name:
                _check_name(catalog, f"{variable}: ", name)
    return Request(
        phase=None if chosen else phase,
        datasets=tuple((name, tuple(splits)) for name, splits in chosen.items()),
        rules=rules,
        layouts=settings.layouts,
    )


def _part_of(dataset: DataSet, part: str | None, label: str) -> tuple[str | None, PartRule | None]:
    """Return the split that a part names, and its rule: the rule in the catalog, narrowed by the query after ``?``.

    Raises:
        ConfigurationError: the rule is not well formed, or is too long together with the rule in the catalog.
    """
    name, mark, query = (part or "").partition("?")
    written = f"{dataset.id}:{part}" if name else f"{dataset.id}{part}"
    rule = parse_query(query, WrittenReference(written, f"{label}{quoted(written)}", 0, "")) if mark else None
    if not name or name not in dataset.parts:
        return name or None, rule
    return None, dataset.parts[name].narrowed(rule, of=dataset.label) if rule else dataset.parts[name]


def make_rules(settings: Settings) -> Rules:
    """Return the rules that decide whether a data set is fetched or left out."""
    return Rules(
        license_policy=settings.license_policy,
        accept_licenses=frozenset(settings.accept_licenses),
        limit_bytes=settings.max_storage_bytes,
        budget_bytes=settings.budget_bytes,
        fail_on_shortfall=settings.on_shortfall == "fail",
        priorities=settings.priorities,
    )


def missing_data_error(settings: Settings, labels: str) -> MissingDataError:
    """Return the error for data sets that are missing and may not be fetched, by ``AUTO_DOWNLOAD``."""
    return MissingDataError(
        f"not on the volume: {labels}; nothing was fetched, since AUTO_DOWNLOAD={settings.auto_download}",
        hint="Run once with AUTO_DOWNLOAD=true, or ask for what is there (see 'status').",
    )


def _known_phases(wanted: str, catalog: Catalog) -> str:
    """Return a hint with the phase that was probably meant, and all phases."""
    known = f"Its phases: {', '.join(catalog.phases)}; or auto, the largest that fits."
    near = nearest(wanted, [*catalog.phases, "auto"])
    return f"{near} {known}" if near.startswith("Did") else known


def _check_name(catalog: Catalog, label: str, name: str) -> None:
    if name in catalog.excluded:
        excluded = catalog.excluded[name]
        useless = "ACCEPT_LICENSES cannot bring it back. " if label == "ACCEPT_LICENSES: " else ""
        raise LicenseRefusedError(
            f"{label}{name} ({excluded.title}) is left out of the catalog on purpose: {excluded.reason} ({excluded.license})",
            hint=f"{useless}Describe it in a catalog of your own (CATALOG_PATH) if you may use it.",
        )
    if name not in catalog.datasets:
        raise ConfigurationError(f"{label}{name!r} is not in the catalog", hint=nearest(name, catalog.datasets))
