"""A segmentation checkpoint of transformers → ONNX file that keeps the model contract."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch.nn import functional as F  # noqa: N812

from deal._version import __version__
from deal.engines import open_engine
from deal.engines.torch import RgbNetwork, module_spec
from deal.errors import ModelError
from deal.export.files import new_file
from deal.export.hf_checkpoint import HfCheckpoint, read_checkpoint
from deal.export.hf_pipeline import Agreement, against_pipeline, check_inputs
from deal.export.hf_preparation import HfPreparation, find_preparation
from deal.export.images import Scenes, even
from deal.export.onnx import OPSET, write_checked
from deal.export.parity import Parity
from deal.training.dropout import dropout_layers
from deal.training.embedding import classifier_name

__all__ = ["HfExport", "export_hf"]

_ANY_SIZE = frozenset({"SegformerForSemanticSegmentation"})  # which PyTorch traces for any size
_SIDE = 256  # of the input where a network takes any size
_MOST_IMAGES = 16
_SCENE = (250, 330)  # no network's input, so that resizing is checked too

Image8 = NDArray[np.uint8]
Size = tuple[int, int]


@dataclass(frozen=True)
class HfExport:
    """What :func:`export_hf` wrote.

    Attributes
    ----------
    architecture : str
    classes : tuple of str
    input_size : (H, W) or None
    any_size : bool
        Whether the graph takes images of other sizes too.
    resize : ``stretch`` or ``crop``
    interpolation : str
    license : str or None
        What the checkpoint's model card states.
    parity : Parity
        Of the graph with PyTorch.
    pipeline : Agreement
    notes : tuple of str
    """

    architecture: str
    classes: tuple[str, ...]
    input_size: Size | None
    any_size: bool
    resize: str
    interpolation: str
    license: str | None
    parity: Parity
    pipeline: Agreement
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, those of ``parity`` beside the others."""
        values = asdict(self)
        return {**values.pop("parity"), "checkpoint": values}


def export_hf(
    folder: str | Path,
    output: str | Path,
    *,
    input_size: Size | None = None,
    images: Sequence[Image8] | None = None,
    tolerance: float = 1e-3,
    opset: int = OPSET,
    dropout: bool = False,
    embedding: bool = False,
) -> HfExport:
    """Export a segmentation checkpoint of transformers and compare the two.

    The graph takes uint8 RGB [N,H,W,3], normalises it as ``preprocessor_config.json`` says, and
    stops at the network's own grid of logits. Classes, input size, interpolation and the label
    of void go into the metadata.

    Parameters
    ----------
    folder : path
        Holds ``config.json``, ``preprocessor_config.json`` and weights, as ``save_pretrained``
        writes them. Nothing is downloaded, and no code of the folder runs.
    output : path
        Appears, or is replaced, only once the checks have passed.
    input_size : (H, W), optional
        Stretch images to this size, whatever ``preprocessor_config.json`` says of sizes.
    images : sequence of ndarray of uint8 [H, W, 3], optional
        To check on, of which 16 spread evenly are used; 16 synthetic street scenes by default.
    tolerance, opset, dropout, embedding
        As in :func:`deal.export.onnx.export_checkpoint`.

    Raises
    ------
    ModelError
        The checkpoint cannot be read, is not for semantic segmentation, or gives no score per class
        and pixel; deal cannot prepare images alike; or the export differs from transformers.
    UsageError
        The input's size depends on the image: give ``input_size``. Or the output is a file of the
        checkpoint.
    OutputError
        The file cannot be written.
    """
    checkpoint = read_checkpoint(folder)
    given: Sequence[Image8] = () if images is None else images
    shown = [given[index] for index in even(len(given), _MOST_IMAGES)]
    preparation = find_preparation(checkpoint, input_size, shown)
    size = preparation.input_size
    checked = shown or [Scenes(range(_MOST_IMAGES), _SCENE)[i] for i in range(_MOST_IMAGES)]
    network, align_corners = _at_own_grid(checkpoint, size or (_SIDE, _SIDE))
    fixed = None if checkpoint.architecture in _ANY_SIZE else size
    if fixed is None and size is None and checkpoint.architecture not in _ANY_SIZE:
        raise ModelError(
            f"{checkpoint.architecture} can only be exported for images of one size, and "
            "preprocessor_config.json leaves images at theirs: give --input-size HxW"
        )
    layers = dropout_layers(network, max(size or (_SIDE,))) if dropout else ()
    if dropout and not layers:
        raise ModelError(f"{folder} has no dropout layers to export: leave dropout out")
    metadata = {
        **_contract(checkpoint, preparation, align_corners),
        **({"dropout": [asdict(layer) for layer in layers]} if layers else {}),
    }
    rgb = RgbNetwork(
        network,
        checkpoint.channels,
        classifier_name(network, checkpoint.channels) if embedding else None,
        preparation.module(),
        max(size or (_SIDE,)),
    )
    with new_file(Path(output), metadata, read=(folder,)) as temporary:
        check_inputs(checkpoint, preparation, module_spec(rgb, metadata, temporary), checked)
        parity = write_checked(
            temporary,
            rgb,
            metadata,
            f"checkpoint {folder}",
            images=checked,
            tolerance=tolerance,
            opset=opset,
            fixed_size=fixed,
        )
        engine = open_engine(temporary, "ort", "cpu")
        pipeline = against_pipeline(checkpoint, preparation, network, engine, checked, tolerance)
    return HfExport(
        architecture=checkpoint.architecture,
        classes=checkpoint.classes,
        input_size=size,
        any_size=fixed is None,
        resize=preparation.resize,
        interpolation=preparation.interpolation,
        license=checkpoint.license,
        parity=parity,
        pipeline=pipeline,
        notes=(*checkpoint.notes, *preparation.notes),
    )


