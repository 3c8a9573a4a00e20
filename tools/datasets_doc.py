"""Write ``docs/datasets.md`` from the real catalog: contents, sizes, licences, sources, and the disk space of each phase.

Sizes are computed as for a plan (:mod:`provisioner.planning.capacity`), so that the document agrees with ``plan``.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from provisioner.catalog.license import MEANINGS, commercial_part, judge, marked
from provisioner.catalog.parse import parse_catalog
from provisioner.catalog.size import Size, total
from provisioner.planning.capacity import need_of
from provisioner.planning.plan import phase_peak
from provisioner.planning.recipe import make_recipe
from tools.generated import ROOT, write_or_check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from provisioner.catalog.digest import Digest
    from provisioner.catalog.hub_source import HubSource
    from provisioner.catalog.model import Catalog, DataSet
    from provisioner.catalog.parts import PartRule
    from provisioner.catalog.url_source import UrlSource

CATALOG: Final = ROOT / "config" / "catalog.yaml"
PATH: Final = ROOT / "docs" / "datasets.md"

INTRODUCTION: Final = """\
<!-- Generated from config/catalog.yaml by `python -m tools.datasets_doc`. Do not edit. -->

# The data sets

What the catalog offers: contents, sizes packed and unpacked, splits, where the bytes come from and what they are compared
with, and what they may be used for. `list` shows the same for your volume, and `plan` shows what a run would do.

- Sizes in bytes are exact. **≈** marks an estimate: nobody has published the number. 1 GB is 10^9 bytes.
- *Verified by* is the digest that the bytes must have. **unverified** means that nobody states one. Files of a Hub repository
  without a digest here are compared with the Hub's own listing, which proves only that the transfer was correct.
- Whether commercial use is allowed is the catalog's opinion, with the evidence. It is not legal advice.
- A split is selected by name, such as `DATASETS=nsynth:test`. A phase takes all splits.
- A phase takes the layout marked *default*. Other layouts can be selected; a fall-back never changes the layout.
"""


def main(arguments: Sequence[str]) -> int:
    """Write the document, or check it with ``--check``."""
    catalog = parse_catalog(CATALOG.read_text(encoding="utf-8"), "config/catalog.yaml")
    return write_or_check(arguments, "tools.datasets_doc", PATH, document(catalog))


def document(catalog: Catalog) -> str:
    """Return the whole document as Markdown."""
    parts = [INTRODUCTION, *_phases(catalog), *_overview(catalog)]
    for dataset in catalog.datasets.values():
        parts += _dataset(dataset)
    parts += _excluded(catalog)
    return "\n".join(parts)


def readable(count: int) -> str:
    """Return a number of bytes in the largest unit in which it is 1 or more."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count} bytes"


