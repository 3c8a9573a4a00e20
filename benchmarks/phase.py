"""The row of a whole phase: four data sets, each of which keeps something else busy."""

from __future__ import annotations

import shlex
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from benchmarks import ours
from benchmarks.ours import NAME, Order
from benchmarks.work import Bench, Entrant

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.data import Archive, Corpus
    from benchmarks.measure import Command

WIRE: Final = "the wire alone"
PROCESSOR: Final = "the processor alone"
IN_TURN: Final = "one after the other"

SLOW_RATE: Final = 1_000_000
"""Bytes a second of one connection to the slow host."""
SLOW_CONNECTIONS: Final = 2


def entrants(bench: Bench, speech: Archive, sounds: Archive, slow: Corpus, notes: Corpus) -> list[Entrant]:
    """Return this program with a phase of four data sets, in one run and one after the other, and the parts of its work alone.

    Args:
        bench: what is at hand.
        speech: a tar.bz2.
        sounds: a zip whose members are compressed with bzip2.
        slow: a file on a host that is slow.
        notes: many small files of a Hub repository.
    """
    server, store = bench.server, bench.store

    def archive(one: Archive, *, local: bool, unpacked: bool) -> Order:
        url = store.path_of(one).as_uri() if local else f"{server.files}/archives/{one.file.path}"
        return ours.from_url(url, one.file, unpack=one.form, members=one.members) if unpacked else ours.from_url(url, one.file)

    def orders(*, local: bool = False, unpacked: bool = True) -> dict[str, Order]:
        files = store.files.as_uri()
        return {
            "speech": archive(speech, local=local, unpacked=unpacked),
            "sounds": archive(sounds, local=local, unpacked=unpacked),
            "slow": ours.from_urls(f"{files if local else server.far_files}/{slow.name}", slow.files),
            "notes": ours.from_urls(f"{files}/{notes.name}", notes.files)
            if local
            else ours.from_hub("bench/hub-small", notes.files),
        }

    def entrant(name: str, wanted: dict[str, Order], *, in_turn: bool = False) -> Entrant:
        path = ours.catalog_of(wanted, bench.work / "catalogs" / f"phase-{name.replace(' ', '-')}.json")

        def start(volume: Path) -> Command:
            whole = ours.command(server.hub, path, volume, "provision")
            if not in_turn:
                return whole
            each = [ours.command(server.hub, path, volume, "provision", "--dataset", dataset).words for dataset in wanted]
            return replace(whole, words=("sh", "-c", " && ".join(map(shlex.join, each))))

        work = sum(file.size for order in wanted.values() for file in order.expected)
        return Entrant(name, start, partial(_check, wanted), work_bytes=work)

    return [
        entrant(NAME, orders()),
        entrant(IN_TURN, orders(), in_turn=True),
        entrant(WIRE, orders(unpacked=False)),
        entrant(PROCESSOR, orders(local=True)),
    ]


def _check(wanted: dict[str, Order], volume: Path) -> None:
    for dataset, order in wanted.items():
        ours.check_tree(volume / "datasets" / dataset, order.expected)
