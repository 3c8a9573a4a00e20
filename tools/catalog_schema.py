"""Writes ``config/schema/catalog.schema.json`` from the tables of :mod:`provisioner.catalog.schema`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from provisioner.catalog.schema import schema_text
from tools.generated import ROOT, write_or_check

if TYPE_CHECKING:
    from collections.abc import Sequence

PATH: Final = ROOT / "config" / "schema" / "catalog.schema.json"


def main(arguments: Sequence[str]) -> int:
    """Write the schema, or check it with ``--check``."""
    return write_or_check(arguments, "tools.catalog_schema", PATH, schema_text())


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
