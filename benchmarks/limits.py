"""What is not compared with a peer, but has a limit: memory, room on a volume, the cost of large listings."""

from __future__ import annotations

import itertools
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks import disk, measure, ours
from benchmarks.data import KIB, MIB
from benchmarks.rows import large, small, tiny
from benchmarks.work import WrongResultError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.data import Archive
    from benchmarks.ours import Order
    from benchmarks.work import Bench

MEMORY_LIMIT: Final = 192 * MIB
"""Of the container: page cache and the kernel's own part count as well."""
ROOM: Final = 64 * MIB
"""What a run may need beyond what it leaves."""
BYTES_PER_FILE: Final = 1024
_MARGIN: Final = 8 * MIB
"""A volume has this much more than is allowed, so that one byte too many is seen and not only felt."""


@dataclass(frozen=True)
class Finding:
    """One line of the second table."""

    title: str
    wanted: str
    found: str
    kept: bool
    values: dict[str, Any]

    def document(self, part: str) -> dict[str, Any]:
        """Return it for the JSON file."""
        facts = {"title": self.title, "wanted": self.wanted, "found": self.found, "kept": self.kept}
        return {"part": part, **facts, "values": self.values}


def _works(bench: Bench) -> Iterator[tuple[str, Order]]:
    """Return each kind of work; all by address, since a container does not see this machine's files."""
    scale, store, server = bench.scale, bench.store, bench.server
    corpus = small(bench)
    yield f"{len(corpus.files):,} × {scale.small_size // KIB} KiB from the Hub", ours.from_hub("bench/hub-small", corpus.files)
    yield (
        f"{scale.tiny_files:,} × {scale.tiny_size // KIB} KiB from the Hub",
        ours.from_hub("bench/hub-tiny", tiny(bench).first(scale.tiny_files).files),
    )
    yield "one large file from the Hub", ours.from_hub("bench/large", large(bench, scale.large_size).files)
    archives = (
        store.wav_tar(scale.wav_size, "tar.gz"),
        store.wav_tar(scale.wav_size, "tar.bz2"),
        store.small_tar(scale.tar_files, scale.tar_size),
        store.bzip2_zip(scale.zip_files, scale.zip_size),
    )
    for archive in archives:
        title = f"{archive.form} with {len(archive.members):,} members"
        yield title, _from_server(server.files, archive)


def _from_server(base: str, archive: Archive) -> Order:
    url = f"{base}/archives/{archive.file.path}"
    return ours.from_url(url, archive.file, unpack=archive.form, members=archive.members)


# --- memory -------------------------------------------------------------------------------------------------------------


def memory(bench: Bench, image: str) -> list[Finding]:
    """Do each kind of work in a container of 192 MiB, onto a disk: what is written to a tmpfs would count as its memory."""
    findings = []
    for title, order in _works(bench):
        catalog = ours.catalog(order, bench.work / "container" / "catalog.json")
        with disk.fresh(bench.disk) as volume:
            code, killed, anonymous = _contained(image, ours.settings(bench.server.hub), catalog, volume)
            problem = "killed for its memory" if killed else f"exit code {code}" if code else ""
            if not problem:
                problem = _wrong(partial(ours.check, volume, order.expected))
        found = f"{problem or 'exit code 0'}, {anonymous / MIB:.0f} MiB anonymous"
        findings.append(
            Finding(title, "exit code 0", found, not problem, {"code": code, "killed": killed, "anonymous_bytes": anonymous})
        )
        _say(findings[-1])
    return findings


def _contained(image: str, settings: dict[str, str], catalog: Path, volume: Path) -> tuple[int, bool, int]:
    """Run the image; give its exit code, whether the kernel killed it, and the peak of its anonymous memory."""
    words = ["docker", "run", "--detach", "--network=host", f"--memory={MEMORY_LIMIT}", f"--memory-swap={MEMORY_LIMIT}"]
    words += ["--user", f"{os.getuid()}:0", "--volume", f"{volume}:/data", "--volume", f"{catalog.parent}:/bench:ro"]
    words += [word for name, value in settings.items() for word in ("--env", f"{name}={value}")]
    words += [image, "provision", "--dataset", ours.DATASET, "--catalog", f"/bench/{catalog.name}"]
    container = subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
    try:
        peak = 0
        statistics = _statistics(container)
        while _inspect(container, "{{.State.Running}}") == "true":
            for _ in range(20):
                peak = max(peak, _anonymous(statistics))
                time.sleep(0.02)
        code, killed = _inspect(container, "{{.State.ExitCode}} {{.State.OOMKilled}}").split()
        return int(code), killed == "true", peak
    finally:
        subprocess.run(["docker", "rm", "--force", container], check=False, capture_output=True)


def _inspect(container: str, form: str) -> str:
    words = ["docker", "inspect", "--format", form, container]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def _statistics(container: str) -> Path | None:
    """Find the file in which the kernel accounts for a container's memory, in either version of control groups."""
    process = _inspect(container, "{{.State.Pid}}")
    try:
        groups = Path(f"/proc/{process}/cgroup").read_text("utf-8").splitlines()
    except OSError:
        return None  # it has ended already
    for _, controllers, path in (line.split(":", 2) for line in groups):
        if "memory" in controllers.split(","):
            return Path(f"/sys/fs/cgroup/memory{path}/memory.stat")
    return Path(f"/sys/fs/cgroup{groups[0].split(':', 2)[2]}/memory.stat")


