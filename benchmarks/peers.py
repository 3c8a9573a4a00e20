"""The peers: what a person would type, one function each, which gives the command that fills a directory.

None is held back: each has its defaults, as many connections as this program, and no more to do than it does by itself.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

from benchmarks.measure import Command, synced_after
from benchmarks.work import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.data import File

PYTHON: Final = ROOT / ".venv-peers" / "bin" / "python"
"""The environment that holds the peers written in Python."""

_POOCH: Final = """
import sys, pooch
url, digest, name, folder, unpack = sys.argv[1:]
processor = pooch.Untar(extract_dir=folder) if unpack else None
pooch.retrieve(url, known_hash="sha256:" + digest, fname=name, path=folder, processor=processor)
"""
_LIST: Final = """
import sys
from huggingface_hub import HfApi
print(sum(1 for _ in HfApi().list_repo_tree(sys.argv[1], repo_type="dataset", recursive=True)))
"""
_KSERVE: Final = """
import sys
from kserve_storage import Storage
Storage.download_files([sys.argv[1]], [sys.argv[2]])
"""


def hf(endpoint: str, repo: str, target: Path) -> Command:
    """``hf download``, to a directory, without Xet; it compares sizes, not digests."""
    words = (str(PYTHON.parent / "hf"), "download", repo, "--type", "dataset", "--local-dir", str(target))
    environment = {
        "HF_ENDPOINT": endpoint,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    return Command(words, environment)


def curl(url: str, target: Path, name: str) -> Command:
    """``curl``, one file."""
    return Command(("curl", "-sSfL", "-o", str(target / name), url))


def hf_list(endpoint: str, repo: str) -> Command:
    """The Hub's client library, which lists a repository."""
    return Command((str(PYTHON), "-c", _LIST, repo), {"HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_TELEMETRY": "1"})


def curl_parallel(base: str, files: tuple[File, ...], target: Path, *, most: int = 8) -> Command:
    """``curl -Z``, many files over ``most`` connections; it hashes nothing."""
    folders = sorted({file.path.rpartition("/")[0] for file in files})
    for folder in folders:
        (target / folder).mkdir(parents=True)
    wanted = "".join(f'url = "{base}/{file.path}"\noutput = "{target}/{file.path}"\n' for file in files)
    listed = target.parent / "curl.list"
    listed.write_text(wanted, encoding="utf-8")
    return Command(("curl", "-sSfL", "-Z", "--parallel-max", str(most), "-K", str(listed)))


def aria2(url: str, file: File, target: Path, *, connections: int = 8) -> Command:
    """``aria2c -x8``, one file, its digest checked."""
    words = ("aria2c", "-q", f"-x{connections}", f"-s{connections}", f"--checksum=sha-256={file.sha256}")
    return Command((*words, "-d", str(target), "-o", file.path.replace("/", "_"), url))


def aria2_many(base: str, files: tuple[File, ...], target: Path, *, most: int = 8) -> Command:
    """``aria2c -j``, ``most`` files at once, their digests checked."""
    wanted = "".join(f"{base}/{file.path}\n dir={target}\n out={file.path}\n checksum=sha-256={file.sha256}\n" for file in files)
    listed = target.parent / "aria2.list"
    listed.write_text(wanted, encoding="utf-8")
    return Command(("aria2c", "-q", f"-j{most}", "-x8", "-i", str(listed)))


def pooch(url: str, file: File, target: Path, *, unpack: bool = False) -> Command:
    """``pooch.retrieve`` with the digest."""
    words = (url, file.sha256, file.path.replace("/", "_"), str(target), "unpack" if unpack else "")
    return Command((str(PYTHON), "-c", _POOCH, *words))


def kserve(url: str, target: Path) -> Command:
    """KServe's storage initializer; it hashes nothing, and unpacks what is a tar.gz or zip."""
    return Command((str(PYTHON), "-c", _KSERVE, url, str(target)), {"HF_HUB_DISABLE_TELEMETRY": "1"})


def curl_tar(url: str, flag: str, target: Path) -> Command:
    """``curl | tar x``: nothing is hashed, and no archive is kept."""
    pipe = f"curl -sSfL {shlex.quote(url)} | tar -x{flag} -C {shlex.quote(str(target))}"
    return Command(("bash", "-o", "pipefail", "-c", pipe))


def tar(archive: Path, target: Path, *, synced: bool = False) -> Command:
    """GNU ``tar x`` of a file that is there."""
    words = ("tar", "-xf", str(archive), "-C", str(target))
    return synced_after(words, target) if synced else Command(words)


def rsync(source: str, target: Path, *, checksum: bool = False) -> Command:
    """``rsync -a`` from its own daemon."""
    return Command(("rsync", "-a", *(("--checksum",) if checksum else ()), source, f"{target}/"))


def sha256sum(volume: Path) -> Command:
    """Coreutils' ``sha256sum -c``, with the list that this program keeps of each tree."""
    line = 'cd "$0"/datasets/* && exec sha256sum -c --quiet "$0"/.provisioner/manifests/*/*.sha256'
    return Command(("bash", "-c", line, str(volume)))


def unzip(archive: Path, target: Path) -> Command:
    """``unzip`` of a file that is there; it checks the CRC of each member."""
    return Command(("unzip", "-q", str(archive), "-d", str(target)))
