"""The pages on which one acts, for values as commands write them: complete, and without markup of others."""

from __future__ import annotations

from typing import Any, Final

import pytest

from provisioner.planning.model import Inventory, Request, Rules
from provisioner.planning.plan import make_plan
from provisioner.reporting.plan_report import plan_document
from provisioner.web.acting.forms import choice_page, plan_page, problem_page, sign_in_page, work_page
from provisioner.web.acting.orders import Choices, Order
from provisioner.web.acting.results import shown_result
from provisioner.web.acting.sign_in import Session
from provisioner.web.acting.worker import Job
from tests.unit.test_reports import REAL

SESSION: Final = Session("key", "form-token", 1.0)
ODD: Final = "<script>alert(1)</script>"
ORDER: Final = Order("remove", f"Remove {ODD}", ("remove", "--dry-run"), ("remove",))
ERROR: Final = {"reference": "not-found", "message": ODD, "hint": "Look again."}


def ended(result: dict[str, Any] | None, code: int = 0) -> Job:
    """Return a command that has ended."""
    job = Job(f"Do {ODD}", ("plan",), 0.0, seconds=2.5, code=code, result=result)
    job.lines.append(f"00:00:00 {ODD}")
    return job


def a_plan() -> dict[str, Any]:
    """Return what `plan` writes of the shipped catalog."""
    wanted, rules, inventory = Request("comprehensive"), Rules("commercial"), Inventory(free_bytes=10**12)
    return plan_document(make_plan(wanted, REAL, inventory, rules), inventory, REAL, wanted, rules)


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (a_plan(), ["ljspeech", "To fetch", "Space at the peak", "Free on the volume", "CC-BY"]),
        ({"trees": [{"dataset": ODD, "files": 3, "bytes": 5, "findings": [{"path": ODD, "problem": "size"}]}]}, ["State", "5 B"]),
        (
            {"trees": [{"dataset": "a", "done": "fetched again"}, {"dataset": "b", "error": ERROR}]},
            ["fetched again", "not repaired"],
        ),
        ({"trees": []}, ["There is no tree."]),
        ({"items": [{"dataset": "", "version": "", "why": ODD, "bytes": 7}], "bytes": 7}, ["leftovers", "In all"]),
        ({"items": []}, ["nothing to remove"]),
        ({"state": "ready", "datasets": {"a": {"state": "ready"}, "b": ODD}, "fetched": False}, ["1 ready", "there already"]),
        ({"error": ERROR}, ["Look again."]),
        ({"trees": ODD, "error": ODD}, ["There is no tree."]),
    ],
)
def test_results(result: dict[str, Any], says: list[str]) -> None:
    """What a command wrote is shown as far as it is understood."""
    shown = shown_result(ended(result))
    assert all(words in shown for words in says), shown
    assert ODD not in shown


def test_a_command_that_wrote_nothing() -> None:
    """Its exit code is shown, unless it is 0."""
    assert shown_result(ended(None)) == ""
    assert "exit code 70" in shown_result(ended(None, 70))


def test_pages() -> None:
    """Each page is whole, has the session's token in its forms, and shows names as text."""
    running = Job(f"Do {ODD}", ("provision",), 0.0)
    cancelled = Job("Do it", ("provision",), 0.0, is_cancelled=True)
    document = {"state": "provisioning", "bytes_done": 1, "bytes_total": 2, "datasets": {ODD: {"state": "fetching"}}}
    choices = Choices({"minimal": ODD}, {"a": ODD}, {"b": ODD}, "minimal")
    forms = [
        choice_page(SESSION, choices, ended({"items": []})),
        choice_page(SESSION, Choices({}, {}, {}), None),
        plan_page(SESSION, ORDER, ended({"items": []}), "plan-key", may_confirm=True),
        plan_page(SESSION, ORDER, ended(None, 65), "plan-key", may_confirm=False),
        work_page(SESSION, running, document, 5.0),
        work_page(SESSION, cancelled, None, 5.0),
    ]
    for page in (*forms, sign_in_page(ODD), problem_page(ODD, ODD)):
        assert page.startswith("<!doctype html>")
        assert page.rstrip().endswith("</html>")
        assert ODD not in page
    assert all('value="form-token"' in page for page in forms)
    assert "plan-key" in forms[2]
    assert "plan-key" not in forms[3]
