"""Defaults that depend on where the program runs, or on other settings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

DEFAULT_PORT: Final = 7860
"""The port of the page if none is set; it is the port of a Space."""
LAST_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The values on which computed defaults depend."""

    home: Path
    """The user's home directory."""
    app_root: Path
    """The directory that contains ``config/``."""
    in_image: bool
    """Whether the program runs in its container image."""
    cache_home: Path | None = None
    """``XDG_CACHE_HOME``, or ``None`` if it is not set."""
    hf_home: Path | None = None
    """``HF_HOME``, or ``None`` if it is not set."""
    in_space: bool = False
    """Whether ``SPACE_ID`` is set."""
    space_port: str = ""
    """``PORT``, which a Space may set; empty if it is not set."""

    def data_dir(self) -> Path:
        """Return the root directory of the volume."""
        return Path("/data" if self.in_image else "data")

    def config_path(self) -> Path:
        """Return the path of the config file."""
        return self.app_root / "config" / "config.yaml"

    def catalog_paths(self) -> tuple[Path, ...]:
        """Return the path of the catalog that comes with the program."""
        return (self.app_root / "config" / "catalog.yaml",)

    def on_failure(self) -> Literal["fail", "degraded"]:
        """Return what happens after a failure: a Space starts its app in spite of it."""
        return "degraded" if self.in_space else "fail"

    def progress_port(self) -> int | None:
        """Return the port of the progress page: a Space must respond on its port while it starts."""
        if not self.in_space:
            return None
        given = int(self.space_port) if re.fullmatch(r"[0-9]{1,5}", self.space_port) else 0
        return given if 1 <= given <= LAST_PORT else DEFAULT_PORT

    def progress_bind(self) -> str:
        """Return the address that the page listens on: a container's ports are reached from outside only if published."""
        return "*" if self.in_image or self.in_space else "127.0.0.1"

    def hub_token_path(self) -> Path:
        """Return the path of the file in which the Hub client keeps its login."""
        return self._hub_home / "token"

    def hub_cache(self) -> Path:
        """Return the directory in which the Hub client keeps its downloads."""
        return self._hub_home / "hub"

    @property
    def _hub_home(self) -> Path:
        """The Hub client's directory, by the rules of that client."""
        return self.hf_home or (self.cache_home or self.home / ".cache") / "huggingface"
