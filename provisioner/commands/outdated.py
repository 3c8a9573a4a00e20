"""``outdated``: ask the source of each published data set whether it has changed since."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provisioner.commands.arguments import add_ids
from provisioner.commands.result import CommandResult
from provisioner.engine.clients import Clients
from provisioner.engine.references import ids_of
from provisioner.engine.supervise import deadline, supervise
from provisioner.engine.upstream import look_at_all
from provisioner.errors import NotFoundError, OutdatedError, error_to_report
from provisioner.reporting.outdated_report import outdated_document, outdated_text
from provisioner.units import format_count

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from provisioner.commands.request import CommandRequest
    from provisioner.errors import ProvisionerError
    from provisioner.planning.upstream import Finding

DESCRIPTION: Final = """\
Ask the source of each published data set for its current state, and compare that with the receipt: the commit of a
revision on the Hub; ETag, Last-Modified and size of files at URLs. This takes one request for each repository, and one
for each file. No data are fetched, and nothing is written. If the state cannot be determined, the output says so."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options and arguments."""
    add_ids(parser)
    parser.add_argument("--check", action="store_true", help="exit with 3 if a data set has a newer version upstream")


def run(request: CommandRequest) -> CommandResult:
    """Ask the sources, and compare.

    Raises:
        NotFoundError: a named data set is not on the volume.
        ProvisionerError: the volume cannot be read, or the command was interrupted.
    """
    session = request.session()
    clients = Clients(request.settings, session.layout.root, request.cancellation)
    inventory = session.store.reader.inventory(measured=False)
    catalog = request.described_catalog(inventory)
    names = ids_of(request.options.ids, session) or sorted(inventory.published)
    for name in names:
        if name not in inventory.published:
            raise NotFoundError(f"{name} is not on the volume", hint="See 'status' for what is there.")

    def look() -> list[Finding]:
        receipts = [inventory.receipts[name, inventory.published[name]] for name in names]
        published = [(catalog.datasets.get(receipt.dataset), receipt) for receipt in receipts]
        return look_at_all(published, clients.sources, request.cancellation)

    try:
        with deadline(request.settings.deadline_seconds, request.cancellation):
            findings = supervise(look, request.cancellation, lambda: None)
    finally:
        clients.close()
    return CommandResult(
        outdated_document(findings),
        outdated_text(findings, columns=request.columns),
        _error(findings, check=request.options.check),
    )


def _error(findings: Sequence[Finding], *, check: bool) -> ProvisionerError | None:
    """Return the error to end with: something is outdated and ``--check`` was given, or a source could not be asked."""
    outdated = [finding.label for finding in findings if finding.news.state == "outdated"]
    if outdated and check:
        return OutdatedError(
            f"{format_count(len(outdated), 'data set')} changed upstream: {', '.join(outdated)}",
            hint="'provision' with UPDATE=auto fetches what is newer.",
        )
    errors = [finding.news.error for finding in findings if finding.news.error is not None]
    return error_to_report(errors) if errors else None
