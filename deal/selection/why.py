"""Why a row was selected: the classes and the regions that carry its score."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deal.acquisition import Bound
from deal.selection.gather import scored_pieces
from deal.selection.order import rank
from deal.selection.ranking import Ranking
from deal.selection.sources import Sources

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["class_texts", "region_texts"]

_MOST = 3
_LEAST_SHARE = 0.05
_BLOCK = 4096


def class_texts(
    bound: Bound, table: pa.Table, rows: int, totals: NDArray[np.int64] | None
) -> list[str | None]:
    """``pole 31 %, sign-symbol 22 %`` for each of the rows; None where no class carries the score.

    At most three classes, each with a share of the score of at least 5 %. Of a region, the class
    predicted most often.
    """
    if bound.table == "regions" and "majority_class" in table.column_names:
        majority = table.column("majority_class").to_pylist()
        return [None if number is None else _name(bound, number) for number in majority]
    if not bound.class_columns or not set(bound.class_columns) <= set(table.column_names):
        return [None] * rows
    texts: list[str | None] = []
    for start in range(0, rows, _BLOCK):  # several arrays [n, C] are made of each
        texts += _block_texts(bound, table.slice(start, _BLOCK), totals)
    return texts


def _block_texts(
    bound: Bound, table: pa.Table, totals: NDArray[np.int64] | None
) -> list[str | None]:
    shares = bound.class_shares(table, totals)
    assert shares is not None
    texts: list[str | None] = []
    order = np.argsort(-shares, axis=1, kind="stable")[:, :_MOST]
    best = np.take_along_axis(shares, order, axis=1)
    for classes, values in zip(order.tolist(), best.tolist(), strict=True):
        parts = [
            f"{_name(bound, number)} {int(100 * share + 0.5)} %"
            for number, share in zip(classes, values, strict=True)
            if share >= _LEAST_SHARE
        ]
        texts.append(", ".join(parts) or None)
    return texts


def region_texts(sources: Sources, ranking: Ranking, ids: pa.Array) -> dict[str, str]:
    """``regions 17, 18`` by id: the three stored regions with the highest scores.

    Empty where no regions are stored, or the function cannot score them.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    regions = sources.regions()
    bound = ranking.of_regions(sources.classes)
    if regions is None or bound is None:
        return {}
    names: list[pa.Array] = []
    numbers, scores = [], []
    for piece, values in scored_pieces(regions, bound):
        chosen = pc.is_in(piece.column("id"), ids)
        names += piece.column("id").filter(chosen).cast(pa.large_string()).chunks
        keep = chosen.to_numpy()
        numbers.append(piece.column("region").to_numpy()[keep])
        scores.append(values[keep])
    if not names:
        return {}
    joined, number = pa.concat_arrays(names), np.concatenate(numbers)
    order = rank(joined, np.concatenate(scores), regions=number)
    best: dict[str, list[int]] = {}
    for name, region in zip(
        joined.take(pa.array(order)).to_pylist(), number[order].tolist(), strict=True
    ):
        top = best.setdefault(name, [])
        if len(top) < _MOST:
            top.append(region)
    return {
        name: f"region{'s' if len(top) > 1 else ''} {', '.join(map(str, top))}"
        for name, top in best.items()
    }


def _name(bound: Bound, number: int) -> str:
    return f"class {number}" if bound.classes is None else bound.classes[number]
