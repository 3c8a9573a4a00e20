"""What the Xet path costs: one file out of a content-addressed store on this machine, by the Xet library.

python -m benchmarks.xet [--size BYTES] [--repeat N] [--memory DIR]

The released library reads and writes a store in a directory (``local:///DIR``) as it does one behind the network, so this is its
least possible cost: no request is made, no TLS, nothing is compressed for the wire. Needs ``.venv-peers``.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.measure import Command, run
from tools.kills import make_file

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT: Final = Path(__file__).resolve().parent.parent
PYTHON: Final = ROOT / ".venv-peers" / "bin" / "python"

_STORE: Final = """
import sys, hf_xet
store, path = sys.argv[1:]
with hf_xet.XetSession().new_upload_commit(endpoint=store) as commit:
    upload = commit.start_upload_file(path)
print(upload.result().xet_info.hash)
"""
_FETCH: Final = """
import sys, hf_xet
store, name, size, path = sys.argv[1:]
with hf_xet.XetSession().new_file_download_group(endpoint=store) as group:
    group.start_download_file(hf_xet.XetFileInfo(name, int(size)), path)
"""


def main(arguments: Sequence[str]) -> int:
    """Measure; 0 when each run gave the right bytes."""
    parser = argparse.ArgumentParser(prog="xet", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=int, default=1 << 30, help="bytes of the file")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each setting")
    parser.add_argument("--memory", type=Path, default=Path("/dev/shm"), help="a tmpfs to work in")  # noqa: S108
    options = parser.parse_args(arguments)
    small = {"HF_XET_RECONSTRUCTION_DOWNLOAD_BUFFER_SIZE": "16mb", "HF_XET_RECONSTRUCTION_DOWNLOAD_BUFFER_LIMIT": "32mb"}
    settings = {"as it comes": {}, "small buffers": {**small, "HF_XET_FIXED_DOWNLOAD_CONCURRENCY": "1"}}
    with tempfile.TemporaryDirectory(prefix="provisioner-xet-", dir=options.memory) as name:
        scratch = Path(name)
        source, target, log = scratch / "source", scratch / "target", scratch / "log"
        digest = make_file(source, options.size, seed=1)
        store = f"local://{scratch / 'store'}"
        if run(Command((str(PYTHON), "-c", _STORE, store, str(source))), scratch, log).code:
            sys.stderr.write(log.read_text("utf-8"))
            return 1
        key = log.read_text("utf-8").split()[-1]
        source.unlink()
        for _ in range(options.repeat):
            for setting, environment in settings.items():
                words = (str(PYTHON), "-c", _FETCH, store, key, str(options.size), str(target))
                found = run(Command(words, environment), scratch, log)
                with target.open("rb") as file:
                    right = hashlib.file_digest(file, "sha256").hexdigest() == digest
                print(
                    f"{setting:16} {found.wall_seconds:6.2f} s {found.cpu_seconds:6.2f} s CPU"
                    f" {found.anonymous_bytes >> 20:5} MiB anonymous  {'right' if right else 'WRONG'}",
                    flush=True,
                )
                if found.code or not right:
                    sys.stderr.write(log.read_text("utf-8"))
                    return 1
                target.unlink()
        shutil.rmtree(scratch / "store", ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
