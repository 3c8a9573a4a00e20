"""Check that every locked package of the image can be installed on arm64 without a compiler.

    python -m tools.arm64

``uv`` resolves each lock file for every supported Python with wheels only; nothing is downloaded. Development dependencies
are listed too, but do not count as failures: some of them are built from source there.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from typing import Final

from tools.generated import ROOT

PYTHONS: Final = ("3.11", "3.12", "3.13")
PLATFORM: Final = "aarch64-manylinux_2_28"
SHIPPED: Final = ("runtime", "app")
"""The lock files of the image."""


def problem_of(name: str, python: str) -> str:
    """Return why a lock file cannot be installed from wheels alone, or an empty string if it can."""
    with tempfile.TemporaryDirectory() as nowhere:
        command = [sys.executable, "-m", "uv", "pip", "install", "--dry-run", "--quiet", "--no-deps", "--require-hashes"]
        command += ["--only-binary", ":all:", "--python-version", python, "--python-platform", PLATFORM]
        command += ["--target", nowhere, "--requirement", str(ROOT / "requirements" / f"{name}.lock")]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - the words are ours
    return ended.stderr.strip() if ended.returncode else ""


def main() -> int:
    """Print the results; the exit code is 1 if the image cannot be built."""
    failed = False
    for name in (*SHIPPED, "dev"):
        problems = {python: problem for python in PYTHONS if (problem := problem_of(name, python))}
        print(f"{name}.lock: {'not ' if problems else ''}all from wheels on arm64, Python {', '.join(PYTHONS)}")
        for python, problem in problems.items():
            print(f"  {python}: {problem}")
        failed |= bool(problems) and name in SHIPPED
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
