"""The rows of the table: which work, who takes part, where it is written, and what is aimed at."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

from benchmarks import ours, peers, phase
from benchmarks.ours import NAME, Order
from benchmarks.work import Bench, Entrant, check_sizes, only

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from benchmarks.data import Archive, Corpus, File
    from benchmarks.measure import Command


@dataclass(frozen=True)
class Target:
    """What is aimed at: a ratio of wall times, ours to a peer's; or a rate."""

    at_most: float = 0
    peer: str = ""
    """Its name; of several, separated by `` | ``, the one that takes longest counts."""
    ours: str = NAME
    at_least_rate: float = 0
    """Bytes a second."""
    at_most_seconds: float = 0


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    id: str
    title: str
    entrants: tuple[Entrant, ...]
    targets: tuple[Target, ...]
    place: Literal["memory", "disk"] = "memory"
    note: str = ""
    files: int = 0
    """How many there are, for the cost of each; 0 where that says nothing."""
    around: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext
    """What must be open while the row runs."""


def order_for(
    bench: Bench,
    key: str,
    order: Order,
    name: str = NAME,
    *,
    hub: str | None = None,
    connections: int | None = None,
    page: bool = False,
) -> Entrant:
    """Let this program do what an order says, with its default settings but for the number of connections and the page."""
    catalog = ours.catalog(order, bench.work / "catalogs" / f"{key}.json")

    def start(volume: Path) -> Command:
        command = ours.command(hub or bench.server.hub, catalog, volume)
        chosen = {"CONNECTIONS": str(connections)} if connections is not None else {}
        chosen |= {"PROGRESS_PORT": str(free_port())} if page else {}
        return replace(command, environment={**command.environment, **chosen})

    return Entrant(name, start, lambda volume: ours.check(volume, order.expected), work_bytes=sum(f.size for f in order.expected))


def peer_for(name: str, start: Callable[[Path], Command], files: tuple[File, ...], repeat: int | None = None) -> Entrant:
    """Let a peer fetch or unpack these files."""
    return Entrant(name, start, lambda target: check_sizes(target, files), repeat, work_bytes=sum(f.size for f in files))


def _hub_row(bench: Bench, key: str, title: str, corpus: Corpus, targets: tuple[Target, ...], *, lfs: bool, slow: bool) -> Row:
    """Make the row of a repository with many files."""
    name = f"bench/{key}"
    direct = f"{bench.server.files}/{corpus.name}"
    through = f"{bench.server.hub}/datasets/{name}/resolve/main"
    entrants = [
        order_for(bench, key, ours.from_hub(name, corpus.files)),
        peer_for("hf download", partial(peers.hf, bench.server.hub, name), corpus.files, 1 if slow else None),
        peer_for("curl -Z", partial(peers.curl_parallel, through if lfs else direct, corpus.files), corpus.files),
    ]
    if not slow:
        entrants.append(peer_for("aria2c -j8", partial(peers.aria2_many, direct, corpus.files), corpus.files))
    return Row(key, title, tuple(entrants), targets, files=len(corpus.files))


def hub_small(bench: Bench) -> Row:
    """2,000 files of 100 KiB, as plain files of the repository."""
    corpus = small(bench)
    title = f"{len(corpus.files):,} × {bench.scale.small_size // 1024} KiB from a Hub repository"
    return _hub_row(
        bench, "hub-small", title, corpus, (Target(1 / 10, "hf download"), Target(4, "curl -Z")), lfs=False, slow=False
    )


def hub_small_lfs(bench: Bench) -> Row:
    """The same files in LFS: each is a redirect to another host."""
    corpus = small(bench)
    title = "the same in LFS: a redirect to another host for each"
    return _hub_row(bench, "hub-small-lfs", title, corpus, (), lfs=True, slow=False)


def hub_tiny(bench: Bench) -> Row:
    """20,000 files of 4 KiB."""
    corpus = tiny(bench).first(bench.scale.tiny_files)
    title = f"{len(corpus.files):,} × {bench.scale.tiny_size // 1024} KiB from a Hub repository"
    return _hub_row(bench, "hub-tiny", title, corpus, (Target(1 / 8, "hf download"),), lfs=False, slow=True)


FAR_RATE: Final = 20_000_000
"""Bytes a second of one connection from far away."""


