"""Options and arguments that several commands share."""

from __future__ import annotations

from argparse import ArgumentTypeError
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def path_text(text: str) -> str:
    """Return a path unchanged; it must not be empty, since an unset variable would otherwise mean the working directory.

    Raises:
        argparse.ArgumentTypeError: it is empty.
    """
    if not text.strip():
        raise ArgumentTypeError("the path is empty")
    return text


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add the options that every command takes."""
    parser.add_argument("--json", action="store_true", help="print one JSON document on standard output; logs on standard error")
    parser.add_argument("--data-dir", "--cache-dir", metavar="DIR", help="the volume's root (DATA_DIR)")
    parser.add_argument("--config", metavar="FILE", help="the config file (CONFIG_PATH)")
    parser.add_argument("--catalog", metavar="FILE", help="the catalog, or several separated by ':' (CATALOG_PATH)")


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a phase or data sets."""
    parser.add_argument("--phase", metavar="PHASE", help="a phase of the catalog, or 'auto' (PHASE)")
    parser.add_argument(
        "--dataset",
        metavar="ID[:PART]|REF",
        action="append",
        default=[],
        help="this data set instead of a phase: an id of the catalog, or a reference such as hf://datasets/OWNER/NAME,"
        " hf://OWNER/NAME (a model) or https://HOST/FILE; may be repeated (DATASETS)",
    )


def add_ids(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name data sets on the volume."""
    words = "these data sets, by id or reference; by default all that are on the volume"
    parser.add_argument("ids", nargs="*", default=[], metavar="ID|REF", help=words)


def add_dry_run(parser: argparse.ArgumentParser) -> None:
    """Add the option of commands that remove something."""
    parser.add_argument("--dry-run", action="store_true", help="show what would be removed, and its size; remove nothing")
