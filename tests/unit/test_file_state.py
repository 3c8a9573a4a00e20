"""Two states of a file, as its server stated them: the same, changed, or not known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provisioner.catalog.file_state import FileState

FULL = FileState("https://x/y", '"1"', "Tue, 14 Nov 2023 22:13:20 GMT", 7)
PLAIN = FileState("https://x/y")


@pytest.mark.parametrize(
    ("then", "now", "result"),
    [
        (FULL, FULL, "same"),
        (FULL, replace(FULL, etag='W/"1"'), "same"),
        (FULL, replace(FULL, modified="another day"), "same"),  # the ETag decides
        (FULL, replace(FULL, size=None), "same"),
        (FULL, replace(FULL, etag='"2"'), "changed"),
        (FULL, replace(FULL, size=8), "changed"),  # whatever the ETag says
        (FULL, replace(FULL, etag=""), "same"),  # by the date
        (FULL, replace(FULL, etag="", modified="another day"), "changed"),
        (replace(FULL, etag=""), FULL, "same"),
        (FULL, replace(PLAIN, size=7), "unknown"),
        (replace(PLAIN, size=7), FULL, "unknown"),
        (replace(FULL, modified=""), replace(FULL, etag=""), "unknown"),
        (PLAIN, PLAIN, "unknown"),
    ],
)
def test_compare(then: FileState, now: FileState, result: str) -> None:
    """The size first, then the ETag, then the date; where nothing can be compared, that is said."""
    found, why = then.compare(now)
    assert (found, bool(why)) == (result, True)


def test_text() -> None:
    """A state is shown by what is known of it."""
    assert FULL.text == 'ETag "1", Last-Modified Tue, 14 Nov 2023 22:13:20 GMT, 7 bytes'
    assert PLAIN.text == "nothing"
