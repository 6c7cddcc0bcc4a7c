"""Threads between bounded queues: source → workers → the caller, ended together.

Every stage reads its queue to the end, also after a stop, when it only discards; so no put can
wait for ever, and an exception in any stage ends all of them and surfaces in the caller.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from queue import Queue
from threading import Thread
from types import TracebackType
from typing import Generic, TypeVar

__all__ = ["Stages", "ordered"]

Work = TypeVar("Work")
Result = TypeVar("Result")
In = TypeVar("In")
Out = TypeVar("Out")


class _End:
    """A stage has ended; with the exception that ended it, if any."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class Stages(Generic[Work, Result]):
    """Runs a source and workers in threads and gives their results to the caller.

    Parameters
    ----------
    source : callable
        Called with this object in a thread of its own; yields work for the workers, may
        :meth:`emit` results past them, and ends when it sees :attr:`stopped`.
    workers : sequence of callables
        Each is called in a thread of its own with an iterator of work and yields results.
    depth : int
        Work, and results, that may wait in the queues.

    Notes
    -----
    Used as a context manager round the iteration. Leaving it, by whatever exception, stops the
    source, lets workers finish what they have begun, and waits for them; only an interrupt from
    the keyboard waits for nobody.
    """

    def __init__(
        self,
        source: Callable[[Stages[Work, Result]], Iterable[Work]],
        workers: Sequence[Callable[[Iterator[Work]], Iterable[Result]]],
        depth: int,
    ) -> None:
        self._source = source
        self._work: Queue[Work | _End] = Queue(depth)
        self._results: Queue[Result | _End] = Queue(depth)
        self._stopped = False
        self._running = 1 + len(workers)
        self._error: BaseException | None = None
        self._threads = [
            Thread(target=self._feed, args=(len(workers),), name="deal-pool", daemon=True),
            *(
                Thread(target=self._serve, args=(worker,), name=f"deal-session-{i}", daemon=True)
                for i, worker in enumerate(workers)
            ),
        ]

    @property
    def stopped(self) -> bool:
        """Whether an end was asked for."""
        return self._stopped

    def emit(self, result: Result) -> None:
        """Give a result to the caller; for the source's thread."""
        self._results.put(result)

    def stop(self) -> None:
        """End soon: no new work is begun. Takes no lock, so signal handlers may call it."""
        self._stopped = True

    def __enter__(self) -> Stages[Work, Result]:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped = True
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            Thread(target=self._drain, name="deal-drain", daemon=True).start()
        else:
            self._drain()

    def __iter__(self) -> Iterator[Result]:
        """Yield results as they come; raises what a stage raised once all have ended."""
        while self._running:
            result = self._take()
            if not isinstance(result, _End):
                yield result
        if self._error is not None:
            raise self._error

    def _drain(self) -> None:
        while self._running:
            self._take()
        for thread in self._threads:
            thread.join()

    def _take(self) -> Result | _End:
        result = self._results.get()
        if isinstance(result, _End):
            self._running -= 1
            self._error = self._error or result.error
        return result

    def _feed(self, workers: int) -> None:
        end = _End()
        try:
            for work in self._source(self):
                self._work.put(work)
        except BaseException as error:
            self._stopped = True
            end = _End(error)
        for _ in range(workers):
            self._work.put(_End())
        self._results.put(end)

    def _serve(self, worker: Callable[[Iterator[Work]], Iterable[Result]]) -> None:
        end = _End()
        work = self._until_end()
        try:
            for result in worker(work):
                self._results.put(result)
        except BaseException as error:
            self._stopped = True
            end = _End(error)
        for _ in work:
            pass
        self._results.put(end)

    def _until_end(self) -> Iterator[Work]:
        while not isinstance(work := self._work.get(), _End):
            if not self._stopped:
                yield work


def ordered(
    executor: Executor, function: Callable[[In], Out], items: Iterable[In], window: int
) -> Iterator[tuple[In, Out]]:
    """Map in the executor's threads, ``window`` items ahead, and yield in the order of the items.

    The order is what makes batches, and so every number, the same in every run.
    """
    waiting: deque[tuple[In, Future[Out]]] = deque()
    try:
        for item in items:
            waiting.append((item, executor.submit(function, item)))
            if len(waiting) >= window:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        for _, future in waiting:
            future.cancel()
