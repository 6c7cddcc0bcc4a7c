"""Why a row was selected: the classes and regions that contribute most to its score."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deal.acquisitions import Bound
from deal.selection.gather import scored_pieces
from deal.selection.ranking import Ranking
from deal.selection.sources import Sources

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["best_regions", "class_codes", "class_texts", "region_texts"]

_MOST = 3
_REGION = np.dtype([("image", np.int64), ("region", np.int32), ("score", np.float64)])
_LEAST_SHARE = 0.05
_WHOLE = 255  # stands for the share of a region's class, which has the whole score
_BLOCK = 1024
_MERGE = 65_536


def class_codes(
    bound: Bound, table: pa.Table, totals: NDArray[np.int64] | None
) -> pa.ChunkedArray | None:
    """The classes that contribute most to each row's score, as :func:`class_texts` reads them.

    There are at most three per row, each with a share of the score of at least 5 %. A region has
    one: the class predicted most often. None if the table lacks the columns.

    Returns
    -------
    pyarrow.ChunkedArray of binary(6), length n, or None
        Three pairs of class and share in percent, one byte each; 0 % means no class.
    """
    import pyarrow as pa

    majority = bound.table == "regions" and "majority_class" in table.column_names
    if not majority and not (
        bound.class_columns and set(bound.class_columns) <= set(table.column_names)
    ):
        return None
    # In blocks, since each block needs several temporary arrays [n, C].
    blocks = (table.slice(start, _BLOCK) for start in range(0, len(table), _BLOCK))
    codes = (
        _majority_codes(block) if majority else _share_codes(bound, block, totals)
        for block in blocks
    )
    kind = pa.binary(2 * _MOST)
    return pa.chunked_array(
        [
            pa.FixedSizeBinaryArray.from_buffers(kind, len(block), [None, pa.py_buffer(block)])
            for block in codes
        ],
        kind,
    )


def class_texts(bound: Bound, codes: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text such as ``pole 31 %, sign-symbol 22 %`` for each row; null where no class has a share.

    The text of a region is the name of its class alone.
    """
    import pyarrow as pa

    texts = []
    for start in range(0, len(codes), _BLOCK):
        texts.append(
            pa.array(map(_class_text(bound), codes.slice(start, _BLOCK).to_pylist()), pa.string())
        )
    return pa.chunked_array(texts, pa.string())


def _class_text(bound: Bound) -> Callable[[bytes], str | None]:
    def text(code: bytes) -> str | None:
        parts = [
            _name(bound, number) + ("" if share == _WHOLE else f" {share} %")
            for number, share in zip(code[::2], code[1::2], strict=True)
            if share
        ]
        return ", ".join(parts) or None

    return text


def _majority_codes(table: pa.Table) -> NDArray[np.uint8]:
    majority = table.column("majority_class")
    codes = np.zeros((len(table), _MOST, 2), np.uint8)
    codes[:, 0, 0] = majority.fill_null(0).to_numpy()
    codes[:, 0, 1] = np.where(majority.is_valid().to_numpy(), _WHOLE, 0)
    return codes


def _share_codes(
    bound: Bound, table: pa.Table, totals: NDArray[np.int64] | None
) -> NDArray[np.uint8]:
    shares = bound.class_shares(table, totals)
    assert shares is not None
    order = np.argsort(-shares, axis=1, kind="stable")[:, :_MOST]
    best = np.take_along_axis(shares, order, axis=1)
    carries = best >= _LEAST_SHARE
    codes = np.zeros((len(table), _MOST, 2), np.uint8)
    codes[:, : order.shape[1], 0] = order
    codes[:, : order.shape[1], 1][carries] = (100 * best[carries] + 0.5).astype(np.uint8)
    return codes


def region_texts(sources: Sources, ranking: Ranking, ids: pa.Array) -> pa.ChunkedArray | None:
    """Text such as ``regions 17, 18`` for each id: up to three stored regions that score highest.

    Null for an image without regions; None if no regions are stored, or the function cannot score
    regions.
    """
    import pyarrow as pa

    best = best_regions(sources, ranking, ids)
    if best is None:
        return None
    starts = np.searchsorted(best["image"], np.arange(len(ids) + 1))
    texts = []
    for start in range(0, len(ids), _BLOCK):
        bounds = starts[start : start + _BLOCK + 1].tolist()
        tops = (best["region"][low:high].tolist() for low, high in pairwise(bounds))
        texts.append(pa.array(map(_region_text, tops), pa.string()))
    return pa.chunked_array(texts, pa.string())


def best_regions(sources: Sources, ranking: Ranking, ids: pa.Array) -> NDArray[np.void] | None:
    """Up to three stored regions of each image that score highest.

    Returns
    -------
    ndarray of (image, region, score) or None
        ``image`` is the index in ``ids``; in the order of image and score. None as for
        :func:`region_texts`.
    """
    import pyarrow.compute as pc

    regions = sources.regions()
    bound = ranking.of_regions(sources.classes)
    if regions is None or bound is None:
        return None
    best, waiting, rows = np.empty(0, _REGION), [], 0
    for piece, values in scored_pieces(regions, bound):
        image = pc.index_in(piece.column("id").cast(ids.type), ids)
        keep = image.is_valid().to_numpy() & ~np.isnan(values)
        found = np.empty(int(keep.sum()), _REGION)
        found["image"] = image.drop_null().to_numpy()[keep[image.is_valid().to_numpy()]]
        found["region"] = piece.column("region").to_numpy()[keep]
        found["score"] = values[keep]
        waiting.append(found)
        rows += len(found)
        if rows > max(len(best), _MERGE):  # so seldom that all merges cost about one sort of all
            best, waiting, rows = _best(np.concatenate([best, *waiting])), [], 0
    return _best(np.concatenate([best, *waiting]))


def _best(found: NDArray[np.void]) -> NDArray[np.void]:
    """The three best regions of each image; ties go by region ascending."""
    order = np.lexsort([found["region"], -found["score"], found["image"]])
    image = found["image"][order]
    first = np.concatenate([np.ones(_MOST, bool), image[_MOST:] != image[:-_MOST]])[: len(image)]
    return np.asarray(found[order[first]])


def _region_text(top: list[int]) -> str | None:
    if not top:
        return None
    return f"region{'s' if len(top) > 1 else ''} {', '.join(map(str, top))}"


def _name(bound: Bound, number: int) -> str:
    return f"class {number}" if bound.classes is None else bound.classes[number]
