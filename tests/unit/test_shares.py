"""The division of a plan, and the indexes that engines give."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.catalog.parse import parse_catalog
from provisioner.errors import ConfigurationError, VolumeError
from provisioner.planning.model import Inventory, Request, Rules
from provisioner.planning.plan import make_plan
from provisioner.planning.shares import divide, plan_id
from provisioner.reporting.history import Throughput
from provisioner.reporting.observation import Observation
from provisioner.reporting.shares import shares_text, with_shares
from provisioner.settings.reader import read_settings
from provisioner.volume.fs import durable
from provisioner.volume.store.shares import Recorded, ShareStore
from provisioner.web.metrics import exposition
from provisioner.web.render import render_main
from tests.support.program import CHECKOUT, REAL_CATALOG

if TYPE_CHECKING:
    from provisioner.settings.settings import Settings

SIZES = st.dictionaries(st.text("abcdef0123456789", min_size=1, max_size=6), st.integers(0, 1 << 40), max_size=60)


@given(SIZES, st.integers(1, 9))
def test_every_artifact_is_in_one_share(sizes: dict[str, int], count: int) -> None:
    """The shares are disjoint and complete, the same in whatever order the artifacts come, and so is the plan's identifier."""
    shares = divide(sizes, count)
    assert len(shares) == count
    assert sorted(key for share in shares for key in share) == sorted(sizes)
    turned = dict(reversed(sizes.items()))
    assert divide(turned, count) == shares
    assert plan_id(turned) == plan_id(sizes)


