"""Rows of the page: every image of an output with its score, or an even sample of a large pool."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deal.errors import ResultsError
from deal.pool.locator import locate
from deal.pool.remote_path import place
from deal.results.schema import STATUSES
from deal.selection import Ranking
from deal.selection.attributes import frame_numbers
from deal.selection.gather import pool_totals, scored_pieces
from deal.selection.order import name_hashes, rank, repeated
from deal.selection.reasons import Reason, reason_of, usual_levels
from deal.selection.sources import Sources
from deal.selection.why import class_codes
from deal.types import PoolItem
from deal.viewing.chosen import Chosen, ranking_of
from deal.viewing.pack import valid
from deal.viewing.project import Axes, find_axes, raw_features

if TYPE_CHECKING:
    import pyarrow as pa

    from deal.acquisitions import Bound

__all__ = ["MOST_ROWS", "Pool", "Scored", "read_pool", "score_all"]

MOST_ROWS = 200_000
"""Rows that a page may have."""

_LIGHT = (
    "id",
    "uri",
    "source_version",
    "sequence",
    "camera",
    "timestamp_ns",
    "attributes",
    "status",
    "error_code",
    "error",
    "duplicate_of",
    "width",
    "height",
    "difficulty_mean",
    "entropy_mean",
    "thumbnail",
)
_WIDE = ("n_pixels", "class_pixels", "class_difficulty_sum", "class_entropy_sum", "embedding")
_AXES_ROWS = 20_000


@dataclass(frozen=True)
class Pool:
    """Rows of the page.

    Attributes
    ----------
    output : Path
    classes : tuple of str
    fingerprint : str
    acquisition : str
        The function that the score comes from.
    metadata : dict
        What ``selection.json`` says; empty without a selection.
    notes : tuple of str
        What a reader of the page should hear.
    total, scored, selected : int
        Rows of the results, those of them that have a score, and those that are picked.
    counts : dict of str to int
        Rows of the results by status.
    table : pyarrow.Table, n rows
        Columns of the results, and ``frame``, the last number of the id.
    scores : ndarray of float64 [n]
        NaN without one.
    places : ndarray of uint32 [n]
        Place by score among all rows of the results, from 1; 0 without a score.
    picks : ndarray of uint32 [n]
        Rank in the selection, from 1; 0 for what is not selected.
    why : pyarrow.LargeStringArray [n]
        Why a pick is one; null for others.
    reason : Reason
        What ``codes`` say of the other rows.
    codes : ndarray of uint8 [n, 6] or None
        Three pairs of class and its share in percent (:mod:`deal.selection.why`).
    shares : ndarray of float32 [n, C]
        Share of the pixels predicted as each class; 0 where nothing is known.
    points : ndarray of float32 [n, 2]
        Place on the map; NaN where nothing is known.
    axes : Axes
    missing_picks : int
        Picks that the results do not hold.
    """

    output: Path
    classes: tuple[str, ...]
    fingerprint: str
    acquisition: str
    metadata: dict[str, Any]
    notes: tuple[str, ...]
    total: int
    scored: int
    selected: int
    counts: dict[str, int]
    table: pa.Table
    scores: NDArray[np.float64]
    places: NDArray[np.uint32]
    picks: NDArray[np.uint32]
    why: pa.Array
    reason: Reason
    codes: NDArray[np.uint8] | None
    shares: NDArray[np.float32]
    points: NDArray[np.float32]
    axes: Axes
    missing_picks: int

    def __len__(self) -> int:
        return len(self.scores)

    def items(self, rows: Sequence[int]) -> list[PoolItem]:
        """Where the images of rows lie, to decode them."""
        import pyarrow as pa

        names = ["id", "uri", "source_version"]
        taken = self.table.select(names).take(pa.array(rows, pa.int64())).to_pydict()
        triples = zip(*(taken[name] for name in names), strict=True)
        return [PoolItem(i, uri, locate(uri, version), version) for i, uri, version in triples]

    @property
    def ids(self) -> pa.Array:
        """Ids, a large_string array [n]."""
        import pyarrow as pa

        return self.table.column("id").cast(pa.large_string()).combine_chunks()


def read_pool(output: str | os.PathLike[str], chosen: Chosen, limit: int) -> Pool:
    """Read an output and the scores of the function that its selection was made by.

    Of more than ``limit`` rows the picks stay, the best first, then as many others as fit, drawn by
    a hash of the id: the same rows on every machine.

    Raises
    ------
    ResultsError
        There are no results, or they are damaged.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    stored = Sources(output)
    classes = stored.classes or ()
    bound, scored = score_all(stored, chosen)
    notes = list(scored.notes)
    order = rank(scored.ids, scored.scores)
    places = np.zeros(len(scored.ids), np.uint32)
    places[order] = np.arange(1, len(order) + 1, dtype=np.uint32)
    found = chosen.rows_in(scored.ids)
    rows = found.drop_null().to_numpy()
    ranks = (np.flatnonzero(valid(found)) + 1).astype(np.uint32)
    picks = np.zeros(len(scored.ids), np.uint32)
    picks[rows[::-1]] = ranks[::-1]  # of several regions of an image the first counts
    if chosen.ranks_everything:
        picks[:] = 0
    kept = _kept(scored, picks, limit)
    selected = int((picks > 0).sum())
    if len(kept) < len(scored.ids):
        shown = "every pick, and an even sample of the others"
        if selected > limit:
            shown = f"the first of {selected:,} picks (--rows N shows more, up to {MOST_ROWS:,})"
        notes.append(
            f"shows {len(kept):,} of {len(scored.ids):,} images: {shown}; places and percentiles "
            "are those of all images"
        )
    axes = find_axes(_sample(stored, kept))
    totals, reason = scored.totals, reason_of(bound)
    usual = usual_levels(stored) if reason.against_pool else None

    def summary(piece: pa.Table) -> pa.Table:
        codes = None if reason.fixed else class_codes(reason, bound, piece, totals, usual)
        points = axes.project(raw_features(piece, axes.kind))
        light = piece.select([name for name in piece.column_names if name in _LIGHT])
        light = light.append_column("frame", frame_numbers(piece))
        none = pa.nulls(len(piece), pa.binary(6)) if codes is None else codes
        block = np.concatenate([_shares(piece, len(classes)), points], axis=1)
        numbers = pa.FixedSizeListArray.from_arrays(pa.array(block.reshape(-1)), block.shape[1])
        return light.append_column("codes", none).append_column("numbers", numbers)

    needs = dict.fromkeys([*_LIGHT, *_WIDE, *bound.columns, *reason.columns])
    table = stored.take(kept, list(needs), summary)
    if "id" not in table.column_names:
        raise ResultsError(
            f"{output} holds no images: score some with deal-score --output {output}"
        )
    width = len(classes) + 2
    flat = table.column("numbers").combine_chunks().flatten()
    numbers = flat.to_numpy(zero_copy_only=False).reshape(-1, width)
    codes = table.column("codes").combine_chunks()
    why = pa.nulls(len(kept), pa.large_string())
    if (picks > 0).any():
        why = chosen.why.take(pa.array(np.where(picks[kept] > 0, picks[kept] - 1.0, 0), pa.int64()))
        why = pc.if_else(pa.array(picks[kept] > 0), why, pa.scalar(None, pa.large_string()))
    return Pool(
        output=place(output),
        classes=classes,
        fingerprint=stored.fingerprint or "",
        acquisition=bound.name,
        metadata=dict(chosen.metadata),
        notes=tuple(notes),
        total=len(scored.ids),
        scored=len(order),
        selected=selected,
        counts={s: int((scored.status == i).sum()) for i, s in enumerate(STATUSES)},
        table=table.drop_columns(["numbers", "codes"]),
        scores=scored.scores[kept],
        places=places[kept],
        picks=picks[kept],
        why=why,
        reason=reason,
        codes=None if codes.null_count == len(codes) else _code_array(codes),
        shares=np.ascontiguousarray(numbers[:, : len(classes)]),
        points=np.ascontiguousarray(numbers[:, len(classes) :]),
        axes=axes,
        missing_picks=0 if chosen.ranks_everything else int(found.null_count),
    )


