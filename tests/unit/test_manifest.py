"""Manifests: both written forms are read back as they were, and a damaged file is refused."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.errors import VolumeError
from provisioner.volume.fs.atomic import write_atomic
from provisioner.volume.store.entry import Entry
from provisioner.volume.store.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from random import Random

    from provisioner.volume.store.entry import Kind

ZEROS = "0" * 64
NEWLINE = "\n"


def sha256(data: bytes) -> str:
    """Return the digest as a manifest has it."""
    return hashlib.sha256(data).hexdigest()


def written(manifest: Manifest) -> bytes:
    """Return the JSON form in one piece."""
    return b"".join(manifest.json_lines())


def read(data: bytes) -> Manifest:
    """Read it from one piece."""
    return Manifest.read(io.BytesIO(data), "x.json")


def in_lines(head: dict[str, object], entries: Iterable[object]) -> bytes:
    """Write JSON of any content the way manifests are written: a head, one entry a line, an end."""
    lines = ",\n".join(map(json.dumps, entries))
    return f'{json.dumps(head)[:-1]}{", " if head else ""}"entries":[\n{lines}{lines and NEWLINE}]}}\n'.encode()


def entry_of(path: str, data: bytes) -> Entry:
    """Return the entry of a file."""
    return Entry(path, "file", len(data), sha256(data))


# Bytes of a name: anything but a slash and a NUL, and not the names "." and "..".
names = (
    st.binary(min_size=1, max_size=12)
    .map(lambda raw: raw.replace(b"/", b"_").replace(b"\0", b"_"))
    .filter(lambda raw: raw not in {b".", b".."})
    .map(lambda raw: raw.decode("utf-8", "surrogateescape"))
)
paths = st.lists(names, min_size=1, max_size=4).map("/".join)
hexes = st.binary(min_size=32, max_size=32).map(bytes.hex)
sources = st.none() | st.text(max_size=10)
artifacts = st.sampled_from(["", "first", "zweite \N{SNOWMAN}"])
entries = st.one_of(
    st.builds(
        Entry,
        paths,
        st.just("file"),
        st.integers(0, 1 << 62),
        hexes,
        executable=st.booleans(),
        source_digest=sources,
        artifact=artifacts,
    ),
    st.builds(Entry, paths, st.just("link"), target=paths, artifact=artifacts),
    st.builds(Entry, paths, st.just("folder"), artifact=artifacts),
)
manifests = st.lists(entries, max_size=8, unique_by=lambda entry: entry.path).map(Manifest.of)


# --- JSON ---------------------------------------------------------------------------------------------------------------


@given(manifests)
def test_json_reads_back_as_it_was(manifest: Manifest) -> None:
    """Whatever bytes the names have: what was written is read back, and the file is plain ASCII JSON."""
    data = written(manifest)
    assert manifest == read(data)
    assert data.isascii()
    document = json.loads(data)
    assert (manifest.files, manifest.bytes, len(manifest)) == (
        document["files"],
        document["bytes"],
        len(document["entries"]),
    )


def assert_answered(data: bytes) -> None:
    """Check that data are read as a manifest, or refused by an error that names the file."""
    try:
        answer = written(read(data)).decode()
    except VolumeError as error:
        answer = error.message
    assert answer.startswith(('{"schema_version":1,', "x.json is not a manifest: "))


@given(manifests, st.randoms(use_true_random=False))
def test_any_damage_is_an_error_that_names_the_file(manifest: Manifest, random: Random) -> None:
    """One changed byte makes another manifest or an error that names the file, never a crash."""
    data = bytearray(written(manifest))
    data[random.randrange(len(data))] = random.randrange(256)
    assert_answered(bytes(data))


@given(manifests, st.randoms(use_true_random=False))
def test_a_doubled_line_and_a_lost_end_are_noticed(manifest: Manifest, random: Random) -> None:
    """A file with a line twice, or cut off, is not a manifest."""
    data = written(manifest)
    lines = data.splitlines(keepends=True)
    place = random.randrange(len(lines))
    for damaged in (
        b"".join([*lines[: place + 1], *lines[place:]]),
        data[: random.randrange(len(data))],
        data + b"\n",
    ):
        with pytest.raises(VolumeError, match=r"x\.json is not a manifest"):
            read(damaged)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_manifest_or_an_error(data: bytes) -> None:
    """Any bytes are refused by an error that says so."""
    with pytest.raises(VolumeError, match="is not a manifest"):
        read(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["path", "kind", "size", "x"]), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(
    st.fixed_dictionaries(
        {"schema_version": st.just(1)}, optional={"artifacts": json_values, "files": json_values, "bytes": json_values}
    ),
    st.lists(json_values, max_size=4),
)
def test_any_json_is_a_manifest_or_an_error(head: dict[str, object], entries: list[object]) -> None:
    """Any JSON values in the right frame are read as a manifest, or refused by an error that names the file."""
    assert_answered(in_lines(head, entries))
    assert_answered(json.dumps({**head, "entries": entries}).encode())


GOOD = {"path": "a", "kind": "file", "size": 3, "sha256": ZEROS}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"path": "../a"}, "not relative"),
        ({"path": "/a"}, "not relative"),
        ({"path": "a//b"}, "not relative"),
        ({"path": ""}, "not relative"),
        ({"path": "a\0"}, "no name"),
        ({"path": "\ud800"}, "no name"),
        ({"path": 3}, "a path is 3"),
        ({"kind": "device"}, "kind"),
        ({"kind": ["file"]}, "kind"),
        ({"size": -1}, "size"),
        ({"size": True}, "size"),
        ({"size": 1.5}, "size"),
        ({"sha256": "0" * 63}, "sha256"),
        ({"sha256": "A" * 64}, "sha256"),
        ({"sha256": ZEROS + "\n"}, "sha256"),
        ({"sha256": ""}, "sha256"),
        ({"target": "b"}, "target"),
        ({"kind": "link", "size": 0, "sha256": ""}, "target"),
        ({"executable": 1}, "executable"),
        ({"source_digest": 5}, "source_digest"),
        ({"artifact": 1}, "artifact"),
        ({"artifact": -2}, "artifact"),
        ({"artifact": "key"}, "artifact"),
    ],
)
def test_every_value_is_checked(change: dict[str, object], reason: str) -> None:
    """A file with one wrong value is refused; without that value the same file is read."""
    head: dict[str, object] = {"schema_version": 1, "files": 1, "bytes": 3, "artifacts": ["key"]}
    assert len(read(in_lines(head, [GOOD]))) == 1
    with pytest.raises(VolumeError, match=reason):
        read(in_lines(head, [{**GOOD, **change}]))


@pytest.mark.parametrize(("kind", "sha256"), [("file", ""), ("file", "00"), ("link", ZEROS), ("folder", "")])
def test_an_entry_that_makes_no_sense_is_not_made(kind: Kind, sha256: str) -> None:
    """A file has its digest, and nothing else has one, or a size."""
    with pytest.raises(ValueError, match="'a' is a"):
        Entry("a", kind, 3, sha256)


FOLDER = {"path": "a", "kind": "folder"}
EMPTY: dict[str, object] = {"schema_version": 1, "files": 0, "bytes": 0}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "first line"),
        (b"[]", "first line"),
        (b"{}", "first line"),
        (b'"path"', "first line"),
        (json.dumps(FOLDER).encode(), "first line"),
        (json.dumps({**EMPTY, "entries": []}).encode(), "first line"),
        (b'["entries":[\n]}\n', "delimiter"),
        (b'{"x":{"entries":[\n]}\n', "delimiter"),
        (rb'{"schema_version":1,"files":0,"bytes":0,"\\"entries":[' + b"\n]}\n", "delimiter"),
        (rb'{"schema_version":1,"files":0,"bytes":0,"\"entries":[' + b"\n]}\n", "entries is no list"),
        (in_lines({}, []), "schema_version is None"),
        (in_lines({**EMPTY, "schema_version": True}, []), "schema_version is True"),
        (in_lines({**EMPTY, "schema_version": 2}, []), "schema_version is 2"),
        (in_lines({**EMPTY, "files": 1}, []), "totals"),
        (in_lines({**EMPTY, "bytes": None}, []), "totals"),
        (in_lines(EMPTY, [[]]), "entry 1 is no object"),
        (in_lines(EMPTY, [FOLDER, {}]), "entry 2 is no object"),
        (in_lines({**EMPTY, "artifacts": [1]}, []), "artifacts is no list"),
        (in_lines(EMPTY, [FOLDER, FOLDER]), "twice"),
        (in_lines(EMPTY, [FOLDER])[:-3], "in the middle, with 1"),
        (in_lines(EMPTY, [FOLDER]) + b" ", "follows its end"),
        (in_lines(EMPTY, [FOLDER, GOOD]).replace(b",\n", b"\n"), "follows entry 1"),
        (b"[" * 100_000, "first line"),
        (in_lines(EMPTY, []).replace(b"]}", b"[" * 100_000), "recursion"),
        (b'{"schema_version":' + b"9" * 5000 + b',"entries":[\n]}\n', "digits"),
        (b"\xff\xfe\x00", "first line"),
        (in_lines(EMPTY, [FOLDER]).replace(b"a", b"\xff", 1), "ascii"),
    ],
)
def test_what_is_not_a_manifest_is_refused(data: bytes, reason: str) -> None:
    """Wrong structure, another schema version, wrong totals, foreign lines, endless nesting and endless numbers are refused."""
    with pytest.raises(VolumeError, match=rf"is not a manifest: .*{reason}"):
        read(data)


def test_a_path_is_there_once() -> None:
    """Two entries with one path are an error."""
    with pytest.raises(ValueError, match="twice"):
        Manifest.of([Entry("a", "folder"), Entry("a", "file", 0, ZEROS)])


def test_the_order_is_that_of_the_bytes() -> None:
    """Entries are sorted by bytes, not by code points: an escaped byte 0xff comes after all UTF-8."""
    manifest = Manifest.of([Entry("\udcff", "folder"), Entry("\N{GRINNING FACE}", "folder"), Entry("a", "folder")])
    assert [entry.path for entry in manifest] == ["a", "\N{GRINNING FACE}", "\udcff"]


def test_parts_are_merged_in_their_order() -> None:
    """Of one path the first part's entry counts; a directory that another part filled is dropped."""
    first = [Entry("d", "folder", artifact="1"), Entry("e", "folder", artifact="1"), entry_of("x", b"1")]
    second = [Entry("e", "folder", artifact="2"), entry_of("d-", b""), entry_of("d/y", b"2"), entry_of("x", b"2")]
    merged = Manifest.merged([first, second])
    assert merged.entries == (second[1], second[2], first[1], first[2])


