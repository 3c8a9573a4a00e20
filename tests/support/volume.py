"""A volume that processes of the program fill, and what is found on it afterwards."""

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
    """All files of a tree that another process may change while we look; ``Path.rglob`` fails when a directory goes away."""
    return [Path(place, name) for place, _, names in os.walk(folder) for name in names]


def size_or_zero(path: Path) -> int:
    """Bytes of a file that another process may take away while we look."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@dataclass
class Volume:
    """A volume, and the settings with which processes fill it."""

    root: Path
    settings: dict[str, str]
    server: HubServer | None = None
    under: tuple[str, ...] = ()
    """What goes before the program's command line."""
    running: list[Running] = field(default_factory=list)

    def environ(self, **changes: str | None) -> dict[str, str]:
        """Return a clean environment: these settings, changed; ``None`` takes one away."""
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
        """Run the program to its end."""
        return self.start(*arguments, **changes).wait()

    def ready(self, *arguments: str, **changes: str | None) -> Outcome:
        """Run the program, which must succeed."""
        outcome = self.run(*arguments, **changes)
        assert outcome.code == 0, outcome.err
        return outcome

    # --- what is on it

    @property
    def private(self) -> Path:
        """The directory that is the provisioner's alone."""
        return self.root / ".provisioner"

    @property
    def status(self) -> Any:
        """The status file's content."""
        return json.loads((self.root / "dataset_status.json").read_bytes())

    def tree(self, dataset: str) -> Path:
        """What the app reads."""
        return self.root / "datasets" / dataset

    @property
    def published(self) -> list[str]:
        """All names under ``datasets/``."""
        folder = self.root / "datasets"
        return sorted(os.listdir(folder)) if folder.is_dir() else []

    def version(self, dataset: str) -> str:
        """The version that is published as a link."""
        return Path(os.readlink(self.tree(dataset))).name

    def records(self, kind: str, dataset: str) -> Path:
        """The private directory that holds one kind of records of a data set, or its trees."""
        return self.private / kind / dataset.replace("/", "+")

    def receipts(self, dataset: str) -> list[Path]:
        """All receipts of a data set."""
        return sorted(self.records("receipts", dataset).glob("*.json"))

    def staged(self) -> list[str]:
        """Every file in staging."""
        return sorted(path.name for path in files_under(self.private / "staging"))

    def staged_bytes(self) -> int:
        """Bytes of files on their way in."""
        return sum(map(size_or_zero, (self.private / "staging" / "blobs").glob("*.part")))

    def snapshot(self, folder: Path | None = None) -> dict[str, tuple[int, ...]]:
        """Return what any write would change of every name: inode, mode, size, times."""
        base = folder or self.root
        facts = {str(path): os.lstat(path) for path in (base, *base.rglob("*"))}
        return {
            path: (each.st_ino, each.st_mode, each.st_size, each.st_mtime_ns, each.st_ctime_ns) for path, each in facts.items()
        }

    def check(self, dataset: str, expected: Mapping[str, bytes | Path]) -> None:
        """Compare a published tree with what it must be, and let ``sha256sum`` check its manifest."""
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
        """The receipt of the version that the app sees."""
        place = self.tree(dataset)
        folder = self.records("receipts", dataset)
        version = self.version(dataset) if place.is_symlink() else (folder / "current").read_text("ascii").strip()
        return folder / f"{version}.json"

    def close(self) -> None:
        """End what still runs, and look for secrets in every file."""
        for process in self.running:
            process.end()
        for path in self.root.rglob("*"):
            if path.is_file() and not path.is_symlink():
                with contextlib.suppress(OSError):
                    content = path.read_bytes()
                    assert TOKEN.encode() not in content, path
                    assert SIGNATURE.encode() not in content, path
