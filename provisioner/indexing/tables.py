"""Read tables and documents of data sets line by line; problems in them are yielded, not raised."""

from __future__ import annotations

import csv
import json
import sys
from typing import TYPE_CHECKING, Any, Final

from provisioner.indexing.model import Problem, ReaderError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_CHUNK: Final = 1 << 20
_WHITESPACE: Final = " \t\r\n"


def lines(tree: Path, name: str) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line of a UTF-8 file, without line ends; invalid bytes become U+FFFD.

    Raises:
        ReaderError: the file cannot be read.
    """
    try:
        with (tree / name).open(encoding="utf-8-sig", errors="replace", newline="\n") as file:
            for number, line in enumerate(file, 1):
                yield number, line.rstrip("\r\n")
    except OSError as error:
        raise ReaderError(f"{name} cannot be read: {error.strerror or error}") from error


def separated(tree: Path, name: str, separator: str, width: int) -> Iterator[Sequence[str] | Problem]:
    """Yield the fields of each line of a file without quoting; empty lines are skipped.

    Args:
        tree: the data set.
        name: the file in it.
        separator: the separator of fields.
        width: the number of fields in a line; any other number is a problem.

    Raises:
        ReaderError: the file cannot be read.
    """
    for number, line in lines(tree, name):
        if not line:
            continue
        fields = line.split(separator)
        if len(fields) == width:
            yield fields
        else:
            yield Problem(f"{name}:{number}", f"{len(fields)} fields instead of {width}")


def csv_rows(tree: Path, name: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a CSV file with quoting, including headings, each with the number of its first line.

    A field may have any length, and several lines.

    Raises:
        ReaderError: the file cannot be read.
    """
    csv.field_size_limit(min(sys.maxsize, (1 << 31) - 1))
    try:
        with (tree / name).open(encoding="utf-8-sig", errors="replace", newline="") as file:
            first = 1
            for row in (reader := csv.reader(file)):
                yield first, row
                first = reader.line_num + 1
    except (OSError, csv.Error) as error:
        raise ReaderError(f"{name} cannot be read: {error}") from error


def csv_records(tree: Path, name: str) -> Iterator[dict[str, str] | Problem]:
    """Yield each row of a CSV file by the headings in its first line; a row of another length is a problem.

    Raises:
        ReaderError: the file cannot be read.
    """
    rows = csv_rows(tree, name)
    _, headings = next(rows, (1, []))
    for number, row in rows:
        if len(row) == len(headings):
            yield dict(zip(headings, row, strict=True))
        elif row:
            yield Problem(f"{name}:{number}", f"{len(row)} fields instead of {len(headings)}")


def json_members(tree: Path, name: str) -> Iterator[tuple[str, Any]]:
    """Yield key and value of each member of the JSON object in a file, one after the other.

    The whole object is never in memory: NSynth's ``examples.json`` would take more than half a gigabyte.

    Raises:
        ReaderError: the file cannot be read, or is not a JSON object.
    """
    try:
        with (tree / name).open(encoding="utf-8") as file:
            yield from _Members(file.read, name).read()
    except (OSError, UnicodeDecodeError) as error:
        raise ReaderError(f"{name} cannot be read: {error}") from error


class _Members:
    """The members of one JSON object, decoded from a text that is read in pieces."""

    def __init__(self, read: Any, name: str) -> None:  # noqa: ANN401 - TextIO.read has no simple type
        self._read = read
        self._name = name
        self._text = ""
        self._at = 0
        self._decode = json.JSONDecoder().raw_decode

    def read(self) -> Iterator[tuple[str, Any]]:
        if self._next_mark() != "{":
            raise ReaderError(f"{self._name} is no JSON object")
        mark = self._next_mark(consumes=False)
        if mark == "}":
            return
        while True:
            key = self._value()
            if not isinstance(key, str) or self._next_mark() != ":":
                raise ReaderError(f"{self._name} is no JSON object")
            yield key, self._value()
            mark = self._next_mark()
            if mark == "}":
                return
            if mark != ",":
                raise ReaderError(f"{self._name} ends in the middle" if not mark else f"{self._name} is no valid JSON")

    def _more(self) -> bool:
        piece = self._read(_CHUNK)
        self._text, self._at = self._text[self._at :] + piece, 0
        return bool(piece)

    def _next_mark(self, *, consumes: bool = True) -> str:
        """Return the next character that is not whitespace; empty at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _WHITESPACE:
                self._at += 1
            if self._at < len(self._text):
                mark = self._text[self._at]
                self._at += consumes
                return mark
            if not self._more():
                return ""

    def _value(self) -> Any:  # noqa: ANN401 - JSON
        self._next_mark(consumes=False)
        while True:
            begin = self._at
            try:
                value, end = self._decode(self._text, self._at)
            except ValueError as error:
                if not self._more():
                    raise ReaderError(f"{self._name} is no valid JSON, or ends in the middle") from error
                continue
            if end == len(self._text) and self._text[end - 1] not in '}]"' and self._more():
                continue  # a number might continue
            self._at += end - begin
            return value
