"""Measure how long one, two and four workers take if a host allows each of them two connections of 250 kB/s.

    python -m tools.share_times

The host is a server on loopback, which limits the connections of each worker as a real host limits those of an address. The
time is measured from the first start to the last end, publishing included. The measurement takes four minutes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.support.hub_server import HubServer
from tests.support.media import noise
from tests.support.program import CHECKOUT
from tests.support.shelf import Shelf

FILES: Final = 32
BYTES: Final = 2_000_000
CONNECTIONS: Final = 2
RATE: Final = 250_000
"""Rate of one connection in bytes per second."""


def seconds(server: HubServer, catalog: Path, workers: int) -> float:
    """Return how many seconds ``workers`` workers take to fill an empty volume."""
    with tempfile.TemporaryDirectory() as scratch:
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": scratch,
            "DATA_DIR": f"{scratch}/data",
            "CATALOG_PATH": str(catalog),
            "HF_ENDPOINT": server.endpoint,
            "URL_REWRITE": server.url_rewrite(),
            "CONNECTIONS": str(CONNECTIONS),
        }
        begun = time.monotonic()
        started = [
            subprocess.Popen(
                [sys.executable, "-m", "provisioner"],
                env={**environ, "SHARD": f"{index}/{workers}"},
                cwd=CHECKOUT,
                stderr=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
            )
            for index in range(workers)
        ]
        for process in started:
            _, said = process.communicate()
            if process.returncode:
                sys.exit(said.decode())
        taken = time.monotonic() - begun
        if len(list(Path(scratch, "data", "datasets", "tracks").iterdir())) != FILES:
            sys.exit("not everything was published")
    return taken


def main() -> None:
    """Print the times, and their ratios to the time of one worker."""
    with HubServer() as server, tempfile.TemporaryDirectory() as scratch:
        shelf = Shelf(server, Path(scratch, "catalog.yaml"))
        shelf.add("tracks", *(shelf.raw(f"{number}.bin", noise(str(number), BYTES)) for number in range(FILES)))
        server.faults.add("throttle", path="*.bin", rate=RATE)
        alone = 0.0
        for workers in (1, 2, 4):
            taken = seconds(server, shelf.path, workers)
            alone = alone or taken
            print(f"{workers} workers: {taken:.1f} s, {taken / alone:.2f} of the time of one")


if __name__ == "__main__":
    main()