@pytest.mark.parametrize("count", [2, 4])
def test_a_long_tail_is_balanced(count: int) -> None:
    """A repository of very many files, whose sizes differ by factors of thousands, is divided to within a percent."""
    sizes = {f"file-{number}": 400_000_000 // (number + 1) + number % 977 for number in range(20_000)}
    loads = [sum(sizes[key] for key in share) for share in divide(sizes, count)]
    assert max(loads) <= 1.01 * sum(loads) / count


def test_a_phase_is_as_balanced_as_its_largest_file_allows() -> None:
    """Of the real catalog no share is larger than the mean and its largest file; a single archive is not divided."""
    catalog = parse_catalog(REAL_CATALOG.read_text("utf-8"), "catalog.yaml")
    for phase in catalog.phases:
        plan = make_plan(Request(phase), catalog, Inventory(), Rules(license_policy="any"))
        sizes = {
            artifact.key: artifact.size.value
            for step in plan.steps
            for artifact in step.recipe.artifacts or ()
            if artifact.size is not None
        }
        for count in (2, 4):
            loads = [sum(sizes[key] for key in share) for share in divide(sizes, count)]
            assert max(loads) <= max(1.1 * sum(loads) / count, *sizes.values())


def settings_of(environ: dict[str, str]) -> Settings:
    """Return the settings of an environment."""

    def read_text(path: Path) -> str:
        raise FileNotFoundError(path)

    return read_settings({}, environ, read_text=read_text, home=Path("/home/u"), app_root=CHECKOUT)


@pytest.mark.parametrize(
    ("environ", "shard"),
    [
        ({}, None),
        ({"SHARD": "0/4"}, (0, 4)),
        ({"PROVISIONER_SHARD": "3/4", "SHARD": "0/9"}, (3, 4)),
        ({"JOB_COMPLETION_INDEX": "2"}, None),
        ({"JOB_COMPLETION_INDEX": "2", "SHARDS": "4"}, (2, 4)),
        ({"SWARM_TASK_SLOT": "2"}, None),
        ({"SWARM_TASK_SLOT": "3", "SHARDS": "4"}, (3, 4)),
        ({"SWARM_TASK_SLOT": "x1k2h1u8i3c0mzz7kq9w4t5ab", "SHARDS": "4"}, (0, 4)),
        ({"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_COUNT": "4"}, (2, 4)),
        ({"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_COUNT": "2"}, (0, 2)),
        ({"SHARD": "0/1", "SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_COUNT": "2"}, (0, 1)),
    ],
)
def test_the_index_of_an_engine(environ: dict[str, str], shard: tuple[int, int] | None) -> None:
    """Kubernetes and Swarm give an index and no number, Slurm both, with any first index; SHARD wins.

    For the first task of a job Swarm gives the node's identifier in place of the slot 0.
    """
    assert settings_of(environ).shard == shard


@pytest.mark.parametrize(
    "environ",
    [
        {"SHARD": "4/4"},
        {"SHARD": "1"},
        {"SHARD": "0/0"},
        {"SHARD": "-1/2"},
        {"JOB_COMPLETION_INDEX": "4", "SHARDS": "4"},
        {"SWARM_TASK_SLOT": "4", "SHARDS": "4"},
        {"SWARM_TASK_SLOT": "{{.Task.Slot}}", "SHARDS": "4"},
        {"SLURM_ARRAY_TASK_ID": "6", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_COUNT": "4"},
    ],
)
def test_an_index_that_does_not_fit(environ: dict[str, str]) -> None:
    """An index without its number, or beyond it, is an error that shows how to write it; so are the gaps of a Slurm array."""
    with pytest.raises(ConfigurationError, match="is not a share") as caught:
        settings_of(environ)
    assert "i/n" in caught.value.hint


FIRST: Final = {"share": "0/2", "host": "one", "updated_at": "2026-11-27T08:00:00Z"}
SECOND: Final = {"share": "1/2", "host": "<two>", "updated_at": "2026-11-27T08:01:00Z"}
WORKERS: Final = [
    {**FIRST, "state": "complete", "bytes_done": 10, "bytes_total": 4000},
    {**SECOND, "state": "fetching", "bytes_done": 1000, "bytes_total": 4000},
]


def test_records_of_workers_are_one_status() -> None:
    """Before a run has published anything the workers' sums are the status; afterwards they are beside it."""
    merged = with_shares(None, WORKERS)
    assert merged is not None
    assert {key: merged[key] for key in ("state", "host", "updated_at", "bytes_done", "bytes_total")} == {
        "state": "provisioning",
        "host": "<two>, one",
        "updated_at": "2026-11-27T08:01:00Z",
        "bytes_done": 5000,
        "bytes_total": 8000,
    }
    assert with_shares({"state": "ready"}, WORKERS) == {"state": "ready", "shares": WORKERS}
    assert with_shares({"state": "ready"}, []) == {"state": "ready"}
    assert with_shares(None, []) is None
    assert shares_text(WORKERS).splitlines()[0] == "Share 0/2: complete, 4.00 kB, one, 2026-11-27T08:00:00Z"


def test_a_write_of_a_share_that_the_device_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may report the loss to another worker first; this one still learns of it, and records nothing."""
    store = ShareStore(tmp_path)
    store.begin("plan", [4000])
    before = set(os.listdir("/proc/self/fd"))

    def sync(place: Path | int) -> bool:
        if place in open_then:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return True

    monkeypatch.setattr(durable, "_syncfs", sync)
    with store.watched():
        open_then = set(map(int, os.listdir("/proc/self/fd")))
        with pytest.raises(VolumeError, match="making durable"):
            store.record("plan", 0, {})
    assert not store.recorded("plan").done
    assert set(os.listdir("/proc/self/fd")) == before


def test_shares_that_nobody_has_begun(tmp_path: Path) -> None:
    """They are in the status with their sizes, named in one line of 'status', and shown on the page as waiting."""
    store = ShareStore(tmp_path)
    store.begin("plan", [4000, 3000, 2000])
    store.show("plan", 1, {"bytes_done": 1000, "bytes_total": 3000, "host": "one"})
    shown = store.shown()
    assert [(one["share"], one["state"], one["bytes_done"], one["bytes_total"]) for one in shown] == [
        ("0/3", "missing", 0, 4000),
        ("1/3", "fetching", 1000, 3000),
        ("2/3", "missing", 0, 2000),
    ]
    merged = with_shares(None, shown)
    assert merged is not None
    assert (merged["bytes_done"], merged["bytes_total"]) == (1000, 9000)
    assert shares_text(shown).splitlines() == [
        "Share 1/3: fetching, 1.00 of 3.00 kB (33 %), one",
        "Shares that no worker has begun: 0/3, 2/3",
    ]
    page = render_main(Observation(merged), Throughput(1.0, ()), parse_catalog(REAL_CATALOG.read_text("utf-8"), "c"), 0.0)
    assert 'Share 0/3</h3><span class="badge">Waiting' in page


def test_page_and_metrics_show_the_workers() -> None:
    """The page has a bar for each worker that fetches, with its host as text; metrics have the bytes of each."""
    observation = Observation(with_shares(None, WORKERS))
    catalog = parse_catalog(REAL_CATALOG.read_text("utf-8"), "catalog.yaml")
    page = render_main(observation, Throughput(1.0, ()), catalog, 0.0)
    assert 'Share 1/2</h3><span class="badge">Fetching' in page
    assert "&lt;two&gt;" in page
    assert page.count("<progress") == 2
    lines = exposition(observation, "")[0].decode().splitlines()
    assert 'provisioner_share_done_bytes{share="0/2"} 4000.0' in lines
    assert 'provisioner_share_done_bytes{share="1/2"} 1000.0' in lines
    assert "provisioner_fetch_done_bytes 5000.0" in lines


@pytest.mark.parametrize("count", ["1000000000000", "true", "0"])
def test_a_damaged_number_of_shares(tmp_path: Path, count: str) -> None:
    """A number that no worker can have written counts as none: nobody looks for so many records."""
    (tmp_path / "plans" / "one").mkdir(parents=True)
    (tmp_path / "plans" / "one" / "count.json").write_text(f'{{"count": {count}}}')
    assert ShareStore(tmp_path).recorded("one") == Recorded()
    assert ShareStore(tmp_path).shown() == []


def test_a_damaged_number_names_no_missing_shares(tmp_path: Path) -> None:
    """A number without the sizes of as many shares lists nothing as missing."""
    (tmp_path / "plans" / "one").mkdir(parents=True)
    (tmp_path / "plans" / "one" / "count.json").write_text('{"count": 900, "bytes": [1, 2]}')
    assert ShareStore(tmp_path).shown() == []
