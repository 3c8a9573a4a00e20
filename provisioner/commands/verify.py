"""``verify``: are the published trees what their manifests say; changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.commands.result import CommandResult
from provisioner.engine.supervise import deadline, supervise
from provisioner.engine.verification import Checked, Verifier
from provisioner.engine.volume_session import VolumeSession
from provisioner.errors import DamagedTreeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioner.cancellation import Cancellation
    from provisioner.reporting.progress import Progress
    from provisioner.settings.model import Settings


def run_verify(
    settings: Settings, ids: Sequence[str], *, deep: bool, cancellation: Cancellation, progress: Progress
) -> CommandResult:
    """Do what the command ``verify`` does.

    Raises:
        ProvisionerError: it could not be done; what is wrong with the trees is in the answer.
    """
    verifier = Verifier(
        VolumeSession(settings, cancellation).store, deep=deep, check_cancelled=cancellation.raise_if_requested, progress=progress
    )
    try:
        with deadline(settings.deadline_seconds, cancellation):
            found = supervise(lambda: list(verifier.check(ids)), cancellation, progress.tick)
    finally:
        progress.close()
    wrong = [checked for checked in found if checked.findings]
    count = sum(len(checked.findings) for checked in wrong)
    how = "by their bytes" if deep else "by names, kinds and sizes; 'verify --deep' also reads them"
    trees = sum(1 for checked in found if checked.version)
    lines = [line for checked in found for line in _lines(checked)]
    lines.append(f"{trees} trees checked {how}: {_findings(count) if count else 'all right'}")
    document = {
        "volume": str(settings.data_dir.absolute()),
        "deep": deep,
        "trees": [checked.as_record() for checked in found],
        "findings": count,
    }
    return CommandResult(document, "\n".join(lines), _error(wrong, count))


def _lines(checked: Checked) -> list[str]:
    if not checked.findings:
        return [f"ok     {checked.label}: {checked.files:,} files, {checked.size:,} bytes"]
    return [f"WRONG  {checked.label}: {finding}" for finding in checked.findings]


def _error(wrong: Sequence[Checked], count: int) -> DamagedTreeError | None:
    if not wrong:
        return None
    ids = " ".join(dict.fromkeys(checked.dataset for checked in wrong))
    return DamagedTreeError(
        f"{_findings(count)} in published data sets: {ids}; nothing was changed",
        hint=f"'repair {ids}' fetches what is wrong and keeps the rest.",
    )


def _findings(count: int) -> str:
    return f"{count} finding{'' if count == 1 else 's'}"
