"""Strata: groups of rows that share out a part of the budget.

**By predicted class** (``class:66%``) the classes take in turn. The class for which least was spent
so far takes its best row that budget and rules still allow; of several such classes the first in
the model's order. So with rows of one cost each class has one turn after the other, and with a
budget in pixels or clicks each class spends as much. A class that has no such row any more drops
out, and the others go on.

* A region belongs to the class that is predicted most often in it (``majority_class``) and has
  there its score, or score per cost.
* An image belongs to every class that has a share of its score. Its score for a class is its score
  times this share: of the sum over pixels that the function is a mean of, or, for a function that
  is no such mean (``margin``, ``ds:margin``, ``random``, …), of the pixels. It is taken once.

**By an attribute** (``sequence``, ``camera``, ``folder``, a column of the manifest) each value
takes its share of the rows that may be picked. A budget that counts rows is divided into whole
numbers by largest remainders; of equal ones, the first value in the order of texts (UTF-8 bytes)
gets the row, and rows without a value come last. Of pixels and clicks, each value takes at most its
exact share.

The rest of the budget, and what no stratum can take, goes by the score alone. Rows of ``include``
come before all this: the part is one of the budget that they leave. Ties of scores go by id, then
region. With ``stochastic``, the rows of a class are drawn by their scores there, with noise from a
hash of seed, class and name; the rest is drawn with the usual noise.

Classes in turn are the selection of ClaSP PE (arXiv 2601.13677) for stored regions: 66 % of the
budget by class, noise on log-scores, the rest by entropy.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from deal.acquisitions import Bound
from deal.errors import ResultsError
from deal.selection.greedy import Cap, Choice
from deal.selection.order import mixed, name_hashes, rank
from deal.selection.ranking import Ranking
from deal.selection.rows import Rows
from deal.selection.why import filled

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["choose_by_strata"]

_BLOCK = 512

_OfClass: TypeAlias = tuple[int, NDArray[np.int64], NDArray[np.float64]]
"""Number of a class, the rows that it has, and the key of each for this class."""


def choose_by_strata(
    rows: Rows,
    ranking: Ranking,
    bound: Bound,
    totals: NDArray[np.int64] | None,
    choice: Choice,
    open_rows: NDArray[np.int64],
) -> dict[str, Any]:
    """Give out the part of the budget that strata share out.

    Parameters
    ----------
    totals : ndarray of int64 or None
        Totals of the pool, if the function needs them.
    open_rows : ndarray of int64
        All rows that may be picked, in the order in which the budget's rest takes them.

    Returns
    -------
    dict
        What was spent, as JSON values, and for classes what each has taken.

    Raises
    ------
    ResultsError
        The results lack the columns that tell the classes, or hold scores below 0 that shares of
        classes would turn around.
    """
    strata = ranking.stratify
    assert strata is not None
    before, whole = choice.spent, choice.limit
    choice.limit = before + strata.resolve(whole - before)
    found: dict[str, Any] = {}
    if strata.by_class:
        orders = _by_class(rows, ranking, bound, totals, open_rows)
        found["rows"] = _in_turn(choice, orders)
    else:
        codes, limits = _shares(rows, strata.attribute, choice, open_rows, ranking)
        cap = Cap(codes, limits, choice.weights)
        choice.rules.append(cap)
        choice.choose(open_rows)
        choice.rules.remove(cap)
    found["spent"] = choice.spent - before
    choice.limit = whole
    return found


def _in_turn(choice: Choice, orders: dict[str, NDArray[np.int64]]) -> dict[str, int]:
    """Let classes take in turn; return how many rows each has taken."""
    if orders:
        choice.load(np.unique(np.concatenate(list(orders.values()))))
    taken = dict.fromkeys(orders, 0)
    names, done = list(orders), np.zeros(len(choice.weights), bool)
    waiting = [_fitting(choice, order) for order in orders.values()]
    turns = [(0.0, place) for place in range(len(names))]
    while turns:
        spent, place = turns[0]
        left = (row for row in waiting[place] if not done[row])
        row = next((row for row in left if choice.take_one(row)), None)
        if row is None:
            heapq.heappop(turns)
            continue
        done[row] = True
        taken[names[place]] += 1
        heapq.heapreplace(turns, (spent + float(choice.weights[row]), place))
    return taken


def _fitting(choice: Choice, order: NDArray[np.int64]) -> Iterator[int]:
    """Rows of a class, best first; most of those that no longer fit are left out together."""
    for start in range(0, len(order), _BLOCK):
        block = order[start : start + _BLOCK]
        yield from block[choice.fits(block)].tolist()


def _by_class(
    rows: Rows,
    ranking: Ranking,
    bound: Bound,
    totals: NDArray[np.int64] | None,
    open_rows: NDArray[np.int64],
) -> dict[str, NDArray[np.int64]]:
    """The rows of each class, best first; of classes that have any, in the model's order."""
    import pyarrow as pa

    if not len(open_rows):
        return {}
    of_class = (
        _of_images(rows, bound, totals, open_rows)
        if rows.regions is None
        else _of_regions(rows, open_rows)
    )
    orders = {}
    for number, members, keys in of_class:
        ids = rows.ids.take(pa.array(members))
        regions = None if rows.regions is None else rows.regions[members]
        if ranking.stochastic is not None:
            own = mixed(name_hashes(ids, regions) ^ mixed(np.array([number + 1], np.uint64)))
            keys = ranking.stochastic.draws(keys, own, ranking.seed, np.sort(keys))
        name = f"class {number}" if bound.classes is None else bound.classes[number]
        if name in orders:  # a model may give two classes one name
            name = f"{name} (class {number})"
        orders[name] = members[rank(ids, keys, regions=regions)]
    return orders