@dataclass(frozen=True)
class Scored:
    """All rows of an output: ids, codes of the status, scores, and totals of the pool."""

    ids: pa.Array
    status: NDArray[np.uint8]
    scores: NDArray[np.float64]
    totals: NDArray[np.int64] | None
    notes: tuple[str, ...]


def score_all(stored: Sources, chosen: Chosen) -> tuple[Bound, Scored]:
    """Score every row as the selection does; by entropy where there is no difficulty instead."""
    ranking, note = ranking_of(chosen.metadata)
    notes = () if note is None else (note,)
    first = ranking.bind(stored.classes)
    try:
        return first, _pass(stored, first, notes)
    except ResultsError as error:
        if first.name != "ds:none":
            notes = (*notes, f"the images are ranked by entropy: {error}")
        second = Ranking.of(acquisition="entropy").bind(stored.classes)
        return second, _pass(stored, second, notes)


def _pass(stored: Sources, bound: Bound, notes: tuple[str, ...]) -> Scored:
    import pyarrow as pa
    import pyarrow.compute as pc

    names = pa.array(STATUSES, pa.string())
    totals = pool_totals(stored, bound)
    ids, status, scores = [], [], []
    for piece, values in scored_pieces(stored, bound, totals=totals):
        ids += piece.column("id").cast(pa.large_string()).chunks
        coded = pc.index_in(piece.column("status").cast(pa.string()), names)
        status.append(coded.fill_null(0).to_numpy().astype(np.uint8))
        scores.append(values)
    joined = pa.concat_arrays(ids) if ids else pa.array([], pa.large_string())
    twice = repeated(joined)
    if twice is not None:
        if stored.settle():
            return _pass(stored, bound, notes)
        raise ResultsError(f"the id {joined[twice].as_py()!r} is in the results more than once")
    return Scored(
        joined,
        np.concatenate(status) if status else np.empty(0, np.uint8),
        np.concatenate(scores) if scores else np.empty(0),
        totals,
        notes,
    )


