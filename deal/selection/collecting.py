"""What one pass over a pool collects, piece by piece: its best rows, and sums over all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deal.acquisitions import Bound
from deal.acquisitions.columns import has_status, is_ok
from deal.errors import ResultsError
from deal.pool.ids import sequence_pattern
from deal.selection.attributes import column_of, frame_numbers, optional, texts
from deal.selection.best import NAMED, BestRows, First
from deal.selection.budget import check_costs, cost_columns, costs, keys_of
from deal.selection.growing import Growing
from deal.selection.kinds import SAMPLE
from deal.selection.named import Named
from deal.selection.order import name_hashes, twice
from deal.selection.places import Places
from deal.selection.ranking import Ranking
from deal.selection.reach import Reach
from deal.selection.rows import Groups, Pool, Rows
from deal.selection.sources import Sources

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Collected", "Keys"]

_PLACES = ("sequence", "camera", "timestamp_ns")
_GROUP = "group "  # before the name of an attribute: its column of codes


class Keys:
    """Ids, costs and what decides the order of the rows of a piece.

    Parameters
    ----------
    sources : Sources
    ranking : Ranking
    """

    def __init__(self, sources: Sources, ranking: Ranking) -> None:
        of_regions = sources.table == "regions"
        self.columns = cost_columns(ranking.cost, ranking.clicks)
        self._ranking = ranking
        self._of_regions = of_regions
        lists = (ranking.exclude, ranking.include)
        self._lists = [Named(names, of_regions=of_regions) for names in lists if len(names)]

    def ids(self, piece: pa.Table) -> tuple[pa.Array, NDArray[np.int32] | None]:
        """Ids as strings, and numbers of regions if rows are regions."""
        require(piece, ["id", *(["region"] if self._of_regions else [])])
        ids = whole(piece.column("id"))
        if not self._of_regions:
            return ids, None
        return ids, piece.column("region").to_numpy().astype(np.int32)

    def named(self, ids: pa.Array, regions: NDArray[np.int32] | None) -> NDArray[np.bool_]:
        """Rows that a list names."""
        found = np.zeros(len(ids), bool)
        for names in self._lists:
            found |= names.rows(ids, regions)
        return found

    def costs(self, piece: pa.Table, scored: NDArray[np.bool_]) -> NDArray[np.float64] | None:
        """Costs, 1 without a score, NaN where one is missing; None if rows are counted."""
        import pyarrow as pa

        ranking = self._ranking
        if ranking.cost == "count":
            return None
        require(piece, self.columns)
        given = {n: piece.column(n).cast(pa.float64()).to_numpy() for n in self.columns}
        found = costs(given, ranking.cost, ranking.clicks, len(piece))
        return np.where(scored, found, 1.0)

    def of(
        self, scores: NDArray[np.float64], given: NDArray[np.float64] | None
    ) -> NDArray[np.float64]:
        """Keys that decide the order."""
        return keys_of(scores, given, self._ranking.by)


class Collected:
    """The rows that a choice looks at, and what it has to know of all.

    All that grows with the pool are 8 bytes per row for the hashes of names, and what `Places`
    takes. See :func:`deal.selection.gather.gather`.

    Parameters
    ----------
    ascending : ndarray of float64 [m], optional
        Sorted keys of all rows that are drawn from.

    Attributes
    ----------
    columns : list of str
        What is read of each row beside its name and what its score needs.
    """

    def __init__(
        self,
        sources: Sources,
        bound: Bound,
        ranking: Ranking,
        reach: Reach,
        ascending: NDArray[np.float64] | None,
        with_places: bool,
    ) -> None:
        gap = ranking.min_gap
        by_camera = ranking.gap_per == "camera"
        self._sources, self._ranking = sources, ranking
        self._keys = Keys(sources, ranking)
        self._ascending = ascending
        pattern = ranking.sequence_from
        self._pattern = None if pattern is None else sequence_pattern(pattern)
        attributes = [quota.attribute for quota in ranking.quotas] + (["sequence"] if gap else [])
        if ranking.stratify is not None and not ranking.stratify.by_class:
            attributes.append(ranking.stratify.attribute)
        self._groups = {name: Groups() for name in attributes}
        self._needs = [*self._keys.columns, *filter(None, map(column_of, self._groups))]
        self._needs += ["timestamp_ns"] if gap and not gap.frames else []
        optionals = _PLACES if with_places else ("camera",) if gap and by_camera else ()
        self.columns = [*self._needs, *optionals]
        if gap and by_camera:
            self._groups["camera"] = Groups()
        self._places = Places(by_camera) if with_places else None
        self._pool = Pool()
        self._names = Growing(np.uint64)
        self._missing_costs = self._missing_times = 0

        def most() -> int | None:
            named = len(ranking.exclude) + len(ranking.include)
            return reach.rows(ranking.budget, named, sources.expected(self._pool.rows))

        self._first = First("key", most)
        self._drawn = None if ascending is None else First("draw", most)
        self._sample = First("sample", lambda: SAMPLE, exactly=True) if with_places else None
        orders = (self._first, self._drawn, self._sample)
        self._best = BestRows(*(order for order in orders if order is not None))

    def add(self, piece: pa.Table, scores: NDArray[np.float64]) -> None:
        """Add rows: a piece with `columns`, and the score of each row."""
        require(piece, self._needs)
        pool, scored = self._pool, ~np.isnan(scores)
        ids, regions = self._keys.ids(piece)
        hashes = name_hashes(ids, regions)
        named = self._keys.named(ids, regions)
        given = self._keys.costs(piece, scored)
        keys = self._keys.of(scores, given)
        columns = {"number": pool.rows + np.arange(len(piece)), "id": ids}
        if regions is not None:
            columns["region"] = regions
        columns |= {"score": scores, "key": keys, NAMED: named}
        if given is not None:
            self._missing_costs += int(np.isnan(given).sum())
            columns["cost"] = given
        if self._drawn is not None:
            columns["draw"] = self._draws(keys, hashes, scored)
        if self._sample is not None:
            columns["sample"] = ~hashes
        for name, group in self._groups.items():
            columns[_GROUP + name] = group.encode(texts(piece, name, self._pattern), scored)
        if self._ranking.min_gap is not None:
            columns["time"] = self._times(piece, scored)
        if self._places is not None:
            told = [optional(piece, name, self._pattern) for name in _PLACES]
            self._places.add(ids, scored | skipped_rows(piece), *told)
        pool.rows += len(piece)
        pool.scored += int(scored.sum())
        skipped = skipped_rows(piece)
        pool.skipped += int(skipped.sum())
        pool.unscored += int((ok_rows(piece) & ~scored).sum())
        pool.named += int((named & scored).sum())
        if scored.any():
            pool.least = float(np.fmin(pool.least, np.fmin.reduce(keys[scored])))
            pool.most = float(np.fmax(pool.most, np.fmax.reduce(keys[scored])))
            pool.digest.add(hashes[scored], scores[scored])
        self._names.extend(hashes)
        self._best.add(columns)

    def repeated(self) -> NDArray[np.uint64]:
        """Hashes of names that stand more than once; call it when all rows have come."""
        names = self._names.close()
        if self._places is None:  # names in the order of the rows are not needed any more
            names.sort()
            self._names = Growing(np.uint64)
            return twice(names)
        return twice(np.sort(names))

    def close(self) -> Rows:
        """The rows.

        Raises
        ------
        ResultsError
            The cost, or what the gap needs, of a row that has a score is missing.
        """
        ranking, pool = self._ranking, self._pool
        table, (first, *others) = self._best.close(self._nothing())
        check_costs(self._missing_costs, pool.scored, ranking.cost, ranking.clicks)
        if ranking.min_gap is not None and pool.scored:
            self._check_gap()

        def column(name: str) -> NDArray[Any]:
            return np.asarray(table.column(name).to_numpy())

        for name, group in self._groups.items():
            group.codes = column(_GROUP + name)
        drawn = others.pop(0) if self._drawn is not None else first
        return Rows(
            source=self._sources,
            numbers=column("number"),
            ids=whole(table.column("id")),
            regions=column("region") if self._sources.table == "regions" and pool.rows else None,
            scores=column("score").copy(),  # picks by distance write theirs into it
            keys=column("key"),
            costs=column("cost") if "cost" in table.column_names else np.ones(len(table)),
            groups=self._groups,
            times=column("time") if ranking.min_gap is not None else np.empty(0, np.int64),
            pool=pool,
            first=first,
            drawn=drawn,
            sampled=others.pop(0) if self._sample is not None else np.zeros(len(table), bool),
            is_whole=not (self._drawn or self._first).left_out,
            draws=column("draw") if self._drawn is not None else None,
            names=self._names.close() if self._places is not None else None,
            places=self._places,
        )

    def _nothing(self) -> pa.Table:
        """A table of no rows, which a pool without rows gives."""
        import pyarrow as pa

        number, real = pa.int64(), pa.float64()
        kinds = {"number": number, "id": pa.large_string(), "score": real, "key": real}
        kinds |= {NAMED: pa.bool_(), "cost": real, "draw": real, "sample": pa.uint64()}
        kinds |= {"time": number} | {_GROUP + name: pa.int32() for name in self._groups}
        if self._sources.table == "regions":
            kinds["region"] = pa.int32()
        return pa.schema(kinds.items()).empty_table()

    def _draws(
        self, keys: NDArray[np.float64], hashes: NDArray[np.uint64], scored: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        how = self._ranking.stochastic
        assert how is not None
        assert self._ascending is not None
        draws = np.full(len(keys), -np.inf)
        seed = self._ranking.seed
        draws[scored] = how.draws(keys[scored], hashes[scored], seed, self._ascending)
        return draws

    def _times(self, piece: pa.Table, scored: NDArray[np.bool_]) -> NDArray[np.int64]:
        gap = self._ranking.min_gap
        assert gap is not None
        stamps = frame_numbers(piece) if gap.frames else piece.column("timestamp_ns")
        self._missing_times += int((stamps.is_null().to_numpy() & scored).sum())
        return np.asarray(stamps.fill_null(0).to_numpy().astype(np.int64))

    def _check_gap(self) -> None:
        gap = self._ranking.min_gap
        assert gap is not None
        lacking = {
            "sequence": self._groups["sequence"].without,
            "number in the stem of their id" if gap.frames else "timestamp_ns": self._missing_times,
        }
        for what, count in lacking.items():
            if count:
                remedy = (
                    "give --sequence-from REGEX, or a manifest with a column sequence"
                    if what == "sequence"
                    else "give the gap in seconds"
                    if gap.frames
                    else "score from a manifest with a column timestamp_ns, or give the gap in "
                    "frames"
                )
                rows_of = f"{count} of {self._pool.scored} rows"
                raise ResultsError(f"{gap.rule} {gap.text}: {rows_of} have no {what}; {remedy}")


def ok_rows(piece: pa.Table) -> NDArray[np.bool_]:
    """Which rows are ok, bool [n]; all of a table that does not say."""
    if "status" not in piece.column_names:
        return np.ones(len(piece), dtype=bool)
    return is_ok(piece.column("status"))


def skipped_rows(piece: pa.Table) -> NDArray[np.bool_]:
    """Which rows were only screened, bool [n]; none of a table that does not say."""
    if "status" not in piece.column_names:
        return np.zeros(len(piece), dtype=bool)
    return has_status(piece.column("status"), "skipped")


def require(piece: pa.Table, columns: list[str] | tuple[str, ...]) -> None:
    """Raise ResultsError if a table lacks a column."""
    for name in columns:
        if name not in piece.column_names:
            raise ResultsError(
                f"the table lacks the column {name}, which this selection needs: give a table that "
                "has it, or the output folder of deal-score"
            )


def whole(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece."""
    import pyarrow as pa

    found = column.combine_chunks()
    return pa.concat_arrays(found.chunks) if isinstance(found, pa.ChunkedArray) else found
