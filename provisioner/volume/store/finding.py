"""The findings of a check of a published version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TreeProblem = Literal["missing", "extra", "kind", "size", "digest", "target", "outside", "unreadable"]
"""The kinds of faults of one name in a tree."""
VersionProblem = Literal["no-tree", "no-manifest", "no-receipt", "checksums"]
"""The kinds of faults of a version, apart from its tree's content."""
NameProblem = Literal["not-shown", "foreign"]
"""The kinds of faults of the published name of a data set (``datasets/ID``)."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference between what a volume holds and what its records say."""

    path: str
    """Path in the tree; or path on the volume, for anything that is not in a tree."""
    problem: TreeProblem | VersionProblem | NameProblem
    expected: str = ""
    """According to the manifest: a kind, a size in bytes, a SHA-256 or a link's target."""
    actual: str = ""
    """The same as found on the disk; for a version or a published name, the predicate of a sentence for people."""

    def as_record(self) -> dict[str, str]:
        """Return the form in which ``--json`` carries it."""
        return {"path": self.path, "problem": self.problem, "expected": self.expected, "actual": self.actual}

    def __str__(self) -> str:
        path = self.path if self.path.isprintable() else ascii(self.path)
        match self.problem:
            case "missing":
                return f"{path}: missing"
            case "extra":
                return f"{path}: extra, the manifest has no such {self.actual}"
            case "kind":
                return f"{path}: is no {self.expected}, but: {self.actual}"
            case "size":
                truncated = ", truncated" if int(self.actual) < int(self.expected) else ""
                return f"{path}: {int(self.actual):,} bytes, expected {int(self.expected):,}{truncated}"
            case "digest":
                return f"{path}: changed, sha256 is {self.actual}, expected {self.expected}"
            case "target":
                return f"{path}: leads to {self.actual!r}, expected {self.expected!r}"
            case "outside":
                return f"{path}: {self.actual}"
            case "unreadable":
                return f"{path}: cannot be read: {self.actual}"
            case _:
                return f"{path}: {self.actual}"
