"""The data that everybody transfers and unpacks: generated, the same on every machine, and known byte for byte.

Blobs cannot be compressed. The WAV files are noise through a low-pass filter with a few tones, which gzip and bzip2 shrink
about as much as recorded music. Everything is made once and kept in the work directory; an index beside each part says what it
holds, and is written last.
"""

from __future__ import annotations

import array
import hashlib
import io
import itertools
import json
import math
import random
import subprocess
import sys
import tarfile
import wave
import zipfile
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB
_SEED: Final = 20260101
_FOLDER_FILES: Final = 500
"""Files in one directory of a corpus, about as data sets have them."""
_POOL_SAMPLES: Final = 8 * MIB
"""Samples that all WAV files are cut from. Two cuts that overlap lie farther apart than any compressor here looks back."""
_RATE: Final = 22_050
_WAV_SIZE: Final = 256 * KIB


@dataclass(frozen=True, slots=True)
class File:
    """One file as it must arrive."""

    path: str
    size: int
    sha256: str
    blob: str
    """SHA-1 as Git has it: what a Hub says of a file that is not in LFS."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Files that are served one by one, below ``files/NAME`` of the work directory."""

    name: str
    files: tuple[File, ...]

    def first(self, count: int) -> Corpus:
        """Return the corpus without all but its first files."""
        return Corpus(self.name, self.files[:count])

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True, slots=True)
class Archive:
    """One file of the corpus ``archives``, and what it unpacks to."""

    file: File
    form: str
    members: tuple[File, ...]

    @property
    def size(self) -> int:
        """Bytes of all members."""
        return sum(member.size for member in self.members)


