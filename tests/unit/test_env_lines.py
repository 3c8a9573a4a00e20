"""The ``.env`` file that ``init`` reads and writes: its other lines stay byte for byte, whatever they are."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.commands.env_file import merged, read_env_file, with_earlier_answers
from provisioner.commands.env_lines import entries_of
from provisioner.errors import ConfigurationError
from provisioner.redaction import Redactor
from tests.unit.test_settings import HIDDEN, read

ANSWERS: Final = {"HF_TOKEN": HIDDEN, "DATASET_REPO": "ann/logs", "DATASET_REPO_PRIVATE": "true", "PHASE": "balanced"}
ADDED: Final = f"DATASET_REPO=ann/logs\nDATASET_REPO_PRIVATE=true\nHF_TOKEN={HIDDEN}\nPHASE=balanced\n".encode()

KEPT: Final = [
    b"# a comment\n",
    b"#PHASE=comprehensive\n",
    b"  # PHASE=comprehensive\n",
    "# Gerät, naïve, 日本\n".encode(),
    "# Gerät\n".encode("latin-1"),
    b"\n \t\n\r\n",
    b"MAX_STORAGE_GB=5\r\n",
    b"MY_PHASE=other\nPHASES=x\nPHASE_2=x\n",
    b"QUOTED=\"a 'b' # c\"\n",
    b'CERT="-----BEGIN-----\nPHASE=not mine\nHF_TOKEN=not mine\n-----END-----"\n',
    b"SINGLE='one\nPHASE=two\nthree'\n",
    b'ESCAPED="a\\"\nPHASE=still inside\n"\n',
    b"FORGOTTEN=\"open\nOTHER='x\n",
    b"no assignment at all\n=\n",
    b"vertical\x0btab\x0cform\x85feed\xe2\x80\xa8line\n",
    b"NUL is none\xff\xfe\n",
    b"export OTHER=1\n",
    b"YAML: value\n",
    b"HUGGING_FACE_HUB_TOKEN=other\nLEMM_DATASET_PHASE=older\n",
    b"LICENSE_POLICY=any\n",
    b"PROVISIONER_CONNECTIONS=3\n",
]
REPLACED: Final = [
    b"PHASE=other\n",
    b"PHASE=other\r\n",
    b"export PHASE='other'\n",
    b'  PHASE = "other" # the note\n',
    b"PHASE: other\n",
    b"PHASE=\n",
    b"PHASE=a\nPHASE=b\n",
    b"PROVISIONER_PHASE=other\n",
    b'HF_TOKEN="\nhf_x\n"\n',
    b'HF_TOKEN="hf_x\n',
    b"DATASET_REPO_ORG=lab\n",
    b"ACCEPT_LICENSES=odd\n",
]


@pytest.mark.parametrize("line", KEPT, ids=ascii)
@pytest.mark.parametrize("around", [b"", b"A=1\n"], ids=["alone", "between"])
def test_lines_that_stay(line: bytes, around: bytes) -> None:
    """Comments, other variables, values of many lines, other encodings and ends of lines: not a byte changes."""
    content = around + line + around
    assert merged(content, ANSWERS) == content + ADDED
    assert b"".join(entry.content for entry in entries_of(content)) == content


@pytest.mark.parametrize("line", REPLACED, ids=ascii)
def test_lines_that_are_replaced(line: bytes) -> None:
    """Earlier answers go, in every form in which they are read, and take no other line with them."""
    assert merged(b"A=1\n" + line + b"# b\nC='x'\n", ANSWERS) == b"A=1\n# b\nC='x'\n" + ADDED


def test_a_mark_and_a_last_line_without_end() -> None:
    """A byte order mark stays at the beginning, also where the first line goes; a last line gets its end."""
    assert merged(codecs.BOM_UTF8 + b"PHASE=x\nA=1", ANSWERS) == codecs.BOM_UTF8 + b"A=1\n" + ADDED
    assert merged(codecs.BOM_UTF8 + b"A=1", ANSWERS) == codecs.BOM_UTF8 + b"A=1\n" + ADDED
    assert merged(b"", ANSWERS) == ADDED


def test_a_token_file_that_was_named() -> None:
    """With a token in the file it would be an error: its line becomes a comment; without one it stays."""
    content = b"HF_TOKEN_FILE=/run/secrets/t\n"
    assert merged(content, ANSWERS) == b"# " + content + ADDED
    assert merged(content, {"PHASE": "minimal"}) == content + b"PHASE=minimal\n"


@pytest.mark.parametrize(
    "content",
    [
        f"\ufeffHF_TOKEN={HIDDEN}\nPHASE=balanced\n",
        f"export HF_TOKEN='{HIDDEN}'\r\nexport PHASE=\"balanced\"\r\n",
        f'HF_TOKEN="{HIDDEN}" # mine\nPHASE=balanced # the second\n',
        f"HF_TOKEN: {HIDDEN}\n  PHASE = balanced  \n",
        f'HF_TOKEN=x\nPHASE="wrong one"\nHF_TOKEN="\n{HIDDEN}\n"\nPHASE=balanced\n',
    ],
    ids=ascii,
)
def test_earlier_answers(content: str) -> None:
    """They are the defaults of the next questions, in every form in which people write them; the last one counts."""
    settings = with_earlier_answers(read(), content.encode(), Path(".env"), redactor := Redactor())
    assert settings.hf_token is not None
    assert (settings.hf_token.reveal(), settings.phase) == (HIDDEN, "balanced")
    assert HIDDEN not in redactor.redact(HIDDEN)


@pytest.mark.parametrize("content", [b"P\0H\0", codecs.BOM_UTF16_LE + "PHASE=x\n".encode("utf-16-le"), b"x" * (2 << 20)], ids=len)
def test_a_file_that_is_left_alone(tmp_path: Path, content: bytes) -> None:
    """What nobody reads as a file of variables is not rewritten."""
    path = tmp_path / ".env"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="nothing was asked"):
        read_env_file(path)


@given(st.lists(st.sampled_from([*KEPT, *REPLACED]) | st.binary(max_size=20), max_size=6).map(b"".join))
def test_any_file(content: bytes) -> None:
    """No byte is lost in reading; a second merge changes nothing."""
    assert b"".join(entry.content for entry in entries_of(content)) == content
    once = merged(content, ANSWERS)
    assert merged(once, ANSWERS) == once
