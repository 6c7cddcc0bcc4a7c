"""What runs on the cluster: a worker that scores blocks and writes a part for each."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from deal.errors import DealError
from deal.results.batches import write
from deal.run.batch_scorer import BatchScorer, session_of

__all__ = ["Attempts", "Done", "Facts", "Worker", "facts_of"]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a run has to know of a model before any work."""

    schema: pa.Schema
    has_difficulty: bool
    has_committee: bool
    device: str
    doubts: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(json.loads(self.schema.metadata[b"deal.classes"]))


def facts_of(scorer: BatchScorer) -> Facts | DealError:
    """Open a model where the workers will open it."""
    try:
        session = session_of(scorer)
        facts = Facts(
            schema=scorer.schema,
            has_difficulty=session.has_difficulty,
            has_committee=session.has_committee,
            device=session.device,
            doubts=session.doubts,
        )
    except DealError as error:
        return error
    scorer.close()
    return facts


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a block.

    Attributes
    ----------
    ids : list of str
    scored : int
        Images that are ok.
    errors : Counter of error code
    seconds : dict of stage to float
        Busy seconds.
    failure : DealError or None
        Why the run cannot go on; then nothing of the block was written.
    """

    ids: list[str]
    scored: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)
    failure: DealError | None = None

    @classmethod
    def of_rows(cls, rows: pa.Table, seconds: dict[str, float]) -> Done:
        """Count the rows of a block."""
        codes = Counter(rows.column("error_code").drop_null().to_pylist())
        ids = rows.column("id").to_pylist()
        return cls(ids, len(ids) - codes.total(), codes, seconds)

    def to_table(self) -> pa.Table:
        """As one row, which Ray Data can carry."""
        values = {
            "ids": [self.ids],
            "scored": [self.scored],
            "errors": [json.dumps(self.errors)],
            "seconds": [json.dumps(self.seconds)],
            "failure": [pickle.dumps(self.failure)],
        }
        return pa.table(values, _DONE)

    @classmethod
    def of_table(cls, table: pa.Table) -> list[Done]:
        """Read what :meth:`to_table` gave, of any number of blocks."""
        return [
            cls(
                ids=row["ids"],
                scored=row["scored"],
                errors=Counter(json.loads(row["errors"])),
                seconds=json.loads(row["seconds"]),
                failure=pickle.loads(row["failure"]),
            )
            for row in table.to_pylist()
        ]


_DONE = pa.schema(
    [
        ("ids", pa.list_(pa.string())),
        ("scored", pa.int64()),
        ("errors", pa.string()),
        ("seconds", pa.string()),
        ("failure", pa.binary()),
    ]
)


class Attempts:
    """Counts how often a block was begun, in a process that outlives the workers."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def begin(self, block: str) -> int:
        """Count one more attempt and return how many there are."""
        self._counts[block] += 1
        return self._counts[block]


class Worker:
    """Scores blocks and writes a part for each.

    Parameters
    ----------
    scorer : BatchScorer
    output : Path
    wanted : pyarrow.Array, optional
        Ids to score; rows of others are passed over.
    attempts : callable, optional
        Counts an attempt at the block that begins with an id. A block that was begun more than
        ``lives`` times, and so has ended as many workers, is left out.
    lives : int
    """

    def __init__(
        self,
        scorer: BatchScorer,
        output: Path,
        wanted: pa.Array | None = None,
        attempts: Callable[[str], int] | None = None,
        lives: int = 1,
    ) -> None:
        self._scorer = scorer
        self._output = output
        self._attempts = attempts
        self._lives = lives
        self._wanted = None if wanted is None else set(wanted.to_pylist())

    def __call__(self, items: pa.Table) -> pa.Table:
        """Score a block of items; one row that says what became of it (`Done`)."""
        if self._wanted is not None:
            ids = items.column("id").to_pylist()
            items = items.filter(pa.array([one in self._wanted for one in ids], pa.bool_()))
        if not len(items):
            return _DONE.empty_table()
        if (
            self._attempts is not None
            and self._attempts(items.column("id")[0].as_py()) > self._lives
        ):
            return _DONE.empty_table()
        try:
            seconds = session_of(self._scorer).meter.seconds
            before = dict(seconds)
            rows = self._scorer(items)
            write(rows, self._output)
        except DealError as error:
            return Done(items.column("id").to_pylist(), failure=error).to_table()
        spent = {name: after - before.get(name, 0.0) for name, after in seconds.items()}
        return Done.of_rows(rows, spent).to_table()

    def rows(self, items: pa.Table) -> pa.Table | DealError:
        """Score items and return their rows, without writing them."""
        try:
            return self._scorer(items)
        except DealError as error:
            return error
