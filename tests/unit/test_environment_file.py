"""``provision.env`` means the same to a POSIX shell and to Docker, or it is refused."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from provisioner.errors import ConfigurationError
from provisioner.volume.store.environment_file import environment_file, environment_lines

if TYPE_CHECKING:
    from pathlib import Path

ALPHABET = "abcXYZ0189_@%+=:,./-éЖ日\u0301"


def by_shell(path: Path) -> dict[str, str]:
    """Return the variables that a POSIX shell reads."""
    shell = subprocess.run(["sh", "-c", f"set -a; . '{path}'; env -0"], env={}, capture_output=True, check=True)
    pairs = (entry.partition(b"=") for entry in shell.stdout.split(b"\0") if entry)
    return {name.decode(): value.decode() for name, _, value in pairs if name not in {b"PWD", b"_", b"OLDPWD", b"SHLVL"}}


def by_docker(path: Path) -> dict[str, str]:
    """Return the variables that `docker run --env-file` reads: lines split at the first `=`, no comments, no empty lines."""
    lines = path.read_text("utf-8").splitlines()
    pairs = (line.lstrip().partition("=") for line in lines if line.strip() and not line.lstrip().startswith("#"))
    return {name: value for name, _, value in pairs}


def test_both_agree(tmp_path: Path) -> None:
    """Every character that is allowed means the same to a shell and to Docker, at any position in a value."""
    values = {f"V{index}": f"{character}a{character}{character}b{character}" for index, character in enumerate(ALPHABET)}
    values |= {"EMPTY": "", "ALL": ALPHABET, "DATASETS_DIR": "/data/datasets"}
    path = tmp_path / "provision.env"
    path.write_bytes(environment_lines(values))
    assert by_shell(path) == by_docker(path) == values


OTHERS = [character for character in map(chr, range(128)) if character not in ALPHABET and not character.isalnum()]


@pytest.mark.parametrize("character", [*OTHERS, "\u00a0", "\u2028", "\u200b", "\udce9"])
def test_what_they_read_differently_is_refused(character: str) -> None:
    """Quotes, spaces, dollars, line feeds and all else that a shell or a locale interprets are refused."""
    with pytest.raises(ConfigurationError, match="means one thing to a shell"):
        environment_lines({"NAME": f"a{character}b"})


def test_what_cannot_be_written_is_left_out(tmp_path: Path) -> None:
    """In ``provision.env`` a comment stands in its place, and both still agree about all else."""
    path = tmp_path / "provision.env"
    path.write_bytes(
        environment_file({"DATASETS_DIR": "/my data/é/datasets", "BYTES": "\udce9", "TRACKIO_DATASET_REPO": "ann/logs"})
    )
    assert by_shell(path) == by_docker(path) == {"TRACKIO_DATASET_REPO": "ann/logs"}
    assert "# DATASETS_DIR is left out: '/my data/\\xe9/datasets' means" in path.read_text("ascii")


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "A=B", "Ä"])
def test_a_name_that_is_not_an_identifier(name: str) -> None:
    """A name that is not a plain identifier is refused."""
    with pytest.raises(ConfigurationError):
        environment_lines({name: "value"})


def test_the_order_does_not_matter() -> None:
    """The same values are the same bytes: a second run finds nothing to write."""
    assert environment_lines({"B": "2", "A": "1"}) == environment_lines({"A": "1", "B": "2"}) == b"A=1\nB=2\n"