def _contract(
    checkpoint: HfCheckpoint, preparation: HfPreparation, align_corners: bool
) -> dict[str, Any]:
    size = preparation.input_size
    return {
        "format": 1,
        "classes": list(checkpoint.classes),
        "ignore_index": checkpoint.ignore_index,
        "input_format": "rgb8",
        "input_size": None if size is None else list(size),
        "resize": preparation.resize,
        "interpolation": preparation.interpolation,
        "align_corners": align_corners,
        "output_kind": "logits",
        "activation": "sigmoid" if checkpoint.channels == 1 else "softmax",
        "precision": "fp32",
        "provenance": {
            "source": "transformers",
            "checkpoint": checkpoint.folder.resolve().name,
            "architecture": checkpoint.architecture,
            "weights_sha256": checkpoint.weights_sha256,
            "license": checkpoint.license,
            "do_reduce_labels": bool(getattr(checkpoint.processor, "do_reduce_labels", False)),
            "deal": __version__,
            "transformers": transformers.__version__,
            "torch": torch.__version__,
        },
    }


class _OwnGrid(torch.nn.Module):
    """A network up to the module that gives its logits, before they are resized to the input."""

    def __init__(self, network: torch.nn.Module, head: str) -> None:
        super().__init__()
        self.network = network
        self.head = head

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        found: list[torch.Tensor] = []
        handle = self.network.get_submodule(self.head).register_forward_hook(
            lambda _, __, output: found.append(output)
        )
        try:
            self.network(pixels)
        finally:
            handle.remove()
        return found[0]


@torch.inference_mode()
def _at_own_grid(checkpoint: HfCheckpoint, size: Size) -> tuple[torch.nn.Module, bool]:
    """The network without a resize of its logits to the input, and ``align_corners``.

    Scoring does such a resize itself, at no cost in memory. What transformers does with smaller
    logits, in ``post_process_semantic_segmentation``, is ``align_corners=False``.
    """
    network = checkpoint.network
    outputs: dict[str, torch.Tensor] = {}

    def note(name: str) -> Any:
        def hook(_: torch.nn.Module, __: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor) and output.ndim == 4:
                outputs[name] = output

        return hook

    handles = [module.register_forward_hook(note(name)) for name, module in network.named_modules()]
    noise = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
    try:
        logits = network(noise).logits
    except (RuntimeError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise ModelError(
            f"{checkpoint.architecture} cannot run on images of {size[0]}×{size[1]} (H×W): "
            f"{reason}. Give another --input-size, such as the one of the training"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    if logits.shape[2:] != noise.shape[2:]:
        return network, False
    for name, output in reversed(outputs.items()):
        if output.shape[1] != logits.shape[1] or output.shape[2:] == logits.shape[2:]:
            continue
        for align_corners in (False, True):
            resized = F.interpolate(output, size, mode="bilinear", align_corners=align_corners)
            if torch.allclose(resized, logits, rtol=1e-5, atol=1e-6 * float(logits.abs().max())):
                return _OwnGrid(network, name), align_corners
    return network, False
