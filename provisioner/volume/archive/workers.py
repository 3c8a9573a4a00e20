"""Threads for what releases the interpreter's lock: decompression, hashing, reading and writing.

Each helper is closed by who made it, and none of its threads is left when :meth:`close` returns; an error of a thread is
raised where its result is asked for. Closing waits for a call that is under way. Where that call waits for bytes that are
yet to arrive, it ends with the next ones, or with the transfer.
"""

from __future__ import annotations

import os
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Generic, Self, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

T = TypeVar("T")


def usable_cores() -> int:
    """Return the number of processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class ReadAhead(Generic[T]):
    """What an iterator gives, worked out by a thread before it is asked for, up to a number of items.

    A generator is closed by that thread.
    """

    def __init__(self, items: Iterator[T], room: int, name: str) -> None:
        """Begin; at most ``room`` items wait, and one more may be in the thread's hands."""
        self._items = items
        self._queue: SimpleQueue[tuple[bool, T | BaseException | None]] = SimpleQueue()
        self._room = threading.Semaphore(room)
        self._stopped = False
        self._over = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        if self._over:
            raise StopIteration
        given, item = self._queue.get()
        if given:
            self._room.release()
            return cast("T", item)
        self._over = True
        self._thread.join()
        if item is None:
            raise StopIteration
        raise cast("BaseException", item)

    def close(self) -> None:
        """Stop the thread; what it has worked out is dropped."""
        self._over = self._stopped = True
        self._room.release()
        self._thread.join()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._items:
                self._room.acquire()
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
    """A call that one of a crew makes."""

    __slots__ = ("_call", "_done", "_error", "_value")

    def __init__(self, call: Callable[[], T]) -> None:
        """Note it."""
        self._call: Callable[[], T] | None = call
        self._error: BaseException | None = None
        self._value: T | None = None
        self._done = threading.Lock()
        self._done.acquire()

    def run(self) -> None:
        """Make the call, in this thread."""
        try:
            if self._call is not None:
                self._value = self._call()
        except BaseException as error:  # noqa: BLE001 - raised again where the result is asked for
            self._error = error
        finally:
            self._call = None
            self._done.release()

    @property
    def done(self) -> bool:
        """Whether its result is there."""
        return not self._done.locked()

    def result(self) -> T:
        """Wait for it and give what the call gave, once; what it raised is raised."""
        with self._done:
            if self._error is not None:
                # Its traceback leads back here: let go of it.
                error, self._error = self._error, None
                raise error
            value, self._value = self._value, None
        return cast("T", value)


class WorkerPool:
    """Some threads that make calls, in the order in which they are asked for, each as soon as one is free."""

    def __init__(self, count: int, name: str) -> None:
        """Start ``count`` threads."""
        self._queue: SimpleQueue[Task[object] | None] = SimpleQueue()
        self.stopped = False
        self._threads = [threading.Thread(target=self._run, name=f"{name}-{n}", daemon=True) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def submit(self, call: Callable[[], T]) -> Task[T]:
        """Have ``call`` made."""
        task = Task(call)
        self._queue.put(cast("Task[object]", task))
        return task

    def close(self) -> None:
        """Wait until every call has ended; those that look at ``stopped`` do so early."""
        self.stopped = True
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _run(self) -> None:
        while (task := self._queue.get()) is not None:
            task.run()
