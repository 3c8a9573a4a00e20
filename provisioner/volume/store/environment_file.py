"""``provision.env``: settings for an app that another container runs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from provisioner.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SAME_EVERYWHERE: Final = re.compile(r"[A-Za-z0-9_@%+=:,./-]*")
"""Characters that a POSIX shell and Docker's ``--env-file`` both take as they are, without quotes."""


def environment_lines(values: Mapping[str, str]) -> bytes:
    """Return ``KEY=value`` lines that mean the same to ``set -a; . FILE`` in a POSIX shell and to Docker's ``--env-file``.

    Raises:
        ConfigurationError: a value cannot be written so that both agree.
    """
    for name, value in values.items():
        if not _NAME.fullmatch(name) or not _SAME_EVERYWHERE.fullmatch(value):
            raise ConfigurationError(
                f"provision.env: {name}={value!r} means one thing to a shell and another to Docker's --env-file",
                hint="Use a value (a volume path, a repository name) of letters, digits and _@%+=:,./- alone.",
            )
    return "".join(f"{name}={value}\n" for name, value in sorted(values.items())).encode()
