"""The progress page in Chromium, while a real run works: with a script, without one, and into the app that takes its place."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Final

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.support.hub_server import HubServer
from tests.support.page import Held, free_port, offer_four
from tests.support.program import TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from tests.support.shelf import Shelf
    from tests.support.volume import Volume

CHROMIUM: Final = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; .ci/machine installs it")
ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return a browser without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def hub() -> Iterator[HubServer]:
    """Return a server of its own: the page is watched while requests are held."""
    with HubServer() as server:
        server.hub.add_token(TOKEN, "ann")
        yield server


@pytest.fixture
def held(shelf: Shelf, volume: Volume, hub: HubServer, tmp_path: Path) -> Iterator[Held]:
    """Return a run that waits in the middle of a file, and becomes a web server on the page's port."""
    offer_four(shelf)
    site = tmp_path / "site"
    site.mkdir()
    (site / "index.html").write_text("<!doctype html><title>The app</title><h1>The app is here</h1>", "utf-8")
    port = str(free_port())
    app = (sys.executable, "-m", "http.server", port, "--bind", "127.0.0.1", "--directory", str(site))
    held = Held(volume, hub, "--", *app, PROGRESS_PORT=port)
    yield held
    held.gate.release()


def opened(browser: Browser, held: Held, errors: list[str], *, script: bool = True) -> Page:
    """Return the page in a tab of its own; what the browser complains of is added to ``errors``."""
    page = browser.new_context(java_script_enabled=script, viewport={"width": 375, "height": 800}).new_page()
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"http://127.0.0.1:{held.page.port}/")
    return page


def test_the_page_follows_the_run_into_the_app(browser: Browser, held: Held) -> None:
    """Bars move, details that are open and the focus stay, a failure shows what helps; then the app's own page is there."""
    errors: list[str] = []
    page = opened(browser, held, errors)
    big = page.locator("#set-big")
    expect(big.locator("progress")).to_have_attribute("value", "50.0")
    expect(page.locator("#set-gone .hint")).to_have_text("It was moved or removed: look for its new address.")
    expect(page.get_by_role("progressbar", name="Progress of the whole run")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    big.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(big.locator("details")).to_have_attribute("open", "")
    # A rate is measured after a second: what follows came by an event.
    expect(big.locator(".line")).to_contain_text("/s")
    expect(big.locator("details")).to_have_attribute("open", "")
    expect(big.locator("summary")).to_be_focused()
    assert errors == []
    held.gate.release()
    expect(page.get_by_role("heading", name="The app is here")).to_be_visible(timeout=30_000)
    page.context.close()
    held.run.end()


def test_the_page_without_a_script(browser: Browser, held: Held) -> None:
    """Without a script the page is complete, and reloads itself: it shows what has changed."""
    errors: list[str] = []
    page = opened(browser, held, errors, script=False)
    line = page.locator("#set-big .line")
    expect(page.locator("#set-big progress")).to_have_attribute("value", "50.0")
    expect(line).to_contain_text("2.00 of 4.00 MB")
    with page.expect_navigation(timeout=30_000):
        pass  # nobody but the page itself asks for it
    # A rate is measured after a second, and the page reloads after five: the first page may have none, the second has one.
    expect(line).to_contain_text("/s")
    assert errors == []
    page.context.close()
