"""Threads for work that releases the interpreter's lock: decompressing, hashing, reading and writing.

Their creator must close them; after ``close``, none of their threads is left. An error in a thread is raised where the result
is requested. Closing waits for the running call; if that call waits for bytes of a transfer, it ends with the next bytes or
with the transfer.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Generic, Self, TypeVar, cast

from provisioner.volume.parallel import usable_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

T = TypeVar("T")

__all__ = ["ReadAhead", "Task", "WorkerPool", "usable_cores"]


class ReadAhead(Generic[T]):
    """The items of an iterator, computed by a thread before they are requested.

    If the iterator is a generator, the thread closes it.
    """

    def __init__(self, items: Iterator[T], capacity: int, name: str) -> None:
        """Start the thread; at most ``capacity`` items wait, and the thread may hold one more."""
        self._items = items
        self._queue: SimpleQueue[tuple[bool, T | BaseException | None]] = SimpleQueue()
        self._free_slots = threading.Semaphore(capacity)
        self._stopped = False
        self._exhausted = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        if self._exhausted:
            raise StopIteration
        is_item, item = self._queue.get()
        if is_item:
            self._free_slots.release()
            return cast("T", item)
        self._exhausted = True
        self._thread.join()
        if item is None:
            raise StopIteration
        raise cast("BaseException", item)

    def close(self) -> None:
        """Stop the thread, wait for its end, and drop the items that were not requested."""
        self._exhausted = self._stopped = True
        self._free_slots.release()
        self._thread.join()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._items:
                self._free_slots.acquire()
                if self._stopped:
                    break
                self._queue.put((True, item))
        except BaseException as caught:  # noqa: BLE001 - raised again in the other thread
            error = caught
        finally:
            close = getattr(self._items, "close", None)
            if close is not None:
                close()
            self._queue.put((False, error))


class Task(Generic[T]):
    """A call that is made by a thread of a pool."""

    __slots__ = ("_call", "_error", "_pending", "_value")

    def __init__(self, call: Callable[[], T]) -> None:
        """Store the call; :meth:`run` makes it."""
        self._call: Callable[[], T] | None = call
        self._error: BaseException | None = None
        self._value: T | None = None
        self._pending = threading.Lock()
        """Held until the call has ended."""
        self._pending.acquire()

    def run(self) -> None:
        """Make the call, in this thread, and keep its result or its error."""
        try:
            if self._call is not None:
                self._value = self._call()
        except BaseException as error:  # noqa: BLE001 - raised again where the result is asked for
            self._error = error
        finally:
            self._call = None
            self._pending.release()

    @property
    def done(self) -> bool:
        """Whether the call has ended."""
        return not self._pending.locked()

    def result(self) -> T:
        """Wait until the call has ended, and return its result or raise its error; works once."""
        with self._pending:
            if self._error is not None:
                # Its traceback refers to this task: break the cycle.
                error, self._error = self._error, None
                raise error
            value, self._value = self._value, None
        return cast("T", value)


class WorkerPool:
    """A number of threads that make calls in the order of submission, each as soon as a thread is free."""

    def __init__(self, count: int, name: str) -> None:
        """Start ``count`` threads."""
        self._queue: SimpleQueue[Task[object] | None] = SimpleQueue()
        self.stopped = False
        """Whether the pool is being closed; long calls look at it and end early."""
        self._threads = [threading.Thread(target=self._run, name=f"{name}-{n}", daemon=True) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def submit(self, call: Callable[[], T]) -> Task[T]:
        """Return a task that makes ``call`` in one of the threads."""
        task = Task(call)
        self._queue.put(cast("Task[object]", task))
        return task

    def close(self) -> None:
        """Set ``stopped`` and wait until every submitted call has ended."""
        self.stopped = True
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _run(self) -> None:
        while (task := self._queue.get()) is not None:
            task.run()
