"""A setting, and how a dataclass declares its attributes as settings.

A dataclass declares each of its settings once, in the line of the attribute that holds the value::

    log_format: str = Setting("LOG_FORMAT", parsers.plain_text, "how log lines look", default="text").required
    deadline_seconds: float | None = Setting("DEADLINE", parsers.duration(zero=False), "limit of the run").optional

The type checker sees what the parser returns: ``required`` has that type, ``optional`` may also be ``None``.
:func:`declared_settings` returns the declarations, for the reader, ``--help`` and the documents.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.settings.defaults import Surroundings

PREFIX: Final = "PROVISIONER_"
"""A variable with this prefix before the name of a setting takes precedence over the plain variable."""

COMMAND_LINE: Final = "command line"
"""The origin of a value from the command line."""

_METADATA_KEY: Final = "setting"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setting(Generic[T]):
    """The names, the default and the description of a setting, and the parser of its text."""

    name: str
    """The environment variable."""
    parse: Callable[[str], T]
    """Converts a text to the value (see :mod:`provisioner.settings.parsers`); the text is stripped and never empty."""
    description: str
    """One sentence for ``--help`` and the documents, in Markdown."""
    default: str = ""
    """The text that is parsed if no value was given; empty if there is none."""
    computed_default: Callable[[Surroundings], T] | None = None
    """Returns the value if none was given and ``default`` is empty."""
    default_note: str = ""
    """The description of a computed default in the documents."""
    preferred_names: tuple[str, ...] = ()
    """Other variables, which take precedence over ``name``."""
    other_names: tuple[str, ...] = ()
    """Other variables, which are read if none of the previous names is set."""
    config_key: str | None = ""
    """Dotted key in the config file; empty means ``name`` in lower case, ``None`` that it is not allowed there."""
    separator: str = ""
    """The separator of list items; the config file may also use a list or a mapping."""
    secret: bool = False
    """Whether it is not allowed in a config file, and ``NAME_FILE`` may name a file that contains the value."""
    may_hold_password: bool = False
    """Whether it is omitted from the representation of the settings."""
    expands: Literal["", "home", "variables"] = ""
    """The notation that is expanded: ``~`` (``home``), or ``~`` and ``$NAME`` (``variables``, as in the Hub client)."""

    @property
    def key(self) -> str | None:
        """The dotted key in the config file, or ``None``."""
        return self.name.lower() if self.config_key == "" else self.config_key

    @property
    def names(self) -> tuple[str, ...]:
        """All variables that are read, in order of precedence."""
        return (PREFIX + self.name, *self.preferred_names, self.name, *self.other_names)

    @property
    def required(self) -> T:
        """The dataclass field for a setting that always has a value, which is given or the default."""
        return cast("T", self._field())

    @property
    def optional(self) -> T | None:
        """The dataclass field for a setting that may be ``None``."""
        return cast("T | None", self._field())

    def _field(self) -> Any:  # noqa: ANN401 - the type checker is to see the type of the attribute
        return field(metadata={_METADATA_KEY: self}, repr=not self.may_hold_password)


def declared_settings(cls: type) -> dict[str, Setting[Any]]:
    """Return the settings that a dataclass declares, by attribute and in order."""
    return {each.name: each.metadata[_METADATA_KEY] for each in fields(cls) if _METADATA_KEY in each.metadata}
