"""The one check of relative paths that come from elsewhere: pure, for every room."""

from __future__ import annotations

import re


def path_problem(path: object) -> str:
    """Return what is wrong with a relative POSIX path; empty if it stays below its directory on every system.

    Args:
        path: as it came; anything but a text is wrong.

    Returns:
        The predicate of a sentence whose subject is the path, such as ``is absolute``.
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
