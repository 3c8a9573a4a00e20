"""What more files, or more bytes, cost: the points of the plots."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks import ours, peers
from benchmarks.rows import Row, large, order_for, peer_for, tiny
from benchmarks.runner import run_row
from benchmarks.work import only

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.measure import Command
    from benchmarks.work import Bench, Entrant

_SLOW_FILES = 10_000
"""From here on `hf download` is run once."""


def by_files(bench: Bench, repeat: int) -> list[dict[str, Any]]:
    """Measure repositories of more and more files of 4 KiB."""
    points = []
    for count in (*bench.scale.curve_files, *bench.scale.curve_ours):
        corpus, repo = tiny(bench).first(count), f"bench/tiny-{count}"
        entrants: list[Entrant] = [order_for(bench, f"curve-{count}", ours.from_hub(repo, corpus.files))]
        entrants.append(
            peer_for("curl -Z", partial(peers.curl_parallel, f"{bench.server.files}/tiny", corpus.files), corpus.files)
        )
        if count in bench.scale.curve_files:
            once = 1 if count >= _SLOW_FILES else None
            entrants.append(peer_for("hf download", partial(peers.hf, bench.server.hub, repo), corpus.files, once))
        points += _points(bench, Row(f"curve-files-{count}", f"{count:,} files", tuple(entrants), ()), count, repeat)
    return points


def by_bytes(bench: Bench, repeat: int) -> list[dict[str, Any]]:
    """Measure one file, larger and larger."""
    points = []
    for size in bench.scale.curve_sizes:
        corpus, repo = large(bench, size), f"bench/large-{size}"
        url = f"{bench.server.files}/{corpus.name}/{only(corpus).path}"
        entrants = (
            order_for(bench, f"curve-{size}", ours.from_hub(repo, corpus.files)),
            peer_for("curl", partial(_curl, url), ()),
            peer_for("hf download", partial(peers.hf, bench.server.hub, repo), corpus.files),
        )
        points += _points(bench, Row(f"curve-bytes-{size}", f"{size:,} bytes", entrants, ()), size, repeat)
    return points


def _curl(url: str, target: Path) -> Command:
    return peers.curl(url, target, "file")


def _points(bench: Bench, row: Row, at: int, repeat: int) -> list[dict[str, Any]]:
    print(f"  {row.title}", file=sys.stderr, flush=True)
    done = run_row(bench, row, repeat)
    keys = ("name", "runs", "failure", "wall_seconds", "cpu_seconds", "anonymous_bytes")
    return [{"at": at, **{key: entrant[key] for key in keys if key in entrant}} for entrant in done["entrants"]]
