"""The log: the form of its lines, and that none of them contains a secret."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Literal, NoReturn

import pytest

from provisioner.log_fields import about, carried, describe_run
from provisioner.redaction import Redactor
from provisioner.reporting.logs import LONGEST_LINE, ConsoleHandler, set_up_logging

if TYPE_CHECKING:
    from collections.abc import Iterator

HIDDEN = "not-a-real-token-0123456789"
LOG = logging.getLogger("provisioner.tests")


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Restore the logging of the process after each test."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    names = ["provisioner", "urllib3", "filelock", "huggingface_hub", "datasets", "hf_xet", "py.warnings"]
    levels = {name: logging.getLogger(name).level for name in names}
    # After an earlier test pytest has put `warnings` back, and `logging` does not know: capturing again would do nothing.
    logging.captureWarnings(capture=False)
    describe_run(None, None)
    yield
    describe_run(None, None)
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, old in levels.items():
        logging.getLogger(name).setLevel(old)


def written(log_format: Literal["text", "json"] = "text", *, secrets: tuple[str, ...] = (HIDDEN,)) -> io.StringIO:
    """Set up logging and return the stream that it writes to."""
    stream = io.StringIO()
    set_up_logging(log_format, redactor=Redactor(secrets), stream=stream)
    return stream


def fail(error: Exception, cause: Exception | None = None) -> NoReturn:
    """Raise ``error``."""
    raise error from cause


def test_text() -> None:
    """A line has a time and the message, and the level from WARNING on."""
    stream = written()
    LOG.info("ready with %s", "ljspeech")
    LOG.warning("slow")
    LOG.debug("not seen")
    lines = stream.getvalue().splitlines()
    assert [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in lines] == ["ready with ljspeech", "WARNING slow"]
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in lines)


def test_a_hint_is_a_line_for_people_and_a_field_for_programs() -> None:
    """What a user can do belongs to the record of what failed."""
    stream = written()
    LOG.error("broken", extra={"hint": "Mend it\nsoon."})
    assert [line.partition(" ")[2] for line in stream.getvalue().splitlines()] == ["ERROR broken", "ERROR Mend it\\nsoon."]
    stream = written("json")
    LOG.error("broken", extra={"hint": "Mend it."})
    assert json.loads(stream.getvalue())["hint"] == "Mend it."


def test_json() -> None:
    """A line is one JSON object that includes the caller's fields, which cannot replace ours."""
    stream = written("json")
    LOG.error(
        "two\nlines", extra={"event": "fetch", "dataset": "ljspeech", "bytes": 5, "paths": {"a"}, "ts": "x", "thing": Redactor}
    )
    line = stream.getvalue()
    entry = json.loads(line)
    assert line.count("\n") == 1
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry.pop("ts"))
    assert entry.pop("thing") == str(Redactor)
    assert entry == {
        "level": "error",
        "message": "two\nlines",
        "event": "fetch",
        "dataset": "ljspeech",
        "bytes": 5,
        "paths": ["a"],
    }


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_secret_in_any_part_of_a_record(log_format: Literal["text", "json"]) -> None:
    """Message, arguments, fields, exception, cause, stack and warnings are all redacted."""
    stream = written(log_format)

    cause = ValueError(f"cannot use {HIDDEN}")
    try:
        fail(RuntimeError("https://u:a-password@host.local/?X-Amz-Signature=a-signature"), cause)
    except RuntimeError:
        LOG.exception("with %s", HIDDEN, extra={"url": f"https://a/?x={HIDDEN}", "inner": {HIDDEN: [HIDDEN]}}, stack_info=True)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(f"careful with {HIDDEN}", UserWarning, stacklevel=1)
    logging.getLogger("some.library").warning("its %r", {"authorization": f"Bearer {HIDDEN}"})
    text = stream.getvalue()
    assert "RuntimeError" in text
    assert "careful with" in text
    assert "its" in text
    for secret in (HIDDEN, "a-password", "a-signature"):
        assert secret not in text


def test_exception_is_not_kept_for_other_handlers() -> None:
    """The text of a traceback is not kept in the record, where another handler would find it unredacted."""
    stream = io.StringIO()
    handler = set_up_logging(redactor=Redactor([HIDDEN]), stream=stream)
    try:
        fail(ValueError(HIDDEN))
    except ValueError:
        record = LOG.makeRecord(LOG.name, logging.ERROR, __file__, 1, "x", (), sys.exc_info())
    handler.handle(record)
    assert record.exc_text is None
    assert "ValueError: ***\n" in stream.getvalue()


def test_names_do_not_control_the_terminal() -> None:
    """A name from an archive cannot clear the screen or overwrite other lines."""
    stream = written()
    LOG.info("unpacked %s", "a\x1b[2Jb\rc\x9b1m\td")
    assert stream.getvalue().endswith("unpacked a\\x1b[2Jb\\x0dc\\x9b1m\td\n")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("pay\u202eslx.exe", "pay\\u202eslx.exe"),
        ("a\u2066b\u2069", "a\\u2066b\\u2069"),
        ("a\u200bb\ufeffc\xadd", "a\\u200bb\\ufeffc\\xadd"),
        ("one\u2028two\u0085three", "one\\u2028two\\x85three"),
        ("\u200f\u061c", "\\u200f\\u061c"),
        ("Bjo\u0308rk, \u6771\u4eac, caf\u00e9", "Bjo\u0308rk, \u6771\u4eac, caf\u00e9"),
    ],
)
def test_names_hide_nothing(name: str, shown: str) -> None:
    """What would turn a line around, end it, or not be seen is written as an escape; letters of all scripts stay."""
    stream = written()
    LOG.info("unpacked %s", name)
    assert stream.getvalue().endswith(f"unpacked {shown}\n")


