"""The container becomes the app: process 1, with the container's signals, exit code and environment, and nothing of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.support.program import CHECKOUT

if TYPE_CHECKING:
    from tests.e2e.conftest import Filled, Station
    from tests.support.containers import Engine
    from tests.support.hub_server import HubServer

pytestmark = pytest.mark.docker

APP: Final = CHECKOUT / "examples" / "app"
REPOSITORY: Final = "ann/trackio-experiments"


def environment_of(text: str) -> dict[str, str]:
    """Read what ``env -0`` writes."""
    return dict(item.split("=", 1) for item in text.split("\0") if item)


def test_app_is_process_one(engine: Engine, filled: Filled) -> None:
    """The app is process 1 itself: no shell, no parent of ours stays, and no file of ours is left open."""
    script = "echo $$; readlink /proc/1/exe; tr '\\0' ' ' </proc/1/cmdline; echo; ls /proc/1/fd; echo /proc/[0-9]*"
    ended = engine.run("--", "sh", "-c", script, volume=filled.volume)
    assert ended.code == 0
    pid, executable, command, *descriptors, processes = ended.out.splitlines()
    assert (pid, executable) == ("1", "/usr/bin/dash")
    assert command.startswith("sh -c echo")
    assert descriptors == ["0", "1", "2"]
    assert processes == "/proc/1"


def test_app_after_work(station: Station, hub: HubServer) -> None:
    """The same when the volume has just been filled, with threads and connections behind it: only the app is left."""
    volume = station.engine.volume()
    # By exec: while a shell starts another program it blocks all signals itself.
    script = "ls /proc/1/fd; ls /proc/1/task; exec grep -E '^Sig(Ign|Blk)' /proc/1/status"
    ended = station.engine.run("--", "sh", "-c", script, volume=volume)
    assert ended.code == 0
    assert hub.log.entries()
    descriptors, rest = ended.out.split()[:3], ended.out.split()[3:]
    assert descriptors == ["0", "1", "2"]
    assert rest[0] == "1"
    masks = dict(zip(rest[1::2], rest[2::2], strict=True))
    assert {name: int(mask, 16) for name, mask in masks.items()} == {"SigBlk:": 0, "SigIgn:": 0}


def test_signals_and_umask_are_the_containers(engine: Engine, filled: Filled) -> None:
    """Nothing is blocked or ignored, and the umask is the container's, as if the app had been started directly."""
    script = "umask; grep -E '^Sig(Ign|Blk)' /proc/self/status; ulimit -a"
    ours = engine.run("--", "sh", "-c", script, volume=filled.volume)
    directly = engine.shell(script, volume=filled.volume)
    assert ours.out == directly.out
    assert ours.out.startswith("0022\n")
    # Without a shell, which has masks of its own.
    ours = engine.run("--", "grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status", volume=filled.volume)
    assert ours.out == "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"


def test_exit_code_comes_out(engine: Engine, filled: Filled) -> None:
    """The container ends with the app's exit code."""
    assert engine.run("--", "sh", "-c", "exit 7", volume=filled.volume).code == 7


def test_command_without_dashes(engine: Engine, filled: Filled) -> None:
    """A first word that is no sub-command begins the app's command line; what follows it is the app's, options too."""
    ended = engine.run("echo", "--help", "status", "--", "--phase", volume=filled.volume)
    assert (ended.code, ended.out) == (0, "--help status -- --phase\n")


def test_options_before_the_app(engine: Engine, filled: Filled) -> None:
    """What stands before `--` and begins with a dash is ours, and wins over the environment."""
    ended = engine.run("--phase", "comprehensive", "--", "echo", "there", volume=filled.volume, env={"PHASE": "elsewhere"})
    assert (ended.code, ended.out) == (0, "there\n")


