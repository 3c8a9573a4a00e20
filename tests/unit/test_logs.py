"""The log: the form of its lines, and that none of them contains a secret."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import warnings
from typing import TYPE_CHECKING, Literal, NoReturn

import pytest

from provisioner.redaction import Redactor
from provisioner.reporting.logs import ConsoleHandler, set_up_logging

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
    yield
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
