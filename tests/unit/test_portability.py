"""What can work on Windows and macOS does not import what only Linux has."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path

import provisioner

CHECKOUT = Path(__file__).parents[2]
POSIX_ONLY = ("fcntl", "pwd", "grp", "resource", "termios", "tty", "pty", "syslog")

WITHOUT_THEM = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in {POSIX_ONLY!r}:
            raise ImportError(f"{{name}} is not there on this platform")

sys.meta_path.insert(0, Absent())
for name in {POSIX_ONLY!r}:
    sys.modules.pop(name, None)
"""


def modules() -> list[str]:
    """Return the names of all modules of the program."""
    found = pkgutil.walk_packages(provisioner.__path__, "provisioner.")
    return [module.name for module in found if module.name != "provisioner.__main__"]


def test_every_module_is_imported_without_posix_only_modules() -> None:
    """No module of ours, at its import, needs a module that only POSIX systems have."""
    code = WITHOUT_THEM + "\n".join(f"import {name}" for name in modules()) + "\nprint('imported')"
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.stdout == "imported\n", done.stderr


def test_plan_list_and_catalog_check_work_without_them(tmp_path: Path) -> None:
    """Commands that write nothing work where there is neither flock nor a user database."""
    for arguments in (["plan", "--phase", "balanced"], ["list"], ["catalog", "check"]):
        code = (
            WITHOUT_THEM
            + f"from provisioner.cli.main import main\nsys.exit(main({arguments!r}, {{'DATA_DIR': {str(tmp_path)!r}}}))"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_repo_and_init_begin_without_them(tmp_path: Path) -> None:
    """They are there, and say what they need."""
    for arguments, expected in ((["repo", "--help"], 0), (["repo", "create", "--token-stdin"], 77), (["init"], 64)):
        code = (
            WITHOUT_THEM
            + f"from provisioner.cli.main import main\nsys.exit(main({arguments!r}, {{'DATA_DIR': {str(tmp_path)!r}}}))"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, input="", capture_output=True, text=True, check=False)
        assert done.returncode == expected, done.stderr


def test_a_start_with_nothing_to_do_loads_no_heavy_library() -> None:
    """The Hub's client, HTTP and TLS libraries, locks and bars are imported when they are needed, not before."""
    heavy = ("huggingface_hub", "httpx2", "urllib3", "ssl", "filelock", "tqdm", "asyncio", "http.client", "datasets")
    code = f"import provisioner.cli.main, provisioner.engine.run, sys\nprint([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