def large_file(bench: Bench) -> Row:
    """One file of 1 GiB."""
    corpus = large(bench, bench.scale.large_size)
    file, url = only(corpus), f"{bench.server.files}/{corpus.name}/{only(corpus).path}"
    flat = (_flat(file),)
    entrants = (
        order_for(bench, "large-hub", ours.from_hub("bench/large", corpus.files)),
        order_for(bench, "large-url", ours.from_url(url, flat[0]), f"{NAME} (URL)"),
        peer_for("hf download", partial(peers.hf, bench.server.hub, "bench/large"), corpus.files),
        peer_for("aria2c -x8 --checksum", partial(_aria2, url, file), flat),
        peer_for("curl", lambda target: peers.curl(url, target, flat[0].path), flat),
        peer_for("kserve-storage", partial(peers.kserve, url), flat),
        peer_for("pooch", partial(_pooch, url, flat[0]), flat),
    )
    targets = (
        Target(0.7, "hf download"),
        Target(1.0, "aria2c -x8 --checksum"),
        Target(0.7, "hf download", f"{NAME} (URL)"),
        Target(1.0, "aria2c -x8 --checksum", f"{NAME} (URL)"),
    )
    note = "hf download, curl and kserve-storage hash nothing"
    return Row("large", f"{size_text(file.size)}, from the Hub or a URL, hashed", entrants, targets, note=note)


def capped(bench: Bench) -> Row:
    """A host that gives each connection 20 MB/s, and eight connections."""
    big, single = large(bench, bench.scale.capped_size), large(bench, bench.scale.capped_single_size)
    url, slow = (f"{bench.server.capped}/{each.name}/{only(each).path}" for each in (big, single))
    entrants = (
        order_for(bench, "capped", ours.from_url(url, _flat(only(big)))),
        peer_for("aria2c -x8 --checksum", partial(_aria2, url, only(big)), (_flat(only(big)),)),
        peer_for("curl", lambda target: peers.curl(slow, target, _flat(only(single)).path), (_flat(only(single)),), 1),
        peer_for("kserve-storage", partial(peers.kserve, slow), (_flat(only(single)),), 1),
        peer_for("pooch", partial(_pooch, slow, _flat(only(single))), (_flat(only(single)),), 1),
    )
    note = f"tools with one connection on {size_text(only(single).size)}: the rates compare, not the times"
    title = f"{size_text(only(big).size)} from a host capped at 20 MB/s a connection and 8 connections"
    return Row("capped", title, entrants, (Target(at_least_rate=0.9 * 160e6),), note=note)


ROUND_TRIP: Final = 0.08
"""Seconds, as between Europe and the east of North America."""
_MANY: Final = 50
"""Connections that the documents of curl allow by default with ``-Z``."""


def far_small(bench: Bench) -> Row:
    """The small files from far away."""
    return _far_small(bench, "far-small", "hub-small", "from a Hub 80 ms away", 1.1)


def far_small_lfs(bench: Bench) -> Row:
    """The same behind redirects."""
    return _far_small(bench, "far-small-lfs", "hub-small-lfs", "from a Hub 80 ms away, in LFS: a redirect for each", 1.3)


def _far_small(bench: Bench, key: str, repo: str, where: str, at_most: float) -> Row:
    corpus, server = small(bench), bench.server
    direct = f"{server.far_files}/{corpus.name}"
    entrants = (
        order_for(bench, key, ours.from_hub(f"bench/{repo}", corpus.files), hub=server.far_hub),
        order_for(bench, key, ours.from_hub(f"bench/{repo}", corpus.files), f"{NAME}, 8", hub=server.far_hub, connections=8),
        peer_for("hf download", partial(peers.hf, server.far_hub, f"bench/{repo}"), corpus.files, 1),
        peer_for("curl -Z, 50", partial(peers.curl_parallel, direct, corpus.files, most=_MANY), corpus.files),
        peer_for("aria2c -j16", partial(peers.aria2_many, direct, corpus.files, most=16), corpus.files),
    )
    title = f"{len(corpus.files):,} × {bench.scale.small_size // 1024} KiB {where}"
    targets = (Target(at_most, "curl -Z, 50"), Target(1 / 6, "hf download"))
    note = "curl and aria2c ask for the files directly, without a redirect" if repo.endswith("lfs") else ""
    around = partial(server.far, round_trip=ROUND_TRIP)
    return Row(key, title, entrants, targets, note=note, files=len(corpus.files), around=around)


