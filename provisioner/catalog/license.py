"""Licences: which data sets a policy allows, and the text of ``ATTRIBUTION.md``.

A verdict follows the catalog's mark for commercial use. It is not a legal opinion, and its evidence is shown with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from provisioner.catalog.plain_text import code_span

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from provisioner.catalog.model import Commercial, DataSet, EntryFacts, License
    from provisioner.catalog.parts import PartRule

Policy = Literal["commercial", "curated", "any"]
"""``commercial``: only what is marked ``allowed``. ``curated``: everything except what is marked ``forbidden``, with a
warning for the other marks. ``any``: everything."""

POLICIES: Final[tuple[Policy, ...]] = ("commercial", "curated", "any")

MEANINGS: Final[Mapping[Commercial, str]] = {
    "allowed": "commercial use is allowed",
    "forbidden": "commercial use is forbidden",
    "mixed": "commercial use is allowed for some of it only: filter by the licence of each item",
    "verify": "whether commercial use is allowed is disputed or not confirmed: have it checked",
}
"""Each mark of the catalog in words."""

NOT_KNOWN: Final = "Not known"
"""The name of a licence that is not known, because the source was not asked."""
NOT_STATED: Final = "Not stated"
"""The name of a licence if the source was asked and states none."""


_ATTRIBUTION_HEAD: Final = """\
# Licences and attribution

