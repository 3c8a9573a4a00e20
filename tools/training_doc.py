"""Update the columns of all indexes in ``docs/training.md`` from the readers that make them.

The tables stand between ``<!-- columns:begin -->`` and ``<!-- columns:end -->``; the text between the markers is replaced.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from provisioner.indexing.card import all_columns
from provisioner.indexing.registry import VERSIONS, reader_named
from tools.generated import ROOT, write_or_check

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PATH: Final = ROOT / "docs" / "training.md"
_BEGIN: Final = "<!-- columns:begin -->\n"
_END: Final = "<!-- columns:end -->"


def main(arguments: Sequence[str]) -> int:
    """Write the document with current tables, or check it with ``--check``."""
    text = PATH.read_text(encoding="utf-8")
    before, _, rest = text.partition(_BEGIN)
    after = rest.partition(_END)[2]
    return write_or_check(arguments, "tools.training_doc", PATH, f"{before}{_BEGIN}{tables()}{_END}{after}")


def tables() -> str:
    """Return a table of the columns for each reader as Markdown."""
    lines = []
    for name in VERSIONS:
        reader = reader_named(name)
        if reader.describe is not None:
            continue
        module = sys.modules[f"provisioner.indexing.{name}"]
        lines += [f"### {(module.__doc__ or '').partition(':')[0]}", "", "| column | type | meaning |", "| --- | --- | --- |"]
        lines += [f"| `{each.name}` | {_type(each.feature)} | {each.description} |" for each in all_columns(reader)]
        lines.append("")
    return "\n".join(lines)


def _type(feature: Mapping[str, Any]) -> str:
    """Return a column's type in words."""
    if "list" in feature:
        inner = feature["list"]
        if isinstance(inner, str):
            return f"list of {inner}"
        return "list of " + ", ".join(f"`{field['name']}` ({field['dtype']})" for field in inner)
    dtype = feature["dtype"]
    if isinstance(dtype, str):
        return dtype
    names = list(dtype["class_label"]["names"].values())
    return "class label: " + (", ".join(names) if names else "what is found")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
