"""Diversity: choose images that cover the pool, by the distance of their features.

``k_center_greedy`` is the core-set method: each pick is the row farthest from everything taken so
far (Sener & Savarese, ICLR 2018, arXiv 1708.00489, algorithm 1; Gonzalez, 1985, shows that the
radius is at most twice the best possible). ``features`` makes the rows from stored statistics.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deal import _native
from deal.errors import ResultsError, UsageError
from deal.machine.cores import available_cores

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["METRICS", "deviations", "features", "k_center_greedy", "raw_features"]

METRICS = ("cosine", "euclidean")

_MOST_ROWS = 2**26


def k_center_greedy(
    features: ArrayLike,
    count: int,
    *,
    metric: str = "cosine",
    centers: ArrayLike | None = None,
    candidates: ArrayLike | None = None,
    first: int | None = None,
    threads: int | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Pick ``count`` rows, each the farthest from its nearest center: exact greedy k-center.

    This is algorithm 1 of Sener & Savarese, ICLR 2018, arXiv 1708.00489. A picked row becomes a
    center; of rows at equal distance, the lowest row number is picked. Distances are computed in
    float32. Memory beside the features: a copy of the centers (given and picked) and 13 bytes per
    row. The work is at most n · (centers + count) distances and usually far less, since a row is
    compared with new centers only while it may still be the farthest.

    Parameters
    ----------
    features : array [n, E], float32
        One row per image; other dtypes are converted. Rows that are neither center nor candidate
        are not read, so they may hold NaN.
    count : int
        Number of rows to pick; all candidates if there are fewer.
    metric : ``cosine`` or ``euclidean``
        ``cosine`` is 1 − cos, 0…2. A row of zeros has no direction: its distance is 1 to every
        other row, and 0 to another row of zeros.
    centers : array of int [k], optional
        Rows that are already taken (labeled images). They are centers and are never picked.
    candidates : array of bool [n], optional
        Rows that may be picked; all by default.
    first : int, optional
        The row to pick first. By default, if there are no centers, it is the candidate nearest to
        the mean of the candidates (for ``cosine`` the mean of their unit vectors). Gonzalez leaves
        the choice open; the mean, unlike a row number, does not depend on the order of the pool.
    threads : int, optional
        None takes every core this process may use. Picks and distances are bit-identical for any
        number of threads, batch of centers and instruction set.

    Returns
    -------
    order : ndarray of int64 [m]
        Rows in the order they were picked; m = min(count, candidates that are no centers).
    distances : ndarray of float64 [m]
        Distance of each picked row to its nearest center when it was picked, in the unit of the
        metric; infinite for a first pick without centers. From the second pick on they never grow.

    Raises
    ------
    UsageError
        The metric is unknown, shapes or row numbers do not fit, or features are NaN or infinite.
    KeyboardInterrupt
        Ctrl-C was pressed; it takes effect within about a tenth of a second.
    """
    if metric not in METRICS:
        raise UsageError(f"metric {metric!r} is unknown; choose one of {', '.join(METRICS)}")
    if threads is not None and not (isinstance(threads, int) and 1 <= threads <= 1024):
        raise UsageError(f"threads={threads!r}: at least 1, at most 1024, or None for every core")
    rows = _matrix(features)
    taken = _rows(centers, len(rows))
    open_rows = _candidates(candidates, len(rows))
    open_rows[taken] = False
    count = min(_count(count), int(open_rows.sum()))
    first = _first(first, open_rows)
    if count == 0:
        return np.empty(0, np.int64), np.empty(0)
    order, distances, bad = _native.k_center_greedy(
        rows, count, metric == "cosine", taken, open_rows, first, threads or available_cores()
    )
    if bad:
        listed = ", ".join(map(str, bad))
        raise UsageError(
            f"features have NaN or infinite values in the rows {listed}: leave such rows out of "
            "candidates and centers"
        )
    return order, distances


