"""Does a rig keep what the desk picks, and how far is that from the best there is?"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal.bench.report import Row
from deal.bench.timing import single
from deal.errors import UsageError
from deal.pool.signature import centred, limit_of
from deal.selection.ranking import Ranking
from deal.selection.replay import Replay, replay

__all__ = ["compared"]

_FUNCTIONS = ("ds:entropy", "ds", "entropy", "margin", "de")
_SHARES = (0.02, 0.05, 0.1)
_GAP, _NEAR = "2s", 3.0
_ALIKE: dict[str, dict[str, Any]] = {
    "budget": {},
    "budget in bytes": {"bytes": True},
    "gap 2 s": {"min_gap": _GAP},
    "draws": {"stochastic": "power", "seed": 0},
    "windows of 60 s, gap 2 s": {"min_gap": _GAP, "window": "60s", "window_budget": 5},
}


@dataclass(frozen=True)
class _Pool:
    """Rows that have a score, in the order of their times."""

    scores: NDArray[np.float64]
    times: NDArray[np.int64]
    places: NDArray[np.int64]
    thumbnails: NDArray[np.uint8]


def compared(results: str) -> Iterator[Row]:
    """Replay stored results as a trip, and compare with `deal.select` and with the exact optimum.

    By every function that the results have the columns for, and budgets of 2, 5 and 10 % of the
    rows. The optimum with a gap of 2 s and near-duplicates within 3 grey levels is that of a
    mixed-integer program, solved by HiGHS to a gap of 0.

    Parameters
    ----------
    results : path
        Output folder of `deal-score`, from a manifest with times.

    Raises
    ------
    UsageError
        SciPy is not installed, or the results have none of the columns.
    ResultsError
        As of `deal.select`.
    """
    import deal

    table = deal.read_results(results).table
    functions = [name for name in _FUNCTIONS if name != "de" or _has(table, "difficulty_hist")]
    if not _has(table, "difficulty_mean"):
        functions = ["entropy", "margin"]
    budgets = [max(round(share * len(table)), 1) for share in _SHARES]
    for name, rules in _ALIKE.items():
        same = kept = 0
        for function in functions:
            for budget in budgets:
                found = _replay(results, function, budget, rules)
                offline = set(found.offline.ids)
                same += len(offline & set(found.selection.ids))
                kept += len(offline)
        yield Row(f"frames that select takes too, {name}", single(same / kept), "share", ">= 1")
    ratios = []
    for function in functions:
        pool = _pool(table, function)
        for budget in budgets:
            rules = {"min_gap": _GAP, "near_duplicates": _NEAR}
            found = _replay(results, function, budget, rules)
            best = _optimum(pool, budget, 2 * 10**9, _NEAR)
            ratios.append(float(found.selection.scores.sum()) / best)
    what = "of the optimum, gap 2 s and near-duplicates"
    yield Row(f"{what}, least", single(min(ratios)), "ratio", ">= 0.98")
    yield Row(f"{what}, median", single(statistics.median(ratios)), "ratio")


def _has(table: Any, column: str) -> bool:
    return column in table.column_names and table.column(column).null_count < len(table)


def _replay(results: str, function: str, budget: int, rules: dict[str, Any]) -> Replay:
    options = {"near_duplicates": "off", **rules}
    amount: str | int = budget
    if options.pop("bytes", False):
        amount = f"{500 * budget}kB"
    ranking = Ranking.of(acquisition=function, budget=amount, spread="off", **options)
    return replay(results, ranking)


def _pool(table: Any, function: str) -> _Pool:
    import deal

    scores = deal.acquisition_scores(table, function)
    rows = np.flatnonzero(~np.isnan(scores))
    places = np.zeros(len(table), np.int64)
    for name in ("sequence", "camera"):
        codes = table.column(name).combine_chunks().dictionary_encode("encode").indices
        places = places * len(table) + codes.to_numpy()
    thumbnails = np.array(
        [np.frombuffer(b, np.uint8) for b in table.column("thumbnail").to_pylist()]
    )
    times = table.column("timestamp_ns").to_numpy()
    rows = rows[np.lexsort((times[rows], places[rows]))]
    return _Pool(scores[rows], times[rows], places[rows], thumbnails[rows])


def _optimum(pool: _Pool, budget: int, gap: int, near: float) -> float:
    """The greatest sum of scores of so many frames that the rules allow."""
    try:
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import csr_array
    except ImportError:
        raise UsageError("the exact optimum needs SciPy: pip install scipy") from None
    groups = [*_within(pool, gap), *_alike(pool, near)]
    owner = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    member = np.concatenate(groups) if groups else np.empty(0, np.int64)
    count = len(pool.scores)
    once = csr_array((np.ones(len(member)), (owner, member)), shape=(len(groups), count))
    constraints = [LinearConstraint(np.ones((1, count)), 0, budget)]
    if groups:
        constraints.append(LinearConstraint(once, 0, 1))
    found = milp(
        -pool.scores,
        integrality=np.ones(count),
        bounds=Bounds(0, 1),
        constraints=constraints,
        options={"mip_rel_gap": 0.0},
    )
    if found.status != 0:
        raise UsageError(f"the exact optimum was not found: {found.message}")
    return float(-found.fun)


def _within(pool: _Pool, gap: int) -> Iterator[Sequence[int]]:
    """Frames of which a gap allows one: those from each frame on, until a gap later."""
    end = 0
    for start in range(len(pool.times)):
        before, end = end, max(end, start)
        while (
            end < len(pool.times)
            and pool.places[end] == pool.places[start]
            and pool.times[end] - pool.times[start] < gap
        ):
            end += 1
        if end > max(before, start + 1):
            yield range(start, end)


def _alike(pool: _Pool, levels: float) -> Iterator[Sequence[int]]:
    """Pairs of near-duplicates."""
    values, limit = centred(pool.thumbnails.reshape(-1, 192)), limit_of(levels)
    for index in range(len(values) - 1):
        apart = np.abs(values[index + 1 :].astype(np.int64) - values[index]).sum(axis=1)
        for other in np.flatnonzero(apart <= limit):
            yield (index, index + 1 + int(other))
