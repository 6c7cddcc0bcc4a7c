"""The model contract: the facts that deal needs to score with a segmentation network.

The facts come from three places, and later ones replace earlier ones key by key:
``metadata_props["deal"]`` inside the ONNX file (written by ``deal export``), a side-car
``MODEL.json`` beside ``MODEL.onnx``, and options of the caller. A model that deal did not export
needs at least ``classes``, and also ``mean`` and ``std`` if its input is floating, since a wrong
guess would go unnoticed. ``deal check`` lists everything that is missing and drafts the side-car.
Both kinds of JSON are read strictly: no repeated key, finite numbers, at most 64 levels of nesting.

======================  ===============================================================  ==========
key                     value                                                            default
======================  ===============================================================  ==========
``format``              1                                                                1
``classes``             names in the order of the channels, or their number; at most     required
                        256
``palette``             ``[[r, g, b], …]`` in 0…255, one per class                       null
``ignore_index``        label of void pixels in the training data                        null
``input_format``        ``rgb8`` or ``bgr8`` for uint8 input; ``float-rgb`` or           by the
                        ``float-bgr`` for floating input                                 graph
``input_layout``        ``nhwc`` ([N,H,W,3]) or ``nchw`` ([N,3,H,W])                     the graph's
``output_layout``       ``nchw`` ([N,C,h,w]) or ``nhwc`` ([N,h,w,C])                     the graph's
``input_size``          ``[H, W]``, or null: any size                                    the graph's
``size_multiple``       H and W of the input are multiples of this number                1
``batch``               images that the graph takes at once, if it does not say          the graph's
``resize``              ``stretch``; ``letterbox``: fit in and pad; ``crop``: cover      stretch
                        and cut off; ``none``: refuse images of another size
``pad_value``           for ``letterbox``: a level of 0…255, or ``[r, g, b]``            114
``pad_position``        for ``letterbox``: image in the ``center`` or ``top-left``       center
``interpolation``       ``bilinear-antialias``, ``bicubic-antialias``, ``nearest``       the first
``mean``, ``std``       for levels 0…1, in the channel order of ``input_format``; null   required
                        with ``rgb8`` and ``bgr8``                                       if float
``align_corners``       sampling of logits → raster, as PyTorch's ``interpolate``        false
``output_kind``         ``logits`` or ``probabilities``                                  logits
``activation``          ``softmax``, or ``sigmoid`` for one channel: two classes         softmax
``difficulty_head``     ``{"gamma", "weight", "bias", "grid"}``, some heads with         null
                        ``"uncertainty_weight"``: :class:`deal.DifficultyHead`
``dropout``             ``[{"input", "channels", "rate"}, …]``: inputs [1,C,1,1] that    none
                        are masks of dropout layers
``precision``           ``fp32``, ``fp16``, ``bf16`` or ``int8``: as it was exported;    null
                        null: not recorded
``provenance``          any object: where the model comes from                           {}
``output``              name of the output to use                                        ``logits``
======================  ===============================================================  ==========

The two antialiased filters are Pillow's: plain interpolation when enlarging, support widened by the
scale when shrinking (torchvision's ``antialias=True``). They filter rows first, then columns, and
round to 8 bits in between.

``letterbox`` rounds and centres as Ultralytics does, ``crop`` as torchvision's ``Resize`` and
``CenterCrop``. Without ``input_size`` images are not scaled but padded up, or cut down, to
multiples of ``size_multiple``. Padding is masked, and parts that are cut off do not count. Boxes
and outlines of regions are in pixels of the original image in every case.

Inputs are uint8, float32, float16 or float64. Outputs are float32, float16, float64 or bfloat16;
float64 and bfloat16 are scored as float32.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from deal.errors import ModelError, UsageError
from deal.model.consistency import inconsistencies
from deal.model.graph import (
    SIDE_OUTPUTS,
    image_input,
    input_layout,
    input_size,
    logits_output,
    output_layout,
    without_masks,
)
from deal.model.head import DifficultyHead
from deal.model.header import OnnxHeader, read_header
from deal.model.keys import checked
from deal.model.record import ModelSpec
from deal.model.strict_json import json_object, read_json_object, shown

__all__ = [
    "METADATA_KEY",
    "ModelSpec",
    "choose_difficulty",
    "contract_sources",
    "contract_values",
    "drawn_spec",
    "read_spec",
    "resolve_spec",
    "spec_of",
]

METADATA_KEY = "deal"
"""Key of ``metadata_props`` that holds the contract as JSON."""


def read_spec(path: str | Path, overrides: Mapping[str, Any] | None = None) -> ModelSpec:
    """Read the contract of an ONNX model without loading its weights.

    Parameters
    ----------
    path : str or Path
    overrides : mapping, optional
        Keys of the contract that replace those of the side-car and the file's metadata.

    Raises
    ------
    ModelError
        The file is missing, is not an ONNX model, or breaks the contract.
    UsageError
        An override is unknown or malformed.
    """
    path = Path(path)
    header = read_header(path)
    return resolve_spec(path, _metadata(path, header), header, overrides)


def contract_values(path: str | Path) -> dict[str, Any]:
    """Keys of the contract from a model's metadata and side-car, as JSON values.

    Raises ModelError if either cannot be read.
    """
    path = Path(path)
    return {**_metadata(path, read_header(path)), **(_side_car(path) or {})}


def contract_sources(path: Path, header: OnnxHeader) -> list[tuple[str, Any]]:
    """The sources of a model's contract and their JSON values; later ones replace earlier ones.

    A source that cannot be read has a ModelError instead of values.
    """
    sources: list[tuple[str, Any]] = []
    for name, read in (
        (f"metadata of {path}", partial(_metadata, path, header)),
        (str(path.with_suffix(".json")), partial(_side_car, path)),
    ):
        try:
            sources.append((name, read() or {}))
        except ModelError as error:
            sources.append((name, error))
    return sources


def resolve_spec(
    path: Path,
    metadata: Mapping[str, Any],
    header: OnnxHeader,
    overrides: Mapping[str, Any] | None = None,
) -> ModelSpec:
    """Merge metadata, side-car and overrides, and check them against the graph.

    Raises the errors of :func:`read_spec`.
    """
    values = checked(metadata, f"metadata of {path}")
    side_car = _side_car(path)
    if side_car is not None:
        values |= checked(side_car, str(path.with_suffix(".json")))
    try:
        values |= checked(overrides or {}, "model options")
    except ModelError as error:
        raise UsageError(str(error)) from error
    return spec_of(path, values, header)


def spec_of(path: Path, values: Mapping[str, Any], header: OnnxHeader) -> ModelSpec:
    """Check the keys of a contract against each other and the graph (ModelError)."""
    spec, channels = drawn_spec(path, values, header)
    for error in inconsistencies(spec, channels):
        raise error
    return spec


def drawn_spec(
    path: Path, values: Mapping[str, Any], header: OnnxHeader
) -> tuple[ModelSpec, int | None]:
    """The contract completed from the graph, not yet checked for contradictions (ModelError).

    Also returns the channels of the output; None if the graph does not say.
    """
    values = dict(values)
    values.pop("format", None)
    if "classes" not in values:
        raise ModelError(
            f"model {path} does not say its classes: give the model option classes (names, or "
            f'their number), or write {path.with_suffix(".json")} with {{"classes": […]}}'
        )
    stated = frozenset(values)
    wanted = values.pop("output", None)
    images = without_masks(path, header.inputs, values.get("dropout", ()))
    graph_input = image_input(path, images, values.get("input_layout"))
    output = logits_output(path, header.outputs, wanted)
    names = {info.name for info in header.outputs}
    found = {name: name if name in names else None for name in SIDE_OUTPUTS}
    values.setdefault("input_format", "rgb8" if graph_input.dtype == "uint8" else "float-rgb")
    size = input_size(path, values, graph_input)
    channels = 1 if values.get("activation") == "sigmoid" else len(values["classes"])
    given = {
        "input_size": size,
        "input_layout": input_layout(graph_input, values.get("input_layout")),
        "output_layout": output_layout(output, channels, values.get("output_layout")),
        "batch": _batch(path, values.get("batch"), (graph_input.shape or (None,))[0]),
    }
    spec = ModelSpec(
        path=path,
        input_dtype=graph_input.dtype,
        output_dtype=output.dtype,
        input_name=graph_input.name,
        output_name=output.name,
        difficulty_name=found["difficulty"],
        embedding_name=found["embedding"],
        external=header.external,
        stated=stated,
        **(values | given),
    )
    axis = 1 if spec.output_layout == "nchw" else 3
    return spec, None if output.shape is None else output.shape[axis]


def choose_difficulty(
    spec: ModelSpec, option: DifficultyHead | str | Path | None
) -> tuple[DifficultyHead | None, bool]:
    """Return the head to use, or None, and whether the graph's own difficulty is used instead.

    The option comes first, then the graph, then the metadata. ModelError if the option's head has
    another number of classes, UsageError if it is neither a head nor a path.
    """
    if option is None:
        from_graph = spec.difficulty_name is not None
        return (None if from_graph else spec.difficulty_head), from_graph
    if not isinstance(option, (DifficultyHead, str, os.PathLike)):
        raise UsageError(
            f"difficulty_head: a DifficultyHead or the path of a head file is needed, not "
            f"{shown(option)} (DifficultyHead.from_dict reads a dictionary)"
        )
    head = option if isinstance(option, DifficultyHead) else DifficultyHead.load(option)
    if head.num_classes != spec.num_classes:
        raise ModelError(
            f"the difficulty head has {head.num_classes} weights, but model {spec.path} has "
            f"{spec.num_classes} classes: give a head that was fitted on this model"
        )
    return head, False


def _batch(path: Path, stated: int | None, fixed: int | None) -> int | None:
    if stated is None or fixed in (None, stated):
        return stated or fixed
    raise ModelError(f"model {path}: the graph takes batches of {fixed}, but batch is {stated}")


def _metadata(path: Path, header: OnnxHeader) -> Mapping[str, Any]:
    text = header.metadata.get(METADATA_KEY)
    return {} if text is None else json_object(text, f"metadata of {path}")


def _side_car(path: Path) -> Mapping[str, Any] | None:
    side_car = path.with_suffix(".json")
    return read_json_object(side_car, "side-car") if side_car.exists() else None
