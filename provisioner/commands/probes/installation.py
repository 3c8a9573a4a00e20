"""Probes of the environment of a run: the settings, the catalog, the clock."""

from __future__ import annotations

import contextlib
import difflib
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from provisioner.commands.probes.probe import ProbeResult
from provisioner.engine.app_files import left_out_of_file
from provisioner.engine.installation import catalog_name
from provisioner.settings.settings import SETTINGS
from provisioner.units import format_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from provisioner.catalog.model import Catalog
    from provisioner.settings.settings import Settings

_EARLIEST_YEAR: Final = 2020
"""A clock that shows an earlier year was never set, so certificates are refused."""
_CLOCK_TOLERANCE_SECONDS: Final = 120.0
_SIMILARITY: Final = 0.85
"""Similarity to a setting's name above which a variable counts as a misspelling; 1 means equal."""


def probe_settings(settings: Settings, environ: Mapping[str, str], datasets: Path) -> Iterator[ProbeResult]:
    """Yield a note for each setting that is not used or not passed on, and for each variable that is probably misspelt.

    Args:
        settings: the settings.
        environ: the environment.
        datasets: the directory that an app is told of.
    """
    sentences = [*settings.warnings]
    known = {name for setting in SETTINGS for name in setting.names} | {f"{setting.name}_FILE" for setting in SETTINGS}
    plain = [setting.name for setting in SETTINGS]
    for name in sorted(environ.keys() - known):
        near = difflib.get_close_matches(name, plain, 1, _SIMILARITY)
        # NIX_SSL_CERT_FILE and the like belong to other programs.
        if near and name.isupper() and not name.startswith("PROVISIONER_") and not name.endswith(f"_{near[0]}"):
            sentences.append(f"{name} is set and is no setting. Did you mean {near[0]!r}?")
    if left_out := left_out_of_file({"DATASETS_DIR": str(datasets)}):
        sentences.append(left_out)
    for sentence in sentences:
        yield ProbeResult("settings", "note", sentence)
    if not sentences:
        yield ProbeResult("settings", "ok", "all names are known")


def catalog_summary(settings: Settings, catalog: Catalog) -> str:
    """Return what the catalog holds; that it was read without an error proves that it is well formed."""
    return f"{catalog_name(settings)}: well formed, {format_count(len(catalog.datasets), 'data set')}"


def probe_clock(status: Mapping[str, object] | None) -> ProbeResult:
    """Compare the clock with the time at which the volume's status was written."""
    now = time.time()
    written_at = (status or {}).get("updated_at")
    ahead_seconds = 0.0
    with contextlib.suppress(ValueError):
        ahead_seconds = datetime.fromisoformat(str(written_at)).timestamp() - now
    moment = datetime.fromtimestamp(now, UTC)
    shown = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    is_behind = ahead_seconds > _CLOCK_TOLERANCE_SECONDS
    if moment.year < _EARLIEST_YEAR or is_behind:
        why = f"; the volume's status is from {written_at}" if is_behind else ""
        hint = "Set the clock: with a wrong one certificates are refused."
        return ProbeResult("clock", "note", f"it is {shown} here{why}", hint)
    return ProbeResult("clock", "ok", f"it is {shown}")
