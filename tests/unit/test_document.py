"""YAML with positions: every value knows its line, and any text gives a document or one error message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.catalog.document import MAX_DEPTH, MAX_REPEATED, Value, nearest, parse_document, quoted
from provisioner.errors import ConfigurationError


def read(text: str) -> Value:
    """Return the document ``text`` of a file ``f.yaml``."""
    return parse_document(text, "f.yaml")


def refused(text: str) -> ConfigurationError:
    """Return the error about ``text``."""
    with pytest.raises(ConfigurationError) as caught:
        read(text)
    return caught.value


def test_values_know_their_file_line_and_key() -> None:
    """The line of a mapping's value is that of its key; the line of a list's item is its own."""
    root = read("a:\n  b:\n    - x\n    - y: 1\nc: >-\n  folded\n  text\n")
    assert root.key == ""
    inner = root.mapping()["a"].mapping()["b"]
    assert (inner.file, inner.line, inner.key) == ("f.yaml", 2, "a.b")
    first, second = inner.items()
    assert (first.line, first.key, first.text()) == (3, "a.b[0]", "x")
    assert (second.mapping()["y"].line, second.mapping()["y"].key) == (4, "a.b[1].y")
    assert (root.mapping()["c"].line, root.mapping()["c"].text()) == (5, "folded text")


def test_an_empty_document_is_an_empty_mapping() -> None:
    """A file that is empty or has only comments is an empty mapping."""
    assert read("").mapping() == {}
    assert read("# only a comment\n").mapping() == {}


def test_plain_gives_what_a_yaml_reader_gives() -> None:
    """Without positions a document is the data that a YAML reader returns."""
    assert read("a: [1, 2.5, true, null, x]\nb: {c: 'd'}\n").plain() == {
        "a": [1, 2.5, True, None, "x"],
        "b": {"c": "d"},
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-23", "2026-11-23"),  # a date stays what was written
        ("2026-99-99", "2026-99-99"),  # also one that no calendar has
        ("1:30", "1:30"),  # ninety in YAML 1.1
        ("1:30.5", "1:30.5"),
        ("010", "010"),  # eight in YAML 1.1
        ("0x10", "0x10"),
        ("0x" + "f" * 9000, "0x" + "f" * 9000),  # more digits than Python converts
        ("9" * 5000, "9" * 5000),
        ("1_000", 1000),
        ("=", "="),
        ("12e9", "12e9"),
    ],
)
def test_numbers_are_read_as_people_mean_them(text: str, expected: object) -> None:
    """Numbers in YAML 1.1's unusual notations stay text, so that they are refused and not misread."""
    assert read(f"a: {text}").mapping()["a"].data == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2\nb: 3", "f.yaml:2: not valid YAML: expected ',' or ']', but got ':'"),
        ("a: b: c", "f.yaml:1: not valid YAML: mapping values are not allowed here"),
        ("a: 1\n\tb: 2", "f.yaml:2: not valid YAML: found character '\\t' that cannot start any token"),
        ("a: *nowhere", "f.yaml:1: not valid YAML: found undefined alias 'nowhere'"),
        ("a: 1\n---\nb: 2", "f.yaml:2: not valid YAML: but found another document"),
        ("a: 1\nb: \x00", "f.yaml:2: not valid YAML: special characters are not allowed"),
        ("a: 1\na: 2", "f.yaml:2: a: the key 'a' stands here a second time"),
        ("x:\n  ? [b]\n  : 1", "f.yaml:2: x.?: a key must be text"),
        ("a: &a [*a]", "f.yaml:1: a[0]: an alias that contains itself"),
        ("a: !!python/name:os.system x", "f.yaml:1: a: a tag is not allowed here: 'python/name:os.system'"),
        ("a: !!set {x, y}", "f.yaml:1: a: a tag is not allowed here: 'set'"),
        ("a: !secret x", "f.yaml:1: a: a tag is not allowed here: '!secret'"),
        ('a: !!int ""', "f.yaml:1: a: expected a whole number, found text"),
        ("a: !!bool maybe", "f.yaml:1: a: cannot be read: 'maybe'"),
        ('a: !!float ""', "f.yaml:1: a: cannot be read: ''"),
        (r'a: "\UFFFFFFFF"', "f.yaml:1: not valid YAML: "),
        (r'a: "\U00110000"', "f.yaml:1: not valid YAML: "),
        (r'a: "\uD800"', "f.yaml:1: a: an escape that is no character"),
        ("[" * 100_000, "f.yaml:1: nested too deeply"),
        ("%YAML " + "9" * 5000 + ".1\n---\na", "f.yaml:1: not valid YAML: "),
    ],
)
def test_what_is_no_document_is_refused_with_its_line(text: str, message: str) -> None:
    """Whatever is wrong with a document, there is one message, which begins with file and line."""
    with pytest.raises(ConfigurationError) as caught:
        read(text).mapping()["a"].integer()
    assert message in str(caught.value)


