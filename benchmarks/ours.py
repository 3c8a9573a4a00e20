"""This program as its users run it: ``python -m provisioner`` with a catalog, on a fresh volume, start-up included."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from benchmarks.data import MIB
from benchmarks.measure import Command, synced_after
from benchmarks.work import ROOT, WrongResultError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from benchmarks.data import File

DATASET: Final = "sounds"
NAME: Final = "provisioner"


@dataclass(frozen=True)
class Order:
    """What the catalog offers, and what must come out of it."""

    sources: tuple[dict[str, Any], ...]
    expected: tuple[File, ...]
    unpacked: int | None = None


def from_hub(repo: str, expected: tuple[File, ...]) -> Order:
    """Order a whole repository, file by file."""
    return Order(({"kind": "hub", "repo": repo, "revision": "main", "layout": "raw"},), expected)


def from_urls(base: str, files: tuple[File, ...]) -> Order:
    """Order many files by their addresses, sizes and digests."""
    entries = [
        {
            "url": f"{base}/{file.path}",
            "size": file.size,
            "digest": f"sha256:{file.sha256}",
            "into": file.path.rpartition("/")[0] or None,
        }
        for file in files
    ]
    wanted = [{key: value for key, value in entry.items() if value is not None} for entry in entries]
    return Order(({"kind": "url", "layout": "raw", "files": wanted},), files)


def from_url(url: str, file: File, *, unpack: str = "none", members: tuple[File, ...] | None = None) -> Order:
    """Order one file by its address, size and digest."""
    entry: dict[str, Any] = {"url": url, "size": file.size, "digest": f"sha256:{file.sha256}", "unpack": unpack}
    if members is None:
        return Order(({"kind": "url", "layout": "raw", "files": [entry]},), (file,))
    entry["unpacked_size"] = sum(member.size for member in members)
    return Order(({"kind": "url", "layout": "raw", "files": [entry]},), members, entry["unpacked_size"])


def catalog(order: Order, path: Path) -> Path:
    """Write a catalog that offers it. JSON is YAML too."""
    return catalog_of({DATASET: order}, path)


def catalog_of(orders: Mapping[str, Order], path: Path) -> Path:
    """Write a catalog that offers several data sets, as one phase."""
    document = {
        "version": 1,
        "datasets": {name: _entry(order) for name, order in orders.items()},
        "phases": {"minimal": {"description": "All of it.", "datasets": list(orders)}},
        "excluded": {},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def _entry(order: Order) -> dict[str, Any]:
    dataset: dict[str, Any] = {
        "title": "Sounds",
        "homepage": "http://127.0.0.1/",
        "description": "Generated data",
        "purpose": "measuring",
        "priority": 5,
        "layout": "raw",
        "license": {
            "spdx": "CC0-1.0",
            "name": "CC0 1.0",
            "url": "http://127.0.0.1/",
            "commercial": "allowed",
            "evidence": "generated",
            "attribution": "none",
        },
        "sources": list(order.sources),
    }
    if order.unpacked is not None:
        dataset["unpacked_size"] = order.unpacked
    return dataset


def settings(endpoint: str) -> dict[str, str]:
    """Return the environment that the program runs with."""
    return {
        "HF_ENDPOINT": endpoint,
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
        "DATASET_REPO": "none",
        "LICENSE_POLICY": "any",
        "LOG_FORMAT": "text",
        "PHASE": "minimal",
    }


def command(endpoint: str, path: Path, volume: Path, *words: str) -> Command:
    """Return the command line that fills ``volume``, or what ``words`` say instead."""
    chosen = words or ("provision", "--dataset", DATASET)
    line = (sys.executable, "-m", "provisioner", *chosen, "--catalog", str(path), "--data-dir", str(volume))
    return Command(line, settings(endpoint), ROOT)


def unpacking(archive: Path, form: str, target: Path, *, synced: bool = False) -> Command:
    """Return the command line that does the unpacking alone."""
    words = (sys.executable, "-m", "benchmarks.unpack_alone", str(archive), form, str(target))
    return synced_after(words, target, ROOT) if synced else Command(words, {}, ROOT)


def check(volume: Path, expected: tuple[File, ...]) -> None:
    """Hash what was published: each file that is expected, and none beside them."""
    check_tree(volume / "datasets" / DATASET, expected)


def check_tree(tree: Path, expected: tuple[File, ...]) -> None:
    """Hash every file of a tree and compare."""
    for file in expected:
        digest = hashlib.sha256()
        try:
            with (tree / file.path).open("rb", buffering=0) as content:
                while block := content.read(MIB):
                    digest.update(block)
        except OSError:
            raise WrongResultError(f"{file.path} is missing") from None
        if digest.hexdigest() != file.sha256:
            raise WrongResultError(f"{file.path} has other bytes")
    found = sum(len(names) for _, _, names in os.walk(tree))
    if found != len(expected):
        raise WrongResultError(f"{found:,} files, not {len(expected):,}")
