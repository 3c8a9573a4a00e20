"""The other runs that fill the same volume, as far as a run must know of them.

:class:`SoleWriter` is for a run that has the lock of the whole volume, :class:`provisioner.engine.shared_writer.SharedWriter`
for one that holds it together with others and takes a separate lock for each data set.
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
    """The other writers of a run's volume, as far as the run must know of them."""

    @property
    def is_sole(self) -> bool:
        """Whether there are no others, and will be none."""
        ...

    def entering(self) -> contextlib.AbstractContextManager[bool]:
        """Become one of the writers; yield whether there is no other writer while the block runs."""
        ...

    def leaving(self) -> contextlib.AbstractContextManager[bool]:
        """Stop being a writer after the block; yield whether there is no other writer while it runs."""
        ...

    def close(self) -> None:
        """Release everything that is held, since the run has ended."""
        ...

    def holding(self, what: str) -> contextlib.AbstractContextManager[None]:
        """Keep all other writers from doing the same work while the block runs."""
        ...

    def write_status(self, path: Path, document: Mapping[str, Any], *, seconds: float | None = None) -> bool:
        """Write the status file; return ``False`` if other runs kept it from being written for ``seconds``."""
        ...

    def merged(self, document: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return this run's status merged with those that were last read of the other runs; nothing is read."""
        ...

    def take(self, step: Step) -> Step | None:
        """Begin with a data set, unless another run has it, or the builds of other runs leave no space for it.

        Returns:
            The step as adapted to the space that is left, or ``None`` if it must wait.
        """
        ...

    def release(self, dataset: str, *, retry_alone: bool = False) -> None:
        """Release a data set for other runs; with ``retry_alone``, take it again only when no other is being built."""
        ...

    def wait(self, steps: Sequence[Step]) -> None:
        """Wait a little for the runs that have these data sets."""
        ...

    def had_company(self, dataset: str) -> bool:
        """Return whether others have been building anything since a data set was taken."""
        ...

    def claim(self, dataset: str, keys: Collection[str]) -> bool:
        """Claim the staged files of artifacts for a data set, in place of earlier claims, unless other runs have them."""
        ...

    def others_kept(self) -> contextlib.AbstractContextManager[tuple[frozenset[str], frozenset[str]]]:
        """Yield the data sets and artifact keys whose staged files other runs need; no run takes more while the block runs."""
        ...


class SoleWriter:
    """The only writer, which holds the lock of the whole volume."""

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
        """Return ``False``: there is no other writer."""
        return False

    def claim(self, _dataset: str, _keys: Collection[str]) -> bool:
        """Return ``True``: no other writer has them."""
        return True

    def others_kept(self) -> contextlib.AbstractContextManager[tuple[frozenset[str], frozenset[str]]]:
        """Yield nothing."""
        return contextlib.nullcontext((frozenset(), frozenset()))
