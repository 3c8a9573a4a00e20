"""YAML with positions: every value knows its file, line and key, so that every complaint can name them.

The catalog and the config file are written by people. A typo in one of them is answered with
``file:line: key: what is wrong`` and the nearest name that would have been right.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

import yaml

from provisioner.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

MAX_NODES: Final = 100_000
"""How many values a document may have once its aliases are written out: a few lines of aliases can stand for billions."""
MAX_DEPTH: Final = 50
"""How deep a document may nest; a catalog needs seven levels."""

_DECIMAL: Final = re.compile(r"[-+]?(?:0|[1-9][0-9_]{0,24})")
_TAG: Final = "tag:yaml.org,2002:"
_SCALAR_TAGS: Final = frozenset({"null", "bool", "int", "float", "str", "timestamp", "value", "merge"})
_SHOWN: Final = 60
"""How many characters of a wrong value a message repeats."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a sentence that names what ``word`` was probably meant to be, or all that is known when they are few."""
    names = sorted(known)
    close = difflib.get_close_matches(word.lower(), [name.lower() for name in names], n=1, cutoff=0.6)
    if close:
        return f"Did you mean {next(name for name in names if name.lower() == close[0])!r}?"
    return f"Known: {', '.join(names)}." if names else ""


def shown(text: str) -> str:
    """Return ``text`` between quotes, cut where it is long, for a message."""
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…")


class _Loader(yaml.SafeLoader):
    """The safe loader; used for its resolver of scalars alone."""


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a document, with its place."""

    data: Any
    """``None``, ``bool``, ``int``, ``float``, ``str``, ``list[Value]`` or ``dict[str, Value]``."""
    file: str
    line: int
    """Counted from 1."""
    key: str
    """Dotted path from the top, such as ``datasets.ljspeech.sources[0].repo``; empty at the top."""

    def fail(self, problem: str, hint: str = "") -> NoReturn:
        """Refuse this value.

        Raises:
            ConfigurationError: always.
        """
        where = f"{self.file}:{self.line}"
        raise ConfigurationError(f"{where}: {self.key}: {problem}" if self.key else f"{where}: {problem}", hint=hint)

    def mapping(self, known: Collection[str] | None = None, required: Sequence[str] = ()) -> Mapping[str, Value]:
        """Return the mapping's values by key; keys outside ``known`` and missing ``required`` ones are refused."""
        if not isinstance(self.data, dict):
            self.fail(f"expected a mapping, found {self.kind}")
        entries: dict[str, Value] = self.data
        if known is not None:
            for key, value in entries.items():
                if key not in known:
                    value.fail(f"unknown key {shown(key)}", nearest(key, known))
        for key in required:
            if key not in entries:
                self.fail(f"the key {key!r} is missing", f"Add '{key}:' here.")
        return entries

    def items(self) -> Sequence[Value]:
        """Return the list's values."""
        if not isinstance(self.data, list):
            self.fail(f"expected a list, found {self.kind}")
        return self.data

    def text(self) -> str:
        """Return a string; an empty one is allowed."""
        if not isinstance(self.data, str):
            self.fail(f"expected text, found {self.kind}", "Put it between quotes." if self.data is not None else "")
        return self.data

    def boolean(self) -> bool:
        """Return a truth value."""
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
            self.fail(f"{shown(word)} is not one of {', '.join(known)}", nearest(word, known))
        return word

    def plain(self) -> Any:  # noqa: ANN401 - a document may hold anything
        """Return the value without places, as ``yaml.safe_load`` would."""
        if isinstance(self.data, dict):
            return {key: value.plain() for key, value in self.data.items()}
        if isinstance(self.data, list):
            return [value.plain() for value in self.data]
        return self.data

    @property
    def kind(self) -> str:
        """What was found, for a message."""
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


def parse_document(text: str, file: str) -> Value:
    """Read one YAML document.

    Args:
        text: the document.
        file: its name, for messages.

    Raises:
        ConfigurationError: it is not YAML, has a key twice, uses a tag, nests too deeply, or has too many values.
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
        # The scanner computes with what it reads: an escape such as "\UFFFFFFFF" is more than it can bear.
        raise ConfigurationError(f"{file}:1: not valid YAML: {error}", hint="Look for an escape that is no character.") from None
    except RecursionError:
        raise ConfigurationError(f"{file}:1: nested too deeply", hint="Flatten the document.") from None
    if node is None:
        return Value({}, file, 1, "")
    return _Converter(loader, file).convert(node, "", ())


class _Converter:
    """Turns the nodes of one document into values; counts them, because aliases multiply."""

    def __init__(self, loader: _Loader, file: str) -> None:
        self._loader = loader
        self._file = file
        self._count = 0

    def convert(self, node: yaml.Node, key: str, above: tuple[yaml.Node, ...]) -> Value:
        """Return the value of ``node``, which stands inside the nodes ``above`` under ``key``."""
        line = node.start_mark.line + 1
        here = Value(None, self._file, line, key)
        self._count += 1
        if self._count > MAX_NODES:
            here.fail(f"more than {MAX_NODES} values, aliases written out", "Use fewer aliases.")
        if any(node is one for one in above):
            here.fail("an alias that contains itself")
        if len(above) > MAX_DEPTH:
            here.fail("nested too deeply", "Flatten the document.")
        if isinstance(node, yaml.ScalarNode):
            return Value(self._scalar(node, here), self._file, line, key)
        expected = "seq" if isinstance(node, yaml.SequenceNode) else "map"
        if node.tag != _TAG + expected:
            here.fail(f"a tag is not allowed here: {shown(node.tag.removeprefix(_TAG))}", "Remove the tag.")
        inside = (*above, node)
        if isinstance(node, yaml.SequenceNode):
            values = [self.convert(item, f"{key}[{i}]", inside) for i, item in enumerate(node.value)]
            return Value(values, self._file, line, key)
        entries: dict[str, Value] = {}
        for key_node, value_node in node.value:
            name = key_node.value if isinstance(key_node, yaml.ScalarNode) else "?"
            part = name if name.isprintable() else repr(name)
            place = Value(None, self._file, key_node.start_mark.line + 1, f"{key}.{part}" if key else part)
            if not isinstance(key_node, yaml.ScalarNode):
                place.fail("a key must be text")
            if name in entries:
                place.fail(f"the key {shown(name)} stands here a second time", f"The first is on line {entries[name].line}.")
            value = self.convert(value_node, place.key, inside)
            # A value's place is its key's line: that is where a reader looks for it.
            entries[name] = Value(value.data, self._file, place.line, place.key)
        return Value(entries, self._file, line, key)

    def _scalar(self, node: yaml.ScalarNode, here: Value) -> bool | int | float | str | None:
        text: str = node.value
        tag = node.tag.removeprefix(_TAG)
        if tag not in _SCALAR_TAGS:
            here.fail(f"a tag is not allowed here: {shown(tag)}", "Remove the tag.")
        if any("\ud800" <= character <= "\udfff" for character in text):
            here.fail("an escape that is no character", "Write the character itself.")
        if tag not in {"null", "bool", "int", "float"} or (tag == "int" and not _DECIMAL.fullmatch(text)) or ":" in text:
            # A date, "=" and "<<" stay the text that was written; so do 010 and 1:30, which YAML 1.1 would read as eight and
            # ninety: nobody means that.
            return text
        try:
            data = self._loader.construct_object(node)
        except (ValueError, LookupError, AttributeError, yaml.YAMLError):
            here.fail(f"cannot be read: {shown(text)}", "Put it between quotes.")
        return data if data is None or isinstance(data, bool | int | float) else text
