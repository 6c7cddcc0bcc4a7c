"""The oracle: every number of the native kernel once more, in plain NumPy float64.

Written to be read beside the formulas (docs/explanation/mathematics.md), not to be fast: it keeps
full-resolution probabilities and the N×N attention matrix. Tests compare the kernel with it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deal.model.head import DifficultyHead
from deal.types import HISTOGRAM_LEVELS, Statistics
from tests.oracle.geometry import boundaries

__all__ = [
    "attention",
    "committee",
    "difficulty_grid",
    "difficulty_map",
    "entropy",
    "histogram_levels",
    "k_center_greedy",
    "resize",
    "softmax",
    "statistics",
]

Float = NDArray[np.float64]


def _taps(n_in: int, n_out: int, align_corners: bool) -> tuple[Any, Any, Float]:
    """Source cells and weight of the second, as PyTorch's ``interpolate(mode="bilinear")``.

    In whole numbers and so exact, unlike the floating-point formula of what is held against it.
    """
    i = np.arange(n_out)
    if align_corners:  # source i (n_in - 1) / (n_out - 1)
        above, below = i * (n_in - 1), max(n_out - 1, 1)
    else:  # source (i + 1/2) n_in / n_out - 1/2, from 0 on
        above, below = np.maximum((2 * i + 1) * n_in - n_out, 0), 2 * n_out
    first, rest = np.divmod(above, below)
    return first, np.minimum(first + 1, n_in - 1), rest / below


def resize(maps: ArrayLike, size: tuple[int, int], align_corners: bool) -> Float:
    """Resize [..., h, w] bilinearly to [..., H, W]: edge clamp, no antialias, scale 0 at size 1."""
    values = np.asarray(maps, dtype=np.float64)
    y0, y1, wy = _taps(values.shape[-2], size[0], align_corners)
    rows = values[..., y0, :] + wy[:, None] * (values[..., y1, :] - values[..., y0, :])
    x0, x1, wx = _taps(values.shape[-1], size[1], align_corners)
    return np.asarray(rows[..., x0] + wx * (rows[..., x1] - rows[..., x0]))


def softmax(logits: Float) -> Float:
    """Softmax over axis 1 of [B, C, ...]."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def entropy(probabilities: Float) -> Float:
    """Entropy in nats over axis 1 of [B, C, ...]; 0 log 0 is 0."""
    logs = np.log(np.where(probabilities > 0, probabilities, 1.0))
    return np.asarray(-(probabilities * logs).sum(axis=1))


def committee(probabilities: Float) -> dict[str, Float]:
    """What the members of a committee disagree about: [M, C, ...] to maps [...] in nats.

    Entropy of the members' predicted classes (vote entropy, Dagan & Engelson, ICML 1995), mutual
    information ``H(mean P) − mean H(P)`` (BALD, Houlsby et al., arXiv 1112.5745; it equals the mean
    KL divergence of the members to their mean, McCallum & Nigam, ICML 1998), and ``H(mean P)``.
    """
    votes = probabilities.argmax(axis=1)
    shares = np.stack([(votes == c).mean(axis=0) for c in range(probabilities.shape[1])])
    consensus = entropy(probabilities.mean(axis=0)[None])[0]
    return {
        "vote_entropy": entropy(shares[None])[0],
        "mutual_information": consensus - entropy(probabilities).mean(axis=0),
        "consensus_entropy": consensus,
    }


def attention(probabilities: Float, head: DifficultyHead) -> Float:
    """The head on class probabilities [C, N] of one image: ``a`` [N], before the sigmoid."""
    values = np.asarray(head.weight) @ probabilities
    if head.uncertainty_weight is not None:
        values += np.asarray(head.uncertainty_weight) @ (probabilities * (1 - probabilities))
    kernel = np.exp(probabilities.T @ probabilities)
    average = kernel @ values / kernel.sum(axis=1)
    return np.asarray(head.gamma * average + values + head.bias)


def difficulty_grid(logits: ArrayLike, head: DifficultyHead, align_corners: bool) -> Float:
    """Difficulty before the sigmoid on the attention grid: [B, C, h, w] to [B, gh, gw]."""
    z = np.asarray(logits, dtype=np.float64)
    grid = head.grid or z.shape[2:]
    p = softmax(resize(z, (grid[0], grid[1]), align_corners))
    return np.stack([attention(image.reshape(len(image), -1), head).reshape(grid) for image in p])


