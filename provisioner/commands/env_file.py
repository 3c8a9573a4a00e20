"""The ``.env`` file that ``init`` writes: reading an earlier one, merging the answers into it, writing it for its owner alone."""

from __future__ import annotations

import contextlib
import os
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from provisioner.errors import ConfigurationError
from provisioner.settings import parsers
from provisioner.volume.store.environment_file import environment_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from provisioner.redaction import Redactor
    from provisioner.settings.model import Settings

_WRITTEN: Final = (
    "HF_TOKEN",
    "DATASET_REPO",
    "DATASET_REPO_ORG",
    "DATASET_REPO_PRIVATE",
    "PHASE",
    "LICENSE_POLICY",
    "ACCEPT_LICENSES",
)
"""Variables of which the file's earlier lines are replaced; all its other lines stay."""

_DEFAULTS: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "HF_TOKEN": ("hf_token", parsers.token),
    "DATASET_REPO": ("dataset_repo", parsers.repository),
    "DATASET_REPO_PRIVATE": ("dataset_repo_private", parsers.boolean),
    "PHASE": ("phase", parsers.plain_text),
    "ACCEPT_LICENSES": ("accept_licenses", parsers.names),
}
"""Variables whose earlier values are the defaults of the next questions: the attribute of the settings, and its parser."""


def read_env_file(path: Path) -> str | None:
    """Return the file's text; ``None``: it does not exist.

    Raises:
        ConfigurationError: it cannot be read.
    """
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigurationError(
            f"{path} is there and cannot be read: {reason}; nothing was asked", hint="Move it away, or give --env-file."
        ) from None


def with_earlier_answers(settings: Settings, text: str, path: Path, redactor: Redactor) -> Settings:
    """Return the settings with the values of an earlier file; a value that cannot be understood is ignored.

    Args:
        settings: the settings; a token of the environment stays.
        text: the file's text.
        path: its path, to say where the token is from.
        redactor: is told of the file's token.
    """
    lines = (line.partition("=") for line in text.splitlines())
    values = {key.strip(): value.strip() for key, _, value in lines if value.strip()}
    changes: dict[str, Any] = {}
    for key, (attribute, parse) in _DEFAULTS.items():
        if key in values:
            with contextlib.suppress(parsers.BadTextError):
                changes[attribute] = parse(values[key])
    if "dataset_repo" in changes:
        changes["dataset_repo"] = changes["dataset_repo"] or None
    if settings.hf_token is not None:
        changes.pop("hf_token", None)
    elif "hf_token" in changes:
        redactor.add(values["HF_TOKEN"])
        changes["origins"] = {**settings.origins, "HF_TOKEN": str(path)}
    return replace(settings, **changes)


def merged(text: str, values: Mapping[str, str]) -> bytes:
    """Return the file's new content: the other lines of ``text``, then ``values``.

    Raises:
        ConfigurationError: a value cannot be written.
    """
    kept = [line for line in text.splitlines() if line.partition("=")[0].removeprefix("export ").strip() not in _WRITTEN]
    return ("".join(f"{line}\n" for line in kept)).encode() + environment_lines(values)


def check_writable(path: Path) -> None:
    """Try whether :func:`write_private` could write a file; nothing of it stays.

    Raises:
        ConfigurationError: it could not.
    """
    target = path.resolve()
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        draft.unlink()
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be written: {error.strerror}; nothing was asked",
            hint="Give another path with --env-file, or make the directory writable.",
        ) from error


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, whole or not at all.

    Raises:
        ConfigurationError: it cannot be written.
    """
    # A link is followed, not replaced: its owner wants the file elsewhere.
    target = path.resolve()
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(draft, target)
        except OSError:
            draft.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be written: {error.strerror}; it is as it was",
            hint="Give another path with --env-file, or make the directory writable.",
        ) from error
