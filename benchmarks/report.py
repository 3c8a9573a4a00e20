"""The tables of ``docs/performance.md``, from the JSON file that a run wrote."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final

from benchmarks.ours import NAME

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_MIB: Final = 1024 * 1024
PLACES: Final = ("machine", "aims", "limits", "figures")


def with_tables(text: str, document: Mapping[str, Any]) -> str:
    """Return the page with each of its generated parts made anew.

    Raises:
        ValueError: the page has no place for one of them.
    """
    parts = {"machine": _machine(document), "aims": _aims(document), "limits": _limits(document), "figures": _figures(document)}
    for name in PLACES:
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            raise ValueError(f"the page has no one place for {name}: {begin}, {end}")
        content = f"{begin}\n{parts[name]}\n{end}"
        text = re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _, content=content: content, text, flags=re.DOTALL)  # type: ignore[misc]
    return text


def verdicts(row: Mapping[str, Any]) -> Iterator[tuple[str, str, bool | None]]:
    """Return what was aimed at in a row, what came out, and whether that is enough; ``None`` where nobody can say."""
    by_name = {entrant["name"]: entrant for entrant in row["entrants"]}
    for target in row["targets"]:
        mine = by_name[target["ours"]]
        who = "" if mine["name"] == NAME else f"{mine['name']}: "
        if target["at_least_rate"]:
            wanted = f"{who}at least {target['at_least_rate'] / 1e6:.0f} MB/s"
            if mine["failure"]:
                yield wanted, "failed", False
                continue
            rate = mine["work_bytes"] / mine["wall_seconds"]
            yield wanted, f"{rate / 1e6:.0f} MB/s", rate >= target["at_least_rate"]
        elif target["at_most_seconds"]:
            wanted = f"{who}below {target['at_most_seconds']} s"
            if mine["failure"]:
                yield wanted, "failed", False
                continue
            requests = mine["requests"]
            found = f"{mine['wall_seconds']:.2f} s, {requests or 'no'} request{'s' if (requests or 0) > 1 else ''}"
            yield wanted, found, mine["wall_seconds"] < target["at_most_seconds"] and not requests
        else:
            # The name of a peer may be a pipeline itself.
            names = [target["peer"]] if target["peer"] in by_name else target["peer"].split(" | ")
            peers = [by_name[name] for name in names]
            peer = max(peers, key=lambda one: math.inf if one["failure"] else one["wall_seconds"])
            compared = peer["name"] if len(peers) == 1 else f"the longer of {' and '.join(names)}"
            wanted = f"{who}at most {_factor(target['at_most'])} × {compared}"
            if mine["failure"] or peer["failure"]:
                yield wanted, "failed" if mine["failure"] else "the peer failed", False if mine["failure"] else None
                continue
            ratio = mine["wall_seconds"] / peer["wall_seconds"]
            yield wanted, f"{ratio:.2f} ×", ratio <= target["at_most"]


def _machine(document: Mapping[str, Any]) -> str:
    facts, versions = document["machine"], document["versions"]
    places = facts["file_systems"]
    memory = f"{facts['memory_bytes'] / 2**30:.0f} GiB of memory"
    counts = sorted({max(entrant["runs"] for entrant in row["entrants"]) for row in document["rows"]})
    runs = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1])))) + " runs of each in turn, medians"
    run = f"{runs}; {document['seconds'] / 60:.0f} minutes in all"
    lines = [
        f"- {facts['cores']} cores ({facts['processor']}), {memory}, {facts['system']}, Linux {facts['kernel']}",
        f"- Written to {places['memory']} in memory, where a row does not say disk; the disk is {places['disk']}",
        "- " + ", ".join(f"{name} {version}" for name, version in versions.items()),
        f"- {run}; commit `{document['commit']}`, {document['date']}",
    ]
    earlier: dict[str, list[str]] = {}
    for row in document["rows"]:
        if (commit := row.get("commit", document["commit"])) != document["commit"]:
            earlier.setdefault(commit, []).append(row["id"])
    lines += [f"- measured at commit `{commit}`: {', '.join(names)}" for commit, names in earlier.items()]
    if document["quick"]:
        lines.append("- **Small sizes, to try the harness: these figures say nothing.**")
    return "\n".join(lines)


def _aims(document: Mapping[str, Any]) -> str:
    lines = ["| work | aim, wall time | measured | |", "| --- | --- | --- | --- |"]
    for row in document["rows"]:
        for wanted, found, kept in verdicts(row):
            lines.append(f"| {_title(row)} | {_cell(wanted)} | {found} | {_verdict(kept)} |")
    return "\n".join(lines)


def _limits(document: Mapping[str, Any]) -> str:
    lines = ["| what | limit | measured | |", "| --- | --- | --- | --- |"]
    peaks = [
        (entrant["anonymous_bytes"], row["title"])
        for row in document["rows"]
        for entrant in row["entrants"]
        if entrant["name"].startswith(NAME) and not entrant["failure"]
    ]
    if peaks:
        most, title = max(peaks)
        found = f"{most / _MIB:.0f} MiB ({title})"
        lines.append(
            f"| anonymous memory of all our processes, any row | at most 150 MiB | {found} | {_verdict(most <= 150 * _MIB)} |"
        )
    lines += _growth(document["curves"].get("files", []))
    parts = {"memory": "container of 192 MiB: ", "room": "room for the tree alone: ", "growth": ""}
    lines += [
        f"| {parts[one['part']]}{one['title']} | {one['wanted']} | {one['found']} | {_verdict(one['kept'])} |"
        for one in document["limits"]
    ]
    return "\n".join(lines)


def _growth(points: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Compare the largest of our own runs with the one before it."""
    ours = [point for point in points if point["name"] == NAME and not point["failure"]]
    if len(ours) < 2:
        return
    before, last = ours[-2:]
    further = last["at"] - before["at"]
    memory = (last["anonymous_bytes"] - before["anonymous_bytes"]) / further
    counts = f"{before['at']:,} to {last['at']:,} files of 4 KiB from the Hub"
    yield f"| memory of a run, {counts} | below 1 KiB a file | {memory:.0f} bytes a file | {_verdict(memory < 1024)} |"
    early, late = (1000 * point["cpu_seconds"] / point["at"] for point in (before, last))
    found = f"{early:.2f} to {late:.2f} ms a file"
    yield f"| processor time of a run, {counts} | grows no faster than the files | {found} | {_verdict(late <= 1.1 * early)} |"


