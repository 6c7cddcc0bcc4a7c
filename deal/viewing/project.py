"""The map of a pool: the two principal components of its embedding, or of its statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deal.viewing.pack import valid

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Axes", "find_axes", "lists", "raw_features"]

Features = NDArray[np.float64]


@dataclass(frozen=True)
class Axes:
    """Where rows lie on the map.

    Attributes
    ----------
    kind : ``embedding``, ``statistics`` or ``nothing``
    shift, scale : ndarray of float64 [E]
    components : ndarray of float64 [E, 2]
        Orthonormal; the entry of the greatest magnitude of each is positive.
    explained : tuple of two float
        Share of the variance along each, 0…1.
    """

    kind: str
    shift: Features
    scale: Features
    components: Features
    explained: tuple[float, float]

    def project(self, features: Features) -> NDArray[np.float32]:
        """Places [n, 2] of rows [n, E]; NaN where a feature is NaN."""
        if self.kind == "nothing" or features.shape[1] != len(self.shift):
            return np.full((len(features), 2), np.nan, np.float32)
        return (((features - self.shift) / self.scale) @ self.components).astype(np.float32)


def find_axes(sample: pa.Table) -> Axes:
    """Find the directions in which rows of a pool differ most (PCA; Pearson, 1901).

    Statistics are standardised first, an embedding is only centered: its scale means something.

    Parameters
    ----------
    sample : pyarrow.Table
        ``embedding``, or ``n_pixels``, ``class_pixels`` and a column of sums by class.
    """
    kind = _kind(sample)
    rows = raw_features(sample, kind)
    rows = rows[np.isfinite(rows).all(axis=1)]
    if len(rows) < 3 or rows.shape[1] < 2:
        empty = np.zeros(0)
        return Axes("nothing", empty, empty, np.zeros((0, 2)), (0.0, 0.0))
    shift = rows.mean(axis=0)
    centered = rows - shift
    deviation = centered.std(axis=0)
    scale = (
        np.ones_like(shift) if kind == "embedding" else np.where(deviation > 1e-12, deviation, 1)
    )
    centered /= scale
    values, vectors = np.linalg.eigh(centered.T @ centered / len(rows))
    components = vectors[:, [-1, -2]]
    largest = components[np.abs(components).argmax(axis=0), [0, 1]]
    components = components * np.where(largest < 0, -1.0, 1.0)
    total = float(values.sum())
    first, second = (float(values[i]) / total if total > 0 else 0.0 for i in (-1, -2))
    return Axes(kind, shift, scale, components, (first, second))


def raw_features(table: pa.Table, kind: str) -> Features:
    """Features of rows, float64 [n, E], NaN in rows without them.

    Statistics are the shares of the classes, and the share that each class has of the image's mean
    difficulty (or entropy, without difficulty).
    """
    if kind == "embedding":
        return lists(table, "embedding")
    if kind == "nothing":
        return np.zeros((len(table), 0))
    sums = lists(table, "class_difficulty_sum")
    if np.isnan(sums).all():
        sums = lists(table, "class_entropy_sum")
    counts = lists(table, "class_pixels")
    if counts.shape[1] != sums.shape[1]:
        sums = np.zeros_like(counts)
    pixels = counts.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(pixels > 0, np.concatenate([counts, sums], axis=1) / pixels, np.nan)


def _kind(table: pa.Table) -> str:
    for kind, column in (("embedding", "embedding"), ("statistics", "class_pixels")):
        if column in table.column_names and table.column(column).null_count < len(table):
            return kind
    return "nothing"


def lists(table: pa.Table, name: str) -> Features:
    """A column of lists of one length as [n, K]; NaN where a list is null."""
    if name not in table.column_names:
        return np.full((len(table), 0), np.nan)
    column = table.column(name).combine_chunks()
    known = valid(column)
    if not known.any():
        return np.full((len(table), 0), np.nan)
    flat = column.drop_null().flatten().to_numpy(zero_copy_only=False)
    values = flat.reshape(int(known.sum()), -1)
    found = np.full((len(table), values.shape[1]), np.nan)
    found[known] = values
    return found
