"""Maps of one image: predicted classes and uncertainty of every pixel, at the image's own size.

Difficulty and uncertainty are computed on the raster, where the stored statistics are, and are then
resized to the image. Predicted classes come from the logits at the image's own size: a border
between two classes needs every pixel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deal.kernel.statistics import class_map
from deal.model.placing import Placement

__all__ = [
    "ClassMap",
    "Maps",
    "Plane",
    "ScoreMap",
    "cell_uncertainty",
    "class_image",
    "fitted",
    "uncertainty_planes",
    "void",
]

ClassMap: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]
Plane: TypeAlias = NDArray[np.float32]
Size = tuple[int, int]

_BLOCK = 2**16  # numbers of logits that are resampled at a time, so that caches hold them


@dataclass(frozen=True, slots=True, eq=False)
class ScoreMap:
    """What a preview shows of every pixel of one image, at the image's own size [H, W].

    Attributes
    ----------
    classes : ndarray of uint8 (uint16 for more than 255 classes)
        Index of the predicted class; 255 (65,535) where the image is masked, or cut off before the
        network sees it.
    score : ndarray of float32
        The quantity whose mean ranks images, in its own unit; 0 where ``classes`` is void.
    """

    classes: ClassMap
    score: Plane


@dataclass(frozen=True, slots=True, eq=False)
class Maps(ScoreMap):
    """What a network says of every pixel of one image, at the image's own size [H, W].

    Attributes
    ----------
    classes, score
        As in `ScoreMap`.
    difficulty : ndarray of float32, or None
        0…1, and 0 where ``classes`` is void; None for a model without difficulty.
    entropy : ndarray of float32
        Nats, and 0 where ``classes`` is void.
    """

    difficulty: Plane | None
    entropy: Plane


def void(classes: ClassMap) -> NDArray[np.bool_]:
    """Where a class map has no class: masked, or never seen by the network."""
    return np.asarray(classes == np.iinfo(classes.dtype).max)


def class_image(
    logits: NDArray[np.floating],
    place: Placement,
    original: Size,
    mask: NDArray[np.uint8] | None,
    *,
    align_corners: bool,
    threads: int | None,
) -> ClassMap:
    """Predict the class of every pixel of an image.

    Parameters
    ----------
    logits : ndarray [C, h, w], finite
        On the network's own grid.
    place : Placement
        Where the image lies in the raster.
    original : (H, W)
    mask : ndarray of uint8 [H, W] or None
        0 = void.

    Returns
    -------
    ndarray of uint8 or uint16 [H, W]
        As ``classes`` of `Maps`: the argmax of the bilinear logits.
    """
    classes: ClassMap = np.full(original, 255, np.uint8)
    if len(logits) > 255:
        classes = np.full(original, 65_535, np.uint16)
    if place.is_whole:  # the sampling convention of the statistics, at another size
        found, _ = class_map(
            logits[None], size=original, align_corners=align_corners, threads=threads
        )
        classes[:] = found[0]
    else:
        rows, columns = _in_window(place, original)
        inside = [
            np.flatnonzero((at >= -0.5) & (at <= length - 0.5))
            for at, length in zip((rows, columns), place.size, strict=True)
        ]
        at_rows, at_columns = (
            _on_grid(at[kept], length, cells, align_corners)
            for at, kept, length, cells in zip(
                (rows, columns), inside, place.size, logits.shape[1:], strict=True
            )
        )
        for block, values in _sampled(logits, at_rows, at_columns):
            classes[np.ix_(inside[0][block], inside[1])] = values.argmax(axis=0)
    if mask is not None:
        classes[mask == 0] = np.iinfo(classes.dtype).max
    return classes


def uncertainty_planes(
    logits: NDArray[np.floating], size: Size, measures: tuple[str, ...], *, align_corners: bool
) -> dict[str, Plane]:
    """Uncertainty of every raster pixel.

    Parameters
    ----------
    logits : ndarray [C, h, w], or [M, C, h, w] for a committee; finite
    size : (H, W) of the raster
    measures : tuple of str
        ``entropy``, ``margin`` and ``least_confidence`` of the first member, and
        ``vote_entropy``, ``mutual_information`` and ``consensus_entropy`` of a committee.

    Returns
    -------
    dict of measure to ndarray of float32 [H, W]
        In the unit of the column of that name.
    """
    if not measures:
        return {}
    members = logits if logits.ndim == 4 else logits[None]
    shape = members.shape
    stacked = members.reshape(-1, *shape[2:])
    rows, columns = (
        _on_grid(np.arange(length, dtype=np.float64), length, cells, align_corners)
        for length, cells in zip(size, shape[2:], strict=True)
    )
    planes = {name: np.empty(size, np.float32) for name in measures}
    for block, values in _sampled(stacked, rows, columns):
        of_cells = cell_uncertainty(values.reshape(*shape[:2], *values.shape[1:]), measures)
        for name, plane in of_cells.items():
            planes[name][block] = plane
    return planes


def cell_uncertainty(
    logits: NDArray[np.floating], measures: tuple[str, ...]
) -> dict[str, NDArray[np.floating]]:
    """Uncertainty of every cell of logits [M, C, h, w], by the formulas of the stored columns."""
    log_p = logits - logits.max(axis=1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(axis=1, keepdims=True))
    p = np.exp(log_p)
    found: dict[str, NDArray[np.floating]] = {}
    for name in measures:
        if name == "entropy":
            found[name] = np.maximum(-(p[0] * log_p[0]).sum(axis=0), 0)
        elif name == "least_confidence":
            found[name] = 1 - p[0].max(axis=0)
        elif name == "margin":
            best = np.partition(p[0], max(len(p[0]) - 2, 0), axis=0)[-2:]
            found[name] = 1 - (best[-1] - (best[0] if len(best) > 1 else 0))
        elif name == "vote_entropy":
            classes = np.arange(logits.shape[1])[:, None, None]
            share = np.stack([classes == member.argmax(axis=0) for member in logits]).mean(axis=0)
            found[name] = _entropy(share)
        elif name == "consensus_entropy":
            found[name] = _entropy(p.mean(axis=0))
        else:
            mean = -(p * log_p).sum(axis=1).mean(axis=0)
            found[name] = np.maximum(_entropy(p.mean(axis=0)) - mean, 0)
    return found


def fitted(plane: Plane, place: Placement, original: Size) -> Plane:
    """Bring a map of the raster to the image's own size; 0 where the image is cut off."""
    if not place.is_whole:
        whole = np.zeros(place.content, np.float32)
        whole[place.shown] = plane[place.inside]
        plane = whole
    if plane.shape == original:
        return plane
    return np.asarray(Image.fromarray(plane).resize(original[::-1], Image.Resampling.BILINEAR))


