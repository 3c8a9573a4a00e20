"""The directory for a Docker Space: an image on top of ours, whose app comes up with its data."""

from __future__ import annotations

import http.client
import json
import secrets
import socket
import subprocess
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.test_fill import ALL
from tests.support.containers import IMAGE
from tests.support.program import CHECKOUT, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import Filled
    from tests.support.containers import Engine
    from tests.support.hub_server import HubServer

pytestmark = pytest.mark.docker


@pytest.fixture
def space_image(engine: Engine) -> Iterator[str]:
    """Return the image of `deploy/space`, built on the image under test; nothing is fetched for it."""
    tag = f"provisioner-test-space:{secrets.token_hex(6)}"
    command = ["docker", "build", "--quiet", "--network=none", "--build-arg", f"PROVISIONER_IMAGE={IMAGE}", "--tag", tag]
    built = subprocess.run([*command, str(CHECKOUT / "deploy" / "space")], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    yield tag
    engine.client.images.remove(tag, force=True)


def ask(port: int) -> Any:
    """Ask the app; ``None`` as long as nobody listens, or the progress page does."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
            return None if "X-Provisioner" in answer.headers else json.load(answer)
    except (OSError, http.client.HTTPException):
        return None


def test_space(engine: Engine, space_image: str, filled: Filled, hub: HubServer) -> None:
    """As uid 1000 on its volume, the Space's app answers on the Space's port with the data sets that it was given."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    env = {"SPACE_ID": "ann/app", "SPACE_HOST": "ann-app.example.org", "PORT": str(port)}
    box = engine.start(volume=filled.volume, image=space_image, env=env, user="1000")
    wait_until(lambda: ask(port) is not None, "the app listens")
    assert ask(port) == list(ALL)
    assert not hub.log.entries()
    ended, _ = box.stop()
    assert ended.code == 0