def _kept(scored: Scored, picks: NDArray[np.uint32], limit: int) -> NDArray[np.int64]:
    count = len(scored.ids)
    if count <= limit:
        return np.arange(count)
    others = np.flatnonzero(picks == 0)
    room = max(limit - (count - len(others)), 0)
    hashes = name_hashes(scored.ids)[others]
    drawn = others[np.argsort(hashes, kind="stable")[:room]]
    taken = np.flatnonzero(picks)
    best = taken[np.argsort(picks[taken], kind="stable")[:limit]]
    return np.sort(np.concatenate([best, drawn]))


def _sample(stored: Sources, kept: NDArray[np.int64]) -> pa.Table:
    step = -(-len(kept) // _AXES_ROWS) or 1
    return stored.take(kept[::step], ["id", "status", *_WIDE])


def _shares(piece: pa.Table, num_classes: int) -> NDArray[np.float32]:
    shares = np.zeros((len(piece), num_classes), np.float32)
    if "class_pixels" not in piece.column_names or not num_classes:
        return shares
    column = piece.column("class_pixels").combine_chunks()
    known = valid(column)
    if known.any():
        flat = column.drop_null().flatten().to_numpy(zero_copy_only=False)
        pixels = flat.reshape(-1, num_classes).astype(np.float64)
        shares[known] = pixels / np.maximum(pixels.sum(axis=1, keepdims=True), 1)
    return shares


def _code_array(codes: pa.Array) -> NDArray[np.uint8]:
    import pyarrow.compute as pc

    filled = pc.fill_null(codes, bytes(6))
    data = np.frombuffer(filled.buffers()[1], np.uint8)
    return data[filled.offset * 6 : (filled.offset + len(filled)) * 6].reshape(-1, 6)
