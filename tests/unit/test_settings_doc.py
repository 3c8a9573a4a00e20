"""The reference of settings and exit codes."""

from __future__ import annotations

import pytest

from provisioner.errors import ConfigurationError
from provisioner.settings.settings import SETTINGS
from tools.settings_doc import PATH, with_tables


def test_reference_has_every_setting_and_exit_code() -> None:
    """Each declared setting and exit code is a row, and the document is current."""
    text = PATH.read_text(encoding="utf-8")
    assert with_tables(text) == text
    for setting in SETTINGS:
        assert f"\n| `{setting.name}`" in text
    assert f"\n| {ConfigurationError.exit_code} | {ConfigurationError.meaning} |" in text


@pytest.mark.parametrize("marker", ["<!-- settings:begin -->", "<!-- settings:end -->", "<!-- exit-codes:end -->"])
def test_a_lost_marker_is_an_error(marker: str) -> None:
    """A table whose marker is missing is reported, and not silently left as it is."""
    text = PATH.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="must each be in the document once"):
        with_tables(text.replace(marker, ""))


def test_old_rows_are_replaced() -> None:
    """The text between the markers is replaced by the current table; the text around it stays."""
    text = PATH.read_text(encoding="utf-8")
    begin = text.index("<!-- exit-codes:begin -->") + len("<!-- exit-codes:begin -->")
    outdated = text[:begin] + "\n| 99 | outdated |" + text[text.index("\n<!-- exit-codes:end -->") :]
    assert with_tables(outdated) == text
