"""Logs: how a line looks, and that no secret is ever in one."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import warnings
from typing import TYPE_CHECKING, Literal, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.redaction import Redactor, redact_urls
from provisioner.reporting.logs import ConsoleHandler, set_up_logging

if TYPE_CHECKING:
    from collections.abc import Iterator

HIDDEN = "not-a-real-token-0123456789"
LOG = logging.getLogger("provisioner.tests")


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Put the process's logging back as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    names = ["provisioner", "urllib3", "filelock", "huggingface_hub", "datasets", "hf_xet", "py.warnings"]
    levels = {name: logging.getLogger(name).level for name in names}
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, old in levels.items():
        logging.getLogger(name).setLevel(old)


def written(log_format: Literal["text", "json"] = "text", *, secrets: tuple[str, ...] = (HIDDEN,)) -> io.StringIO:
    """Set up logging and give the stream it writes to."""
    stream = io.StringIO()
    set_up_logging(log_format, redactor=Redactor(secrets), stream=stream)
    return stream


def fail(error: Exception, cause: Exception | None = None) -> NoReturn:
    """Raise ``error``."""
    raise error from cause


# --- redaction ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://u:p@host.local/a", "https://***@host.local/a"),
        ("http://token-alone@host.local:8080", "http://***@host.local:8080"),
        ("https://u:p@ss@host.local/a@b", "https://***@host.local/a@b"),
        ("https://host.local/a@v1?recursive=true&limit=5", "https://host.local/a@v1?recursive=true&limit=5"),
        ("GET /a?X-Amz-Signature=abc&X-Amz-Date=1&x=2", "GET /a?X-Amz-Signature=***&X-Amz-Date=***&x=2"),
        (
            "https://h.local/a?Policy=a_b~&Key-Pair-Id=K&Signature=s&Expires=1",
            "https://h.local/a?Policy=***&Key-Pair-Id=***&Signature=***&Expires=***",
        ),
        ("https://h.local/a?sv=2020&sig=a%2Fb%3D&se=x", "https://h.local/a?sv=***&sig=***&se=***"),
        ("'https://h.local/a?token=abc'", "'https://h.local/a?token=***'"),
        ("https://bucket.s3.amazonaws.com/k?anything=abc&b=c", "https://bucket.s3.amazonaws.com/k?***"),
        ("<https://d1.cloudfront.net/k?abc>", "<https://d1.cloudfront.net/k?***>"),
        ("https://cas-bridge.xethub.hf.co/x?q=1", "https://cas-bridge.xethub.hf.co/x?***"),
        ("https://cdn-lfs-us-1.hf.co/x?q=1", "https://cdn-lfs-us-1.hf.co/x?***"),
        ("{'authorization': 'Bearer abc.def'}", "{'authorization': 'Bearer ***'}"),
        ("Authorization: Basic dXNlcjpw", "Authorization: Basic ***"),
        ("curl -H 'Proxy-Authorization: Basic dXNlcjpw'", "curl -H 'Proxy-Authorization: Basic ***'"),
        ("hf_" + "a1B2" * 8, "hf_***"),
        ("hf_hub_download of hf_transfer", "hf_hub_download of hf_transfer"),
        ("PHASE=minimal; sp=4", "PHASE=minimal; sp=4"),
        ("", ""),
    ],
)
def test_forms_of_secrets(text: str, expected: str) -> None:
    """What has the form of a secret is replaced; what helps to find a fault stays."""
    assert redact_urls(text) == expected
    assert redact_urls(expected) == expected


def test_known_secrets() -> None:
    """A secret that was told is replaced as it is, as it looks in a URL, and before another one that begins it."""
    redactor = Redactor(["secret", "secret and more"])
    redactor.add("später")
    assert redactor.redact("a secret, secret and more, secret%20and%20more, secret+and+more") == "a ***, ***, ***, ***"
    assert redactor.redact("/path?x=sp%C3%A4ter") == "/path?x=***"


def test_too_short_to_hide() -> None:
    """Replacing a few characters everywhere would hide every text; nothing at all is hidden for an empty secret."""
    assert Redactor(["", "a"]).redact("abacus") == "abacus"


@given(secret=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=4), before=st.text(), after=st.text())
def test_any_secret_goes(secret: str, before: str, after: str) -> None:
    """Wherever a known secret stands, it is gone afterwards."""
    assert "*" in secret or secret not in Redactor([secret]).redact(f"{before}{secret}{after}").replace("***", "")


@given(st.text())
def test_redaction_bears_any_text(text: str) -> None:
    """Nothing that is logged breaks the redaction."""
    assert isinstance(Redactor([HIDDEN]).redact(text), str)


def test_redaction_is_quick() -> None:
    """A long text that almost matches takes no time: names in archives are written by strangers."""
    for text in ("://" * 50_000, "https://" + "a." * 100_000, "?token" * 50_000, "bearer " * 50_000, "authorization:" * 50_000):
        redact_urls(text)


# --- lines ----------------------------------------------------------------------------------------------------------


def test_text() -> None:
    """A time and the message; the level is named where somebody should look."""
    stream = written()
    LOG.info("ready with %s", "ljspeech")
    LOG.warning("slow")
    LOG.debug("not seen")
    lines = stream.getvalue().splitlines()
    assert [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in lines] == ["ready with ljspeech", "WARNING slow"]
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in lines)


def test_json() -> None:
    """One object a line, with the caller's fields beside ours; ours cannot be replaced."""
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
    """Message, arguments, fields, exception, cause, stack and warnings are all cleaned."""
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
    """The standard formatter keeps the traceback's text in the record, where another handler would find it as it was."""
    stream = io.StringIO()
    handler = set_up_logging(redactor=Redactor([HIDDEN]), stream=stream)
    try:
        fail(ValueError(HIDDEN))
    except ValueError:
        record = LOG.makeRecord(LOG.name, logging.ERROR, __file__, 1, "x", (), sys.exc_info())
    handler.handle(record)
    assert record.exc_text is None
    assert "ValueError: ***\n" in stream.getvalue()


