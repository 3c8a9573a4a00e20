"""The Xet hash of bytes that arrive piece by piece: the only digest in a bucket's listing.

It is computed by the Hub client's library ``hf_xet``, which can only read files, so it is given the end of a pipe.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
import weakref
from functools import cache
from pathlib import Path
from typing import Any, Final

_SETTINGS: Final = {
    "HF_XET_LOG_DEST": "/dev/null",  # otherwise it keeps a log in the user's cache
    "HF_XET_SYSTEM_MONITOR_ENABLED": "false",  # otherwise it keeps a descriptor open for each thread of the machine
    # Otherwise at most eight files are hashed at once, and all other transfers wait for one of them to end.
    "HF_XET_DATA_MAX_CONCURRENT_FILE_INGESTION": "1024",
    "HF_XET_DATA_INGESTION_BLOCK_SIZE": "131072",  # otherwise each file has a buffer of 8 MiB
    "TOKIO_WORKER_THREADS": "2",
}
"""The library's settings, which it reads from the environment when it is first used."""
_SETTING_UP: Final = threading.Lock()


@cache
def can_hash_xet() -> bool:
    """Return whether the library is installed; it is not available for every kind of machine."""
    return importlib.util.find_spec("hf_xet") is not None and Path("/dev/fd").exists()


class XetHash:
    """The hash of all bytes passed to :meth:`update`, computed on a separate thread."""

    def __init__(self) -> None:
        """Begin with no bytes."""
        self._reads, self._writes = os.pipe()
        self._found: list[str | BaseException] = []
        # Dropping an unfinished hash closes the pipe, which ends its thread.
        self._close = weakref.finalize(self, os.close, self._writes)
        self._thread = threading.Thread(target=_hash, args=(self._reads, self._found), name="xet-hash", daemon=True)
        try:
            self._thread.start()
        except BaseException:
            os.close(self._reads)
            self._close()
            raise

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        """Hash the next bytes."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._writes, rest) :]
        except BrokenPipeError:
            self.hexdigest()  # raises the error that ended the reading

    def hexdigest(self) -> str:
        """Return the hash; no bytes may follow.

        Raises:
            RuntimeError: the library failed.
        """
        self._close()
        self._thread.join()
        (found,) = self._found
        if isinstance(found, str):
            return found
        raise RuntimeError(f"hf_xet could not hash a file: {found}") from found


def _hash(reads: int, found: list[str | BaseException]) -> None:
    try:
        found.append(str(_library().hash_files([f"/dev/fd/{reads}"])[0].hash))
    except BaseException as error:  # noqa: BLE001 - raised again where the hash is asked for
        found.append(error)
    finally:
        # A writer then learns that nobody reads.
        os.close(reads)


def _library() -> Any:  # noqa: ANN401 - it has no type annotations
    """Return the library, configured by the settings above."""
    with _SETTING_UP:
        if "hf_xet" in sys.modules:
            return sys.modules["hf_xet"]
        before = {name: os.environ.get(name) for name in _SETTINGS}
        os.environ.update(_SETTINGS)
        try:
            import hf_xet  # noqa: PLC0415 - files of buckets alone need it

            hf_xet.hash_files([])
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
        return hf_xet