def far_large(bench: Bench) -> Row:
    """One large file from far away, at a rate for each connection."""
    corpus, server = large(bench, bench.scale.large_size), bench.server
    file = only(corpus)
    flat, url = _flat(file), f"{server.far_files}/{corpus.name}/{file.path}"
    entrants = (
        order_for(bench, "far-large", ours.from_url(url, flat)),
        order_for(bench, "far-large", ours.from_url(url, flat), f"{NAME}, 8", connections=8),
        peer_for("hf download", partial(peers.hf, server.far_hub, "bench/large"), corpus.files, 1),
        peer_for("aria2c -x16 --checksum", partial(peers.aria2, url, flat, connections=16), (flat,)),
    )
    rate = 8 * FAR_RATE
    targets = (Target(0.5, "hf download"), Target(ours=f"{NAME}, 8", at_least_rate=0.9 * rate))
    around = partial(server.far, round_trip=ROUND_TRIP, rate=FAR_RATE)
    return Row("far-large", f"{size_text(file.size)} from 80 ms away, 20 MB/s a connection", entrants, targets, around=around)


def far_list(bench: Bench) -> Row:
    """The listing of a large repository from far away."""
    count, server = max(bench.scale.listings), bench.server
    name = f"bench/tiny-{count}"
    order = ours.from_hub(name, tiny(bench).first(count).files)
    catalog = ours.catalog(order, bench.work / "catalogs" / "far-list.json")
    entrants = (
        Entrant(
            NAME, lambda volume: ours.command(server.far_hub, catalog, volume, "catalog", "check", "--online"), lambda _: None
        ),
        Entrant("huggingface_hub", lambda _: peers.hf_list(server.far_hub, name), lambda _: None),
    )
    around = partial(server.far, round_trip=ROUND_TRIP)
    return Row("far-list", f"{count:,} files listed, 80 ms away", entrants, (), around=around)


