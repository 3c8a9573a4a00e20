"""The list of guards that `make guards` takes away one at a time."""

from __future__ import annotations

import pytest

from tools.guards import GUARDS, ROOT, Guard


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_its_line_is_there_once(guard: Guard) -> None:
    """Otherwise nothing is taken away, or more than one guard; names and the tests of rows exist."""
    assert (ROOT / guard.file).read_text("utf-8").count(guard.line) == 1
    assert (ROOT / guard.row[0].partition("::")[0]).is_file()
    assert [other.name for other in GUARDS].count(guard.name) == 1
