"""A network of somebody else, as today's ``torch.onnx.export`` writes it: weights beside it."""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path

import torch

CONTRACT = {
    "classes": 5,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "size_multiple": 2,
}


class UNet(torch.nn.Module):
    """One step down and up again."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 16, 3, padding=1)
        self.down = torch.nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.norm = torch.nn.BatchNorm2d(32)
        self.up = torch.nn.ConvTranspose2d(32, 16, 2, stride=2)
        self.last = torch.nn.Conv2d(32, 5, 1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits [N,5,H,W] of images [N,3,H,W]."""
        fine = torch.relu(self.first(pixels))
        coarse = torch.relu(self.norm(self.down(fine)))
        return self.last(torch.cat([fine, self.up(coarse)], dim=1))


def save_foreign(path: Path, size: tuple[int, int], *, dynamic: bool) -> Path:
    """Export it by PyTorch's default exporter, and write a side-car with ``CONTRACT``."""
    logging.getLogger("torch.onnx").setLevel(logging.CRITICAL)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(3)
        network = UNet().eval()
        with torch.no_grad():
            network.last.weight *= 4
        torch.onnx.export(
            network,
            (torch.zeros(1, 3, *size),),
            path,
            dynamo=True,
            verbose=False,
            external_data=True,
            input_names=["pixels"],
            output_names=["logits"],
            dynamic_shapes=({0: "n", 2: "h", 3: "w"},) if dynamic else None,
        )
    path.with_suffix(".json").write_text(json.dumps(CONTRACT), encoding="utf-8")
    return path