def _of_regions(rows: Rows, some: NDArray[np.int64]) -> Iterator[_OfClass]:
    table = rows.read(some, ["id", "majority_class"])
    if "majority_class" not in table.column_names:
        raise _lacking("majority_class")
    codes = table.column("majority_class").fill_null(-1).to_numpy()
    for number in np.unique(codes[codes >= 0]).tolist():
        members = some[codes == number]
        yield number, members, rows.keys[members]


def _of_images(
    rows: Rows, bound: Bound, totals: NDArray[np.int64] | None, some: NDArray[np.int64]
) -> Iterator[_OfClass]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if rows.pool.least < 0:
        raise ResultsError(
            "stratify class needs scores of at least 0, of which classes have shares, and some are "
            "below: choose another acquisition function"
        )
    columns = bound.class_columns or ("class_pixels",)

    def summary(piece: pa.Table) -> pa.Table:
        shares = _class_shares(piece, bound, totals)
        starts = np.arange(len(piece) + 1, dtype=np.int32) * shares.shape[1]
        return pa.table({"shares": pa.ListArray.from_arrays(starts, shares.reshape(-1))})

    found = rows.read(some, ["id", *columns], summary).column("shares")
    lengths = pc.list_value_length(found).to_numpy()  # 0 in a piece that knows no class
    shares = np.zeros((len(some), int(lengths.max())))
    shares[lengths > 0] = pc.list_flatten(found).to_numpy().reshape(-1, shares.shape[1])
    for number in range(shares.shape[1]):
        has = shares[:, number] > 0
        if has.any():
            yield number, some[has], rows.keys[some[has]] * shares[has, number]


def _class_shares(
    piece: pa.Table, bound: Bound, totals: NDArray[np.int64] | None
) -> NDArray[np.float64]:
    """Share of the score, or of the pixels, that each class has, float64 [n, C]."""
    shares = bound.class_shares(piece, totals) if bound.class_columns else None
    if shares is not None:
        return shares
    if "class_pixels" not in piece.column_names:
        raise _lacking("class_pixels")
    pixels = filled(piece, "class_pixels", len(bound.classes or ()))
    whole = pixels.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(pixels, whole, out=np.zeros_like(pixels), where=whole > 0))


def _shares(
    rows: Rows,
    attribute: str,
    choice: Choice,
    open_rows: NDArray[np.int64],
    ranking: Ranking,
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Codes [n] of the groups of an attribute, and what each may take."""
    group = rows.groups[attribute]
    part = choice.limit - choice.spent
    sizes: NDArray[np.float64] = np.zeros(len(group.values))
    np.add.at(sizes, group.codes[open_rows], choice.weights[open_rows])
    total = float(sizes.sum())
    if part >= total or not total:
        return group.codes, sizes
    if ranking.budget.cost != "count":
        return group.codes, np.asarray(sizes * (part / total), np.float64)
    count = int(part)
    whole = [count * int(size) for size in sizes]
    limits = np.array([share // int(total) for share in whole], np.float64)
    texts = sorted(group.values, key=lambda text: (text is None, (text or "").encode()))
    order = [group.values[text] for text in texts]
    order.sort(key=lambda code: -(whole[code] % int(total)))
    limits[order[: count - int(limits.sum())]] += 1
    return group.codes, limits


def _lacking(column: str) -> ResultsError:
    return ResultsError(
        f"stratify class needs the column {column}, which these results lack: give the output "
        "folder of deal-score"
    )
