"""The ``.env`` file that ``init`` writes: read an earlier one, merge the answers into it, and write it for its owner alone."""

from __future__ import annotations

import codecs
import contextlib
import os
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from provisioner.commands.env_lines import entries_of
from provisioner.errors import ConfigurationError
from provisioner.settings import parsers
from provisioner.settings.setting import PREFIX
from provisioner.settings.written import unwrapped
from provisioner.volume.fs.files import LARGEST_TEXT, read_file
from provisioner.volume.store.environment_file import environment_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from provisioner.redaction import Redactor
    from provisioner.settings.settings import Settings

_ANSWERED: Final = ("HF_TOKEN", "DATASET_REPO", "DATASET_REPO_PRIVATE", "PHASE", "ACCEPT_LICENSES")
"""Variables whose earlier lines in the file are replaced by the answers, even if the answer is that there is no value."""
_TOKEN_FILES: Final = ("HF_TOKEN_FILE", f"{PREFIX}HF_TOKEN_FILE")

_DEFAULTS: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "HF_TOKEN": ("hf_token", parsers.token),
    "DATASET_REPO": ("dataset_repo", parsers.repository),
    "DATASET_REPO_ORG": ("dataset_repo_org", parsers.owner),
    "DATASET_REPO_PRIVATE": ("dataset_repo_private", parsers.boolean),
    "PHASE": ("phase", parsers.plain_text),
    "ACCEPT_LICENSES": ("accept_licenses", parsers.names),
}
"""Variables whose earlier values are the defaults of the questions: the attribute of the settings, and its parser."""


def read_env_file(path: Path) -> bytes | None:
    """Return the file's content, or ``None`` if it does not exist.

    Raises:
        ConfigurationError: it cannot be read.
    """
    try:
        content = read_file(path, LARGEST_TEXT)
        reason = "it is UTF-16, which neither Compose nor a shell reads" if b"\0" in content else ""
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = error.strerror or type(error).__name__
    if reason:
        raise ConfigurationError(
            f"{path} is there and cannot be read: {reason}; nothing was asked", hint="Move it away, or give --env-file."
        )
    return content


def with_earlier_answers(settings: Settings, content: bytes, path: Path, redactor: Redactor) -> Settings:
    """Return the settings with the values of an earlier file; a value that cannot be understood is ignored.

    Args:
        settings: the settings; a token from the environment is kept.
        content: the file's content.
        path: the file's path, which says where the token comes from.
        redactor: is told of the file's token.
    """
    values = {entry.name: unwrapped(entry.value) for entry in entries_of(content, _DEFAULTS) if entry.name}
    changes: dict[str, Any] = {}
    for key, (attribute, parse) in _DEFAULTS.items():
        if values.get(key):
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


def merged(content: bytes, values: Mapping[str, str]) -> bytes:
    """Return the file's new content: the other lines of ``content`` unchanged, then ``values``.

    Raises:
        ConfigurationError: a value cannot be written.
    """
    replaced = {*_ANSWERED, *values}
    if "/" in values.get("DATASET_REPO", ""):
        replaced.add("DATASET_REPO_ORG")  # the name includes it
    replaced |= {f"{PREFIX}{name}" for name in replaced}
    kept = bytearray()
    for entry in entries_of(content, replaced):
        if entry.name not in replaced:
            # A token and a file with a token exclude each other.
            kept += b"# " if entry.name in _TOKEN_FILES and entry.value and "HF_TOKEN" in values else b""
            kept += entry.content
        elif entry.content.startswith(codecs.BOM_UTF8):
            kept += codecs.BOM_UTF8
    if kept and kept != codecs.BOM_UTF8 and not kept.endswith(b"\n"):
        kept += b"\n"
    return bytes(kept) + environment_lines(values)


def check_writable(path: Path) -> None:
    """Check that :func:`write_private` could write a file; nothing remains of the attempt.

    Raises:
        ConfigurationError: it could not.
    """
    target = _target(path)
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
    """Write a file that only its owner may read, completely or not at all.

    Raises:
        ConfigurationError: it cannot be written.
    """
    # A link is followed, not replaced, because its owner wants the file elsewhere.
    target = _target(path)
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


def _target(path: Path) -> Path:
    """Return the target of a path; `Path.resolve` would fail differently if links form a cycle."""
    return type(path)(os.path.realpath(path))
