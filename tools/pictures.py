"""Make the pictures in README from real runs: the progress page and a terminal: ``python -m tools.pictures``.

Provisions the miniature collection from a Hub on loopback, at a limited rate, and photographs it in Chromium.
"""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.request import urlopen

from playwright.sync_api import sync_playwright

from tests.support import miniature
from tests.support.hub_model import demo_accounts
from tests.support.hub_server import HubServer
from tests.support.page import free_port

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT: Final = Path(__file__).resolve().parent.parent
PICTURES: Final = ROOT / "docs" / "pictures"
RATE_MB: Final = "0.4"
SHARE: Final = 55
"""Minimum percentage of the run at which the page is photographed."""
PATIENCE: Final = 60.0
TERMINAL: Final = """\
<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: #11151c; }}
pre {{ display: inline-block; margin: 0; padding: 20px 24px; color: #d7dde8; font: 14px/1.45 "DejaVu Sans Mono", monospace;
    width: 100ch; white-space: pre-wrap; }}
b {{ color: #8fd18f; font-weight: normal; }}
</style><pre>{}</pre>"""


def main() -> int:
    """Make all pictures."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pictures-") as name, HubServer() as server, sync_playwright() as playwright:
        scratch = Path(name)
        real = miniature.read_catalog(ROOT / "config" / "catalog.yaml")
        collection = miniature.generate(scratch / "collection", real)
        miniature.write_catalog(miniature.miniature_catalog(real, collection), scratch / "catalog.yaml")
        demo_accounts(server.hub)
        server.load(collection.root)
        settings = {
            "PATH": os.environ["PATH"],
            "HOME": str(scratch),
            "PHASE": "comprehensive",
            "HF_ENDPOINT": server.endpoint,
            "HF_TOKEN": "demo-write-token",
            "URL_REWRITE": server.url_rewrite(),
            "CATALOG_PATH": str(scratch / "catalog.yaml"),
        }
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        photograph_page(browser, {**settings, "DATA_DIR": str(scratch / "watched")})
        photograph_terminal(browser, {**settings, "DATA_DIR": str(scratch / "data"), "PHASE": "minimal"})
        browser.close()
    return 0


def photograph_page(browser: Browser, settings: dict[str, str]) -> None:
    """Photograph the page in the middle of a run."""
    port = free_port()
    address = f"http://127.0.0.1:{port}/"
    environ = {**settings, "PROGRESS_PORT": str(port), "MAX_RATE_MB": RATE_MB}
    with subprocess.Popen([sys.executable, "-m", "provisioner"], env=environ, cwd=ROOT, stderr=subprocess.DEVNULL) as run:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and share_done(address) < SHARE:
            time.sleep(0.2)
        page = browser.new_page(viewport={"width": 1000, "height": 900}, color_scheme="light")
        page.goto(address)
        page.screenshot(path=PICTURES / "page.png")
        page.close()
        run.terminate()


def share_done(address: str) -> int:
    """Return the total percentage that the page shows, or 0 if there is no page yet."""
    try:
        with urlopen(address, timeout=5) as answer:  # noqa: S310 - our own page
            found = re.search(r"<title>(\d+) % ", answer.read().decode())
    except OSError:
        return 0
    return int(found[1]) if found else 0


def photograph_terminal(browser: Browser, settings: dict[str, str]) -> None:
    """Photograph the output of two runs: one that fetches everything, and one that finds everything present."""
    command = [sys.executable, "-m", "provisioner"]
    shown = []
    for _ in range(2):
        done = subprocess.run(command, env=settings, cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603 - ours
        shown += ["<b>$ python -m provisioner --phase minimal</b>", html.escape(done.stderr)]
    page = browser.new_page(viewport={"width": 1000, "height": 400})
    page.set_content(TERMINAL.format("\n".join(shown)))
    page.locator("pre").screenshot(path=PICTURES / "terminal.png")
    page.close()


if __name__ == "__main__":
    sys.exit(main())
