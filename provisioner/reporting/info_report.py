"""One data set as text for people, and as JSON values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from provisioner.catalog.license import judge, meaning
from provisioner.redaction import show_url
from provisioner.reporting.tables import size_text, size_value, wrapped
from provisioner.reporting.text_width import USUAL_COLUMNS
from provisioner.units import format_bytes, format_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from provisioner.catalog.artifact import Artifact
    from provisioner.catalog.source import Source
    from provisioner.planning.model import IndexFacts, Receipt, Rules, Step

_MOST_PARTS: Final = 20
"""Maximum number of parts of a repository that the text names; JSON has all of them."""
_MOST_FILES: Final = 10
"""Maximum number of files of one source that the text names; JSON has all of them."""


def info_document(
    step: Step, phases: Sequence[str], receipt: Receipt | None, index: IndexFacts | None, rules: Rules
) -> dict[str, Any]:
    """Return what is known of a data set as JSON values.

    Args:
        step: what ``provision`` would do with it.
        phases: the phases that include it.
        receipt: receipt of the published version, or ``None`` if there is none.
        index: the index of that version, or ``None`` if there is none.
        rules: the licence policy.
    """
    dataset = step.recipe.dataset
    terms, verdict = dataset.license, judge(rules.license_policy, dataset, rules.accept_licenses)
    return {
        "id": dataset.id,
        "reference": dataset.reference.text if dataset.reference else None,
        "title": dataset.title,
        "homepage": dataset.homepage,
        "description": dataset.description,
        "purpose": dataset.purpose,
        "priority": step.priority,
        "optional": dataset.optional,
        "phases": list(phases),
        "splits": list(dataset.splits),
        "parts": list(dataset.facts.parts) if dataset.facts else [],
        "layouts": list(dataset.layouts),
        "license": {
            "spdx": terms.spdx,
            "name": terms.name,
            "url": terms.url,
            "commercial": terms.commercial,
            "evidence": terms.evidence,
            "attribution": terms.attribution,
            "allowed": verdict.allowed,
        },
        "download": size_value(step.to_fetch if receipt is None else step.download),
        "unpacked": size_value(step.unpacked),
        "sources": [
            {
                "kind": source.kind,
                "name": _name(source),
                "layout": source.layout,
                "splits": list(source.split_names),
                "files": [_file(artifact) for artifact in source.artifacts] if source.artifacts is not None else None,
            }
            for source in dataset.sources
        ],
        "rules": {name: rule.identity for name, rule in dataset.parts.items()},
        "notes": list(dataset.notes),
        "action": step.action,
        "on_volume": None
        if receipt is None
        else {
            "version": receipt.version,
            "path": f"datasets/{receipt.dataset}",
            "files": receipt.files,
            "bytes": receipt.size,
            "pin": receipt.pin,
            "verified_against": receipt.verified_against,
            "published_at": receipt.published_at,
            "part": receipt.rule.words if receipt.rule else None,
            "index": index.as_record(receipt.dataset) if index else None,
        },
    }


def _file(artifact: Artifact) -> dict[str, Any]:
    return {
        "name": artifact.name,
        "urls": [show_url(url) for url in artifact.urls],
        "size": size_value(artifact.size),
        "digest": str(artifact.digest) if artifact.digest else None,
        "unpack": artifact.unpack,
    }


def info_text(
    step: Step,
    phases: Sequence[str],
    receipt: Receipt | None,
    index: IndexFacts | None,
    rules: Rules,
    *,
    columns: int = USUAL_COLUMNS,
) -> str:
    """Return what is known of a data set as text; the arguments are those of :func:`info_document`."""
    dataset = step.recipe.dataset
    lines = [wrapped(f"{dataset.label}: {dataset.title}", columns)]
    lines += [wrapped(dataset.description, columns)] if dataset.description else []
    facts = _facts(step, phases, receipt, index, rules)
    lines += ["", *(wrapped(f"{name}: {value}", columns) for name, value in facts if value)]
    for number, source in enumerate(dataset.sources, 1):
        lines += ["", wrapped(f"Source {number} ({source.kind}): {_name(source)}", columns)]
        lines += [wrapped(f"  {line}", columns) for line in _source(source)]
    lines += ["", *(wrapped(f"Note: {note}", columns) for note in dataset.notes)] if dataset.notes else []
    return "\n".join(lines)


def _facts(
    step: Step, phases: Sequence[str], receipt: Receipt | None, index: IndexFacts | None, rules: Rules
) -> Iterator[tuple[str, str]]:
    dataset = step.recipe.dataset
    terms, verdict = dataset.license, judge(rules.license_policy, dataset, rules.accept_licenses)
    yield "Homepage", dataset.homepage
    yield "Purpose", dataset.purpose
    yield "Phases", ", ".join(phases) or f"none; --dataset {dataset.label} asks for it"
    yield "Priority", f"{step.priority}{', optional' if dataset.optional else ''}"
    yield "Splits", ", ".join(dataset.splits)
    for name, rule in dataset.parts.items():
        yield f"Part {name}", rule.words
    parts = dataset.facts.parts if dataset.facts else ()
    yield "Parts", ", ".join(parts[:_MOST_PARTS]) + (f" and {len(parts) - _MOST_PARTS} more" if len(parts) > _MOST_PARTS else "")
    yield "Layouts", ", ".join(dataset.layouts) if len(dataset.layouts) > 1 else ""
    yield "Download", size_text(step.download or step.recipe.sources[0].size)
    yield "Unpacked", size_text(step.unpacked)
    yield "Licence", f"{terms.name} (SPDX {terms.spdx}){f', {terms.url}' if terms.url else ''}"
    yield "Commercial use", terms.commercial if terms.commercial == "allowed" else f"{terms.commercial}: {meaning(terms)}"
    yield "Evidence", terms.evidence
    yield "Attribution", terms.attribution
    # The terms are stated above; for a refusal, the reason also says what would change it.
    yield "Policy", verdict.reason.partition(" (")[0] if verdict.allowed else verdict.reason
    if receipt is None:
        yield "On the volume", "no"
    else:
        size = f"{format_count(receipt.files, 'file')}, {format_bytes(receipt.size)}"
        proof = f"verified against: {receipt.verified_against}"
        part = f", a part: {receipt.rule.words}" if receipt.rule else ""
        yield "On the volume", f"datasets/{receipt.dataset}{part}, {size}, version {receipt.version}, {proof}"
        if index is not None:
            yield "Index", ", ".join([f"index/{receipt.dataset}", *_rows(index)])


def _rows(index: IndexFacts) -> Iterator[str]:
    """Yield how many examples there are, and how many per split, if they are counted."""
    if index.rows:
        splits = ", ".join(f"{split} {count:,}" for split, count in index.rows.items())
        yield f"{format_count(sum(index.rows.values()), 'example')} ({splits})"


def _name(source: Source) -> str:
    """Return the name of a source without anything that may be secret: a URL, or a repository and its revision."""
    return show_url(source.name) if "://" in source.name else source.name


def _source(source: Source) -> Iterator[str]:
    """Yield lines about the files of a source."""
    artifacts = source.artifacts
    if artifacts is None:
        size = "size not stated" if source.size is None or source.size.is_unknown else size_text(source.size)
        yield f"{size}; its listing says which files there are"
        return
    for artifact in artifacts[:_MOST_FILES]:
        how = f", unpacked as {artifact.unpack}" if artifact.unpack != "none" else ""
        yield f"{artifact.name}: {size_text(artifact.size)}, {artifact.digest or 'no digest is known'}{how}"
        for mirror in artifact.urls[1:]:
            yield f"  also at {show_url(mirror)}"
    if len(artifacts) > _MOST_FILES:
        yield f"and {format_count(len(artifacts) - _MOST_FILES, 'file')} more"