What lies under `datasets/` on this volume, under which terms, and whom to name when it is used.
The verdicts on commercial use are those of the catalog, with what they rest on; they are no legal advice.
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict of a policy on one data set."""

    allowed: bool
    warning: str | None
    """A caution for users of the data although it is allowed."""
    reason: str
    """The reason, in one sentence without a full stop; for a refusal, with what would change it."""


def meaning(terms: License) -> str:
    """Return in words what a licence says about commercial use."""
    if terms.name in {NOT_KNOWN, NOT_STATED}:
        return "nobody states whether commercial use is allowed: ask the publisher"
    return MEANINGS[terms.commercial]


def commercial_part(policy: Policy, dataset: DataSet, accepted: Collection[str]) -> PartRule | None:
    """Return the part that a policy takes in place of the whole data set; ``None`` if there is none, or the whole is allowed.

    Args:
        policy: the operator's policy.
        dataset: its catalog entry.
        accepted: ids of data sets whose terms the operator accepted.
    """
    if policy != "commercial" or dataset.license.commercial == "allowed" or not set(dataset.accepted_as).isdisjoint(accepted):
        return None
    return next((rule for rule in dataset.parts.values() if rule.commercial == "allowed"), None)


def mark_of(dataset: DataSet, rule: PartRule | None, layout: str = "", splits: Collection[str] = ()) -> Commercial | None:
    """Return what the catalog says about the commercial use of a part; ``None`` if the mark of the whole data set applies.

    A verdict on a part in the catalog applies to its examples: those of its layout, and of all splits if it takes a number of
    them.

    Args:
        dataset: its catalog entry.
        rule: the rule of the part that is taken; ``None`` means all of the data set.
        layout: layout of the tree; empty means the data set's default.
        splits: the splits that are taken; empty means all.
    """
    if rule is None or layout not in {"", dataset.layout}:
        return None
    marks = [
        part.commercial
        for part in dataset.parts.values()
        if part.commercial is not None and not (splits and part.takes_some) and part.covers(rule)
    ]
    # What is forbidden for more is forbidden for less, whatever else the catalog says.
    return next((mark for mark in ("forbidden", "allowed") if mark in marks), next(iter(marks), None))


def marked(mark: Commercial, words: str) -> str:
    """Return a mark as Markdown, with its meaning in words if it is not self-explanatory."""
    return f"**{mark}**" if mark in {"allowed", "forbidden"} else f"**{mark}** ({words})"


def judge(
    policy: Policy,
    dataset: DataSet,
    accepted: Collection[str],
    rule: PartRule | None = None,
    of_part: Commercial | None = None,
) -> Verdict:
    """Return whether ``policy`` allows a data set.

    Args:
        policy: the operator's policy.
        dataset: its catalog entry.
        accepted: ids of data sets whose terms the operator accepted; every policy allows them, without a warning.
        rule: the rule of the part that is taken; ``None`` means all of the data set.
        of_part: what the catalog says about this part's commercial use; ``None`` means nothing.
    """
    mark = of_part or dataset.license.commercial
    terms = f"{dataset.license.name}: {meaning(dataset.license)}"
    if rule is not None and of_part:
        terms = f"of its part {rule.words}: {MEANINGS[of_part]}"
    elif part := next((part for part in dataset.parts.values() if rule is not None and part.commercial == "allowed"), None):
        terms += f"; it is allowed for the examples of {dataset.label}{part.text}, and this may take others"
    if not set(dataset.accepted_as).isdisjoint(accepted):
        return Verdict(allowed=True, warning=None, reason=f"accepted by name ({terms})")
    refused = mark != "allowed" if policy == "commercial" else mark == "forbidden" and policy == "curated"
    if refused:
        return Verdict(
            allowed=False,
            warning=None,
            reason=f"LICENSE_POLICY={policy} refuses it ({terms}); ACCEPT_LICENSES={dataset.accepted_as[0]} would accept it",
        )
    where = f" ({dataset.license.url})" if dataset.license.url else ""
    accept = f"; ACCEPT_LICENSES={dataset.accepted_as[0]} accepts it without this warning"
    # With "any", the operator asked for no warnings.
    warning = f"{dataset.label}: {terms}{where}{accept}" if policy == "curated" and mark != "allowed" else None
    return Verdict(allowed=True, warning=warning, reason=f"LICENSE_POLICY={policy} allows it ({terms})")


def attribution_text(
    datasets: Iterable[DataSet],
    others: Sequence[str] = (),
    rules: Mapping[str, PartRule] | None = None,
    marks: Mapping[str, Commercial | None] | None = None,
    credits_by_id: Mapping[str, str] | None = None,
) -> str:
    """Return ``ATTRIBUTION.md`` for the data sets on a volume, in the given order.

    Args:
        datasets: the data sets that the catalog describes.
        others: the sections for data sets that it does not describe.
        rules: by id, the rule of data sets of which only a part is there.
        marks: by id, what the catalog says about the commercial use of these parts.
        credits_by_id: attributions for each file, as lines of Markdown, if files have terms of their own.
    """
    parts = [_ATTRIBUTION_HEAD]
    for dataset in datasets:
        rule = (rules or {}).get(dataset.id)
        section = attribution_section(dataset.id, dataset, rule, (marks or {}).get(dataset.id))
        if each := (credits_by_id or {}).get(dataset.id):
            section += f"- Artist, title and licence of each file that is here:\n\n{each}"
        parts.append(section)
    parts += others
    if len(parts) == 1:
        parts.append("There is no data set on this volume yet.\n")
    return "\n".join(parts)


def attribution_section(
    dataset: str, entry: DataSet | EntryFacts, rule: PartRule | None = None, mark: Commercial | None = None
) -> str:
    """Return the section of ``ATTRIBUTION.md`` about one data set.

    Args:
        dataset: its id.
        entry: what is known of it.
        rule: the rule of the part that is there; ``None`` for all of the data set, or for splits of it.
        mark: what the catalog says about this part's commercial use; ``None`` means nothing.
    """
    terms = entry.license
    use = marked(terms.commercial, meaning(terms))
    if mark is not None:
        use = f"{marked(mark, MEANINGS[mark])} for this part; for all of it: {terms.commercial}"
    lines = [
        f"## {entry.title}\n",
        f"- Folder: `datasets/{dataset}`",
        *([f"- Part: {code_span(rule.words)}"] if rule else []),
        *([f"- Homepage: <{entry.homepage}>"] if entry.homepage else []),
        f"- Licence: {terms.name} (SPDX `{terms.spdx}`){f', <{terms.url}>' if terms.url else ''}",
        f"- Commercial use: {use}",
        f"- Evidence: {terms.evidence}",
        f"- Attribution: {terms.attribution or 'none asked for'}",
    ]
    return "\n".join(lines) + "\n"
