"""Additional fields of log records: the run, its phase, and the data set that a thread is working on."""

from __future__ import annotations

import contextlib
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

_run: dict[str, str] = {}
"""Fields for the whole process, which logs one run at a time."""
_dataset: Final[ContextVar[str | None]] = ContextVar("dataset", default=None)


def describe_run(run_id: str | None, phase: str | None) -> None:
    """Let all records from now on have the fields of a run and its phase.

    Args:
        run_id: id of the run, or ``None`` if there is none.
        phase: the phase, or ``None`` if data sets were requested by name.
    """
    _run.clear()
    _run.update({key: value for key, value in (("run_id", run_id), ("phase", phase)) if value})


@contextlib.contextmanager
def about(dataset: str) -> Iterator[None]:
    """Let records in the block name a data set, on this thread and on threads that it starts with :func:`carried`."""
    token = _dataset.set(dataset)
    try:
        yield
    finally:
        _dataset.reset(token)


def carried(call: Callable[[], T]) -> Callable[[], T]:
    """Return the call for use on another thread, with the log fields of this thread."""
    context = copy_context()
    return lambda: context.run(call)


def log_fields() -> dict[str, str]:
    """Return the fields for a record that is created now, on this thread."""
    dataset = _dataset.get()
    return {**_run, "dataset": dataset} if dataset else dict(_run)
