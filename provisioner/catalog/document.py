"""YAML with positions: every value knows its file, line and key, so that every complaint can name them.

The catalog and the config file are written by people. A typo in one of them is answered with
``file:line: key: what is wrong`` and the nearest name that would have been right.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import yaml

from provisioner.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence


def nearest(word: str, known: Iterable[str]) -> str:
    """Give a sentence that names what ``word`` was probably meant to be, or all that is known when they are few."""
    names = sorted(known)
    close = difflib.get_close_matches(word.lower(), [name.lower() for name in names], n=1, cutoff=0.6)
    if close:
        return f"Did you mean {next(name for name in names if name.lower() == close[0])!r}?"
    return f"Known: {', '.join(names)}." if names else ""


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
        """Give the mapping's values by key; keys outside ``known`` and missing ``required`` ones are refused."""
        if not isinstance(self.data, dict):
            self.fail(f"expected a mapping, found {self._kind()}")
        entries: dict[str, Value] = self.data
        if known is not None:
            for key, value in entries.items():
                if key not in known:
                    value.fail(f"unknown key {key!r}", nearest(key, known))
        for key in required:
            if key not in entries:
                self.fail(f"the key {key!r} is missing", f"Add '{key}:' here.")
        return entries

    def items(self) -> Sequence[Value]:
        """Give the list's values."""
        if not isinstance(self.data, list):
            self.fail(f"expected a list, found {self._kind()}")
        return self.data

    def text(self) -> str:
        """Give a string; an empty one is allowed."""
        if not isinstance(self.data, str):
            self.fail(f"expected text, found {self._kind()}", "Put it between quotes.")
        return self.data

    def boolean(self) -> bool:
        """Give a truth value."""
        if not isinstance(self.data, bool):
            self.fail(f"expected true or false, found {self._kind()}")
        return self.data

    def integer(self, low: int | None = None, high: int | None = None) -> int:
        """Give a whole number between ``low`` and ``high``, both included."""
        if isinstance(self.data, bool) or not isinstance(self.data, int):
            self.fail(f"expected a whole number, found {self._kind()}")
        if (low is not None and self.data < low) or (high is not None and self.data > high):
            bounds = f"from {low} to {high}" if high is not None else f"{low} or more"
            self.fail(f"expected a whole number {bounds}, found {self.data}")
        return self.data

    def choice(self, known: Sequence[str]) -> str:
        """Give one of the ``known`` words."""
        word = self.text()
        if word not in known:
            self.fail(f"{word!r} is not one of {', '.join(known)}", nearest(word, known))
        return word

    def plain(self) -> Any:  # noqa: ANN401 - a document may hold anything
        """Give the value without places, as ``yaml.safe_load`` would."""
        if isinstance(self.data, dict):
            return {key: value.plain() for key, value in self.data.items()}
        if isinstance(self.data, list):
            return [value.plain() for value in self.data]
        return self.data

    def _kind(self) -> str:
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
        ConfigurationError: it is not YAML, has a key twice, uses a tag, or nests without end.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return Value({}, file, 1, "")
        return _convert(node, loader, file, "", frozenset())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ConfigurationError(
            f"{file}:{line}: not valid YAML: {error.problem or error.context}",
            hint="Look at the indentation, quotes and colons on this line and the one before it.",
        ) from None
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{file}:1: not valid YAML: {error}", hint="Save the file as UTF-8 text.") from None
    except RecursionError:
        raise ConfigurationError(f"{file}:1: nested too deeply", hint="Flatten the document.") from None
    finally:
        loader.dispose()


def _convert(node: yaml.Node, loader: _Loader, file: str, key: str, above: frozenset[int]) -> Value:
    line = node.start_mark.line + 1
    here = Value(None, file, line, key)
    if id(node) in above:
        here.fail("an alias that contains itself")
    above = above | {id(node)}
    if isinstance(node, yaml.ScalarNode):
        try:
            data = loader.construct_object(node)
        except (ValueError, yaml.YAMLError):
            here.fail(f"cannot be read: {node.value!r}", "Put it between quotes.")
        if data is not None and not isinstance(data, bool | int | float | str):
            data = node.value  # a date stays the text that was written
        return Value(data, file, line, key)
    if isinstance(node, yaml.SequenceNode):
        return Value([_convert(item, loader, file, f"{key}[{i}]", above) for i, item in enumerate(node.value)], file, line, key)
    entries: dict[str, Value] = {}
    for key_node, value_node in node.value:
        name = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "?"
        dotted = f"{key}.{name}" if key else name
        place = Value(None, file, key_node.start_mark.line + 1, dotted)
        if not isinstance(key_node, yaml.ScalarNode):
            place.fail("a key must be text")
        if name in entries:
            place.fail(f"the key {name!r} stands here a second time", f"The first is on line {entries[name].line}.")
        value = _convert(value_node, loader, file, dotted, above)
        # A value's place is its key's line: that is where a reader looks for it.
        entries[name] = Value(value.data, file, place.line, dotted)
    return Value(entries, file, line, key)
