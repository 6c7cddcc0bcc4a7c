"""What the small network learns."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from deal.distilling.lessons import Lessons
from deal.distilling.student import Training, taught
from deal.training.difficulty import WithDifficulty


class Brightness(nn.Module):
    """Two classes, dark and bright, of cells of 4×4 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([-3.0, 3.0]))

    def forward(self, images: Tensor) -> Tensor:
        cells = nn.functional.avg_pool2d(images.float().mean(1, keepdim=True), 4)
        return (cells / 128 - 1) * self.slope.view(1, 2, 1, 1)


def test_difficulties_far_apart_are_learned_as_far_apart() -> None:
    """As a model gives them for easy and hard places; flat maps would spoil ``de``."""
    bright = np.random.default_rng(0).random((64, 8, 12)) < 0.5
    cells = np.where(bright, 250, 5).astype(np.uint8)
    sure = np.where(bright, 0.05, 0.95)
    lessons = Lessons(
        images=cells.repeat(4, axis=1).repeat(4, axis=2)[..., None].repeat(3, axis=3),
        probabilities=np.stack([sure, 1 - sure], axis=1).astype(np.float16),
        difficulty=np.where(bright, 0.05, 0.95).astype(np.float16),
    )
    student = WithDifficulty(Brightness(), 2, uncertainty=True)
    training = Training(epochs=10, batch_size=8, lr=1e-3, seed=0)
    learned = taught(student, lessons, training, torch.device("cpu"), lambda: None)
    with torch.no_grad():
        _, found = learned(torch.from_numpy(lessons.images).permute(0, 3, 1, 2))
    difficulty = found.sigmoid().numpy()[:, 0]
    assert difficulty[~bright].mean() > 0.85
    assert difficulty[bright].mean() < 0.15
