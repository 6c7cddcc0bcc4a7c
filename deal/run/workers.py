"""The threads of a scoring run, from the pool to the ledger, and how signals end them.

::

    pool ─► decode threads ─► batches ─► session threads ─► calling thread: ledger
            (ahead, in order) (queue)    (a network each)  (queue)

All queues are bounded, so memory does not grow with the pool. Images are decoded ahead but batched
in the order of the pool, so batches, and therefore all numbers, are the same in every run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from typing import TypeVar

from deal.errors import ItemError, OutputError
from deal.machine.cores import available_cores
from deal.machine.handover import Crew
from deal.machine.meter import Meter
from deal.machine.threads import Stages, ordered
from deal.pool.fetch import DOWNLOADS, Fetcher
from deal.pool.signature import Thumbnail
from deal.run.config import ScoreConfig
from deal.run.dedup import Followers, Neighbours
from deal.run.ledger import Ledger
from deal.run.progress import InterruptedRunError
from deal.run.rows import Outcome
from deal.run.sessions import Layout, default_threads
from deal.run.signals import until_signal
from deal.run.steps import Batch, Ready, Steps, batched, with_segments
from deal.scoring.session import Session
from deal.types import FailedItem, PoolItem

__all__ = ["DEPTH", "Line", "open_session"]


_SLACK = 8  # images that are decoded further ahead, so that decode threads seldom wait
# Places of a queue, and bytes of images for each. Batches of any size find two for each session.
DEPTH, _PLACE = 32, 2**20


@dataclass(frozen=True, slots=True)
class Stored:
    """An image that an earlier run stored, and the digest of the id that it repeats, if any."""

    item: PoolItem
    leader: int | None


Source = Callable[[Stages[Batch, Outcome]], Iterable[Ready | Outcome]]
In = TypeVar("In")
Out = TypeVar("Out")


def open_session(config: ScoreConfig) -> Session:
    """Open the network of a run; raises as `Session` does."""
    runtime = replace(config.scoring.runtime, threads=default_threads(config.scoring.runtime))
    return Session(config.model, replace(config.scoring, runtime=runtime), config.region_score)


class Line:
    """Takes the images of a pool through all stages to a ledger.

    Parameters
    ----------
    config : ScoreConfig
    scorer : Session
        The session of the first thread; the other threads open their own.
    ledger : Ledger
    layout : Layout
    steps : Steps, optional
        What is done with each image; by default that of ``scorer``.
    wanted : callable, optional
        Whether the item of an id is to be scored; by default all are.
    spare : list of Session, optional
        Sessions of further threads, from earlier lines with the same layout, and where this line
        leaves those of its own. By default they are closed.

    Attributes
    ----------
    decoders : int
        Threads that decode.
    fetcher : Fetcher
        Gets what lies in other files or on a network.
    meter : Meter
        Busy seconds of ``fetch`` and ``download``, ``decode`` (with resizing), ``network`` (with
        the kernel) and ``write``.
    seconds : float
        How long it ran.
    """

    def __init__(
        self,
        config: ScoreConfig,
        scorer: Session,
        ledger: Ledger,
        layout: Layout,
        steps: Steps | None = None,
        wanted: Callable[[str], bool] | None = None,
        spare: list[Session] | None = None,
    ) -> None:
        self.layout = layout
        self._spare = spare
        self._wanted = wanted
        self.decoders = config.decode_threads or available_cores()
        self.seconds = 0.0
        self.meter = scorer.meter = Meter()  # time before this run does not count
        self.fetcher = Fetcher(self.meter, max_pixels=config.max_pixels)
        self._config = config
        self._scorer = scorer
        self._ledger = ledger
        self._followers = Followers()
        self._steps = steps or Steps(scorer, max_pixels=config.max_pixels)

    def run(self) -> float:
        """Run to the end of the pool and return the seconds it took.

        Raises
        ------
        InterruptedRunError
            SIGINT or SIGTERM arrived; finished images are stored.
        DealError
            A stage raised it (it is raised here after all stages have ended), or the ledger found
            at the end that the run failed.
        """
        started = time.perf_counter()
        try:
            self._pass(self._unique if self._config.dedup is not None else self._new)
            orphans = sorted(self._followers.orphans, key=lambda item: item.id)
            if orphans:  # duplicates whose kept frame failed are scored like other images
                self._pass(lambda stages: self._ready(_until_stopped(orphans, stages)))
        except OutputError:
            raise
        except BaseException:
            self._ledger.flush()
            raise
        self._ledger.flush()
        self._ledger.check()
        self.seconds = time.perf_counter() - started
        return self.seconds

    def include(self, other: Line) -> None:
        """Add what another line of the same run has measured."""
        self.seconds += other.seconds
        self.meter.add(other.meter.seconds)
        self.fetcher.repeated.update(other.fetcher.repeated)

    def _pass(self, source: Source) -> None:
        """Score what the source decodes; raises InterruptedRunError after a signal."""
        fits = self.layout.threads == default_threads(self._config.scoring.runtime)
        first = self._first_session if fits else self._further_session
        sessions = self.layout.sessions
        workers = [first, *[self._further_session] * (sessions - 1)]
        depth = max(DEPTH, 2 * sessions)
        stages: Stages[Batch, Outcome] = Stages(
            lambda stages: self._batches(source(stages), stages),
            workers,
            depth=depth,
            places=lambda batch: _places(batch, depth // (2 * sessions)),
        )

        def stop() -> None:
            stages.stop()
            self._ledger.say_stopping()

        with until_signal(stop) as received, stages:
            for outcome in stages:
                with self.meter("write"):
                    for settled in self._followers.settle(outcome):
                        self._ledger.store(settled)
        if received:
            raise InterruptedRunError(received[0], self._ledger.state())

    def bound_by(self) -> str:
        """The stage whose threads were busiest."""
        sessions = self.layout.sessions
        threads = {"decode": self.decoders, "write": 1, "fetch": 1, "download": DOWNLOADS}
        if "transfer" in self.meter.seconds:  # sessions share the parts of one device
            threads |= {"staging": sessions, "transfer": 1, "network": 1, "kernel": 1}
        else:
            threads |= {"network": sessions, "kernel": sessions}
        return self.meter.busiest(threads)

    def _batches(
        self, decoded: Iterable[Ready | Outcome], stages: Stages[Batch, Outcome]
    ) -> Iterator[Batch]:
        """Yield batches of decoded images; failures and duplicates bypass the network."""
        for entry in batched(decoded, self.layout.batch_size):
            if isinstance(entry, Outcome):
                stages.emit(entry)
            else:
                yield entry

    def _new(self, stages: Stages[Batch, Outcome]) -> Iterator[Ready | Outcome]:
        """Decode images that no earlier run stored."""
        return self._ready(self._left(stages))

    def _left(self, stages: Stages[Batch, Outcome]) -> Iterator[PoolItem]:
        for item in self._items(stages):
            if self._ledger.is_done(item):
                self._ledger.skip()
            else:
                yield item

    def _unique(self, stages: Stages[Batch, Outcome]) -> Iterator[Ready | Outcome]:
        """Decode images that no earlier run stored, and find duplicates among them."""
        assert self._config.dedup is not None
        neighbours = Neighbours(self._config.dedup, self._thumbnail)
        for entry in self._ahead(self._decode_new, self._with_stored(stages)):
            ready: Ready | Outcome
            if not isinstance(entry, Stored):
                ready = entry
            elif neighbours.holds(entry.item, entry.leader):
                self._ledger.skip()
                continue
            else:
                ready = self._steps.decoded(entry.item)
            if isinstance(ready, Ready):
                leader = neighbours.duplicate_of(ready.item, ready.thumbnail)
                if leader is not None:
                    yield Outcome.duplicate(ready.item, ready.shape, leader)
                    continue
                self._followers.expect(ready.item)
            yield ready

    def _with_stored(self, stages: Stages[Batch, Outcome]) -> Iterator[PoolItem | Stored]:
        for item in self._items(stages):
            if self._ledger.is_done(item):
                yield Stored(item, self._ledger.duplicate_of(item))
            else:
                yield item

    def _ready(self, items: Iterable[PoolItem]) -> Iterator[Ready | Outcome]:
        return self._ahead(self._steps.decoded, items)

    def _ahead(self, function: Callable[[In], Out], items: Iterable[In]) -> Iterator[Out]:
        """Map a function over items in the decode threads, some items ahead, in order."""
        ahead = self.decoders + self.layout.batch_size + _SLACK
        with Crew(self.decoders, "deal-decode") as crew:
            for _, result in ordered(crew, function, self.fetcher(items), ahead):
                yield result

    def _items(self, stages: Stages[Batch, Outcome]) -> Iterator[PoolItem]:
        """Yield the items of the pool until a stop; unreadable ones go directly to the ledger."""
        items, wanted = self._config.items, self._wanted
        for entry in items if wanted is None else items.only(wanted):
            if stages.stopped:
                return
            if isinstance(entry, FailedItem):
                error = ItemError(entry.error_code, entry.error)
                stages.emit(Outcome.failure(entry.item, error))
                continue
            yield with_segments(entry, self._config.scoring.choice.regions)

    def _decode_new(self, entry: PoolItem | Stored) -> Ready | Outcome | Stored:
        return entry if isinstance(entry, Stored) else self._steps.decoded(entry)

    def _thumbnail(self, item: PoolItem) -> Thumbnail | None:
        ready = self._steps.decoded(item)
        return ready.thumbnail if isinstance(ready, Ready) else None

    def _first_session(self, work: Iterator[Batch]) -> Iterable[Outcome]:
        return self._session(self._scorer, work)

    def _further_session(self, work: Iterator[Batch]) -> Iterable[Outcome]:
        for first in work:  # a session is opened only if there is a batch for it
            with self._further() as scorer:
                yield from self._session(scorer, chain([first], work))

    @contextmanager
    def _further(self) -> Iterator[Session]:
        """A session for a further thread: a spare one, or one that is opened."""
        if self._spare is None:
            with self._scorer.again(threads=self.layout.threads) as session:
                yield session
            return
        try:
            session = self._spare.pop()
        except IndexError:
            session = self._scorer.again(threads=self.layout.threads)
        session.meter = self.meter
        yield session
        self._spare.append(session)  # not after an error, which may have broken it

    def _session(self, scorer: Session, work: Iterator[Batch]) -> Iterator[Outcome]:
        for batch in work:
            yield from self._steps.scored(scorer, batch)


def _places(batch: Batch, most: int) -> int:
    """Places of a batch in the queue: one more per MiB, so that what waits is bounded."""
    return min(most, 1 + sum(ready.image.nbytes for ready in batch) // _PLACE)


def _until_stopped(items: Iterable[PoolItem], stages: Stages[Batch, Outcome]) -> Iterator[PoolItem]:
    for item in items:
        if stages.stopped:
            return
        yield item
