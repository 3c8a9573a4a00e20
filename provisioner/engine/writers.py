"""The other runs that fill the same volume, as far as a run must know of them.

:class:`SoleWriter` is for a run that has the lock of the whole volume; :class:`provisioner.engine.shared_writer.SharedWriter` for
one that holds it together with others, and takes a lock of its own for each data set.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Protocol

from provisioner.volume.store.json_file import write_json

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from provisioner.planning.model import Step


class Writers(Protocol):
    """What a run must know of the other writers of its volume."""

    @property
    def is_sole(self) -> bool:
        """Whether there are none, and will be none."""
        ...

    def entering(self) -> contextlib.AbstractContextManager[bool]:
        """Become one of the writers; yield whether there is no other while the block runs."""
        ...

    def leaving(self) -> contextlib.AbstractContextManager[bool]:
        """Cease to be one after the block; yield whether there is no other while it runs."""
        ...

    def close(self) -> None:
        """Release everything that is held: the run has ended, however that went."""
        ...

    def holding(self, what: str) -> contextlib.AbstractContextManager[None]:
        """Keep all others from doing the same while the block runs."""
        ...

    def write_status(self, path: Path, document: Mapping[str, Any], *, seconds: float | None = None) -> bool:
        """Write the status file; return ``False`` if others wrote it for so many seconds."""
        ...

    def merged(self, document: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return this run's status merged with those of the others as they were found last; nothing is read."""
        ...

    def take(self, step: Step) -> Step | None:
        """Begin with a data set unless another run has it, or there is no space beside what others build.

        Returns:
            The step as it fits into the space that is left now; ``None``: it must wait.
        """
        ...

    def release(self, dataset: str, *, retry_alone: bool = False) -> None:
        """Leave a data set to others; with ``retry_alone`` it is taken again only when no other is being built."""
        ...

    def wait(self, steps: Sequence[Step]) -> None:
        """Wait a little for those who have these data sets."""
        ...

    def had_company(self, dataset: str) -> bool:
        """Return whether others were building anything since a data set was taken."""
        ...

    def claim(self, dataset: str, keys: Collection[str]) -> bool:
        """Claim the staged files of artifacts for a data set, in place of those claimed before, unless others have them."""
        ...

    def others_kept(self) -> contextlib.AbstractContextManager[tuple[frozenset[str], frozenset[str]]]:
        """Yield the data sets, and the keys of artifacts, whose staged files others need; nobody begins with more meanwhile."""
        ...


class SoleWriter:
    """There is no other writer: the lock of the whole volume is held."""

    is_sole = True

    def entering(self) -> contextlib.AbstractContextManager[bool]:
        """Do nothing."""
        return contextlib.nullcontext(enter_result=True)

    def leaving(self) -> contextlib.AbstractContextManager[bool]:
        """Do nothing."""
        return self.entering()

    def close(self) -> None:
        """Do nothing."""

    def holding(self, _what: str) -> contextlib.AbstractContextManager[None]:
        """Do nothing."""
        return contextlib.nullcontext()

    def write_status(self, path: Path, document: Mapping[str, Any], *, seconds: float | None = None) -> bool:  # noqa: ARG002
        """Write the document."""
        write_json(path, document, durable=False)
        return True

    def merged(self, document: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the status as it is."""
        return document

    def take(self, step: Step) -> Step | None:
        """Return the step as it was planned."""
        return step

    def release(self, _dataset: str, *, retry_alone: bool = False) -> None:
        """Do nothing."""

    def wait(self, _steps: Sequence[Step]) -> None:
        """Do nothing."""

    def had_company(self, _dataset: str) -> bool:
        """Return that there was none."""
        return False

    def claim(self, _dataset: str, _keys: Collection[str]) -> bool:
        """Return that nobody else has them."""
        return True

    def others_kept(self) -> contextlib.AbstractContextManager[tuple[frozenset[str], frozenset[str]]]:
        """Yield none."""
        return contextlib.nullcontext((frozenset(), frozenset()))
