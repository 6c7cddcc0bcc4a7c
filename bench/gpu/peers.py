"""What the kernel replaces, as one who knows PyTorch on GPUs writes it: whole maps, whole batches.

No loop over images and nothing that waits for the GPU, unlike ``eager_statistics`` of
``bench/kernel.py``, whose results these are; ``torch.compile`` takes it in one piece.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

__all__ = ["attention", "batched_statistics"]

_LEVELS = 240


def batched_statistics(
    logits: Tensor, difficulty: Tensor, size: tuple[int, int], cell: int
) -> dict[str, Tensor]:
    """The kernel's statistics of logits [B,C,h,w] and difficulty [B,1,gh,gw] before the sigmoid."""
    batch, classes = logits.shape[:2]
    z = F.interpolate(logits.float(), size, mode="bilinear", align_corners=True)
    d = F.interpolate(difficulty, size, mode="bilinear", align_corners=True)
    d = torch.sigmoid(d[:, 0])
    logs = torch.log_softmax(z, dim=1)
    p = logs.exp()
    top = p.topk(2, dim=1)
    u = {
        "entropy": -(p * logs).sum(dim=1),
        "margin": 1 - (top.values[:, 0] - top.values[:, 1]),
        "least_confidence": 1 - top.values[:, 0],
    }
    maps = {f"{name}_mean": value for name, value in u.items()}
    maps["difficulty_mean"] = d
    maps |= {f"difficulty_weighted_{name}_mean": d * value for name, value in u.items()}
    found = {name: value.mean(dim=(1, 2)) for name, value in maps.items()}
    found["region_means"] = F.avg_pool2d(torch.stack([*maps.values()], 1), cell, ceil_mode=True)
    labels = top.indices[:, 0].flatten(1)
    flat, h = d.flatten(1), u["entropy"].flatten(1)
    low, high = flat.amin(dim=1, keepdim=True), flat.amax(dim=1, keepdim=True)
    found["difficulty_min"], found["difficulty_max"] = low[:, 0], high[:, 0]
    ones = torch.ones_like(flat)
    for name, share in (
        ("difficulty_hist", flat),
        ("difficulty_hist_image", (flat - low) / (high - low).clamp_min(1e-30)),
        ("entropy_hist", h / torch.log(torch.tensor(float(classes)))),
    ):
        level = (share * _LEVELS).long().clamp(0, _LEVELS - 1)
        found[name] = flat.new_zeros(batch, _LEVELS).scatter_add_(1, level, ones)
    for name, value in (
        ("class_pixels", ones),
        ("class_difficulty_sum", flat),
        ("class_entropy_sum", h),
        ("class_difficulty_weighted_entropy_sum", flat * h),
    ):
        found[name] = flat.new_zeros(batch, classes).scatter_add_(1, labels, value)
    return found


def attention(logits: Tensor, weight: Tensor, gamma: float, bias: float, *, fused: bool) -> Tensor:
    """Difficulty before the sigmoid [B,h,w] of logits on the attention grid.

    ``fused``: by PyTorch's ``scaled_dot_product_attention``; else as released, by the matrix of all
    pairs of cells.
    """
    p = logits.float().softmax(dim=1).flatten(2)
    if fused:
        cells = p.transpose(1, 2).unsqueeze(1)
        attended = F.scaled_dot_product_attention(cells, cells, cells, scale=1.0)[:, 0]
        attended = attended.transpose(1, 2)
    else:
        pairs = torch.bmm(p.transpose(1, 2), p).softmax(dim=-1)
        attended = torch.bmm(p, pairs.transpose(1, 2))
    a = torch.einsum("c,bcn->bn", weight, gamma * attended + p) + bias
    return a.view(len(logits), *logits.shape[2:])