class Store:
    """Makes what is asked for, unless an earlier run has."""

    def __init__(self, work: Path) -> None:
        """Keep everything below ``work``."""
        self.files = work / "files"
        self._index = work / "index"
        self._scratch = work / "scratch"
        for folder in (self.files, self._index, self._scratch, self.files / "archives"):
            folder.mkdir(parents=True, exist_ok=True)

    def blobs(self, name: str, count: int, size: int, suffix: str = "bin") -> Corpus:
        """Return ``count`` incompressible files of ``size`` bytes each."""

        def make() -> list[File]:
            done = []
            for number in range(count):
                path = _path(number, suffix)
                target = self.files / name / path
                target.parent.mkdir(parents=True, exist_ok=True)
                done.append(_write(target, path, _noise(f"{name}:{number}", size), size))
            return done

        return Corpus(name, self._kept(f"{name}-{count}-{size}", make))

    def wav_tar(self, content: int, form: str) -> Archive:
        """Return a compressed tar of WAV files with ``content`` bytes in all; ``form`` is ``tar.gz`` or ``tar.bz2``."""
        plain = self._scratch / f"wav-{content}.tar"
        paths = [_path(number, "wav") for number in range(content // _WAV_SIZE)]
        tool = {"tar.gz": ["gzip", "-6", "-n", "-c"], "tar.bz2": ["bzip2", "-9", "-c"]}[form]

        def contents() -> Iterator[tuple[str, bytes]]:
            return ((path, self._wav(number, _WAV_SIZE)) for number, path in enumerate(paths))

        def make(path: Path) -> None:
            if not plain.exists():
                _tar(plain, contents())
            _compress(tool, plain, path)

        members = self._kept(f"wav-{content}", lambda: [_file(path, data) for path, data in contents()])
        return self._archive(f"wav-{content}.{form}", form, members, make)

    def small_tar(self, count: int, size: int) -> Archive:
        """Return a plain tar of ``count`` incompressible files of ``size`` bytes."""
        name = f"small-{count}-{size}.tar"

        def contents() -> Iterator[tuple[str, bytes]]:
            source = random.Random(f"{_SEED}:{name}")  # noqa: S311 - data, not secrets
            return ((_path(number, "bin"), source.randbytes(size)) for number in range(count))

        members = self._kept(f"members-{name}", lambda: [_file(path, data) for path, data in contents()])
        return self._archive(name, "tar", members, lambda path: _tar(path, contents()))

    def bzip2_zip(self, count: int, content: int) -> Archive:
        """Return a zip of ``count`` WAV files compressed with bzip2, ``content`` bytes in all."""
        name = f"bzip2-{count}-{content}.zip"
        each = content // count

        def make(path: Path) -> None:
            with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2, compresslevel=9) as target:
                for number in range(count):
                    target.writestr(zipfile.ZipInfo(_path(number, "wav")), self._wav(number, each), zipfile.ZIP_BZIP2)

        members = self._kept(f"members-{name}", lambda: [_file(_path(n, "wav"), self._wav(n, each)) for n in range(count)])
        return self._archive(name, "zip", members, make)

    def tidy(self) -> None:
        """Remove what was only needed to make the rest."""
        for path in self._scratch.glob("*.tar"):
            path.unlink()

    def path_of(self, archive: Archive) -> Path:
        """Return where an archive is."""
        return self.files / "archives" / archive.file.path

    # How it is kept

    def _kept(self, key: str, make: Callable[[], list[File]]) -> tuple[File, ...]:
        index = self._index / f"{key}.json"
        if not index.exists():
            _say(f"making {key} ...")
            text = json.dumps([asdict(file) for file in make()])
            index.write_text(text, encoding="utf-8")
        return tuple(File(**each) for each in json.loads(index.read_text("utf-8")))

    def _archive(self, name: str, form: str, members: tuple[File, ...], make: Callable[[Path], None]) -> Archive:
        path = self.files / "archives" / name

        def made() -> list[File]:
            part = path.with_name(f"{path.name}.part")  # nobody sees half of it, and who has a link to the old one keeps that
            make(part)
            part.replace(path)
            with path.open("rb") as file:
                return [_hashed(name, path.stat().st_size, iter(lambda: file.read(MIB), b""))]

        return Archive(self._kept(name, made)[0], form, members)

    def _wav(self, number: int, size: int) -> bytes:
        """Return one WAV file of ``size`` bytes, cut from the pool."""
        pool = self._pool()
        samples = size - 44
        start = number * 2_000_006 % (len(pool) - samples)
        buffer = io.BytesIO()
        with wave.open(buffer, "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(_RATE)
            sound.writeframes(pool[start - start % 2 :][:samples])
        return buffer.getvalue()

    def _pool(self) -> memoryview:
        path = self._scratch / f"pool-{_POOL_SAMPLES}.pcm"
        if not path.exists():
            path.write_bytes(_sound(_POOL_SAMPLES))
        if not hasattr(self, "_pool_bytes"):
            self._pool_bytes = path.read_bytes()
        return memoryview(self._pool_bytes)


def _sound(count: int) -> bytes:
    """Synthesize mono PCM: low-passed noise whose loudness swells and falls, and three tones."""
    source = array.array("h", random.Random(_SEED).randbytes(2 * count))  # noqa: S311 - data, not secrets
    second = range(_RATE)
    tones = [sum(900 * math.sin(2 * math.pi * pitch * at / _RATE) for pitch in (220, 331, 1_270)) for at in second]
    swell = [0.06 + 0.05 * math.sin(2 * math.pi * at / _RATE) for at in second]
    level = 0.0
    samples = array.array("h", bytes(2 * count))
    for at, (noise, tone, loud) in enumerate(zip(source, itertools.cycle(tones), itertools.cycle(swell), strict=False)):
        level += 0.15 * (noise - level)
        samples[at] = int(level * loud + tone)
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()


def _path(number: int, suffix: str) -> str:
    return f"{number // _FOLDER_FILES:04}/{number:06}.{suffix}"


def _noise(key: str, size: int) -> Iterator[bytes]:
    source = random.Random(f"{_SEED}:{key}")  # noqa: S311 - data, not secrets
    for start in range(0, size, MIB):
        yield source.randbytes(min(MIB, size - start))


def _hashed(path: str, size: int, blocks: Iterator[bytes]) -> File:
    sha256 = hashlib.sha256()
    blob = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    for block in blocks:
        sha256.update(block)
        blob.update(block)
    return File(path, size, sha256.hexdigest(), blob.hexdigest())


def _file(path: str, data: bytes) -> File:
    return _hashed(path, len(data), iter([data]))


def _write(target: Path, path: str, blocks: Iterator[bytes], size: int) -> File:
    target.unlink(missing_ok=True)  # who has a link to it keeps the old one
    with target.open("wb") as file:

        def through() -> Iterator[bytes]:
            for block in blocks:
                file.write(block)
                yield block

        return _hashed(path, size, through())


def _tar(path: Path, contents: Iterator[tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as target:
        folders = set()
        for name, data in contents:
            folder = name.rpartition("/")[0]
            if folder not in folders:
                folders.add(folder)
                entry = tarfile.TarInfo(folder)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                target.addfile(entry)
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(data), 1_700_000_000
            target.addfile(entry, io.BytesIO(data))


def _compress(tool: list[str], source: Path, target: Path) -> None:
    with source.open("rb") as read, target.open("wb") as written:
        subprocess.run(tool, stdin=read, stdout=written, check=True)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
