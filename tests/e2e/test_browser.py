"""The pages in Chromium: while a real run works, with a script and without one, into the app that takes its place; and acting."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.support.acting import UI_TOKEN
from tests.support.browser import NEEDS_CHROMIUM, check_accessible
from tests.support.hub_server import HubServer
from tests.support.page import Held, PageClient, free_port, offer_four
from tests.support.program import TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from tests.support.shelf import Shelf
    from tests.support.volume import Volume

pytestmark = NEEDS_CHROMIUM


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
    page.on("console", lambda message: errors.append(message.text) if message.type in {"error", "warning"} else None)
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


def test_axe_core_finds_what_is_wrong(browser: Browser) -> None:
    """The check of the pages can fail: text that nobody can read is found."""
    page = browser.new_page()
    page.set_content('<html lang="en"><title>Pale</title><main><h1>Pale</h1><p style="color:#ccc">Pale</p></main></html>')
    with pytest.raises(AssertionError, match="color-contrast"):
        check_accessible(page)
    page.close()


def test_assistive_technology_is_served(browser: Browser, held: Held) -> None:
    """axe-core finds nothing on the page of a run, with its details closed and open."""
    page = opened(browser, held, [])
    expect(page.locator("#set-gone .hint")).to_be_visible()
    check_accessible(page)
    for summary in page.locator("summary").all():
        summary.click()
    check_accessible(page)
    page.context.close()


def test_acting_in_the_browser(browser: Browser, shelf: Shelf, volume: Volume) -> None:
    """By keyboard and mouse: refused without the token, signed in, a data set planned, confirmed, provisioned, and removed."""
    offer_four(shelf)
    port = free_port()
    run = volume.start("serve", f"--port={port}", UI_TOKEN=UI_TOKEN)
    PageClient(port).wait_up()
    errors: list[str] = []
    page = browser.new_context(viewport={"width": 375, "height": 800}).new_page()
    page.on("console", lambda message: errors.append(message.text) if message.type in {"error", "warning"} else None)
    page.goto(f"http://127.0.0.1:{port}/")
    page.get_by_role("link", name="Act").click()
    check_accessible(page)

    page.get_by_label("Token").fill("a guess")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("not the token")
    page.get_by_label("Token").fill(UI_TOKEN)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("It holds no data set yet.")).to_be_visible()
    check_accessible(page)

    page.get_by_role("radio", name="Data sets").check()
    page.get_by_role("checkbox", name="small").check()
    page.get_by_role("button", name="Show the plan").click()
    expect(page.get_by_role("heading", name="Provision small?")).to_be_visible(timeout=30_000)
    check_accessible(page)
    assert volume.published == []
    page.get_by_role("button", name="Provision now").click()
    expect(page.get_by_text("The volume is ready")).to_be_visible(timeout=30_000)
    assert volume.published == ["small"]
    check_accessible(page)

    page.get_by_role("checkbox", name="small").last.check()
    page.get_by_role("button", name="Remove …").click()
    expect(page.get_by_role("heading", name="Remove small?")).to_be_visible(timeout=30_000)
    page.get_by_role("button", name="Remove now").click()
    expect(page.get_by_text("It holds no data set yet.")).to_be_visible(timeout=30_000)
    assert volume.published == []
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    assert [text for text in errors if "403" not in text] == []
    page.context.close()
    run.end()


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