def _anonymous(statistics: Path | None) -> int:
    try:
        lines = statistics.read_text("ascii").splitlines() if statistics else []
    except OSError:
        return 0
    values = dict(line.split() for line in lines)
    return int(values.get("anon") or values.get("total_rss") or 0)


# --- room ---------------------------------------------------------------------------------------------------------------


def room(bench: Bench) -> list[Finding]:
    """Unpack onto a volume that holds the tree and a little more, but not the archive beside it."""
    scale, store = bench.scale, bench.store
    findings = []
    for archive in (store.wav_tar(scale.wav_size, "tar.gz"), store.bzip2_zip(scale.zip_files, scale.zip_size)):
        title = f"{archive.form} of {archive.file.size / 1e6:.0f} MB, unpacked {archive.size / 1e6:.0f} MB"
        order = _from_server(bench.server.files, archive)
        catalog = ours.catalog(order, bench.work / "catalogs" / f"room-{archive.form}.json")
        pages = sum(-(-member.size // 4096) * 4096 for member in archive.members)
        with disk.small_memory(pages + ROOM + _MARGIN) as volume:
            measured = measure.run(
                ours.command(bench.server.hub, catalog, volume), bench.work / "home", bench.work / "last.log", watched=volume
            )
            problem = f"exit code {measured.code}" if measured.code else _wrong(partial(ours.check, volume, order.expected))
        beyond = measured.disk_bytes - measured.disk_end_bytes
        kept = not problem and beyond <= ROOM
        found = problem or f"{beyond / MIB:.0f} MiB beyond the final size"
        values = {"peak_bytes": measured.disk_bytes, "end_bytes": measured.disk_end_bytes, "code": measured.code}
        findings.append(Finding(title, f"at most {ROOM // MIB} MiB beyond the final size", found, kept, values))
        _say(findings[-1])
    return findings


# --- growth -------------------------------------------------------------------------------------------------------------


def growth(bench: Bench) -> list[Finding]:
    """Ask for listings, and make plans, of more and more files."""
    return [_growth(bench, "listing of a repository", _listing), _growth(bench, "plan for a volume that holds them", _plan)]


def _growth(bench: Bench, title: str, start: Callable[[Bench, int], measure.Command]) -> Finding:
    wanted = "ten times the files: at most ten times the time; below 1 KiB of memory a file"
    points: list[tuple[int, float, int]] = []
    for count in bench.scale.listings:
        runs = [measure.run(start(bench, count), bench.work / "home", bench.work / "last.log") for _ in range(3)]
        if any(each.code for each in runs):
            return Finding(title, wanted, f"fails with {count:,} files", kept=False, values={})
        wall = statistics.median(each.wall_seconds for each in runs)
        points.append((count, wall, min(each.anonymous_bytes for each in runs)))
    each = (points[-1][2] - points[0][2]) / (points[-1][0] - points[0][0])
    steady = all(later[1] / earlier[1] <= later[0] / earlier[0] for earlier, later in itertools.pairwise(points))
    found = ", ".join(f"{count:,}: {seconds:.2f} s" for count, seconds, _ in points) + f"; {each:.0f} bytes a file"
    shown = [{"files": count, "wall_seconds": wall, "anonymous_bytes": memory} for count, wall, memory in points]
    finding = Finding(title, wanted, found, steady and each < BYTES_PER_FILE, {"points": shown, "bytes_per_file": round(each)})
    _say(finding)
    return finding


def _listing(bench: Bench, count: int) -> measure.Command:
    """Have the program ask the Hub what a repository holds."""
    order = ours.from_hub(f"bench/tiny-{count}", ())
    catalog = ours.catalog(order, bench.work / "catalogs" / f"listing-{count}.json")
    return ours.command(bench.server.hub, catalog, bench.work / "no-volume", "catalog", "check", "--online")


def _plan(bench: Bench, count: int) -> measure.Command:
    """Have the program plan for a volume that holds that many files."""
    archive = bench.store.small_tar(count, 100)
    catalog = ours.catalog(_from_server(bench.server.files, archive), bench.work / "catalogs" / f"plan-{count}.json")
    volume = bench.memory / f"held-{count}"
    if not volume.exists():
        measure.run(ours.command(bench.server.hub, catalog, volume), bench.work / "home", bench.work / "last.log")
    return ours.command(bench.server.hub, catalog, volume, "plan")


def _wrong(check: Callable[[], None]) -> str:
    try:
        check()
    except WrongResultError as error:
        return str(error)
    return ""


def _say(finding: Finding) -> None:
    print(f"  {finding.title:50} {'' if finding.kept else 'MISSED: '}{finding.found}", file=sys.stderr, flush=True)


def has_image(image: str) -> bool:
    """Return whether there is an engine that has the image."""
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "image", "inspect", image], check=False, capture_output=True).returncode == 0
