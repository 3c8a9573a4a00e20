"""Containers of the image under test and volumes for them; everything is removed afterwards.

    engine.start("plan", volume=name, user="123456:0")      a container that is running
    engine.run("plan", volume=name)                         a container that has ended

A test must expect each WARNING or ERROR that its containers log, and each expected one must appear.
The containers share the host's network, so that they reach servers on loopback.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import secrets
import subprocess
import tarfile
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from testcontainers.compose import DockerCompose
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.docker_client import DockerClient

from tests.support import tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

# The reaper of testcontainers is a separate image, which cannot be pulled without a registry; this module cleans up itself.
testcontainers_config.ryuk_disabled = True

IMAGE: Final = os.environ.get("PROVISION_IMAGE", "provisioner:latest")
PROGRAM: Final = ["/opt/provisioner/bin/python", "-I", "/opt/provisioner/app/entrypoint.py"]
"""The command that the image runs."""
PATIENCE: Final = 60
"""Timeout in seconds for anything that a test waits for."""
_WORRY: Final = re.compile(r"^\d\d:\d\d:\d\d (?:WARNING|ERROR|CRITICAL) |Traceback|Exception (?:ignored|in thread)", re.MULTILINE)
LICENCE_NOTE: Final = (
    r"WARNING \w+: .*commercial use is allowed.* \(https://\S+\); ACCEPT_LICENSES=\w+ accepts it without this warning$"
)
"""Log lines of the catalog about licences; always allowed."""


@dataclass(frozen=True)
class Ended:
    """How a container, or a command in one, ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Return its standard output, which must be one JSON document."""
        return json.loads(self.out)


class Box:
    """A container, removed together with the :class:`Engine` that created it."""

    def __init__(self, container: DockerContainer, expect: Sequence[str], *, ours: bool) -> None:
        """Start the container."""
        self._container = container
        self._expect = expect
        self._ours = ours
        container.start()
        self.docker = container.get_wrapped_container()
        """The container object of the Docker SDK."""

    @property
    def logs(self) -> tuple[str, str]:
        """Return its standard output and standard error so far."""
        out, err = self._container.get_logs()
        return out.decode(), err.decode()

    def wait(self) -> Ended:
        """Wait until it has ended."""
        code = int(self.docker.wait(timeout=PATIENCE)["StatusCode"])
        ended = Ended(code, *self.logs)
        if self._ours:
            token = self._container.env.get("HF_TOKEN")
            assert not token or token not in ended.err, "the token is in the log"
            check_worries(ended.err, self._expect)
        return ended

    def wait_line(self, pattern: str) -> str:
        """Wait until a line of its log matches, and return that line."""
        with _following("logs", "--follow", str(self.docker.id)) as lines:
            text = []
            for line in lines:
                text.append(line)
                if re.search(pattern, line):
                    return line
        raise AssertionError(f"{pattern!r} never came: {''.join(text)}")

    def stop(self, grace: int = 10) -> tuple[Ended, float]:
        """Stop it as ``docker stop`` does; return how it ended and how many seconds that took."""
        begun = time.monotonic()
        self.docker.stop(timeout=grace)
        return self.wait(), time.monotonic() - begun

    def kill(self, signal: str = "SIGKILL") -> None:
        """Send a signal as ``docker kill`` does."""
        self.docker.kill(signal)
        tally.count("kills", signal == "SIGKILL")

    def call(self, *command: str, **options: Any) -> Ended:
        """Run a command in the container, as ``docker exec`` does."""
        code, (out, err) = self.docker.exec_run(list(command), demux=True, **options)
        return Ended(code, (out or b"").decode(), (err or b"").decode())

    def read(self, path: str) -> bytes:
        """Return a file of the container or of its volumes, even after it has ended."""
        pieces, _ = self.docker.get_archive(path)
        with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as archive:
            file = archive.extractfile(archive.getmembers()[0])
            assert file is not None, f"{path} is no file"
            return file.read()

    def status(self) -> Any:
        """Return the volume's status document."""
        return json.loads(self.read("/data/dataset_status.json"))

    def remove(self) -> None:
        """Remove the container, whether it is running or not."""
        self._container.stop()


def check_worries(log: str, expect: Iterable[str]) -> None:
    """Compare the warnings and errors of a log with those that the test expects."""
    lines = [line for line in log.splitlines() if _WORRY.search(line)]
    unexpected = [line for line in lines if not any(re.search(pattern, line) for pattern in (*expect, LICENCE_NOTE))]
    assert not unexpected, f"unexpected: {unexpected}\n{log}"
    unsaid = [pattern for pattern in expect if not any(re.search(pattern, line) for line in lines)]
    assert not unsaid, f"not said: {unsaid}\n{log}"