def busy_host(bench: Bench) -> Row:
    """A host that takes three connections, and refuses those beyond."""
    corpus, server = small(bench), bench.server
    files = corpus.files[: len(corpus.files) // 2]
    some = type(corpus)(corpus.name, files)
    urls = ours.from_urls(f"{server.far_files}/{some.name}", files)
    entrants = [order_for(bench, "busy-host", urls)]
    entrants += [order_for(bench, "busy-host", urls, f"{NAME}, {count}", connections=count) for count in (2, 3, 4)]
    title = f"{len(files):,} × {bench.scale.small_size // 1024} KiB from a host 20 ms away with three connections, 429 beyond"
    around = partial(server.far, round_trip=0.02, most=3)
    targets = (Target(1.1, f"{NAME}, 3"),)
    return Row("busy-host", title, tuple(entrants), targets, files=len(files), around=around)


def wav_gz(bench: Bench) -> Row:
    """A tar.gz of WAV files, fetched, hashed and unpacked."""
    return _compressed(bench, bench.store.wav_tar(bench.scale.wav_size, "tar.gz"), "z", 0.5)


def wav_bz2(bench: Bench) -> Row:
    """The same as tar.bz2."""
    return _compressed(bench, bench.store.wav_tar(bench.scale.wav_size, "tar.bz2"), "j", 0.6)


def _compressed(bench: Bench, archive: Archive, flag: str, at_most: float) -> Row:
    url = f"{bench.server.files}/archives/{archive.file.path}"
    entrants = [
        order_for(bench, archive.form, ours.from_url(url, archive.file, unpack=archive.form, members=archive.members)),
        peer_for(f"curl | tar x{flag}", partial(peers.curl_tar, url, flag), archive.members),
    ]
    if archive.form == "tar.gz":
        entrants += [
            peer_for("kserve-storage", partial(peers.kserve, url), archive.members, 1),
            peer_for("pooch", lambda target: peers.pooch(url, archive.file, target, unpack=True), archive.members, 1),
        ]
    title = f"{size_text(archive.size)} of WAV as {archive.form} ({size_text(archive.file.size)}), fetched, hashed and unpacked"
    return Row(archive.form.replace(".", "-"), title, tuple(entrants), (Target(at_most, f"curl | tar x{flag}"),))


def page(bench: Bench) -> Row:
    """The same archive with the progress page, and without it."""
    archive = bench.store.wav_tar(bench.scale.wav_size, "tar.gz")
    url = f"{bench.server.files}/archives/{archive.file.path}"
    order = ours.from_url(url, archive.file, unpack=archive.form, members=archive.members)
    with_page = f"{NAME} with its page"
    entrants = (order_for(bench, "page", order), order_for(bench, "page", order, with_page, page=True))
    title = f"{size_text(archive.size)} of WAV as {archive.form}, with the progress page"
    return Row("page", title, entrants, (Target(1.05, NAME, with_page),))


def tar_memory(bench: Bench) -> Row:
    """A tar of 50,000 small files, into memory."""
    return _tar_row(bench, "memory", 2.5)


def tar_disk(bench: Bench) -> Row:
    """The same onto a disk, with a final sync on both sides."""
    return _tar_row(bench, "disk", 1.2)


def _tar_row(bench: Bench, place: Literal["memory", "disk"], at_most: float) -> Row:
    archive = bench.store.small_tar(bench.scale.tar_files, bench.scale.tar_size)
    path = bench.store.path_of(archive)
    synced = place == "disk"
    order = ours.from_url(path.as_uri(), archive.file, unpack="tar", members=archive.members)
    entrants = (
        order_for(bench, f"tar-{place}", order),
        _alone(path, archive, synced=synced),
        peer_for("tar x", lambda target: peers.tar(path, target, synced=synced), archive.members),
    )
    targets = (Target(at_most, "tar x"), Target(at_most, "tar x", _ALONE))
    title = f"tar of {len(archive.members):,} × {bench.scale.tar_size // 1024} KiB, every file hashed"
    note = "with a final sync on both sides" if synced else ""
    return Row(f"tar-{place}", title, entrants, targets, place, note, len(archive.members))


def zip_bzip2(bench: Bench) -> Row:
    """A zip whose members are compressed with bzip2."""
    archive = bench.store.bzip2_zip(bench.scale.zip_files, bench.scale.zip_size)
    path = bench.store.path_of(archive)
    entrants = (
        order_for(bench, "zip", ours.from_url(path.as_uri(), archive.file, unpack="zip", members=archive.members)),
        _alone(path, archive),
        peer_for("unzip", partial(peers.unzip, path), archive.members),
    )
    title = f"zip with {len(archive.members):,} bzip2 members, {size_text(archive.size)} ({size_text(archive.file.size)})"
    return Row("zip", title, entrants, (Target(0.6, "unzip"), Target(0.6, "unzip", _ALONE)))


def whole_phase(bench: Bench) -> Row:
    """Four data sets of one phase, of which each keeps something else busy."""
    scale = bench.scale
    speech = bench.store.wav_tar(scale.phase_wav_size, "tar.bz2")
    sounds = bench.store.bzip2_zip(scale.zip_files, scale.zip_size)
    slow, notes = bench.store.blobs("slow", 1, scale.phase_slow_size), small(bench)
    entrants = phase.entrants(bench, speech, sounds, slow, notes)
    title = (
        f"a phase: tar.bz2 ({size_text(speech.size)}), zip with bzip2 ({size_text(sounds.size)}), {size_text(only(slow).size)}"
        f" from a host that gives {phase.SLOW_CONNECTIONS * phase.SLOW_RATE // 10**6} MB/s, {len(notes.files):,} small files"
    )
    around = partial(bench.server.far, round_trip=0.02, rate=phase.SLOW_RATE, most=phase.SLOW_CONNECTIONS)
    targets = (Target(1.15, f"{phase.WIRE} | {phase.PROCESSOR}"),)
    note = "all of them by this program; the parts alone: no archive is unpacked, and all files are on this machine"
    return Row("phase", title, tuple(entrants), targets, note=note, around=around)


def verify_large(bench: Bench) -> Row:
    """A volume of large files, every byte read and hashed again."""
    corpus = bench.store.blobs("verify", bench.scale.verify_files, bench.scale.verify_size)
    return _verify_row(bench, "verify-large", corpus, (Target(0.65, _SHA256SUM),))


def verify_small(bench: Bench) -> Row:
    """The same with files of 100 KiB."""
    return _verify_row(bench, "verify-small", small(bench), ())


def verify_tiny(bench: Bench) -> Row:
    """The same with files of 4 KiB."""
    return _verify_row(bench, "verify-tiny", tiny(bench).first(bench.scale.tiny_files), ())


_SHA256SUM: Final = "sha256sum -c"


def _verify_row(bench: Bench, key: str, corpus: Corpus, targets: tuple[Target, ...]) -> Row:
    order = ours.from_urls(f"{bench.server.files}/{corpus.name}", corpus.files)
    filled = order_for(bench, key, order)
    catalog = ours.catalog(order, bench.work / "catalogs" / f"{key}.json")

    def verify(volume: Path) -> Command:
        return ours.command(bench.server.hub, catalog, volume, "verify", "--deep")

    def entrant(name: str, start: Callable[[Path], Command]) -> Entrant:
        return Entrant(name, start, lambda _: None, work_bytes=corpus.size, fresh=False, prepare=filled.start)

    entrants = (entrant(NAME, verify), entrant(_SHA256SUM, peers.sha256sum))
    size = size_text(corpus.files[0].size) if corpus.files[0].size >= 1 << 20 else f"{corpus.files[0].size // 1024} KiB"
    return Row(key, f"verify --deep of {len(corpus.files):,} × {size}", entrants, targets, files=len(corpus.files))


def idle(bench: Bench) -> Row:
    """Nothing to do."""
    entrants = []
    for count in (bench.scale.idle_files, bench.scale.idle_few):
        archive = bench.store.small_tar(count, 100)
        url = f"{bench.server.files}/archives/{archive.file.path}"
        order = ours.from_url(url, archive.file, unpack="tar", members=archive.members)
        entrants.append(_idle_ours(bench, order, f"{NAME}, {count:,} files"))
    few = _hub_row(bench, "hub-small", "", small(bench), (), lfs=False, slow=False)
    peer = next(each for each in few.entrants if each.name == "hf download")
    peer_name = f"hf download, {few.files:,} files"
    entrants.append(Entrant(peer_name, peer.start, peer.check, fresh=False))
    many, handful = entrants[0].name, entrants[1].name
    targets = (
        Target(at_most_seconds=0.15, ours=many),
        Target(1.1, handful, many),
        Target(1 / 20, peer_name, many),
    )
    note = (
        "this program makes no request here (checked); hf download would need more than half an hour to fetch the larger number"
    )
    return Row("idle", "nothing to do", tuple(entrants), targets, note=note)


def _idle_ours(bench: Bench, order: Order, name: str) -> Entrant:
    entrant = order_for(bench, name.replace(" ", "").replace(",", ""), order, name)
    return Entrant(name, entrant.start, lambda _: None, fresh=False)


_ALONE: Final = "its unpacking alone"


def _alone(path: Path, archive: Archive, *, synced: bool = False) -> Entrant:
    def start(target: Path) -> Command:
        return ours.unpacking(path, archive.form, target, synced=synced)

    return Entrant(_ALONE, start, lambda target: ours.check_tree(target, archive.members))


def small(bench: Bench) -> Corpus:
    """Return the corpus of 100 KiB files."""
    return bench.store.blobs("small", bench.scale.small_files, bench.scale.small_size, "wav")


def tiny(bench: Bench) -> Corpus:
    """Return the corpus of 4 KiB files, as many as any part needs."""
    most = max(bench.scale.tiny_files, *bench.scale.curve_files, *bench.scale.curve_ours, *bench.scale.listings)
    return bench.store.blobs("tiny", most, bench.scale.tiny_size)


def large(bench: Bench, size: int) -> Corpus:
    """Return one large file."""
    return bench.store.blobs(f"large-{size}", 1, size)


def add_repos(bench: Bench) -> None:
    """Have the server offer the repositories that the rows use."""
    server = bench.server
    server.add_repo("hub-small", small(bench), lfs=False)
    server.add_repo("hub-small-lfs", small(bench), lfs=True)
    server.add_repo("hub-tiny", tiny(bench).first(bench.scale.tiny_files), lfs=False)
    server.add_repo("large", large(bench, bench.scale.large_size), lfs=True)
    for count in {*bench.scale.curve_files, *bench.scale.curve_ours, *bench.scale.listings}:
        server.add_repo(f"tiny-{count}", tiny(bench).first(count), lfs=False)
    for size in bench.scale.curve_sizes:
        server.add_repo(f"large-{size}", large(bench, size), lfs=True)


ROWS: Final[dict[str, Callable[[Bench], Row]]] = {
    "hub-small": hub_small,
    "hub-small-lfs": hub_small_lfs,
    "hub-tiny": hub_tiny,
    "large": large_file,
    "capped": capped,
    "far-small": far_small,
    "far-small-lfs": far_small_lfs,
    "far-large": far_large,
    "far-list": far_list,
    "busy-host": busy_host,
    "tar-gz": wav_gz,
    "tar-bz2": wav_bz2,
    "page": page,
    "tar-memory": tar_memory,
    "tar-disk": tar_disk,
    "zip": zip_bzip2,
    "phase": whole_phase,
    "verify-large": verify_large,
    "verify-small": verify_small,
    "verify-tiny": verify_tiny,
    "idle": idle,
}
"""By their ids, in the table's order."""


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def _flat(file: File) -> File:
    """Return a file by its last name, as those have it who know nothing of the directories above."""
    return type(file)(file.path.rpartition("/")[2], file.size, file.sha256, file.blob)


def _aria2(url: str, file: File, target: Path) -> Command:
    return peers.aria2(url, _flat(file), target)


def _pooch(url: str, file: File, target: Path) -> Command:
    return peers.pooch(url, file, target)


def size_text(count: int) -> str:
    """Say a size as its reader would: round binary numbers as such, others in decimal units."""
    for unit, name in ((1024**3, "GiB"), (1024**2, "MiB")):
        if count % unit == 0:
            return f"{count // unit} {name}"
    return f"{count / 1e9:.2g} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
