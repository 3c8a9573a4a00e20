"""What a repair says of one version."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from provisioner.engine.repair_outcome import Outcome
from provisioner.errors import DamagedTreeError

CHECKED: Any = SimpleNamespace(label="alpha 1234", files=3, size=5000, as_record=lambda: {"dataset": "alpha"})


@pytest.mark.parametrize(
    ("outcome", "begin", "repaired"),
    [
        (Outcome(CHECKED), "ok     alpha 1234: 3 files", False),
        (Outcome(CHECKED, "fetched a.bin"), "fixed  alpha 1234: fetched a.bin", True),
        (Outcome(CHECKED, "its receipt was removed", is_withdrawn=True), "GONE   alpha 1234: its receipt was removed", False),
        (Outcome(CHECKED, error=DamagedTreeError("no")), "WRONG  alpha 1234: not repaired: no", False),
    ],
)
def test_what_is_said(outcome: Outcome, begin: str, *, repaired: bool) -> None:
    """A version that was given up is not called repaired."""
    assert outcome.line.startswith(begin)
    assert outcome.as_record()["repaired"] is repaired
