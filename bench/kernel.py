"""How fast is the native kernel beside the same statistics in eager PyTorch?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import deal
from deal.bench.report import Report, Row
from deal.bench.timing import interleave, ratios, spread

__all__ = ["SHAPES", "eager_statistics", "run"]

SHAPES = {
    "camvid": (11, (90, 120), (360, 480), (60, 80)),
    "cityscapes": (19, (172, 172), (688, 688), (86, 86)),
    "ade20k": (150, (128, 128), (512, 512), (64, 64)),
}
"""C, logits h×w, raster H×W, attention grid."""

_CELL = 40
# Calls timed as one, of CamVid's shape; of larger ones fewer, so that a run takes minutes.
_CALLS, _CALLS_OF, _FEWEST_CALLS = 60, 360 * 480 * 11, 4
_MEMBERS = 4


def eager_statistics(
    logits: Any, difficulty: Any, size: tuple[int, int], cell: int
) -> dict[str, Any]:
    """The kernel's statistics as a PyTorch user writes them: whole maps, one operation a line.

    ``logits`` [B, C, h, w] and ``difficulty`` [B, 1, gh, gw] are float32 tensors.
    """
    import torch
    from torch.nn import functional

    classes = logits.shape[1]
    z = functional.interpolate(logits, size, mode="bilinear", align_corners=True)
    d = functional.interpolate(difficulty, size, mode="bilinear", align_corners=True)
    d = torch.sigmoid(d[:, 0])
    p = torch.softmax(z, dim=1)
    top = p.topk(2, dim=1)
    u = {
        "entropy": -(p * torch.log_softmax(z, dim=1)).sum(dim=1),
        "margin": 1 - (top.values[:, 0] - top.values[:, 1]),
        "least_confidence": 1 - top.values[:, 0],
    }
    maps = {f"{name}_mean": value for name, value in u.items()}
    maps["difficulty_mean"] = d
    maps |= {f"difficulty_weighted_{name}_mean": d * value for name, value in u.items()}
    found: dict[str, Any] = {name: value.mean(dim=(1, 2)) for name, value in maps.items()}
    labels = top.indices[:, 0]
    regions = [
        functional.avg_pool2d(value[:, None], cell, ceil_mode=True) for value in maps.values()
    ]
    found["region_means"] = torch.cat(regions, dim=1)
    for b in range(len(logits)):
        flat = labels[b].flatten()
        low, high = d[b].min().item(), d[b].max().item()
        found[f"hist_{b}"] = torch.histc(d[b], 240, 0, 1)
        found[f"hist_image_{b}"] = torch.histc(d[b], 240, low, high)
        found[f"entropy_hist_{b}"] = torch.histc(u["entropy"][b], 240, 0, float(np.log(classes)))
        found[f"class_pixels_{b}"] = torch.bincount(flat, minlength=classes)
        for name, value in (("d", d[b]), ("h", u["entropy"][b]), ("dh", d[b] * u["entropy"][b])):
            found[f"class_{name}_{b}"] = torch.bincount(flat, value.flatten(), classes)
    return found


def smooth_logits(classes: int, size: tuple[int, int], batch: int) -> NDArray[np.float32]:
    """Logits with areas the size of things in a street, as networks give them."""
    import torch

    noise = torch.randn(
        batch, classes, size[0] // 8 + 2, size[1] // 8 + 2, generator=torch.manual_seed(0)
    )
    smooth = torch.nn.functional.interpolate(noise * 4, size, mode="bicubic", align_corners=True)
    return np.asarray(smooth.numpy(), dtype=np.float32)


def run(*, shape: str = "camvid", threads: int = 1, rounds: int = 15, batch: int = 1) -> Report:
    """Time kernel and eager PyTorch on one shape with equal threads.

    PyTorch computes no boundaries; the kernel counts their pixels always, and traces their lines
    (contours) only in rows that say so.
    """
    import torch

    torch.set_num_threads(threads)
    classes, small, size, grid = SHAPES[shape]
    logits = smooth_logits(classes, small, batch)
    rng = np.random.default_rng(0)
    difficulty = rng.normal(size=(batch, 1, *grid)).astype(np.float32)
    head = deal.DifficultyHead(0.8, rng.normal(size=classes), -0.4, grid)
    tensors = torch.from_numpy(logits), torch.from_numpy(difficulty)

    def kernel(*, contours: bool = False) -> deal.Statistics:
        return deal.score_logits(
            logits,
            size=size,
            difficulty=difficulty,
            regions=deal.Grid(_CELL),
            threads=threads,
            contours=contours,
        )

    def eager() -> dict[str, Any]:
        with torch.inference_mode():
            return eager_statistics(*tensors, size, _CELL)

    def with_head() -> object:
        return deal.score_logits(
            logits, size=size, head=head, regions=deal.Grid(_CELL), threads=threads
        )

    members = np.stack([np.roll(logits, m, axis=1) for m in range(_MEMBERS)])

    def committee() -> object:
        return deal.score_logits(
            members, size=size, difficulty=difficulty, regions=deal.Grid(_CELL), threads=threads
        )

    ours, theirs = kernel().images, eager()
    for name in (name for name in theirs if name.endswith("_mean")):
        np.testing.assert_allclose(ours[name], theirs[name].numpy(), atol=2e-5, err_msg=name)

    candidates: dict[str, Callable[[], object]] = {
        "kernel": kernel,
        "with contours": lambda: kernel(contours=True),
        "eager": eager,
        "with head": with_head,
        "committee": committee,
    }
    cycles_of = size[0] * size[1] * classes * batch
    calls = max(_CALLS * _CALLS_OF // cycles_of, _FEWEST_CALLS)
    seconds = interleave(candidates, rounds=rounds, calls=calls, pause=0.3)
    per_image = 1e3 / batch
    return Report(
        question="kernel",
        command=f"deal bench kernel --shape {shape} --threads {threads} --batch {batch}",
        settings={"shape": shape, "threads": threads, "batch": batch, "rounds": rounds},
        rows=(
            Row("native kernel", spread(seconds["kernel"]).scaled(per_image), "ms/image"),
            Row(
                "native kernel with contours",
                spread(seconds["with contours"]).scaled(per_image),
                "ms/image",
            ),
            Row(
                "native kernel with contours and head",
                spread(seconds["with head"]).scaled(per_image),
                "ms/image",
            ),
            Row(
                f"native kernel, with contours, committee of {_MEMBERS}",
                spread(seconds["committee"]).scaled(per_image),
                "ms/image",
            ),
            Row("eager PyTorch", spread(seconds["eager"]).scaled(per_image), "ms/image"),
            Row(
                "native kernel",
                spread(seconds["kernel"]).scaled(1e9 / cycles_of),
                "ns/(pixel·class)",
            ),
            Row(
                "eager PyTorch / native kernel",
                ratios(seconds["eager"], seconds["kernel"]),
                "ratio",
                ">= 30",
            ),
            Row(
                "eager PyTorch / native kernel with contours",
                ratios(seconds["eager"], seconds["with contours"]),
                "ratio",
            ),
        ),
    )