def features(columns: Mapping[str, Any] | pa.Table) -> NDArray[np.float32]:
    """Make features for :func:`k_center_greedy` from stored statistics.

    If the results have the model's ``embedding``, it is used unchanged. Otherwise the features
    describe the classes: the share of pixels predicted as each class, and each class's share of the
    image's mean difficulty (or mean entropy, if the model has no difficulty). Each of these 2·C
    numbers is standardised over the pool to mean 0 and deviation 1 (to 0 where it is constant).
    Sums are exact, so the order of the pool and of its shards changes no bit.

    Parameters
    ----------
    columns : mapping of str to array, or pyarrow.Table
        The whole pool, since features are standardised over its rows. It has ``embedding``, or
        ``class_pixels``, ``n_pixels``, and ``class_difficulty_sum`` or ``class_entropy_sum``.

    Returns
    -------
    ndarray of float32 [n, E]
        NaN in rows whose ``status`` is not ``ok`` and in rows whose pixels are all masked; leave
        such rows out of the candidates.

    Raises
    ------
    ResultsError
        Columns are missing, or some rows that are ok have an embedding and others do not.
    """
    found, is_embedding = raw_features(columns)
    if not is_embedding:
        usable = np.isfinite(found).all(axis=1)
        for column in found.T:
            _standardise(column, usable)
    return np.ascontiguousarray(found, np.float32)


def raw_features(columns: Mapping[str, Any] | pa.Table) -> tuple[NDArray[Any], bool]:
    """Features [n, E] before they are standardised, and whether they are embeddings.

    Parameters, errors and NaN are those of :func:`features`. A row's numbers do not depend on other
    rows.
    """
    names = list(columns) if isinstance(columns, Mapping) else columns.column_names
    ok = _ok(columns, names)
    if not ok.any():
        return np.empty((len(ok), 0)), False
    found = _column(columns, names, "embedding", ok)
    is_embedding = found is not None
    if found is None:
        found = _class_statistics(columns, names, ok)
    if ok.all():
        return found, is_embedding
    result = np.full((len(ok), found.shape[1]), np.nan, found.dtype)
    result[ok] = found
    return result, is_embedding


def _class_statistics(
    columns: Mapping[str, Any] | pa.Table, names: list[str], ok: NDArray[np.bool_]
) -> NDArray[np.float64]:
    pixels = _column(columns, names, "n_pixels", ok)
    counts = _column(columns, names, "class_pixels", ok)
    sums = _column(columns, names, "class_difficulty_sum", ok)
    if sums is None:
        sums = _column(columns, names, "class_entropy_sum", ok)
    if pixels is None or counts is None or sums is None:
        raise ResultsError(
            "diversity needs the column embedding, or n_pixels, class_pixels and "
            "class_difficulty_sum or class_entropy_sum; score the pool again, or with a model "
            "exported with deal export --embedding"
        )
    values = np.concatenate([counts, sums], axis=1).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):  # by 0 where every pixel is masked
        values /= pixels[:, None]
    return np.asarray(values)


def _standardise(column: NDArray[np.float64], usable: NDArray[np.bool_]) -> None:
    """Scale to mean 0 and deviation 1 in place; ``fsum`` rounds once, in any order of the rows."""
    if not usable.any():
        return
    mean, deviation = deviations(column[usable])
    column -= mean
    column[usable] = column[usable] / deviation if deviation else 0.0


