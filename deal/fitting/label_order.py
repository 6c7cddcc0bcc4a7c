"""The order in which to correct labels: by doubt, and spread as `deal.select` spreads its picks.

Neighbouring frames share what is wrong with their labels, so the most doubtful ones are often those
of one moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deal.acquisitions import Bound
from deal.acquisitions.registry import Acquisition
from deal.errors import ResultsError, UsageError
from deal.fitting.images import LabeledImage
from deal.kernel.statistics import score_logits
from deal.pool.signature import BYTES, thumbnail
from deal.selection import Selection
from deal.selection.attributes import frame_numbers
from deal.selection.budget import parse_budget
from deal.selection.ranking import Ranking
from deal.selection.selector import select_by

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Doubtful", "Seen", "check_frames", "in_order", "order_of"]

_DOUBT = "doubt"
_FEATURES = ("n_pixels", "class_pixels", "class_entropy_sum")


@dataclass(frozen=True)
class Seen:
    """What keeps the picks of images apart.

    Attributes
    ----------
    id : str
    sequence : str or None
    thumbnail : bytes
        The image's signature (:mod:`deal.pool.signature`).
    features : mapping of column to ndarray [1] or [1, C]
        Predicted classes and their entropy, as they are stored of scored images.
    """

    id: str
    sequence: str | None
    thumbnail: bytes
    features: dict[str, NDArray[Any]]

    @classmethod
    def of(
        cls,
        name: str,
        sequence: str | None,
        rgb: NDArray[np.uint8],
        logits: NDArray[np.float32],
        align_corners: bool,
    ) -> Seen:
        """Look at an image uint8 [H, W, 3] and its logits [1, C, h, w]."""
        size = rgb.shape[0], rgb.shape[1]
        found = score_logits(logits, size=size, align_corners=align_corners).images
        features = {column: np.asarray(found[column]) for column in _FEATURES}
        return cls(name, sequence, thumbnail(rgb).tobytes(), features)


@dataclass(frozen=True, slots=True)
class Doubtful:
    """A row to put in order: the number of its image among those seen, its region and doubt."""

    image: int
    region: int | None
    doubt: float


def order_of(
    cell: int | None,
    budget: str | int | None,
    spread: str,
    near_duplicates: str | float,
    min_gap: str | None,
    diverse: str | float | None,
) -> Ranking:
    """The settings of an order; raises UsageError as `deal.select` does."""
    parsed = parse_budget(budget)
    if parsed.unit in ("bytes", "pixels", "clicks"):
        raise UsageError(f"budget {budget}: give a number of labels or a percentage, such as 5%")
    if parsed.table == "regions" and cell is None:
        raise UsageError(f"budget {budget} counts cells, and whole images are ranked: give --cell")
    ranking = Ranking.of(
        table="images" if cell is None else "regions",
        budget=parsed,
        spread=spread,
        near_duplicates=near_duplicates,
        min_gap=min_gap,
        diverse=diverse,
    )
    for rule, gap in (("spread", ranking.spread.gap), ("min_gap", ranking.min_gap)):
        if gap is not None and not gap.frames:
            raise UsageError(
                f"{rule} {gap.text}: labeled images have no times; give the gap in frames, by "
                "the last number in their names, such as 30f"
            )
    return replace(ranking, features="statistics")


def check_frames(ranking: Ranking, images: Sequence[LabeledImage]) -> None:
    """Raise ResultsError if a gap needs sequences or frame numbers that ids do not tell."""
    if ranking.min_gap is None:
        return
    import pyarrow as pa

    lacking = {
        "sequence; give --sequence-from REGEX": sum(one.sequence is None for one in images),
        "number in the stem of their id; leave the gap out": frame_numbers(
            pa.table({"id": pa.array([one.id for one in images], pa.string())})
        ).null_count,
    }
    for what, count in lacking.items():
        if count:
            rows = f"{count} of {len(images)} rows"
            raise ResultsError(f"min_gap {ranking.min_gap.text}: {rows} have no {what}")


def in_order(
    seen: Sequence[Seen], rows: Sequence[Doubtful], score: str, ranking: Ranking
) -> Selection:
    """Select among rows by their doubt; ``score`` is its name.

    Raises
    ------
    ResultsError
        A rule needs sequences or times that ids do not tell.
    """
    return select_by(_table(seen, rows), ranking, described=0, bound=_bound(score, ranking.table))


def _bound(score: str, table: str) -> Bound:
    """The doubts as an acquisition function of their own, which no registry lists."""
    entry = Acquisition(
        name=score,
        function=lambda columns: columns[_DOUBT],
        requires=lambda: (_DOUBT,),
        tables=(table,),
        formula="",
        source="",
        class_sums=None,
        totals=None,
        check=None,
        greedy=False,
    )
    return Bound(score, {}, table, None, (_DOUBT,), (), entry)


def _table(seen: Sequence[Seen], rows: Sequence[Doubtful]) -> pa.Table:
    import pyarrow as pa

    images = pa.table(
        {
            "id": pa.array([each.id for each in seen], pa.string()),
            "sequence": pa.array([each.sequence for each in seen], pa.string()),
            "thumbnail": pa.array([each.thumbnail for each in seen], pa.binary(BYTES)),
            **{name: _column([each.features[name] for each in seen]) for name in _FEATURES},
        }
    )
    if rows and rows[0].region is not None:
        images = images.drop_columns(list(_FEATURES))
    table = images.take(pa.array([row.image for row in rows], pa.int64()))
    table = table.append_column("status", pa.repeat("ok", len(rows)))
    table = table.append_column(_DOUBT, pa.array([row.doubt for row in rows], pa.float64()))
    if rows and rows[0].region is not None:
        numbers = pa.array([row.region for row in rows], pa.int32())
        table = table.append_column("region", numbers)
    return table


def _column(values: Sequence[NDArray[Any]]) -> pa.Array:
    """Numbers [n], or lists of numbers [n, K]."""
    import pyarrow as pa

    whole = np.concatenate(values)
    if whole.ndim == 1:
        return pa.array(whole)
    return pa.FixedSizeListArray.from_arrays(pa.array(whole.ravel()), whole.shape[1])
