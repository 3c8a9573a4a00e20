"""``COPY --from=`` of ``/opt/provisioner``: it brings its own Python and C library, and runs in images that have neither."""

from __future__ import annotations

import io
import re
import secrets
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from provisioner import __version__
from tests.support.containers import IMAGE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import Station
    from tests.support.hub_server import HubServer

pytestmark = pytest.mark.docker

PORTABLE: Final = f"{IMAGE}-portable"
BASE: Final = "python:3.13-slim-trixie"
PROGRAM: Final = "/opt/provisioner/bin/provisioner"


def shell_alone() -> bytes:
    """Return a root directory with this machine's shell, the C library that it needs, and directories to write to."""
    shell = Path("/bin/sh").resolve()
    listed = subprocess.run(["ldd", shell], capture_output=True, text=True, check=True).stdout
    libraries = re.findall(r"(/\S+) \(0x", listed)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as root:
        for place, file in [("/bin/sh", shell), *((name, Path(name).resolve()) for name in libraries)]:
            root.add(file, place.lstrip("/"))
        for name in ("tmp", "data"):
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o1777
            root.addfile(directory)
    return archive.getvalue()


@pytest.fixture(scope="module", params=["a shell alone", "another Python"])
def image(request: pytest.FixtureRequest) -> Iterator[str]:
    """Return an image of another base, with the copy."""
    name = f"provisioner-test-{secrets.token_hex(6)}"
    base = BASE
    if request.param == "a shell alone":
        base = f"{name}:base"
        subprocess.run(["docker", "import", "-", base], input=shell_alone(), check=True, capture_output=True)
    dockerfile = f"FROM {base}\nCOPY --from={PORTABLE} /opt/provisioner /opt/provisioner\n"
    build = ["docker", "build", "--quiet", "--tag", name, "-"]
    subprocess.run(build, input=dockerfile.encode(), check=True, capture_output=True)
    yield name
    subprocess.run(["docker", "image", "rm", name, *([base] if base != BASE else [])], check=True, capture_output=True)


def test_it_fills_a_volume(station: Station, hub: HubServer, image: str) -> None:
    """It names its version, fills a volume with verified bytes, and becomes an app that sees nothing of its libraries."""
    engine = station.engine
    shown = engine.run("--version", image=image, entrypoint=[PROGRAM], network_mode="none")
    assert (shown.code, shown.out.split(" ")[0].strip()) == (0, __version__), shown.err
    volume = engine.volume()
    settings = {"DATASETS": "ljspeech", "DATA_DIR": "/data", "HOME": "/tmp", "HF_TOKEN": ""}  # noqa: S108 - in the container
    app = "echo app: ${LD_LIBRARY_PATH-none} ${LD_PRELOAD-none} ${PYTHONHOME-none}"
    ended = engine.run(
        *("provision", "--", "/bin/sh", "-c", app), image=image, entrypoint=[PROGRAM], volume=volume, env=settings, user="0:0"
    )
    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[-1] == "app: none none none"
    assert hub.log.entries(origin="cdn")
    station.check(volume, "ljspeech")
