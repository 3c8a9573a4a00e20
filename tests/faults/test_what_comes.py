"""Something else than the file comes: a page, an error document, a pointer, nothing, an archive that cannot be unpacked."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.support import miniature
from tests.support.media import noise

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume

PAGE: Final = b"<!DOCTYPE html><html><head><title>Sign in to the network</title></head></html>"
POINTER: Final = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 123456\n"
ANSWERS: Final = {
    "an HTML page": b"\n<html><body>Moved</body></html>",
    "a login page": PAGE,
    "challenge for browsers": b"<!DOCTYPE html><html><head><title>Just a moment...</title>",
    "no virus scan was made": b"<!DOCTYPE html><title>Google Drive - Virus scan warning</title>",
    "an error document in JSON": b'{"status": 404, "message": "no such record"}',
    "an error document in XML": b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>',
    "a Git LFS pointer": POINTER,
    "an empty file": b"",
}
CSV: Final = b"id,genre\n1,rock\n" * 400
LARGE: Final = 16 << 20
MEMBERS: Final = {"a/one.csv": CSV, "a/two.bin": noise("two", 5000)}
SMALL_TAR: Final = miniature.gzip_bytes(miniature.pack_tar(MEMBERS))
BAD: Final = "files.example.org"
GOOD: Final = "mirror.example.org"


def large_tar() -> bytes:
    """Return an archive that arrives in ranges: stored, so that its size is known beforehand."""
    tar = miniature.pack_tar({**MEMBERS, "a/padding.bin": bytes(LARGE + (1 << 20))})
    return gzip.compress(tar, compresslevel=0, mtime=0)


def entry(server: HubServer, name: str, wrong: bytes, **fields: Any) -> dict[str, Any]:
    """Serve wrong bytes, and return their entry in a catalog without a digest."""
    server.add_static(f"https://{BAD}/{name}", wrong)
    return {"url": f"https://{BAD}/{name}", "digest": "none", **fields}


def was_fetched(server: HubServer, host: str) -> bool:
    """Return whether a host was asked for a file."""
    return bool(server.log.entries(f"/{host}/*"))


def test_it_is_refused_and_nothing_of_it_is_remembered(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """Called by its name, exit code 65; nothing is published or staged, and the next run takes the file."""
    names = {words: f"set{number}" for number, words in enumerate(ANSWERS)}
    for words, name in names.items():
        shelf.add(name, entry(hub, f"{name}.csv", ANSWERS[words]))
    outcome = volume.run()
    assert outcome.code == 65, outcome.err
    assert "next source" not in outcome.err
    assert volume.published == []
    assert volume.staged_bytes() == 0
    for words, name in names.items():
        assert len(hub.log.entries(f"/{BAD}/{name}.csv")) == 1
        error = volume.status["datasets"][name]["error"]
        assert error["reference"] == "unexpected-content"
        assert words in error["message"]
        assert volume.receipts(name) == []
        hub.add_static(f"https://{BAD}/{name}.csv", CSV)
    volume.ready()
    for name in names.values():
        volume.check(name, {f"{name}.csv": CSV})


PADDED: Final = PAGE + b" " * (LARGE + 1000)
ROUTES: Final[dict[str, tuple[str, bytes, dict[str, Any]]]] = {
    "one connection": ("alpha.csv", PAGE, {}),
    "estimated size": ("alpha.csv", PAGE, {"size": {"value": 90_000_000, "estimate": True}}),
    "in memory": ("alpha.csv", PAGE + b" " * (len(CSV) - len(PAGE)), {"size": len(CSV)}),
    "archive by one connection": ("alpha.tar.gz", PAGE, {"unpack": "tar.gz"}),
    "archive that is cut": ("alpha.tar.gz", SMALL_TAR[:-40], {"unpack": "tar.gz"}),
    "archive of another format": ("alpha.tar.gz", miniature.pack_tar(MEMBERS), {"unpack": "tar.gz"}),
    "archive that is unsafe": (
        "alpha.tar.gz",
        miniature.gzip_bytes(miniature.pack_tar({"../x": b"x"})),
        {"unpack": "tar.gz"},
    ),
}


def right(name: str) -> tuple[bytes, Mapping[str, bytes]]:
    """Return the right bytes of a file, and what they become."""
    return (CSV, {"alpha.csv": CSV}) if name.endswith("csv") else (SMALL_TAR, MEMBERS)


@pytest.mark.parametrize("helper", ["mirror", "next source"])
def test_another_place_has_the_file(shelf: Shelf, volume: Volume, hub: HubServer, helper: str) -> None:
    """The mirror is asked, or the next source, in whatever way the bytes come; nothing of the wrong ones is left."""
    for number, (file, wrong, fields) in enumerate(ROUTES.values()):
        name = f"{number}/{file}"
        good = {"url": hub_url(hub, name), "digest": "none", **fields}
        bad = entry(hub, name, wrong, **fields)
        if helper == "mirror":
            shelf.add(f"set{number}", {**bad, "mirrors": [good["url"]]})
        else:
            shelf.add(f"set{number}", sources=[{"kind": "url", "files": [bad]}, {"kind": "url", "files": [good]}])
    outcome = volume.ready()
    said = "asking the mirror" if helper == "mirror" else "trying the next source"
    assert outcome.err.count(said) == len(ROUTES)
    for number, (name, _, _) in enumerate(ROUTES.values()):
        assert hub.log.entries(f"/{BAD}/{number}/*")
        volume.check(f"set{number}", right(name)[1])
    assert volume.staged() == []


def hub_url(server: HubServer, name: str) -> str:
    """Serve the right bytes of a file, and return their URL."""
    server.add_static(f"https://{GOOD}/{name}", right(name)[0])
    return f"https://{GOOD}/{name}"


RANGED: Final[dict[str, tuple[str, bytes, dict[str, str]]]] = {
    "a page as a file": ("alpha.bin", PADDED, {}),
    "a page as an archive": ("alpha.tar.gz", PADDED, {"unpack": "tar.gz"}),
    "a damaged archive": ("alpha.tar.gz", b"damaged", {"unpack": "tar.gz"}),
}


@pytest.mark.parametrize("where", ["http", "file"])
@pytest.mark.parametrize("row", RANGED)
def test_a_large_file_is_something_else(  # noqa: PLR0917 - fixtures and a table
    shelf: Shelf, volume: Volume, hub: HubServer, tmp_path: Path, row: str, where: str
) -> None:
    """What arrives in ranges, and is unpacked meanwhile, is given up as soon as it is recognised, and the mirror has the file."""
    name, wrong, fields = RANGED[row]
    archive = large_tar()
    content = archive if fields else archive[: len(PADDED)]
    if wrong == b"damaged":
        wrong = archive[:2_000_000] + b"\1" * 200 + archive[2_000_200:]
    wrong = wrong[: len(content)] + b" " * (len(content) - len(wrong))
    hub.add_static(f"https://{GOOD}/{name}", content)
    fields_of_file = {"size": len(content), "digest": "none", "mirrors": [f"https://{GOOD}/{name}"], **fields}
    if where == "http":
        shelf.add("alpha", {**entry(hub, name, wrong), **fields_of_file})
    else:
        (tmp_path / name).write_bytes(wrong)
        shelf.add("alpha", {"url": (tmp_path / name).as_uri(), **fields_of_file})
    outcome = volume.ready()
    assert "asking the mirror" in outcome.err
    assert was_fetched(hub, GOOD)
    volume.check("alpha", {**MEMBERS, "a/padding.bin": bytes(LARGE + (1 << 20))} if fields else {name: content})
    assert volume.staged() == []


@pytest.mark.parametrize("words", ["a login page", "a Git LFS pointer", "an empty file"])
def test_a_digest_proves_the_bytes(shelf: Shelf, volume: Volume, words: str) -> None:
    """What the catalog's digest names is published, whatever it looks like; a pointer with one warning that names it."""
    shelf.add("alpha", shelf.raw("alpha.csv", ANSWERS[words]))
    outcome = volume.ready()
    volume.check("alpha", {"alpha.csv": ANSWERS[words]})
    assert outcome.err.count("Git LFS pointer") == (words == "a Git LFS pointer")


