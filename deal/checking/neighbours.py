"""Settings of Hugging Face beside a model → keys of the model contract.

``config.json`` names the classes, ``preprocessor_config.json`` says how images were prepared:
https://huggingface.co/docs/transformers/main_classes/image_processor
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deal.errors import ModelError
from deal.model.strict_json import read_json_object

__all__ = ["Neighbours", "read_neighbours"]

_INTERPOLATIONS = {0: "nearest", 2: "bilinear-antialias", 3: "bicubic-antialias"}  # Pillow's
_OF_QUERIES = ("Mask2Former", "MaskFormer", "OneFormer", "Detr")


@dataclass(slots=True)
class Neighbours:
    """What the files beside a model say.

    Attributes
    ----------
    values : dict
        Keys of the contract, as JSON values.
    sources : dict of key to str
        The file that says it.
    doubts : list of str
    """

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)

    def _add(self, file: Path, **values: Any) -> None:
        for key, value in values.items():
            self.values[key] = value
            self.sources[key] = file.name


def read_neighbours(path: Path, *, is_float: bool) -> Neighbours:
    """Read the settings beside the model ``path``, or a folder above where it lies in ``onnx/``.

    ``is_float`` is whether the graph takes floating images, which deal normalises.
    """
    found = Neighbours()
    folders = [path.parent]
    if path.absolute().parent.name == "onnx":
        folders.append(path.absolute().parent.parent)
    for name, read in (("config.json", _classes), ("preprocessor_config.json", _preparation)):
        file = next((f / name for f in folders if (f / name).is_file()), None)
        if file is None or file == path.with_suffix(".json"):
            continue
        try:
            read(file, read_json_object(file, "settings"), found, is_float)
        except (ModelError, TypeError, ValueError, LookupError, ZeroDivisionError) as error:
            found.doubts.append(f"{file} is passed over: {error}")
    return found


def _classes(file: Path, config: Mapping[str, Any], found: Neighbours, is_float: bool) -> None:
    names = config.get("id2label")
    if isinstance(names, Mapping) and names:
        by_index = {int(index): str(name) for index, name in names.items()}
        if sorted(by_index) == list(range(len(by_index))):
            found._add(file, classes=[by_index[index] for index in range(len(by_index))])
        else:
            found.doubts.append(f"{file}: id2label does not number the classes from 0 on")
    ignored = config.get("semantic_loss_ignore_index")
    if isinstance(ignored, int):
        found._add(file, ignore_index=ignored)
    kinds = " ".join(map(str, config.get("architectures") or ()))
    if any(kind in kinds for kind in _OF_QUERIES):
        found.doubts.append(
            f"{file} is of {kinds}, a network of queries: its masks are no maps of classes"
        )


def _preparation(file: Path, config: Mapping[str, Any], found: Neighbours, is_float: bool) -> None:
    if is_float:
        factor = config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 1
        levels = 255 * float(factor)  # what white is before mean and std
        mean, std = [0.0] * 3, [1.0] * 3
        if config.get("do_normalize", True) and "image_mean" in config:
            mean = list(map(float, config["image_mean"]))
            std = list(map(float, config["image_std"]))
        found._add(
            file,
            mean=[round(value / levels, 12) for value in mean],
            std=[round(value / levels, 12) for value in std],
        )
        if config.get("do_flip_channel_order") or config.get("do_convert_bgr"):
            found._add(file, input_format="float-bgr")
    size = _size(config.get("size"))
    if config.get("do_center_crop") and _size(config.get("crop_size")) is not None:
        crop = _size(config.get("crop_size"))
        found._add(file, resize="crop", input_size=crop)
        shortest = size if size is not None else _shortest(config.get("size"))
        if crop is not None and shortest not in (crop, min(crop), None):
            found.doubts.append(
                f"{file} resizes to {config['size']} and crops {config['crop_size']}: deal crops "
                "as much as covers the input, so it sees more of the image"
            )
    elif config.get("do_resize", True) and size is not None:
        found._add(file, resize="stretch", input_size=size)
    elif not config.get("do_resize", True):
        multiple = config.get("size_divisor") or config.get("pad_size_divisor")
        if isinstance(multiple, int):
            found._add(file, resize="letterbox", pad_position="top-left", size_multiple=multiple)
    if config.get("resample") in _INTERPOLATIONS:
        found._add(file, interpolation=_INTERPOLATIONS[config["resample"]])


def _size(size: Any) -> list[int] | None:
    if isinstance(size, int):
        return [size, size]
    if isinstance(size, Mapping) and {"height", "width"} <= set(size):
        return [int(size["height"]), int(size["width"])]
    return None


def _shortest(size: Any) -> int | None:
    return size.get("shortest_edge") if isinstance(size, Mapping) else None
