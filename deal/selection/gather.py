"""One pass over the sources, which scores all rows and collects what a choice needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deal.acquisitions import Bound
from deal.errors import ResultsError
from deal.selection.collecting import Collected, Keys, ok_rows, whole
from deal.selection.growing import Growing
from deal.selection.order import name_hashes
from deal.selection.ranking import Ranking
from deal.selection.reach import Reach
from deal.selection.rows import Rows
from deal.selection.sources import Sources

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["gather", "notes_on_quotas", "pool_totals", "scored_pieces"]


def pool_totals(sources: Sources, bound: Bound) -> NDArray[np.int64] | None:
    """Return totals over all pieces; None for functions that need none."""
    if not bound.needs_totals:
        return None
    total = np.zeros((), dtype=np.int64)
    for piece in sources.read([*_key(sources.table), *bound.columns]):
        total = total + bound.totals(piece)
    return total


def scored_pieces(
    sources: Sources,
    bound: Bound,
    columns: Sequence[str] = (),
    totals: NDArray[np.int64] | None = None,
) -> Iterator[tuple[pa.Table, NDArray[np.float64]]]:
    """Yield pieces of the sources with the columns, and the score of each row: float64 [n].

    ``totals`` come from :func:`pool_totals`.
    """
    needs = list(dict.fromkeys([*_key(sources.table), *bound.columns, *columns]))
    for piece in sources.read(needs):
        if bound.greedy:
            yield piece, np.where(ok_rows(piece), 0.0, np.nan)
        else:
            yield piece, bound.scores(piece, totals)


def gather(
    sources: Sources,
    bound: Bound,
    ranking: Ranking,
    reach: Reach | None = None,
    *,
    with_places: bool = False,
) -> tuple[Rows, NDArray[np.int64] | None]:
    """Read and score everything once; return the best rows and :func:`pool_totals`.

    Parameters
    ----------
    reach : Reach, optional
        How many rows to keep; all by default.
    with_places : bool
        Also collect sequences and times, where there are any.

    Raises
    ------
    ResultsError
        A column that the function, the cost or a rule needs is missing or empty, or two rows have
        the same name.
    """
    totals = pool_totals(sources, bound)
    ascending = None
    if ranking.stochastic is not None:
        ascending = _open_keys(sources, bound, ranking, totals)
        ranking.stochastic.check(float(ascending[0]) if len(ascending) else 0.0)
    collected = Collected(sources, bound, ranking, reach or Reach(), ascending, with_places)
    for piece, values in scored_pieces(sources, bound, collected.columns, totals):
        collected.add(piece, values)
    name = _repeated(sources, collected.repeated())
    if name is not None:
        if sources.settle():  # once more, without the second rows that are now left out
            return gather(sources, bound, ranking, reach, with_places=with_places)
        raise _twice(*name)
    return collected.close(), totals


def _open_keys(
    sources: Sources, bound: Bound, ranking: Ranking, totals: NDArray[np.int64] | None
) -> NDArray[np.float64]:
    """Keys of the rows that no list names, sorted."""
    found, keys = Growing(np.float64), Keys(sources, ranking)
    for piece, scores in scored_pieces(sources, bound, keys.columns, totals):
        scored = ~np.isnan(scores)
        open_rows = scored & ~keys.named(*keys.ids(piece))
        found.extend(keys.of(scores, keys.costs(piece, scored))[open_rows])
    ascending = found.close()
    ascending.sort()
    return ascending


def _repeated(sources: Sources, hashes: NDArray[np.uint64]) -> tuple[str, int | None] | None:
    """The least name that stands twice, of those that have one of these hashes."""
    import pyarrow as pa

    if not len(hashes):
        return None
    seen: set[tuple[str, int | None]] = set()
    again = []
    for piece in sources.read(_key(sources.table)):
        ids = whole(piece.column("id"))
        regions = None
        if sources.table == "regions":
            regions = piece.column("region").to_numpy().astype(np.int32)
        rows = np.flatnonzero(np.isin(name_hashes(ids, regions), hashes))
        names = ids.take(pa.array(rows)).to_pylist()
        numbers = [None] * len(names) if regions is None else regions[rows].tolist()
        for name in zip(names, numbers, strict=True):
            if name in seen:
                again.append(name)
            seen.add(name)
    return min(again) if again else None


def _key(table: str) -> tuple[str, ...]:
    return ("id", "status") if table == "images" else ("id", "region", "status")


def _twice(name: str, region: int | None) -> ResultsError:
    number = "" if region is None else f" with region {region}"
    return ResultsError(
        f"the id {name!r}{number} is in the sources more than once: name each output folder once, "
        "and score pools with equal ids from a common root"
    )


def notes_on_quotas(rows: Rows, ranking: Ranking) -> Iterator[str]:
    """Yield notes on rows without a value, and on values that no row has.

    Raises
    ------
    ResultsError
        No row has any value of the attribute.
    """
    scored = rows.pool.scored
    for quota in ranking.quotas:
        group = rows.groups[quota.attribute]
        if group.without and group.without == scored:
            raise ResultsError(
                f"quota {quota}: none of {scored} rows has a {quota.attribute}; give it as a "
                "column of the manifest and score the pool from that manifest"
            )
        if group.without:
            yield (
                f"{group.without} of {scored} rows have no {quota.attribute}: quota {quota} "
                "counts them together as one value"
            )
        if quota.value is not None and quota.value not in group.values:
            yield f"quota {quota}: no row has {quota.attribute} {quota.value!r}"
    strata = ranking.stratify
    if strata is None or strata.by_class:
        return
    group = rows.groups[strata.attribute]
    if group.without == scored:
        from_id = "--sequence-from REGEX or " if strata.attribute == "sequence" else ""
        raise ResultsError(
            f"stratify {strata}: none of {scored} rows has a {strata.attribute}; give {from_id}"
            f"a manifest with a column {strata.attribute}"
        )
    if group.without:
        yield (
            f"{group.without} of {scored} rows have no {strata.attribute}: stratify {strata} "
            "takes them together as one group"
        )
