"""``URL_REWRITE`` to ``file:``: a directory in place of a site, for files of every size, also without a network."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.support import miniature, tally
from tests.support.front_door import FrontDoor
from tests.support.media import noise

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume

BIG: Final = 17 << 20
FILES: Final = {"empty": 0, "small": 100, "middle": 3 << 20, "large": BIG}


def written(mirror: Path, name: str, content: bytes, *, digest: bool = True, size: bool = True, **fields: Any) -> dict[str, Any]:
    """Put a file into the mirror, and return its entry for a catalog, which names the site."""
    path = mirror / "site" / "a b" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    sha = f"sha256:{hashlib.sha256(content).hexdigest()}" if digest else "none"
    return {"url": f"https://data.example.org/a%20b/{name}", "digest": sha, **({"size": len(content)} if size else {}), **fields}


@pytest.mark.parametrize("offline", [None, "1"])
def test_every_size(hub: HubServer, shelf: Shelf, volume: Volume, tmp_path: Path, offline: str | None) -> None:
    """Plain files and archives, with size and digest, and without: all are read from the directory, and nobody is asked."""
    mirror = tmp_path / "mirrör #1"
    # Nothing at all is taken for a file only if the catalog says so.
    kinds = [
        (name, digest, known)
        for name in FILES
        for digest, known in ((True, True), (True, False), (False, True), (False, False))
        if FILES[name] or digest or known
    ]
    entries = [
        written(mirror, f"{name}-{digest}-{known}.bin", noise(name, FILES[name]), digest=digest, size=known)
        for name, digest, known in kinds
    ]
    shelf.add("plain", *entries)
    packed = {f"{name}.bin": noise(name, size) for name, size in FILES.items()}
    shelf.add("packed", written(mirror, "p.tar.gz", miniature.gzip_bytes(miniature.pack_tar(packed)), unpack="tar.gz"))
    rule = f"https://data.example.org={(mirror / 'site').as_uri()}"
    volume.ready(URL_REWRITE=rule, HF_HUB_OFFLINE=offline)
    volume.check("plain", {f"{name}-{digest}-{known}.bin": noise(name, FILES[name]) for name, digest, known in kinds})
    volume.check("packed", packed)
    assert hub.log.entries() == ()
    damaged = volume.tree("plain") / "large-True-True.bin"
    damaged.chmod(0o644)
    damaged.write_bytes(b"x")
    tally.count("faults")
    volume.ready("repair", URL_REWRITE=rule, HF_HUB_OFFLINE=offline)
    volume.check("plain", {f"{name}-{digest}-{known}.bin": noise(name, FILES[name]) for name, digest, known in kinds})


CODES: Final = {"missing": 66, "shorter": 65, "longer": 65, "other": 65, "directory": 69}


@pytest.mark.parametrize("size", [100, BIG])
@pytest.mark.parametrize("fault", CODES)
def test_a_wrong_file(shelf: Shelf, volume: Volume, tmp_path: Path, fault: str, size: int) -> None:
    """It is refused by its path, as from a server, and nothing of it is published."""
    entry = written(tmp_path, "a.bin", noise("a", size))
    shelf.add("alpha", entry)
    path = tmp_path / "site" / "a b" / "a.bin"
    content = {"shorter": path.read_bytes()[:-1], "longer": path.read_bytes() + b"x", "other": noise("b", size)}
    path.unlink()
    if fault == "directory":
        path.mkdir()
    elif fault in content:
        path.write_bytes(content[fault])
    tally.count("faults")
    outcome = volume.run(URL_REWRITE=f"https://data.example.org={(tmp_path / 'site').as_uri()}")
    assert outcome.code == CODES[fault], outcome.err
    assert "a.bin" in outcome.errors()[-1]
    assert volume.published == []


def test_files_of_a_repository(hub: HubServer, shelf: Shelf, volume: Volume, tmp_path: Path) -> None:
    """What is fetched may be replaced by files; what the Hub is asked cannot be: 78, with the reason."""
    content = {"a.txt": b"a\n", "b.bin": noise("b", BIG)}
    commit = "c" * 40
    hub.hub.add_repo("ann/clips", content, commit_id=commit)
    shelf.add("clips", sources=[{"kind": "hub", "repo": "ann/clips"}])
    for name, data in content.items():
        path = tmp_path / "site" / commit / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    resolve = f"{hub.endpoint}/datasets/ann/clips/resolve"
    directory = (tmp_path / "site").as_uri()
    refused = volume.run(URL_REWRITE=f"{hub.endpoint}={directory}")
    assert refused.code == 78, refused.err
    assert "URL_REWRITE: " in refused.err
    assert "no file can answer" in refused.err
    volume.ready(URL_REWRITE=f"{resolve}={directory}")
    volume.check("clips", content)
    assert not [entry for entry in hub.log.entries() if "/resolve/" in entry.path]


def test_a_redirect_into_the_directory(hub: HubServer, shelf: Shelf, volume: Volume, tmp_path: Path) -> None:
    """It is not followed, and the message names the rule that is missing."""
    written(tmp_path, "a.bin", noise("a", 1000))
    with FrontDoor(hub.static_url, "joe", "secret-1") as door:
        url = f"{door.with_login}/moved/a%20b/a.bin"
        shelf.add("alpha", {"url": url, "digest": "none"})
        outcome = volume.run(URL_REWRITE=f"{door.address}/a%20b={(tmp_path / 'site' / 'a b').as_uri()}")
        assert outcome.code == 69, outcome.err
        assert f"Add a rule to URL_REWRITE for {door.address}/moved/a%20b/a.bin" in outcome.err
