"""What is said of a run: before it, while it works, when it ends, and when it has died without a word."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import pytest

from provisioner.commands import healthcheck
from provisioner.errors import TryAgainError
from provisioner.reporting.text_width import display_width
from tests.support.media import noise
from tests.support.program import CHECKOUT, PATIENCE, wait_until
from tests.support.shelf import some_files
from tests.support.terminal import PseudoTerminal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.hub_server import HubServer
    from tests.support.program import Outcome
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume

MB = 10**6


# --- a run that carries on -----------------------------------------------------------------------------------------------


def one_connection(shelf: Shelf) -> None:
    """Offer a file that arrives by one connection."""
    shelf.add("one", shelf.raw("big.bin", noise("big", 3 * MB)))


def ranges(shelf: Shelf) -> None:
    """Offer a file that arrives in ranges."""
    shelf.add("one", shelf.raw("big.bin", noise("big", MB) * 20))


def archives(shelf: Shelf) -> None:
    """Offer a small archive, which is unpacked first, and a large file."""
    shelf.add("one", shelf.file("a.tar.gz", some_files("a", 2 * MB)), shelf.raw("big.bin", noise("big", 3 * MB)))


def files(shelf: Shelf) -> None:
    """Offer a small file, which goes into the tree at once, and a large one."""
    shelf.add("one", shelf.raw("a.bin", noise("a", MB // 2)), shelf.raw("big.bin", noise("big", 3 * MB)))


def estimated(shelf: Shelf) -> None:
    """Offer a file whose size is an estimate."""
    file = shelf.raw("big.bin", noise("big", 3 * MB))
    shelf.add("one", file | {"size": {"value": 4 * MB, "estimate": True}})


def repository(shelf: Shelf) -> None:
    """Offer a repository, whose files are unknown until it is asked."""
    repo = shelf.server.hub.add_repo("ann/set")
    repo.commit({"a.bin": noise("a", MB // 2), "big.bin": noise("big", 3 * MB)})
    source = {"kind": "hub", "repo": "ann/set", "size": {"value": 4 * MB, "estimate": True}}
    shelf.add("one", sources=[source])


def no_origin(shelf: Shelf) -> None:
    """Offer a file without a digest from a server that names no version: it has to start again."""
    file = shelf.raw("big.bin", noise("big", 3 * MB))
    shelf.server.faults.add("no_validator", path="*/big.bin")
    shelf.add("one", file | {"digest": "none"})


INTERRUPTED: Final[dict[str, tuple[Callable[[Shelf], None], int, str, str]]] = {
    "one connection": (one_connection, 2 * MB, r"2\.00 of 3\.00 MB \(66 %\)", r"2\.00 of 3\.00 MB \(66 %\)"),
    "ranges": (ranges, 2 * MB, r"\d+\.\d\d of 20\.00 MB \(\d+ %\)", r"\d+\.\d\d of 20\.00 MB \(\d+ %\)"),
    "an archive": (archives, 4 * MB, r"4\.00 of 5\.00 MB \(\d+ %\)", r"2\.00 of 3\.00 MB"),
    "a file of the tree": (files, 2 * MB, r"2\.50 of 3\.50 MB \(71 %\)", r"2\.00 of 3\.00 MB"),
    "an estimate": (estimated, 2 * MB, r"2\.00 of about 4\.00 MB \(50 %\)", r"2\.00 of about 4\.00 MB"),
    "a repository": (repository, 2 * MB, r"0\.50 of about 4\.00 MB \(12 %\)", r"2\.00 of 3\.00 MB"),
    "nothing to tell the version": (no_origin, 2 * MB, "", ""),
}
"""What is offered, how many bytes are staged before the run is killed, and what is said of the whole and of ``big.bin``."""


@pytest.mark.parametrize("case", INTERRUPTED)
def test_an_interrupted_run_is_carried_on(shelf: Shelf, volume: Volume, hub: HubServer, case: str) -> None:
    """Plan and log say how much an interrupted run has left and where each file goes on; the plan subtracts it."""
    offer, staged, here, resumed = INTERRUPTED[case]
    offer(shelf)
    gate = hub.faults.gate(hub.faults.add("gate", path="*big.bin", after=2 * MB, gate="half").gate)
    run = volume.start(CONNECTIONS="1")
    assert gate.wait_reached()
    wait_until(lambda: volume.staged_bytes() >= staged, "half of it in staging")
    run.send(signal.SIGKILL)
    run.wait()
    gate.release()
    hub.faults.clear()
    before = volume.snapshot()
    plan = volume.ready("plan")
    document = volume.ready("plan", "--json").json
    assert volume.snapshot() == before
    if not here:
        assert "here already" not in plan.out
        assert document["steps"][0]["staged_bytes"] == 0
        return
    assert re.search(rf"To fetch: .*; {here} are here already", plan.out), plan.out
    step = document["steps"][0]
    assert step["staged_bytes"] > 0
    whole = step["download"]["bytes"] + step["staged_bytes"]
    assert whole in {3 * MB, 3_500_000, 4 * MB, 20 * MB} or case == "an archive"
    done = volume.ready()
    assert re.search(rf"To do: one; .* to fetch; of a run that has not finished, {here} are here already", done.err), done.err
    assert re.search(rf"big\.bin is resumed: {resumed}.* are here already", done.err), done.err


# --- the last line of a run ----------------------------------------------------------------------------------------------


def last_line(outcome: Outcome, state: str) -> str:
    """Return the closing line of a run; there is exactly one."""
    (line,) = [line for line in outcome.err.splitlines() if re.search(rf" {state} after \d+ s: ", line)]
    return line


def test_the_end_of_a_run(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """The last line says what was fetched, from where, how long it took, at which rate, and what was left out or failed."""
    shelf.add("alpha", shelf.file("a.tar.gz", some_files("a", 200_000)))
    shelf.add("beta", shelf.raw("b.bin", noise("b", 100_000)), commercial="forbidden")
    shelf.add("gamma", shelf.raw("c.bin", noise("c", 100_000)), optional=True)
    hub.faults.add("status", path="*/c.bin", status=404)
    outcome = volume.ready()
    line = last_line(outcome, "Partial")
    assert re.search(r"\d+ kB fetched from 127\.0\.0\.1 \([0-9.]+ [kM]?B/s\); published: alpha; ", line), line
    assert re.search(r"left out: beta \(.*forbidden.*\); failed: gamma$", line), line
    assert outcome.err.splitlines()[-1] == line
    volume.ready("remove", "alpha")
    entries = [json.loads(line) for line in volume.ready(LOG_FORMAT="json").err.splitlines()]
    entry = entries[-1]
    assert {each["dataset"] for each in entries if "dataset" in each} == {"alpha", "gamma"}
    assert {(each["run_id"], each["phase"]) for each in entries if "alpha" in each["message"]} == {(entry["run_id"], "minimal")}
    assert (entry["event"], entry["state"], entry["published"], entry["failed"]) == ("end", "partial", ["alpha"], ["gamma"])
    assert entry["fetched_bytes"] > 200_000


def test_an_error_of_the_settings_has_the_form_of_the_log(volume: Volume) -> None:
    """What is wrong with the settings is one record with ``LOG_FORMAT=json``, although not all settings are known yet."""
    outcome = volume.run(LOG_FORMAT="json", CONNECTIONS="many")
    assert outcome.code == 78
    (entry,) = [json.loads(line) for line in outcome.err.splitlines()]
    assert (entry["reference"], entry["exit_code"], entry["level"]) == ("configuration", 78, "error")
    assert "CONNECTIONS" in entry["message"]
    assert entry["hint"] == "For example 1, or auto."


def test_the_end_of_a_run_that_failed(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """A run that failed has its closing line before the error; one that was ended says what had arrived."""
    shelf.add("alpha", shelf.raw("big.bin", noise("big", 3 * MB)))
    hub.faults.add("status", path="*/big.bin", status=404, first=1)
    outcome = volume.run()
    assert "nothing was fetched; failed: alpha" in last_line(outcome, "Failed")
    gate = hub.faults.gate(hub.faults.add("gate", path="*/big.bin", after=2 * MB).gate)
    run = volume.start()
    assert gate.wait_reached()
    wait_until(lambda: volume.staged_bytes() == 2 * MB, "two thirds in staging")
    run.send(signal.SIGTERM)
    line = last_line(run.wait(), "Interrupted")
    assert "2.00 MB had arrived, and what is not published is kept for the next run" in line
    gate.release()


@pytest.mark.parametrize("columns", [0, 40, 80])
@pytest.mark.parametrize("end", ["ready", "killed", "interrupted"])
def test_a_run_on_a_terminal(shelf: Shelf, volume: Volume, hub: HubServer, columns: int, end: str) -> None:
    """While a run works there are bars that fit the terminal; at its end, whatever it is, the prompt begins a line of its own."""
    shelf.add("a-data-set-with-a-rather-long-name", shelf.raw("big.bin", noise("big", 3 * MB)))
    shelf.add("beta", shelf.raw("b.bin", noise("b", 2000)))
    gate = hub.faults.gate(hub.faults.add("gate", path="*/big.bin", after=2 * MB).gate)
    with PseudoTerminal(columns, 0 if columns == 0 else 24) as terminal:
        command = [sys.executable, "-m", "provisioner"]
        process = subprocess.Popen(command, env=volume.environ(TERM="xterm"), cwd=CHECKOUT, stderr=terminal.slave)
        wait_until(lambda: any(" of 3.00 MB" in line for line in terminal.read().lines), "a bar")
        shown = terminal.read().lines
        assert any(line.startswith("in all") for line in shown), shown
        if end == "ready":
            gate.release()
        else:
            process.send_signal(signal.SIGKILL if end == "killed" else signal.SIGTERM)
        process.wait(PATIENCE)
        gate.release()
        screen = terminal.read()
        assert screen.column == 0
        assert all(display_width(line) <= (columns or 80) for line in screen.lines)
        if end != "killed":
            said = " ".join("".join(screen.lines).split())
            assert "in all" not in said
            assert ("Ready after" if end == "ready" else "Interrupted after") in said


def test_nothing_to_do_and_not_all_there(shelf: Shelf, volume: Volume) -> None:
    """A run that has nothing to do says what the volume does not hold, and why."""
    shelf.add("alpha", shelf.file("a.tar.gz", some_files("a")))
    shelf.add("beta", shelf.file("b.tar.gz", some_files("b")), commercial="forbidden")
    shelf.add("gamma", shelf.file("c.tar.gz", some_files("c", 900_000)), unpacked_size=900_000)
    volume.ready(MAX_STORAGE_GB="0.0005")
    line = volume.ready(MAX_STORAGE_GB="0.0005").err.splitlines()[-1]
    assert "Nothing to do: of the phase minimal the volume holds alpha; left out: beta (" in line
    assert re.search(r"beta \(.*forbidden.*\), gamma \(needs .* at its peak; .* are left\)", line), line
    assert "WARNING" not in line


def test_a_plan_that_is_refused_is_not_announced(shelf: Shelf, volume: Volume) -> None:
    """A run that must not begin does not say what it would do."""
    shelf.add("alpha", shelf.file("a.tar.gz", some_files("a")))
    shelf.add("beta", shelf.file("b.tar.gz", some_files("b", 900_000)), unpacked_size=900_000)
    outcome = volume.run(MAX_STORAGE_GB="0.0005", ON_SHORTFALL="fail")
    assert outcome.code == 74
    assert "To do" not in outcome.err


# --- what the app is told ----------------------------------------------------------------------------------------------

APP: Final = ("--", "sh", "-c", 'echo "$DATASETS_DIR"; ls -d "$DATASETS_DIR"')
ALL_FAIL: Final[dict[str, dict[str, str]]] = {
    "a source": {},
    "no phase fits": {"MAX_STORAGE_GB": "0.000001"},
    "nothing may be fetched": {"AUTO_DOWNLOAD": "false"},
    "a licence": {"DATASETS": "beta"},
}


@pytest.mark.parametrize("case", ALL_FAIL)
def test_the_directory_of_the_data_exists_after_a_degraded_run(shelf: Shelf, volume: Volume, hub: HubServer, case: str) -> None:
    """An app that is started without data is told a directory that exists, and is empty."""
    shelf.add("alpha", shelf.file("a.tar.gz", some_files("a")))
    shelf.add("beta", shelf.file("b.tar.gz", some_files("b")), commercial="forbidden")
    hub.faults.add("status", path="*/a.tar.gz", status=404)
    outcome = volume.ready(*APP, ON_FAILURE="degraded", **ALL_FAIL[case])
    assert outcome.out.splitlines() == [str(volume.root / "datasets")] * 2
    assert volume.published == []
    assert "WARNING" in outcome.err


def test_the_directory_of_the_data_exists_after_a_partial_run(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """Where all data sets are optional and none could be had, ``provision.env`` names a directory that exists."""
    shelf.add("alpha", shelf.file("a.tar.gz", some_files("a")), optional=True)
    hub.faults.add("status", path="*/a.tar.gz", status=404)
    volume.ready()
    assert f"DATASETS_DIR={volume.root}/datasets" in (volume.root / "provision.env").read_text("utf-8")
    assert (volume.root / "datasets").is_dir()


def test_the_directory_cannot_be_made(shelf: Shelf, volume: Volume) -> None:
    """Where that directory cannot be made, the app is started all the same, and the log says so."""
    shelf.add("alpha", shelf.file("a.tar.gz", some_files("a")))
    volume.root.write_text("no directory", "utf-8")
    outcome = volume.run("--", "sh", "-c", "exit 5", ON_FAILURE="degraded")
    assert outcome.code == 5
    assert f"The app is told DATASETS_DIR={volume.root}/datasets, and there is no such directory" in outcome.err
    mine = volume.run("--", "sh", "-c", 'echo "$DATASETS_DIR"', ON_FAILURE="degraded", DATASETS_DIR="/mine")
    assert mine.out == "/mine\n"
    assert "The app is told" not in mine.err
    volume.root.unlink()


def test_what_is_left_out_on_purpose_cannot_be_accepted(shelf: Shelf, volume: Volume) -> None:
    """No message promises that ACCEPT_LICENSES brings back what the catalog leaves out on purpose."""
    shelf.document["excluded"] = {"gone": {"title": "Gone", "license": "other", "reason": "non-commercial"}}
    shelf.add("alpha", shelf.file("a.tar.gz", some_files("a")))
    by_name = volume.run(DATASETS="gone")
    accepted = volume.run(ACCEPT_LICENSES="gone")
    assert (by_name.code, accepted.code) == (77, 77)
    assert "ACCEPT_LICENSES" not in by_name.err
    assert "ACCEPT_LICENSES cannot bring it back" in accepted.err


@pytest.mark.parametrize("splits", [False, True])
def test_a_split_is_named_where_there_is_one(shelf: Shelf, volume: Volume, splits: bool) -> None:
    """What does not fit is answered with splits only where the data set has some."""
    files = [shelf.file(f"{name}.tar.gz", some_files(name)) | ({"split": name} if splits else {}) for name in ("a", "b")]
    shelf.add("alpha", *files, unpacked_size=900_000)
    shelf.add("beta", shelf.file("c.tar.gz", some_files("c")))
    outcome = volume.run(DATASETS="alpha,beta", MAX_STORAGE_GB="0.0005")
    assert outcome.code == 74
    assert ("ask for a split" in outcome.err) == splits


# --- mistakes of people --------------------------------------------------------------------------------------------------

SIX: Final = (
    ("datasets.alpha.titel", "unknown key 'titel'"),
    ("datasets.alpha.priority", "expected a whole number from 1 to 5, found 9"),
    ("datasets.alpha.license.commercial", "'alowed' is not one of"),
    ("datasets.alpha.sources[0].files[0].digest", "a sha256 has 64 digits"),
    ("datasets.alpha.sources[0].files[0].unpack", "'tgz' is not one of"),
    ("phases.minimal.datasets[1]", "there is no data set 'betta'"),
)


@pytest.mark.parametrize("words", [["catalog", "check"], [], ["list"], ["plan"], ["doctor"]], ids=" ".join)
def test_six_mistakes_of_a_catalog_are_named_at_once(shelf: Shelf, volume: Volume, words: list[str]) -> None:
    """Every command that reads the catalog names all of its mistakes, with file, line and key; nothing is written."""
    entry = shelf.file("a.tar.gz", some_files("a")) | {"digest": "sha256:12", "unpack": "tgz"}
    shelf.add("alpha", entry, titel="x", priority=9, commercial="alowed")
    shelf.document["phases"]["minimal"]["datasets"].append("betta")
    shelf.write()
    outcome = volume.run(*words)
    assert outcome.code == 78
    for key, problem in SIX:
        assert re.search(rf"catalog\.yaml:\d+: {re.escape(key)}: {re.escape(problem)}", outcome.err), (key, outcome.err)
    assert len(outcome.errors()) == 1
    assert not volume.root.exists()


def test_mistakes_as_json(shelf: Shelf, volume: Volume) -> None:
    """With ``--json`` the first mistake is the error, and the others follow it in the same document."""
    shelf.add("alpha", shelf.file("a.tar.gz", some_files("a")), titel="x", priority=9)
    document = volume.run("catalog", "check", "--json").json
    assert "titel" in document["error"]["message"]
    assert [error["reference"] for error in document["further_errors"]] == ["configuration"]


# --- a run that has died -------------------------------------------------------------------------------------------------


def stamped(**ago: float) -> str:
    """Return a time so long ago, as the status file has it."""
    return (datetime.now(UTC) - timedelta(**ago)).strftime("%Y-%m-%dT%H:%M:%SZ")


HEARTBEATS: Final[dict[str, tuple[Callable[[], str | None], str]]] = {
    "74 seconds": (lambda: stamped(seconds=74), r"no heartbeat for (7[4-9]|[89]\d) s: the run on far has probably ended"),
    "two days": (lambda: stamped(days=2, hours=3), r"no heartbeat for 2 d 3 h: the run on far has probably ended"),
    "recent": (lambda: stamped(seconds=3), ""),
    "a little ahead": (lambda: stamped(seconds=-20), ""),
    "in the future": (
        lambda: stamped(hours=-2, minutes=-1),
        r"dated 2 h 0[01] min in the future: the clocks here and on far differ",
    ),
    "another zone": (lambda: datetime.now(UTC).astimezone().isoformat(), ""),
    "no zone": (lambda: datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="seconds"), ""),
    "no time": (lambda: None, "does not say when it was written"),
    "no date": (lambda: "yesterday", "does not say when it was written"),
    "the year one": (lambda: "0001-01-01T00:00:00", r"no heartbeat for \d+ d"),
}


def dead_run(volume: Volume, updated_at: str | None) -> Path:
    """Leave the status of a run on a volume."""
    volume.root.mkdir(exist_ok=True)
    path = volume.root / "dataset_status.json"
    path.write_text(json.dumps({"state": "provisioning", "host": "far", "run_id": "r", "updated_at": updated_at}), "utf-8")
    return path


@pytest.mark.parametrize("case", HEARTBEATS)
def test_status_of_a_run_without_a_heartbeat(volume: Volume, case: str) -> None:
    """``status`` says that a run has probably died, or that nobody can tell; the file is not changed."""
    make, pattern = HEARTBEATS[case]
    path = dead_run(volume, make())
    before = path.read_bytes()
    text = " ".join(volume.ready("status").out.split())
    check = volume.run("status", "--check", "--json")
    document = check.json
    assert document["heartbeat"]["recent"] == (not pattern)
    assert {key: value for key, value in document.items() if key != "heartbeat"} == json.loads(before)
    assert re.search(pattern, document["heartbeat"]["problem"] or "")
    assert re.search(pattern or "State: provisioning", text), text
    assert "probably ended" in text or not pattern.endswith("ended")
    assert check.code == 75
    assert re.search(pattern, check.err)
    assert path.read_bytes() == before


def test_a_finished_run_needs_no_heartbeat(volume: Volume, shelf: Shelf) -> None:
    """The status of a run that has ended is shown as it is, however old it is."""
    shelf.add("alpha", shelf.file("a.tar.gz", some_files("a")))
    volume.ready()
    path = volume.root / "dataset_status.json"
    path.write_text(json.dumps(volume.status | {"updated_at": stamped(days=400)}), "utf-8")
    assert volume.ready("status", "--json").json == volume.status
    assert "heartbeat" not in volume.ready("status").out


def healthy(root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the health check of a container in which this program runs; return its complaint."""
    monkeypatch.setattr(healthcheck, "_first_processes", lambda: iter([["python3", "-I", "/opt/app/entrypoint.py"]]))
    session = SimpleNamespace(layout=SimpleNamespace(status=root / "dataset_status.json"))
    request: Any = SimpleNamespace(session=lambda: session)
    try:
        healthcheck.run(request)
    except TryAgainError as error:
        return error.message
    return ""


@pytest.mark.parametrize("case", HEARTBEATS)
def test_health_of_a_run(volume: Volume, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """The health check judges as ``status`` does, and names an age that a person can understand."""
    make, pattern = HEARTBEATS[case]
    dead_run(volume, make())
    found = healthy(volume.root, monkeypatch)
    assert bool(found) == bool(pattern)
    assert re.search(pattern, found)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "is not there"),
        (b"", "cannot be understood"),
        (b"[1]", "cannot be understood"),
        (b"\xff\x00", "cannot be understood"),
    ],
)
def test_health_without_a_status(volume: Volume, monkeypatch: pytest.MonkeyPatch, content: bytes | None, words: str) -> None:
    """Without a status that can be read the health check says so, and invents no age."""
    volume.root.mkdir()
    if content is not None:
        (volume.root / "dataset_status.json").write_bytes(content)
    found = healthy(volume.root, monkeypatch)
    assert words in found
    assert not re.search(r"\d{5}", found.replace(str(volume.root), ""))
    outcome = volume.run("status")
    assert outcome.code == 66
    assert words in outcome.err
