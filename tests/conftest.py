"""What many tests share: the miniature collection, a server, small catalogs, and volumes that real processes fill."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import hypothesis
import pytest
import yaml

from tests.support import miniature, tally
from tests.support.command_lines import CommandLines
from tests.support.hub_server import HubServer
from tests.support.media import noise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.support.miniature import Collection

# The same examples in every run, and no verdict by a clock.
hypothesis.settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
hypothesis.settings.load_profile("repeatable")

# Started in the background, a process ignores Ctrl-C, and so would all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

CHECKOUT: Final = Path(__file__).parents[1]
REAL_CATALOG: Final = CHECKOUT / "config" / "catalog.yaml"
TOKEN: Final = "hf_" + "RmFrZVRva2VuRm9yVGVzdHNPbmx5WFla"
"""Looks real, so that whatever hides tokens has a chance to fail."""
CANARY: Final = "hf_" + "Q2FuYXJ5T25BQ29tbWFuZExpbmU"
"""Looks as real, and is put on a command line, to show that it would be found there."""
SIGNATURE: Final = "X-Amz-Signature"
"""In the query of every signed link that the test server gives out."""
PATIENCE: Final = 30.0
"""Seconds after which something that should have happened never will."""
_TICK: Final = 0.005


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait for something that another process does and nobody announces.

    Raises:
        AssertionError: it did not happen.
    """
    deadline = time.monotonic() + PATIENCE
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        pause.wait(_TICK)


def files_under(folder: Path) -> list[Path]:
    """All files of a tree that another process may change while we look; ``Path.rglob`` fails when a directory goes away."""
    return [Path(place, name) for place, _, names in os.walk(folder) for name in names]


def size_or_zero(path: Path) -> int:
    """Bytes of a file that another process may take away while we look."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@dataclass(frozen=True)
class Outcome:
    """How a process ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it wrote to standard output, which must be one JSON document."""
        return json.loads(self.out)

    def errors(self) -> list[str]:
        """Return the messages that name an error's reference."""
        return [line for line in self.err.splitlines() if re.search(r"ERROR \[[a-z-]+\] ", line)]


