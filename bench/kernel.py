"""How fast is the native kernel beside the same statistics in eager PyTorch?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import deal
from deal.bench.clock import CYCLES, chain, nominal_clock
from deal.bench.failed import FailedCheckError
from deal.bench.report import Report, Row
from deal.bench.timing import interleave, ratios, spread
from deal.errors import UsageError

__all__ = ["MATRIX_BYTES", "SHAPES", "eager_statistics", "eager_with_attention", "run"]

SHAPES = {
    "camvid": (11, (90, 120), (360, 480), (60, 80)),
    "cityscapes": (19, (172, 172), (688, 688), (86, 86)),
    "ade20k": (150, (128, 128), (512, 512), (64, 64)),
}
"""C, logits h×w, raster H×W, attention grid."""

MATRIX_BYTES = 2**30
"""Peers that hold a larger float32 matrix of all pairs of cells are left out."""

_KERNEL, _CLOCK = "native kernel", "clock"
_EAGER, _EAGER_HEAD = "eager PyTorch", "eager PyTorch with attention"
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


def eager_with_attention(
    logits: Any, head: deal.DifficultyHead, size: tuple[int, int], cell: int
) -> dict[str, Any]:
    """:func:`eager_statistics`, with the difficulty of the released attention module.

    That is softmax on the attention grid, and the matrix of all N×N pairs of its cells as a whole;
    ``logits`` [B, C, h, w] is a float32 tensor.
    """
    import torch
    from torch.nn import functional

    from deal.bench.gpu.peers import attention

    on_grid = functional.interpolate(logits, head.grid, mode="bilinear", align_corners=True)
    weight = torch.tensor(head.weight, dtype=torch.float32)
    a = attention(on_grid, weight, head.gamma, head.bias, fused=False)
    return eager_statistics(logits, a[:, None], size, cell)


def run(*, shape: str = "camvid", threads: int = 1, rounds: int = 15, batch: int = 1) -> Report:
    """Time kernel and eager PyTorch on one shape with equal threads.

    Both twice: difficulty on the attention grid is given, or the head computes it. PyTorch
    computes no boundaries; the kernel counts their pixels always, and traces their lines
    (contours) only in rows that say so.
    """
    import torch

    torch.set_num_threads(threads)
    classes, small, size, grid = SHAPES[shape]
    logits = smooth_logits(classes, small, batch)
    rng = np.random.default_rng(0)
    difficulty = rng.normal(size=(batch, 1, *grid)).astype(np.float32)
    head = deal.DifficultyHead(0.8, rng.normal(size=classes), -0.4, grid)
    z, d = torch.from_numpy(logits), torch.from_numpy(difficulty)
    members = np.stack([np.roll(logits, m, axis=1) for m in range(_MEMBERS)])
    given, computed = {"difficulty": difficulty}, {"head": head}

    def kernel(
        inputs: Mapping[str, Any], *, contours: bool = False, of: Any = logits
    ) -> deal.Statistics:
        return deal.score_logits(
            of, size=size, regions=deal.Grid(_CELL), threads=threads, contours=contours, **inputs
        )

    @torch.inference_mode()
    def eager() -> dict[str, Any]:
        return eager_statistics(z, d, size, _CELL)

    @torch.inference_mode()
    def eager_head() -> dict[str, Any]:
        return eager_with_attention(z, head, size, _CELL)

    candidates: dict[str, Callable[[], object]] = {
        _KERNEL: lambda: kernel(given),
        f"{_KERNEL} with contours": lambda: kernel(given, contours=True),
        f"{_KERNEL} with head": lambda: kernel(computed),
        f"{_KERNEL} with contours and head": lambda: kernel(computed, contours=True),
        f"{_KERNEL}, with contours, committee of {_MEMBERS}": lambda: kernel(
            given, contours=True, of=members
        ),
        _EAGER: eager,
    }
    notes = []
    _hold(kernel(given).images, eager())
    matrix = 4 * batch * (grid[0] * grid[1]) ** 2
    if matrix <= MATRIX_BYTES:
        _hold(kernel(computed).images, eager_head())
        candidates[_EAGER_HEAD] = eager_head
    else:
        notes.append(f"{_EAGER_HEAD} is left out: its matrix takes {1e-9 * matrix:.1f} GB")
    values = size[0] * size[1] * classes * batch
    calls = max(_CALLS * _CALLS_OF // values, _FEWEST_CALLS)
    turns = max(_CALLS // calls, 1)  # of the chain, which takes as long at every shape
    if threads == 1:  # cycles of several threads are another question
        clock = _chain(turns, notes)
        if clock is not None:
            candidates[_CLOCK] = clock
    seconds = interleave(candidates, rounds=rounds, calls=calls, pause=0.3)
    beats = [s / turns for s in seconds.pop(_CLOCK, ())]
    ours = seconds[_KERNEL]
    rows = [
        *(Row(name, spread(s).scaled(1e3 / batch), "ms/image") for name, s in seconds.items()),
        Row(_KERNEL, spread(ours).scaled(1e9 / values), "ns/(pixel·class)"),
        *(_cycles(ours, beats, values, notes) if threads == 1 else ()),
        Row(f"{_EAGER} / {_KERNEL}", ratios(seconds[_EAGER], ours), "ratio", ">= 30"),
        _ratio(seconds, _EAGER, f"{_KERNEL} with contours"),
    ]
    if _EAGER_HEAD in seconds:
        rows.append(_ratio(seconds, _EAGER_HEAD, f"{_KERNEL} with head"))
    return Report(
        question="kernel",
        settings={"shape": shape, "threads": threads, "batch": batch, "rounds": rounds},
        rows=tuple(rows),
        notes=tuple(notes),
    )


def _hold(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """Raise where a mean of the two differs by more than float32 in the peer explains."""
    for name in (name for name in theirs if name.endswith("_mean")):
        if not np.allclose(ours[name], theirs[name].numpy(), atol=2e-5, rtol=1e-7):
            raise FailedCheckError(f"{name} differs from the peer's")


def _ratio(seconds: Mapping[str, Sequence[float]], peer: str, ours: str) -> Row:
    return Row(f"{peer} / {ours}", ratios(seconds[peer], seconds[ours]), "ratio")


def _chain(turns: int, notes: list[str]) -> Callable[[], int] | None:
    """What tells the clock beside the kernel; None, with a note, where it cannot be built."""
    try:
        return chain(turns)
    except UsageError as error:
        notes.append(f"the clock is not measured: {error}")
        return None


def _cycles(
    ours: Sequence[float], beats: Sequence[float], values: int, notes: list[str]
) -> list[Row]:
    """Cycles of one thread, by the turns of a `chain`, or else by the nominal clock."""
    unit = "cycles/(pixel·class)"
    if beats:
        return [
            Row("clock, by dependent additions", spread([CYCLES / s * 1e-9 for s in beats]), "GHz"),
            Row(_KERNEL, ratios(ours, beats).scaled(CYCLES / values), unit),
        ]
    clock = nominal_clock()
    if clock is None:
        notes.append("cycles are left out: no clock is known")
        return []
    name = f"{_KERNEL}, at nominal {1e-9 * clock:.2f} GHz"
    return [Row(name, spread(ours).scaled(clock / values), unit)]
