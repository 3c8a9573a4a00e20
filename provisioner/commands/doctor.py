"""``doctor``: try out everything that a run needs, and say what to fix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provisioner.commands.probes.installation import catalog_summary, probe_clock, probe_settings
from provisioner.commands.probes.network import probe_network
from provisioner.commands.probes.probe import ProbeResult
from provisioner.commands.probes.run import rehearse
from provisioner.commands.probes.volume import probe_volume
from provisioner.commands.result import CommandResult
from provisioner.engine.supervise import deadline, supervise
from provisioner.errors import ProvisionerError
from provisioner.volume.store.json_file import read_json

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from provisioner.commands.request import CommandRequest

DESCRIPTION: Final = """\
Test what a run needs (settings, catalog, names, licences and space, clock, volume, certificates, proxy, Hub, token and
repository), and say what to fix. A line with WRONG means that a run would be refused. Test files have temporary names
and are removed again; no data are fetched."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add no options; the common ones are enough."""


def run(request: CommandRequest) -> CommandResult:
    """Run all probes.

    Raises:
        ProvisionerError: the probes were cancelled; what is wrong is in the result.
    """
    with deadline(request.settings.deadline_seconds, request.cancellation):
        results = supervise(lambda: list(_probe(request)), request.cancellation, lambda: None)
    wrong = [result for result in results if result.verdict == "WRONG"]
    lines = [str(result) for result in results]
    lines.append(f"{len(results)} checks: {f'{len(wrong)} wrong' if wrong else 'all right'}")
    document = {"checks": [result.as_record() for result in results], "wrong": len(wrong)}
    return CommandResult(document, "\n".join(lines), wrong[0].error if wrong else None)


def _probe(request: CommandRequest) -> Iterator[ProbeResult]:
    """Yield the result of each probe, in the order in which a run would fail."""
    settings, cancellation = request.settings, request.cancellation
    session = request.session()
    yield from probe_settings(settings, request.environ, session.layout.datasets)
    catalog = plan = None
    try:
        catalog = request.catalog()
    except ProvisionerError as error:
        cancellation.raise_if_requested()
        yield ProbeResult("catalog", "WRONG", error.message, error.hint, error)
    if catalog is not None:
        yield ProbeResult("catalog", "ok", catalog_summary(settings, catalog))
        plan, results = rehearse(settings, catalog, request.environ, cancellation)
        yield from results
    yield probe_clock(read_json(session.layout.status))
    yield from probe_volume(session, plan, cancellation)
    yield from probe_network(settings, catalog, plan, cancellation)