def difficulty_map(grid: ArrayLike, size: tuple[int, int], align_corners: bool) -> Float:
    """``D = sigmoid(resize(a))``: [B, gh, gw] to [B, H, W]."""
    return np.asarray(1.0 / (1.0 + np.exp(-resize(grid, size, align_corners))))


def histogram_levels(values: Float, low: float, high: float) -> NDArray[np.int64]:
    """Index of each value among 240 levels on low…high; a constant map is level 0."""
    if high <= low:
        return np.zeros(values.shape, dtype=np.int64)
    levels = np.floor((values - low) * (HISTOGRAM_LEVELS / (high - low)))
    return np.asarray(np.clip(levels, 0, HISTOGRAM_LEVELS - 1).astype(np.int64))


def _histogram(values: Float, low: float, high: float) -> NDArray[np.int64]:
    counts = np.bincount(histogram_levels(values, low, high), minlength=HISTOGRAM_LEVELS)
    return counts.astype(np.int64)


def _boundary(classes: NDArray[np.int64], kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Unmasked pixels of which an unmasked 4-neighbour is predicted as another class."""
    found = np.zeros(classes.shape, dtype=bool)
    for near, far in (
        ((slice(None), slice(1, None)), (slice(None), slice(None, -1))),
        ((slice(1, None), slice(None)), (slice(None, -1), slice(None))),
    ):
        differ = (classes[near] != classes[far]) & kept[near] & kept[far]
        found[near] |= differ
        found[far] |= differ
    return found


def _means(u: dict[str, Float], d: Float | None, where: Any) -> dict[str, float]:
    """Means over the pixels of ``where`` of each uncertainty, of D, and of their products."""
    empty = not where.any()
    means = {f"{name}_mean": np.nan if empty else u[name][where].mean() for name in u}
    if d is not None:
        means["difficulty_mean"] = np.nan if empty else d[where].mean()
        for name in u:
            product = np.nan if empty else (d * u[name])[where].mean()
            means[f"difficulty_weighted_{name}_mean"] = product
    return means


def statistics(
    logits: ArrayLike,
    *,
    size: tuple[int, int],
    head: DifficultyHead | None = None,
    difficulty: ArrayLike | None = None,
    regions: NDArray[np.int32] | None = None,
    n_regions: int = 0,
    mask: NDArray[np.uint8] | None = None,
    align_corners: bool = True,
) -> Statistics:
    """Every statistic of a batch.

    ``logits`` [B, C, h, w], or of a committee [M, B, C, h, w]: its own columns compare the members,
    all others are member 0's; ``difficulty`` [B, gh, gw] before the sigmoid wins over ``head``;
    ``regions`` int32 [B, H, W], negative for none; ``mask`` uint8 [B, H, W], 0 for ignore.
    """
    members = np.asarray(logits, dtype=np.float64)
    if members.ndim == 4:
        members = members[None]
    z = members[0]
    if difficulty is None and head is not None:
        difficulty = difficulty_grid(np.where(np.isfinite(z), z, 0.0), head, align_corners)
    grid = None if difficulty is None else np.asarray(difficulty, dtype=np.float64)
    images: list[dict[str, Any]] = []
    tables: list[dict[str, Any]] = []
    bad: list[int] = []
    for b, image in enumerate(z):
        kept = np.ones(size, dtype=bool) if mask is None else mask[b] != 0
        nonfinite = int((~np.isfinite(members[:, b])).sum())
        if grid is not None:
            nonfinite += int((~np.isfinite(grid[b])).sum())
        bad.append(nonfinite)
        if nonfinite:
            image, kept = np.zeros_like(image), np.zeros(size, dtype=bool)
        d = None
        if grid is not None:
            safe = np.zeros_like(grid[b]) if nonfinite else grid[b]
            d = difficulty_map(safe[None], size, align_corners)[0]
        u, classes = _pixels(softmax(resize(image, size, align_corners)[None])[0])
        edges = _boundary(classes, kept)
        lines = boundaries(classes, kept, None if regions is None else regions[b], n_regions)
        images.append(_image_columns(u, d, classes, edges, kept, z.shape[1]))
        images[-1] |= {name: lines[name] for name in ("boundary_length", "boundary_corners")}
        several: dict[str, Float] = {}
        if len(members) > 1:
            safe = np.zeros_like(members[:, b]) if nonfinite else members[:, b]
            several = committee(softmax(resize(safe, size, align_corners)))
            images[-1] |= _means(several, None, kept)
        if regions is not None:
            where = [(regions[b] == r) for r in range(n_regions)]
            rows = [
                _region_columns(u, d, classes, edges, kept, r, z.shape[1])
                | _means(several, None, r & kept)
                for r in where
            ]
            tables.append({name: np.array([row[name] for row in rows]) for name in rows[0]})
            tables[-1]["boundary_length"] = lines["region_boundary_length"]
            tables[-1]["boundary_corners"] = lines["region_boundary_corners"]
    return Statistics(
        images={name: np.stack([row[name] for row in images]) for name in images[0]},
        regions=(
            {name: np.stack([table[name] for table in tables]) for name in tables[0]}
            if tables
            else None
        ),
        nonfinite=np.array(bad, dtype=np.int64),
    )


def _pixels(p: Float) -> tuple[dict[str, Float], NDArray[np.int64]]:
    """Uncertainties [H, W] and predicted classes [H, W] from probabilities [C, H, W]."""
    ordered = np.sort(p, axis=0)
    second = ordered[-2] if len(p) > 1 else np.zeros_like(ordered[-1])
    uncertainties = {
        "entropy": entropy(p[None])[0],
        "margin": 1.0 - (ordered[-1] - second),
        "least_confidence": 1.0 - ordered[-1],
    }
    return uncertainties, p.argmax(axis=0)


def _image_columns(
    u: dict[str, Float],
    d: Float | None,
    classes: NDArray[np.int64],
    edges: NDArray[np.bool_],
    kept: NDArray[np.bool_],
    n_classes: int,
) -> dict[str, Any]:
    def by_class(values: Float) -> Float:
        sums = np.bincount(classes[kept], weights=values[kept], minlength=n_classes)
        return np.asarray(sums, dtype=np.float64)

    columns: dict[str, Any] = {
        "n_pixels": int(kept.sum()),
        **_means(u, d, kept),
        "entropy_hist": _histogram(u["entropy"][kept], 0.0, float(np.log(n_classes))),
        "boundary_pixels": int(edges.sum()),
        "class_pixels": np.bincount(classes[kept], minlength=n_classes),
        "class_entropy_sum": by_class(u["entropy"]),
    }
    if d is not None:
        low, high = (d[kept].min(), d[kept].max()) if kept.any() else (np.nan, np.nan)
        columns |= {
            "difficulty_min": low,
            "difficulty_max": high,
            "difficulty_hist": _histogram(d[kept], 0.0, 1.0),
            "difficulty_hist_image": _histogram(d[kept], low, high),
            "class_difficulty_sum": by_class(d),
            "class_difficulty_weighted_entropy_sum": by_class(d * u["entropy"]),
        }
    return columns


def _region_columns(
    u: dict[str, Float],
    d: Float | None,
    classes: NDArray[np.int64],
    edges: NDArray[np.bool_],
    kept: NDArray[np.bool_],
    region: NDArray[np.bool_],
    n_classes: int,
) -> dict[str, Any]:
    where = region & kept
    counts = np.bincount(classes[where], minlength=n_classes)
    empty = counts.sum() == 0
    ys, xs = np.nonzero(region)
    x0, y0, x1, y1 = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) if len(xs) else (0, 0, 0, 0)
    return {
        "n_pixels": int(counts.sum()),
        "x0": int(x0),
        "y0": int(y0),
        "x1": int(x1),
        "y1": int(y1),
        **_means(u, d, where),
        "majority_class": -1 if empty else int(counts.argmax()),
        "impurity": np.nan if empty else float(entropy(counts[None] / counts.sum())[0]),
        "boundary_pixels": int(edges[where].sum()),
    }


def k_center_greedy(
    features: ArrayLike, count: int, metric: str, centers: list[int], candidates: list[int]
) -> tuple[list[int], list[float]]:
    """Farthest-first traversal, every distance computed anew; the first pick needs a center."""
    x = np.asarray(features, dtype=np.float64)
    if metric == "cosine":
        norms = np.sqrt((x**2).sum(axis=1, keepdims=True))
        # A row of zeros gets an axis of its own: at 1 from every direction.
        x = np.concatenate([x / np.where(norms > 0, norms, 1.0), norms == 0], axis=1)
    taken, order, far = list(centers), [], []
    left = [row for row in candidates if row not in taken]
    for _ in range(min(count, len(left))):
        squares = ((x[left][:, None] - x[taken][None]) ** 2).sum(axis=2).min(axis=1)
        pick = left[int(squares.argmax())]  # the first of equals
        order.append(pick)
        far.append(float(squares.max() / 2 if metric == "cosine" else np.sqrt(squares.max())))
        taken.append(pick)
        left.remove(pick)
    return order, far
