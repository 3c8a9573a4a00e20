"""``doctor``: what this program needs of the volume, the settings, the clock, the token and the Hub, tried out one by one.

Each answer says what was tried, what came of it, and what to do. Files are made under a name of their own and taken away again;
nothing of the volume's is touched, and nothing is fetched.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from provisioner.commands.result import CommandResult
from provisioner.engine.clients import Clients
from provisioner.engine.installation import in_image, load_catalog
from provisioner.engine.supervise import deadline, supervise
from provisioner.engine.volume_session import VolumeSession
from provisioner.errors import AccessDeniedError, NotFoundError, ProvisionerError, VolumeError, VolumeNotWritableError
from provisioner.remote.proxies import Proxies
from provisioner.remote.retry import RetryPolicy
from provisioner.reporting.units import format_bytes
from provisioner.settings.model import SETTINGS
from provisioner.volume.archive.tree_writer import TreeWriter
from provisioner.volume.fs.atomic import TEMPORARY_PREFIX, exchange, write_atomic, write_new
from provisioner.volume.fs.directories import make_directory
from provisioner.volume.fs.durable import fsync_directory, sync_tree
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.fs.lock import describe_holder, writer_lock
from provisioner.volume.fs.mounts import is_persistent
from provisioner.volume.fs.remove import remove_tree
from provisioner.volume.fs.space import free_bytes
from provisioner.volume.store.json_file import read_json

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from provisioner.cancellation import Cancellation
    from provisioner.commands.request import CommandRequest
    from provisioner.settings.model import Settings

Word = Literal["ok", "note", "WRONG"]

DESCRIPTION: Final = """\
Try out what a run needs: settings, catalog, clock, volume, certificates, proxy, Hub and token; say what to fix. Files are
made under a temporary name and removed again; no data are fetched."""

PATIENCE: Final = RetryPolicy(attempts=2, base_seconds=0.5, cap_seconds=1.0, total_seconds=15.0)
"""Somebody waits in front of a screen."""
_FEW_INODES: Final = 100_000
"""What a data set of many small files takes without trouble."""
_TOLD: Final = 2020
"""A clock that shows an earlier year was never set: certificates are refused."""
_AHEAD_SECONDS: Final = 120.0
_NEAR: Final = 0.85
"""How like a setting's name a variable must be to be taken for a misspelling."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one trial."""

    name: str
    word: Word
    text: str
    hint: str = ""
    error: ProvisionerError | None = None
    """What a run would fail with."""

    def as_record(self) -> dict[str, Any]:
        """Return the form in which ``--json`` carries it."""
        return {"check": self.name, "result": self.word.lower(), "message": self.text, "hint": self.hint}

    def __str__(self) -> str:
        return f"{self.word:<6} {self.name}: {self.text}" + (f"\n       {self.hint}" if self.hint else "")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe no options: the common ones are enough."""


def run(request: CommandRequest) -> CommandResult:
    """Try out everything.

    Raises:
        ProvisionerError: it was cancelled; what is wrong is in the result.
    """
    settings, cancellation = request.settings, request.cancellation
    doctor = _Doctor(settings, request.environ, in_image=in_image(), cancellation=cancellation)
    with deadline(settings.deadline_seconds, cancellation):
        results = supervise(lambda: list(doctor.results()), cancellation, lambda: None)
    wrong = [result for result in results if result.word == "WRONG"]
    lines = [str(result) for result in results]
    lines.append(f"{len(results)} checks: {f'{len(wrong)} wrong' if wrong else 'all right'}")
    document = {"checks": [result.as_record() for result in results], "wrong": len(wrong)}
    return CommandResult(document, "\n".join(lines), wrong[0].error if wrong else None)


class _Doctor:
    def __init__(self, settings: Settings, environ: Mapping[str, str], *, in_image: bool, cancellation: Cancellation) -> None:
        self._settings = settings
        self._environ = environ
        self._in_image = in_image
        self._cancellation = cancellation
        self._holding = VolumeSession(settings, cancellation)
        self._layout = self._holding.layout
        self._edges = Clients(settings, self._layout.root, cancellation, PATIENCE)

    def results(self) -> Iterator[Result]:
        """Try everything, in the order in which a run would fail."""
        yield from self._about_settings()
        yield self._tried("catalog", self._catalog)
        yield self._clock()
        yield from self._about_volume()
        yield self._tried("certificates", self._certificates)
        yield self._proxies()
        yield self._tried("hub", self._hub)
        yield self._tried("token", self._token)

    def _tried(self, name: str, trial: Callable[[], Result | str]) -> Result:
        self._cancellation.raise_if_requested()
        try:
            result = trial()
        except ProvisionerError as error:
            self._cancellation.raise_if_requested()
            return Result(name, "WRONG", error.message, error.hint, error)
        return Result(name, "ok", result) if isinstance(result, str) else result

    # --- settings -----------------------------------------------------------------------------------------------

    def _about_settings(self) -> Iterator[Result]:
        sentences = [*self._settings.warnings, *self._settings.unused]
        known = {name for setting in SETTINGS for name in setting.names} | {f"{each.name}_FILE" for each in SETTINGS}
        plain = [setting.name for setting in SETTINGS]
        for name in sorted(self._environ.keys() - known):
            near = difflib.get_close_matches(name, plain, 1, _NEAR)
            if near and name.isupper() and not name.startswith("PROVISIONER_"):
                sentences.append(f"{name} is set and is no setting. Did you mean {near[0]!r}?")
        for sentence in sentences:
            yield Result("settings", "note", sentence)
        if not sentences:
            yield Result("settings", "ok", "all names are known")

    def _catalog(self) -> str:
        catalog = load_catalog(self._settings.catalog_path)
        return f"{self._settings.catalog_path}: well formed, {len(catalog.datasets)} data sets"

    def _clock(self) -> Result:
        now = time.time()
        told = (read_json(self._layout.status) or {}).get("updated_at")
        ahead = 0.0
        with contextlib.suppress(ValueError):
            ahead = datetime.fromisoformat(str(told)).timestamp() - now
        if datetime.fromtimestamp(now, UTC).year < _TOLD or ahead > _AHEAD_SECONDS:
            why = f"; the volume's status is from {told}" if ahead > _AHEAD_SECONDS else ""
            return Result("clock", "note", f"it is {_shown(now)} here{why}", "Set the clock: certificates are judged by it.")
        return Result("clock", "ok", f"it is {_shown(now)}")

    # --- the volume ---------------------------------------------------------------------------------------------

    def _about_volume(self) -> Iterator[Result]:
        root = self._layout.root
        if self._holding.kind == "object":
            external = self._settings.lock == "external"
            text = f"{root} is an object store's mount: locks hold within one mount only"
            error = None if external else VolumeError(f"{text}; nothing can be written", hint="Set LOCK=external.")
            hint = "" if external else "If there is only one writer, set LOCK=external (and STAGING_DIR to a local disk)."
            yield Result("mount", "note" if external else "WRONG", text, hint, error)
        elif self._in_image and not is_persistent(root):
            hint = f"Mount a volume, e.g. -v data:{root}"
            yield Result("mount", "note", f"{root} is no mounted volume: what is fetched is gone with the container", hint)
        else:
            yield Result("mount", "ok", f"{root} is an ordinary file system")
        yield self._space(root)
        if not root.is_dir():
            hint = "Make it, or let 'provision' do so: it needs the right to write above it."
            yield Result("volume", "note", f"{root} is not there yet: nothing could be tried out on it", hint)
            return
        yield from self._probes(root)
        if self._settings.staging_dir is not None and self._layout.staging.is_dir():
            yield self._tried("staging", lambda: self._in_directory(self._layout.staging, self._writing))

    def _space(self, root: Path) -> Result:
        def measure() -> Result | str:
            place = root
            while not place.exists() and place != place.parent:
                place = place.parent
            inodes = os.statvfs(place) if hasattr(os, "statvfs") else None
            text = f"{format_bytes(free_bytes(root))} free"
            if inodes is None or not inodes.f_files:
                return text
            text += f", {inodes.f_favail:,} inodes free"
            hint = "Many small files need many inodes: make the file system with more of them."
            return text if inodes.f_favail >= _FEW_INODES else Result("space", "note", text, hint)

        return self._tried("space", measure)

    def _probes(self, root: Path) -> Iterator[Result]:
        result = self._tried("write", lambda: self._in_directory(root, self._writing))
        yield result
        if result.error is not None:
            readable = "all that is there can be read: a run with nothing to do, 'verify' and 'status' work"
            if isinstance(result.error, VolumeNotWritableError):
                yield Result("volume", "note", readable)
            return
        if self._settings.staging_dir is None:
            yield self._tried("staging", lambda: self._in_directory(root, self._staging))
        yield self._tried("names", lambda: self._in_directory(root, self._naming))
        yield self._tried("rename", lambda: self._in_directory(root, self._renaming))
        yield self._tried("links", lambda: self._in_directory(root, self._linking))
        yield self._tried("lock", lambda: self._in_directory(root, self._locking))

    def _in_directory(self, root: Path, trial: Callable[[Path], Result | str]) -> Result | str:
        """Try something in a directory of its own, which goes again; were we killed, a run would take it away."""
        directory = root / f"{TEMPORARY_PREFIX}{os.getpid():x}-{secrets.token_hex(8)}"
        try:
            make_directory(directory)
            return trial(directory)
        finally:
            with contextlib.suppress(ProvisionerError):
                remove_tree(directory)

    @staticmethod
    def _writing(directory: Path) -> str:
        write_new(directory / "file", b"x" * 4096)
        write_atomic(directory / "file", b"y" * 4096)
        sync_tree(directory)
        fsync_directory(directory)
        with disk_errors("reading back", directory):
            if (directory / "file").read_bytes() != b"y" * 4096:
                raise VolumeError(f"{directory}: what was written is not what is read", hint="Do not use this volume.")
        return f"written, replaced and made durable as uid {os.geteuid() if hasattr(os, 'geteuid') else '?'}"

    @staticmethod
    def _staging(directory: Path) -> str:
        with disk_errors("writing into the middle of a file", directory), (directory / "file").open("xb", buffering=0) as file:
            file.truncate(8192)
            for place in (4096, 0):
                file.seek(place)
                file.write(b"x" * 4096)
        return "large files can arrive in any order"

    @staticmethod
    def _naming(directory: Path) -> Result | str:
        with disk_errors("trying names", directory), TreeWriter(directory) as tree:
            if not tree.folds_names():
                return "capital letters are told from small ones"
        return Result(
            "names",
            "note",
            "capital letters count as small ones: data sets with names that differ in nothing else are refused",
        )

    @staticmethod
    def _renaming(directory: Path) -> Result | str:
        make_directory(directory / "one")
        make_directory(directory / "two")
        with disk_errors("exchanging two folders", directory):
            at_once = exchange(directory / "one", directory / "two")
            os.rename(directory / "one", directory / "three")
        if at_once:
            return "folders are renamed, and exchanged in one step"
        return Result("rename", "note", "folders are renamed; 'repair' exchanges them in two steps, with a moment of neither")

    @staticmethod
    def _linking(directory: Path) -> Result | str:
        write_new(directory / "file", b"")
        lacks = []
        try:
            (directory / "link").symlink_to("file")
        except OSError:
            lacks.append("no symbolic links: data sets are published as folders (PUBLISH=dir)")
        try:
            os.link(directory / "file", directory / "name")
        except OSError:
            lacks.append("no hard links: what versions share is copied")
        return Result("links", "note", "; ".join(lacks)) if lacks else "symbolic and hard links"

    def _locking(self, directory: Path) -> Result | str:
        if self._settings.lock == "external":
            return Result("lock", "note", "LOCK=external: somebody else makes sure that there is only one writer")
        with writer_lock(
            directory / "lock",
            holder={"doctor": True},
            timeout_seconds=0.0,
            cancellation=self._cancellation,
            waiting=lambda *_: None,
        ):
            pass
        if not self._layout.lock.exists():
            return "kernel locks work"
        return f"kernel locks work; the last writer was {describe_holder(self._layout.lock)}"

    # --- the network --------------------------------------------------------------------------------------------

    def _certificates(self) -> str:
        self._edges.check()
        file = self._settings.ssl_cert_file
        return f"those in {file}" if file else "the system's"

    def _proxies(self) -> Result:
        given = self._settings
        proxy = Proxies(given.http_proxy, given.https_proxy, given.no_proxy or "").for_url(given.hf_endpoint)
        # Whoever reads this need not see the proxy's password: its host is enough.
        text = (
            f"the Hub is asked through {proxy.rpartition('@')[2].partition('://')[2] or proxy.rpartition('@')[2]}"
            if proxy
            else ""
        )
        return Result("proxy", "ok", text or "the Hub is asked directly")

    def _hub(self) -> Result | str:
        if self._settings.hf_hub_offline:
            return Result("hub", "note", "not asked, since HF_HUB_OFFLINE is set")
        endpoint = self._settings.hf_endpoint
        # An answer is an answer, also one that knows no such page.
        with contextlib.suppress(NotFoundError, AccessDeniedError):
            self._edges.http.facts(f"{endpoint}/")
        return f"{endpoint} answers"

    def _token(self) -> Result | str:
        if self._settings.hf_token is None:
            hint = "Set HF_TOKEN for gated data sets and for the repository of the app's logs."
            return Result("token", "note", "there is none: public data sets can be fetched", hint)
        if self._settings.hf_hub_offline:
            return Result("token", "note", "not tried, since HF_HUB_OFFLINE is set")
        return f"it is that of {self._edges.hub.whoami()['name']}"


def _shown(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
