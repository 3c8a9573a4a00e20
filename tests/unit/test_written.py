"""Values as people write them: each setting, in each form, by each way; one meaning is understood, anything else is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from provisioner.settings.setting import PREFIX
from provisioner.settings.settings import ATTRIBUTES, SETTINGS
from provisioner.settings.written import QUOTES
from tests.unit.test_settings import CONFIG, EXAMPLES, HIDDEN, HOME, read, refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provisioner.errors import ConfigurationError
    from provisioner.settings.setting import Setting

BY_NAME: Final = {setting.name: setting for setting in SETTINGS}
FORMS: Final = {
    "double quotes": '"{}"',
    "single quotes": "'{}'",
    "quotes of a word processor": "“{}”",
    "German quotes": "„{}“",
    "blanks within quotes": '" {} "',
    "quotes within quotes": "\"'{}'\"",
    "CRLF": "{}\r\n",
    "quotes before CRLF": '"{}"\r\n',
    "a byte order mark": "\ufeff{}",
    "tabs and no-break spaces": "\t\u00a0{}\u00a0\t",
    "a character without width": "\u200b{}",
}
WRONG_FORMS: Final = {
    "a comment": ("{} # the note", "comment"),
    "a comment behind a tab": ("{}\t#the note", "comment"),
    "a comment behind quotes": ('"{}" # the note', "comment"),
    "a comment alone": ("# the note", "comment"),
    "a quote at the beginning": ('"{}', "quote"),
    "a quote at the end": ("{}'", "quote"),
    "two kinds of quotes": ("\"{}'", "quote"),
    "a quote of a word processor": ("“{}", "quote"),
    "its own name": ("{name}={}", "begins with"),
    "its own name for a shell": ("export {name}={}", "begins with"),
    "another line": ("{}\nOTHER=1", ""),
}
LISTS: Final = {setting.name for setting in SETTINGS if setting.separator}
EMPTY: Final = ('""', "''", "“”", "\ufeff", ' "" ', "\u00a0", "\r\n", '"\t"')


def ways(name: str, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return each way in which a setting may come: how a message names it, and the arguments of the reader."""
    setting = BY_NAME[name]
    yield name, {"environ": {name: text}}
    yield PREFIX + name, {"environ": {PREFIX + name: text}}
    # Behind '--dataset' a word is wrong, and no variable.
    yield "" if name == "DATASETS" else name, {"overrides": {name: text}}
    if setting.secret:
        yield f"{name}_FILE", {"environ": {f"{name}_FILE": '"/t" '}, "files": {Path("/t"): text}}
    if setting.key:
        section, _, key = setting.key.rpartition(".")
        document = {section: {key: text}} if section else {key: text}
        yield f"{CONFIG}:1: {setting.key}", {"files": {CONFIG: json.dumps(document)}}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_what_is_meant_is_understood(form: str) -> None:
    """The value is the same as without the quotes, marks and blanks, whichever way it comes."""
    for name, plain, attribute, expected in EXAMPLES:
        if not QUOTES.isdisjoint(set(plain) & set(form)):
            # The same quote within: which two are a pair cannot be known, and such a value is refused.
            continue
        for label, arguments in ways(name, form.format(plain)):
            assert getattr(read(**arguments), attribute) == expected, (label, plain)


@pytest.mark.parametrize(("form", "reason"), WRONG_FORMS.values(), ids=WRONG_FORMS)
def test_what_is_not_clear_is_refused(form: str, reason: str) -> None:
    """78, with the variable and the reason; a value is never used with its comment, its name or a lone quote."""
    for name, plain, *_ in EXAMPLES:
        for label, arguments in ways(name, form.format(plain, name=name)):
            error = refused(**arguments)
            assert error.exit_code == 78
            assert error.message.startswith(f"{label}: " if label else "")
            # The items of a list may have quotes of their own; the reason is then what is wrong with the item.
            assert reason in error.message or name in LISTS, error.message
            assert HIDDEN not in f"{error.message}{error.hint}"


@pytest.mark.parametrize("text", EMPTY, ids=ascii)
def test_nothing_in_quotes_is_nothing(text: str) -> None:
    """An empty value is not set, also between quotes; it does not exclude the file of a secret, and no file is named by it."""
    everything = {name: text for setting in SETTINGS for name in setting.names}
    assert read(environ=everything) == read()
    files: dict[Path, str | Exception] = {Path("/t"): HIDDEN}
    token = read(environ={"HF_TOKEN": text, "HF_TOKEN_FILE": "/t"}, files=files).hf_token
    assert token is not None
    assert token.reveal() == HIDDEN
    assert read(environ={"HF_TOKEN_FILE": text}) == read()


@pytest.mark.parametrize("text", EMPTY, ids=ascii)
def test_an_empty_file_of_a_secret(text: str) -> None:
    """It says that there is no token: the machine's own login is not used either."""
    login: dict[Path, str | Exception] = {HOME / ".cache" / "huggingface" / "token": HIDDEN}
    assert read(environ={"HF_TOKEN_FILE": "/t"}, files={**login, Path("/t"): text}).hf_token is None


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_login_of_the_hub_client(form: str) -> None:
    """Its file is understood like that of a secret."""
    token = read(files={HOME / ".cache" / "huggingface" / "token": form.format(HIDDEN)}).hf_token
    assert token is not None
    assert token.reveal() == HIDDEN


