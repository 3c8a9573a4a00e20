"""Where the writer of a tree writes: at plain, relative paths, and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from provisioner.errors import IntegrityError
from provisioner.volume.tree.writer import TreeWriter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOT_PLAIN = [
    "",
    ".",
    "..",
    "/",
    "/p",
    "//p",
    "/d/p",
    "d/",
    "d//p",
    "./p",
    "d/./p",
    "../p",
    "d/../p",
    "d/..",
    "d/.",
    "p\0",
    "d\0/p",
]
OPERATIONS: dict[str, Callable[[TreeWriter, str], object]] = {
    "write": lambda tree, path: tree.write(path, b"x"),
    "file": lambda tree, path: tree.file(path, [b"x"], executable=False, mtime_ns=None),
    "symlink": lambda tree, path: tree.symlink(path, "target"),
    "directory": lambda tree, path: tree.directory(path) if path else tree.write(path, b"x"),
    "remove": lambda tree, path: tree.remove(path),
    "link_from": lambda tree, path: tree.link_from(tree, "d/file", path),
    "link_from a source": lambda tree, path: tree.link_from(tree, path, "d/new"),
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("path", NOT_PLAIN)
def test_a_path_that_is_not_plain(tmp_path: Path, path: str, operation: str) -> None:
    """It is refused by every operation, and nothing changes, in the tree or beside it."""
    root = tmp_path / "tree"
    (root / "d").mkdir(parents=True)
    (root / "d" / "file").write_bytes(b"kept")
    (root / "p").write_bytes(b"kept")
    (tmp_path / "p").write_bytes(b"kept")
    before = sorted(tmp_path.rglob("*"))
    with TreeWriter(root) as tree, pytest.raises(IntegrityError, match="is no path within a data set"):
        OPERATIONS[operation](tree, path)
    assert sorted(tmp_path.rglob("*")) == before
    assert {path.read_bytes() for path in (root / "p", root / "d" / "file", tmp_path / "p")} == {b"kept"}
