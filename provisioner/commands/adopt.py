"""``adopt``: build a data set from files that were downloaded or unpacked by hand."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from provisioner.commands import provision
from provisioner.commands.arguments import path_text
from provisioner.errors import NotFoundError, UsageError
from provisioner.settings.dataset_list import datasets as parse_datasets
from provisioner.settings.parsers import BadTextError
from provisioner.settings.setting import COMMAND_LINE

if TYPE_CHECKING:
    import argparse

    from provisioner.commands.request import CommandRequest
    from provisioner.commands.result import CommandResult

DESCRIPTION: Final = """\
Build a data set from files that are already on this machine: archives that were downloaded with a browser, another
tool's cache, or a tree that an older tool unpacked. A file is used if its digest is right, whatever its name. Archives
and single files are compared with the digest in the catalog or the listing; the files of an unpacked tree are compared
with a peer's manifest (PEERS). Without a peer, they are compared with the sizes and CRC-32 in the index of the data
set's zip, of which only that index is fetched; 'status' says so. Missing files are fetched, except with
HF_HUB_OFFLINE. The files themselves are not changed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument("dataset_id", metavar="ID[:PART]|REF", help="the data set")
    parser.add_argument("paths", nargs="+", type=path_text, metavar="PATH", help="files, and directories with files at any depth")
    parser.set_defaults(finish=False, dry_run=False)


def run(request: CommandRequest) -> CommandResult:
    """Build the data set as ``provision`` does, using these files.

    Raises:
        UsageError: the name of the data set is not valid.
        NotFoundError: one of the paths does not exist.
        ProvisionerError: the run failed.
    """
    paths = tuple(Path(path).expanduser().absolute() for path in request.options.paths)
    for path in paths:
        if not os.path.exists(path):  # noqa: PTH110 - `Path.exists` raises if access is denied
            raise NotFoundError(f"{path} is not there; nothing was done", hint="Give files, or directories that have them.")
    try:
        datasets = parse_datasets(request.options.dataset_id)
    except BadTextError as error:
        raise UsageError(error.problem, hint=error.hint) from None
    settings = replace(
        request.settings,
        datasets=datasets,
        search_dirs=(*paths, *request.settings.search_dirs),
        adopts_trees=True,
        shard=None,
        origins={**request.settings.origins, "DATASETS": COMMAND_LINE},
    )
    return provision.run(replace(request, settings=settings))