def test_libraries_log_through_our_handler() -> None:
    """Libraries log from WARNING on, some only errors, and their own handlers are ignored."""
    stream = written()
    logging.getLogger("huggingface_hub").addHandler(logging.StreamHandler(sys.stderr))
    assert logging.getLogger("huggingface_hub").handlers == []
    logging.getLogger("huggingface_hub.file_download").warning("heard")
    logging.getLogger("anything").info("not heard")
    logging.getLogger("urllib3.connectionpool").warning("not heard")
    assert [line[9:] for line in stream.getvalue().splitlines()] == ["WARNING heard"]


def test_second_set_up_replaces_the_first() -> None:
    """After a second set-up no line is written twice."""
    first, second = written(), written()
    LOG.info("once")
    assert first.getvalue() == ""
    assert second.getvalue().count("once") == 1
    assert sum(isinstance(one, ConsoleHandler) for one in logging.getLogger().handlers) == 1


def test_level() -> None:
    """Our own records are written from the given level on."""
    stream = io.StringIO()
    set_up_logging(redactor=Redactor(), stream=stream, level=logging.DEBUG)
    LOG.debug("seen")
    logging.getLogger("library").info("not seen")
    assert stream.getvalue().count("seen") == 1


def test_log_goes_to_standard_error_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    """The log leaves standard output to the results of a command."""
    set_up_logging(redactor=Redactor())
    LOG.info("here")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("here\n")


def test_broken_line_does_not_end_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    """A record that cannot be formatted is reported as lost, without its arguments; a closed stream is ignored."""
    stream = io.StringIO()
    handler = set_up_logging(redactor=Redactor(), stream=stream)
    handler.handle(LOG.makeRecord(LOG.name, logging.INFO, __file__, 5, "%d", (HIDDEN,), None))
    assert stream.getvalue() == "a log line of provisioner.tests, line 5, was lost: TypeError\n"
    stream.close()
    handler.handle(LOG.makeRecord(LOG.name, logging.INFO, __file__, 5, "nobody reads this", (), None))
    assert capsys.readouterr().err == ""


def test_lines_go_through_the_progress_bars() -> None:
    """While progress bars are drawn, they write each line, redacted; afterwards the handler does."""
    stream = io.StringIO()
    handler = set_up_logging(redactor=Redactor([HIDDEN]), stream=stream)
    lines: list[str] = []
    handler.write_line = lines.append
    LOG.info("above %s", HIDDEN)
    handler.write_line = handler.write_to_stream
    LOG.info("below")
    assert [line[9:] for line in lines] == ["above ***"]
    assert stream.getvalue().endswith("below\n")


LONG = {
    "ascii": "a" * 50_000,
    "two bytes": "é" * 9_000,
    "beyond the basic plane": "\U0001f3b5" * 9_000,
    "no text at all": "\udcff" * 9_000,
    "line ends": "one\ntwo\r\n" * 2_000,
    "control characters": "\x1b[2J\x07" * 3_000,
    "quotes": '"\\' * 9_000,
    "just too long": "b" * (LONGEST_LINE - 60),
}


@pytest.mark.parametrize("text", LONG.values(), ids=LONG.keys())
def test_no_line_is_too_long(text: str) -> None:
    """One event is one line of 4 KiB at most, whose beginning and end are those of the message, without control characters."""
    message = f"reading {text} failed: the end"
    for form in ("text", "json"):
        stream = written(form)
        # What is not text cannot be part of a test report.
        logging.getLogger().handlers[:] = [each for each in logging.getLogger().handlers if isinstance(each, ConsoleHandler)]
        LOG.warning("%s", message)
        LOG.info("%s", "short", extra={"names": [text] * 3, "dataset": text, "count": 3})
        lines = stream.getvalue().split("\n")
        assert lines.pop() == ""
        assert len(lines) == 2
        for line in lines:
            assert len(line.encode("utf-8", "backslashreplace")) < LONGEST_LINE
            assert not re.search(r"[\x00-\x1f\x7f]", line)
        said = [json.loads(line)["message"] for line in lines] if form == "json" else [line[9:] for line in lines]
        assert said[0].removeprefix("WARNING ").startswith("reading ")
        assert said[0].endswith("failed: the end")
        assert said[1] == "short"


def test_what_a_record_is_about() -> None:
    """JSON lines name the run, its phase, and the data set that a thread works for, also on threads that it starts."""
    stream = written("json")
    LOG.info("before")
    describe_run("20260101T000000Z-abcdef", "minimal")
    with about("ljspeech"):
        LOG.info("here")
        thread = threading.Thread(target=carried(lambda: LOG.info("there")))
        other = threading.Thread(target=LOG.info, args=("elsewhere",))
        for each in (thread, other):
            each.start()
            each.join()
        LOG.info("said", extra={"dataset": "urmp"})
    LOG.info("after")
    entries = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [entry.get("dataset") for entry in entries] == [None, "ljspeech", "ljspeech", None, "urmp", None]
    assert "run_id" not in entries[0]
    assert {(entry["run_id"], entry["phase"]) for entry in entries[1:]} == {("20260101T000000Z-abcdef", "minimal")}
