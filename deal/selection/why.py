"""Why a row was selected: the classes and regions that contribute most, or that stand out."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deal.acquisitions import Bound
from deal.acquisitions.columns import chunks
from deal.selection.gather import scored_pieces
from deal.selection.ranking import Ranking
from deal.selection.reasons import LEVELS, Reason, class_levels
from deal.selection.sources import Sources

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["best_regions", "class_codes", "class_texts", "filled", "region_texts"]

_MOST = 3
_REGION = np.dtype([("image", np.int64), ("region", np.int32), ("score", np.float64)])
_LEAST_SHARE = 0.05
_LEAST_EXCESS = LEVELS // 100
_WHOLE = 255  # stands for the share of a region's class, which has the whole score
_BLOCK = 1024
_MERGE = 65_536


def class_codes(
    reason: Reason,
    bound: Bound,
    table: pa.Table,
    totals: NDArray[np.int64] | None,
    usual: NDArray[np.int64] | None,
) -> pa.ChunkedArray:
    """The classes that ``why`` names for each row, as :func:`class_texts` reads them.

    There are at most three per row, each with a share of the score (or of what stands in for it) of
    at least 5 %, or of the image that is at least 1 % above the pool's median. A region has one:
    the class predicted most often. Null if the table lacks the columns.

    Parameters
    ----------
    reason : Reason
        Not a fixed one.
    bound : Bound
    table : pyarrow.Table, n rows
    totals : ndarray of int64 or None
        Totals of the pool, if the function needs them.
    usual : ndarray of int64 [C] or None
        :func:`deal.selection.reasons.usual_levels`, if classes are compared with the pool.

    Returns
    -------
    pyarrow.ChunkedArray of binary(6), length n
        Three pairs of class and share in percent, one byte each; 0 % means no class.
    """
    import pyarrow as pa

    kind = pa.binary(2 * _MOST)
    lacks = not set(reason.columns) <= set(table.column_names)
    if lacks or (reason.against_pool and usual is None):
        return pa.chunked_array([pa.nulls(len(table), kind)], kind)
    # In blocks, since each block needs several temporary arrays [n, C].
    blocks = (table.slice(start, _BLOCK) for start in range(0, len(table), _BLOCK))
    codes = (_codes(reason, bound, block, totals, usual) for block in blocks)
    return pa.chunked_array(
        [
            pa.FixedSizeBinaryArray.from_buffers(kind, len(block), [None, pa.py_buffer(block)])
            for block in codes
        ],
        kind,
    )


def class_texts(
    reason: Reason, bound: Bound, codes: pa.ChunkedArray, usual: NDArray[np.int64] | None
) -> pa.ChunkedArray:
    """Text such as ``pole 31 %, sign-symbol 22 %`` for each row; null where no class is named.

    The text of a region is the name of its class alone.
    """
    import pyarrow as pa

    texts = []
    for start in range(0, len(codes), _BLOCK):
        rows = codes.slice(start, _BLOCK).to_pylist()
        texts.append(pa.array(map(_class_text(reason, bound, usual), rows), pa.string()))
    return pa.chunked_array(texts, pa.string())


def _class_text(
    reason: Reason, bound: Bound, usual: NDArray[np.int64] | None
) -> Callable[[bytes | None], str | None]:
    def part(number: int, share: int) -> str:
        name = _name(bound, number)
        if share == _WHOLE:
            return name
        if usual is None:
            return f"{name} {share} %"
        return f"{name} {share} % (usually {(100 * int(usual[number]) + 500) // 1000} %)"

    def text(code: bytes | None) -> str | None:
        if code is None:
            return None
        pairs = zip(code[::2], code[1::2], strict=True)
        parts = [part(number, share) for number, share in pairs if share]
        if parts:
            return reason.opening + ", ".join(parts)
        return "no class above its usual share" if usual is not None else None

    return text


def _codes(
    reason: Reason,
    bound: Bound,
    table: pa.Table,
    totals: NDArray[np.int64] | None,
    usual: NDArray[np.int64] | None,
) -> NDArray[np.uint8]:
    if bound.table == "regions":
        return _majority_codes(table)
    if usual is not None:
        return _excess_codes(table, usual)
    if reason.sums is None:
        shares = bound.class_shares(table, totals)
    else:
        sums = filled(table, reason.sums, 0)
        whole = sums.sum(axis=1, keepdims=True)
        shares = np.divide(sums, whole, out=np.zeros_like(sums), where=whole > 0)
    assert shares is not None
    return _best_codes(shares, shares >= _LEAST_SHARE, shares)


def _majority_codes(table: pa.Table) -> NDArray[np.uint8]:
    majority = table.column("majority_class")
    codes = np.zeros((len(table), _MOST, 2), np.uint8)
    codes[:, 0, 0] = majority.fill_null(0).to_numpy()
    codes[:, 0, 1] = np.where(majority.is_valid().to_numpy(), _WHOLE, 0)
    return codes


def _excess_codes(table: pa.Table, usual: NDArray[np.int64]) -> NDArray[np.uint8]:
    pixels = filled(table, "class_pixels", len(usual))
    total = filled(table, "n_pixels")
    levels = class_levels(pixels.astype(np.int64), total.astype(np.int64))
    excess = levels - usual
    return _best_codes(excess, excess >= _LEAST_EXCESS, levels / LEVELS)


def _best_codes(
    order_by: NDArray[Any], counts: NDArray[np.bool_], shares: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Up to three classes of each row that count, the largest of ``order_by`` first."""
    order = np.argsort(-order_by, axis=1, kind="stable")[:, :_MOST]
    best = np.take_along_axis(shares, order, axis=1)
    carries = np.take_along_axis(counts, order, axis=1)
    codes = np.zeros((len(shares), _MOST, 2), np.uint8)
    codes[:, : order.shape[1], 0] = order
    codes[:, : order.shape[1], 1][carries] = np.maximum(100 * best[carries] + 0.5, 1)
    return codes


def filled(table: pa.Table, name: str, width: int | None = None) -> NDArray[np.float64]:
    """A column as float64, 0 where it is null: [n], or [n, C] with C of at least ``width``."""
    found = [(chunk, chunk.columns[name]) for chunk in chunks(table, [name])]
    if width is not None:
        # Rows without values do not tell how many classes there are.
        width = max([width, *(values.shape[1] for _, values in found if values.ndim == 2)])
    parts = []
    for chunk, values in found:
        part = np.zeros((len(chunk.ok),) if width is None else (len(chunk.ok), width))
        if len(values):
            part[chunk.usable] = values
        parts.append(part)
    return np.concatenate(parts) if parts else np.zeros((0,) if width is None else (0, width))


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
