"""The settings as a text for ``--help``."""

from __future__ import annotations

from provisioner.settings.settings import SETTINGS


def help_text() -> str:
    """Return the settings with defaults and descriptions, each in a line of its own, however long."""
    lines = []
    for setting in SETTINGS:
        default = (setting.default_note or setting.default).replace("`", "")
        lines.append(f"  {setting.name}" + (f" [{default}]" if default else ""))
        lines.append(f"      {setting.description.replace('`', '')}")
    return "\n".join(lines)
