"""Update the examples in the documents with the program's own output on the miniature collection.

    python -m tools.examples_doc [--check]

An example stands between ``<!-- example NAME:begin -->`` and ``<!-- example NAME:end -->``. Times, ports, paths and other
values that differ from run to run are replaced by the texts in :data:`VARYING`.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.support import miniature
from tests.support.hub_model import demo_accounts
from tests.support.hub_server import HubServer
from tools.generated import ROOT
from tools.mistakes import MISTAKES, Mistake

if TYPE_CHECKING:
    from tests.support.miniature import Collection

FREE_BYTES: Final = 100_000_000_000
VARYING: Final[tuple[tuple[str, str], ...]] = (
    (r"\b\d\d:\d\d:\d\d (?=[A-Z])|^\d\d:\d\d:\d\d ", "20:21:10 "),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "2026-11-23T20:21:10Z"),
    (r"run \d{8}T\d{6}Z-[0-9a-f]{6} on [^)\s]+", "run 20261123T202110Z-75f48f on host"),
    (r"on host \S+, process \d+", "on host host, process 1"),
    (r"127\.0\.0\.1:\d+", "127.0.0.1:8080"),
    (r"\b([0-9a-f]{12})[0-9a-f]{28}\b", r"\1…"),
    (r"\b(sha256 is |expected )([0-9a-f]{4})[0-9a-f]{60}", r"\1\2…"),
    (r"after \d+ s: ", "after 3 s: "),
    (r"\([0-9.]+ [kMG]?B/s\)", "(1.10 MB/s)"),
    (r"over \d+ s, at last", "over 40 s, at last"),
    (r"\buid \d+", "uid 1000"),
    (r"chown -R \d+:0", "chown -R 1000:0"),
)
"""Patterns of values that differ from run to run, and their replacements."""


@dataclass
class Stage:
    """A directory with a volume, a Hub on loopback with the miniature collection, and a catalog for it."""

    scratch: Path
    server: HubServer
    collection: Collection
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def volume(self) -> Path:
        """The volume's root."""
        return self.scratch / "data"

    def run(self, arguments: Sequence[str], under: Sequence[str] = (), **changes: str) -> tuple[str, int]:
        """Run the program; return its output, as shown in a document, and its exit code."""
        home = self.scratch / "home"
        home.mkdir(exist_ok=True)
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "TERMINATION_LOG": str(self.scratch / "termination-log"),
            "DATA_DIR": str(self.volume),
            "CONNECTIONS": "1",
            "EXAMPLE_FREE_BYTES": str(FREE_BYTES),
            "PYTHONPATH": str(ROOT),
            **self.settings,
            **{name: value.replace("SCRATCH", str(self.scratch)) for name, value in changes.items()},
        }
        command = [
            *under,
            sys.executable,
            "-m",
            "tools.example_run",
            *(word.replace("SCRATCH", str(self.scratch)) for word in arguments),
        ]
        done = subprocess.run(  # noqa: S603 - put together above
            command,
            env={name: value for name, value in environ.items() if value},
            cwd=self.scratch,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return self.shown(done.stdout.replace(environ["DATA_DIR"], "/data")), done.returncode

    def shown(self, text: str) -> str:
        """Return a text with the values that differ from run to run replaced."""
        text = text.replace(self.server.endpoint, "https://huggingface.co")
        text = text.replace(f"{self.scratch}/", "").replace(f"{ROOT}/", "")
        for pattern, replacement in VARYING:
            text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
        return text.rstrip("\n")


Maker = Callable[[Stage], str]


def block(*parts: str) -> str:
    """Return lines as a console block."""
    return "\n".join(["```console", *parts, "```"])


def head(text: str, lines: int) -> str:
    """Return the first lines of a text, and a mark in place of the others."""
    all_lines = text.splitlines()
    return "\n".join([*all_lines[:lines], *(["…"] if len(all_lines) > lines else [])])


# --- usage.md ------------------------------------------------------------------------------------------------------------


def provision(stage: Stage) -> str:
    """Return the output of a first and a second run."""
    first, second = (stage.run(["--phase", "minimal"])[0] for _ in range(2))
    lines = first.splitlines()
    # The rest depends on which data set is finished first.
    shown = [*lines[:5], "…", lines[-1]]
    return block("$ provisioner --phase minimal", *shown, "$ provisioner --phase minimal", second)


def status(stage: Stage) -> str:
    """Return the status after a run."""
    return block("$ provisioner status", stage.run(["status"])[0])


def plan(stage: Stage) -> str:
    """Return the plan of the real catalog."""
    text = stage.run(["plan", "--phase", "minimal"], CATALOG_PATH=REAL, DATA_DIR="SCRATCH/empty", HF_TOKEN="")[0]
    return block("$ provisioner plan --phase minimal", *text.partition("\n\nurmp: optional")[::2][:1], "…")


def listing(stage: Stage) -> str:
    """Return the real catalog."""
    text = stage.run(["list"], CATALOG_PATH=REAL, DATA_DIR="SCRATCH/empty")[0]
    return block("$ provisioner list", text)


def catalog_check(stage: Stage) -> str:
    """Return the output of a check of the catalog, and the beginning of that of an online check."""
    offline = stage.run(["catalog", "check"], CATALOG_PATH=REAL)[0]
    online = stage.run(["catalog", "check", "--online"])[0]
    lines = [line for line in online.splitlines() if " ljspeech: " in line][:3]
    return block("$ provisioner catalog check", offline, "$ provisioner catalog check --online", *lines, "…")


def verify(stage: Stage) -> str:
    """Return the output of ``verify`` for a file that was changed."""
    tree = stage.volume / "datasets" / "nsynth"
    victim = next(path for path in sorted(tree.rglob("examples.json")))
    content = victim.read_bytes()
    victim.chmod(0o644)
    victim.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    text = stage.run(["verify", "--deep", "ljspeech", "nsynth"])[0]
    return block("$ provisioner verify --deep ljspeech nsynth", text)


def doctor(stage: Stage) -> str:
    """Return the output of ``doctor`` on a filled volume."""
    return block("$ provisioner doctor", stage.run(["doctor"], HF_TOKEN="", PHASE="minimal")[0])


# --- the other documents -------------------------------------------------------------------------------------------------


def configuration(stage: Stage) -> str:
    """Return the message about a misspelt key in a config file."""
    (stage.scratch / "bad.yaml").write_text("datasets:\n  phse: balanced\n", "utf-8")
    return block("$ provisioner --config bad.yaml", stage.run(["--config", "bad.yaml"])[0])


def repository(stage: Stage) -> str:
    """Return the output of the creation of a repository."""
    comment = "# of type Write, or fine-grained with write access to your repositories"
    text = stage.run(["repo", "create", "my-logs"])[0]
    return block(f"$ export HF_TOKEN=hf_…               {comment}", "$ provisioner repo create my-logs", text)


def shortfall(stage: Stage) -> str:
    """Return an error message as it appears in the log."""
    text = stage.run([], CATALOG_PATH=REAL, MAX_STORAGE_GB="20", ON_SHORTFALL="fail", DATA_DIR="SCRATCH/empty", HF_TOKEN="")[0]
    return "\n".join(["```", *errors_of(text), "```"])


def mistakes(stage: Stage) -> str:
    """Return the most common mistakes of new users, each with its message."""
    with ThreadPoolExecutor(4) as threads:
        return "\n\n".join(threads.map(partial(_mistake, stage), range(1, len(MISTAKES) + 1), MISTAKES))


def _mistake(stage: Stage, number: int, mistake: Mistake) -> str:
    prepared = mistake.prepare(stage.scratch, stage.server)
    text, code = stage.run(mistake.arguments, under=prepared, **mistake.settings(stage.scratch))
    if code != mistake.code:
        message = f"{mistake.title}: exit code {code}, not {mistake.code}:\n{text}"
        raise RuntimeError(message)
    return f"**{number}. {mistake.title}** Exit code {code}.\n\n" + block(f"$ {mistake.shown}", *errors_of(text))


def errors_of(text: str) -> list[str]:
    """Return the lines of a log, starting with the one that has an error's reference."""
    lines = text.splitlines()
    first = next(index for index, line in enumerate(lines) if " ERROR [" in line)
    return lines[first:]


REAL: Final = str(ROOT / "config" / "catalog.yaml")
EXAMPLES: Final[Mapping[str, Mapping[str, Maker]]] = {
    "docs/usage.md": {
        "provision": provision,
        "plan": plan,
        "status": status,
        "list": listing,
        "catalog-check": catalog_check,
        "doctor": doctor,
        "verify": verify,
    },
    "docs/reference.md": {"configuration": configuration},
    "docs/dataset-repository.md": {"repository": repository},
    "docs/troubleshooting.md": {"shortfall": shortfall, "mistakes": mistakes},
}
"""The examples of each document, in the order in which they are run: later ones build on the results of earlier ones."""


def documents() -> Iterator[tuple[Path, str, str]]:
    """Yield each document with its current and its updated text."""
    with tempfile.TemporaryDirectory(prefix="provisioner-examples-") as directory, HubServer() as server:
        scratch = Path(directory)
        real = miniature.read_catalog(Path(REAL))
        collection = miniature.generate(scratch / "collection", real)
        miniature.write_catalog(miniature.miniature_catalog(real, collection), scratch / "catalog.yaml")
        demo_accounts(server.hub)
        server.load(collection.root)
        settings = {
            "CATALOG_PATH": str(scratch / "catalog.yaml"),
            "HF_ENDPOINT": server.endpoint,
            "URL_REWRITE": server.url_rewrite(),
            "HF_TOKEN": "demo-write-token",
        }
        stage = Stage(scratch, server, collection, settings)
        for name, makers in EXAMPLES.items():
            path = ROOT / name
            text = path.read_text("utf-8")
            yield path, text, with_examples(text, {example: make(stage) for example, make in makers.items()})


def with_examples(text: str, examples: Mapping[str, str]) -> str:
    """Return a document with its examples replaced.

    Raises:
        ValueError: the markers of an example do not occur exactly once.
    """
    for name, content in examples.items():
        begin, end = f"<!-- example {name}:begin -->", f"<!-- example {name}:end -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            message = f"{begin} and {end} must each be in the document once"
            raise ValueError(message)
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n{content}\n{end}{rest.partition(end)[2]}"
    return text


def main(arguments: Sequence[str]) -> int:
    """Write the documents with current examples, or check them with ``--check``."""
    parser = argparse.ArgumentParser(prog="python -m tools.examples_doc", description="Write the examples in the documents.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail when an example is not current")
    check = parser.parse_args(arguments).check
    stale = [(path, now) for path, text, now in documents() if text != now]
    for path, now in stale:
        if check:
            sys.stderr.write(f"{path.relative_to(ROOT)} has old examples; run: python -m tools.examples_doc\n")
        else:
            path.write_text(now, "utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
