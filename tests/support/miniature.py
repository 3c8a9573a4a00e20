"""All eight data sets in miniature: the real names, directories, archive formats and file types, in a few megabytes.

The real archives are too large and too slow to fetch for a test. :func:`generate` creates substitutes:

* `archives/HOSTNAME/PATH`: the content of direct URLs (mirrors included);
* `hub/OWNER/NAME/…`: the files of Hub repositories, with `repos.json` beside them for their commit ids;
* `trees/ID/…`: what the provisioned data set must equal, byte for byte;
* `collection.json`: sizes and digests of all these files.

The output is the same in every run: no clock, no user names, no random numbers; zlib and libbz2 do the compressing.
:func:`miniature_catalog` adapts the real catalog to the miniature by replacing only sizes and digests, so
that a test or a demonstration exercises the same entries as production.

As a program::

    python -m tests.support.miniature OUT [--catalog config/catalog.yaml --write-catalog FILE]
"""

from __future__ import annotations

import argparse
import bz2
import copy
import csv
import hashlib
import io
import json
import os
import pickle
import struct
import sys
import tarfile
import zipfile
import zlib
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

from tests.support import media
from tests.support.hub_server import url_rewrite as rewrite_setting

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Format = Literal["none", "zip", "tar.gz", "tar.bz2"]
Files = dict[str, bytes]

URMP_COMMIT: Final = "58177a0f0f816e621b3d5d304c5fd1a03c035a86"
LJSPEECH_COMMIT: Final = hashlib.sha1(b"miniature of Subuday/lj_speech", usedforsecurity=False).hexdigest()

_EPOCH: Final = 1_500_000_000
"""Modification time of every file and member: 2017-07-14."""
_ZIP_DATE: Final = (2017, 7, 14, 2, 40, 0)


class MissingMiniatureError(Exception):
    """The catalog names something in a data set's own layout for which there is no miniature."""


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file that is fetched, with its size and digests."""

    path: str
    """Path relative to the collection's root."""
    size: int
    sha256: str
    sha1: str
    md5: str

    def digest(self, algorithm: str) -> str:
        """Return the digest in the catalog's notation."""
        return f"{algorithm}:{({'sha256': self.sha256, 'sha1': self.sha1, 'md5': self.md5})[algorithm]}"


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file behind direct URLs, and the files of the tree that come from it."""

    dataset: str
    urls: tuple[str, ...]
    """`HOST/PATH` of the original and of its mirrors."""
    unpack: Format
    info: FileInfo
    members: tuple[str, ...]
    """Paths of the files in the data set's tree that come from it."""
    unpacked_size: int
    """Total size of these files in bytes."""
    split: str | None = None
    extra: bool = False
    """Whether it belongs to the data set only if the catalog names it."""


@dataclass(frozen=True, slots=True)
class HubRepo:
    """A Hub repository that holds a data set in its own layout."""

    dataset: str
    repo_id: str
    commit: str
    files: dict[str, FileInfo]


