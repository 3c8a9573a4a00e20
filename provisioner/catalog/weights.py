"""Model weights in several formats: the same numbers are published for several frameworks, but an app needs one."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Final

from provisioner.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

_FORMATS: Final = frozenset(
    {".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".gguf", ".tflite", ".mlmodel", ".ot"}
)
_LEAST: Final = 1 << 20
"""Bytes; smaller files with these endings are rarely weights."""


def weights_note(files: Iterable[tuple[str, int]]) -> str:
    """Return a sentence about the formats of a repository's weights; empty if there is at most one format.

    Args:
        files: path and size in bytes of each file.
    """
    found: dict[str, tuple[int, int]] = {}
    for path, size in files:
        ending = posixpath.splitext(path)[1].lower()
        if ending in _FORMATS and size >= _LEAST:
            count, total = found.get(ending, (0, 0))
            found[ending] = count + 1, total + size
    if len(found) < 2:  # noqa: PLR2004 - one beside another
        return ""
    parts = sorted(found.items(), key=lambda item: (-item[1][1], item[0]))
    listed = ", ".join(
        f"*{ending} ({count} file{'' if count == 1 else 's'}, {format_bytes(total)})" for ending, (count, total) in parts
    )
    # Keep the format that most apps read, or else the one with the most bytes.
    kept = ".safetensors" if ".safetensors" in found else parts[0][0]
    others = "&".join(f"exclude=*{ending}" for ending, _ in parts if ending != kept)
    return f"it holds weights in several formats: {listed}; leave out what the app does not read, such as with #{others}"