def _entropy(p: NDArray[np.floating]) -> NDArray[np.floating]:
    tiny = np.finfo(np.float32).tiny
    return np.asarray(np.maximum(-(p * np.log(np.maximum(p, tiny))).sum(axis=0), 0))


def _in_window(place: Placement, original: Size) -> tuple[NDArray[np.float64], ...]:
    """Rows and columns of an image's pixels in the network's input, where centres are integers."""
    return tuple(
        (np.arange(length) + 0.5) * content / length - 0.5 + offset
        for length, content, offset in zip(original, place.content, place.offset, strict=True)
    )


def _on_grid(
    at: NDArray[np.float64], length: int, cells: int, align_corners: bool
) -> NDArray[np.float64]:
    """Positions in a raster of ``length`` as positions among the ``cells`` of the logits."""
    if align_corners:
        scale = (cells - 1) / (length - 1) if length > 1 else 0.0
        return np.clip(at * scale, 0, cells - 1)
    return np.clip((at + 0.5) * cells / length - 0.5, 0, cells - 1)


def _sampled(
    planes: NDArray[np.floating], rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Yield planes [K, h, w] at these positions, bilinear, in blocks of rows: [K, n, len(columns)].

    In blocks, since at the size of an image the logits may fill gigabytes.
    """
    left, right, share = _taps(columns, planes.shape[2])
    step = max(_BLOCK // max(len(planes) * len(columns), 1), 1)
    for start in range(0, len(rows), step):
        block = slice(start, min(start + step, len(rows)))
        upper, lower, weight = _taps(rows[block], planes.shape[1])
        above, below = (planes[:, index].astype(np.float32, copy=False) for index in (upper, lower))
        lines = above + (below - above) * weight[:, None]
        values = lines.take(
            left, axis=2
        )  # rows stay contiguous, as by lines[:, :, left] they do not
        yield block, values + (lines.take(right, axis=2) - values) * share


def _taps(
    at: NDArray[np.float64], cells: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    first = np.floor(at).astype(np.intp)
    return first, np.minimum(first + 1, cells - 1), (at - first).astype(np.float32)
