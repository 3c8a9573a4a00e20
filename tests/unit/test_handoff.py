"""The app is looked up before the first byte is fetched, as a shell would do it; nothing of ours is left behind for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from provisioner.cli.handoff import find_app
from provisioner.errors import AppNotExecutableError, AppNotFoundError

COMMANDS = ("provision", "plan", "status", "list")
CHECKOUT = Path(__file__).parents[2]


def program(path: Path, *, mode: int = 0o755, text: str = "#!/bin/sh\n") -> Path:
    """Write a program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_by_name(tmp_path: Path) -> None:
    """The first executable file along the PATH that the app will get is the app."""
    program(tmp_path / "one" / "app", mode=0o644)
    wanted = program(tmp_path / "two" / "app")
    program(tmp_path / "three" / "app")
    path = os.pathsep.join(str(tmp_path / name) for name in ("none", "one", "two", "three"))
    assert find_app(["app", "--flag"], {"PATH": path}, COMMANDS) == str(wanted)


def test_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An absolute or relative path is used without a look at PATH."""
    wanted = program(tmp_path / "bin" / "app")
    assert find_app([str(wanted)], {"PATH": ""}, COMMANDS) == str(wanted)
    monkeypatch.chdir(tmp_path)
    assert find_app(["bin/app"], {}, COMMANDS) == "bin/app"


def test_without_a_path() -> None:
    """Without PATH the system's usual directories are searched."""
    assert Path(find_app(["sh"], {}, COMMANDS)).name == "sh"


@pytest.mark.parametrize(("word", "hint"), [("statsu", "status"), ("plann", "plan"), ("zzzzz", "--")])
def test_not_found(word: str, hint: str) -> None:
    """An unknown word is exit code 127, with the nearest command of ours."""
    with pytest.raises(AppNotFoundError, match=word) as caught:
        find_app([word], {"PATH": "/nowhere"}, COMMANDS)
    assert hint in caught.value.hint
    assert caught.value.exit_code == 127


@pytest.mark.parametrize("word", ["x" * 300, "x" * 5000, f"{'x/' * 3000}x", f"/{'x' * 300}", "a\0b"])
def test_names_that_no_file_can_have(word: str) -> None:
    """A name that is too long or invalid for a file is reported as not found, not with the system's own error."""
    with pytest.raises(AppNotFoundError):
        find_app([word], {"PATH": f"/usr/bin:{'y' * 300}:/{'z/' * 3000}"}, COMMANDS)


def test_a_directory_that_may_not_be_searched(tmp_path: Path) -> None:
    """Directories in ``PATH`` may belong to another user; the app is then reported as not found."""
    (tmp_path / "other").mkdir(mode=0o000)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(54321)  # root may search everything
    try:
        with pytest.raises(PermissionError):
            (tmp_path / "other" / "bin" / "statsu").stat()
        with pytest.raises(AppNotFoundError):
            find_app(["statsu"], {"PATH": str(tmp_path / "other" / "bin")}, COMMANDS)
    finally:
        if is_root:
            os.seteuid(0)


def test_not_executable(tmp_path: Path) -> None:
    """A file that is not executable is exit code 126, with what to do about it."""
    path = program(tmp_path / "app", mode=0o644)
    for word, environ in ((str(path), {}), ("app", {"PATH": str(tmp_path)})):
        with pytest.raises(AppNotExecutableError) as caught:
            find_app([word], environ, COMMANDS)
        assert caught.value.hint == f"Make it executable: chmod +x {path}"
        assert caught.value.exit_code == 126


def test_a_directory(tmp_path: Path) -> None:
    """A directory is exit code 126: it cannot be executed."""
    with pytest.raises(AppNotExecutableError) as caught:
        find_app([str(tmp_path)], {}, COMMANDS)
    assert caught.value.hint == "It is a directory."


EXEC = """
import os, signal, sys
from provisioner.cli.handoff import exec_app, original_mask
from provisioner.errors import ProvisionerError
mask = original_mask()
exec(sys.argv[1])
try:
    exec_app(sys.argv[2], sys.argv[2:], {"ONLY": "this"}, mask=mask, umask=0o027, received=lambda: None)
except ProvisionerError as error:
    print(type(error).__name__, error.message)
"""


def replaced(before: str, *command: str) -> str:
    """Replace a process by ``command`` after executing ``before``, and return the output."""
    done = subprocess.run(
        [sys.executable, "-c", EXEC, before, *command], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_only_the_given_environment() -> None:
    """The app gets the given environment and nothing else."""
    seen = replaced("", "/usr/bin/env").split()
    assert [word for word in seen if not word.startswith("LC_CTYPE=")] == ["ONLY=this"]


def test_dispositions_and_mask() -> None:
    """For the app, signals have their default actions, and the masks are what they were when we began."""
    before = "signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal(signal.SIGINT, lambda *_: None)"
    # The shell becomes the reader: one that has just started a child has all signals blocked for a moment.
    umask, *seen = replaced(before, "/bin/sh", "-c", "umask; exec grep -E '^Sig(Ign|Blk)|^Shd' /proc/self/status").split()
    facts = dict(zip(seen[::2], seen[1::2], strict=True))
    ignored, blocked = int(facts["SigIgn:"], 16), int(facts["SigBlk:"], 16)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP):
        assert not ignored & 1 << number - 1
    assert blocked == 0
    assert umask == "0027"


def test_a_signal_that_came_too_early() -> None:
    """A signal that is pending when the app is about to start ends the provisioner, and the app does not start."""
    before = "signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,)); os.kill(os.getpid(), signal.SIGTERM)"
    assert replaced(before, "/bin/echo", "the app") == "InterruptedBySignal stopped by signal 15\n"


def test_children_are_reaped() -> None:
    """Children of other processes that we inherited are reaped before the app starts."""
    before = "child = os.fork()\nif not child: os._exit(0)\nos.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)"
    script = "import os, json\ntry: os.waitpid(-1, os.WNOHANG)\nexcept ChildProcessError: print(json.dumps(True))"
    assert json.loads(replaced(before, sys.executable, "-c", script)) is True


def test_a_reference_is_no_app() -> None:
    """What is probably to be fetched is answered with the option that fetches it."""
    with pytest.raises(AppNotFoundError) as caught:
        find_app(["hf://acme/sounds"], {"PATH": ""}, COMMANDS)
    assert "'--dataset hf://acme/sounds'" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "words"), [("#!/nowhere/sh\n", "interpreter"), ("just text\n", "neither a program"), ("", "neither a program")]
)
def test_what_the_system_refuses(tmp_path: Path, text: str, words: str) -> None:
    """What the system refuses to execute is exit code 126, with the reason."""
    path = program(tmp_path / "app", text=text)
    said = replaced("", str(path))
    assert said.startswith("AppNotExecutableError")
    assert words in said
