"""Write generated files, or check that they are current."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT: Final = Path(__file__).resolve().parent.parent
"""The root of the checkout."""


def write_or_check(arguments: Sequence[str], module: str, path: Path, text: str) -> int:
    """Write ``text`` to ``path``; with ``--check``, only report whether the file is current.

    Returns:
        The exit code: 1 if ``--check`` finds a different text.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=f"Write {path.relative_to(ROOT)}.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail when the file is not current")
    if not parser.parse_args(arguments).check:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return 0
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return 0
    sys.stderr.write(f"{path.relative_to(ROOT)} is not current; run: python -m {module}\n")
    return 1
