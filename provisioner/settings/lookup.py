"""Find the text of a setting (command line, environment, config file, default, in this order), and parse it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

from provisioner.errors import ConfigurationError
from provisioner.settings import parsers
from provisioner.settings.config_file import text_of
from provisioner.settings.setting import COMMAND_LINE
from provisioner.settings.written import problem_of, unwrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from provisioner.catalog.document import Value
    from provisioner.settings.defaults import Surroundings
    from provisioner.settings.setting import Setting

DEFAULT_ORIGIN: Final = "default"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Found:
    """The text of a setting, and where it was found."""

    text: str = field(repr=False)
    origin: str
    """``command line``, the name of a variable, or ``file:line``."""
    label: str
    """The name of the setting in messages; empty to omit it."""
    rank: int
    """0 for the command line, 1 for the environment, 2 for the config file."""
    value: Value | None = None
    """The value of the config file."""

    def without_wrapping(self, names: Collection[str], *, is_list: bool = False) -> Found:
        """Return the same with the intended text, without surrounding quotes and blanks.

        Raises:
            ConfigurationError: the intended text is not clear.
        """
        text = unwrapped(self.text)
        if problem := problem_of(text, names, is_list=is_list):
            self.refuse(parsers.BadTextError(*problem))
        return replace(self, text=text)

    def refuse(self, error: parsers.BadTextError) -> NoReturn:
        """Raise a ConfigurationError that names the variable, or the file, line and key."""
        if self.value is not None:
            self.value.fail(error.problem, error.hint)
        label = f"{self.label}: " if self.label else ""
        raise ConfigurationError(f"{label}{error.problem}", hint=error.hint) from None


class Lookup:
    """Finds and parses the text of each setting, and records where it was found."""

    def __init__(
        self, overrides: Mapping[str, str], environ: Mapping[str, str], *, read_text: Callable[[Path], str], home: Path
    ) -> None:
        """Remember the inputs.

        Args:
            overrides: the texts from the command line, by name of the setting.
            environ: the environment.
            read_text: returns the text of a file named by a variable.
            home: the user's home directory.
        """
        self.overrides = overrides
        self.environ = environ
        self.read_text = read_text
        self.config: Mapping[str, Value] = {}
        """The values of the config file, by dotted key."""
        self.origins: dict[str, str] = {}
        """By name of a setting, where its text was found."""
        self._home = home

    def value(self, setting: Setting[T], surroundings: Surroundings) -> T | None:
        """Return the given value, or else the default, or ``None`` if there is neither."""
        found = self.find(setting)
        if found is not None:
            return self.parse(setting, found)
        if setting.default:
            return setting.parse(setting.default)
        return setting.computed_default(surroundings) if setting.computed_default else None

    def given(self, setting: Setting[T]) -> T | None:
        """Return the given value, or ``None`` if there is none."""
        found = self.find(setting)
        return self.parse(setting, found) if found is not None else None

    def parse(self, setting: Setting[T], found: Found) -> T:
        """Return the value of a text.

        Raises:
            ConfigurationError: the text is not valid.
        """
        try:
            return setting.parse(self._expanded(setting, found.text))
        except parsers.BadTextError as error:
            found.refuse(error)

    def find(self, setting: Setting[T]) -> Found | None:
        """Return the text with the highest precedence, or ``None`` if no text was given."""
        found = self._in_overrides(setting) or self._in_environ(setting) or self._in_config(setting)
        self.origins[setting.name] = found.origin if found else DEFAULT_ORIGIN
        return found

    def _in_overrides(self, setting: Setting[T]) -> Found | None:
        # Users of '--dataset' or 'info' need not know of a variable.
        label = "" if setting.name == "DATASETS" else setting.name
        return _found(setting, Found(self.overrides.get(setting.name, ""), COMMAND_LINE, label, 0))

    def _in_environ(self, setting: Setting[T]) -> Found | None:
        for name in setting.names:
            found = _found(setting, Found(self.environ.get(name, ""), name, name, 1))
            file = f"{name}_FILE"
            path = Found(self.environ.get(file, "") if setting.secret else "", file, file, 1).without_wrapping((file,))
            if found and path.text:
                raise ConfigurationError(f"{name} and {file} are both set", hint="Keep one of them.")
            if path.text:
                content = Found(self._secret_in(file, path.text), file, file, 1)
                return content.without_wrapping(setting.names)
            if found:
                return found
        return None

    def _in_config(self, setting: Setting[T]) -> Found | None:
        value = self.config.get(setting.key) if setting.key else None
        if value is None:
            return None
        text = text_of(value, setting.separator)
        return _found(setting, Found(text, f"{value.file}:{value.line}", setting.name, 2, value))

    def _secret_in(self, name: str, path: str) -> str:
        try:
            return self.read_text(parsers.path(self._home_expanded(path)))
        except parsers.BadTextError as error:
            raise ConfigurationError(f"{name}: {error.problem}", hint=error.hint) from None
        except OSError as error:
            reason = error.strerror or type(error).__name__
            hint = "Mount the secret, or make the file readable for this user."
            raise ConfigurationError(f"{name}: {parsers.shown(path)} cannot be read: {reason}", hint=hint) from None
        except ValueError:
            # The file's content is not in the message, since it may be the secret in another encoding.
            raise ConfigurationError(
                f"{name}: {parsers.shown(path)} is not a text file", hint="Write the secret as text."
            ) from None

    def _expanded(self, setting: Setting[T], text: str) -> str:
        if not setting.expands:
            return text
        parts = text.split(setting.separator) if setting.separator else [text]
        text = setting.separator.join(map(self._home_expanded, parts))
        if setting.expands == "home" and (name := re.search(r"\$(?:\w+|\{\w+\})", text)):
            # A shell would have replaced it; an env file and Kubernetes do not.
            hint = "Write the path itself; this setting replaces no variables."
            raise parsers.BadTextError(f"{parsers.shown(text)} names the variable {name[0]}", hint)
        if setting.expands == "variables":
            text = re.sub(r"\$(?:(\w+)|\{(\w+)\})", lambda match: self.environ.get(match[1] or match[2], match[0]), text)
        return text

    def _home_expanded(self, text: str) -> str:
        return f"{self._home}{text[1:]}" if re.match(r"~(?:[/\\]|$)", text) else text


def _found(setting: Setting[T], found: Found) -> Found | None:
    """Return the intended text, or ``None`` if nothing remains of it."""
    meant = found.without_wrapping(setting.names, is_list=bool(setting.separator)) if found.text else found
    return meant if meant.text else None
