"""Parts by rule: what each takes, whatever the order, and how rules are written and refused."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.catalog.parts import Example, PartRule, choose
from provisioner.catalog.references import parse_reference
from provisioner.catalog.written_parts import parse_query, split_outside_quotes
from provisioner.catalog.written_reference import WrittenReference
from provisioner.errors import ConfigurationError, PartError

if TYPE_CHECKING:
    import random

EXAMPLES = [
    Example(f"{split}/{number:03}.wav", 10 + number, {"split": split, "n": number}) for split in "ab" for number in range(30)
]
SEED_1 = ["a/000.wav", "b/001.wav", "b/018.wav", "b/019.wav"]
RULES = st.builds(
    PartRule,
    include=st.sampled_from([(), ("a/*",), ("*1.wav", "b")]),
    exclude=st.sampled_from([(), ("*2.wav",), ("a",)]),
    where=st.sampled_from(["", "n < 30", "split == 'a' or n == 3"]),
    limit=st.one_of(st.none(), st.integers(1, 80)),
    bytes=st.one_of(st.none(), st.integers(1, 9000)),
    seed=st.integers(0, 5),
)


def _query(text: str) -> PartRule:
    return parse_query(text, WrittenReference(text, repr(text), 0, ""))


@settings(max_examples=40)
@given(RULES, st.randoms(use_true_random=False))
def test_order(rule: PartRule, shuffle: random.Random) -> None:
    """What a rule takes does not depend on the order in which examples are listed; nothing is both taken and left out."""
    other = [*EXAMPLES]
    shuffle.shuffle(other)
    chosen = choose(rule, EXAMPLES)
    assert choose(rule, other) == chosen
    assert chosen.taken | chosen.left_out == {example.path for example in EXAMPLES}
    assert not chosen.taken & chosen.left_out
    if rule.limit is not None:
        assert len(chosen.taken) <= rule.limit
    if rule.bytes is not None:
        assert sum(example.size for example in EXAMPLES if example.path in chosen.taken) <= rule.bytes


@settings(max_examples=40)
@given(RULES, st.integers(1, 50), st.integers(1, 3000))
def test_more_takes_the_same_and_more(rule: PartRule, examples: int, count: int) -> None:
    """A higher limit, or more bytes, take the same examples and more."""
    fewer = replace(rule, limit=rule.limit or 20, bytes=rule.bytes or 900)
    more = replace(fewer, limit=(fewer.limit or 0) + examples, bytes=(fewer.bytes or 0) + count)
    assert (
        choose(fewer, EXAMPLES).taken
        <= choose(more, EXAMPLES).taken
        <= choose(replace(rule, limit=None, bytes=None), EXAMPLES).taken
    )


@given(st.sampled_from(["a/*", "*1.wav", "b", "a/", "*", "a/00[1-3].wav"]))
def test_include_and_exclude_are_complements(glob: str) -> None:
    """What a glob includes and what it excludes are together all, and have nothing in common."""
    inside = {example.path for example in EXAMPLES if PartRule(include=(glob,)).matches_path(example.path)}
    outside = {example.path for example in EXAMPLES if PartRule(exclude=(glob,)).matches_path(example.path)}
    assert inside | outside == {example.path for example in EXAMPLES}
    assert not inside & outside
    assert inside


def test_which_examples_a_seed_takes() -> None:
    """A seed takes these examples on every machine, and another seed others: a volume that is made again has the same."""
    assert sorted(choose(PartRule(limit=4, seed=1), EXAMPLES).taken) == SEED_1
    assert choose(PartRule(limit=4, seed=2), EXAMPLES).taken != frozenset(SEED_1)


def test_splits_stay_balanced() -> None:
    """Of two splits of one size a limit takes about as many of each."""
    taken = choose(PartRule(limit=30), EXAMPLES).taken
    assert 10 <= sum(path.startswith("a") for path in taken) <= 20


def test_one_row_is_enough() -> None:
    """A file with several rows is taken if one of them fulfils the condition."""
    rows = [Example("a.wav", 1, {"n": 1}), Example("a.wav", 1, {"n": 2}), Example("b.wav", 1, {"n": 2})]
    assert choose(PartRule(where="n == 1"), rows).taken == {"a.wav"}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("limit=1000&seed=7", {"limit": 1000, "seed": 7}),
        ("limit=10", {"limit": 10, "seed": 0}),
        ("bytes=5000", {"bytes": 5000, "seed": 0}),
        ("where=instrument_family=='bass'", {"where": "instrument_family == 'bass'"}),
        ("where=license in ('CC-BY','CC0')&limit=5", {"where": "license in ('CC-BY', 'CC0')", "limit": 5, "seed": 0}),
        ("where=license%20in%20('CC-BY'%2C'CC0')", {"where": "license in ('CC-BY', 'CC0')"}),
        ("where=a=='x%26y'", {"where": "a == 'x&y'"}),
        ("where=a=='x&y'&limit=1", {"where": "a == 'x&y'", "limit": 1, "seed": 0}),
        ("include=b/*&include=a/*&exclude=*.txt", {"include": ["a/*", "b/*"], "exclude": ["*.txt"]}),
    ],
)
def test_query(query: str, expected: dict[str, Any]) -> None:
    """A rule behind ``?`` is understood, percent-encoded or not; what means the same has one identity."""
    assert _query(query).identity == expected


@pytest.mark.parametrize(
    ("query", "problem", "hint"),
    [
        ("", "no rule behind the '?'", "?limit=1000"),
        ("limit", "'limit' behind the '?'", "KEY=VALUE"),
        ("limit=", "'limit=' behind the '?'", ""),
        ("limt=5", "'limt' is no rule", "'limit'"),
        ("limit=5&limit=6", "'limit' stands there twice", ""),
        ("limit=5&commercial=allowed", "'commercial' is said of a part in a catalog alone", "Leave it out"),
        ("limit=many", "limit: expected a whole number, found text", ""),
        ("limit=0", "limit: expected a whole number from 1", ""),
        ("limit=-1", "limit: expected a whole number", ""),
        ("bytes=1e9", "bytes: expected a whole number", ""),
        ("seed=1", "the part has no rule", "limit"),
        ("where=a=5", "where: '=' at character 2", "Write ==."),
        ("where=", "'where=' behind", ""),
        ("include=/abs", "include: '/abs' is not a glob", ""),
        ("exclude=../x", "exclude: '../x' is not a glob", ""),
    ],
)
def test_malformed_query(query: str, problem: str, hint: str) -> None:
    """A rule behind ``?`` that is malformed is refused, with the key and what to write."""
    with pytest.raises(ConfigurationError) as caught:
        _query(query)
    assert problem in caught.value.message
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("a,b", ["a", "b"]),
        ("a?w=x in ('p','q'),b", ["a?w=x in ('p','q')", "b"]),
        ("a?w=x=='p,q',b", ["a?w=x=='p,q'", "b"]),
        ('a?w="(",b', ['a?w="("', "b"]),
        ("a',b", ["a'", "b"]),
        ("a),b", ["a)", "b"]),
        ("", [""]),
    ],
)
def test_split_outside_quotes(text: str, pieces: list[str]) -> None:
    """A comma between quotes or parentheses separates nothing."""
    assert split_outside_quotes(text, ",") == pieces


@pytest.mark.parametrize("text", ["seed=3", "limit=0", "limit=1000000000000000000000", "where=", "bytes=x"])
def test_a_rule_in_a_reference_has_no_line(text: str) -> None:
    """A message about what stands in a reference names the reference, and no line of a file."""
    with pytest.raises(ConfigurationError) as caught:
        _query(text)
    assert ":0" not in caught.value.message
    assert text in caught.value.message


_WHERES: Final = ("", "a == 1", "a == 1 and b == 1", "b == 1 and a == 1", "a == 1 or b == 1", "not a == 1", "a in (1, 2)")
_RULES: Final = st.builds(
    PartRule,
    include=st.sampled_from([(), ("d0/*",), ("d1/*",), ("d0/*", "d1/*")]),
    exclude=st.sampled_from([(), ("*.x",), ("d1/*",), ("*.x", "d1/*")]),
    where=st.sampled_from(_WHERES),
    limit=st.sampled_from([None, 1, 2, 5]),
    bytes=st.sampled_from([None, 3, 8]),
    seed=st.sampled_from([0, 1]),
)
_EXAMPLES: Final = [
    Example(f"d{number % 3}/{number}.{'x' if number % 2 else 'y'}", 1 + number % 3, {"a": number % 4, "b": number % 5 // 2})
    for number in range(24)
]


@given(part=_RULES, rule=_RULES)
@settings(max_examples=400)
def test_what_is_certainly_within_a_part(part: PartRule, rule: PartRule) -> None:
    """A rule that is within a part takes no example beside it, and one that narrows a part keeps its mark only then."""
    allowed = replace(part, commercial="allowed", text=":free")
    if allowed.covers(rule):
        assert choose(rule, _EXAMPLES).taken <= choose(allowed, _EXAMPLES).taken
    assert part.covers(part)
    try:
        narrowed = allowed.narrowed(rule)
    except PartError:
        assert part.include
        assert rule.include
        return
    if narrowed.commercial == "allowed":
        assert choose(narrowed, _EXAMPLES).taken <= choose(allowed, _EXAMPLES).taken


def test_narrowed() -> None:
    """A part can be narrowed further: both conditions hold, and the further limit counts."""
    part = PartRule(exclude=("x",), where="a == 1 or a == 2", limit=50, seed=3).named("tiny")
    both = part.narrowed(_query("where=b==1&limit=5"))
    assert both.identity == {"exclude": ["x"], "where": "(a == 1 or a == 2) and b == 1", "limit": 5, "seed": 0}
    assert both.text == ":tiny?limit=5&where=b==1"


@pytest.mark.parametrize(
    ("query", "problem"), [("include=b/*", "both choose files by include"), (f"where=a=='{'x' * 3980}'", "the condition has 4")]
)
def test_a_part_cannot_be_widened(query: str, problem: str) -> None:
    """A part that includes files is not asked for other ones: a rule behind it takes some of it, and nothing else."""
    with pytest.raises(PartError) as caught:
        PartRule(include=("a/*",), where="b == 1 or b == 2").named("free").narrowed(_query(query), of="songs")
    assert problem in caught.value.message
    assert "songs: the part ':free' narrowed by" in caught.value.message


@pytest.mark.parametrize(
    ("reference", "usual"),
    [
        ("hf://datasets/o/n#limit=5", "hf://datasets/o/n#limit=5&seed=0"),
        ("hf://datasets/o/n:train#limit=5&seed=2", "hf://datasets/o/n:train#limit=5&seed=2"),
        ("hf://datasets/o/n#exclude=*.txt&bytes=7", "hf://datasets/o/n#exclude=*.txt&bytes=7&seed=0"),
        (
            "https://huggingface.co/datasets/o/n#where=l in ('a','b%26c')",
            "hf://datasets/o/n#where=l%20in%20('a',%20'b%26c')",
        ),
        ("hf://buckets/o/n#limit=5&name=x", "hf://buckets/o/n#limit=5&seed=0&name=x"),
        ("https://a.org/x.zip#limit=5&into=d", "https://a.org/x.zip#into=d&limit=5&seed=0"),
    ],
)
def test_references(reference: str, usual: str) -> None:
    """A reference has its rule among its options, and its usual form, which receipts keep, means the same."""
    found = parse_reference(reference)
    assert found.text == usual
    assert found.rule is not None
    assert parse_reference(usual) == found


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("limit=x", "limit: expected a whole number"),
        (f"limit={10**21}", "limit: expected a whole number from 1 to 1000000000000, found 1000000000000000000000"),
        ("seed=3", "the part has no rule"),
        ("where=a = 1", "where: '=' at character 3"),
        ("limit=1&limit=2", "stands there twice"),
    ],
)
def test_malformed_options(options: str, problem: str) -> None:
    """A rule behind ``#`` that is malformed is refused, with the reference and the key."""
    with pytest.raises(ConfigurationError) as caught:
        parse_reference(f"hf://datasets/o/n#{options}")
    assert problem in caught.value.message
    assert "hf://datasets/o/n" in caught.value.message
