"""Inputs and outputs of a graph: which is the image, which are masks, which the logits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deal.errors import ModelError
from deal.model.dropout import DropoutLayer
from deal.model.header import TensorInfo

__all__ = [
    "SIDE_OUTPUTS",
    "image_input",
    "input_size",
    "logits_output",
    "output_remedy",
    "without_masks",
]

SIDE_OUTPUTS = ("difficulty", "embedding")
"""Outputs that are known by their names and cannot be the logits."""

_FLOATS = ("float32", "float16")


def without_masks(
    path: Path, inputs: tuple[TensorInfo, ...], dropout: tuple[DropoutLayer, ...]
) -> tuple[TensorInfo, ...]:
    """Inputs that are no masks, once every dropout layer has its own (ModelError)."""
    shapes = {info.name: info for info in inputs}
    for layer in dropout:
        mask = TensorInfo(layer.input, "float32", (1, layer.channels, 1, 1))
        if shapes.pop(layer.input, None) != mask:
            raise ModelError(
                f"model {path}: dropout names the input {_shape_text(mask)} and the graph has "
                f"{', '.join(map(_shape_text, inputs))}: correct dropout in the metadata or "
                "side-car, or make the model with deal export --dropout"
            )
    return tuple(shapes.values())


def image_input(path: Path, inputs: tuple[TensorInfo, ...]) -> TensorInfo:
    """The one input left beside masks, if it can be an image (ModelError)."""
    need = "deal feeds one image, uint8 [N,H,W,3] or float [N,3,H,W]: re-export it so"
    listed = ", ".join(map(_shape_text, inputs)) or "none"
    if len(inputs) != 1:
        raise ModelError(f"model {path} has the inputs {listed}; {need}")
    image = inputs[0]
    if image.shape is not None and len(image.shape) == 4:
        second, last = image.shape[1], image.shape[3]
        if image.dtype == "uint8" and (last == 3 or (last is None and second != 3)):
            return image
        if image.dtype in _FLOATS and (second == 3 or (second is None and last != 3)):
            return image
    raise ModelError(f"model {path} has the input {listed}; {need}")


def logits_output(path: Path, outputs: tuple[TensorInfo, ...], wanted: str | None) -> TensorInfo:
    """The output named ``wanted`` or ``logits``, or the only one possible (ModelError)."""
    listed = ", ".join(map(_shape_text, outputs))
    by_name = {info.name: info for info in outputs}
    if wanted is not None and wanted not in by_name:
        raise ModelError(f"model {path} has no output {wanted!r}; it has {listed}")
    name = wanted or ("logits" if "logits" in by_name else None)
    candidates = [info for info in outputs if info.name not in SIDE_OUTPUTS]
    if name is not None:
        candidates = [by_name[name]]
    usable = [info for info in candidates if _may_be_logits(info)]
    if len(usable) == 1:
        return usable[0]
    if usable:
        raise ModelError(
            f"model {path} has several outputs that could be logits, {listed}: name one with the "
            "model option output"
        )
    raise ModelError(
        f"model {path} has no float32 or float16 output [N,C,h,w], it has {listed}: "
        + output_remedy(any(_is_label_map(info) for info in candidates))
    )


def input_size(
    path: Path, values: Mapping[str, Any], graph_input: TensorInfo
) -> tuple[int, int] | None:
    """Input size [H, W] by contract and graph, None for any; ModelError where they disagree."""
    assert graph_input.shape is not None
    axes = (1, 2) if graph_input.dtype == "uint8" else (2, 3)
    fixed = graph_input.shape[axes[0]], graph_input.shape[axes[1]]
    size: tuple[int, int] | None = values.get("input_size")
    if size is None:
        if fixed[0] is not None and fixed[1] is not None:
            return fixed[0], fixed[1]
        if fixed == (None, None):
            return None
    elif all(want is None or want == have for want, have in zip(fixed, size, strict=True)):
        return size
    raise ModelError(
        f"model {path}: the graph takes {_shape_text(graph_input)}, input_size says {size}: "
        "set input_size to what the graph takes"
    )


def output_remedy(is_label_map: bool) -> str:
    """What to do about an output that cannot be logits."""
    if is_label_map:
        return "argmax is baked in; re-export the logits without it (mmdeploy: with_argmax=False)"
    return "re-export the logits so"


def _is_label_map(info: TensorInfo) -> bool:
    is_integer = info.dtype.startswith(("int", "uint", "bool"))
    return is_integer or (info.shape is not None and len(info.shape) == 3)


def _may_be_logits(info: TensorInfo) -> bool:
    return info.dtype in _FLOATS and (info.shape is None or len(info.shape) == 4)


def _shape_text(info: TensorInfo) -> str:
    dims = "?" if info.shape is None else ",".join("?" if n is None else str(n) for n in info.shape)
    return f"{info.name!r} ({info.dtype} [{dims}])"
