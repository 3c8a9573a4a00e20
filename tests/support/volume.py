"""A volume that is filled by processes of the program, and access to its content afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.program import SIGNATURE, TOKEN, Outcome, Running

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.hub_server import HubServer


def files_under(folder: Path) -> list[Path]:
    """Return all files of a tree, even while another process changes it; ``Path.rglob`` fails if a directory disappears."""
    return [Path(place, name) for place, _, names in os.walk(folder) for name in names]


def size_or_zero(path: Path) -> int:
    """Return the size of a file in bytes, or 0 if another process has removed it meanwhile."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@dataclass
class Volume:
    """A volume, and the settings of the processes that fill it."""

    root: Path
    settings: dict[str, str]
    server: HubServer | None = None
    under: tuple[str, ...] = ()
    """Words that precede the program's command line."""
    running: list[Running] = field(default_factory=list)

    def environ(self, **changes: str | None) -> dict[str, str]:
        """Return a clean environment: these settings, changed; ``None`` removes one."""
        values: dict[str, str | None] = {"PATH": os.environ["PATH"], "DATA_DIR": str(self.root), **self.settings}
        if self.server is not None:
            values |= {"HF_ENDPOINT": self.server.endpoint, "URL_REWRITE": self.server.url_rewrite()}
        return {name: value for name, value in (values | changes).items() if value is not None}

    def start(self, *arguments: str, **changes: str | None) -> Running:
        """Start the program."""
        process = Running([*self.under, sys.executable, "-m", "provisioner", *arguments], self.environ(**changes))
        self.running.append(process)
        return process

    def run(self, *arguments: str, **changes: str | None) -> Outcome:
        """Run the program until it has ended."""
        return self.start(*arguments, **changes).wait()

    def ready(self, *arguments: str, **changes: str | None) -> Outcome:
        """Run the program, which must succeed."""
        outcome = self.run(*arguments, **changes)
        assert outcome.code == 0, outcome.err
        return outcome

    # --- what is on it

    @property
    def private(self) -> Path:
        """Return the directory that is private to the provisioner."""
        return self.root / ".provisioner"

    @property
    def status(self) -> Any:
        """Return the content of the status file."""
        return json.loads((self.root / "dataset_status.json").read_bytes())

    def tree(self, dataset: str) -> Path:
        """Return the tree that the app reads."""
        return self.root / "datasets" / dataset

    @property
    def published(self) -> list[str]:
        """Return all names under ``datasets/``."""
        folder = self.root / "datasets"
        return sorted(os.listdir(folder)) if folder.is_dir() else []

    def version(self, dataset: str) -> str:
        """Return the version that is published as a link."""
        return Path(os.readlink(self.tree(dataset))).name

    def records(self, kind: str, dataset: str) -> Path:
        """Return the private directory with one kind of records of a data set, or with its trees."""
        return self.private / kind / dataset.replace("/", "+")

    def receipts(self, dataset: str) -> list[Path]:
        """Return all receipts of a data set."""
        return sorted(self.records("receipts", dataset).glob("*.json"))

    def staged(self) -> list[str]:
        """Return the path of every file in staging."""
        return sorted(path.name for path in files_under(self.private / "staging"))

    def staged_bytes(self) -> int:
        """Return the number of bytes of incoming files."""
        return sum(map(size_or_zero, (self.private / "staging" / "blobs").glob("*.part")))

    def snapshot(self, folder: Path | None = None) -> dict[str, tuple[int, ...]]:
        """Return the attributes of every name that any write would change: inode, mode, size, times."""
        base = folder or self.root
        facts = {str(path): os.lstat(path) for path in (base, *base.rglob("*"))}
        return {
            path: (each.st_ino, each.st_mode, each.st_size, each.st_mtime_ns, each.st_ctime_ns) for path, each in facts.items()
        }

    def check(self, dataset: str, expected: Mapping[str, bytes | Path]) -> None:
        """Compare a published tree with the expected one, and have ``sha256sum`` check its manifest."""
        tree = self.tree(dataset)
        found = {path.relative_to(tree).as_posix(): path for path in tree.rglob("*") if path.is_file()}
        assert sorted(found) == sorted(expected)
        for name, content in expected.items():
            assert found[name].read_bytes() == (content.read_bytes() if isinstance(content, Path) else content), name
        version = json.loads(self.current_receipt(dataset).read_bytes())["version"]
        manifest = self.records("manifests", dataset) / f"{version}.sha256"
        subprocess.run(["sha256sum", "--check", "--strict", "--quiet", str(manifest)], cwd=tree, check=True)
        assert len(manifest.read_bytes().splitlines()) == len(expected)

    def current_receipt(self, dataset: str) -> Path:
        """Return the receipt of the version that the app sees."""
        place = self.tree(dataset)
        folder = self.records("receipts", dataset)
        version = self.version(dataset) if place.is_symlink() else (folder / "current").read_text("ascii").strip()
        return folder / f"{version}.json"

    def close(self) -> None:
        """Kill the processes that still run, and search every file for secrets."""
        for process in self.running:
            process.end()
        for path in self.root.rglob("*"):
            if path.is_file() and not path.is_symlink():
                with contextlib.suppress(OSError):
                    content = path.read_bytes()
                    assert TOKEN.encode() not in content, path
                    assert SIGNATURE.encode() not in content, path