@dataclass(slots=True)
class Collection:
    """The result of :func:`generate`."""

    root: Path
    artifacts: list[Artifact] = field(default_factory=list)
    repos: list[HubRepo] = field(default_factory=list)

    @property
    def archives(self) -> Path:
        """Return the directory of the direct URLs: `HOSTNAME/PATH`."""
        return self.root / "archives"

    @property
    def hub(self) -> Path:
        """Return the directory of the Hub repositories: `OWNER/NAME/…`."""
        return self.root / "hub"

    @property
    def trees(self) -> Path:
        """Return the directory of the expected trees, one per data set."""
        return self.root / "trees"

    @property
    def hosts(self) -> list[str]:
        """Return the names of all hosts of direct URLs."""
        return sorted({url.partition("/")[0] for artifact in self.artifacts for url in artifact.urls})

    @property
    def datasets(self) -> list[str]:
        """Return the ids of the data sets."""
        return sorted({each.dataset for each in self.artifacts} | {each.dataset for each in self.repos})

    def tree(self, dataset: str) -> Path:
        """Return the expected tree of a data set."""
        return self.trees / dataset

    def tree_size(self, dataset: str) -> int:
        """Return the total size of an expected tree in bytes."""
        return sum(path.stat().st_size for path in self.tree(dataset).rglob("*") if path.is_file())

    def expected(self, dataset: str, *splits: str) -> dict[str, Path]:
        """Return the expected files (path in the tree to a file with the right bytes), of all splits or only some.

        Splits are those of direct URLs; a Hub repository has none.
        """
        root = self.tree(dataset)
        chosen = {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*")) if path.is_file()}
        if not splits:
            return chosen
        wanted = {
            member
            for artifact in self.artifacts
            if artifact.dataset == dataset and artifact.split in {None, *splits}
            for member in artifact.members
        }
        return {path: file for path, file in chosen.items() if path in wanted}

    def artifact(self, url: str) -> Artifact:
        """Return the miniature of a direct URL."""
        key = _url_key(url)
        for artifact in self.artifacts:
            if key in artifact.urls:
                return artifact
        message = f"no miniature of {url}"
        raise MissingMiniatureError(message)

    def repo(self, repo_id: str) -> HubRepo:
        """Return the miniature of a Hub repository."""
        for repo in self.repos:
            if repo.repo_id == repo_id:
                return repo
        message = f"no miniature of the Hub repository {repo_id}"
        raise MissingMiniatureError(message)


# Making it


@dataclass(frozen=True, slots=True)
class _Plan:
    """An artifact before it is written."""

    dataset: str
    urls: tuple[str, ...]
    unpack: Format
    files: Files
    split: str | None = None
    extra: bool = False

    def packed(self) -> bytes:
        """Return the bytes of the artifact itself."""
        match self.unpack:
            case "zip":
                return pack_zip(self.files)
            case "tar.gz":
                return gzip_bytes(pack_tar(self.files))
            case "tar.bz2":
                return bz2.compress(pack_tar(self.files), 9)
            case "none":
                (content,) = self.files.values()
                return content


def generate(out: Path, catalog: Mapping[str, Any] | None = None) -> Collection:
    """Write the whole collection below `out`.

    With a catalog, the expected trees contain what that catalog selects (globs of Hub sources, extra archives); without
    one, the default content of the data sets.
    """
    collection = Collection(out)
    for plan in _plans():
        key, *mirrors = plan.urls
        content = plan.packed()
        info = _write(out, f"archives/{key}", content)
        for mirror in mirrors:
            _write(out, f"archives/{mirror}", content)
        size = sum(map(len, plan.files.values()))
        collection.artifacts.append(
            Artifact(plan.dataset, plan.urls, plan.unpack, info, tuple(plan.files), size, plan.split, plan.extra)
        )
        if not plan.extra or key in _named_urls(catalog, plan.dataset):
            for member, data in plan.files.items():
                _write_file(out / "trees" / plan.dataset / member, data)
    for dataset, repo_id, commit, files in _repositories(collection):
        infos = {path: _write(out, f"hub/{repo_id}/{path}", content) for path, content in files.items()}
        collection.repos.append(HubRepo(dataset, repo_id, commit, infos))
    urmp = collection.repo("Eredis02/URMP")
    for path in _selected(urmp.files, catalog, urmp):
        _write_file(out / "trees" / "urmp" / path, (out / urmp.files[path].path).read_bytes())
    commits = {repo.repo_id: {"commit_id": repo.commit} for repo in collection.repos}
    _write_file(out / "hub" / "repos.json", json.dumps(commits, indent=1).encode())
    described = {
        "artifacts": [asdict(each) for each in collection.artifacts],
        "repos": list(map(asdict, collection.repos)),
    }
    _write_file(out / "collection.json", json.dumps(described, indent=1).encode())
    return collection


def load(out: Path) -> Collection:
    """Load a collection that :func:`generate` wrote."""
    document = json.loads((out / "collection.json").read_text("utf-8"))
    collection = Collection(out)
    for each in document["artifacts"]:
        info = FileInfo(**each.pop("info"))
        urls, members = tuple(each.pop("urls")), tuple(each.pop("members"))
        collection.artifacts.append(Artifact(info=info, urls=urls, members=members, **each))
    for each in document["repos"]:
        files = {path: FileInfo(**info) for path, info in each.pop("files").items()}
        collection.repos.append(HubRepo(files=files, **each))
    return collection


def _write(root: Path, path: str, content: bytes) -> FileInfo:
    _write_file(root / path, content)
    return FileInfo(
        path,
        len(content),
        hashlib.sha256(content).hexdigest(),
        hashlib.sha1(content, usedforsecurity=False).hexdigest(),
        hashlib.md5(content, usedforsecurity=False).hexdigest(),
    )


def _write_file(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (_EPOCH, _EPOCH))


# Packing, the same way everywhere


def gzip_bytes(content: bytes) -> bytes:
    """Compress as gzip, with a header without time, name or system."""
    squeezer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = squeezer.compress(content) + squeezer.flush()
    header = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"
    return header + packed + struct.pack("<II", zlib.crc32(content), len(content) & 0xFFFFFFFF)


def pack_tar(files: Mapping[str, bytes]) -> bytes:
    """Pack files and their parent directories into a tar archive without owners or times of this machine."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.GNU_FORMAT) as archive:
        folders: set[str] = set()
        for path, content in files.items():
            parts = path.split("/")
            for depth in range(1, len(parts)):
                folder = "/".join(parts[:depth])
                if folder not in folders:
                    folders.add(folder)
                    member = _tar_member(folder)
                    member.type, member.mode = tarfile.DIRTYPE, 0o755
                    archive.addfile(member)
            member = _tar_member(path)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


def _tar_member(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.mtime, member.mode = _EPOCH, 0o644
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


def pack_zip(files: Mapping[str, bytes]) -> bytes:
    """Pack files into a zip archive: bzip2 as in the real FMA archives, but README deflated and checksums stored."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for path, content in files.items():
            member = zipfile.ZipInfo(path, _ZIP_DATE)
            member.create_system = 3
            member.external_attr = 0o100644 << 16
            name = path.rpartition("/")[2]
            method = {"README.txt": zipfile.ZIP_DEFLATED, "checksums": zipfile.ZIP_STORED}.get(name, zipfile.ZIP_BZIP2)
            archive.writestr(member, content, method, 9 if method == zipfile.ZIP_BZIP2 else 6)
    return target.getvalue()


# The data sets


def _plans() -> list[_Plan]:
    return [*_nsynth(), *_ljspeech(), *_fma(), *_libritts(), *_musicnet(), *_lakh()]


def _repositories(collection: Collection) -> Iterable[tuple[str, str, str, Files]]:
    archive = collection.artifact("https://data.keithito.com/data/speech/LJSpeech-1.1.tar.bz2").info
    yield (
        "ljspeech",
        "Subuday/lj_speech",
        LJSPEECH_COMMIT,
        {".gitattributes": _ATTRIBUTES, "LJSpeech-1.1.tar.bz2": (collection.root / archive.path).read_bytes()},
    )
    yield "urmp", "Eredis02/URMP", URMP_COMMIT, {".gitattributes": _ATTRIBUTES, **_urmp()}


_ATTRIBUTES: Final = b"".join(
    b"%s filter=lfs diff=lfs merge=lfs -text\n" % pattern for pattern in (b"*.bz2", b"*.mp4", b"*.pdf", b"*.wav")
)

_NSYNTH_FAMILIES: Final = (
    "bass", "brass", "flute", "guitar", "keyboard", "mallet", "organ", "reed", "string", "synth_lead", "vocal",
)  # fmt: skip
_NSYNTH_SOURCES: Final = ("acoustic", "electronic", "synthetic")
_NSYNTH_QUALITIES: Final = (
    "bright", "dark", "distortion", "fast_decay", "long_release", "multiphonic", "nonlinear_env", "percussive",
    "reverb", "tempo-synced",
)  # fmt: skip


NSYNTH_SPLITS: Final = (("train", 12, 64000), ("valid", 8, 4000), ("test", 6, 4000))
"""Name, number of notes, and samples per note. Full length and noise for train (worth interrupting), else short tones."""


def _nsynth() -> list[_Plan]:
    plans = []
    for split, notes, frames in NSYNTH_SPLITS:
        top = f"nsynth-{split}"
        examples: dict[str, dict[str, Any]] = {}
        files: Files = {}
        for place in range(notes):
            note = nsynth_note(f"{top}-{place}")
            name = note["note_str"]
            examples[name] = note
            files[f"{top}/audio/{name}.wav"] = media.wav(16000, frames, name, noisy=split == "train")
        files[f"{top}/examples.json"] = json.dumps(examples, indent=4, sort_keys=True).encode()
        urls = _same_path(
            f"datasets/nsynth/{top}.jsonwav.tar.gz",
            "storage.googleapis.com/download.magenta.tensorflow.org",
            "download.magenta.tensorflow.org",
        )
        plans.append(_Plan("nsynth", urls, "tar.gz", files, split))
    return plans


def nsynth_note(seed: str) -> dict[str, Any]:
    """Return the entry of a note in examples.json."""
    family = media.number(f"{seed} family", 0, len(_NSYNTH_FAMILIES) - 1)
    source = media.number(f"{seed} source", 0, len(_NSYNTH_SOURCES) - 1)
    pitch, velocity = media.number(f"{seed} pitch", 21, 108), (25, 50, 75, 100, 127)[media.number(seed, 0, 4)]
    model = media.number(f"{seed} model", 0, 120)
    instrument = f"{_NSYNTH_FAMILIES[family]}_{_NSYNTH_SOURCES[source]}_{model:03}"
    qualities = [media.number(f"{seed} {quality}", 0, 4) // 4 for quality in _NSYNTH_QUALITIES]
    return {
        "note": media.number(f"{seed} note", 0, 305978),
        "note_str": f"{instrument}-{pitch:03}-{velocity:03}",
        "instrument": media.number(f"{seed} instrument", 0, 1005),
        "instrument_str": instrument,
        "pitch": pitch,
        "velocity": velocity,
        "sample_rate": 16000,
        "qualities": qualities,
        "qualities_str": [name for name, there in zip(_NSYNTH_QUALITIES, qualities, strict=True) if there],
        "instrument_family": family,
        "instrument_family_str": _NSYNTH_FAMILIES[family],
        "instrument_source": source,
        "instrument_source_str": _NSYNTH_SOURCES[source],
    }


_SENTENCES: Final = (
    ("The clerk wrote 12 lines before noon,", "The clerk wrote twelve lines before noon,"),
    ("\"A fair day's work, he called it.", "\"A fair day's work, he called it."),
    ("Dr. Hale kept the ledger; nobody else did.", "Doctor Hale kept the ledger; nobody else did."),
    ("In 1834 the bridge was opened to carts.", "In eighteen thirty-four the bridge was opened to carts."),
    ("Rain fell on the café for a week.", "Rain fell on the café for a week."),
)
"""Our own texts; the second one opens a quotation that is never closed, as in some of the real metadata."""


LJ_CLIPS: Final = tuple((f"LJ{chapter:03}-{place:04}", chapter * 100 + place) for chapter in (1, 2) for place in range(1, 13))


def sentence(place: int) -> tuple[str, str]:
    """Return a text and its normalized form."""
    return _SENTENCES[place % len(_SENTENCES)]


def _ljspeech() -> list[_Plan]:
    lines = []
    files: Files = {}
    for name, place in LJ_CLIPS:
        raw, normalized = sentence(place)
        lines.append(f"{name}|{raw}|{normalized}\n")
        files[f"LJSpeech-1.1/wavs/{name}.wav"] = media.wav(22050, 22050, name, noisy=place % 2 == 0)
    head = {
        "LJSpeech-1.1/README": b"The LJ Speech Dataset (miniature)\n\nVersion 1.1 in form, generated in content.\n",
        "LJSpeech-1.1/metadata.csv": "".join(lines).encode(),
    }
    return [_Plan("ljspeech", ("data.keithito.com/data/speech/LJSpeech-1.1.tar.bz2",), "tar.bz2", head | files)]


URMP_PIECES: Final = (
    ("01_Jupiter", ("vn", "vc"), ("vn", "vc")),
    ("05_Entertainer", ("tpt", "tpt"), ("tpt", "tpt")),
    # In the real data set, the trombone's file is named tpt too.
    ("15_Surprise", ("tpt", "tpt", "tbn"), ("tpt", "tpt", "tpt")),
)


def urmp_pitches(part: str) -> list[int]:
    """Return the frequency of each frame of a part; the first four are also those of its notes."""
    return [media.number(f"{part} {moment}", 200, 800) for moment in range(40)]


def _urmp() -> Files:
    files: Files = {}
    for piece, parts, named in URMP_PIECES:
        full = f"{piece}_{'_'.join(parts)}"
        for place, name in enumerate(named, start=1):
            part = f"{place}_{name}_{piece}"
            files[f"{full}/AuSep_{part}.wav"] = media.wav(48000, 4800, part, bits=24)
            pitches = urmp_pitches(part)
            files[f"{full}/F0s_{part}.txt"] = "".join(
                f"{moment * 0.01:.3f}\t{pitch}.000\n" for moment, pitch in enumerate(pitches)
            ).encode()
            files[f"{full}/Notes_{part}.txt"] = "".join(
                f"{moment * 0.1:.3f}\t{pitch}.000\t0.100\n" for moment, pitch in enumerate(pitches[:4])
            ).encode()
        files[f"{full}/AuMix_{full}.wav"] = media.wav(48000, 4800, full, bits=24)
        files[f"{full}/Sco_{full}.mid"] = media.midi(full, 16)
        files[f"{full}/Sco_{full}.pdf"] = media.pdf(full)
        files[f"{full}/Vid_{full}.mp4"] = media.mp4(full, 4096)
    return dict(sorted(files.items()))


FMA_TRACKS: Final = tuple(track * 7 for track in range(2, 122))
FMA_SMALL: Final = 40
"""How many of these are also in the small subset."""
FMA_WITHOUT_AUDIO: Final = (98, 700)
"""Tracks whose files contain a tag and no sound, like 099134, 108925 and 133297 of the real ones."""
_FMA_LICENSES: Final = (
    ("http://creativecommons.org/licenses/by/4.0/", "Attribution", "CC-BY"),
    ("http://creativecommons.org/licenses/by-nc/3.0/us/", "Attribution-NonCommercial 3.0 United States", "CC-BY-NC"),
    ("http://creativecommons.org/publicdomain/zero/1.0/", "CC0 1.0 Universal", "CC0"),
    ("http://creativecommons.org/licenses/by-nc-sa/3.0/", "Attribution-NonCommercial-ShareAlike", "CC-BY-NC-SA"),
    ("http://creativecommons.org/licenses/by-nd/3.0/", "Attribution-NoDerivs 3.0 Unported", "CC-BY-ND"),
    ("http://artlibre.org/licence/lal/en", "Free Art License", None),
    ("", "Attribution-ShareAlike 3.0 International", "CC-BY-SA"),
    ("", "", None),
    (
        "http://creativecommons.org/licenses/by-nc-nd/4.0/",
        "Attribution-NonCommercial-NoDerivatives (aka Music Sharing) 3.0 International",
        "CC-BY-NC-ND",
    ),
    ("http://creativecommons.org/licenses/sampling+/1.0/", "Sampling+", None),
    ("http://creativecommons.org/publicdomain/mark/1.0/", "Public Domain Mark 1.0", "PDM"),
    ("http://freemusicarchive.org/FMA_Sound_Recording_Common_Law", "FMA-Limited: Download Only", None),
)
"""URL as in raw_tracks.csv, title as in tracks.csv, and the title without its version."""
_FMA_GENRES: Final = {10: "Pop", 21: "Hip-Hop", 38: "Experimental", 76: "Experimental Pop"}


def _fma() -> list[_Plan]:
    plans = []
    metadata = _fma_metadata()
    for dataset, tracks, frames in (("fma_small", FMA_TRACKS[:FMA_SMALL], 8), ("fma_large", FMA_TRACKS, 28)):
        audio = {
            f"{track // 1000:03}/{track:06}.mp3": media.ID3_TAG
            if track in FMA_WITHOUT_AUDIO
            else media.mp3(frames, str(track // 7))
            for track in tracks
        }
        sums = "".join(f"{hashlib.sha1(content, usedforsecurity=False).hexdigest()}  {path}\n" for path, content in audio.items())
        files = {f"{dataset}/{path}": content for path, content in audio.items()}
        files[f"{dataset}/README.txt"] = b"FMA: A Dataset For Music Analysis (miniature)\n"
        files[f"{dataset}/checksums"] = sums.encode()
        host = "os.unil.cloud.switch.ch/fma"
        plans.append(_Plan(dataset, (f"{host}/{dataset}.zip",), "zip", files))
        plans.append(_Plan(dataset, (f"{host}/fma_metadata.zip",), "zip", metadata))
    return plans


def fma_track(track: int) -> dict[str, Any]:
    """Return the metadata of a track; `split` and the genre's numbers are not columns of an index."""
    place = track // 7
    url, title, name = _FMA_LICENSES[place % len(_FMA_LICENSES)]
    top = (21, 38, 10)[place % 3]
    has_top = place % 5 != 0
    numbers = [top] if has_top else [top, 76]
    return {
        "split": ("training", "training", "validation", "test")[place % 4],
        "genre_numbers": numbers,
        "id": track,
        "title": f'Track {track}, "live"' if place % 11 == 0 else f"Track {track}",
        "artist": f"Björk & Söhne {place % 9}" if place % 9 == 4 else f"Artist {place % 9}",
        "artist_id": place % 9,
        "album": None if place % 13 == 0 else f"Album {place % 6}",
        "album_id": place % 6,
        "genre": _FMA_GENRES[top] if has_top else None,
        "genres": [_FMA_GENRES[number] for number in numbers],
        "license": name,
        "license_title": title or None,
        "license_url": url or None,
        "track_url": f"http://freemusicarchive.org/music/Artist_{place % 9}/Album/Track_{track}",
        "track_duration": 100 + place,
        "listens": place * 31,
        "language": "en" if place % 4 == 0 else None,
        "date_created": "2008-11-26 01:48:12",
        "subset": "small" if track in FMA_TRACKS[:FMA_SMALL] else "large" if place % 2 else "medium",
    }


_FMA_HEADINGS: Final = (
    "album comments", "album date_created", "album date_released", "album engineer", "album favorites", "album id",
    "album information", "album listens", "album producer", "album tags", "album title", "album tracks", "album type",
    "artist active_year_begin", "artist active_year_end", "artist associated_labels", "artist bio", "artist comments",
    "artist date_created", "artist favorites", "artist id", "artist latitude", "artist location", "artist longitude",
    "artist members", "artist name", "artist related_projects", "artist tags", "artist website", "artist wikipedia_page",
    "set split", "set subset", "track bit_rate", "track comments", "track composer", "track date_created",
    "track date_recorded", "track duration", "track favorites", "track genre_top", "track genres", "track genres_all",
    "track information", "track interest", "track language_code", "track license", "track listens", "track lyricist",
    "track number", "track publisher", "track tags", "track title",
)  # fmt: skip
"""The headings of the real tracks.csv, as fma/utils.py of mdeff/fma reads them."""


def _fma_tracks_csv(tracks: Iterable[int]) -> str:
    """Return tracks.csv as pandas writes a table with two levels of headings: the third line names the index alone."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    pairs = [heading.split(" ") for heading in _FMA_HEADINGS]
    writer.writerow(["", *(upper for upper, _ in pairs)])
    writer.writerow(["", *(lower for _, lower in pairs)])
    writer.writerow(["track_id", *("" for _ in pairs)])
    for track in tracks:
        facts = fma_track(track)
        cells = {
            "album id": facts["album_id"],
            "album title": facts["album"],
            "album information": '<p>Two lines,\nand a "quotation"</p>',
            "artist bio": "long " * 20,
            "artist id": facts["artist_id"],
            "artist name": facts["artist"],
            "set split": facts["split"],
            "set subset": facts["subset"],
            "track bit_rate": 256000,
            "track date_created": facts["date_created"],
            "track duration": facts["track_duration"],
            "track genre_top": facts["genre"],
            "track genres": facts["genre_numbers"],
            "track genres_all": facts["genre_numbers"],
            "track language_code": facts["language"],
            "track license": facts["license_title"],
            "track listens": facts["listens"],
            "track tags": "[]",
            "track title": facts["title"],
        }
        writer.writerow([track, *(cells.get(heading) if cells.get(heading) is not None else "" for heading in _FMA_HEADINGS)])
    return target.getvalue()


_FMA_RAW_HEADINGS: Final = (
    "track_id", "album_id", "album_title", "album_url", "artist_id", "artist_name", "artist_url", "artist_website",
    "license_image_file", "license_image_file_large", "license_parent_id", "license_title", "license_url", "tags",
    "track_bit_rate", "track_comments", "track_composer", "track_copyright_c", "track_copyright_p", "track_date_created",
    "track_date_recorded", "track_disc_number", "track_duration", "track_explicit", "track_explicit_notes", "track_favorites",
    "track_file", "track_genres", "track_image_file", "track_information", "track_instrumental", "track_interest",
    "track_language_code", "track_listens", "track_lyricist", "track_number", "track_publisher", "track_title", "track_url",
)  # fmt: skip
"""The headings of the real raw_tracks.csv: answers of the site's API, as stored by creation.py of mdeff/fma."""


def _fma_raw_tracks_csv(tracks: Iterable[int]) -> str:
    target = io.StringIO()
    writer = csv.DictWriter(target, _FMA_RAW_HEADINGS, restval="", lineterminator="\n")
    writer.writeheader()
    for track in tracks:
        facts = fma_track(track)
        same = {name: facts[name] for name in ("artist_id", "album_id", "license_title", "license_url", "track_url")}
        artist = {"artist_name": facts["artist"], "track_title": facts["title"], "album_title": facts["album"]}
        genres = [{"genre_id": str(number), "genre_title": _FMA_GENRES[number]} for number in facts["genre_numbers"]]
        writer.writerow({"track_id": track, **same, **artist, "track_genres": genres, "tags": "[]"})
    return target.getvalue()


def _fma_metadata() -> Files:
    tracks = FMA_TRACKS
    tables = {
        "tracks.csv": _fma_tracks_csv(tracks),
        "genres.csv": "genre_id,#tracks,parent,title,top_level\n"
        + "".join(f"{number},60,0,{title},{number}\n" for number, title in _FMA_GENRES.items()),
        "features.csv": "feature,mfcc\nstatistics,mean\nnumber,01\ntrack_id,\n"
        + "".join(f"{track},-{track}.25\n" for track in tracks),
        "echonest.csv": ",echonest\n,audio_features\n,danceability\ntrack_id,\n"
        + "".join(f"{track},0.{track:04}\n" for track in tracks[:20]),
        "raw_albums.csv": "album_id,album_title\n1,First\n2,Second\n",
        "raw_artists.csv": "artist_id,artist_name\n" + "".join(f"{place},Artist {place}\n" for place in range(9)),
        "raw_echonest.csv": ",echonest\ntrack_id,\n" + "".join(f"{track},0.5\n" for track in tracks[:20]),
        "raw_genres.csv": "genre_id,genre_title\n21,Hip-Hop\n38,Experimental\n",
        "raw_tracks.csv": _fma_raw_tracks_csv(tracks),
    }
    files = {name: text.encode() for name, text in tables.items()}
    files["not_found.pickle"] = pickle.dumps({"audio": [99134], "tracks": [108925, 133297]}, protocol=2)
    sums = "".join(f"{hashlib.sha1(content, usedforsecurity=False).hexdigest()}  {name}\n" for name, content in files.items())
    files = {"README.txt": b"FMA metadata (miniature)\n", "checksums": sums.encode(), **files}
    return {f"fma_metadata/{name}": content for name, content in files.items()}


LIBRITTS_SPLITS: Final = (
    "dev-clean", "dev-other", "test-clean", "test-other", "train-clean-100", "train-clean-360", "train-other-500",
)  # fmt: skip


LIBRITTS_WITHOUT_TEXT: Final = frozenset({"119_219_000001_000000", "319_419_000000_000000"})
"""Utterances whose texts are missing, as for some of the real ones: they have neither a line in the table nor text files."""
LIBRITTS_FILES_ALONE: Final = frozenset({"126_226_000000_000000"})
"""Utterances that have text files, but no line in the table."""
LIBRITTS_UNKNOWN: Final = 426
"""A speaker who is not in the table."""


def libritts_utterances(split: str) -> Iterable[tuple[str, int, int, int]]:
    """Yield id, speaker, chapter and number of each utterance of a split."""
    first = 100 * (LIBRITTS_SPLITS.index(split) + 1)
    for speaker in (first + 19, first + 26):
        for place in range(2):
            yield f"{speaker}_{speaker + 100}_{place:06}_{0:06}", speaker, speaker + 100, place


def _libritts() -> list[_Plan]:
    speakers = {split: sorted({each[1] for each in libritts_utterances(split)}) for split in LIBRITTS_SPLITS}
    known = [(speaker, split) for split in speakers for speaker in speakers[split] if speaker != LIBRITTS_UNKNOWN]
    listed = "".join(f"{speaker}\t{'FM'[speaker % 2]}\t{split}\tReader {speaker}\n" for speaker, split in known)
    table = "".join(f"{speaker:<5}| {'FM'[speaker % 2]} | {split:<17}| 25.03 | Reader {speaker}\n" for speaker, split in known)
    shared = {
        "LICENSE.txt": "Creative Commons Attribution 4.0 International (CC BY 4.0)\n",
        "NOTE.txt": "Miniature of LibriTTS: the layout is real, the sound is generated.\n",
        "README_librispeech.txt": "1. LibriSpeech\n\nThe corpus that this one is derived from.\n",
        "README_libritts.txt": "LibriTTS Corpus\n\nSegments of read speech at 24 kHz.\n",
        "SPEAKERS.txt": f";ID  |SEX| SUBSET           |MINUTES| NAME\n{table}",
        "CHAPTERS.txt": ";ID |READER|MINUTES|SUBSET|PROJ.|BOOK ID|CH. TITLE|PROJECT TITLE\n",
        "BOOKS.txt": "1 | A Book | An Author\n",
        "eval_sentences10.tsv": "19_198_000000_000000\tThe clerk wrote twelve lines before noon.\n",
        "speakers.tsv": f"READER\tGENDER\tSUBSET\tNAME\n{listed}",
    }
    common = {f"LibriTTS/{name}": text.encode() for name, text in shared.items()}
    plans = []
    for split in LIBRITTS_SPLITS:
        files: Files = dict(common)
        for speaker in speakers[split]:
            files |= _libritts_chapter(split, speaker)
        urls = tuple(
            f"{host}/resources/60/{split}.tar.gz"
            for host in ("www.openslr.org", "us.openslr.org", "openslr.elda.org", "openslr.org")
        )
        plans.append(_Plan("libritts", urls, "tar.gz", files, split))
    return plans


def _libritts_chapter(split: str, speaker: int) -> Files:
    chapter = speaker + 100
    folder = f"LibriTTS/{split}/{speaker}/{chapter}"
    files: Files = {}
    transcript = ""
    for name, reader, _, place in libritts_utterances(split):
        if reader != speaker:
            continue
        raw, normalized = sentence(speaker + place)
        files[f"{folder}/{name}.wav"] = media.wav(24000, 4800, name)
        if name in LIBRITTS_WITHOUT_TEXT:
            continue
        files[f"{folder}/{name}.original.txt"] = raw.encode()
        files[f"{folder}/{name}.normalized.txt"] = normalized.encode()
        if name not in LIBRITTS_FILES_ALONE:
            transcript += f"{name}\t{raw}\t{normalized}\n"
    files[f"{folder}/{speaker}_{chapter}.trans.tsv"] = transcript.encode()
    files[f"{folder}/{speaker}_{chapter}.book.tsv"] = f"1\tA Book\t{chapter}\n".encode()
    return files


MUSICNET_RECORDINGS: Final = {"train": (1727, 1728, 1729, 1730, 1733, 1734), "test": (1759, 1819)}
MUSICNET_WITHOUT_LABELS: Final = 1734
MUSICNET_NOT_LISTED: Final = 1733
"""A recording that is not in the table."""


def musicnet_facts(name: int) -> dict[str, Any]:
    """Return the line of a recording in the table."""
    return {
        "composer": ("Bach", "Beethoven", "Dvořák")[name % 3],
        "composition": "Serenade in E-flat major, for winds" if name % 2 else "A Sonata",
        "movement": "1. Allegro",
        "ensemble": "Solo Piano",
        "source": "Museopen",
        "transcriber": "nobody",
        "catalog_name": f"OP{name % 100}",
        "seconds": name % 100,
    }


def musicnet_notes(name: int) -> list[dict[str, Any]]:
    """Return the labels of a recording."""
    return [
        {
            "start_time": place * 1000,
            "end_time": place * 1000 + 900,
            "instrument": (1, 41, 74)[place % 3],
            "note": media.number(f"{name} {place}", 40, 90),
            "start_beat": place + 0.5,
            "end_beat": 0.25,
            "note_value": ("Quarter", "Dotted Eighth")[place % 2],
        }
        for place in range(6)
    ]


def musicnet_score(name: int) -> str:
    """Return the path of a recording's MIDI file."""
    return f"musicnet_midis/{musicnet_facts(name)['composer']}/{name}_sonata{name % 100}.mid"


def _musicnet() -> list[_Plan]:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["id", *musicnet_facts(0)])
    midis: Files = {}
    audio: Files = {}
    for split, names in MUSICNET_RECORDINGS.items():
        for name in names:
            audio[f"musicnet/{split}_data/{name}.wav"] = media.wav(44100, 8820, str(name))
            if name != MUSICNET_WITHOUT_LABELS:
                labels = "".join(",".join(map(str, note.values())) + "\n" for note in musicnet_notes(name))
                heading = ",".join(musicnet_notes(name)[0])
                audio[f"musicnet/{split}_labels/{name}.csv"] = f"{heading}\n{labels}".encode()
            facts = musicnet_facts(name)
            if name != MUSICNET_NOT_LISTED:
                writer.writerow([name, *facts.values()])
            midis[musicnet_score(name)] = media.midi(str(name), 24)
    content: tuple[tuple[str, Format, Files], ...] = (
        ("musicnet.tar.gz", "tar.gz", audio),
        ("musicnet_midis.tar.gz", "tar.gz", midis),
        ("musicnet_metadata.csv", "none", {"musicnet_metadata.csv": table.getvalue().encode()}),
    )
    record = "5120004/files"
    return [
        _Plan(
            "musicnet",
            (f"zenodo.org/records/{record}/{name}", f"zenodo.org/api/records/{record}/{name}/content"),
            unpack,
            files,
        )
        for name, unpack, files in content
    ]


LAKH_BROKEN: Final = b"<html>not found</html>\n"
"""Some thousands of the real files are not MIDI files."""


def lakh_songs() -> Files:
    """Return the songs of the full collection by their MD5, in the order of their creation."""
    songs = [*(media.midi(f"song {place}", 30 + place) for place in range(48)), LAKH_BROKEN]
    return {hashlib.md5(song, usedforsecurity=False).hexdigest(): song for song in songs}


def lakh_paths() -> dict[str, list[str]]:
    """Return the names under which each song was found; the last song but one has none."""
    digests = list(lakh_songs())
    return {
        digest: [f"{digest[0]}/Señor {place % 5}/Song {place}.mid", f"m/Other/{place}.mid"][: 1 + place % 2]
        for place, digest in enumerate(digests)
        if place != len(digests) - 2
    }


def lakh_matches() -> dict[str, list[dict[str, Any]]]:
    """Return the songs of the Million Song Dataset that each file matches, with the scores."""
    return {
        digest: [{"track_id": f"TR{'ABCDEFGHIJKL'[place] * 3}{place:04}128F{place:05}", "score": 0.5 + place / 64}]
        for place, digest in enumerate(list(lakh_songs())[:12])
    }


def _lakh() -> list[_Plan]:
    named = lakh_songs()
    songs = list(named.values())
    matched = {}
    scores: dict[str, dict[str, float]] = {}
    for digest, ((match,), song) in zip(lakh_matches(), zip(lakh_matches().values(), songs, strict=False), strict=False):
        track = match["track_id"]
        matched[f"{track[2]}/{track[3]}/{track[4]}/{track}/{digest}.mid"] = song
        scores[track] = {digest: match["score"]}
    paths = lakh_paths()
    clean = {
        f"{artist}/Song {place}.mid": songs[place]
        for place, artist in enumerate(("AC-DC", "Björk", "Earth, Wind & Fire", "Señor Coconut", "'Til Tuesday"))
    }
    packed: tuple[tuple[str, Files, bool], ...] = (
        ("lmd_full", {f"{digest[0]}/{digest}.mid": song for digest, song in sorted(named.items())}, False),
        ("lmd_matched", matched, True),
        ("lmd_aligned", matched, True),
        ("clean_midi", clean, True),
    )
    host = "hog.ee.columbia.edu/craffel/lmd"
    plans = [
        _Plan(
            "lakh_midi",
            (f"{host}/{name}.tar.gz",),
            "tar.gz",
            {f"{name}/{path}": content for path, content in files.items()},
            extra=extra,
        )
        for name, files, extra in packed
    ]
    documents: tuple[tuple[str, object], ...] = (("md5_to_paths.json", paths), ("match_scores.json", scores))
    for name, document in documents:
        content = json.dumps(document, sort_keys=True).encode()
        plans.append(_Plan("lakh_midi", (f"{host}/{name}",), "none", {name: content}))
    return plans


def _same_path(path: str, *hosts: str) -> tuple[str, ...]:
    return tuple(f"{host}/{path}" for host in hosts)


# The catalog for it


def miniature_catalog(real: str | Mapping[str, Any], collection: Collection) -> dict[str, Any]:
    """Return the real catalog with the miniature's sizes and digests, otherwise unchanged.

    A digest keeps its algorithm, and `none` stays `none`. A source without a miniature raises :class:`MissingMiniatureError`,
    unless its layout is not the data set's own: such sources are left unchanged.
    """
    # A round trip through JSON, so that values shared through YAML anchors become separate.
    catalog: dict[str, Any] = json.loads(json.dumps(_parsed(real)))
    for dataset, entry in catalog["datasets"].items():
        if not collection.tree(dataset).is_dir():
            message = f"no miniature of the data set {dataset}"
            raise MissingMiniatureError(message)
        entry["sources"] = [_shrunken(dataset, entry, source, collection) for source in entry["sources"]]
        if "unpacked_size" in entry:
            entry["unpacked_size"] = collection.tree_size(dataset)
    return catalog


def _shrunken(dataset: str, entry: Mapping[str, Any], source: Mapping[str, Any], collection: Collection) -> dict[str, Any]:
    small = copy.deepcopy(dict(source))
    try:
        if small["kind"] == "hub":
            _shrink_hub(small, collection)
        else:
            for file in small["files"]:
                _shrink_file(dataset, file, collection)
    except MissingMiniatureError:
        if _own_layout(entry, source):
            raise
        return dict(source)
    return small


def _shrink_file(dataset: str, file: dict[str, Any], collection: Collection) -> None:
    artifact = next(
        (each for each in collection.artifacts if each.dataset == dataset and _url_key(file["url"]) in each.urls), None
    )
    if artifact is None:
        message = f"no miniature of {file['url']} in {dataset}"
        raise MissingMiniatureError(message)
    for mirror in file.get("mirrors") or []:
        if _url_key(mirror) not in artifact.urls:
            message = f"the miniature of {file['url']} has no mirror {mirror}"
            raise MissingMiniatureError(message)
    unpack = file.get("unpack", "none")
    if unpack != artifact.unpack or file.get("into"):
        message = f"{file['url']} is unpacked otherwise than its miniature: {unpack} into {file.get('into')!r}"
        raise MissingMiniatureError(message)
    file["size"] = artifact.info.size
    algorithm = str(file.get("digest", "none")).partition(":")[0]
    if algorithm != "none":
        file["digest"] = artifact.info.digest(algorithm)
    if unpack != "none":
        file["unpacked_size"] = artifact.unpacked_size


def _shrink_hub(source: dict[str, Any], collection: Collection) -> None:
    repo = collection.repo(source["repo"])
    if source.get("revision", "main") not in {"main", repo.commit}:
        message = f"the miniature of {repo.repo_id} has no revision {source['revision']}"
        raise MissingMiniatureError(message)
    if "size" in source:
        source["size"] = sum(repo.files[path].size for path in _matching(repo.files, source))
    digests = source.get("digests") or {}
    for path, digest in digests.items():
        if path not in repo.files:
            message = f"the miniature of {repo.repo_id} has no {path}"
            raise MissingMiniatureError(message)
        digests[path] = repo.files[path].digest(str(digest).partition(":")[0])


def url_rewrite(collection: Collection, base_url: str) -> str:
    """Return the `URL_REWRITE` setting that redirects every direct URL to `BASE_URL/HOST/PATH`."""
    return rewrite_setting(collection.hosts, base_url)


def read_catalog(path: Path) -> dict[str, Any]:
    """Read a catalog file without validation."""
    return _parsed(path.read_text("utf-8"))


def _parsed(catalog: str | Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(catalog, str):
        return dict(catalog)
    import yaml  # noqa: PLC0415 - only catalogs need it; the server runs without

    parsed: dict[str, Any] = yaml.safe_load(catalog)
    return parsed


def _url_key(url: str) -> str:
    parts = urlsplit(url if "://" in url else f"https://{url}")
    return f"{parts.netloc}{parts.path}"


def _own_layout(entry: Mapping[str, Any], source: Mapping[str, Any]) -> bool:
    return bool(source.get("layout", "raw") == entry.get("layout", "raw"))


def _own_sources(catalog: Mapping[str, Any] | None, dataset: str, kind: str) -> list[Mapping[str, Any]]:
    entry = (catalog or {}).get("datasets", {}).get(dataset)
    sources = entry["sources"] if entry else []
    return [each for each in sources if each["kind"] == kind and _own_layout(entry, each)]


def _named_urls(catalog: Mapping[str, Any] | None, dataset: str) -> set[str]:
    return {_url_key(file["url"]) for each in _own_sources(catalog, dataset, "url") for file in each["files"]}


def _selected(paths: Iterable[str], catalog: Mapping[str, Any] | None, repo: HubRepo) -> list[str]:
    for source in _own_sources(catalog, repo.dataset, "hub"):
        if source["repo"] == repo.repo_id:
            return _matching(paths, source)
    return _matching(paths, {"exclude": [".gitattributes"]})


def _matching(paths: Iterable[str], source: Mapping[str, Any]) -> list[str]:
    include, exclude = source.get("include") or ["*"], source.get("exclude") or []
    return [
        path
        for path in paths
        if any(fnmatchcase(path, glob) for glob in include) and not any(fnmatchcase(path, glob) for glob in exclude)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a program."""
    parser = argparse.ArgumentParser(prog="miniature", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, help="folder to write into")
    parser.add_argument("--catalog", type=Path, help="the real catalog")
    parser.add_argument("--write-catalog", type=Path, help="where to write the catalog for the miniature")
    options = parser.parse_args(arguments)
    real = read_catalog(options.catalog) if options.catalog else None
    collection = generate(options.out, real)
    if options.write_catalog:
        if real is None:
            parser.error("--write-catalog needs --catalog")
        write_catalog(miniature_catalog(real, collection), options.write_catalog)
    return 0


def write_catalog(catalog: Mapping[str, Any], path: Path) -> None:
    """Write a catalog as YAML."""
    import yaml  # noqa: PLC0415 - only catalogs need it; the server runs without

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(dict(catalog), sort_keys=False, allow_unicode=True, width=120), "utf-8")


if __name__ == "__main__":
    sys.exit(main())
