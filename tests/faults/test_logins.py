"""User and password in the URLs of settings and catalogs: they are used where they belong, and are in no file and no output."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import pytest

from tests.support import tally
from tests.support.front_door import FrontDoor
from tests.support.media import noise
from tests.support.program import TOKEN
from tests.support.proxy import ProxyServer
from tests.support.volume import files_under

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.hub_server import HubServer
    from tests.support.program import Outcome
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume

HOST: Final = "files.example.org"
SIZES: Final = {"small": 3000, "large": 17 << 20}
"""Fetched whole into memory, and in ranges."""
COMMANDS: Final = (["status"], ["status", "--json"], ["list", "--json"], ["plan", "--json"], ["doctor"], ["verify"])


@pytest.fixture
def doors(hub: HubServer) -> Iterator[tuple[FrontDoor, FrontDoor]]:
    """Return a door before the Hub, and one before the server of files."""
    with FrontDoor(hub.endpoint, "joe", "p@ss/wörd-1") as api, FrontDoor(hub.static_url, "ann", "S3cret-2 #%") as files:
        yield api, files


def leaks(volume: Volume, doors: tuple[FrontDoor, ...], outcomes: list[Outcome]) -> list[str]:
    """Return where a password is found: in names and contents below the test's directory, and in what was printed."""
    secrets = [secret for door in doors for secret in door.secrets]
    found = [outcome.err for outcome in outcomes if any(secret in outcome.out + outcome.err for secret in secrets)]
    for place, _, names in os.walk(volume.root.parent):
        for name in names:
            path = os.path.join(place, name)  # noqa: PTH118 - names may be any bytes
            if os.path.islink(path) or name == "catalog.yaml":  # noqa: PTH114
                continue
            with open(path, "rb") as file:  # noqa: PTH123
                content = file.read().decode(errors="replace") + path
            found += [path for secret in secrets if secret in content]
    return found


def sources(shelf: Shelf, base: str, **fields: Any) -> list[dict[str, Any]]:
    """Return one file of each size at a URL below ``base``, with a digest, and one without."""
    files = []
    for name, size in SIZES.items():
        entry = shelf.raw(f"{name}.bin", noise(name, size), host=HOST)
        files += [{**entry, "url": f"{base}/{HOST}/{name}.bin", **fields}]
    shelf.raw("unknown.bin", noise("unknown", 5000), host=HOST)
    return [*files, {"url": f"{base}/{HOST}/unknown.bin", "digest": "none"}]


def check(volume: Volume, dataset: str) -> None:
    """See that all files are there."""
    expected = {f"{name}.bin": noise(name, size) for name, size in (*SIZES.items(), ("unknown", 5000))}
    volume.check(dataset, expected)


@pytest.mark.parametrize("path", ["", "/moved", "/away", "/moved/moved"])
def test_a_login_in_the_catalog(
    hub: HubServer, shelf: Shelf, volume: Volume, doors: tuple[FrontDoor, FrontDoor], path: str
) -> None:
    """Each way of fetching sends it, also where a redirect stays on the host; another host never gets it."""
    door = doors[1]
    shelf.add("alpha", *sources(shelf, door.with_login + path))
    done = [volume.ready("provision", "--json", URL_REWRITE=None)]
    check(volume, "alpha")
    assert door.passed
    assert door.refused == []
    assert not any(entry.authorization for entry in hub.log.entries())
    done += [volume.run(*command, URL_REWRITE=None) for command in COMMANDS]
    if not path:
        done.append(volume.ready("catalog", "check", "--online", "--json", URL_REWRITE=None))
    assert leaks(volume, doors, done) == []


def test_a_login_of_a_mirror(shelf: Shelf, volume: Volume, doors: tuple[FrontDoor, FrontDoor]) -> None:
    """A mirror's login in the catalog is used when the first address fails, and that is said without it."""
    door = doors[1]
    files = sources(shelf, door.with_login)
    for file in files:
        mirror = str(file["url"])
        file |= {"url": mirror.replace(door.with_login, f"{door.address}/refused"), "mirrors": [mirror]}
    shelf.add("alpha", *files)
    outcome = volume.ready("provision", URL_REWRITE=None)
    check(volume, "alpha")
    assert "asking the mirror" in outcome.err
    assert leaks(volume, doors, [outcome]) == []


