"""What a death costs in bytes: the command that measures it at 50 places of 1 GiB, here at three of 64 MiB."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tools.kills import MOST, Killer, random_counts

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 64 << 20


@pytest.mark.parametrize("count", random_counts(3, SIZE, seed=7))
def test_a_death_costs_at_most_16_mib(tmp_path: Path, count: int) -> None:
    """The next run fetches what is missing, not what is there; the result is right, and nothing is left in staging."""
    kill = Killer(tmp_path, SIZE, connections=4).kill_at(count)

    assert kill.right
    assert 0 <= kill.twice <= MOST
    assert kill.at == count


def test_a_file_that_would_begin_anew_is_noticed(tmp_path: Path) -> None:
    """Where nothing is left of the first run, the second fetches everything: that is what the count must show."""
    killer = Killer(tmp_path, SIZE, connections=4)

    kill = killer.kill_at(SIZE - 1000, forget=True)

    assert kill.right
    assert kill.twice > MOST