@pytest.mark.parametrize("size", [None, len(PAGE)])
def test_a_digest_that_does_not_match_says_what_came(shelf: Shelf, volume: Volume, hub: HubServer, size: int | None) -> None:
    """A page in place of a file with a digest is called a page."""
    fields = {"size": size} if size is not None else {}
    shelf.add("alpha", {**entry(hub, "alpha.csv", PAGE), "digest": f"sha256:{'0' * 64}", **fields})
    outcome = volume.run()
    assert outcome.code == 65, outcome.err
    assert "looks like a login page" in outcome.err
    assert volume.published == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("alpha.html", PAGE),
        ("alpha.json", ANSWERS["an error document in JSON"]),
        ("alpha.xml", ANSWERS["an error document in XML"]),
        ("alpha.txt", b"<b>not a page</b>"),
    ],
)
def test_what_was_asked_for_is_no_mistake(shelf: Shelf, volume: Volume, hub: HubServer, name: str, content: bytes) -> None:
    """A page by its name is a page, and so are documents; no digest is needed for them."""
    shelf.add("alpha", entry(hub, name, content))
    volume.ready()
    volume.check("alpha", {name: content})


def test_an_empty_file_that_is_stated(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """A file that is empty as the catalog says is published."""
    shelf.add("alpha", entry(hub, "alpha.csv", CSV), entry(hub, "empty.txt", b"", size=0))
    volume.ready()
    volume.check("alpha", {"alpha.csv": CSV, "empty.txt": b""})


@pytest.mark.parametrize("unpack", ["zip", "tar.gz"])
def test_pointers_in_an_archive(shelf: Shelf, volume: Volume, hub: HubServer, unpack: str) -> None:
    """An archive that a host made of a repository has pointers in place of data: one warning names the first."""
    members = {"a/one.wav": POINTER, "a/two.wav": POINTER, "a/three.csv": CSV}
    packed = miniature.pack_zip(members) if unpack == "zip" else miniature.gzip_bytes(miniature.pack_tar(members))
    shelf.add("alpha", entry(hub, f"alpha.{unpack}", packed, unpack=unpack))
    outcome = volume.ready()
    warned = [line for line in outcome.err.splitlines() if "Git LFS pointers" in line]
    assert len(warned) == 1, outcome.err
    assert "a/one.wav" in warned[0]
    assert "1 more" in warned[0]


def test_pointers_that_a_hub_lists(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """A repository whose very files are pointers is published as it is, with one warning for all of them."""
    files = {f"clips/{number}.wav": POINTER for number in range(3)} | {"meta.csv": CSV}
    hub.hub.add_repo("ann/clips", dict(files))
    shelf.add("clips", sources=[{"kind": "hub", "repo": "ann/clips"}])
    outcome = volume.ready()
    volume.check("clips", files)
    warned = [line for line in outcome.err.splitlines() if "Git LFS pointer" in line]
    assert len(warned) == 1, outcome.err
    assert "clips/0.wav" in warned[0]
    assert "2 more" in warned[0]


def test_a_hub_whose_file_is_a_page(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """A page in place of a listed file is refused, and called a page whatever size it has."""
    content = noise("clip", 5000)
    hub.hub.add_repo("ann/clips", {"clip.bin": content})
    shelf.add("clips", sources=[{"kind": "hub", "repo": "ann/clips"}])
    for body in (PAGE.decode(), PAGE.decode().ljust(len(content)), POINTER.decode()):
        fault = hub.faults.add("html", path="*/resolve/*", body=body, headers={"Content-Type": "application/octet-stream"})
        outcome = volume.run()
        assert fault.fired >= 1
        assert outcome.code == 65, outcome.err
        assert "login page" in outcome.err or "Git LFS pointer" in outcome.err
        hub.faults.clear()
    volume.ready()
    volume.check("clips", {"clip.bin": content})


def unnamed(server: HubServer, number: int, content: bytes, disposition: str) -> dict[str, Any]:
    """Serve a file whose URL does not name it, and return its entry in a catalog."""
    url = f"https://{BAD}/api/records/{number}/content"
    server.add_static(url, content, disposition=disposition)
    return {"url": url, "digest": "none"}


def test_a_name_that_only_the_server_states(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """Where a URL ends in `/content` the server's name is used, in whatever form; a `name` in the catalog decides."""
    shelf.add(
        "alpha",
        unnamed(hub, 1, CSV, 'attachment; filename="one.csv"'),
        unnamed(hub, 2, CSV + b"2", "attachment; filename=x.csv; filename*=UTF-8''zw%C3%B6lf.csv"),
        {**unnamed(hub, 3, CSV + b"3", "attachment; filename=other.csv"), "name": "three.csv", "into": "more"},
    )
    outcome = volume.ready()
    assert "the server calls it one.csv" in outcome.err
    volume.check("alpha", {"one.csv": CSV, "zwölf.csv": CSV + b"2", "more/three.csv": CSV + b"3"})
    assert len(hub.log.entries("*/3/content")) == 1
    checked = volume.run("catalog", "check", "--online")
    assert "named 'one.csv' by the server" in checked.out
    hub.log.clear()
    volume.ready()
    assert hub.log.entries() == ()


@pytest.mark.parametrize("name", ["../x.csv", "/etc/x", "a\\b.csv", "CON", "a\tb.csv", ".."])
def test_a_stated_name_that_cannot_be_used(shelf: Shelf, volume: Volume, hub: HubServer, name: str) -> None:
    """It is refused with a warning, and the file has the name that its URL has."""
    shelf.add("alpha", unnamed(hub, 1, CSV, f'attachment; filename="{name}"'))
    outcome = volume.ready()
    assert "name for it cannot be used" in outcome.err
    assert "to have another one, state a 'name'" in outcome.err
    volume.check("alpha", {"content": CSV})
    assert {path.name for path in volume.root.parent.iterdir()} >= {volume.root.name}
    assert not list(volume.root.rglob("x.csv"))


@pytest.mark.parametrize("disposition", ["", "attachment; filename=Same.csv"])
def test_two_files_without_names_of_their_own(shelf: Shelf, volume: Volume, hub: HubServer, disposition: str) -> None:
    """Two files that would have one name are refused, with what to write."""
    shelf.add("alpha", unnamed(hub, 1, CSV, disposition), unnamed(hub, 2, CSV, disposition.lower()))
    outcome = volume.run()
    assert outcome.code == 78, outcome.err
    assert "State a 'name' for each of them" in outcome.err
    assert volume.published == []