def deviations(values: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and standard deviation of at least one value, in any order; 0 for a constant."""
    mean = math.fsum(values) / len(values)
    deviation = math.sqrt(math.fsum((values - mean) ** 2) / len(values))
    # A constant column leaves only the rounding error of the mean, which tells nothing.
    return mean, deviation if deviation > 1e-12 else 0.0


def _ok(columns: Mapping[str, Any] | pa.Table, names: list[str]) -> NDArray[np.bool_]:
    if "status" in names:
        return np.asarray(np.asarray(columns["status"]) == "ok")
    return np.ones(len(columns[names[0]]) if names else 0, dtype=bool)


def _column(
    columns: Mapping[str, Any] | pa.Table, names: list[str], name: str, ok: NDArray[np.bool_]
) -> NDArray[Any] | None:
    """Values [k] or [k, K] of the rows that are ok; None if the results lack the column."""
    if name not in names:
        return None
    if isinstance(columns, Mapping):
        return np.asarray(columns[name])[ok]
    import pyarrow as pa

    column = columns[name].filter(pa.array(ok)) if not ok.all() else columns[name]
    if column.null_count == len(column):
        return None
    if column.null_count:
        raise ResultsError(
            f"{column.null_count} of {len(column)} images have no {name}, but the others have; "
            "score all with one model"
        )
    # Chunk by chunk, since 32-bit offsets of lists may be too small for the whole column.
    parts = [_to_numpy(chunk) for chunk in column.chunks if len(chunk)]
    if len({part.shape[1:] for part in parts}) > 1 or any(part.dtype == object for part in parts):
        raise ResultsError(f"the lengths of {name} differ; score all images with one model")
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _to_numpy(chunk: pa.Array) -> NDArray[Any]:
    """Return numbers as [k], lists of K as [k, K]; lists of differing lengths stay objects."""
    import pyarrow.types as pt

    if not any(one(chunk.type) for one in (pt.is_list, pt.is_large_list, pt.is_fixed_size_list)):
        return np.asarray(chunk.to_numpy(zero_copy_only=False))
    if len(chunk.value_lengths().unique()) > 1:
        return np.asarray(chunk.to_numpy(zero_copy_only=False))
    return np.asarray(chunk.flatten().to_numpy(zero_copy_only=False).reshape(len(chunk), -1))


def _matrix(values: ArrayLike) -> NDArray[np.float32]:
    try:
        with np.errstate(over="ignore"):  # values too large for float32 are refused as infinite
            rows = np.ascontiguousarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise UsageError(f"features: numbers [n, E] are needed ({error})") from error
    if rows.ndim != 2:
        raise UsageError(f"features: shape [n, E] is needed, not {list(rows.shape)}")
    if len(rows) > _MOST_ROWS:
        raise UsageError(f"features: {len(rows)} rows; at most {_MOST_ROWS} are supported")
    return rows


def _count(count: int) -> int:
    try:
        whole = operator.index(count)
    except TypeError:
        whole = -1
    if whole < 0 or isinstance(count, bool):
        raise UsageError(f"count={count!r}: a whole number of rows, 0 or more, is needed")
    return whole


def _rows(centers: ArrayLike | None, n: int) -> NDArray[np.int64]:
    taken = np.asarray([] if centers is None else centers)
    if taken.ndim != 1 or (taken.size and taken.dtype.kind not in "iu"):
        raise UsageError("centers: row numbers [k], as integers, are needed")
    if taken.size and (taken.min() < 0 or taken.max() >= n):
        raise UsageError(
            f"centers: row numbers go from 0 to {n - 1}, not from {taken.min()} to {taken.max()}"
        )
    return np.unique(taken).astype(np.int64)


def _candidates(candidates: ArrayLike | None, n: int) -> NDArray[np.bool_]:
    if candidates is None:
        return np.ones(n, dtype=bool)
    mask = np.asarray(candidates)
    if mask.shape != (n,) or mask.dtype != np.bool_:
        raise UsageError(f"candidates: bool [{n}] is needed, not {mask.dtype} {list(mask.shape)}")
    return mask.copy()


def _first(first: int | None, open_rows: NDArray[np.bool_]) -> int | None:
    if first is None:
        return None
    try:
        row = operator.index(first)
    except TypeError:
        row = -1
    if not 0 <= row < len(open_rows) or not open_rows[row]:
        raise UsageError(f"first={first!r} is not a candidate: give a row that may be picked")
    return row
