"""Machines that allow few threads or little memory: the work is done with what there is, or one sentence says what is missing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.media import noise
from tests.support.shelf import some_files
from tests.support.tally import count

if TYPE_CHECKING:
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume

BIG: Final = noise("big", 20 << 20)
FILES: Final = some_files("alpha", 300_000)
CAPABILITIES: Final = "+dac_override,+dac_read_search"


@pytest.fixture
def full(shelf: Shelf, volume: Volume) -> Volume:
    """Return an empty volume, and a catalog of an archive and a large file."""
    shelf.add("alpha", shelf.file("alpha.tar.gz", FILES), shelf.raw("big.bin", BIG, into="big"))
    return volume


def check(volume: Volume, *, is_short: bool) -> None:
    """Run within the limit, then without: what fails within says so in a sentence, and the volume is filled in the end."""
    outcome = volume.run()
    assert outcome.code == 78 if is_short else outcome.code in {0, 78}, outcome.err
    if outcome.code:
        count("faults")
        assert "refuses to start another thread" in outcome.err or "memory that this program may use" in outcome.err
        assert "Traceback" not in outcome.err
        assert volume.published == []
    volume.under = ()
    volume.ready()
    volume.check("alpha", FILES | {"big/big.bin": BIG})


def allowing(threads: int) -> tuple[str, ...]:
    """Return what goes before a command that may have so many threads; the system counts those of a user, and spares root."""
    user = str(40_000 + os.getpid() % 20_000)
    rights = (f"--inh-caps={CAPABILITIES}", f"--ambient-caps={CAPABILITIES}")
    return ("setpriv", "--reuid", user, "--clear-groups", *rights, "prlimit", f"--nproc={threads}:{threads}")


@pytest.mark.root
@pytest.mark.parametrize("threads", [1, 2, 3, 4, 5, 6, 8, 12])
def test_few_threads(full: Volume, threads: int) -> None:
    """A limit of processes (`--pids-limit`, `ulimit -u`), from the one that every process has to as many as are used."""
    full.under = allowing(threads)
    check(full, is_short=threads < 3)


@pytest.mark.root
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_few_threads_to_verify(full: Volume, threads: int) -> None:
    """A tree is hashed by as many threads as there may be, and by the one that does the work if there may be no other."""
    full.ready()
    full.under = allowing(threads)
    outcome = full.run("verify", "--deep")
    assert outcome.code == (0 if threads > 1 else 78), outcome.err
    if outcome.code:
        assert "refuses to start another thread" in outcome.err
    count("faults")


@pytest.mark.parametrize("megabytes", [70, 100, 150, 250])
def test_little_memory(full: Volume, megabytes: int) -> None:
    """A limit of address space (`ulimit -v`) at which reading, unpacking or starting a thread may fail."""
    full.under = ("prlimit", f"--as={megabytes}000000")
    check(full, is_short=megabytes < 80)
