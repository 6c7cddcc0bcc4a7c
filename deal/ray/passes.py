"""The passes over a pool: all of it in blocks by Ray Data, then single images whose block was lost.

An image that ends the process that reads it (a fault in a decoder, too little memory) would be
tried for ever, and with it the images of its block. So a block whose worker died `_LIVES` times is
left out; afterwards its images are scored one at a time. The one whose worker dies again is the
culprit.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa

from deal.errors import DealError, ItemError
from deal.ray.cluster import Need, load, one_line
from deal.ray.worker import Attempts, Done, Worker
from deal.results.batches import write
from deal.run.batch_scorer import BatchScorer, items_of, rows_of_failed

__all__ = ["Dataset", "in_blocks", "no_worker", "one_by_one", "where"]

Dataset: TypeAlias = Any
"""A ``ray.data.Dataset``, whose types come with ray."""

_LIVES = 3
_LIVES_ALONE = 2
_PART = 512  # rows


def in_blocks(
    blocks: Dataset,
    scorer: BatchScorer,
    output: Path,
    wanted: pa.Array | None,
    need: Need,
    actors: tuple[int, int],
    *,
    patience: float,
) -> Iterator[Done]:
    """Score all blocks and yield what became of each; lost ones are missing.

    Raises
    ------
    DealError
        No worker could start within ``patience`` seconds, or nothing has moved for long.
    """
    ray = load()
    context = blocks.context
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.wait_for_min_actors_s = round(patience)
    least, most = actors
    done = blocks.map_batches(
        Worker,
        batch_size=None,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(
            min_size=least, max_size=most, max_tasks_in_flight_per_actor=2
        ),
        fn_constructor_args=(scorer, output, wanted, _counting(), _LIVES),
        num_cpus=need.cpus,
        num_gpus=need.gpus or None,
    )
    try:
        for table in done.iter_batches(batch_size=None, batch_format="pyarrow"):
            yield from Done.of_table(table)
    except ray.exceptions.GetTimeoutError as error:
        raise no_worker(need, patience) from error
    except ray.exceptions.RayError as error:
        raise DealError(f"Ray Data ended: {one_line(error)}; the same call continues") from error


def _counting() -> Callable[[str], int]:
    ray = load()
    counter = ray.remote(Attempts).options(num_cpus=0, max_restarts=-1, max_task_retries=-1)
    attempts = counter.remote()

    def begin(block: str) -> int:
        found: int = ray.get(attempts.begin.remote(block))
        return found

    return begin


def one_by_one(
    items: pa.Table,
    scorer: BatchScorer,
    schema: pa.Schema,
    output: Path,
    need: Need,
    lanes: int,
    *,
    patience: float,
) -> Iterator[Done]:
    """Score items one at a time, each alone in a worker; one that ends its workers is a row.

    Raises DealError as :func:`in_blocks` does, and if a worker fails in another way.
    """
    lost = _Lost(items, scorer, schema, output, need)
    rows: list[pa.Table] = []
    try:
        for found in lost.rows(lanes, patience):
            rows.append(found)
            if len(rows) == _PART:
                yield _written(rows, output)
                rows = []
    finally:
        lost.close()
    if rows:
        yield _written(rows, output)


class _Lost:
    """Items whose block was lost, and the workers that score them."""

    def __init__(
        self, items: pa.Table, scorer: BatchScorer, schema: pa.Schema, output: Path, need: Need
    ) -> None:
        self._ray = load()
        self._items, self._schema, self._need = items, schema, need
        made = self._ray.remote(Worker).options(
            num_cpus=need.cpus, num_gpus=need.gpus, max_restarts=0, max_task_retries=0
        )
        self._new: Callable[[], Any] = lambda: made.remote(scorer, output)
        self._deaths: Counter[int] = Counter()
        self._idle: list[Any] = []
        self._running: dict[Any, tuple[int, Any]] = {}

    def rows(self, lanes: int, patience: float) -> Iterator[pa.Table]:
        """Score the items with so many workers; yield the row of each."""
        todo = deque(range(len(self._items)))
        wait: float | None = patience  # for the first of them
        while todo or self._running:
            while todo and len(self._running) < lanes:
                place = todo.popleft()
                worker = self._idle.pop() if self._idle else self._new()
                self._running[worker.rows.remote(self._items.slice(place, 1))] = place, worker
            ready, _ = self._ray.wait(list(self._running), timeout=wait)
            if not ready:
                raise no_worker(self._need, patience)
            wait = None
            place, worker = self._running.pop(ready[0])
            found = self._row(place, worker, ready[0])
            if found is None:
                todo.append(place)
            else:
                yield found

    def close(self) -> None:
        """End the workers."""
        for worker in [*self._idle, *(worker for _, worker in self._running.values())]:
            self._ray.kill(worker)

    def _row(self, place: int, worker: Any, ready: Any) -> pa.Table | None:
        """The row of an item; None if it is to be tried again."""
        errors = self._ray.exceptions
        try:
            found = self._ray.get(ready)
        except errors.RayTaskError as error:
            name = self._items.column("id")[place].as_py()
            raise DealError(
                f"a worker failed on {name!r}: {one_line(error)}; please report it"
            ) from error
        except (errors.RayActorError, errors.RaySystemError) as error:
            self._deaths[place] += 1
            return self._crashed(place, error) if self._deaths[place] == _LIVES_ALONE else None
        self._idle.append(worker)
        if isinstance(found, DealError):
            raise found
        return found

    def _crashed(self, place: int, error: Exception) -> pa.Table:
        crash = ItemError(
            "crash",
            f"the process that reads and scores it ended {_LIVES + _LIVES_ALONE} times, at last "
            f"with this image alone: {one_line(error)}",
        )
        (item,) = items_of(self._items.slice(place, 1))
        return rows_of_failed([(item, crash)], self._schema)


def where(blocks: Dataset, ids: pa.Array) -> pa.Table:
    """The items of a data set with these ids, brought here."""
    wanted = set(ids.to_pylist())

    def keep(table: pa.Table) -> pa.Table:
        mask = [one in wanted for one in table.column("id").to_pylist()]
        return table.filter(pa.array(mask, pa.bool_()))

    found = blocks.map_batches(keep, batch_size=None, batch_format="pyarrow")
    tables = list(found.iter_batches(batch_size=None, batch_format="pyarrow"))
    return pa.concat_tables(table for table in tables if len(table))


def _written(rows: list[pa.Table], output: Path) -> Done:
    table = pa.concat_tables(rows)
    write(table, output)
    return Done.of_rows(table, {})


def no_worker(need: Need, patience: float) -> DealError:
    """What to say if the cluster gives no worker."""
    return DealError(
        f"no worker with {need} started within {patience:g} s: other jobs hold the cluster (ray "
        "status shows them), or its autoscaler adds no such node; wait for them, ask for less, or "
        "raise patience"
    )
