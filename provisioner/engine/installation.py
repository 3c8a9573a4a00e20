"""This installation: where the program is, the settings from its environment, and its catalog."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from provisioner.catalog.parse import parse_catalogs
from provisioner.errors import ConfigurationError
from provisioner.settings.reader import read_settings
from provisioner.volume.fs.files import read_named_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioner.catalog.model import Catalog
    from provisioner.settings.settings import Settings

_IMAGE: Final = Path("/opt/provisioner/app")
"""The directory of this program in the image; a checkout may be anywhere else."""
_LARGEST_CATALOG: Final = 16 << 20
"""Bytes. A catalog of thousands of files has a hundredth of that."""


def app_root() -> Path:
    """Return the directory that holds ``config/``: beside the package in a checkout and in the image, else within it."""
    package = Path(__file__).resolve().parents[1]
    return package.parent if (package.parent / "config" / "catalog.yaml").is_file() else package


def in_image() -> bool:
    """Return whether this program runs from the container image."""
    return app_root() == _IMAGE


def load_settings(overrides: Mapping[str, str], environ: Mapping[str, str]) -> Settings:
    """Read the settings of this installation; see :func:`provisioner.settings.reader.read_settings`.

    Raises:
        ConfigurationError: a value cannot be understood, or a file that was named cannot be read.
    """
    settings = read_settings(
        overrides,
        environ,
        read_text=read_named_text,
        home=_home(environ),
        app_root=app_root(),
        in_image=in_image(),
    )
    _check_relative_paths({"DATA_DIR": settings.data_dir, "STAGING_DIR": settings.staging_dir})
    return settings


def _check_relative_paths(paths: Mapping[str, Path | None]) -> None:
    """Refuse a relative path if the working directory, which it starts from, was removed."""
    for name, path in paths.items():
        if path is not None and not path.is_absolute():
            try:
                os.getcwd()  # noqa: PTH109 - no path is needed
            except OSError as error:
                problem = f"{name}: {str(path)!r} is relative, and there is no working directory: {error.strerror}"
                raise ConfigurationError(problem, hint="Write the whole path, or start in a directory that is there.") from None


def load_catalog(paths: Sequence[Path]) -> Catalog:
    """Read the catalog that one or several files describe; a later one adds to the earlier ones and replaces their entries.

    Raises:
        ConfigurationError: a file does not exist, or is not well formed.
    """
    return parse_catalogs([(_catalog_text(path), str(path)) for path in paths])


def catalog_name(settings: Settings) -> str:
    """Return what messages call the catalog: its path, or the paths of its files as written in ``CATALOG_PATH``."""
    return ":".join(map(str, settings.catalog_paths))


def _catalog_text(path: Path) -> str:
    try:
        return read_named_text(path, _LARGEST_CATALOG)
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigurationError(f"CATALOG_PATH: {path} does not exist", hint="Correct the path, or leave it empty.") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}:1: not UTF-8 text", hint="Save the file as UTF-8 text.") from None
    except OSError as error:
        hint = "Name a text file that this user may read."
        raise ConfigurationError(f"CATALOG_PATH: {path} cannot be read: {error.strerror}", hint=hint) from None


def _home(environ: Mapping[str, str]) -> Path:
    """Return the user's home directory; for a user unknown to the system the root, as container engines do."""
    home = environ.get("HOME") or os.path.expanduser("~")  # noqa: PTH111 - that of `pathlib` raises
    return Path(home if os.path.isabs(home) else "/")  # noqa: PTH117 - the same
