"""The most common mistakes of new users, for ``docs/troubleshooting.md``: the command lines, and how the program ends."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from tests.support.hub_server import HubServer


def _nothing(_scratch: Path, _server: HubServer) -> Sequence[str]:
    return ()


@dataclass(frozen=True)
class Mistake:
    """One mistake."""

    title: str
    shown: str
    """The command line as shown in the document."""
    code: int
    changes: Mapping[str, str] = field(default_factory=dict)
    """Variables that differ from those of the other examples; an empty one is unset."""
    arguments: Sequence[str] = ()
    prepare: Callable[[Path, HubServer], Sequence[str]] = _nothing
    """Prepares the directory and the Hub; returns the words that precede the program's command line."""

    def settings(self, scratch: Path) -> dict[str, str]:
        """Return the variables; each mistake has its own volume."""
        return {"DATA_DIR": str(scratch / "volumes" / str(MISTAKES.index(self)) / "data"), "HF_TOKEN": "", **self.changes}


def _closed_directory(scratch: Path, _server: HubServer) -> Sequence[str]:
    closed = scratch / "closed"
    closed.mkdir()
    closed.chmod(0o555)
    # Root may write everywhere unless it drops that capability.
    powerless = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    return powerless if hasattr(os, "geteuid") and os.geteuid() == 0 else ()


def _gated(scratch: Path, server: HubServer) -> Sequence[str]:
    server.hub.add_repo("lab/interviews", gated="manual").commit({"a.wav": b"RIFF"})
    _write_catalog(scratch / "gated.yaml", [{"kind": "hub", "repo": "lab/interviews"}])
    return ()


def _wrong_catalog(scratch: Path, _server: HubServer) -> Sequence[str]:
    file = {"url": "https://example.org/interviews.tgz", "digest": "sha256:1f2e", "unpack": "tgz"}
    _write_catalog(scratch / "catalog-with-mistakes.yaml", [{"kind": "url", "files": [file]}], priority=9)
    return ()


def _write_catalog(path: Path, sources: Sequence[Mapping[str, object]], *, priority: int = 3) -> None:
    terms = {"spdx": "CC-BY-4.0", "name": "CC BY 4.0", "url": "https://creativecommons.org/licenses/by/4.0/"}
    terms |= {"commercial": "allowed", "evidence": "the repository's card", "attribution": "The lab"}
    dataset: dict[str, Any] = {"title": "Interviews", "homepage": "https://example.org", "priority": priority}
    dataset |= {"license": terms, "sources": sources}
    document = {"version": 1, "datasets": {"interviews": dataset}, "phases": {"minimal": {"datasets": ["interviews"]}}}
    path.write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")


def _misspelt_config(scratch: Path, _server: HubServer) -> Sequence[str]:
    (scratch / "config.yaml").write_text("datasets:\n  max_storage_bg: 50\n", "utf-8")
    return ()


_REAL_HOSTS: Final = {"HF_ENDPOINT": "", "URL_REWRITE": "", "EXAMPLE_OFFLINE": "1"}
MISTAKES: Final[tuple[Mistake, ...]] = (
    Mistake("The phase is misspelt.", "PHASE=minmal provisioner", 78, {"PHASE": "minmal"}),
    Mistake("The data set is not in the catalog.", "DATASETS=lj-speech provisioner", 78, {"DATASETS": "lj-speech"}),
    Mistake(
        "The volume belongs to another user.",
        "docker run -v /srv/data:/data provisioner",
        73,
        {"DATA_DIR": "SCRATCH/closed"},
        prepare=_closed_directory,
    ),
    Mistake(
        "The volume is too small.",
        "DATASETS=nsynth provisioner",
        74,
        {"DATASETS": "nsynth", "CATALOG_PATH": "", "EXAMPLE_FREE_BYTES": "20000000000"},
    ),
    Mistake("There is no network.", "provisioner --dataset ljspeech", 75, _REAL_HOSTS, ("--dataset", "ljspeech")),
    Mistake(
        "The proxy's address is wrong.",
        "HTTPS_PROXY=http://proxy.exmaple:3128 provisioner --dataset ljspeech",
        75,
        {**_REAL_HOSTS, "HTTPS_PROXY": "http://proxy.exmaple:3128"},
        ("--dataset", "ljspeech"),
    ),
    Mistake(
        "The token is wrong.",
        "HF_TOKEN=hf_… DATASET_REPO=my-logs provisioner",
        77,
        {"HF_TOKEN": "hf_" + "x" * 34, "DATASET_REPO": "my-logs", "DATASETS": "nsynth:test"},
    ),
    Mistake(
        "The data set is gated, and there is no token.",
        "provisioner --catalog gated.yaml",
        77,
        arguments=("--catalog", "gated.yaml"),
        prepare=_gated,
    ),
    Mistake(
        "A key of the config file is misspelt.",
        "provisioner --config config.yaml",
        78,
        arguments=("--config", "config.yaml"),
        prepare=_misspelt_config,
    ),
    Mistake(
        "The catalog has mistakes.",
        "provisioner catalog check --catalog catalog-with-mistakes.yaml",
        78,
        arguments=("catalog", "check", "--catalog", "catalog-with-mistakes.yaml"),
        prepare=_wrong_catalog,
    ),
    Mistake("The app is not in the image.", "provisioner -- pyhton app.py", 127, arguments=("--", "pyhton", "app.py")),
    Mistake(
        "The volume is a bucket, and nobody says that there is one writer.",
        "VOLUME_KIND=object provisioner",
        74,
        {"VOLUME_KIND": "object"},
    ),
)
"""Twelve of them."""