class Engine:
    """Creates containers and volumes, and removes them at the end of its block."""

    def __init__(self, defaults: Mapping[str, str] | None = None, mounts: Mapping[Path | str, str] | None = None) -> None:
        """Prepare an engine.

        Args:
            defaults: environment variables of every container.
            mounts: read-only mounts of every container: path on this machine to path in the container.
        """
        self.client = DockerClient().client
        self.defaults = dict(defaults or {})
        self.mounts = dict(mounts or {})
        self._boxes: list[Box] = []
        self._closers: list[Callable[[], object]] = []

    def __enter__(self) -> Self:
        """Return the engine itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Remove everything, containers first, whatever fails on the way."""
        failures: list[Exception] = []
        for close in [*(box.remove for box in reversed(self._boxes)), *reversed(self._closers), self.client.close]:
            try:
                close()
            except Exception as failure:  # noqa: BLE001 - the next one must go all the same
                failures.append(failure)
        if failures:
            raise ExceptionGroup("not everything could be removed", failures)

    def volume(self, **options: Any) -> str:
        """Create a named volume and return its name."""
        name = f"provisioner-test-{secrets.token_hex(6)}"
        volume = self.client.volumes.create(name, **options)
        self._closers.append(lambda: volume.remove(force=True))
        return name

    def start(
        self,
        *arguments: str,
        volume: str | Path | None = None,
        read_only_volume: bool = False,
        mounts: Mapping[Path | str, str] | None = None,
        env: Mapping[str, str] | None = None,
        expect: Sequence[str] = (),
        image: str = IMAGE,
        publish: int | None = None,
        **options: Any,
    ) -> Box:
        """Start a container.

        Args:
            arguments: its command line: what follows ``docker run IMAGE``.
            volume: the volume, or a directory, that is mounted at ``/data``.
            read_only_volume: mount the volume read-only (``-v NAME:/data:ro``).
            mounts: further read-only mounts; a target ``PATH:rw`` makes one writable.
            env: environment variables in addition to the usual ones.
            expect: patterns of the warnings and errors that must appear; no others may.
            image: another image than the one under test.
            publish: a port to publish on a free port of this machine; the container then has a network of its own.
            options: further options of the Docker SDK.
        """
        container = DockerContainer(image, env={**self.defaults, **(env or {})}).with_command(list(arguments))
        if volume is not None:
            container.with_volume_mapping(str(volume), "/data", "ro" if read_only_volume else "rw")
        for source, place in {**self.mounts, **(mounts or {})}.items():
            target, _, mode = place.partition(":")
            container.with_volume_mapping(str(source), target, mode or "ro")
        if publish is not None:
            container.with_exposed_ports(publish)
        container.with_kwargs(**{"network_mode": "bridge" if publish is not None else "host", **options})
        box = Box(container, expect, ours="entrypoint" not in options)
        tally.count("processes")
        self._boxes.append(box)
        return box

    def run(self, *arguments: str, **options: Any) -> Ended:
        """Run a container until it has ended."""
        return self.start(*arguments, **options).wait()

    def shell(self, script: str, **options: Any) -> Ended:
        """Run a shell script in a container of the image."""
        return self.run("-ec", script, entrypoint=["sh"], **options)

    def wait_health(self, box: Box, state: str) -> None:
        """Wait until the engine reports a container as ``healthy`` or ``unhealthy``."""
        filters = ("--filter", f"container={box.docker.id}", "--filter", "event=health_status")
        with _following("events", "--since", "10m", *filters, "--format", "{{.Action}}") as lines:
            seen = []
            for line in lines:
                seen.append(line.strip())
                if seen[-1] == f"health_status: {state}":
                    return
        raise AssertionError(f"never {state}: {seen}")


@contextlib.contextmanager
def _following(*arguments: str) -> Iterator[Iterator[str]]:
    """Yield the lines of a Docker command that runs until stopped; the SDK's streams leak a socket when abandoned."""
    command = ["docker", *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        timer = threading.Timer(PATIENCE, process.kill)
        timer.start()
        try:
            yield iter(process.stdout)
        finally:
            timer.cancel()
            process.kill()


class Project:
    """A Compose project, removed with its volumes and networks."""

    def __init__(self, context: Path, files: Sequence[Path], settings: Mapping[str, str], env_file: Path) -> None:
        """Prepare the project; ``settings`` are written to ``env_file``, which takes the place of ``.env``."""
        lines = {"COMPOSE_PROJECT_NAME": f"provisioner-test-{secrets.token_hex(6)}", **settings}
        env_file.write_text("".join(f"{name}='{value}'\n" for name, value in lines.items()), "utf-8")
        self.compose = DockerCompose(context, [str(file) for file in files], wait=False, env_file=str(env_file))
        self._context = context
        self._client = DockerClient().client

    def remove(self) -> None:
        """Remove containers, volumes and networks."""
        self._client.close()
        self.compose.stop()

    def up(self) -> Ended:
        """Run ``docker compose up --detach``, which ends when the app has been started or cannot be."""
        return self.command("up", "--detach", "--no-build")

    def command(self, *arguments: str) -> Ended:
        """Run a Compose command."""
        command = [*self.compose.docker_compose_command(), *arguments]
        done = subprocess.run(
            command, cwd=self._context, capture_output=True, text=True, check=False, timeout=PATIENCE, stdin=subprocess.DEVNULL
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def service(self, name: str) -> Any:
        """Return the SDK's container object of a service."""
        found = self.compose.get_container(name, include_all=True)
        return self._client.containers.get(found.ID)

    def wait(self, name: str) -> Ended:
        """Wait until a service's container has ended."""
        container = self.service(name)
        code = int(container.wait(timeout=PATIENCE)["StatusCode"])
        return Ended(code, container.logs(stderr=False).decode(), container.logs(stdout=False).decode())
