"""This installation: where the program is, the settings that its environment makes, and its catalog."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from provisioner.catalog.parse import parse_catalog
from provisioner.errors import ConfigurationError
from provisioner.settings.reader import read_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.catalog.model import Catalog
    from provisioner.settings.model import Settings

_IMAGE: Final = Path("/opt/provisioner/app")
"""Where the image keeps this program; a checkout is anywhere else."""


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
    return read_settings(
        overrides,
        environ,
        read_text=lambda path: path.read_text("utf-8"),
        home=Path(environ.get("HOME") or Path.home()),
        app_root=app_root(),
        in_image=in_image(),
    )


def load_catalog(path: Path) -> Catalog:
    """Read a catalog.

    Raises:
        ConfigurationError: the file does not exist, or is not well formed.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise ConfigurationError(f"CATALOG_PATH: {path} does not exist", hint="Correct the path, or leave it empty.") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}:1: not UTF-8 text", hint="Save the file as UTF-8 text.") from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}", hint="Make it readable for this user.") from None
    return parse_catalog(text, str(path))
