"""What a run of the benchmarks has at hand: its directories, its data, the server, and how much of everything."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.data import GIB, KIB, MIB, Corpus, File, Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.measure import Command
    from benchmarks.server import Server

ROOT: Final = Path(__file__).resolve().parent.parent
"""The checkout."""


@dataclass(frozen=True)
class Scale:
    """How much of everything."""

    small_files: int = 2_000
    small_size: int = 100 * KIB
    tiny_files: int = 20_000
    tiny_size: int = 4 * KIB
    large_size: int = GIB
    capped_size: int = 2_000_000_000
    capped_single_size: int = 100_000_000
    """For tools with one connection, which need a minute and a half for the other."""
    wav_size: int = GIB
    tar_files: int = 50_000
    tar_size: int = 2 * KIB
    verify_files: int = 16
    verify_size: int = 64 * MIB
    zip_files: int = 2_000
    zip_size: int = 500_000_000
    phase_wav_size: int = 256 * MIB
    phase_slow_size: int = 40_000_000
    idle_files: int = 200_000
    idle_few: int = 200
    curve_files: tuple[int, ...] = (100, 1_000, 10_000)
    curve_ours: tuple[int, ...] = (100_000,)
    """Further counts, where the peers would take too long."""
    curve_sizes: tuple[int, ...] = (MIB, 16 * MIB, 256 * MIB, GIB)
    listings: tuple[int, ...] = (1_000, 10_000, 100_000)


QUICK: Final = Scale(
    small_files=60,
    tiny_files=200,
    large_size=24 * MIB,
    capped_size=80_000_000,
    capped_single_size=10_000_000,
    wav_size=16 * MIB,
    tar_files=500,
    verify_files=4,
    verify_size=4 * MIB,
    zip_files=40,
    zip_size=10_000_000,
    phase_wav_size=4 * MIB,
    phase_slow_size=2_000_000,
    idle_files=500,
    idle_few=20,
    curve_files=(10, 50),
    curve_ours=(100,),
    curve_sizes=(MIB, 4 * MIB),
    listings=(50, 200),
)
"""Enough to see that the harness works; its figures say nothing."""


@dataclass(frozen=True)
class Bench:
    """All that a row is made from."""

    scale: Scale
    store: Store
    server: Server
    work: Path
    memory: Path
    """A directory on tmpfs for what is written."""
    disk: Path
    """A directory on a disk, below which :mod:`benchmarks.disk` makes what is written to."""


@dataclass(frozen=True)
class Entrant:
    """Who takes part in a row."""

    name: str
    start: Callable[[Path], Command]
    """Gives the command that fills a fresh directory."""
    check: Callable[[Path], None]
    """Looks at the directory afterwards; raises :class:`WrongResultError`."""
    repeat: int | None = None
    """How many times, where not as many as the others."""
    work_bytes: int = 0
    """Bytes it transfers, where that is not the same for all in the row."""
    fresh: bool = True
    """Whether it begins with an empty directory, or with what a command left there before the clock started."""
    prepare: Callable[[Path], Command] | None = None
    """Gives that command; ``None``: it is the same one."""


class WrongResultError(Exception):
    """What a tool left behind is not what it should be."""


def check_sizes(folder: Path, files: tuple[File, ...]) -> None:
    """See that each file is there with its size: a peer that failed halfway is not a fast one."""
    for file in files:
        try:
            size = (folder / file.path).stat().st_size
        except OSError:
            raise WrongResultError(f"{file.path} is missing") from None
        if size != file.size:
            raise WrongResultError(f"{file.path} has {size:,} bytes, not {file.size:,}")


def empty(folder: Path) -> None:
    """Make a directory, or an empty one of it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def settle() -> None:
    """Have what was written reach the disk, so that no run pays for the one before it."""
    os.sync()


def only(corpus: Corpus) -> File:
    """Return the file of a corpus of one."""
    (file,) = corpus.files
    return file