def test_terminal_is_not_moved_by_names() -> None:
    """A name from an archive cannot clear the screen or write over other lines."""
    stream = written()
    LOG.info("unpacked %s", "a\x1b[2Jb\rc\x9b1m\td")
    assert stream.getvalue().endswith("unpacked a\\x1b[2Jb\\x0dc\\x9b1m\td\n")


def test_libraries_are_quiet_and_speak_through_us() -> None:
    """Libraries are heard from WARNING on, not at all where they repeat us, and cannot bring a handler of their own."""
    stream = written()
    logging.getLogger("huggingface_hub").addHandler(logging.StreamHandler(sys.stderr))
    assert logging.getLogger("huggingface_hub").handlers == []
    logging.getLogger("huggingface_hub.file_download").warning("heard")
    logging.getLogger("anything").info("not heard")
    logging.getLogger("urllib3.connectionpool").warning("not heard")
    assert [line[9:] for line in stream.getvalue().splitlines()] == ["WARNING heard"]


def test_second_set_up_replaces_the_first() -> None:
    """No line is written twice."""
    first, second = written(), written()
    LOG.info("once")
    assert first.getvalue() == ""
    assert second.getvalue().count("once") == 1
    assert sum(isinstance(one, ConsoleHandler) for one in logging.getLogger().handlers) == 1


def test_level() -> None:
    """Our own records are written from the level that was asked for."""
    stream = io.StringIO()
    set_up_logging(redactor=Redactor(), stream=stream, level=logging.DEBUG)
    LOG.debug("seen")
    logging.getLogger("library").info("not seen")
    assert stream.getvalue().count("seen") == 1


def test_log_goes_to_standard_error_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output is for what was asked for."""
    set_up_logging(redactor=Redactor())
    LOG.info("here")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("here\n")


def test_broken_line_is_no_end(capsys: pytest.CaptureFixture[str]) -> None:
    """A record that cannot be formatted is said to be lost, without its arguments; a closed stream is nobody's fault."""
    stream = io.StringIO()
    handler = set_up_logging(redactor=Redactor(), stream=stream)
    handler.handle(LOG.makeRecord(LOG.name, logging.INFO, __file__, 5, "%d", (HIDDEN,), None))
    assert stream.getvalue() == "a log line of provisioner.tests, line 5, was lost: TypeError\n"
    stream.close()
    handler.handle(LOG.makeRecord(LOG.name, logging.INFO, __file__, 5, "nobody reads this", (), None))
    assert capsys.readouterr().err == ""


def test_lines_go_through_who_draws() -> None:
    """Whoever draws on the stream gets each line, redacted, and gives the stream back."""
    stream = io.StringIO()
    handler = set_up_logging(redactor=Redactor([HIDDEN]), stream=stream)
    lines: list[str] = []
    handler.write_line = lines.append
    LOG.info("above %s", HIDDEN)
    handler.write_line = handler.write_to_stream
    LOG.info("below")
    assert [line[9:] for line in lines] == ["above ***"]
    assert stream.getvalue().endswith("below\n")
