"""Random mixtures of archives and plain files that try to escape from a data set's tree, on a volume with a watched neighbour.

    python -m tests.support.mixtures DIRECTORY SEED FIRST COUNT

Builds each mixture with the engine, several times on top of what earlier attempts, crashes and other programs left, and
prints the results as one line of JSON. Any effect outside the data set's own directories is a failure.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import logging
import os
import posixpath
import random
import shutil
import stat
import sys
import tarfile
import traceback
import warnings
import zipfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from provisioner.cancellation import Cancellation
from provisioner.catalog.artifact import Artifact
from provisioner.catalog.digest import Digest
from provisioner.catalog.size import Size
from provisioner.engine import fetch
from provisioner.engine.build import DataSetBuilder
from provisioner.engine.build_limits import BuildLimits
from provisioner.engine.shared_volume import SharedVolume
from provisioner.errors import ProvisionerError
from provisioner.planning.recipe import VERSION_DIGITS, Recipe
from provisioner.remote.resolved import Resolved
from provisioner.volume.fs import durable
from provisioner.volume.store.layout import VolumeLayout
from provisioner.volume.store.store import Store
from provisioner.volume.store.tree_check import check_tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.catalog.artifact import UnpackFormat

ID: Final = "alpha"
VERSIONS: Final = ("a" * VERSION_DIGITS, "b" * VERSION_DIGITS)
CHANGES: Final = frozenset({"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate"})
SECRET: Final = b"not of the data set"


class _Mortal:
    """Kills this process before its Nth change of the disk."""

    def __init__(self) -> None:
        self.left: int | None = None
        sys.addaudithook(self._watch)

    def _watch(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.left is None or not (event in CHANGES or (event == "open" and arguments[2] & os.O_CREAT)):
            return
        self.left -= 1
        if self.left < 0:
            os._exit(DEAD)


DEAD: Final = 77


class _Shelf:
    """A replacement for all fetching: it has the bytes of every artifact by its URL."""

    def __init__(self, contents: dict[str, bytes]) -> None:
        self._contents = contents

    @staticmethod
    def requests_at_once() -> int:
        return 2

    @staticmethod
    def small_files_at_once() -> int:
        return 2

    @staticmethod
    def delivered(_artifact: Artifact) -> None:
        """Return nothing: there is no server information about a file."""

    def fetch_small(self, artifact: Artifact, _size: int, accept: Callable[[bytes], str], _advance: object) -> str:
        return accept(self._contents[artifact.urls[0]])

    def fetch(self, artifact: Artifact, sink: Any, _advance: object, accept: Callable[[], None]) -> str:
        sink.write(self._contents[artifact.urls[0]][sink.have :])
        sha256 = str(sink.seal())
        accept()
        return sha256

    def fetch_ranges(self, artifact: Artifact, file: Any, _helpers: object, _advance: object, accept: Callable[[], None]) -> str:
        while (claim := file.claim(wait=False)) is not None:
            claim.write(self._contents[artifact.urls[0]][claim.position : claim.end])
        sha256 = str(file.seal())
        accept()
        return sha256


class _NoProgress:
    def __getattr__(self, _: str) -> Callable[..., None]:
        return lambda *_arguments, **_named: None


class Mixture:
    """One mixture, identified by its number."""

    def __init__(self, box: Path, seed: str, mortal: _Mortal) -> None:
        """Create a volume and its neighbour."""
        self._random = random.Random(seed)  # noqa: S311 - the same mixture for the same seed
        self._box = box
        self._mortal = mortal
        self._neighbour = box / "neighbour"
        self._volume = box / "volume"
        (self._neighbour / "sub" / "deep").mkdir(parents=True)
        for name in ("a", "b", "sub/a", "sub/deep/x"):
            (self._neighbour / name).write_bytes(SECRET)
        (self._neighbour / "way").symlink_to("sub")
        (self._volume / "datasets" / "mine").mkdir(parents=True)
        (self._volume / "datasets" / "mine" / "a").write_bytes(SECRET)
        (self._volume / "mine.txt").write_bytes(SECRET)
        elsewhere = box / "elsewhere" / ".provisioner-1" if self._random.random() < 0.2 else None
        self._layout = VolumeLayout(self._volume, elsewhere)
        mode: Any = self._random.choice(("link", "link", "dir"))
        self._store = Store(self._layout, mode, program_version="9", check_cancelled=lambda: None)
        self._contents: dict[str, bytes] = {}
        # With few letters, everything collides; with many, most mixtures can be built.
        self._letters = "abdlx"[: self._random.choice((2, 5))] if self._random.random() < 0.4 else "abdlxefghijmnopqrstuvwyz"
        self._planted = False
        """Whether a published tree was changed from outside, so that faults in it are not the program's."""
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []

    # --- what the source sends ---------------------------------------------------------------------------------------

    def _name(self, *, wild: float = 0.1) -> str:
        letters = self._letters
        parts = [self._random.choice(letters) for _ in range(self._random.choice((1, 1, 2, 2, 3)))]
        if self._random.random() < wild:
            parts.insert(
                self._random.randrange(len(parts) + 1), self._random.choice(("..", ".", "", "A", "\u00e4", "a\\b", "x."))
            )
        return "/".join(parts)

    def _target(self) -> str:
        chance, ups = self._random.random(), "../" * self._random.randrange(10)
        if chance < 0.03:
            return f"{self._neighbour}{self._random.choice(('', '/sub', '/a'))}"
        if chance < 0.12:
            return f"{ups}neighbour" if self._random.random() < 0.7 else f"{self._name()}/{ups}neighbour/sub"
        if chance < 0.3:
            return self._random.choice((ups or ".", f"{self._name()}/{ups}", "..", "../.."))
        return self._name(wild=0.2)

    def _members(self) -> list[tuple[str, str, bytes]]:
        """Return name, kind, and content or target of each member of an archive."""
        found: list[tuple[str, str, bytes]] = []
        for _ in range(self._random.randint(1, 6)):
            kind = self._random.choice(("file", "file", "file", "file", "link", "link", "hard", "folder"))
            content = self._random.choice((b"1", b"2", b"3" * 5000))
            if kind == "link":
                content = self._target().encode()
            elif kind == "hard":
                content = (found[0][0] if found and self._random.random() < 0.8 else self._name()).encode()
            found.append((self._name(wild=0.02), kind, content))
        return found

    def _archive(self, members: list[tuple[str, str, bytes]], form: UnpackFormat) -> bytes:
        out = io.BytesIO()
        if form == "zip":
            with zipfile.ZipFile(out, "w") as packed:
                for number, (name, kind, content) in enumerate(members):
                    info = zipfile.ZipInfo(f"{number}")
                    info.filename = f"{name}/" if kind == "folder" else name
                    mode = {"link": stat.S_IFLNK | 0o777, "folder": stat.S_IFDIR | 0o755}.get(kind, stat.S_IFREG | 0o644)
                    info.create_system, info.external_attr = 3, mode << 16
                    with warnings.catch_warnings(action="ignore"):  # of a name that is there twice
                        packed.writestr(info, b"" if kind == "folder" else content)
            return out.getvalue()
        kinds = {"link": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "folder": tarfile.DIRTYPE}
        with tarfile.open(fileobj=out, mode="w:gz" if form == "tar.gz" else "w") as packed_tar:
            for name, kind, content in members:
                entry = tarfile.TarInfo(name)
                entry.type = kinds.get(kind, tarfile.REGTYPE)
                if kind in {"link", "hard"}:
                    entry.linkname = content.decode()
                elif kind == "file":
                    entry.size = len(content)
                packed_tar.addfile(entry, io.BytesIO(content))
        return out.getvalue()

    def _artifact(self, name: str, content: bytes, form: UnpackFormat, into: str) -> Artifact:
        digest = Digest("sha256", hashlib.sha256(content).hexdigest())
        url = f"https://example.org/{digest.hex}"
        self._contents[url] = content
        size = Size(len(content)) if self._random.random() < 0.9 else None
        return Artifact(name, (url,), size, digest, form, into, "catalog")

    def _artifacts(self) -> list[Artifact]:
        """Return the artifacts of one source."""
        if self._random.random() < 0.15:
            return self._composition()
        found = []
        for number in range(self._random.randint(1, 5)):
            if self._random.random() < 0.5:
                form: UnpackFormat = self._random.choice(("tar", "tar", "tar.gz", "zip"))
                into = self._random.choice(("", "", "", "a", "d/l"))
                found.append(self._artifact(f"{number}.{form}", self._archive(self._members(), form), form, into))
            else:
                found.append(self._plain(self._name(wild=0.03)))
        return found

    def _plain(self, name: str) -> Artifact:
        content = self._random.choice((b"1", b"2", b"3" * 5000, b"4" * 50))
        return self._artifact(name, content, "none", posixpath.dirname(name))

    def _composition(self) -> list[Artifact]:
        """Return archives whose links lead outside only in combination, and files below these links."""
        depth = self._random.randint(1, 4)
        form: UnpackFormat = self._random.choice(("tar", "zip"))
        deep = "/".join("k" * number for number in range(1, depth + 1))
        ups, out = "/".join([".."] * depth), "/".join([".."] * self._random.randint(1, 9))
        first = [(f"{deep}/l", "link", f"d/{out}/neighbour".encode()), (f"{deep}/f", "file", b"1")]
        second = [(f"{deep}/d", "link", ups.encode()), (f"{deep}/g", "file", b"2")]
        found = [self._artifact(f"1.{form}", self._archive(first, form), form, "")]
        found.append(self._artifact(f"2.{form}", self._archive(second, form), form, ""))
        below = ("l/a", "l", "l/new", "d/x", "l/sub/a")
        found += [self._plain(f"{deep}/{name}") for name in self._random.sample(below, self._random.randint(0, 2))]
        self._random.shuffle(found)
        return found

    # --- what strangers leave ----------------------------------------------------------------------------------------

    def _plant(self, version: str, artifacts: list[Artifact]) -> None:
        """Create links that lead out of the volume, in staging or in place of a directory of a published tree."""
        layout, chance = self._layout, self._random.random()
        tree = layout.staged_tree(ID, version)
        target = self._random.choice((self._neighbour, self._neighbour / "sub", self._neighbour / "a"))
        if chance < 0.5:
            places = [tree / self._name(wild=0) for _ in range(3)]
            places += [tree / artifact.path for artifact in artifacts[:2] if ".." not in artifact.path]
        elif chance < 0.75:
            places = [self._random.choice((tree, layout.staged_parts(ID, version), tree.parent, tree.parent.parent))]
        elif chance < 0.9:
            places = [
                layout.blobs / f"{artifact.key}.{self._random.choice(('part', 'json', 'journal'))}" for artifact in artifacts
            ]
            target = self._neighbour / "a"
        else:
            places = [path for path in (layout.store / ID).rglob("*") if path.is_dir() and not path.is_symlink()][:1]
            self._planted = self._planted or bool(places)
        for place in places:
            with contextlib.suppress(OSError):
                if place.is_dir() and not place.is_symlink():
                    shutil.rmtree(place)
                else:
                    place.unlink(missing_ok=True)
                place.parent.mkdir(parents=True, exist_ok=True)
                if place.resolve().is_relative_to(self._neighbour):
                    continue
                place.symlink_to(target)
                self.counts["planted"] += 1

    # --- attempts ----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Try to build the mixture several times, and compare everything outside after each attempt."""
        before = self._outside()
        artifacts = self._artifacts()
        for _ in range(self._random.randint(1, 3)):
            version = self._random.choice(VERSIONS)
            if self._random.random() < 0.3:
                self._plant(version, artifacts)
                before = self._outside()
            outcome = self._attempt(version, artifacts)
            self.counts[outcome] += 1
            if outcome not in {"published", "dead", "exit 65"} and not (self._planted and outcome == "exit 74"):
                self.failures.append(f"{self._box.name}: {outcome}")
            self._compare(before)
            if self._random.random() < 0.4:
                artifacts = self._random.sample(artifacts, self._random.randint(0, len(artifacts))) + self._artifacts()
        for version in VERSIONS:
            with contextlib.suppress(ProvisionerError):
                self._store.cleaner.remove(ID, version)
        self._store.cleaner.clear_staging()
        self._compare(before)

    def _attempt(self, version: str, artifacts: list[Artifact]) -> str:
        """Build and publish, sometimes in a separate process that is killed; return the result."""
        if self._random.random() < 0.7:
            return self._outcome(version, artifacts)
        limit = self._random.randrange(80)
        child = os.fork()
        if not child:
            self._mortal.left = limit
            outcome = self._outcome(version, artifacts)
            os._exit(0 if outcome == "published" else int(outcome.removeprefix("exit ")))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return {0: "published", DEAD: "dead"}.get(code, f"exit {code}")

    def _outcome(self, version: str, artifacts: list[Artifact]) -> str:
        try:
            self._build(version, artifacts)
        except ProvisionerError as error:
            if "TRACE" in os.environ:
                sys.stderr.write(f"{self._box.name}: {error!r}\n")
            return f"exit {error.exit_code}"
        except Exception:  # noqa: BLE001 - every mixture is run, and this is reported
            traceback.print_exc()
            return "exit 70"
        return "published"

    def _build(self, version: str, artifacts: list[Artifact]) -> None:
        terms = SimpleNamespace(spdx="CC-BY-4.0")
        dataset: Any = SimpleNamespace(id=ID, label=ID, layout="raw", unpacked_size=None, license=terms, facts=None)
        only: Any = ("one",)
        recipe = Recipe(dataset, "raw", (), only, version)
        retention = self._random.choice(("at_once", "one_by_one", "streamed"))
        step: Any = SimpleNamespace(recipe=recipe, id=ID, retention=retention, available_bytes=None, download=None)
        resolved = Resolved("url", "", "", tuple({artifact.content_id: artifact for artifact in artifacts}.values()))
        sources: Any = SimpleNamespace(resolve=lambda *_: resolved)
        local_copies: Any = SimpleNamespace(find=lambda _: None, has_trees=False)
        anything: Any = _NoProgress()
        shelf: Any = _Shelf(self._contents)
        session: Any = SimpleNamespace(
            store=self._store, layout=self._layout, settings=SimpleNamespace(max_storage_bytes=None), measures_space=False
        )
        builder = DataSetBuilder(
            step,
            self._store,
            sources,
            shelf,
            local_copies,
            limits=BuildLimits(SharedVolume(session), recipe),
            cancellation=Cancellation(),
            progress=anything,
        )
        inventory = self._store.reader.inventory()
        is_orphan = (ID, version) in inventory.orphans
        if (ID, version) not in inventory.receipts and not (is_orphan and self._store.publisher.adopt(ID, version)):
            builder.build(lambda: "2026-01-01T00:00:00Z")

    # --- what must hold ----------------------------------------------------------------------------------------------

    def _outside(self) -> dict[str, object]:
        """Return everything that does not belong to the data set, with all attributes that a change would alter."""
        found: dict[str, object] = {}
        for directory, directories, files in os.walk(self._box):
            if directory == str(self._volume):
                directories[:] = [name for name in directories if name != ".provisioner"]
            elif directory == str(self._volume / "datasets"):
                directories[:] = [name for name in directories if name == "mine"]
                files.clear()
            elif directory == str(self._box):
                directories[:] = [name for name in directories if name != "elsewhere"]
            for name in (*directories, *files):
                path = os.path.join(directory, name)  # noqa: PTH118
                facts = os.lstat(path)
                content = Path(path).read_bytes() if stat.S_ISREG(facts.st_mode) else b""
                is_ours = path in {str(self._volume), str(self._volume / "datasets")}
                found[path] = () if is_ours else (facts.st_mode, facts.st_ino, facts.st_nlink, facts.st_ctime_ns, content)
        return found

    def _compare(self, before: dict[str, object]) -> None:
        after = self._outside()
        if after != before:
            changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
            self.failures.append(f"{self._box.name}: outside changed: {changed}")
        published = self._volume / "datasets" / ID
        if self._planted or not published.exists():
            return
        root = os.path.realpath(published)
        for directory, directories, files in os.walk(root):
            for name in (*directories, *files):
                path = os.path.join(directory, name)  # noqa: PTH118
                real = os.path.realpath(path)
                if real != root and not real.startswith(f"{root}/"):
                    self.failures.append(f"{self._box.name}: {path} leads to {real}")
        for version in self._store.reader.versions(ID):
            tree, manifest = self._store.reader.tree_of(ID, version), self._store.reader.manifest(ID, version)
            if self._store.reader.receipt(ID, version) is not None and tree is not None and manifest is not None:
                findings = check_tree(tree, manifest, deep=True, check_cancelled=lambda: None)
                self.failures += [f"{self._box.name}: {version}: {finding}" for finding in findings]


