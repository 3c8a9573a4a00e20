"""Suggestions for references that are malformed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from provisioner.catalog.digest import DIGEST_LENGTHS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_BODIES: Final = {"hf": "//datasets/OWNER/NAME", "http": "//HOST/FILE", "https": "//HOST/FILE", "file": "///PATH/FILE"}
"""The form of what follows a scheme."""
_OBJECT_STORE: Final = "Use the https: address of the object; a signed one is not recorded."
_REPOSITORY: Final = "Use the https: address of one file of it, such as an archive of a release."
OTHER_SCHEMES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("s3", "gs", "gcs", "az", "abfs", "r2", "oss", "cos"), _OBJECT_STORE),
    **dict.fromkeys(("git", "ssh", "git+https", "git+ssh"), _REPOSITORY),
    **dict.fromkeys(("huggingface", "hf-dataset", "hf-datasets", "datasets"), "Write hf://datasets/OWNER/NAME."),
    "hf-model": "Write hf://OWNER/NAME.",
}
"""Replacements for the URL schemes of other tools."""


def with_slashes(scheme: str) -> str:
    """Return a hint with the form of a reference, for a scheme without slashes after it."""
    return f"Write {scheme}:{_BODIES[scheme]}."


def meant_option(item: str, known: Sequence[str]) -> str:
    """Return a hint with the form of an option, for one without ``=``."""
    for algorithm, length in DIGEST_LENGTHS.items():
        if algorithm in known and re.fullmatch(rf"{algorithm}[:-].*|[0-9a-fA-F]{{{length}}}", item):
            return f"Write {algorithm}=DIGITS."
    return f"Write OPTION=VALUE; options: {', '.join(known)}."
