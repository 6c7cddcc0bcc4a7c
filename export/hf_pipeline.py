"""Does an export say what transformers says, from image to class?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from deal.engines.base import Engine
from deal.errors import ModelError
from deal.export.hf_checkpoint import HfCheckpoint
from deal.export.hf_preparation import HfPreparation
from deal.fitting.pixels import resize
from deal.model.spec import ModelSpec
from deal.scoring.inputs import Inputs

__all__ = ["Agreement", "against_pipeline", "check_inputs"]

_ROUNDING = 1e-4  # share of an input's range; a level is about 0.004

Image8 = NDArray[np.uint8]


@dataclass(frozen=True)
class Agreement:
    """How an export agrees with the whole pipeline of transformers.

    Attributes
    ----------
    images : int
    max_logit_difference : float
        Of any logit, images having been prepared by transformers for the one side and by deal for
        the other.
    class_agreement : float
        Share of the input's pixels with the class of ``post_process_semantic_segmentation``, 0…1.
    """

    images: int
    max_logit_difference: float
    class_agreement: float


def check_inputs(
    checkpoint: HfCheckpoint, preparation: HfPreparation, spec: ModelSpec, images: Sequence[Image8]
) -> None:
    """Find out before anything is traced whether deal prepares images as transformers does.

    Raises
    ------
    ModelError
        It does not, or cannot prepare an image at all.
    """
    inputs, module = Inputs(spec, "input", None), preparation.module()
    for number, image in enumerate(images, start=1):
        _prepared(checkpoint, preparation, inputs, module, image, number)


def against_pipeline(
    checkpoint: HfCheckpoint,
    preparation: HfPreparation,
    network: torch.nn.Module,
    engine: Engine,
    images: Sequence[Image8],
    tolerance: float,
) -> Agreement:
    """Compare an export with image processor, network and post-processing of transformers.

    Parameters
    ----------
    checkpoint : HfCheckpoint
    preparation : HfPreparation
    network : nn.Module
        Gives the logits that the export gives: the checkpoint's, or that without a resize.
    engine : Engine
        Runs the export on the CPU.
    images : sequence of ndarray of uint8 [H, W, 3]
        At least one.
    tolerance : float
        Greatest difference of a logit that passes.

    Raises
    ------
    ModelError
        An image is prepared otherwise, a logit differs by more, or a pixel has another class that
        is not nearly tied.
    """
    inputs, module = Inputs(engine.spec, "input", None), preparation.module()
    greatest, alike, pixels = 0.0, 0, 0
    for number, image in enumerate(images, start=1):
        ours, seen = _prepared(checkpoint, preparation, inputs, module, image, number)
        logits = engine.infer(ours[None]).logits
        with torch.inference_mode():
            output = checkpoint.network(seen)
            own = output.logits if network is checkpoint.network else network(seen)
        difference = float(np.abs(own.numpy() - logits[:, -checkpoint.channels :]).max())
        if not difference <= tolerance:
            raise _differs(
                checkpoint, f"logits by up to {difference:.2g} on check image {number}", tolerance
            )
        greatest = max(greatest, difference)
        found = resize(logits[0], ours.shape[:2], engine.spec.align_corners)
        classes = _classes(checkpoint, output, ours.shape[:2])
        gaps = _gaps(found, classes)
        if gaps.size and gaps.max() > 2 * tolerance:
            raise _differs(
                checkpoint,
                f"classes of {np.mean(gaps > 2 * tolerance) * gaps.size / classes.size:.2%} of "
                f"check image {number}, by {gaps.max():.2g} of a logit",
                2 * tolerance,
            )
        alike, pixels = alike + classes.size - gaps.size, pixels + classes.size
    return Agreement(len(images), greatest, alike / pixels)


def _prepared(
    checkpoint: HfCheckpoint,
    preparation: HfPreparation,
    inputs: Inputs,
    module: torch.nn.Module,
    image: Image8,
    number: int,
) -> tuple[Image8, torch.Tensor]:
    """An image at the input's size, and what transformers gives the network: the same levels."""
    groups, failures = inputs.groups([image])
    if failures:
        raise ModelError(f"check image {number}: {failures[0].message}")
    ours = groups[0].images[0]
    theirs = preparation.run(checkpoint.processor, image)
    prepared = module(torch.from_numpy(ours[None].transpose(0, 3, 1, 2).copy()))
    if preparation.resize == "crop" and not _same(prepared, theirs):
        # The two round half a pixel of the crop's place differently, so give both the same crop.
        theirs = preparation.run(checkpoint.processor, ours, is_placed=True)
    if _same(prepared, theirs):
        return ours, theirs
    raise ModelError(
        f"{type(checkpoint.processor).__name__} prepares check image {number} in a way that deal "
        "cannot: export the network with torch.onnx.export, and see deal check. No file is written"
    )


def _same(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    if ours.shape != theirs.shape:
        return False
    allowed = _ROUNDING * max(1.0, float(theirs.abs().max()))
    return float((ours - theirs).abs().max()) <= allowed


def _differs(checkpoint: HfCheckpoint, what: str, allowed: float) -> ModelError:
    return ModelError(
        f"the export of {checkpoint.folder} differs from transformers: {what}, {allowed:g} "
        "allowed; no file is written. Another --opset or torch version may help"
    )


def _classes(checkpoint: HfCheckpoint, output: Any, size: tuple[int, int]) -> NDArray[np.int64]:
    """Classes [H, W] by the post-processing of transformers."""
    if checkpoint.channels == 1:  # which knows one class then, without a threshold
        above = resize(output.logits[0].numpy(), size, False)[0] > 0
        return np.asarray(above, np.int64)
    (found,) = checkpoint.processor.post_process_semantic_segmentation(output, target_sizes=[size])
    return np.asarray(found.numpy(), np.int64)


def _gaps(logits: NDArray[np.float32], classes: NDArray[np.int64]) -> NDArray[np.float32]:
    """Of the pixels with another class: by how much our class wins.

    Parameters
    ----------
    logits : ndarray of float32 [C, H, W]
    classes : ndarray of int64 [H, W]
    """
    other = logits.argmax(axis=0) != classes
    apart = logits[:, other]
    theirs = np.take_along_axis(apart, classes[other][None], axis=0)[0]
    return np.asarray(apart.max(axis=0, initial=-np.inf) - theirs)