def test_deep_nesting_has_a_bound_of_its_own() -> None:
    """A document that nests too deeply is refused, also where the YAML reader accepts it."""
    assert "nested too deeply" in refused("[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2)).message


def test_aliases_cannot_multiply_without_end() -> None:
    """Ten lines of aliases that stand for ten thousand million values are refused quickly."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert f"its aliases repeat more than {MAX_REPEATED:,} values" in refused("\n".join(lines)).message


def test_a_long_document(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written out is as long as its author wants: only what aliases add is bounded."""
    monkeypatch.setattr("provisioner.catalog.document.MAX_REPEATED", 10)
    assert len(parse_document(f"[{', '.join(['x'] * 500)}]", "f").items()) == 500
    assert len(parse_document("[&a [x, y], *a, *a, *a]", "f").items()) == 4
    assert "its aliases repeat more than 10 values" in refused("[&a [x, y], *a, *a, *a, *a]").message


def test_an_alias_may_be_used_twice() -> None:
    """An alias may be used twice; only an alias inside itself is refused."""
    assert read("a: &x {k: 1}\nb: [*x, *x]").plain() == {"a": {"k": 1}, "b": [{"k": 1}, {"k": 1}]}


def test_a_key_that_cannot_be_printed_is_escaped() -> None:
    """A key with control characters is escaped in messages, so that it cannot change a terminal."""
    error = refused(r'"\e[31m": &x [*x]')
    assert error.message.isprintable()


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda value: value.mapping(), "expected a mapping, found text"),
        (lambda value: value.items(), "expected a list, found text"),
        (lambda value: value.boolean(), "expected true or false, found text"),
        (lambda value: value.integer(), "expected a whole number, found text"),
        (lambda value: value.choice(["on", "off"]), "'word' is not one of on, off"),
    ],
)
def test_a_wrong_type_says_what_was_expected_and_found(call: object, problem: str) -> None:
    """A value of the wrong type is refused with the expected type and the found one."""
    with pytest.raises(ConfigurationError) as caught:
        call(read("a: word").mapping()["a"])  # type: ignore[operator]
    assert str(caught.value) == f"f.yaml:1: a: {problem}"


@pytest.mark.parametrize(
    ("written", "kind"),
    [("", "nothing"), ("true", "true or false"), ("{}", "a mapping"), ("[]", "a list"), ("2.5", "the number 2.5")],
)
def test_text_is_not_guessed_from_other_types(written: str, kind: str) -> None:
    """A value that YAML reads as a truth value or number is refused where text is expected, with the remedy."""
    with pytest.raises(ConfigurationError) as caught:
        read(f"a: {written}").mapping()["a"].text()
    assert str(caught.value) == f"f.yaml:1: a: expected text, found {kind}"
    assert caught.value.hint == ("" if kind == "nothing" else "Put it between quotes.")


def test_numbers_have_bounds() -> None:
    """Numbers outside their bounds are refused; the bounds themselves are accepted."""
    value = read("a: 6").mapping()["a"]
    assert value.integer(1, 6) == 6
    with pytest.raises(ConfigurationError, match="expected a whole number from 1 to 5, found 6"):
        value.integer(1, 5)
    with pytest.raises(ConfigurationError, match="expected a whole number 7 or more, found 6"):
        value.integer(7)


def test_unknown_and_missing_keys() -> None:
    """An unknown key is refused with the nearest known one, a missing key with its name."""
    root = read("phases: 1\n")
    with pytest.raises(ConfigurationError) as caught:
        root.mapping(["phase", "datasets"])
    assert str(caught.value) == "f.yaml:1: phases: unknown key 'phases'"
    assert caught.value.hint == "Did you mean 'phase'?"
    with pytest.raises(ConfigurationError, match=r"^f\.yaml:1: the key 'version' is missing$"):
        root.mapping(None, ["version"])


def test_nearest_names_all_when_nothing_is_near() -> None:
    """If no known name is near, all of them are listed."""
    assert nearest("nsinth", ["nsynth", "urmp"]) == "Did you mean 'nsynth'?"
    assert nearest("HF_TOKEM", ["HF_TOKEN"]) == "Did you mean 'HF_TOKEN'?"
    assert nearest("zzz", ["b", "a"]) == "Known: a, b."
    assert nearest("zzz", []) == ""


def test_quoted_text_is_short() -> None:
    """A message repeats at most the beginning of a wrong value."""
    assert quoted("abc") == "'abc'"
    assert len(quoted("x" * 1000)) < 70


@given(st.text(alphabet=st.characters(codec="utf-8") | st.sampled_from("[]{}:-,&*!|>'\"%@`#? \n\t\\uU0x")))
def test_any_text_gives_a_document_or_one_complaint(text: str) -> None:
    """Any text gives a document or one error, never another exception."""
    complaint = "f.yaml:"
    try:
        read(text).plain()
    except ConfigurationError as error:
        complaint = error.message
    assert complaint.encode().startswith(b"f.yaml:")