@pytest.mark.parametrize(
    ("name", "text", "attribute", "expected"),
    [
        ("DATASETS", "\"a\", 'b:test'", "datasets", (("a", None), ("b", "test"))),
        ("ACCEPT_LICENSES", '"urmp","musicnet"', "accept_licenses", ("urmp", "musicnet")),
        ("PRIORITIES", '"a=5","b=1"', "priorities", {"a": 5, "b": 1}),
        (
            "URL_REWRITE",
            '"http://a=http://b";"http://c=http://d"',
            "url_rewrite",
            (("http://a", "http://b"), ("http://c", "http://d")),
        ),
    ],
)
def test_quotes_around_each_item(name: str, text: str, attribute: str, expected: object) -> None:
    """Each item of a list may have quotes of its own."""
    assert getattr(read(environ={name: text}), attribute) == expected


PATHS: Final = [setting for setting in SETTINGS if setting.expands]


@pytest.mark.parametrize("setting", PATHS, ids=lambda setting: setting.name)
@pytest.mark.parametrize("text", ["/my data/é", "/Жук/日本", "/home/o'brien", "/a#b", "/a,b;c", "/x\u200c\u0301"], ids=ascii)
def test_paths_that_are_paths(setting: Setting[Any], text: str) -> None:
    """Blanks, accents, other scripts, and an apostrophe within a word are parts of names."""
    files: dict[Path, str | Exception] = {Path(text): ""} if setting.name == "CONFIG_PATH" else {}
    attribute = next(key for key, value in ATTRIBUTES.items() if value is setting)
    found = getattr(read(environ={setting.name: text}, files=files), attribute)
    assert found == ((Path(text),) if setting.separator else Path(text))


@pytest.mark.parametrize("setting", PATHS, ids=lambda setting: setting.name)
@pytest.mark.parametrize(
    "text",
    [
        '/a"b"/c',
        "/a/'b'/c",
        "/a/“b”",
        "/a/b # c",
        "/a\u00a0b",
        "/a\ufeffb",
        "/a\tb",
        "/a\nb",
        "~bob/data",
        "/a`b`",
        "/" + "é" * 128,
        "/a" * 2048,
    ],
    ids=lambda text: ascii(text[:20]),
)
def test_paths_that_are_none(setting: Setting[Any], text: str) -> None:
    """Quotes, comments, and characters that cannot be told from blanks or from nothing are refused by the variable's name."""
    assert refused(environ={setting.name: text}).message.startswith(f"{setting.name}: ")


@pytest.mark.parametrize("name", [setting.name for setting in PATHS if setting.expands == "home"])
def test_a_variable_that_no_shell_replaced(name: str) -> None:
    """A path with a variable's name in it is refused: no shell has read it."""
    for text in ("$HOME/data", "/a/${USER}/b"):
        assert "names the variable $" in refused(environ={name: text}).message


@pytest.mark.parametrize(
    "text", ["hf_" + "a" * 9000, "hf_a b", "Bearer hf_a", 'hf_"a"', "hf_a\nhf_b", "hf_\u00e9", '{"token": "hf_a"}']
)
def test_what_is_no_token(text: str) -> None:
    """It is refused before it is sent, and not shown."""
    errors: list[ConfigurationError] = [
        refused(environ={"HF_TOKEN": text}),
        refused(environ={"HF_TOKEN_FILE": "/t"}, files={Path("/t"): text}),
    ]
    assert [error.message.split(":")[0] for error in errors] == ["HF_TOKEN", "HF_TOKEN_FILE"]
    assert all(text[:6] not in error.message for error in errors)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "HTTPS_PROXY", "HF_ENDPOINT", "URL_REWRITE"])
@pytest.mark.parametrize("password", ["pa#ss", "pa/ss", "pa?ss", "pa ss", "pa\tss", 'pa"ss', "pass:", "pass]"])
def test_a_password_that_breaks_its_url(name: str, password: str) -> None:
    """Whatever is wrong with a URL, its password is not shown."""
    for scheme in ("http://", "", "ftp://"):
        text = f"{scheme}joe:secret-{password}@host:99999/"
        error = refused(environ={name: text if name != "URL_REWRITE" else f"http://a={text}"})
        assert "secret-" not in f"{error.message}{error.hint}"


def test_a_login_that_was_named() -> None:
    """A login that cannot be read is worth a word only to who named it."""
    path, error = Path("/t"), IsADirectoryError(21, "Is a directory")
    named = read(environ={"HF_TOKEN_PATH": "/t"}, files={path: error})
    assert named.warnings == ("HF_TOKEN_PATH: the Hub client's login in /t is not used: Is a directory.",)
    assert read(environ={"HF_TOKEN_PATH": "/t"}).warnings == ()
    assert read(files={HOME / ".cache" / "huggingface" / "token": error}).warnings == ()


@pytest.mark.parametrize(
    "name", ["\ufeffHF_TOKEN", "export PHASE", " DATA_DIR", "HF_TOKEN_FILE ", '"PHASE', "PROVISIONER_PHASE\r"], ids=ascii
)
def test_a_variable_whose_name_is_not_quite_one(name: str) -> None:
    """A mark of bytes, a blank or 'export' before a name comes from a file that was passed on unread: it is said, not ignored."""
    error = refused(environ={name: "x"})
    assert "is not the name of a variable" in error.message
