"""Checks of the keys of a model contract against each other and against the graph."""

from __future__ import annotations

from collections.abc import Iterator

from deal.errors import ModelError
from deal.model.record import ModelSpec

__all__ = ["check_channels", "inconsistencies"]


def check_channels(spec: ModelSpec, channels: int) -> None:
    """Compare the channels of the graph's output with ``classes``; raises ModelError."""
    if channels == spec.channels:
        return
    if spec.activation == "sigmoid":
        raise ModelError(
            f"model {spec.path}: output {spec.output_name!r} has {channels} channels with a "
            "sigmoid, which decides each class separately; deal needs one class per pixel: "
            "re-export with a softmax, or with one channel"
        )
    remedy = (
        "if each channel is a class, correct classes in the metadata, side-car or options; if the "
        "channels are queries or prototypes of masks, the network is not a semantic segmentation "
        "network and cannot be scored"
    )
    if channels == 1:
        remedy = "for one channel set activation to sigmoid, and name two classes"
    raise ModelError(
        f"model {spec.path}: output {spec.output_name!r} has {channels} channels but classes names "
        f"{spec.num_classes}: {remedy}"
    )


def inconsistencies(spec: ModelSpec, channels: int | None) -> Iterator[ModelError]:
    """Yield an error for each pair of keys that contradict each other, and for wrong channels."""
    where = f"model {spec.path}"
    is_float = spec.input_format.startswith("float")
    if is_float == (spec.input_dtype == "uint8"):
        yield ModelError(
            f"{where}: input_format {spec.input_format} does not fit its {spec.input_dtype} "
            f"input; use {'rgb8 or bgr8' if is_float else 'float-rgb or float-bgr'}"
        )
    if is_float and (spec.mean is None or spec.std is None):
        yield ModelError(
            f"{where} takes float images: give the mean and std (of 0…1) of its training, for "
            "example mean [0.485, 0.456, 0.406] and std [0.229, 0.224, 0.225]; "
            "[0, 0, 0] and [1, 1, 1] if the graph normalises"
        )
    if not is_float and not (spec.mean is None and spec.std is None):
        yield ModelError(f"{where} takes uint8, so the graph normalises: leave out mean and std")
    if spec.input_size is not None and any(n % spec.size_multiple for n in spec.input_size):
        yield ModelError(
            f"{where}: input_size {list(spec.input_size)} is not a multiple of size_multiple "
            f"{spec.size_multiple}"
        )
    if spec.activation == "sigmoid" and spec.num_classes != 2:
        yield ModelError(
            f"{where}: activation sigmoid means one channel and two classes, background and "
            f"foreground; classes names {spec.num_classes}. Networks with a sigmoid for each of "
            "several classes are not supported: re-export with a softmax"
        )
    if spec.activation == "softmax" and spec.num_classes == 1:
        yield ModelError(
            f"{where}: one class under a softmax has probability 1 everywhere, so every score "
            "would be 0: name two classes, background first, and set activation to sigmoid"
        )
    if spec.palette is not None and len(spec.palette) != spec.num_classes:
        yield ModelError(
            f"{where}: palette has {len(spec.palette)} colours for {spec.num_classes} classes"
        )
    head = spec.difficulty_head
    if head is not None and head.num_classes != spec.num_classes:
        yield ModelError(
            f"{where}: difficulty_head has {head.num_classes} weights for {spec.num_classes} "
            "classes: fit it on this model's logits"
        )
    if channels is not None:
        try:
            check_channels(spec, channels)
        except ModelError as error:
            yield error
