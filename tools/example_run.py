"""Run the program for an example in a document, with simulated free space and network and without waiting.

    python -m tools.example_run ARGUMENTS

``EXAMPLE_FREE_BYTES`` is the free space of every volume; with ``EXAMPLE_OFFLINE=1``, no host name can be resolved. Waits
between attempts are skipped. So the output depends neither on the machine nor on its network.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any, Final
from unittest import mock

from provisioner.cancellation import Cancellation
from provisioner.cli.main import script

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK: Final = 4096
_INODES: Final = 5_000_000


def _statvfs(_path: object) -> os.statvfs_result:
    blocks = int(os.environ["EXAMPLE_FREE_BYTES"]) // _BLOCK
    return os.statvfs_result((_BLOCK, _BLOCK, 2 * blocks, blocks, blocks, 2 * _INODES, _INODES, _INODES, 0, 255))


def _unknown_host(*_: object, **__: object) -> Any:  # noqa: ANN401 - stands for a function of the standard library
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def _replacements() -> Iterator[Any]:
    yield mock.patch("os.statvfs", _statvfs)
    yield mock.patch.object(Cancellation, "wait", lambda self, _seconds: self.raise_if_requested())
    if os.environ.get("EXAMPLE_OFFLINE"):
        yield mock.patch("socket.getaddrinfo", _unknown_host)


if __name__ == "__main__":
    for replacement in _replacements():
        replacement.start()
    script()
