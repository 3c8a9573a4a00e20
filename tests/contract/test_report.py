"""``report``: what is said of the last run, from the record that it keeps."""

from __future__ import annotations

import json
import re
import signal
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.support.page import Held, offer_four
from tests.support.program import TOKEN

if TYPE_CHECKING:
    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume


class Cells(HTMLParser):
    """Collects the rows of all tables."""

    def __init__(self, page: str) -> None:
        """Read a page."""
        super().__init__()
        self.rows: list[list[str]] = []
        self._in_cell = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        if tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self._in_cell = True
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_cell = self._in_cell and tag not in {"td", "th"}

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.rows[-1][-1] += data


def test_what_a_report_says(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """A report has each data set with its source and time, the requests of the server's log, what was asked again, and errors."""
    offer_four(shelf)
    rule = hub.faults.add("status", path="*small.tar.gz", status=503, first=2, headers={"Retry-After": "0"})
    volume.ready(HF_TOKEN=TOKEN)
    page = volume.ready("report").out
    rows = Cells(page).rows
    big = next(row for row in rows if row[0] == "Big <i>& bold</i>")
    assert big[1:5] == ["Ready", "https://files.example.org/big.bin", "4.00 MB", "1"]
    assert re.fullmatch(r"\d+\.\d s", big[5])
    answered = sum(int(row[2]) for row in rows if row[0].startswith("127.0.0.1:") and row[1].isdigit())
    assert answered == len(hub.log.entries())
    assert rule.fired == 2
    assert [row[1:] for row in rows if row[0].endswith("/small.tar.gz")] == [["http_503", "2"]]
    assert "It was moved or removed: look for its new address." in page
    assert not re.findall(r'(?:src|href)="', page)
    assert TOKEN not in page
    document = volume.ready("report", "--json").json
    # The record is written before the status: the free space may have changed.
    later = {"volume", "updated_at"}
    assert {key: value for key, value in document["status"].items() if key not in later} == {
        key: value for key, value in volume.status.items() if key not in later
    }
    output = volume.root.parent / "report.html"
    volume.ready("report", "--output", str(output))
    assert output.read_text("utf-8") == page.rstrip("\n") + "\n"
    before = volume.snapshot()
    volume.ready("report")
    assert volume.snapshot() == before


def test_a_run_that_was_interrupted(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """A run that a signal ended has a record as well."""
    offer_four(shelf)
    held = Held(volume, hub)
    held.run.send(signal.SIGTERM)
    assert held.run.wait().code == 128 + signal.SIGTERM
    held.gate.release()
    assert "<h1>Interrupted " in volume.ready("report").out
    assert volume.ready("report", "--json").json["received_bytes"] > 2_000_000


def test_no_record(shelf: Shelf, volume: Volume) -> None:
    """Where no run has left a record, that is said; a file that cannot be written is an error of the volume."""
    offer_four(shelf)
    assert volume.run("report").code == 66
    volume.ready(DATASETS="small")
    assert volume.run("report", "--output", str(volume.root.parent / "nowhere" / "x.html")).code == 74


DAMAGED: Final[dict[str, Any]] = {
    "nothing": {},
    "other types": {"status": [], "throughput": 1, "stages": {"a": 1}, "requests": [1], "retries": "x", "received_bytes": "many"},
    "other values": {
        "status": {"state": "<b>", "datasets": {"<i>": {"bytes_total": -1, "source": {"url": "http://["}}}, "started_at": 5},
        "throughput": {"seconds_per_point": 0, "bytes_per_second": [1, None, "x", -1]},
        "stages": [{"dataset": "<i>", "stage": "fetching", "seconds": "long"}],
        "requests": [{"host": "<script>"}],
    },
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_record(shelf: Shelf, volume: Volume, case: str) -> None:
    """A record of any content is shown as far as it can be understood; nothing in it becomes markup."""
    offer_four(shelf)
    volume.private.mkdir(parents=True)
    (volume.private / "last-run.json").write_text(json.dumps(DAMAGED[case]), "utf-8")
    page = volume.ready("report").out
    assert page.startswith("<!doctype html>")
    assert not re.search(r"<script|<b>|<i>", page)
