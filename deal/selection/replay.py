"""Replay stored results as a stream: what a rig would have kept of a drive that is scored already.

Rules can so be tried on last week's drive before they go to the rig. The rows are pushed into a
`Stream` one by one, and the result is compared with the choice from the whole pool.

Frames arrive one sequence after another, by their first timestamps, and within a sequence by
timestamp, then by id; without times they arrive by id. A rig breaks ties by arrival, and `select`
by id, so they agree where ids go with time.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deal.errors import OutputError, ResultsError, UsageError
from deal.machine.files import replacing
from deal.pool.remote_path import place
from deal.selection.amounts import parse_duration
from deal.selection.budget import Budget
from deal.selection.columns import read_texts, to_table
from deal.selection.document import Selection
from deal.selection.gather import gather
from deal.selection.limits import file_sizes, read_times
from deal.selection.order import rank, total
from deal.selection.ranking import Ranking
from deal.selection.rows import Rows
from deal.selection.rules import Gap, NearLimit, Spread
from deal.selection.selector import select_by
from deal.selection.signatures import read_signatures
from deal.selection.sources import Source, Sources
from deal.selection.stream import Decision, Stream, StreamCounters
from deal.selection.stream_rules import StreamRules

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Replay", "StreamLimits", "replay"]

_STEP = 4096  # rows whose signatures are read together
_COLUMNS = ("arrival", "id", "score", "action", "why")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """Rules of a stream that `select` does not have; see `Stream`."""

    look_ahead: int | str | None = None
    context_before: int | str | None = None
    context_after: int | str | None = None
    random_share: float = 0.0
    pending: int = 1024

    def rules(self, ranking: Ranking, budget: int, groups: int) -> StreamRules:
        """All rules of the stream, as numbers."""
        levels = ranking.near_duplicates.levels
        return StreamRules(
            budget=budget,
            **asdict(ranking.limits),
            min_gap_ns=None if ranking.min_gap is None else ranking.min_gap.size,
            look_ahead_ns=parse_duration(self.look_ahead, "look_ahead"),
            context_before_ns=parse_duration(self.context_before, "context_before"),
            context_after_ns=parse_duration(self.context_after, "context_after"),
            near_duplicates=None if levels is None else float(levels),
            stochastic=ranking.stochastic,
            random_share=self.random_share,
            seed=ranking.seed,
            pending=self.pending,
            groups=groups,
        )

    @property
    def needs_times(self) -> str | None:
        """The name of an option that needs timestamps, if one is given."""
        for name in ("context_before", "context_after"):
            if getattr(self, name) is not None:
                return name
        return None


@dataclass(frozen=True)
class Replay:
    """What a stream kept of stored results.

    Attributes
    ----------
    selection : Selection
        The ranked frames, best first, then the random sample.
    offline : Selection
        What `select` takes from the whole pool with the same limits, gap, draw and near-duplicates.
    decisions : list of Decision
        The last decision about every frame, in the order of arrival.
    counters : StreamCounters
    memory : int
        Bytes of the selector.
    waiting : int
        Most frames that waited at a time, which a rig holds in its memory.
    writes : int
        How often a frame would have been written.
    """

    selection: Selection
    offline: Selection
    decisions: list[Decision]
    counters: StreamCounters
    memory: int
    waiting: int
    writes: int

    @property
    def ratio(self) -> float:
        """Sum of the scores kept, divided by that of the offline choice; NaN if that is 0."""
        best = total(self.offline.scores)
        return total(self.selection.scores) / best if best else math.nan

    def lines(self) -> Iterator[str]:
        """Sentences for the user."""
        kept, best = set(self.selection.ids), set(self.offline.ids)
        yield (
            f"a stream keeps {len(kept)} frames, {len(kept & best)} of the {len(best)} that "
            f"select takes from the whole pool; sum of scores {self.ratio:.4f} of theirs"
        )
        per = self.writes / len(kept) if kept else 0.0
        yield (
            f"{per:.1f} writes per kept frame; {self.memory:,} bytes of memory, and at most "
            f"{self.waiting} frames waiting"
        )
        if self.counters.forced:
            yield (
                f"{self.counters.forced} frames were decided while a better neighbour was "
                "undecided: give a longer --look-ahead"
            )
        if self.counters.overflow:
            yield f"{self.counters.overflow} frames were decided early: give more --pending"

    def write_decisions(self, output: str | os.PathLike[str]) -> None:
        """Write ``decisions.csv`` into a folder: the last decision about every frame, by arrival.

        Raises OutputError if the folder cannot be written.
        """
        from deal.selection.document import quote

        path = place(output) / "decisions.csv"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as file:
                file.write((",".join(_COLUMNS) + "\n").encode())
                for d in self.decisions:
                    cells = (str(d.arrival), quote(d.id), repr(d.score), d.action, d.why)
                    file.write((",".join(cells) + "\n").encode())
        except OSError as error:
            raise OutputError(
                f"cannot write {path}: {error.strerror}; choose another --output"
            ) from error


def replay(
    sources: Source | Iterable[Source], ranking: Ranking, limits: StreamLimits | None = None
) -> Replay:
    """Push stored results into a stream, and compare with what `select` takes.

    Parameters
    ----------
    sources, ranking
        As for `select_by`. ``spread auto`` and ``near_duplicates auto`` are off: a stream does not
        know the pool.
    limits : StreamLimits, optional

    Raises
    ------
    UsageError
        Rules do not fit together, or a stream cannot follow one of them.
    ResultsError
        As for `select`; or a rule needs times, sizes or thumbnails that are not stored.
    """
    limits = StreamLimits() if limits is None else limits
    ranking = _streamable(ranking)
    sources = [sources] if isinstance(sources, str | os.PathLike) else sources
    sources = list(sources) if isinstance(sources, list | tuple) else [sources]
    stored = Sources(sources, "images")
    bound = ranking.bind(stored.classes)
    if bound.greedy:
        raise UsageError(f"acquisition {bound.name!r} has no scores, which a stream ranks by")
    offline = select_by(sources, ranking)
    gathered, timed = ranking, limits.needs_times
    if ranking.min_gap is None and timed is not None:
        gathered = replace(ranking, min_gap=Gap(1, False, str(getattr(limits, timed)), timed))
    rows, totals = gather(stored, bound, gathered)
    order = rank(rows.ids, rows.scores)
    budget = int(ranking.budget.resolve(float(len(order))))
    if not len(order):
        raise ResultsError("none of the rows has a score: there is nothing to replay")
    if ranking.limits.window_ns is not None and not len(rows.times):
        rows.times = np.zeros(len(rows), np.int64)
        rows.times[order] = read_times(rows.source, rows.numbers[order], "a window")
    arrivals = _arrivals(rows, order)
    kinds = [name for name in ("sequence", "camera") if name in rows.groups]
    names: dict[str, list[str | None]] = {str(name): _texts(rows, name) for name in kinds}
    groups = len({tuple(texts[row] for texts in names.values()) for row in order.tolist()})
    rules = limits.rules(ranking, max(budget, 1), max(groups, 1))
    stream = Stream.of(rules)
    last, waiting, writes = _push(stream, rows, rules, arrivals, names)
    kept = [d for d in stream.kept() if d.why != "context"]
    number_of = {decision.id: row for row, decision in zip(arrivals.tolist(), last, strict=True)}
    taken = np.array([number_of[d.id] for d in kept], np.int64)
    metadata: dict[str, Any] = {
        "format": 1,
        **ranking.to_dict(bound),
        "ties": "score descending, then arrival",
        "stream": {name: getattr(limits, name) for name in limits.__slots__},
        "rows": len(rows),
        "scored": len(order),
        "selected": len(taken),
        "spent": len(taken),
        "fingerprint": stored.fingerprint,
        "scores_digest": str(rows.pool.digest),
    }
    texts = read_texts(rows, taken, bound, totals)
    table = to_table(rows, taken, texts, bound, ranking, len(taken))
    return Replay(
        selection=Selection(table, metadata),
        offline=offline,
        decisions=last,
        counters=stream.counters,
        memory=stream.memory,
        waiting=waiting,
        writes=writes,
    )


def _streamable(ranking: Ranking) -> Ranking:
    """Check that a stream can follow the rules; those that are on by default are off."""
    refused = {
        "a table of regions": ranking.table != "images",
        "a cost": ranking.cost != "count" or ranking.by != "score",
        "--quota": bool(ranking.quotas),
        "--stratify": ranking.stratify is not None,
        "--diverse": ranking.diverse is not None,
        "--exclude": bool(len(ranking.exclude)),
        "--include": bool(len(ranking.include)),
        "--spread with a gap (give --min-gap)": ranking.spread.kind == "gap",
        "a gap in frames": ranking.min_gap is not None and ranking.min_gap.frames,
    }
    for what, given in refused.items():
        if given:
            raise UsageError(f"a stream cannot follow {what}: leave it out")
    if ranking.budget == Budget():
        raise UsageError("a stream needs a budget: give the number of images to keep")
    near = ranking.near_duplicates
    return replace(
        ranking,
        spread=Spread("off"),
        near_duplicates=NearLimit("off") if near.kind == "auto" else near,
    )


def _arrivals(rows: Rows, order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Scored rows in the order in which they arrive."""
    import pyarrow as pa
    import pyarrow.compute as pc

    by_id = np.empty(len(rows), np.int64)
    by_id[pc.sort_indices(pa.table({"id": rows.ids}), [("id", "ascending")]).to_numpy()] = (
        np.arange(len(rows))
    )
    if not len(rows.times):
        return order[np.argsort(by_id[order])]
    if "sequence" not in rows.groups:
        return order[np.lexsort((by_id[order], rows.times[order]))]
    codes = rows.groups["sequence"].codes
    first = np.full(int(codes.max(initial=0)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, codes[order], rows.times[order])
    keys = (by_id[order], rows.times[order], codes[order], first[codes[order]])
    return order[np.lexsort(keys)]


def _texts(rows: Rows, name: str) -> list[str | None]:
    group = rows.groups[name]
    values = {code: text for text, code in group.values.items()}
    return [values[code] for code in group.codes.tolist()]


def _push(
    stream: Stream,
    rows: Rows,
    rules: StreamRules,
    arrivals: NDArray[np.int64],
    names: dict[str, list[str | None]],
) -> tuple[list[Decision], int, int]:
    """Push the rows; their last decisions, the most that waited, how often a frame was written."""
    last: dict[str, Decision] = {}
    waiting = writes = 0

    def note(decisions: list[Decision]) -> None:
        nonlocal writes
        for d in decisions:
            before = last.get(d.id)
            if d.action == "keep" and (before is None or before.action != "keep"):
                writes += 1
            last[d.id] = d

    ids: list[str] = []
    counts_bytes = rules.max_bytes is not None or rules.window_bytes is not None
    for start in range(0, len(arrivals), _STEP):
        step = arrivals[start : start + _STEP]
        step_ids = rows.ids.take(_array(step)).to_pylist()
        ids += step_ids
        sizes = file_sizes(rows.source, rows.numbers[step]).tolist() if counts_bytes else None
        signatures, known = np.empty((0, 0), np.uint8), np.zeros(len(step), bool)
        if rules.near_duplicates is not None:
            signatures, known = read_signatures(rows, step)
        for index, row in enumerate(step.tolist()):
            note(
                stream.push(
                    step_ids[index],
                    score=float(rows.scores[row]),
                    timestamp_ns=int(rows.times[row]) if len(rows.times) else 0,
                    size=0 if sizes is None else sizes[index],
                    sequence=names["sequence"][row] if "sequence" in names else None,
                    camera=names["camera"][row] if "camera" in names else None,
                    signature=signatures[index] if known[index] else None,
                )
            )
            if len(rows.times):
                waiting = max(waiting, stream.counters.waiting)
    note(stream.end())
    return [last[name] for name in ids], waiting, writes


def _array(rows: NDArray[np.int64]) -> pa.Array:
    import pyarrow as pa

    return pa.array(rows)
