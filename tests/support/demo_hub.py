"""The miniature collection on the test Hub, with a catalog for it: everything that a demonstration needs.

    python -m tests.support.demo_hub OUT [--catalog config/catalog.yaml] [--host … --port … --cdn-port …]

Generates the collection into OUT, serves it, writes `OUT/catalog.yaml`, and prints one line of JSON when ready: `endpoint`
(`HF_ENDPOINT`), `static`, `url_rewrite` (`URL_REWRITE`), `catalog` (`CATALOG_PATH`), `token` (of a user with write
access), `user`, `trees` (the expected result). Ends on SIGTERM.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support import miniature
from tests.support.hub_server import add_server_options, serve_until_signal, server_from

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a program."""
    parser = argparse.ArgumentParser(prog="demo_hub", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, help="folder for the generated collection")
    parser.add_argument("--catalog", type=Path, default=Path("config/catalog.yaml"), help="the real catalog")
    add_server_options(parser)
    options = parser.parse_args(arguments)
    real = miniature.read_catalog(options.catalog)
    collection = miniature.generate(options.out, real)
    catalog = options.out / "catalog.yaml"
    miniature.write_catalog(miniature.miniature_catalog(real, collection), catalog)
    server = server_from(options)
    server.load(options.out)
    announcement = {
        **server.describe(),
        "catalog": str(catalog.resolve()),
        "token": "demo-write-token",
        "user": "demo",
        "trees": str(collection.trees.resolve()),
    }
    serve_until_signal(server, announcement)
    return 0


if __name__ == "__main__":
    sys.exit(main())
