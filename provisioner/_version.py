"""The version of this program; this is the only place that states it."""

import contextlib
import json
from pathlib import Path
from typing import Final

__version__: Final = "0.1.0"

BUILD_FILE: Final = Path(__file__).with_name("build.json")
"""The record of the commit and build of an image or a release: ``{"commit": ..., "build": ...}``; a checkout has none."""


def described_version(path: Path = BUILD_FILE) -> str:
    """Return the version, with the commit and the build if known."""
    facts: dict[str, str] = {}
    with contextlib.suppress(OSError, ValueError):
        facts = json.loads(path.read_text("utf-8"))
    known = ", ".join(f"{name} {facts[name]}" for name in ("commit", "build") if facts.get(name))
    return f"{__version__} ({known})" if known else __version__