@pytest.mark.parametrize("token", [None, TOKEN])
def test_a_login_of_the_hub_and_of_a_site_mirror(
    hub: HubServer, shelf: Shelf, volume: Volume, doors: tuple[FrontDoor, FrontDoor], token: str | None
) -> None:
    """HF_ENDPOINT's goes with every question and file, and before a token; that of URL_REWRITE with what is rewritten."""
    hub.hub.add_repo("ann/clips", {"clips/a.txt": b"a\n", "clips/b.bin": noise("b", 40_000)})
    shelf.add("clips", sources=[{"kind": "hub", "repo": "ann/clips"}])
    shelf.add("alpha", *sources(shelf, "https:/"))
    changes = {
        "HF_ENDPOINT": doors[0].with_login,
        "URL_REWRITE": f"https://{HOST}={doors[1].with_login}/{HOST}",
        "HF_TOKEN": token,
        "DATASET_REPO": "none",
    }
    done = [volume.ready("provision", "--json", **changes)]
    volume.check("clips", {"clips/a.txt": b"a\n", "clips/b.bin": noise("b", 40_000)})
    check(volume, "alpha")
    for door in doors:
        assert door.passed
        assert door.refused == []
    assert not any(entry.authorization for entry in hub.log.entries())
    done += [volume.run(*command, **changes) for command in COMMANDS]
    done += [volume.ready("catalog", "check", "--online", "--json", **changes)]
    assert leaks(volume, doors, done) == []
    assert volume.status["datasets"]["clips"]["source"]["url"] == f"{doors[0].address}/datasets/ann/clips"


def test_a_login_of_a_proxy(hub: HubServer, shelf: Shelf, volume: Volume) -> None:
    """It is sent to the proxy with every question and file, in any script, and to nobody else."""
    hub.hub.add_repo("ann/clips", {"clips/a.txt": b"a\n"})
    shelf.add("clips", sources=[{"kind": "hub", "repo": "ann/clips"}])
    shelf.add("alpha", *sources(shelf, "https:/"))
    with ProxyServer(credentials=("jöe", "日p@ss:wört#")) as proxy:
        login = f"{quote('jöe')}:{quote('日p@ss:wört#', safe='')}"
        changes = {"HTTP_PROXY": proxy.url.replace("//", f"//{login}@"), "NO_PROXY": None}
        outcome = volume.ready("provision", **changes)
        doctor = volume.ready("doctor", **changes)
    check(volume, "alpha")
    assert len(proxy.passed) > 2
    assert not any(entry.authorization for entry in hub.log.entries())
    for secret in ("日p@ss", quote("日p@ss")):
        assert secret not in outcome.err + doctor.out + doctor.err
    assert not [path for path in files_under(volume.root) if "日p@ss".encode() in path.read_bytes()]


def test_a_login_while_a_transfer_is_interrupted(shelf: Shelf, volume: Volume, doors: tuple[FrontDoor, FrontDoor]) -> None:
    """What is staged says where it is from without it, and is resumed."""
    door = doors[1]
    shelf.add("alpha", *sources(shelf, door.with_login))
    door.bytes_left = 12 << 20
    failed = volume.run("provision", URL_REWRITE=None, DEADLINE="8s")
    tally.count("faults", door.cut)
    assert failed.code == 75
    assert door.cut
    assert volume.staged_bytes()
    assert leaks(volume, doors, [failed]) == []
    door.bytes_left = None
    volume.ready("provision", URL_REWRITE=None)
    check(volume, "alpha")


@pytest.mark.parametrize("wrong", ["wrong-password-3", ""])
def test_a_login_that_is_refused(shelf: Shelf, volume: Volume, doors: tuple[FrontDoor, FrontDoor], wrong: str) -> None:
    """77, and the message shows neither user nor password."""
    door = doors[1]
    base = door.address.replace("//", f"//somebody:{wrong}@")
    shelf.add("alpha", *sources(shelf, base))
    outcome = volume.run("provision", URL_REWRITE=None)
    assert outcome.code == 77, outcome.err
    assert door.refused
    for secret in ("somebody", wrong or "somebody"):
        assert secret not in outcome.err
        assert secret not in (volume.root / "dataset_status.json").read_text("utf-8")
