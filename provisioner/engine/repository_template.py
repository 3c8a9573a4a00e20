"""The first files of a new data-set repository: a template that comes with the program, or a directory of the user's.

The files are only read here; :mod:`provisioner.remote.hub.repository` uploads them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from provisioner.catalog.document import nearest
from provisioner.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

TEMPLATES: Final = ("experiment-logs", "plain")
"""The templates that come with the program; the first one is the default."""

_DIRECTORY: Final = Path(__file__).resolve().parents[1] / "templates"
_MOST_FILES: Final = 100
_MOST_BYTES: Final = 10 * 1024 * 1024
"""Larger files are uploaded with the Hub's own tools, which resume."""


def load_template(name: str) -> Mapping[str, bytes]:
    """Return the content of a template's files, by path in the repository.

    Args:
        name: one of :data:`TEMPLATES`, or the path of a directory (written with a separator, or one that exists).

    Raises:
        ConfigurationError: there is no such template, or its directory cannot be used.
    """
    directory = _DIRECTORY / name if name in TEMPLATES else Path(os.path.expanduser(name))  # noqa: PTH111 - that of `pathlib` raises where nobody knows the home directory
    if not directory.is_dir():
        hint = nearest(name, TEMPLATES) if not any(mark in name for mark in (os.sep, "/", ".")) else ""
        raise ConfigurationError(
            f"the template {name!r} is neither {' nor '.join(TEMPLATES)}, nor a directory; nothing was created",
            hint=f"{hint} Give the path of a directory, such as ./my-template, for one of your own.".strip(),
        )
    files: dict[str, bytes] = {}
    total = 0
    try:
        for path in sorted(directory.rglob("*")):
            relative = path.relative_to(directory)
            # Names that begin with a dot belong to the user's tools (.git, .DS_Store); a link may lead anywhere.
            if any(part.startswith(".") for part in relative.parts) or path.is_symlink() or not path.is_file():
                continue
            total += path.stat().st_size
            if len(files) >= _MOST_FILES or total > _MOST_BYTES:
                raise ConfigurationError(
                    f"the template {name!r} has more than {_MOST_FILES} files or {_MOST_BYTES // 1024**2} MiB;"
                    " nothing was created",
                    hint="A template is a beginning: put in a card and small files, and upload the rest with 'hf upload'.",
                )
            files[relative.as_posix()] = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"the template {name!r} cannot be read: {error.strerror}; nothing was created", hint="Make it readable for this user."
        ) from error
    if not files:
        raise ConfigurationError(
            f"the template {name!r} holds no files; nothing was created", hint="Put at least a README.md into it."
        )
    return files