def _copy_from_elsewhere() -> None:
    """Make renames from ``STAGING_DIR`` to the volume fail, as between two devices."""
    rename = os.rename

    def rename_on_one_device(source: Any, target: Any, **more: int | None) -> None:
        if "/elsewhere/" in os.fspath(source) and "/volume/" in os.fspath(target):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), source)
        rename(source, target, **more)

    vars(os)["rename"] = rename_on_one_device


def main(arguments: list[str]) -> None:
    """Run some mixtures, and print the results."""
    directory, seed, first, count = Path(arguments[0]), arguments[1], int(arguments[2]), int(arguments[3])
    logging.disable()
    # Small files for each of the three ways in which files arrive.
    vars(fetch)["SMALL"], vars(fetch)["LARGE"] = 40, 3000
    # Loss on power failure is not tested here, and every mixture would wait for the disk.
    vars(durable)["_syncfs"], vars(os)["fsync"] = lambda _path: True, lambda _handle: None
    _copy_from_elsewhere()
    mortal = _Mortal()
    counts: Counter[str] = Counter()
    failures: list[str] = []
    for number in range(first, first + count):
        box = directory / f"{number}"
        box.mkdir()
        mixture = Mixture(box, f"{seed}, {number}", mortal)
        mixture.run()
        counts += mixture.counts
        failures += mixture.failures
        shutil.rmtree(box)
    print(json.dumps({"counts": counts, "failures": failures}))  # noqa: T201 - the answer to the caller


if __name__ == "__main__":
    main(sys.argv[1:])
