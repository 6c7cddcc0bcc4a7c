"""One pass over the sources, which collects ids, scores and the columns for costs and rules."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deal.acquisitions import Bound
from deal.errors import ResultsError
from deal.pool.ids import sequence_pattern
from deal.selection.budget import cost_columns, costs
from deal.selection.order import repeated
from deal.selection.places import Places
from deal.selection.ranking import Ranking
from deal.selection.sources import Sources

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "Groups",
    "Rows",
    "frame_numbers",
    "gather",
    "image_codes",
    "notes_on_quotas",
    "pool_totals",
    "scored_pieces",
]

_COLUMNS = ("camera", "sequence")
_PLACES = ("sequence", "camera", "timestamp_ns")
# The last number, of up to 18 digits, in a stem such as frame_000123 or clip.mp4#frame=123.
_EXTENSION, _FRAME = r"\.[A-Za-z][A-Za-z0-9]*$", r"(?P<frame>\d{1,18})[^\d/]*$"


@dataclass
class Groups:
    """Rows grouped by a text that they share.

    Attributes
    ----------
    values : dict of str or None to int
        Each text and its code; None stands for rows without a text.
    codes : ndarray of int32 [n]
    """

    values: dict[str | None, int] = field(default_factory=dict)
    codes: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    _parts: list[NDArray[np.int32]] = field(default_factory=list)

    def add(self, texts: pa.ChunkedArray) -> None:
        """Append rows."""
        encoded = texts.combine_chunks().dictionary_encode("encode")
        numbers = [self.values.setdefault(v, len(self.values)) for v in encoded.dictionary.tolist()]
        self._parts.append(
            np.array(numbers, np.int32)[encoded.indices.to_numpy(zero_copy_only=False)]
        )

    def close(self) -> None:
        """Make ``codes`` for all rows that were added."""
        self.codes = np.concatenate(self._parts) if self._parts else self.codes
        self._parts = []


@dataclass
class Rows:
    """All rows of the sources, in the order of the sources.

    Attributes
    ----------
    ids : pyarrow.LargeStringArray [n]
    regions : ndarray of int32 [n] or None
    scores : ndarray of float64 [n]
        NaN for rows that cannot be ranked; 0 for the others if the function has no scores.
    costs : ndarray of float64 [n]
        1 for rows without a score.
    groups : dict of attribute name to Groups
        Those of the quotas, and ``sequence`` and ``camera`` if there is a gap.
    times : ndarray of int64 [n]
        Nanoseconds or frame numbers, for the gap; empty without one.
    unscored : int
        Count of rows that are ok but have no score, since a value is missing or not a number.
    places : Places, optional
        What rows say of their sequence and time, if they are to be spread by it.
    """

    ids: pa.Array
    regions: NDArray[np.int32] | None
    scores: NDArray[np.float64]
    costs: NDArray[np.float64]
    groups: dict[str, Groups]
    times: NDArray[np.int64]
    unscored: int
    places: Places | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, rows: NDArray[np.int64]) -> Rows:
        """Return the rows with these numbers, in this order, without groups and times."""
        import pyarrow as pa

        return Rows(
            ids=self.ids.take(pa.array(rows)),
            regions=None if self.regions is None else self.regions[rows],
            scores=self.scores[rows],
            costs=self.costs[rows],
            groups={},
            times=np.empty(0, np.int64),
            unscored=0,
        )


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
            yield piece, np.where(_ok(piece), 0.0, np.nan)
        else:
            yield piece, bound.scores(piece, totals)


def gather(
    sources: Sources, bound: Bound, ranking: Ranking, *, with_places: bool = False
) -> tuple[Rows, NDArray[np.int64] | None]:
    """Read and score everything once; return the rows and :func:`pool_totals`.

    ``with_places`` also collects sequences and times, where there are any.

    Raises
    ------
    ResultsError
        A column that the function, the cost or a rule needs is missing or empty, or two rows have
        the same name.
    """
    import pyarrow as pa

    totals = pool_totals(sources, bound)
    gap = ranking.min_gap
    pattern = None if ranking.sequence_from is None else sequence_pattern(ranking.sequence_from)
    attributes = [quota.attribute for quota in ranking.quotas] + (["sequence"] if gap else [])
    by_camera = ranking.gap_per == "camera"
    places = Places(by_camera) if with_places else None
    groups = {name: Groups() for name in attributes}
    optional = list(_PLACES if with_places else ("camera",) if gap and by_camera else ())
    costly = cost_columns(ranking.cost, ranking.clicks)
    needs = [*costly, *filter(None, map(_column, groups))]
    needs += ["timestamp_ns"] if gap and not gap.frames else []
    ids: list[pa.Array] = []
    regions: list[NDArray[np.int32]] = []
    scores: list[NDArray[np.float64]] = []
    times: list[NDArray[np.float64] | NDArray[np.int64]] = []
    amounts: dict[str, list[NDArray[np.float64]]] = {name: [] for name in costly}
    missing_times = unscored = 0
    if gap and by_camera:
        groups["camera"] = Groups()
    for piece, values in scored_pieces(sources, bound, [*needs, *optional], totals):
        _require(piece, [*_key(sources.table)[:1], *needs])
        ids.append(piece.column("id").cast(pa.large_string()).combine_chunks())
        scores.append(values)
        unscored += int((_ok(piece) & np.isnan(values)).sum())
        if sources.table == "regions":
            _require(piece, ["region"])
            regions.append(piece.column("region").to_numpy().astype(np.int32))
        for name in costly:
            amounts[name].append(piece.column(name).cast(pa.float64()).to_numpy())
        for name, group in groups.items():
            group.add(_texts(piece, name, pattern))
        if gap:
            stamps = frame_numbers(piece) if gap.frames else piece.column("timestamp_ns")
            missing_times += int((stamps.is_null().to_numpy() & ~np.isnan(values)).sum())
            times.append(stamps.fill_null(0).to_numpy())
        if places is not None:
            columns = [_optional(piece, name, pattern) for name in _PLACES]
            places.add(ids[-1], *columns)
    for group in groups.values():
        group.close()
    joined = np.concatenate(scores) if scores else np.empty(0)
    scored = ~np.isnan(joined)
    rows = Rows(
        ids=pa.concat_arrays(ids) if ids else pa.array([], pa.large_string()),
        regions=np.concatenate(regions) if regions else None,
        scores=joined,
        costs=np.broadcast_to(1.0, len(joined)),
        groups=groups,
        times=np.concatenate(times).astype(np.int64) if times else np.empty(0, np.int64),
        unscored=unscored,
        places=places,
    )
    row = repeated(rows.ids, rows.regions)
    if row is not None:
        if sources.settle():  # once more, without the second rows that are now left out
            return gather(sources, bound, ranking, with_places=with_places)
        raise _repeated(rows, row)
    if ranking.cost != "count" and scored.any():
        known = {name: np.concatenate(parts)[scored] for name, parts in amounts.items() if parts}
        rows.costs = np.ones(len(joined))
        rows.costs[scored] = costs(known, ranking.cost, ranking.clicks, int(scored.sum()))
    if gap and scored.any():
        _check_gap(rows, ranking, scored, missing_times)
    return rows, totals


def _key(table: str) -> tuple[str, ...]:
    return ("id", "status") if table == "images" else ("id", "region", "status")


def _column(attribute: str) -> str | None:
    """The column that holds an attribute; None for the folder, which is part of the id."""
    if attribute == "folder":
        return None
    return attribute if attribute in _COLUMNS else "attributes"


def _optional(
    piece: pa.Table, name: str, pattern: re.Pattern[str] | None
) -> pa.ChunkedArray | None:
    """A column that may be missing; the sequence may also come from the id."""
    if name == "sequence" and pattern is not None:
        return _texts(piece, name, pattern)
    return piece.column(name) if name in piece.column_names else None


def _texts(piece: pa.Table, attribute: str, sequences: re.Pattern[str] | None) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    if attribute == "folder":
        return pc.replace_substring_regex(piece.column("id"), r"/?[^/]*$", "", max_replacements=1)
    if attribute in ("camera", "sequence") and attribute not in piece.column_names:
        column = pa.chunked_array([pa.nulls(len(piece), pa.string())])
    else:
        column = piece.column(_column(attribute))
    if attribute == "sequence" and sequences is not None:
        # Python's expressions, as at scoring: those of Arrow are of another dialect.
        found = map(sequences.search, piece.column("id").to_pylist())
        derived = pa.array([match and match[1] for match in found], pa.string())
        return pc.coalesce(derived, column.cast(pa.string()))
    if attribute in _COLUMNS:
        return column
    if pa.types.is_null(column.type):
        return column.cast(pa.string())
    return pc.map_lookup(column, attribute, "first")


def frame_numbers(piece: pa.Table) -> pa.ChunkedArray:
    """The last number in the stem of each id, int64 [n]; null without one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    stems = pc.replace_substring_regex(piece.column("id"), _EXTENSION, "", max_replacements=1)
    return pc.struct_field(pc.extract_regex(stems, _FRAME), "frame").cast(pa.int64())


