"""Give a virtual environment its own Python: the interpreter, the standard library, and the shared libraries of both.

    python3 portable_python.py /opt/provisioner

The environment then runs on systems without Python or with an older C library: its ``bin/python`` starts a copy of the
dynamic loader with the libraries beside it, so that no library of the system is loaded. The environment must not be moved.
The Dockerfile runs this with the interpreter that created the environment; it uses only the standard library.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

LEFT_OUT: Final = (
    *(
        "__pycache__",
        "site-packages",
        "dist-packages",
        "config-*",
        "test",
        "idlelib",
        "turtledemo",
        "tkinter",
        "ensurepip",
        "venv",
    ),
    *("lib2to3", "pydoc_data", "_pyrepl", "_test*", "_ctypes_test*", "_xxtest*", "xx*", "*sqlite3*", "*curses*", "readline*"),
    *("*dbm*", "_tkinter*"),
)
"""Parts of the standard library that the program does not use, or that would need further libraries."""
WRAPPER: Final = """\
#!/bin/sh
exec {home}/lib/{loader} --library-path {home}/lib --argv0 {environment}/bin/python {home}/bin/{interpreter} "$@"
"""


def main(environment: Path) -> None:
    """Copy everything that the environment needs to its directory ``python``, and make its ``bin/python`` use it."""
    home = environment / "python"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    interpreter = home / "bin" / version
    interpreter.parent.mkdir(parents=True)
    shutil.copy2(Path(sys.executable).resolve(), interpreter)
    shutil.copytree(
        sysconfig.get_path("stdlib"),
        home / "lib" / version,
        ignore=shutil.ignore_patterns(*LEFT_OUT),
        ignore_dangling_symlinks=True,
    )
    loader = ""
    for library in libraries([interpreter, *sorted(environment.rglob("*.so*"))]):
        shutil.copy2(library.resolve(), home / "lib" / library.name)
        if library.name.startswith("ld-linux"):
            loader = library.name
    if not loader:
        sys.exit("the dynamic loader was not found: this needs the GNU C library")
    for name in ("python", "python3", version):
        (environment / "bin" / name).unlink(missing_ok=True)
    wrapper = environment / "bin" / "python"
    text = WRAPPER.format(home=home, loader=loader, environment=environment, interpreter=version)
    wrapper.write_text(text, "ascii")
    wrapper.chmod(0o755)
    settings = environment / "pyvenv.cfg"
    lines = settings.read_text("utf-8").splitlines()
    kept = [line for line in lines if line.partition(" ")[0] not in {"home", "executable", "command"}]
    settings.write_text("\n".join([f"home = {home}/bin", *kept, ""]), "utf-8")


def libraries(files: Iterable[Path]) -> list[Path]:
    """Return the shared libraries that the files load, as resolved on this system, and the dynamic loader."""
    found: dict[str, Path] = {}
    for file in files:
        # Files that are not libraries, such as linker scripts, load none.
        listed = subprocess.run(["ldd", str(file)], capture_output=True, text=True, check=False).stdout  # noqa: S603, S607 - of the system
        if "not found" in listed:
            sys.exit(f"{file} needs a library that is not here:\n{listed}")
        for match in re.finditer(r"(?:(?P<name>\S+) => )?(?P<path>/\S+) \(0x", listed):
            path = Path(match["path"])
            found.setdefault(path.name, path)
    return [found[name] for name in sorted(found)]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