def _figures(document: Mapping[str, Any]) -> str:
    lines = []
    for row in document["rows"]:
        note = f" ({row['note']})" if row["note"] else ""
        lines += ["", f"**{_title(row)}**{note}", ""]
        lines += ["| | wall, s | all runs, s | CPU, s | memory, MiB | MB/s | ours is |"]
        lines += ["| --- | ---: | --- | ---: | ---: | ---: | ---: |"]
        ours = next((each for each in row["entrants"] if each["name"].startswith(NAME) and not each["failure"]), None)
        lines += [_line(row, entrant, ours) for entrant in row["entrants"]]
    return "\n".join(lines[1:])


def _line(row: Mapping[str, Any], entrant: Mapping[str, Any], ours: Mapping[str, Any] | None) -> str:
    if entrant["failure"]:
        return f"| {_cell(entrant['name'])} | failed: {_cell(entrant['failure'])} | | | | | |"
    samples = ", ".join(f"{sample['wall_seconds']:.2f}" for sample in entrant["samples"])
    comparable = ours is not None and not entrant["name"].startswith(NAME) and row["id"] != "capped"
    ratio = f"{ours['wall_seconds'] / entrant['wall_seconds']:.2f} ×" if ours is not None and comparable else ""
    rate = f"{entrant['work_bytes'] / entrant['wall_seconds'] / 1e6:,.0f}" if row["id"] != "idle" else ""
    return (
        f"| {_cell(entrant['name'])} | {entrant['wall_seconds']:.2f} | {samples} | {entrant['cpu_seconds']:.2f} "
        f"| {entrant['anonymous_bytes'] / _MIB:.0f} | {rate} | {ratio} |"
    )


def _verdict(kept: bool | None) -> str:  # noqa: FBT001 - a table's cell
    return {True: "kept", False: "**missed**", None: "not comparable"}[kept]


def _factor(value: float) -> str:
    return f"1/{round(1 / value)}" if value < 0.3 else f"{value:g}"


def _title(row: Mapping[str, Any]) -> str:
    return _cell(row["title"]) + (", on disk" if row["place"] == "disk" else "")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