def test_memory_for_each_file(tmp_path: Path) -> None:
    """A manifest of a million files fits into a container of 400 MiB: as entries, merged, written and read."""
    count = 20_000

    def peak(most: int, work: Callable[[], object]) -> None:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        work()
        assert (tracemalloc.get_traced_memory()[1] - before) / count < most

    tracemalloc.start()
    try:
        manifest = Manifest.of(
            Entry(f"dataset-train/audio/{n:06}-some-ordinary-name.wav", "file", 128_044, f"{n:064x}", artifact="k" * 64)
            for n in range(count)
        )
        assert tracemalloc.get_traced_memory()[1] / count < 270
        path = tmp_path / "manifest"
        peak(15, lambda: write_atomic(path, manifest.sha256sum_lines(), durable=False))
        peak(15, lambda: write_atomic(path, manifest.json_lines(), durable=False))
        peak(40, lambda: Manifest.merged([manifest]))
        with path.open("rb") as lines:
            peak(280, lambda: Manifest.read(lines, "x.json"))
    finally:
        tracemalloc.stop()


# --- sha256sum ----------------------------------------------------------------------------------------------------------


AWKWARD = [
    "plain",
    "-",
    " leading blank",
    "*star",
    "#hash",
    "back\\slash",
    "line\nfeed",
    "carriage\rreturn",
    "trailing\r",
    "\\",
    "\\n",
    "tab\t",
    "not utf-8 \udcff\udcfe",
    "Ünïcode \N{SNOWMAN}",
    "folder/-",
    "-c",
]


