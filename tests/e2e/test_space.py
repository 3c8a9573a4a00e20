"""The directory for a Docker Space: an image on top of ours, whose app comes up with its data."""

from __future__ import annotations

import http.client
import json
import secrets
import subprocess
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tests.e2e.test_fill import ALL
from tests.support.browser import check_accessible
from tests.support.containers import IMAGE
from tests.support.page import PageClient, free_port
from tests.support.program import CHECKOUT, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

    from tests.e2e.conftest import Filled, Station
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


def test_the_space_in_a_browser(browser: Browser, engine: Engine, space_image: str, station: Station, hub: HubServer) -> None:
    """Who opens the Space while its volume is filled sees the page, with its bars; then the same address is the app."""
    gate = hub.faults.gate(station.gate(hub, "LJSpeech-1.1.tar.bz2"))
    port = free_port()
    env = {"SPACE_ID": "ann/app", "SPACE_HOST": "ann-app.example.org", "PORT": str(port)}
    engine.start(volume=engine.volume(), image=space_image, env=env, user="1000")
    assert gate.wait_reached()
    PageClient(port).wait_up()
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{port}/")
    expect(page.get_by_role("progressbar", name="Progress of the whole run")).to_be_visible()
    expect(page.locator("#set-ljspeech")).to_contain_text("Fetching")
    check_accessible(page)
    gate.release()
    expect(page.locator("body")).to_contain_text('"ljspeech"', timeout=60_000)
    assert json.loads(page.inner_text("body")) == list(ALL)
    page.close()


def test_the_page_of_a_published_port(browser: Browser, engine: Engine, filled: Filled) -> None:
    """``docker run -p 7860 IMAGE serve``: the page is there for a browser outside the container's network."""
    box = engine.start("serve", "--port=7860", volume=filled.volume, publish=7860)
    box.wait_line("The page of /data is on port 7860")
    box.docker.reload()
    port = int(box.docker.ports["7860/tcp"][0]["HostPort"])
    PageClient(port).wait_up()
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{port}/")
    for dataset in ALL:
        expect(page.locator(f"#set-{dataset}")).to_contain_text("Ready")
    check_accessible(page)
    page.close()


def test_space(engine: Engine, space_image: str, filled: Filled, hub: HubServer) -> None:
    """As uid 1000 on its volume, the Space's app answers on the Space's port with the data sets that it was given."""
    port = free_port()
    env = {"SPACE_ID": "ann/app", "SPACE_HOST": "ann-app.example.org", "PORT": str(port)}
    box = engine.start(volume=filled.volume, image=space_image, env=env, user="1000")
    wait_until(lambda: ask(port) is not None, "the app listens")
    assert ask(port) == list(ALL)
    assert not hub.log.entries()
    ended, _ = box.stop()
    assert ended.code == 0
