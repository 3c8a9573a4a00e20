"""The settings as a text for ``--help``."""

from __future__ import annotations

from provisioner.settings.settings import SETTINGS


def help_text(width: int = 100) -> str:
    """Return the settings with defaults and descriptions, in lines of at most ``width`` characters where words allow it."""
    lines = []
    for setting in SETTINGS:
        default = (setting.default_note or setting.default).replace("`", "")
        lines.append(f"  {setting.name}" + (f" [{default}]" if default else ""))
        line = "     "
        for word in setting.description.replace("`", "").split():
            if len(line) + 1 + len(word) > width:
                lines.append(line)
                line = "     "
            line += f" {word}"
        lines.append(line)
    return "\n".join(lines)