class Running:
    """A process of the program under test, whose lines can be waited for."""

    def __init__(self, command: list[str], environ: Mapping[str, str], cwd: Path = CHECKOUT) -> None:
        """Start it."""
        self._process = subprocess.Popen(
            command, env=dict(environ), cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        tally.count("processes")
        self._counted = False
        self._changed = threading.Condition()
        self._text = {"out": b"", "err": b""}
        self._readers = [
            threading.Thread(target=self._read, args=(name, stream), daemon=True)
            for name, stream in (("out", self._process.stdout), ("err", self._process.stderr))
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def _read(self, name: str, stream: Any) -> None:
        with stream:
            while piece := os.read(stream.fileno(), 1 << 16):
                with self._changed:
                    self._text[name] += piece
                    self._changed.notify_all()

    def wait_line(self, pattern: str) -> None:
        """Wait until its log matches a pattern."""
        with self._changed:
            found = self._changed.wait_for(lambda: re.search(pattern.encode(), self._text["err"]), PATIENCE)
        assert found, f"{pattern!r} never came: {self._text['err'].decode()}"

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def ended(self) -> bool:
        """Return whether it is gone."""
        return self._process.poll() is not None

    def wait(self) -> Outcome:
        """Wait for its end; no secret may be in what it said."""
        code = self._process.wait(PATIENCE)
        self._count(code)
        for reader in self._readers:
            reader.join(PATIENCE)
        outcome = Outcome(code, self._text["out"].decode(), self._text["err"].decode())
        for secret in (TOKEN, SIGNATURE):
            assert secret not in outcome.out + outcome.err
        return outcome

    def end(self) -> None:
        """Make sure that it is gone."""
        if self._process.poll() is None:
            self._process.kill()
        self._count(self._process.wait())
        for reader in self._readers:
            reader.join(PATIENCE)

    def _count(self, code: int) -> None:
        if code == -signal.SIGKILL and not self._counted:
            self._counted = True
            tally.count("kills")


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

    def receipts(self, dataset: str) -> list[Path]:
        """All receipts of a data set."""
        return sorted((self.private / "receipts" / dataset).glob("*.json"))

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
        manifest = self.private / "manifests" / dataset / f"{version}.sha256"
        subprocess.run(["sha256sum", "--check", "--strict", "--quiet", str(manifest)], cwd=tree, check=True)
        assert len(manifest.read_bytes().splitlines()) == len(expected)

    def current_receipt(self, dataset: str) -> Path:
        """The receipt of the version that the app sees."""
        place = self.tree(dataset)
        folder = self.private / "receipts" / dataset
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


# --- small catalogs --------------------------------------------------------------------------------------------------------


class Shelf:
    """A catalog of a few small data sets whose archives lie on the test server."""

    def __init__(self, server: HubServer, path: Path) -> None:
        """Begin empty."""
        self.server = server
        self.path = path
        self.document: dict[str, Any] = {
            "version": 1,
            "datasets": {},
            "phases": {"minimal": {"description": "all there is", "datasets": []}},
        }

    def file(self, name: str, files: Mapping[str, bytes], *, host: str = "files.example.org", **fields: Any) -> dict[str, Any]:
        """Serve files as one archive, and give its entry for a catalog."""
        return self.raw(name, miniature.gzip_bytes(miniature.pack_tar(files)), host=host, unpack="tar.gz", **fields)

    def raw(self, name: str, content: bytes, *, host: str = "files.example.org", **fields: Any) -> dict[str, Any]:
        """Serve bytes, and give their entry for a catalog."""
        self.server.add_static(f"https://{host}/{name}", content)
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        return {"url": f"https://{host}/{name}", "size": len(content), "digest": digest, **fields}

    def add(self, dataset: str, *files: Mapping[str, Any], sources: list[dict[str, Any]] | None = None, **fields: Any) -> None:
        """Add a data set to the catalog and to its phase; ``fields`` replace what is usual."""
        commercial = fields.pop("commercial", "allowed")
        self.document["datasets"][dataset] = {
            "title": f"The {dataset} data set",
            "homepage": f"https://example.org/{dataset}",
            "priority": 3,
            "license": {
                "spdx": "CC-BY-4.0",
                "name": "CC BY 4.0",
                "url": "https://creativecommons.org/licenses/by/4.0/",
                "commercial": commercial,
                "evidence": "made for a test",
                "attribution": "",
            },
            "sources": sources if sources is not None else [{"kind": "url", "files": [dict(file) for file in files]}],
            **fields,
        }
        self.document["phases"]["minimal"]["datasets"].append(dataset)
        self.write()

    def write(self) -> None:
        """Write the catalog file anew."""
        self.path.write_text(yaml.safe_dump(self.document, sort_keys=False), "utf-8")


def some_files(name: str, size: int = 5000) -> dict[str, bytes]:
    """Return a small tree: a text, and noise that does not compress."""
    return {f"{name}/README": f"{name}\n".encode(), f"{name}/data/noise.bin": noise(name, size)}


# --- fixtures --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Miniature:
    """The miniature collection with its catalog."""

    collection: Collection
    catalog: Path


@pytest.fixture(scope="session", autouse=True)
def command_lines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLines]:
    """Look at all command lines while tests run: no secret may ever be on one."""
    look = CommandLines(tmp_path_factory.mktemp("command-lines") / "report.json", TOKEN, SIGNATURE, CANARY)
    yield look
    look.end()
    for secret in (TOKEN, SIGNATURE):
        assert look.found(secret) is None


@pytest.fixture(scope="session")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Miniature:
    """Return the collection that stands in for the eight real data sets, and a catalog for it."""
    out = tmp_path_factory.mktemp("collection")
    real = miniature.read_catalog(REAL_CATALOG)
    collection = miniature.generate(out, real)
    catalog = out / "catalog.yaml"
    miniature.write_catalog(miniature.miniature_catalog(real, collection), catalog)
    return Miniature(collection, catalog)


@pytest.fixture
def hub() -> Iterator[HubServer]:
    """Return a server with one account, whose token is :data:`TOKEN`."""
    with HubServer() as server:
        server.hub.add_token(TOKEN, "ann")
        yield server


@pytest.fixture
def shelf(hub: HubServer, tmp_path: Path) -> Shelf:
    """Return a catalog to be filled."""
    return Shelf(hub, tmp_path / "catalog.yaml")


@pytest.fixture
def volume(hub: HubServer, tmp_path: Path) -> Iterator[Volume]:
    """Return an empty volume for the catalog of :func:`shelf`; without a token nobody asks the Hub for a repository."""
    home = tmp_path / "home"
    home.mkdir()
    volume = Volume(
        tmp_path / "volume",
        {
            "HOME": str(home),
            "CATALOG_PATH": str(tmp_path / "catalog.yaml"),
            "TERMINATION_LOG": str(tmp_path / "termination-log"),
            "PHASE": "minimal",
        },
        hub,
    )
    yield volume
    volume.close()


@pytest.fixture
def mini_volume(volume: Volume, hub: HubServer, mini: Miniature) -> Volume:
    """Return an empty volume for the miniature collection, with a token."""
    hub.load(mini.collection.root)
    volume.settings |= {"CATALOG_PATH": str(mini.catalog), "HF_TOKEN": TOKEN}
    return volume
