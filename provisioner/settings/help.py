"""The settings as a text for ``--help``."""

from __future__ import annotations

import re
from typing import Final

from provisioner.settings.settings import SETTINGS

_LINK: Final = re.compile(r"\[([^]]*)\]\([^)]*\)")


def help_text() -> str:
    """Return the settings with defaults and descriptions, one per line, whatever its length."""
    lines = []
    for setting in SETTINGS:
        default = without_markdown(setting.default_note or setting.default)
        lines.append(f"  {setting.name}" + (f" [{default}]" if default else ""))
        lines.append(f"      {without_markdown(setting.description)}")
    return "\n".join(lines)


def without_markdown(text: str) -> str:
    """Return the text of a declaration for a terminal: without code marks, and with links reduced to their text."""
    return _LINK.sub(r"\1", text).replace("`", "")