def sha256sum(tree: Path, manifest: Manifest) -> subprocess.CompletedProcess[bytes]:
    """Run the real tool in the tree."""
    (tree.parent / "sums").write_bytes(b"".join(manifest.sha256sum_lines()))
    return subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", str(tree.parent / "sums")], cwd=tree, capture_output=True, check=False
    )


def test_sha256sum_accepts_the_tree_and_sees_a_change(tmp_path: Path) -> None:
    """Coreutils accepts every awkward name, and reports it when the file changes."""
    tree = tmp_path / "tree"
    (tree / "folder").mkdir(parents=True)
    for name in AWKWARD:
        (tree / name).write_bytes(name.encode("utf-8", "surrogateescape"))
    manifest = Manifest.of(entry_of(name, name.encode("utf-8", "surrogateescape")) for name in AWKWARD)
    done = sha256sum(tree, manifest)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    for name in AWKWARD:
        (tree / name).write_bytes(b"something else")
    done = sha256sum(tree, manifest)
    assert done.returncode == 1
    assert done.stdout.count(b": FAILED\n") == len(AWKWARD)


@given(st.lists(names, min_size=1, max_size=5, unique=True))
def test_sha256sum_lines_hold_the_name_and_nothing_else(found: list[str]) -> None:
    """Removing the escapes that coreutils documents returns each name, one to a line."""
    manifest = Manifest.of(entry_of(name, b"") for name in found)
    lines = b"".join(manifest.sha256sum_lines()).split(b"\n")
    assert lines.pop() == b""
    unescape = {b"\\\\": b"\\", b"\\n": b"\n", b"\\r": b"\r"}
    read = []
    for line in lines:
        escaped = line.startswith(b"\\")
        digest, name = line.removeprefix(b"\\").split(b"  ", 1)
        assert digest.decode() == sha256(b"")
        if escaped:
            parts = name.split(b"\\\\")
            for plain, special in ((b"\\n", b"\n"), (b"\\r", b"\r")):
                parts = [part.replace(plain, special) for part in parts]
            name = unescape[b"\\\\"].join(parts)
        read.append(name)
    expected = [entry.path.encode("utf-8", "surrogateescape") for entry in manifest]
    assert [b"./-" if name == b"-" else name for name in expected] == read


