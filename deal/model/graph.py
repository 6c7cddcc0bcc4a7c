"""Find the image and the masks among a graph's inputs, and the logits among its outputs."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from deal.errors import ModelError
from deal.model.dropout import DropoutLayer
from deal.model.header import TensorInfo
from deal.model.keys import LARGEST_BATCH, LARGEST_INPUT, LARGEST_SIDE

__all__ = [
    "INPUT_DTYPES",
    "OUTPUT_DTYPES",
    "SIDE_OUTPUTS",
    "image_input",
    "input_layout",
    "input_size",
    "logits_output",
    "output_layout",
    "output_remedy",
    "shape_text",
    "without_masks",
]

SIDE_OUTPUTS = ("difficulty", "embedding")
"""Names of outputs that have another meaning and cannot be the logits."""

INPUT_DTYPES = ("uint8", "float32", "float16", "float64")
OUTPUT_DTYPES = ("float32", "float16", "bfloat16", "float64")


def without_masks(
    path: Path, inputs: tuple[TensorInfo, ...], dropout: tuple[DropoutLayer, ...]
) -> tuple[TensorInfo, ...]:
    """Inputs that are not masks; ModelError unless every dropout layer has its mask."""
    shapes = {info.name: info for info in inputs}
    for layer in dropout:
        mask = TensorInfo(layer.input, "float32", (1, layer.channels, 1, 1))
        if shapes.pop(layer.input, None) != mask:
            raise ModelError(
                f"model {path}: dropout names the input {shape_text(mask)}, but the graph has "
                f"{', '.join(map(shape_text, inputs))}: correct dropout in the metadata or "
                "side-car, or make the model with deal export --dropout"
            )
    return tuple(shapes.values())


def image_input(path: Path, inputs: tuple[TensorInfo, ...], layout: str | None) -> TensorInfo:
    """The only input besides the masks; ModelError unless it can be an image.

    ``layout`` is the layout that the contract states, or None.
    """
    need = "deal needs one image input, uint8 or float, [N,H,W,3] or [N,3,H,W]: re-export it so"
    listed = ", ".join(map(shape_text, inputs)) or "none"
    if len(inputs) != 1:
        raise ModelError(f"model {path} has the inputs {listed}; {need}")
    image = inputs[0]
    is_image = image.shape is not None and len(image.shape) == 4 and image.dtype in INPUT_DTYPES
    if is_image and image.shape is not None:
        channels = image.shape[3 if input_layout(image, layout) == "nhwc" else 1]
        if channels in (3, None):
            _check_sizes(path, image)
            return image
    raise ModelError(f"model {path} has the input {listed}; {need}")


def input_layout(image: TensorInfo, stated: str | None = None) -> str:
    """``nhwc`` or ``nchw``: as stated, else by the axis of 3 channels, else by the dtype.

    If both axes could be the channels, or neither has a known length, uint8 is taken as NHWC and
    floating input as NCHW, as exporters usually write them.
    """
    usual = "nhwc" if image.dtype == "uint8" else "nchw"
    if stated is not None or image.shape is None or len(image.shape) != 4:
        return stated or usual
    second, last = image.shape[1], image.shape[3]
    if (second == 3) != (last == 3):
        return "nchw" if second == 3 else "nhwc"
    return usual


def output_layout(output: TensorInfo, channels: int, stated: str | None = None) -> str:
    """``nchw`` or ``nhwc``: as stated, else by the axis of ``channels``; ``nchw`` if unclear."""
    if stated is None and output.shape is not None and len(output.shape) == 4:
        second, last = output.shape[1], output.shape[3]
        if last == channels and second != channels and second is not None:
            return "nhwc"
    return stated or "nchw"


def logits_output(path: Path, outputs: tuple[TensorInfo, ...], wanted: str | None) -> TensorInfo:
    """The output named ``wanted`` or ``logits``, or the only possible one (ModelError)."""
    listed = ", ".join(map(shape_text, outputs))
    by_name = {info.name: info for info in outputs}
    if wanted is not None and wanted not in by_name:
        raise ModelError(f"model {path} has no output {wanted!r}; it has {listed}")
    candidates = [info for info in outputs if info.name not in SIDE_OUTPUTS]
    name = wanted or ("logits" if "logits" in by_name else None)
    _refuse_instances(path, candidates, name is not None)
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
        f"model {path} has no floating output [N,C,h,w] or [N,h,w,C], it has {listed}: "
        + output_remedy(any(_is_label_map(info) for info in candidates))
    )


def _refuse_instances(path: Path, outputs: list[TensorInfo], is_named: bool) -> None:
    """Refuse networks whose maps are masks of queries or prototypes instead of classes."""
    lists = [info for info in outputs if _is_floating(info, 3)]
    maps = [info for info in outputs if _is_floating(info, 4)]
    for listed, map_ in ((a, b) for a in lists for b in maps):
        count, channels = ((info.shape or (None, None))[1] for info in (listed, map_))
        seem_alike = count is not None and count == channels and not is_named
        both = f"{shape_text(listed)} beside {shape_text(map_)}"
        if "quer" in listed.name + map_.name or seem_alike:
            raise ModelError(
                f"model {path} gives {both}: it seems to be a query-based network (MaskFormer, "
                "Mask2Former, OneFormer), whose maps belong to queries and not to classes: "
                "export a map for each class, Σ softmax(classes) · sigmoid(masks) over the queries "
                "divided by the sum of these maps over the classes, with output_kind probabilities"
            )
        if not is_named:
            raise ModelError(
                f"model {path} gives {both}: it seems to be a network that finds objects "
                "(YOLO-seg, YOLACT), whose maps are prototypes of masks and not classes: deal "
                "needs a semantic segmentation network. Only if the maps are classes, give the "
                f"model option output={map_.name}"
            )


def input_size(
    path: Path, values: Mapping[str, Any], graph_input: TensorInfo
) -> tuple[int, int] | None:
    """Input size [H, W] by contract and graph, None for any; ModelError if they disagree."""
    assert graph_input.shape is not None
    is_nhwc = input_layout(graph_input, values.get("input_layout")) == "nhwc"
    axes = (1, 2) if is_nhwc else (2, 3)
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
        f"model {path}: the graph takes {shape_text(graph_input)}, but input_size is {size}: "
        "set input_size to the size that the graph takes"
    )


def _check_sizes(path: Path, image: TensorInfo) -> None:
    """Refuse an input that is too large to be an image."""
    assert image.shape is not None
    batch, *rest = (size or 1 for size in image.shape)
    if max(rest) > LARGEST_SIDE or prod(rest) > 3 * LARGEST_INPUT or batch > LARGEST_BATCH:
        raise ModelError(
            f"model {path} has the input {shape_text(image)}, larger than any image "
            f"({LARGEST_SIDE} pixels per side, {LARGEST_INPUT} in all, batches of "
            f"{LARGEST_BATCH}): re-export it for the size of your images"
        )


def output_remedy(is_label_map: bool) -> str:
    """The remedy for an output that cannot be logits."""
    if is_label_map:
        return "argmax is baked in; re-export the logits without it (mmdeploy: with_argmax=False)"
    return "re-export the logits so"


def _is_label_map(info: TensorInfo) -> bool:
    is_integer = info.dtype.startswith(("int", "uint", "bool"))
    return is_integer or (info.shape is not None and len(info.shape) == 3)


def _may_be_logits(info: TensorInfo) -> bool:
    return info.dtype in OUTPUT_DTYPES and (info.shape is None or len(info.shape) == 4)


def _is_floating(info: TensorInfo, rank: int) -> bool:
    return info.dtype in OUTPUT_DTYPES and info.shape is not None and len(info.shape) == rank


def shape_text(info: TensorInfo) -> str:
    """Name, dtype and shape of a tensor, for errors."""
    dims = "?" if info.shape is None else ",".join("?" if n is None else str(n) for n in info.shape)
    return f"{info.name!r} ({info.dtype} [{dims}])"