def written(size: Size | None) -> str:
    """Return a size for a table: exact bytes, a marked estimate, or ``not known``."""
    if size is None:
        return "not known"
    return f"≈ {readable(size.value)}" if size.estimate else f"{size.value:,} bytes ({readable(size.value)})"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [*("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines), ""]


def _phases(catalog: Catalog) -> list[str]:
    rows = []
    for phase in catalog.phases.values():
        needs = [need_of(make_recipe(catalog.datasets[name])) for name in phase.datasets]
        names = ", ".join(f"`{name}`" for name in phase.own)
        rows.append(
            [
                f"`{phase.name}`",
                f"`{phase.extends}` and {names}" if phase.extends else names,
                written(total(need.download for need in needs)),
                written(total(need.unpacked for need in needs)),
                f"≈ {readable(phase_peak(catalog, phase.name))}",
            ]
        )
    return [
        "## Phases and the disk they need\n",
        *_table(["phase", "data sets", "download", "unpacked", "free space for a first run"], rows),
        "The free space is the peak: while a data set is unpacked, the volume holds its archives, its tree, and the trees of the",
        "data sets before it. With more, several data sets are built at the same time (the peak that `plan` shows counts them",
        "together); with less, archives are unpacked one by one, or as they arrive without being stored.",
        "What still does not fit is skipped, lowest priority first.\n",
    ]


def _overview(catalog: Catalog) -> list[str]:
    rows = []
    for dataset in catalog.datasets.values():
        need = need_of(make_recipe(dataset))
        rows.append(
            [
                f"[`{dataset.id}`](#{dataset.id})",
                str(dataset.priority),
                written(need.download),
                written(need.unpacked),
                dataset.license.commercial,
                _accepted(dataset),
            ]
        )
    head = ["data set", "priority", "download", "unpacked", "commercial use", "accepted by `LICENSE_POLICY=commercial`"]
    return ["## Overview\n", *_table(head, rows)]


def _accepted(dataset: DataSet) -> str:
    """Return whether the strictest licence policy accepts a data set."""
    if judge("commercial", dataset, ()).allowed:
        return "yes"
    part = commercial_part("commercial", dataset, ())
    return f"its part `{part.text.removeprefix(':')}`" if part is not None else "no"


def _part(name: str, rule: PartRule) -> str:
    """Return a line about a part that is defined by a rule."""
    words = rule.words
    if rule.commercial:
        words += f"; commercial use: **{rule.commercial}**"
    if rule.download and rule.unpacked_size:
        words += f"; download {written(rule.download)}, unpacked {written(rule.unpacked_size)}"
    return f"- Part `{name}`: {words}"


def _dataset(dataset: DataSet) -> list[str]:
    need = need_of(make_recipe(dataset))
    terms = dataset.license
    lines = [
        f"## {dataset.id}\n",
        f"**[{dataset.title}]({dataset.homepage})**: {dataset.description}.\n",
        f"- Purpose: {dataset.purpose or 'not stated'}",
        f"- Priority: {dataset.priority}"
        + (" (optional: its failure makes a run partial, not failed)" if dataset.optional else ""),
        f"- Download: {written(need.download)}",
        f"- Unpacked: {written(need.unpacked)}",
        f"- Splits: {', '.join(f'`{name}`' for name in dataset.splits) or 'none'}",
        f"- Licence: [{terms.name}]({terms.url}), SPDX `{terms.spdx}`",
        f"- Commercial use: {marked(terms.commercial, MEANINGS[terms.commercial])}",
        f"- Evidence: {terms.evidence}",
        f"- Attribution: {terms.attribution or 'none asked for'}",
    ]
    lines += [_part(name, rule) for name, rule in dataset.parts.items()]
    lines += [f"- Note: {note}" for note in dataset.notes]
    lines += ["", "Sources, in the order in which they are tried:\n"]
    for number, source in enumerate(dataset.sources, 1):
        default = " (default)" if source.layout == dataset.layout else ""
        headline, files = _KINDS[source.kind](source)
        lines += [f"{number}. Layout `{source.layout}`{default}: {headline}", "", *files]
    return lines


def _hub_source(source: HubSource) -> tuple[str, list[str]]:
    """Return a headline and a table of a repository's files, as far as the catalog knows them."""
    chosen = f", files {', '.join(f'`{glob}`' for glob in source.include)}" if source.include else ""
    left_out = f", without {', '.join(f'`{glob}`' for glob in source.exclude)}" if source.exclude else ""
    headline = f"the Hub repository `{source.repo}` at `{source.revision}`{chosen}{left_out}; download: {written(source.size)}"
    rows: list[list[str]] = [[f"`{path}`", _verified(digest)] for path, digest in source.digests]
    splits = [f"`{glob}` is `{split}`" for glob, split in source.splits]
    return headline, [
        *(["   Splits: " + ", ".join(splits) + "\n"] if splits else []),
        *(_table(["file", "verified by"], rows) if rows else ["   Verified by: only the Hub's listing\n"]),
    ]


def _url_source(source: UrlSource) -> tuple[str, list[str]]:
    """Return a headline and a table of the files."""
    return "direct URLs", _table(
        ["file", "split", "packed", "unpacked", "unpack", "verified by", "mirrors"],
        [
            [
                f"[{file.name}]({file.url})",
                f"`{file.split}`" if file.split else "every",
                written(file.size),
                written(file.size if file.unpack == "none" else file.unpacked_size),
                file.unpack,
                _verified(file.digest),
                ", ".join(f"<{mirror}>" for mirror in file.mirrors) or "none",
            ]
            for file in source.files
        ],
    )


_KINDS: Final[Mapping[str, Callable[[Any], tuple[str, list[str]]]]] = {"hub": _hub_source, "url": _url_source}
"""For each kind of source, the function that returns its headline and the lines below it."""


def _verified(digest: Digest | None) -> str:
    return f"`{digest}`" if digest else "**unverified**"


def _excluded(catalog: Catalog) -> list[str]:
    rows = [[f"`{one.id}`", one.title, one.license, one.reason] for one in catalog.excluded.values()]
    return [
        "## Excluded data sets\n",
        *(_table(["id", "title", "licence", "reason"], rows) if rows else ["Nothing.\n"]),
    ]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
