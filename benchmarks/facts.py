"""What the figures were measured on and with; nothing by which the machine or its user could be known."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks import disk, peers
from benchmarks.work import ROOT
from provisioner import __version__

if TYPE_CHECKING:
    from benchmarks.work import Bench

_TOOLS: Final = {
    "nginx": ("nginx", "-v"),
    "curl": ("curl", "--version"),
    "aria2c": ("aria2c", "--version"),
    "rsync": ("rsync", "--version"),
    "tar": ("tar", "--version"),
    "gzip": ("gzip", "--version"),
    "bzip2": ("bzip2", "--help"),
    "unzip": ("unzip", "-v"),
    "docker": ("docker", "version", "--format", "{{.Server.Version}}"),
}
_PACKAGES: Final = ("huggingface_hub", "kserve-storage", "pooch")


def machine(bench: Bench) -> dict[str, Any]:
    """Describe the machine."""
    memory = re.search(r"^MemTotal:\s+(\d+) kB", _text("/proc/meminfo"), re.MULTILINE)
    model = re.search(r"^model name\s*:\s*(.+)$", _text("/proc/cpuinfo"), re.MULTILINE)
    system = re.search(r'^PRETTY_NAME="(.+)"$', _text("/etc/os-release"), re.MULTILINE)
    return {
        "cores": os.cpu_count(),
        "processor": model.group(1) if model else platform.machine(),
        "memory_bytes": int(memory.group(1)) * 1024 if memory else None,
        "kernel": platform.release().partition("-")[0],
        "system": system.group(1) if system else platform.system(),
        "file_systems": {"memory": _file_system(bench.memory), "disk": _disk(bench.disk)},
    }


def versions() -> dict[str, str]:
    """Name the versions of everybody."""
    found = {"provisioner": __version__, "python": platform.python_version()}
    for name, words in _TOOLS.items():
        try:
            done = subprocess.run(words, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        except OSError:
            continue
        version = re.search(r"\d+(?:\.\d+)+", done.stdout + done.stderr)
        if version:
            found[name] = version.group()
    script = "import sys, importlib.metadata as m; print(*(m.version(name) for name in sys.argv[1:]))"
    done = subprocess.run([str(peers.PYTHON), "-c", script, *_PACKAGES], check=True, capture_output=True, text=True)
    return found | dict(zip(_PACKAGES, done.stdout.split(), strict=True))


def commit() -> str:
    """Name the commit that is measured, as far as there is one, and say when the program is not as it is there."""
    head = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], check=False, capture_output=True, text=True, cwd=ROOT)
    if head.returncode:
        return "unknown"
    same = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "provisioner"], check=False, cwd=ROOT).returncode == 0
    return head.stdout.strip() + ("" if same else ", changed")


def _disk(folder: Path) -> str:
    under = _file_system(folder)
    return f"ext4 in an image on {under}, made anew for every run" if disk.may_mount() else under


def _file_system(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["stat", "-f", "-c", "%T", str(folder)], check=True, capture_output=True, text=True)
    return _mounted_as(folder) or done.stdout.strip()


def _mounted_as(folder: Path) -> str:
    """Return the file system's name as it was mounted: `stat` calls all of ext2, ext3 and ext4 the same."""
    best, kind = "", ""
    for line in _text("/proc/mounts").splitlines():
        _, place, name, *_ = line.split()
        inside = place == "/" or str(folder) == place or str(folder).startswith(place + "/")
        if inside and len(place) >= len(best):
            best, kind = place, name
    return kind


def _text(path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except OSError:
        return ""
