"""What do near-duplicates that are skipped save, and what do they change?"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

import deal
from deal.acquisitions import bind
from deal.bench.failed import FailedCheckError
from deal.bench.report import Report, Row
from deal.bench.timing import interleave, ratios, single, spread
from deal.errors import UsageError
from deal.run.dedup import parse_dedup

__all__ = ["run"]

_WITHOUT = "without --dedup"
_PIECE = 4096  # rows that are compared at a time


@dataclass(frozen=True, slots=True)
class _Scored:
    """Stored rows by id, and of each duplicate the frame that it repeats."""

    table: pa.Table
    leaders: Mapping[str, str]

    @classmethod
    def read(cls, output: Path) -> _Scored:
        table = deal.read_results([output]).sort_by("id")
        pairs = zip(
            table.column("id").to_pylist(), table.column("duplicate_of").to_pylist(), strict=True
        )
        return cls(table, {name: leader for name, leader in pairs if leader is not None})

    def leader(self, name: str) -> str:
        """The frame that stands for this one: itself, or what it repeats."""
        return self.leaders.get(name, name)

    def picks(self, function: str, budget: str | int) -> list[str]:
        """Ids, best first."""
        picked = deal.select([self.table], acquisition=function, budget=budget, spread="off")
        return list(picked.ids)


def run(
    *,
    pool: Sequence[str],
    model: str,
    sequence_from: str | None = None,
    thresholds: str = "1,2,3,4",
    budget: str = "10%",
    acquisition: Sequence[str] = ("ds", "entropy", "de"),
    rounds: int = 1,
) -> Report:
    """Score a pool without and with ``--dedup`` at each threshold, and compare what is picked.

    Parameters
    ----------
    pool : sequence of str
        Frames of drives, in the order in which they were taken.
    model : str
    sequence_from : str, optional
        Regular expression of the sequence in a path, as ``deal-score --sequence-from`` takes it.
    thresholds : str
        Grey levels, separated by commas.
    budget : str
        What is picked without ``--dedup``, in images or percent; as many are picked with it.
    acquisition : sequence of str
        Functions to pick by, which score an image by itself.
    rounds : int
        Runs without and at each threshold, in turns.

    Raises
    ------
    UsageError
        A threshold that is none, or a function without scores of its own.
    FailedCheckError
        A frame that is no duplicate has other statistics than without ``--dedup``, or a duplicate
        is picked.
    """
    steps = {f"--dedup {value:g}": value for value in map(_threshold, thresholds.split(","))}
    for function in acquisition:
        if bind(function).greedy:
            raise UsageError(f"acquisition {function!r} has no scores to compare picks by")
    with tempfile.TemporaryDirectory(prefix="deal-bench-") as name:
        folder = Path(name)
        cpu: dict[str, list[float]] = {}

        def score(label: str, threshold: float | None) -> None:
            start = time.process_time()
            deal.score_pool(
                pool,
                model=model,
                output=folder / label,
                overwrite=True,
                device="cpu",
                sequence_from=sequence_from,
                dedup=threshold,
                acquisition=acquisition[0],
            )
            cpu.setdefault(label, []).append(time.process_time() - start)

        score(_WITHOUT, 255.0)  # decodes every frame, so that all later runs find them in memory
        cpu.clear()
        runs = {_WITHOUT: None} | steps
        seconds = interleave(
            {label: partial(score, label, threshold) for label, threshold in runs.items()},
            rounds=rounds,
            warmup=0,
        )
        without = _Scored.read(folder / _WITHOUT)
        found = {label: _Scored.read(folder / label) for label in steps}
    frames = len(without.table)
    best = {function: without.picks(function, budget) for function in acquisition}
    rows = [Row(_WITHOUT, spread([frames / s for s in seconds[_WITHOUT]]), "images/s")]
    for label, scored in found.items():
        _check(label, without.table, scored)
        skipped = len(scored.leaders)
        rows += [
            Row(f"{label}: skipped", single(skipped), "frames"),
            Row(f"{label}: share skipped", single(100 * skipped / frames), "%"),
            Row(label, spread([frames / s for s in seconds[label]]), "images/s"),
            Row(
                f"{label}: images/s / without",
                ratios(seconds[_WITHOUT], seconds[label]),
                "ratio",
            ),
            Row(f"{label}: CPU time / without", ratios(cpu[label], cpu[_WITHOUT]), "ratio"),
        ]
    for function, picks in best.items():
        scores = _scores(without.table, function)
        top = float(np.mean([scores[name] for name in picks]))
        rows += [
            Row(f"{function}: picks", single(len(picks)), "frames"),
            Row(
                f"{function}: mean score of all frames / picks {_WITHOUT}",
                single(float(np.nanmean(list(scores.values()))) / top),
                "ratio",
            ),
        ]
        for label, scored in found.items():
            rows += _compared(f"{function}, {label}", picks, scored, function, scores, top)
    return Report(
        question="dedup",
        settings={
            "frames": frames,
            "model": Path(model).name,
            "sequence_from": sequence_from,
            "thresholds": list(steps.values()),
            "budget": budget,
            "acquisition": list(acquisition),
            "rounds": rounds,
        },
        rows=tuple(rows),
        notes=("one run each, one after the other: speeds are not interleaved",) * (rounds == 1),
    )


def _threshold(text: str) -> float:
    value = parse_dedup(text.strip())
    assert value is not None
    return value


def _check(label: str, without: pa.Table, scored: _Scored) -> None:
    """Hold every frame that is no duplicate to its row without ``--dedup``, bit for bit."""
    ids = scored.table.column("id").to_pylist()
    if ids != without.column("id").to_pylist():
        raise FailedCheckError(f"{label}: not the frames of the run without")
    kept = pa.array([name not in scored.leaders for name in ids])
    ours, theirs = scored.table.filter(kept), without.filter(kept)
    standing = set(ours.column("id").to_pylist())
    if not set(scored.leaders.values()) <= standing:
        raise FailedCheckError(f"{label}: a duplicate repeats a frame that was skipped itself")
    for column in without.column_names:
        for start in range(0, len(ours), _PIECE):
            one, other = (t.column(column).slice(start, _PIECE) for t in (ours, theirs))
            # As text, in which −0 is not 0 and NaN is NaN; floats are written in full.
            if repr(one.to_pylist()) != repr(other.to_pylist()):
                raise FailedCheckError(f"{label}: {column} of a frame differs from the run without")


def _scores(table: pa.Table, function: str) -> dict[str, float]:
    """Score by id; NaN of frames that have none."""
    ids = table.column("id").to_pylist()
    return dict(zip(ids, deal.acquisition_scores(table, function).tolist(), strict=True))


def _compared(
    title: str,
    best: Sequence[str],
    scored: _Scored,
    function: str,
    scores: Mapping[str, float],
    top: float,
) -> list[Row]:
    """Picks with ``--dedup`` beside as many without, whose mean score ``top`` is the best."""
    picks = scored.picks(function, len(best))
    if scored.leaders.keys() & set(picks):
        raise FailedCheckError(f"{title}: a duplicate is picked")
    shown = {scored.leader(name) for name in best}
    shared = [name for name in best if name in set(picks)]
    led = [name for name in best if scored.leader(name) in set(picks)]
    share = 100 / len(best)
    mean = float(np.mean([scores[name] for name in picks])) / top
    return [
        Row(f"{title}: distinct frames among the picks without", single(share * len(shown)), "%"),
        Row(f"{title}: picks shared", single(share * len(shared)), "%"),
        Row(f"{title}: picks shared, leaders counted", single(share * len(led)), "%"),
        Row(f"{title}: mean score of picks / without", single(mean), "ratio"),
    ]