def _ok(piece: pa.Table) -> NDArray[np.bool_]:
    import pyarrow.compute as pc

    if "status" not in piece.column_names:
        return np.ones(len(piece), dtype=bool)
    return np.asarray(pc.equal(piece.column("status"), "ok").fill_null(False).to_numpy())


def _require(piece: pa.Table, columns: Sequence[str]) -> None:
    for name in columns:
        if name not in piece.column_names:
            raise ResultsError(
                f"the table lacks the column {name}, which this selection needs: give a table that "
                "has it, or the output folder of deal-score"
            )


def _repeated(rows: Rows, row: int) -> ResultsError:
    region = "" if rows.regions is None else f" with region {rows.regions[row]}"
    return ResultsError(
        f"the id {rows.ids[row].as_py()!r}{region} is in the sources more than once: name each "
        "output folder once, and score pools with equal ids from a common root"
    )


def _check_gap(rows: Rows, ranking: Ranking, scored: NDArray[np.bool_], missing_times: int) -> None:
    gap = ranking.min_gap
    assert gap is not None
    sequence = rows.groups["sequence"]
    lacking = {
        "sequence": int((scored & (sequence.codes == sequence.values.get(None, -1))).sum()),
        "number in the stem of their id" if gap.frames else "timestamp_ns": missing_times,
    }
    for what, count in lacking.items():
        if count:
            remedy = (
                "give --sequence-from REGEX, or a manifest with a column sequence"
                if what == "sequence"
                else "give the gap in seconds"
                if gap.frames
                else "score from a manifest with a column timestamp_ns, or give the gap in frames"
            )
            rows_of = f"{count} of {int(scored.sum())} rows"
            raise ResultsError(f"{gap.rule} {gap.text}: {rows_of} have no {what}; {remedy}")


