"""A user of the page of ``serve`` whose browser runs no scripts."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from tests.support.page import PageClient, free_port
from tests.support.program import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.support.page import Answer
    from tests.support.volume import Volume

UI_TOKEN: Final = "open-sesame-4711"
FORM: Final = "application/x-www-form-urlencoded"
Fields = dict[str, "str | Sequence[str]"]


class Person:
    """Signs in, fills in forms, and follows the page until its command has ended."""

    def __init__(self, volume: Volume, *, address: str = "127.0.0.1", **settings: str) -> None:
        """Start ``serve``, and wait until it answers."""
        port = free_port()
        self.page = PageClient(port)
        self.origin = f"http://{address}:{port}"
        self.cookie = ""
        self.run = volume.start("serve", f"--port={port}", **{"UI_TOKEN": UI_TOKEN, **settings})
        self.page.wait_up()

    def post(self, path: str, fields: Mapping[str, str | Sequence[str]], **headers: str | None) -> Answer:
        """Send a form as a browser would; a header that is ``None`` is left out."""
        usual = {"Origin": self.origin, "Content-Type": FORM, "Cookie": self.cookie or None}
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {name: value for name, value in (usual | given).items() if value is not None}
        return self.page.get(path, sent, method="POST", body=urlencode(fields, doseq=True).encode())

    def sign_in(self, token: str = UI_TOKEN, **headers: str | None) -> Answer:
        """Try a token."""
        answer = self.post("/sign-in", {"token": token}, **headers)
        if answer.status == 303:
            self.cookie = str(answer.headers["Set-Cookie"]).partition(";")[0]
        return answer

    def look(self) -> str:
        """Return the page with the forms."""
        answer = self.page.get("/act", {"Cookie": self.cookie})
        assert answer.status == 200, answer.text
        return answer.text

    def hidden(self, name: str) -> str:
        """Return the value of a hidden field."""
        found = re.search(rf'name="{name}" value="([^"]*)"', self.look())
        assert found is not None, self.look()
        return html.unescape(found[1])

    def send(self, path: str, **fields: str | Sequence[str]) -> Answer:
        """Fill in and send a form of the page."""
        return self.post(path, {"form_token": self.hidden("form_token"), **fields})

    def settled(self) -> str:
        """Wait until no command is running, and return the page."""
        wait_until(lambda: 'action="cancel"' not in self.look() and "being cancelled" not in self.look(), "it has ended")
        return self.look()

    def plan(self, **fields: str | Sequence[str]) -> str:
        """Request a command, and return the page with its plan."""
        answer = self.send("/plan", **fields)
        assert (answer.status, answer.headers["Location"]) == (303, "act"), answer.text
        return self.settled()

    def confirm(self) -> str:
        """Confirm the plan that is shown, and return the page after it has been carried out."""
        answer = self.send("/start", plan=self.hidden("plan"))
        assert answer.status == 303, answer.text
        return self.settled()

    def do(self, **fields: str | Sequence[str]) -> str:
        """Request a command, confirm its plan, and return the page after it has ended."""
        self.plan(**fields)
        return self.confirm()