def test_links_and_directories_have_no_sum() -> None:
    """Links and directories are left out: sha256sum would follow the first and refuse the second."""
    assert list(Manifest.of([Entry("l", "link", target="a"), Entry("d", "folder")]).sha256sum_lines()) == []


@pytest.mark.parametrize("artifact", ["0123456789abcdef" * 2, "shape", "ABCD", "abc", ""])
@pytest.mark.parametrize(
    "digest", [None, "", "gitsha1:" + "ab" * 20, "sha256:" + "cd" * 32, "gitsha1:" + "AB" * 20, "md5:abc", "text", "x:", ":ab"]
)
def test_digests_and_keys_of_its_own_come_out_as_they_were(digest: str | None, artifact: str) -> None:
    """However an entry keeps the digest of its source and its artifact's key, all of its values are what they were."""
    entry = Entry("a", "file", 70_000, "ef" * 32, source_digest=digest, artifact=artifact)
    assert (entry.source_digest, entry.artifact, entry.size, entry.sha256) == (digest, artifact, 70_000, "ef" * 32)
    manifest = Manifest.of([entry, Entry("b", "file", 3, "12" * 32, source_digest=digest, artifact=artifact)])
    document = json.loads(b"".join(manifest.json_lines()))
    assert [found.get("source_digest") for found in document["entries"]] == [digest, digest]
    assert [document["artifacts"][found["artifact"]] if artifact else "" for found in document["entries"]] == [artifact] * 2
    assert Manifest.read(manifest.json_lines(), "test") == manifest
