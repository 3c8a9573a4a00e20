"""YAML with positions: every value knows its file, line and key, so that every error message can name them.

The catalog and the config file are written by people. A typo in one of them is reported as ``file:line: key: problem``, with
the nearest valid name.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Concatenate, Final, NoReturn, ParamSpec, TypeVar, cast

import yaml

from provisioner.catalog.mistakes import MissingValue, Mistakes, ReportedError
from provisioner.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

P = ParamSpec("P")
T = TypeVar("T")

MAX_REPEATED: Final = 100_000
"""The most values that aliases may add to those that are written out, since a few lines of them can expand to billions."""
MAX_DEPTH: Final = 50
"""The deepest nesting of a document; a catalog needs seven levels."""

_DECIMAL: Final = re.compile(r"[-+]?(?:0|[1-9][0-9_]{0,24})")
_TAG: Final = "tag:yaml.org,2002:"
_SCALAR_TAGS: Final = frozenset({"null", "bool", "int", "float", "str", "timestamp", "value", "merge"})
_SHOWN: Final = 60
"""Characters of a wrong value that a message repeats."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint with the known word that is most similar to ``word``, or with all of them if none is similar."""
    names = sorted(known)
    close = difflib.get_close_matches(word.lower(), [name.lower() for name in names], n=1, cutoff=0.6)
    if close:
        return f"Did you mean {next(name for name in names if name.lower() == close[0])!r}?"
    return f"Known: {', '.join(names)}." if names else ""


def quoted(text: str) -> str:
    """Return ``text`` in quotes for a message, shortened if it is long."""
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…")


class _Loader(yaml.SafeLoader):
    """The safe loader, used only to resolve scalars."""


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a document, with its position."""

    data: Any
    """``None``, ``bool``, ``int``, ``float``, ``str``, ``list[Value]`` or ``dict[str, Value]``."""
    file: str
    line: int
    """Counted from 1."""
    key: str
    """Dotted path from the top, such as ``datasets.ljspeech.sources[0].repo``; empty at the top."""
    mistakes: Mistakes | None = field(default=None, compare=False, repr=False)
    """Collects the mistakes in the document; if ``None``, the first one is raised."""

    def attempt(self, parse: Callable[Concatenate[Value, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of ``parse`` for this value.

        A mistake is collected; the returned value is then meaningless, and :meth:`Mistakes.raise_all` must be called.

        Raises:
            ConfigurationError: the value is invalid, and mistakes are not collected.
        """
        if self.mistakes is None:
            return parse(self, *args, **kwargs)
        try:
            return parse(self, *args, **kwargs)
        except ReportedError:
            pass
        except ConfigurationError as error:
            self.mistakes.add(error)
        return cast("T", None)

    def report(self, problem: str, hint: str = "") -> None:
        """Collect a mistake about this value after which the rest can still be read.

        Raises:
            ConfigurationError: mistakes are not collected.
        """
        self.attempt(Value.fail, problem, hint)

    def fail(self, problem: str, hint: str = "") -> NoReturn:
        """Raise an error about this value.

        Raises:
            ConfigurationError: always.
        """
        # A part written in a reference has no line.
        where = f"{self.file}:{self.line}" if self.line else self.file
        if isinstance(self.data, MissingValue):
            raise ReportedError(f"{where}: {problem}")
        raise ConfigurationError(f"{where}: {self.key}: {problem}" if self.key else f"{where}: {problem}", hint=hint)

    def mapping(self, known: Collection[str] | None = None, required: Sequence[str] = ()) -> Mapping[str, Value]:
        """Return the mapping's values by key; a key outside ``known`` or a missing ``required`` key is an error."""
        if not isinstance(self.data, dict):
            self.fail(f"expected a mapping, found {self.kind}")
        entries: dict[str, Value] = self.data
        missing = [key for key in required if key not in entries]
        meant: set[str] = set()
        for key, value in entries.items():
            if known is not None and key not in known:
                value.report(f"unknown key {quoted(key)}", nearest(key, known))
                meant.update(difflib.get_close_matches(key.lower(), missing, n=1))
        for key in missing:
            # A misspelt key is one mistake, not two.
            if key not in meant:
                self.report(f"the key {key!r} is missing", f"Add '{key}:' here.")
        return entries | {key: replace(self, data=MissingValue()) for key in missing}

    def items(self) -> Sequence[Value]:
        """Return the list's values."""
        if not isinstance(self.data, list):
            self.fail(f"expected a list, found {self.kind}")
        return self.data

    def text(self) -> str:
        """Return the text, which may be empty."""
        if not isinstance(self.data, str):
            self.fail(f"expected text, found {self.kind}", "Put it between quotes." if self.data is not None else "")
        return self.data

    def boolean(self) -> bool:
        """Return the truth value."""
        if not isinstance(self.data, bool):
            self.fail(f"expected true or false, found {self.kind}")
        return self.data

    def integer(self, low: int | None = None, high: int | None = None) -> int:
        """Return a whole number between ``low`` and ``high``, both included."""
        if isinstance(self.data, bool) or not isinstance(self.data, int):
            self.fail(f"expected a whole number, found {self.kind}")
        if (low is not None and self.data < low) or (high is not None and self.data > high):
            bounds = f"from {low} to {high}" if high is not None else f"{low} or more"
            self.fail(f"expected a whole number {bounds}, found {self.data}")
        return self.data

    def choice(self, known: Sequence[str]) -> str:
        """Return one of the ``known`` words."""
        word = self.text()
        if word not in known:
            self.fail(f"{quoted(word)} is not one of {', '.join(known)}", nearest(word, known))
        return word

    def plain(self) -> Any:  # noqa: ANN401 - a document may hold anything
        """Return the value without positions, as ``yaml.safe_load`` would."""
        if isinstance(self.data, dict):
            return {key: value.plain() for key, value in self.data.items()}
        if isinstance(self.data, list):
            return [value.plain() for value in self.data]
        return self.data

    @property
    def kind(self) -> str:
        """The type of the value, for a message."""
        match self.data:
            case None:
                return "nothing"
            case bool():
                return "true or false"
            case dict():
                return "a mapping"
            case list():
                return "a list"
            case str():
                return "text"
            case _:
                return f"the number {self.data}"


