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


@pytest.mark.root
@pytest.mark.parametrize("threads", [1, 2, 3, 4, 5, 6, 8, 12])
def test_few_threads(full: Volume, threads: int) -> None:
    """A limit of processes (`--pids-limit`, `ulimit -u`), from the one that every process has to as many as are used."""
    # The system counts all processes of a user, and spares root.
    user = str(40_000 + os.getpid() % 20_000)
    rights = (f"--inh-caps={CAPABILITIES}", f"--ambient-caps={CAPABILITIES}")
    full.under = ("setpriv", "--reuid", user, "--clear-groups", *rights, "prlimit", f"--nproc={threads}:{threads}")
    check(full, is_short=threads < 3)


@pytest.mark.parametrize("megabytes", [70, 100, 150, 250])
def test_little_memory(full: Volume, megabytes: int) -> None:
    """A limit of address space (`ulimit -v`) at which reading, unpacking or starting a thread may fail."""
    full.under = ("prlimit", f"--as={megabytes}000000")
    check(full, is_short=megabytes < 80)
