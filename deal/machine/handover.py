"""Work handed from thread to thread, many thousand times a second.

`queue.Queue` and `concurrent.futures` take locks and conditions that are written in Python: a dozen
microseconds for a call. These take those of `queue.SimpleQueue`, which are written in C.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, Thread
from types import TracebackType
from typing import Any, Generic, TypeVar

from deal.errors import DealError

__all__ = ["Bounded", "Call", "Crew", "no_thread"]

T = TypeVar("T")
In = TypeVar("In")
Out = TypeVar("Out")


class Bounded(Generic[T]):
    """A queue in which entries wait whose places together are at most ``depth``."""

    def __init__(self, depth: int) -> None:
        self._entries: SimpleQueue[tuple[T, int]] = SimpleQueue()
        self._room: SimpleQueue[None] = SimpleQueue()
        for _ in range(depth):
            self._room.put(None)

    def put(self, entry: T, places: int = 1) -> None:
        """Add an entry; waits until there is room.

        Only one thread may put entries that take more than one place: several could wait for ever,
        each with a part of what it needs.
        """
        for _ in range(places):
            self._room.get()
        self._entries.put((entry, places))

    def get(self, timeout: float | None = None) -> T:
        """Take the first entry; raises `queue.Empty` if none comes within ``timeout`` seconds."""
        entry, places = self._entries.get(timeout=timeout)
        for _ in range(places):
            self._room.put(None)
        return entry


class Call(Generic[In, Out]):
    """One call of a function, made by another thread."""

    __slots__ = ("_cancelled", "_done", "_error", "_function", "_item", "_value")

    def __init__(self, function: Callable[[In], Out], item: In) -> None:
        self._function, self._item = function, item
        self._cancelled = False
        self._value: Out
        self._error: BaseException | None = None
        self._done = Lock()
        self._done.acquire()

    def make(self) -> None:
        """Make it, unless it is cancelled."""
        try:
            if not self._cancelled:
                self._value = self._function(self._item)
        except BaseException as error:
            self._error = error
        finally:
            self._done.release()

    def cancel(self) -> None:
        """Do not make it if it has not begun."""
        self._cancelled = True

    def result(self) -> Out:
        """Wait for its result, once, and return or raise it."""
        self._done.acquire()
        if self._error is not None:
            error, self._error = self._error, None  # else it would hold itself, by its traceback
            raise error
        return self._value


class Crew:
    """Threads that make calls, in the order in which they are submitted; a context manager.

    Leaving the context waits for calls that have begun; cancel the others before.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._most, self._name = threads, name
        self._threads: list[Thread] = []
        self._calls: SimpleQueue[Call[Any, Any] | None] = SimpleQueue()

    def submit(self, function: Callable[[In], Out], item: In) -> Call[In, Out]:
        """Have a thread call the function; raises RuntimeError if none can be started."""
        call = Call(function, item)
        self._calls.put(call)
        if len(self._threads) < self._most:
            name = f"{self._name}_{len(self._threads)}"
            thread = Thread(target=self._work, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)
        return call

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call.make()
            del call  # and with it a result that may be large


def no_thread(error: RuntimeError) -> DealError:
    """The error of a thread that could not be started."""
    return DealError(
        f"no thread can be started ({error}): raise the limit of processes (ulimit -u, or that of "
        "the container) or of memory, or lower --sessions, --threads and --decode-threads"
    )