def test_app_gets_sigterm(station: Station, hub: HubServer) -> None:
    """`docker stop` reaches the app, which ends as it likes; its exit code comes out."""
    volume = station.engine.volume()
    box = station.engine.start("python", "/srv/app.py", "--serve", volume=volume, mounts={APP: "/srv"}, env={"PHASE": "minimal"})
    box.wait_line("serving until SIGTERM")
    assert hub.log.entries(origin="cdn")
    ended, seconds = box.stop()
    assert ended.code == 0
    assert seconds < 2
    lines = ended.out.splitlines()
    assert lines[0] == "app: process 1, data sets in /data/datasets"
    assert lines[1] == f"app: experiment logs would go to {REPOSITORY}"
    assert [line.split()[1] for line in lines[2:6]] == ["fma_small", "ljspeech", "nsynth", "urmp"]
    assert lines[-1] == "app: asked to end, bye"


def test_app_that_knows_no_signals(engine: Engine, filled: Filled) -> None:
    """With `--init` an app that handles no signals ends by SIGTERM too."""
    box = engine.start("--", "sh", "-c", "echo here; exec sleep infinity", volume=filled.volume, init=True)
    box.wait_line("^here$")
    ended, seconds = box.stop()
    assert ended.code == 143
    assert seconds < 2


def test_environment(engine: Engine, filled: Filled) -> None:
    """The app's environment is the container's and the exported names: nothing of our interpreter, and PATH as it was."""
    given = {"PYTHONPATH": "/the/users", "MINE": "stays"}
    ended = engine.run("--", "env", "-0", volume=filled.volume, env=given)
    directly = engine.shell("exec env -0", volume=filled.volume, env=given)
    ours, plain = environment_of(ended.out), environment_of(directly.out)
    plain.pop("PWD")  # the shell's own
    exported = {"DATASETS_DIR": "/data/datasets", "TRACKIO_DATASET_REPO": REPOSITORY, "TRACKIO_DATASET_ID": REPOSITORY}
    # Some of the data sets are repositories that were published as they are: the app's Hub client finds them here.
    exported["HF_HUB_CACHE"] = "/data/.cache/huggingface/hub"
    assert ours == {**plain, **exported}
    assert "VIRTUAL_ENV" not in ours
    assert "/opt/provisioner" not in "".join(ours.values())


def test_what_the_user_set_stays(engine: Engine, filled: Filled) -> None:
    """An exported name that the user has set is not overridden."""
    given = {"TRACKIO_DATASET_REPO": "mine/logs", "DATASETS_DIR": "/elsewhere"}
    ended = engine.run(
        "--",
        "env",
        "-0",
        volume=filled.volume,
        read_only_volume=True,
        env=given,
        expect=["goes on without updating"],
    )
    ours = environment_of(ended.out)
    assert (ours["TRACKIO_DATASET_REPO"], ours["DATASETS_DIR"]) == ("mine/logs", "/elsewhere")


def test_misspelled_command(engine: Engine, hub: HubServer) -> None:
    """A misspelled sub-command is no app: 127 before any request, nothing written, and the nearest command is named."""
    ended = engine.run("statsu", volume=engine.volume(), expect=[r"\[app-not-found\] 'statsu' is no command", "'status'"])
    assert ended.code == 127
    assert not hub.log.entries()


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        ("/srv/missing.py", 127, "app-not-found"),
        ("/etc/passwd", 126, "app-not-executable"),
        ("/srv", 126, "app-not-executable"),
    ],
)
def test_app_that_cannot_be_started(engine: Engine, hub: HubServer, command: str, code: int, says: str) -> None:
    """An app that is not there, or may not be executed, is told at once: no request is made."""
    ended = engine.run("--", command, volume=engine.volume(), expect=[rf"\[{says}\] .*'{command}'", r"ERROR [^[]"])
    assert ended.code == code
    assert not hub.log.entries()


def test_script_without_its_interpreter(engine: Engine, filled: Filled) -> None:
    """A script whose interpreter is missing is found out by the system alone: 126, and the message says what is missing."""
    script = "printf '#!/no/such/interpreter\\n' >/tmp/app; chmod +x /tmp/app; exec provisioner -- /tmp/app"
    ended = engine.shell(script, volume=filled.volume)
    assert ended.code == 126
    assert "its interpreter (the first line of the script) does not exist" in ended.err