def notes_on_quotas(rows: Rows, ranking: Ranking) -> Iterator[str]:
    """Yield notes on rows without a value, and on values that no row has.

    Raises
    ------
    ResultsError
        No row has any value of the attribute.
    """
    scored = ~np.isnan(rows.scores)
    for quota in ranking.quotas:
        group = rows.groups[quota.attribute]
        without = int((scored & (group.codes == group.values.get(None, -1))).sum())
        if without and without == scored.sum():
            raise ResultsError(
                f"quota {quota}: none of {without} rows has a {quota.attribute}; give it as a "
                "column of the manifest and score the pool from that manifest"
            )
        if without:
            yield (
                f"{without} of {int(scored.sum())} rows have no {quota.attribute}: quota {quota} "
                "counts them together as one value"
            )
        if quota.value is not None and quota.value not in group.values:
            yield f"quota {quota}: no row has {quota.attribute} {quota.value!r}"


def image_codes(rows: Rows, taken: NDArray[np.int64]) -> NDArray[Any]:
    """Codes [n] of the images of the taken rows, equal for rows of one image; −1 for other rows."""
    import pyarrow as pa

    codes = np.full(len(rows), -1, np.int64)
    if len(taken):
        codes[taken] = rows.ids.take(pa.array(taken)).dictionary_encode().indices.to_numpy()
    return codes
