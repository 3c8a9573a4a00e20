"""``provision.env``: settings for an app that another container runs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from provisioner.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SAME_EVERYWHERE: Final = re.compile(r"[A-Za-z0-9_@%+=:,./-]*")
"""ASCII characters that both a POSIX shell and Docker's ``--env-file`` take literally, without quotes."""


def environment_lines(values: Mapping[str, str]) -> bytes:
    """Return ``KEY=value`` lines that mean the same to ``set -a; . FILE`` in a POSIX shell and to Docker's ``--env-file``.

    Raises:
        ConfigurationError: a value cannot be written in a way that means the same to both.
    """
    for name in ambiguous_names(values):
        raise ConfigurationError(
            f"provision.env: {name}={values[name]!r} means one thing to a shell and another to Docker's --env-file",
            hint="Use a value (a volume path, a repository name) of letters, digits and _@%+=:,./- alone.",
        )
    return "".join(f"{name}={value}\n" for name, value in sorted(values.items())).encode()


def environment_file(values: Mapping[str, str]) -> bytes:
    """Return the lines of :func:`environment_lines`, with a comment in place of each value that cannot be written."""
    left_out = ambiguous_names(values)
    comments = [
        f"# {name} is left out: {values[name]!a} means one thing to a shell and another to Docker's --env-file.\n"
        for name in left_out
    ]
    return "".join(comments).encode("ascii") + environment_lines({name: values[name] for name in values.keys() - set(left_out)})


def ambiguous_names(values: Mapping[str, str]) -> list[str]:
    """Return the names that, or whose values, a shell and Docker's ``--env-file`` would understand differently."""
    return sorted(name for name, value in values.items() if not (_NAME.fullmatch(name) and _is_same_everywhere(value)))


def _is_same_everywhere(value: str) -> bool:
    # Letters outside ASCII mean nothing special to either. Blanks of other scripts, and undecodable bytes, may.
    rest = "".join(character for character in value if character.isascii() or not character.isprintable())
    return _SAME_EVERYWHERE.fullmatch(rest) is not None
