"""Demonstrate the program on a miniature of the eight data sets: ``make demo``.

    python -m tools.demo [--image IMAGE]

Starts a Hub and the data sets' hosts on loopback, provisions the phase ``comprehensive``, creates the user's repository and
hands over to a small app; checks every byte; then runs again and shows that nothing is fetched or requested. With an
image it runs in containers, otherwise natively. Ends with a nonzero exit code if anything is wrong.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support import miniature
from tests.support.hub_model import demo_accounts
from tests.support.hub_server import HubServer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
APP = ROOT / "examples" / "app"


def main(arguments: Sequence[str]) -> int:
    """Run the demonstration; return 0 if all checks passed."""
    parser = argparse.ArgumentParser(prog="demo", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--image", help="run in containers of this image")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="put the volume there and leave it")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="provisioner-demo-") as scratch:
        return demonstrate(Path(scratch), options.image, options.keep)


def demonstrate(scratch: Path, image: str | None, keep: Path | None) -> int:
    """Run the whole demonstration in ``scratch``."""
    say("Making a miniature of the eight data sets: real names, folders and formats, a few megabytes in all.")
    real = miniature.read_catalog(ROOT / "config" / "catalog.yaml")
    collection = miniature.generate(scratch / "collection", real)
    catalog = scratch / "catalog" / "catalog.yaml"
    catalog.parent.mkdir()
    miniature.write_catalog(miniature.miniature_catalog(real, collection), catalog)
    volume = (keep or scratch / "volume").absolute()
    volume.mkdir(parents=True, exist_ok=True)
    with HubServer() as server:
        demo_accounts(server.hub)
        server.load(collection.root)
        say(f"A Hub is on {server.endpoint}, the data sets' own hosts are behind {server.static_url}.")
        settings = {
            "PHASE": "comprehensive",
            "HF_ENDPOINT": server.endpoint,
            "HF_TOKEN": "demo-write-token",
            "URL_REWRITE": server.url_rewrite(),
        }
        command = in_container(image, volume, catalog, settings) if image else natively(volume, catalog)
        environment = {**os.environ, **settings}
        say("\nFirst run: fill the volume, then become the app.\n")
        first = timed(command, environment)
        first_requests = len(server.log.entries())
        server.log.clear()
        say("\nSecond run: everything is there.\n")
        second = timed(command, environment)
        second_requests = len(server.log.entries())
    problems = [f"a run ended with {code}" for code, _ in (first, second) if code]
    problems += [] if not second_requests else [f"the second run made {second_requests} requests"]
    problems += check_trees(volume, collection)
    say(f"\nFirst run:  {first[1]:.2f} s, {first_requests} requests, the app included.")
    say(f"Second run: {second[1]:.2f} s, {second_requests} requests: nothing was fetched and nobody was asked.")
    if problems:
        say("\nNOT as it should be:\n  " + "\n  ".join(problems))
        return 1
    say("All eight trees are byte for byte what was generated, and 'sha256sum -c' agrees with every manifest.")
    if keep:
        say(f"The volume stays in {keep}.")
    return 0


def natively(volume: Path, catalog: Path) -> list[str]:
    """Return the command line for this machine's Python."""
    ours = [sys.executable, "-m", "provisioner", "--data-dir", str(volume), "--catalog", str(catalog)]
    return [*ours, "--", sys.executable, str(APP / "app.py")]


def in_container(image: str, volume: Path, catalog: Path, settings: Mapping[str, str]) -> list[str]:
    """Return the command line for the image, on the host's network because the servers are on loopback."""
    user = f"{os.getuid()}:0" if hasattr(os, "getuid") else "1000:0"
    docker = ["docker", "run", "--rm", "--network=host", "--read-only", "--user", user, "--volume", f"{volume}:/data"]
    docker += ["--volume", f"{catalog.parent}:/config:ro", "--volume", f"{APP}:/srv:ro", "--tmpfs", "/tmp"]  # noqa: S108
    docker += [word for name in settings for word in ("--env", name)]  # by name: no secret on a command line
    return [*docker, image, "--catalog", "/config/catalog.yaml", "--", "python", "/srv/app.py"]


def timed(command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, float]:
    """Run a command with its output shown; return its exit code and its duration in seconds."""
    begun = time.monotonic()
    code = subprocess.run(command, env=dict(environment), cwd=ROOT, check=False).returncode  # noqa: S603 - put together above
    return code, time.monotonic() - begun


def check_trees(volume: Path, collection: miniature.Collection) -> list[str]:
    """Compare every published tree with the generated one, and have sha256sum check every manifest."""
    problems = []
    for dataset in collection.datasets:
        tree, expected = volume / "datasets" / dataset, collection.tree(dataset)
        if not tree.is_dir():
            problems.append(f"{dataset} is not there")
            continue
        if not same(tree, expected):
            problems.append(f"{dataset} is not what was generated")
        sums = sorted((volume / ".provisioner" / "manifests" / dataset).glob("*.sha256"))
        checker = shutil.which("sha256sum")
        if not sums:
            problems.append(f"{dataset} has no manifest")
        for manifest in sums if checker else ():
            checked = subprocess.run([str(checker), "--quiet", "--check", str(manifest)], cwd=tree, check=False)  # noqa: S603
            if checked.returncode:
                problems.append(f"{dataset}: sha256sum does not agree with {manifest.name}")
    return problems


def same(tree: Path, expected: Path) -> bool:
    """Return whether two trees have the same names with the same bytes."""
    names = [{str(path.relative_to(root)) for path in root.rglob("*")} for root in (tree, expected)]
    files = [name for name in names[1] if (expected / name).is_file()]
    return names[0] == names[1] and not any(filecmp.cmpfiles(tree, expected, files, shallow=False)[1:])


def say(text: str) -> None:
    """Print a message for the user, in order with the output of the runs."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
