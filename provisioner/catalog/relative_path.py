"""The only check of relative paths and names from outside; a pure function for all packages."""

from __future__ import annotations

import re
from typing import Final

_WINDOWS_FORBIDDEN: Final = frozenset('<>:"|?*\\')
_WINDOWS_DEVICES: Final = frozenset({"CON", "PRN", "AUX", "NUL", *(f"{name}{n}" for name in ("COM", "LPT") for n in range(10))})


def path_problem(path: object) -> str:
    """Return what is wrong with a relative POSIX path; empty if it stays below its directory on every system.

    Args:
        path: the value as received; anything but text is wrong.

    Returns:
        The predicate of a sentence about the path, such as ``is absolute``.
    """
    if not isinstance(path, str):
        return "is no text"
    if "\0" in path or "\\" in path:
        return "has a character that means something else to a file system"
    try:
        path.encode()
    except UnicodeEncodeError:
        return "is no valid text"
    if path.startswith("/") or re.match(r"[A-Za-z]:", path):
        return "is absolute"
    if any(part in {"", ".", ".."} for part in path.split("/")):
        return "would leave its directory or name none"
    return ""


def windows_objection(part: str) -> str:
    """Return why Windows would not accept one component of a path as a plain name; empty if it would."""
    if _WINDOWS_FORBIDDEN & set(part) or any(character < " " for character in part):
        return "has a character that Windows does not allow in names"
    if part.endswith((".", " ")):
        return "has a name that Windows would shorten"
    if part.partition(".")[0].rstrip(" ").upper() in _WINDOWS_DEVICES:
        return "has the name of a Windows device"
    return ""
