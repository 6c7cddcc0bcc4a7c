"""Threads between bounded queues, source → workers → caller, which end together.

Every stage reads its queue to the end; after a stop it only discards. So no put can wait for ever,
and an exception in any stage ends all stages and is raised in the caller.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from queue import Empty
from threading import Thread
from types import TracebackType
from typing import Generic, TypeVar

from deal.machine.handover import Bounded, Call, Crew, no_thread

__all__ = ["Stages", "ordered", "overlapped"]

Work = TypeVar("Work")
Result = TypeVar("Result")
In = TypeVar("In")
Out = TypeVar("Out")


# Seconds. A signal that another thread receives does not wake the one that handles it.
_LOOK_UP = 0.5


class _End:
    """Marks the end of a stage, with the exception that ended it, if any."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class Stages(Generic[Work, Result]):
    """Runs a source and workers in threads and gives their results to the caller.

    Parameters
    ----------
    source : callable
        Called with this object in its own thread. It yields work for the workers, may :meth:`emit`
        results directly to the caller, and ends when :attr:`stopped` is true.
    workers : sequence of callables
        Each is called in its own thread with an iterator of work, and yields results.
    depth : int
        Places for items of work that wait, and for results. A deep queue costs less time: where
        work is little, threads find much of it at a time, and sleep and wake less often.
    places : callable, optional
        How many places an item of work takes, from 1 to ``depth``; by default each takes 1.

    Notes
    -----
    Use it as a context manager around the iteration. Leaving the block, also by an exception, stops
    the source, lets workers finish the work they have begun, and waits for them. Only after a
    KeyboardInterrupt it does not wait.
    """

    def __init__(
        self,
        source: Callable[[Stages[Work, Result]], Iterable[Work]],
        workers: Sequence[Callable[[Iterator[Work]], Iterable[Result]]],
        depth: int,
        places: Callable[[Work], int] = lambda work: 1,
    ) -> None:
        self._source, self._places = source, places
        self._work: Bounded[Work | _End] = Bounded(depth)
        self._results: Bounded[Result | _End] = Bounded(depth)
        self._stopped = False
        self._running = 1 + len(workers)
        self._error: BaseException | None = None
        self._threads = [
            Thread(target=self._feed, name="deal-pool", daemon=True),
            *(
                Thread(target=self._serve, args=(worker,), name=f"deal-session-{i}", daemon=True)
                for i, worker in enumerate(workers)
            ),
        ]

    @property
    def stopped(self) -> bool:
        """Whether a stop was requested."""
        return self._stopped

    def emit(self, result: Result) -> None:
        """Pass a result to the caller; for use in the source's thread."""
        self._results.put(result)

    def stop(self) -> None:
        """Begin no new work. Takes no lock, so signal handlers may call it."""
        self._stopped = True

    def __enter__(self) -> Stages[Work, Result]:
        for started, thread in enumerate(self._threads):
            try:
                thread.start()
            except RuntimeError as error:
                self._stopped = True
                self._threads, self._running = self._threads[:started], started
                self._abandon()
                raise no_thread(error) from error
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
        """Yield results as they come; after all stages ended, raise the exception of a stage."""
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

    def _abandon(self) -> None:
        """End the stages that were started, with nobody else to empty the queues."""
        ended = False
        while self._running:
            with suppress(Empty):
                work = None if ended else self._work.get(timeout=0)
                if isinstance(work, _End):
                    self._work.put(work)
                    ended = True
            with suppress(Empty):
                self._running -= isinstance(self._results.get(timeout=0.01), _End)
        for thread in self._threads:
            thread.join()

    def _take(self) -> Result | _End:
        while True:
            try:
                result = self._results.get(timeout=_LOOK_UP)
                break
            except Empty:
                continue
        if isinstance(result, _End):
            self._running -= 1
            self._error = self._error or result.error
        return result

    def _feed(self) -> None:
        end = _End()
        try:
            for work in self._source(self):
                self._work.put(work, self._places(work))
        except BaseException as error:
            self._stopped = True
            end = _End(error)
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
        self._work.put(work)  # for the other workers; nothing comes after it


def ordered(
    executor: Executor | Crew, function: Callable[[In], Out], items: Iterable[In], window: int
) -> Iterator[tuple[In, Out]]:
    """Map in the executor's threads, ``window`` items ahead, and yield in the order of the items.

    Thanks to this order batches, and therefore all numbers, are the same in every run.
    """
    waiting: deque[tuple[In, Future[Out] | Call[In, Out]]] = deque()
    try:
        for item in items:
            try:
                waiting.append((item, executor.submit(function, item)))
            except RuntimeError as error:
                raise no_thread(error) from error
            if len(waiting) >= window:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        for _, future in waiting:
            future.cancel()


def overlapped(
    entries: Iterable[In],
    function: Callable[[In], In],
    slow: Callable[[In], int],
    *,
    threads: int,
    room: int,
) -> Iterator[In]:
    """Map those entries that wait for a network, many at once; yield all in their order.

    Parameters
    ----------
    entries : iterable
    function : callable
        Called for entries that are slow, in threads of their own.
    slow : callable
        Bytes that an entry's result will hold; 0 for one that is yielded as it is.
    threads : int
        Calls at once.
    room : int
        Bytes that results may hold together, but for one that is larger.
    """
    waiting: deque[tuple[Future[In], int]] = deque()
    executor: ThreadPoolExecutor | None = None
    held = 0
    try:
        for entry in entries:
            size = slow(entry)
            while waiting and (size == 0 or len(waiting) >= threads or held + size > room):
                first, its_size = waiting.popleft()
                yield first.result()
                held -= its_size
            if size == 0:
                yield entry
                continue
            executor = executor or ThreadPoolExecutor(threads, "deal-fetch")
            try:
                waiting.append((executor.submit(function, entry), size))
            except RuntimeError as error:
                raise no_thread(error) from error
            held += size
        while waiting:
            first, _ = waiting.popleft()
            yield first.result()
    finally:
        if executor is not None:
            executor.shutdown(wait=False, cancel_futures=True)
