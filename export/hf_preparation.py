"""How an image processor of transformers prepares images, in the words of the model contract.

What it does to levels is measured on images of one colour, since processors differ in which of
their settings they use. How it resizes is read from its settings and then proved: the numbers that
reach the network have to be those of transformers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from deal.errors import ModelError, UsageError
from deal.export.hf_checkpoint import PREPARATION, HfCheckpoint
from deal.training.networks import InputNormalization

__all__ = ["HfPreparation", "find_preparation"]

_INTERPOLATIONS = {0: "nearest", 2: "bilinear-antialias", 3: "bicubic-antialias"}  # Pillow's
_PROBES = ((97, 211), (160, 120))  # of different shape
_OFF: Mapping[str, Any] = {
    "do_center_crop": False,
    "do_pad": False,
    "keep_aspect_ratio": False,
    "ensure_multiple_of": 1,
}

Size = tuple[int, int]
_Own = tuple[str, Size | None, dict[str, Any], tuple[str, ...]]  # resize, size, settings, notes
Image8 = NDArray[np.uint8]


@dataclass(frozen=True)
class HfPreparation:
    """How images become the network's input.

    Attributes
    ----------
    resize : ``stretch`` or ``crop``
    input_size : (H, W) or None
        None: images keep their size.
    interpolation : str
        Of the model contract.
    mean, std : tuple of 3 float
        Of levels 0…1, in the order of RGB.
    is_bgr : bool
        The network takes blue first.
    settings : dict
        Arguments for the processor in place of its own, so that it prepares alike.
    notes : tuple of str
    """

    resize: str
    input_size: Size | None
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    is_bgr: bool
    settings: Mapping[str, Any]
    notes: tuple[str, ...]

    def module(self) -> torch.nn.Module:
        """Convert RGB levels [B,3,H,W] to the network's input, as part of the graph."""
        normalization = InputNormalization(self.mean, self.std)
        return torch.nn.Sequential(normalization, _Flip()) if self.is_bgr else normalization

    def run(self, processor: Any, image: Image8, *, is_placed: bool = False) -> torch.Tensor:
        """What transformers makes of an image: float32 [1,3,h,w].

        ``is_placed``: the image has been resized and cropped already.
        """
        placed = {"do_resize": False, "do_center_crop": False}
        return _run(processor, image, placed if is_placed else self.settings)


