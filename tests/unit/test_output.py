"""What the process prints when it ends: with ``--json``, exactly one document for any outcome."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from provisioner.cli.output import Output
from provisioner.errors import NotFoundError
from provisioner.redaction import Redactor

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("error", "reference", "code"),
    [(NotFoundError("no secret-word here"), "not-found", 66), (ValueError("no secret-word here"), "internal-error", 70)],
    ids=["of ours", "a bug"],
)
@pytest.mark.parametrize("as_json", [True, False])
def test_how_it_ended(  # noqa: PLR0917 - fixtures and a table
    error: Exception, reference: str, code: int, as_json: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Our own errors and bugs each produce one document on standard output and one record, without secrets."""
    output = Output(Redactor(["secret-word"]), json=as_json)
    output.termination_log = tmp_path / "log"
    found = output.report(error) if isinstance(error, NotFoundError) else output.report_bug(error)
    assert found == code
    printed = capsys.readouterr().out
    record = json.loads((tmp_path / "log").read_text("utf-8"))
    assert (record["reference"], record["message"]) == (reference, "no *** here")
    if as_json:
        assert json.loads(printed) == {"error": record, "exit_code": code}
    else:
        assert printed == ""
