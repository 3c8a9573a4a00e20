"""``verify`` beside runs that switch names and move trees: what is only on its way is not wrong."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

import pytest

from provisioner.engine import verification
from provisioner.engine.verification import Verifier
from provisioner.reporting.progress import Progress
from provisioner.volume.fs.atomic import write_atomic
from provisioner.volume.store.inventory import StoreReader
from tests.contract.test_store import FILES, FIRST, make

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from provisioner.volume.store.store import Store


class Beside:
    """Lets something happen on the volume at one moment of a check."""

    def __init__(self, action: Callable[[], object], *, always: bool = False) -> None:
        """Do nothing yet; ``always``: at every such moment, and not at the first alone."""
        self._action = action
        self._always = always
        self.fired = 0

    def __call__(self, *_arguments: object) -> None:
        """The moment has come."""
        if not self.fired or self._always:
            self.fired += 1
            self._action()


def found(store: Store, pause: Callable[[float], None] = lambda _seconds: None) -> list[str]:
    """Return what is wrong on a volume."""
    verifier = Verifier(store, deep=True, check_cancelled=lambda: None, progress=Progress(), pause=pause)
    return [str(finding) for checked in verifier.check() for finding in checked.findings]


def before(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, beside: Beside) -> None:
    """Let it happen before a function is called."""
    real = getattr(owner, name)

    def hooked(*arguments: Any, **named: Any) -> Any:
        beside()
        return real(*arguments, **named)

    monkeypatch.setattr(owner, name, hooked)


@pytest.mark.parametrize("place", [(verification, "check_tree"), (StoreReader, "has_checksums"), (StoreReader, "receipt")])
def test_a_tree_that_is_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: tuple[Any, str]) -> None:
    """Another form of publishing moves the tree: it is looked at again where it is now, and nothing of it is missing."""
    make(tmp_path).publish(FILES)
    store = make(tmp_path).store
    assert found(store) == []
    other = make(tmp_path, "dir").store
    beside = Beside(lambda: other.published.switch("alpha", FIRST))
    before(monkeypatch, *place, beside)
    assert found(store) == []
    assert beside.fired == 1


def test_a_version_that_never_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """One that is replaced at every check is not called wrong; that it was not checked is said."""
    make(tmp_path).publish(FILES)
    store = make(tmp_path).store
    (store.layout.tree("alpha", FIRST) / "a.txt").unlink()
    receipt = store.layout.receipt("alpha", FIRST)
    beside = Beside(lambda: write_atomic(receipt, receipt.read_bytes()), always=True)
    before(monkeypatch, verification, "check_tree", beside)
    with caplog.at_level(logging.WARNING):
        assert found(store) == []
    assert beside.fired == 3
    assert "not checked: another process replaces or moves it" in caplog.text


def test_a_name_that_is_away_for_a_moment(tmp_path: Path) -> None:
    """Between two forms a data set has no name: only if that stays so, it is not published."""
    make(tmp_path).publish(FILES)
    store = make(tmp_path).store
    name = store.layout.published("alpha")
    target = os.readlink(name)
    name.unlink()
    beside = Beside(lambda: name.symlink_to(target))
    assert found(store, beside) == []
    assert beside.fired == 1
    name.unlink()
    assert found(store) == ["datasets/alpha: none of the versions on the volume is published"]


def test_a_tree_that_is_wrong_stays_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is missing is found, whether the tree is moved meanwhile or not."""
    make(tmp_path).publish(FILES)
    store = make(tmp_path).store
    (store.layout.tree("alpha", FIRST) / "a.txt").unlink()
    assert [line.split(":")[0] for line in found(store)] == ["a.txt"]
    beside = Beside(lambda: make(tmp_path, "dir").store.published.switch("alpha", FIRST))
    before(monkeypatch, verification, "check_tree", beside)
    assert [line.split(":")[0] for line in found(store)] == ["a.txt"]
    assert beside.fired == 1
