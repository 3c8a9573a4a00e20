"""``catalog``: check the catalog, write entries for it, or pin what its sources are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provisioner.commands import catalog_check

if TYPE_CHECKING:
    import argparse

    from provisioner.commands.request import CommandRequest
    from provisioner.commands.result import CommandResult

DESCRIPTION: Final = f"""\
'catalog check': {catalog_check.DESCRIPTION[:1].lower()}{catalog_check.DESCRIPTION[1:]}

'catalog add REF ...': ask the sources of references what they hold, and write complete entries for them: on standard output,
or into a catalog's file. A file without a digest is fetched once to compute it, and stays in staging on the volume, where
the next 'provision' finds it.

'catalog pin [ID or REF ...]': write what every source resolves to (commits, sizes, digests), and the digests of the
manifests of published versions, for PINS: on standard output, or into a file. A published version is pinned as it is.
An existing file is replaced; if data sets are named, its pins of all others are kept."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options and arguments."""
    parser.add_argument("action", choices=["check", "add", "pin"], metavar="check|add|pin", help="what to do with the catalog")
    parser.add_argument(
        "references",
        nargs="*",
        default=[],
        metavar="NAME",
        help="add: references; pin: ids or references, instead of all data sets",
    )
    parser.add_argument("--online", action="store_true", help="check: ask every source for size, digest, ETag and ranges")
    parser.add_argument("--id", metavar="ID", help="add: the id of the entry; by default derived from the reference's name")
    parser.add_argument("--output", metavar="FILE", help="pin: write the pins to this file")
    parser.add_argument("--to", metavar="FILE", help="add: add the entry to this catalog file, which is created if it is missing")


def run(request: CommandRequest) -> CommandResult:
    """Execute the requested action.

    Raises:
        ProvisionerError: see the modules of the actions.
    """
    if request.options.action == "check":
        return catalog_check.run(request)
    if request.options.action == "pin":
        from provisioner.commands import catalog_pin  # noqa: PLC0415 - the same

        return catalog_pin.run(request)
    from provisioner.commands import catalog_add  # noqa: PLC0415 - it needs clients, 'check' alone does not

    return catalog_add.run(request)