class _Flip(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flip(1)


def find_preparation(
    checkpoint: HfCheckpoint, input_size: Size | None, images: Sequence[Image8]
) -> HfPreparation:
    """Find out how the processor of a checkpoint prepares images.

    Parameters
    ----------
    checkpoint : HfCheckpoint
    input_size : (H, W), optional
        Stretch images to this size instead.
    images : sequence of ndarray of uint8 [H, W, 3]
        Where the input's size depends on the image, it has to be the same for these.

    Raises
    ------
    UsageError
        The size depends on the image, and the images do not tell it.
    ModelError
        deal cannot prepare images alike.
    """
    processor = checkpoint.processor
    interpolation = _interpolation(processor, checkpoint)
    found: _Own
    if input_size is None:
        found = _own(processor, images)
    else:
        found = ("stretch", input_size, _stretched(processor, input_size), ())
    resize, size, settings, notes = found
    mean, std, is_bgr = _levels(processor, settings, size, checkpoint)
    return HfPreparation(resize, size, interpolation, mean, std, is_bgr, settings, notes)


def _interpolation(processor: Any, checkpoint: HfCheckpoint) -> str:
    filter_ = getattr(processor, "resample", None)
    number = 2 if filter_ is None else int(filter_)
    if number not in _INTERPOLATIONS:
        raise ModelError(
            f"{checkpoint.folder / PREPARATION} resizes by Pillow's filter {number}, which deal "
            "does not have: set resample to 2 (bilinear) or 3 (bicubic)"
        )
    return _INTERPOLATIONS[number]


def _stretched(processor: Any, size: Size) -> dict[str, Any]:
    settings = {name: value for name, value in _OFF.items() if hasattr(processor, name)}
    return settings | {"do_resize": True, "size": {"height": size[0], "width": size[1]}}


def _own(processor: Any, images: Sequence[Image8]) -> _Own:
    """The processor's own way."""
    black = [np.zeros((*size, 3), np.uint8) for size in _PROBES]
    sizes = [_size_of(processor, image) for image in black]
    if sizes == list(_PROBES):
        return "stretch", None, {}, ()
    if sizes[0] == sizes[1] and not getattr(processor, "do_center_crop", None):
        return "stretch", sizes[0], {}, ()
    if sizes[0] == sizes[1]:
        return _cropped(processor, sizes[0])
    found = {_size_of(processor, image) for image in images}
    if len(found) != 1:
        example = f"{sizes[0][0]}x{sizes[0][1]}" if not found else "x".join(map(str, min(found)))
        raise UsageError(
            f"by {PREPARATION} the size of the input depends on the shape of the image: give "
            f"--input-size HxW, such as {example}, or --images with images of one shape"
        )
    (size,) = found
    return (
        "stretch",
        size,
        _stretched(processor, size),
        (
            f"the input's size, {size[0]}×{size[1]}, is the one that {PREPARATION} gives the check "
            "images; images of another shape are stretched to it",
        ),
    )


def _cropped(processor: Any, size: Size) -> _Own:
    """Deal scales images until they just cover the input; some processors scale them further."""
    edge = getattr(getattr(processor, "size", None), "shortest_edge", None)
    notes = [
        f"only the middle of an image is scored, as {PREPARATION} crops it: --input-size "
        f"{size[0]}x{size[1]} stretches whole images to the input instead, and deal fit-head needs "
        "that"
    ]
    settings: dict[str, Any] = {}
    if size[0] == size[1] and edge != size[0]:
        settings = {"size": {"shortest_edge": size[0]}}
        notes.append(
            f"{PREPARATION} resizes the shorter side to {edge} before it crops; deal resizes it to "
            f"{size[0]}, so that it sees more of the image"
        )
    return "crop", size, settings, tuple(notes)


def _levels(
    processor: Any, settings: Mapping[str, Any], size: Size | None, checkpoint: HfCheckpoint
) -> tuple[tuple[float, ...], tuple[float, ...], bool]:
    """Mean and std of levels 0…1, and whether the channels are turned around."""
    shape = (*(size or _PROBES[1]), 3)

    def middle(colour: Sequence[int]) -> NDArray[np.float64]:
        image = np.broadcast_to(np.array(colour, np.uint8), shape)
        pixels = _run(processor, np.ascontiguousarray(image), settings)
        return pixels[0, :, pixels.shape[2] // 2, pixels.shape[3] // 2].double().numpy()

    black = middle((0, 0, 0))
    steps = np.array([middle(255 * np.eye(3, dtype=int)[channel]) for channel in range(3)]) - black
    is_bgr = bool(abs(steps[0, 2]) > abs(steps[0, 0]))
    if is_bgr:
        steps, black = steps[:, ::-1], black[::-1]
    scale = steps.diagonal()
    if np.abs(steps - np.diag(scale)).max() > 1e-6 or scale.min() <= 0:
        raise ModelError(
            f"{type(processor).__name__} of {checkpoint.folder} mixes the channels of an image or "
            "turns its levels around, which deal does not do: export the network with "
            "torch.onnx.export, and see deal check"
        )
    return _rounded(-black / scale), _rounded(1 / scale), is_bgr


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    """To the digits that float32 has."""
    return tuple(float(f"{value:.7g}") + 0.0 for value in values)


def _size_of(processor: Any, image: Image8) -> Size:
    shape = _run(processor, image, {}).shape
    return int(shape[2]), int(shape[3])


def _run(processor: Any, image: Image8, settings: Mapping[str, Any]) -> torch.Tensor:
    try:
        found = processor(
            images=[image], return_tensors="pt", input_data_format="channels_last", **settings
        )
    except Exception as error:  # of many kinds, by the setting that is wrong
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelError(
            f"{type(processor).__name__} cannot prepare an image of "
            f"{image.shape[0]}×{image.shape[1]}: {reason[:300]}. Correct {PREPARATION}"
        ) from error
    pixels: torch.Tensor = found["pixel_values"]
    return pixels.float()
