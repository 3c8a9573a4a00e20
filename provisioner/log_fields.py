"""What log records say beside their message: the run, its phase, and the data set that a thread works for."""

from __future__ import annotations

import contextlib
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

_run: dict[str, str] = {}
"""Of the whole process: it logs one run at a time."""
_dataset: Final[ContextVar[str | None]] = ContextVar("dataset", default=None)


def describe_run(run_id: str | None, phase: str | None) -> None:
    """Let all records from now on name a run and its phase.

    Args:
        run_id: of the run; ``None``: there is none.
        phase: what is provisioned; ``None``: data sets were asked for by name.
    """
    _run.clear()
    _run.update({key: value for key, value in (("run_id", run_id), ("phase", phase)) if value})


@contextlib.contextmanager
def about(dataset: str) -> Iterator[None]:
    """Let the records of this thread, and of threads that it starts with :func:`carried`, name a data set in the block."""
    token = _dataset.set(dataset)
    try:
        yield
    finally:
        _dataset.reset(token)


def carried(call: Callable[[], T]) -> Callable[[], T]:
    """Return the call for another thread, in which records name what those of this thread name."""
    context = copy_context()
    return lambda: context.run(call)


def log_fields() -> dict[str, str]:
    """Return the fields of a record that is made now, on this thread."""
    dataset = _dataset.get()
    return {**_run, "dataset": dataset} if dataset else dict(_run)
