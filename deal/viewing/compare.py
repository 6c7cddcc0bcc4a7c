"""What changed between two rounds: ranks, picks, and difficulty by class."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deal.errors import ResultsError
from deal.selection.order import rank
from deal.selection.sources import Sources
from deal.viewing.chosen import Chosen
from deal.viewing.pack import valid
from deal.viewing.project import lists
from deal.viewing.rows import score_all

if TYPE_CHECKING:
    import pyarrow as pa

    from deal.viewing.rows import Pool

__all__ = ["Comparison", "compare"]

_MEASURES = {"difficulty": "class_difficulty_sum", "entropy": "class_entropy_sum"}


@dataclass(frozen=True)
class Comparison:
    """An earlier round beside the rows of the page.

    Attributes
    ----------
    places, picks : ndarray of uint32 [n]
        Place by score and rank in the earlier selection; 0 without one.
    measure : ``difficulty`` or ``entropy``
        What `by_class` compares.
    by_class : list of (class, before, after)
        Mean over the pixels that each round predicts as the class, over images in both rounds.
    common, both, selected : int
        Images in both rounds, picks of both, picks of the later one.
    """

    places: NDArray[np.uint32]
    picks: NDArray[np.uint32]
    measure: str
    by_class: list[tuple[str, float, float]]
    common: int
    both: int
    selected: int


def compare(pool: Pool, earlier: str | os.PathLike[str], chosen: Chosen) -> Comparison:
    """Compare the rows of a page with an earlier round over the same images.

    Parameters
    ----------
    pool : Pool
        Rows of the later round.
    earlier : path
        Output of the earlier round.
    chosen : Chosen
        Its selection.

    Raises
    ------
    ResultsError
        The two have no image in common.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    stored = Sources(earlier)
    _, scored = score_all(stored, chosen)
    ids = pool.ids
    found = pc.index_in(ids, scored.ids)
    common = valid(found)
    if not common.any():
        raise ResultsError(
            f"{earlier} and {pool.output} have no image in common, so they cannot be compared: "
            "name two outputs over the same pool, the earlier one first"
        )
    there = found.drop_null().to_numpy().astype(np.int64)
    order = rank(scored.ids, scored.scores)
    places = np.zeros(len(scored.ids), np.uint32)
    places[order] = np.arange(1, len(order) + 1, dtype=np.uint32)
    picks = np.zeros(len(scored.ids), np.uint32)
    if not chosen.ranks_everything:
        own = chosen.rows_in(scored.ids)
        rows = own.drop_null().to_numpy()
        ranks = (np.flatnonzero(valid(own)) + 1).astype(np.uint32)
        picks[rows[::-1]] = ranks[::-1]
    before = np.zeros(len(pool), np.uint32)
    before_picks = np.zeros(len(pool), np.uint32)
    before[common], before_picks[common] = places[there], picks[there]
    now = Sources(pool.output)
    for _ in now.read(["id"]):  # `take` needs a pass that was read to its end
        pass
    here = pc.index_in(ids.filter(pa.array(common)), _all_ids(now)).to_numpy().astype(np.int64)
    measure, by_class = _by_class(stored, there, now, here)
    return Comparison(
        before,
        before_picks,
        measure,
        by_class,
        int(common.sum()),
        int(((before_picks > 0) & (pool.picks > 0)).sum()),
        int((pool.picks > 0).sum()),
    )


def _all_ids(sources: Sources) -> pa.Array:
    import pyarrow as pa

    chunks = [c for piece in sources.read(["id"]) for c in piece.column("id").chunks]
    return pa.chunked_array(chunks, pa.string()).cast(pa.large_string()).combine_chunks()


def _by_class(
    before: Sources, there: NDArray[np.int64], after: Sources, here: NDArray[np.int64]
) -> tuple[str, list[tuple[str, float, float]]]:
    names = [name for name in after.classes or () if name in (before.classes or ())]
    for measure, column in _MEASURES.items():
        means = []
        for sources, rows in ((before, there), (after, here)):
            table = sources.take(rows, ["id", "class_pixels", column])
            means.append(_class_means(table, column, sources.classes or ()))
        if all(means):
            pairs = [(name, means[0].get(name), means[1].get(name)) for name in names]
            return measure, [(n, b, a) for n, b, a in pairs if b is not None and a is not None]
    return "difficulty", []


def _class_means(table: Any, column: str, classes: tuple[str, ...]) -> dict[str, float]:
    """Mean of a measure over all pixels of each class; classes that are never predicted lack."""
    pixels, sums = lists(table, "class_pixels"), lists(table, column)
    if pixels.shape[1] != len(classes) or sums.shape[1] != len(classes):
        return {}
    counted, summed = np.nansum(pixels, axis=0), np.nansum(sums, axis=0)
    return {name: float(summed[i] / counted[i]) for i, name in enumerate(classes) if counted[i] > 0}