def parse_document(text: str, file: str, mistakes: Mistakes | None = None) -> Value:
    """Return the value of one YAML document.

    Args:
        text: the document.
        file: its name, for messages.
        mistakes: collects mistakes after which the rest can be read; if ``None``, the first one is raised.

    Raises:
        ConfigurationError: it is not YAML, has a duplicate key, uses a tag, nests too deeply, or has too many values.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ConfigurationError(
            f"{file}:{line}: not valid YAML: {error.problem or error.context}",
            hint="Look at the indentation, quotes and colons on this line and the one before it.",
        ) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigurationError(
            f"{file}:{line}: not valid YAML: {error.reason}", hint="Save the file as plain UTF-8 text."
        ) from None
    except (ValueError, OverflowError) as error:
        # The scanner converts escapes to characters, and fails on one that is too large, such as "\UFFFFFFFF".
        raise ConfigurationError(f"{file}:1: not valid YAML: {error}", hint="Look for an escape that is no character.") from None
    except RecursionError:
        raise ConfigurationError(f"{file}:1: nested too deeply", hint="Flatten the document.") from None
    if node is None:
        return Value({}, file, 1, "", mistakes)
    return _Converter(loader, file, mistakes).convert(node, "", ())


class _Converter:
    """Converts the nodes of one document to values, and counts them, because aliases multiply."""

    def __init__(self, loader: _Loader, file: str, mistakes: Mistakes | None) -> None:
        self._loader = loader
        self._file = file
        self._mistakes = mistakes
        self._seen: set[int] = set()
        """The nodes of the text so far, by identity."""
        self._repeated = 0
        """Values that aliases have added to those that are written out."""

    def convert(self, node: yaml.Node, key: str, ancestors: tuple[yaml.Node, ...]) -> Value:
        """Return the value of ``node``, which is at ``key``, inside the nodes ``ancestors``."""
        line = node.start_mark.line + 1
        here = Value(None, self._file, line, key, self._mistakes)
        if id(node) in self._seen:
            self._repeated += 1
            if self._repeated > MAX_REPEATED:
                here.fail(f"its aliases repeat more than {MAX_REPEATED:,} values", "Use fewer aliases.")
        self._seen.add(id(node))
        if any(node is one for one in ancestors):
            here.fail("an alias that contains itself")
        if len(ancestors) > MAX_DEPTH:
            here.fail("nested too deeply", "Flatten the document.")
        if isinstance(node, yaml.ScalarNode):
            return replace(here, data=self._scalar(node, here))
        expected = "seq" if isinstance(node, yaml.SequenceNode) else "map"
        if node.tag != _TAG + expected:
            here.fail(f"a tag is not allowed here: {quoted(node.tag.removeprefix(_TAG))}", "Remove the tag.")
        path = (*ancestors, node)
        if isinstance(node, yaml.SequenceNode):
            values = [self.convert(item, f"{key}[{i}]", path) for i, item in enumerate(node.value)]
            return replace(here, data=values)
        entries: dict[str, Value] = {}
        for key_node, value_node in node.value:
            name = key_node.value if isinstance(key_node, yaml.ScalarNode) else "?"
            part = name if name.isprintable() else repr(name)
            position = replace(here, line=key_node.start_mark.line + 1, key=f"{key}.{part}" if key else part)
            if not isinstance(key_node, yaml.ScalarNode):
                position.fail("a key must be text")
            if name in entries:
                first = entries[name].line
                position.report(f"the key {quoted(name)} stands here a second time", f"The first is on line {first}.")
            value = self.convert(value_node, position.key, path)
            # A value's line is that of its key, since that is where a reader looks for it.
            entries[name] = replace(position, data=value.data)
        return replace(here, data=entries)

    def _scalar(self, node: yaml.ScalarNode, here: Value) -> bool | int | float | str | None:
        text: str = node.value
        tag = node.tag.removeprefix(_TAG)
        if tag not in _SCALAR_TAGS:
            here.fail(f"a tag is not allowed here: {quoted(tag)}", "Remove the tag.")
        if any("\ud800" <= character <= "\udfff" for character in text):
            here.fail("an escape that is no character", "Write the character itself.")
        if tag not in {"null", "bool", "int", "float"} or (tag == "int" and not _DECIMAL.fullmatch(text)) or ":" in text:
            # Dates, "=" and "<<" remain text, as do 010 and 1:30, which YAML 1.1 would read as eight and ninety.
            return text
        try:
            data = self._loader.construct_object(node)
        except (ValueError, LookupError, AttributeError, yaml.YAMLError):
            here.fail(f"cannot be read: {quoted(text)}", "Put it between quotes.")
        return data if data is None or isinstance(data, bool | int | float) else text
