"""An encoder with ImageNet weights → ONNX file that gives embeddings, before any label exists."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deal._version import __version__
from deal.engines.torch import RgbNetwork
from deal.errors import UsageError
from deal.export.files import new_file
from deal.export.onnx import OPSET, write_checked
from deal.export.parity import Parity
from deal.training.efficientnet import EfficientNetLite
from deal.training.networks import InputNormalization
from deal.training.recipe import normalization_of
from deal.training.weights import load_encoder, packaged_weights

__all__ = ["ENCODERS", "export_encoder"]

ENCODERS = ("lite0", "lite1", "lite2")
_SIZE = (240, 320)
_CLASSIFIER = "classifier"


class _Untrained(nn.Module):
    """An encoder and a classifier that knows nothing: all classes are equally likely anywhere."""

    def __init__(self, name: str, classes: int) -> None:
        super().__init__()
        self.normalization = InputNormalization(*normalization_of(name))
        self.backbone = EfficientNetLite(name)
        self.classifier = nn.Conv2d(self.backbone.channels[-1], classes, 1)
        nn.init.zeros_(self.classifier.weight)
        assert self.classifier.bias is not None
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map RGB [B,3,H,W] in 0…255 to logits [B,C,h,w], all of them 0."""
        logits: Tensor = self.classifier(self.backbone(self.normalization(x))[-1])
        return logits


def export_encoder(
    name: str,
    output: str | Path,
    *,
    input_size: tuple[int, int] | None = None,
    images: Iterable[NDArray[np.uint8]] | None = None,
    tolerance: float = 1e-3,
    opset: int = OPSET,
) -> Parity:
    """Export an encoder with ImageNet weights, for embeddings of a pool without labels.

    The embedding is the output of the last stage, averaged over the image. The logits are 0, since
    nothing was trained: rank what the model scored by ``typiclust`` or ``core-set``.

    Parameters
    ----------
    name : str
        One of `ENCODERS`; the weights come from the installed package
        (:func:`deal.training.weights.packaged_weights`).
    output : path
        Appears, or is replaced, only once the check has passed.
    input_size : (H, W), optional
        Images are stretched to this size; 240×320 by default.
    images, tolerance, opset
        As in :func:`deal.export.onnx.export_checkpoint`.

    Raises
    ------
    UsageError
        There is no such encoder, or the package is missing.
    ModelError
        The package has another file, or the exported network differs from PyTorch's.
    OutputError
        The file cannot be written.
    """
    if name not in ENCODERS:
        raise UsageError(f"no encoder {name!r} with ImageNet weights; take {', '.join(ENCODERS)}")
    weights = packaged_weights(name)
    classes = ["untrained", "untrained too"]
    network = _Untrained(name, len(classes))
    load_encoder(network.backbone, weights)
    metadata = {
        "format": 1,
        "classes": classes,
        "input_format": "rgb8",
        "input_size": list(input_size or _SIZE),
        "resize": "stretch",
        "interpolation": "bilinear-antialias",
        "align_corners": True,
        "output_kind": "logits",
        "activation": "softmax",
        "difficulty_head": None,
        "precision": "fp32",
        "provenance": {
            "source": "ImageNet weights, no decoder: only the embedding means something",
            "encoder": name,
            "weights": weights.name,
            "deal": __version__,
            "torch": str(torch.__version__),
        },
    }
    with new_file(Path(output), metadata, read=(weights,)) as temporary:
        return write_checked(
            temporary,
            RgbNetwork(network.eval(), len(classes), _CLASSIFIER),
            metadata,
            f"encoder {name}",
            images=images,
            tolerance=tolerance,
            opset=opset,
        )
