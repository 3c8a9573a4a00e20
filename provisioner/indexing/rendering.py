"""Render rows as lines of JSON: the part of the work that all cores share, since it opens every file."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from provisioner.indexing.media import BrokenMediaError, audio_facts, check_midi
from provisioner.indexing.model import Problem, Row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioner.indexing.model import Medium

# Created once: `json.dumps` would create an encoder for each row.
_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


class Place(NamedTuple):
    """The directory of the files that rows refer to."""

    tree: str
    """The directory that is read."""
    published: str
    """The absolute path at which the app finds the same files."""
    relative: str
    """The same, relative to the directory of a ``metadata.jsonl``."""


class Batch(NamedTuple):
    """Rows of one split, with everything that is needed to render them."""

    place: Place
    medium: Medium
    columns: tuple[str, ...]
    labels: tuple[str, ...]
    """Columns whose values are collected."""
    rows: Sequence[Row]


@dataclass(slots=True)
class Lines:
    """The result of rendering a batch."""

    data: bytes = b""
    count: int = 0
    problems: list[Problem] = field(default_factory=list)
    rates: set[int] = field(default_factory=set)
    """Sampling rates that occur."""
    labels: dict[str, set[str]] = field(default_factory=dict)
    """Values that occur, by column."""


def render(batch: Batch) -> Lines:
    """Return the lines for a batch; a row whose file is missing or broken becomes a problem instead."""
    found = Lines(labels={name: set() for name in batch.labels})
    lines: list[bytes] = []
    for row in batch.rows:
        try:
            record = _record(batch, row, found)
            line = _encode(record).encode()
        except FileNotFoundError:
            found.problems.append(Problem(row.file, "missing"))
        except OSError as error:
            found.problems.append(Problem(row.file, f"cannot be read: {error.strerror or error}"))
        except BrokenMediaError as error:
            found.problems.append(Problem(row.file, str(error)))
        except UnicodeEncodeError:
            found.problems.append(Problem(row.file, "its name or a text of it is not UTF-8"))
        except ValueError:
            found.problems.append(Problem(row.file, "a number of it is not finite"))
        else:
            lines.append(line)
            for name in batch.labels:
                if (value := record[name]) is not None:
                    found.labels[name].add(value)
    found.data = b"".join(b"%s\n" % line for line in lines)
    found.count = len(lines)
    return found


def _record(batch: Batch, row: Row, found: Lines) -> Mapping[str, Any]:
    place, medium, file = batch.place, batch.medium, row.file
    if "\0" in file or "/../" in f"/{file}":
        # Names come from tables, which may hold anything.
        raise BrokenMediaError("its name cannot be that of a file of the data set")
    record: dict[str, Any] = {"file_name": f"{place.relative}/{file}"}
    path = f"{place.tree}/{file}"
    if medium != "none":
        record[medium] = f"{place.published}/{file}"
    if medium == "audio":
        facts = audio_facts(path)
        if facts is None:
            os.stat(path)  # noqa: PTH116 - there may be hundreds of thousands
            record |= {"duration": None, "sampling_rate": None}
        else:
            record |= {"duration": round(facts.duration, 6), "sampling_rate": facts.sampling_rate}
            found.rates.add(facts.sampling_rate)
    elif medium == "midi":
        check_midi(path)
    elif medium == "image" and not os.path.getsize(path):  # noqa: PTH202 - the same
        raise BrokenMediaError("empty")
    values = row.values
    for name in batch.columns:
        record[name] = values.get(name)
    return record
