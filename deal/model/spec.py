"""The model contract: what deal must know of a segmentation network to score with it.

The facts come from three places, later ones winning key by key: ``metadata_props["deal"]`` inside
the ONNX file (written by ``deal export``), a side-car ``MODEL.json`` beside ``MODEL.onnx``, and
options of the caller. A model of somebody else needs at least ``classes``; ``mean`` and ``std`` too
where its input is floating, since a wrong guess there would go unnoticed.

======================  ===============================================================  ==========
key                     value                                                            default
======================  ===============================================================  ==========
``format``              1                                                                1
``classes``             names in the order of the channels, or how many there are        required
``palette``             ``[[r, g, b], …]`` in 0…255, one a class                         null
``ignore_index``        label of void pixels in the training data                        null
``input_format``        ``rgb8`` or ``bgr8`` for uint8 [N,H,W,3]; ``float-rgb`` or       by the
                        ``float-bgr`` for float [N,3,H,W]                                graph
``input_size``          ``[H, W]``, or null: any size                                    the graph's
``size_multiple``       H and W are multiples of it                                      1
``resize``              ``stretch``, or ``none``: refuse images of another size          stretch
``interpolation``       ``bilinear-antialias``, ``bicubic-antialias``, ``nearest``       the first
``mean``, ``std``       of 0…1, in the channel order of ``input_format``; null with      required
                        ``rgb8`` and ``bgr8``                                            if float
``align_corners``       sampling of logits → raster, as PyTorch's ``interpolate``        false
``output_kind``         ``logits`` or ``probabilities``                                  logits
``activation``          ``softmax``, or ``sigmoid`` for one channel: two classes         softmax
``difficulty_head``     ``{"gamma", "weight", "bias", "grid"}`` (and, of heads that      null
                        have it, ``"uncertainty_weight"``), as ``DifficultyHead``
``dropout``             ``[{"input", "channels", "rate"}, …]``: inputs [1,C,1,1] that    none
                        are masks of dropout layers
``precision``           ``fp32``, ``fp16``, ``bf16`` or ``int8``: what it was made as;    null
                        null: not recorded
``provenance``          any object: where the model comes from                           {}
``output``              name of the output to use                                        ``logits``
======================  ===============================================================  ==========

The two antialiased filters are Pillow's: plain interpolation when enlarging, support widened by the
scale when shrinking (torchvision's ``antialias=True``); rows first, then columns, 8 bits between.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deal.errors import ItemError, ModelError, UsageError
from deal.model.dropout import DropoutLayer
from deal.model.graph import SIDE_OUTPUTS, image_input, input_size, logits_output, without_masks
from deal.model.head import DifficultyHead
from deal.model.header import OnnxHeader, read_header
from deal.model.keys import checked

__all__ = [
    "METADATA_KEY",
    "ModelSpec",
    "check_channels",
    "choose_difficulty",
    "contract_values",
    "nearest_multiple",
    "raster_size",
    "read_spec",
    "resolve_spec",
]

METADATA_KEY = "deal"
"""Key of ``metadata_props`` that holds the contract as JSON."""

# Keys of ModelSpec that change a stored number for one and the same file.
_NUMBER_KEYS = (
    "input_format",
    "input_size",
    "size_multiple",
    "resize",
    "interpolation",
    "mean",
    "std",
    "align_corners",
    "output_kind",
    "activation",
    "output_name",
)


@dataclass(frozen=True)
class ModelSpec:
    """Everything deal knows of a model; the keys of the contract under their own names.

    Attributes
    ----------
    path : Path
    classes : tuple of str
        Length C. A sigmoid network of one channel has two classes: background, foreground.
    input_dtype : str
        What the graph takes: ``uint8``, ``float32`` or ``float16``.
    input_name, output_name, difficulty_name, embedding_name : str
        Names of graph inputs and outputs; the last two None where the graph has no such output.
    precision : str or None
        ``fp32``, ``fp16``, ``bf16`` or ``int8``; None where nothing says it.
    batch : int or None
        The one batch size the graph takes; None for any.
    external : tuple of str
        Files with external weights, relative to the model's folder.
    """

    path: Path
    classes: tuple[str, ...]
    input_format: str = "rgb8"
    palette: tuple[tuple[int, int, int], ...] | None = None
    ignore_index: int | None = None
    input_size: tuple[int, int] | None = None
    size_multiple: int = 1
    resize: str = "stretch"
    interpolation: str = "bilinear-antialias"
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    align_corners: bool = False
    output_kind: str = "logits"
    activation: str = "softmax"
    difficulty_head: DifficultyHead | None = None
    dropout: tuple[DropoutLayer, ...] = ()
    precision: str | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    input_dtype: str = "uint8"
    input_name: str = "image"
    output_name: str = "logits"
    difficulty_name: str | None = None
    embedding_name: str | None = None
    batch: int | None = None
    external: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        """C, the channels of the logits that engines return."""
        return len(self.classes)

    @property
    def channels(self) -> int:
        """Channels of the graph's own output: C, or 1 with sigmoid."""
        return 1 if self.activation == "sigmoid" else self.num_classes

    @property
    def output_names(self) -> dict[str, str]:
        """The graph's names of ``logits``, ``difficulty`` and ``embedding``, where it has them."""
        names = {
            "logits": self.output_name,
            "difficulty": self.difficulty_name,
            "embedding": self.embedding_name,
        }
        return {role: name for role, name in names.items() if name is not None}

    def number_settings(self) -> dict[str, Any]:
        """Keys that change a stored number for one and the same model file, as JSON values."""
        values = {name: getattr(self, name) for name in _NUMBER_KEYS}
        return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}

    def digest(self) -> str:
        """SHA-256 of the model file and its external weights, in hexadecimal."""
        digest = hashlib.sha256()
        for path in (self.path, *(self.path.parent / name for name in self.external)):
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()


def read_spec(path: str | Path, overrides: Mapping[str, Any] | None = None) -> ModelSpec:
    """Read the contract of an ONNX model without loading its weights.

    Parameters
    ----------
    path : str or Path
    overrides : mapping, optional
        Keys of the contract that win over the side-car and the file's own metadata.

    Raises
    ------
    ModelError
        The file is missing or no ONNX model, or does not keep the contract.
    UsageError
        An override is unknown or malformed.
    """
    path = Path(path)
    header = read_header(path)
    return resolve_spec(path, _metadata(path, header), header, overrides)


def contract_values(path: str | Path) -> dict[str, Any]:
    """Keys of the contract as a model's metadata and side-car hold them, as JSON values.

    Raises ModelError where either cannot be read.
    """
    path = Path(path)
    return {**_metadata(path, read_header(path)), **(_side_car(path) or {})}


def resolve_spec(
    path: Path,
    metadata: Mapping[str, Any],
    header: OnnxHeader,
    overrides: Mapping[str, Any] | None = None,
) -> ModelSpec:
    """Merge metadata, side-car and overrides, and hold them against the graph.

    Raises as :func:`read_spec` does.
    """
    values = checked(metadata, f"metadata of {path}")
    side_car = _side_car(path)
    if side_car is not None:
        values |= checked(side_car, str(path.with_suffix(".json")))
    try:
        values |= checked(overrides or {}, "model options")
    except ModelError as error:
        raise UsageError(str(error)) from error
    values.pop("format", None)
    if "classes" not in values:
        raise ModelError(
            f"model {path} does not say its classes: give the model option classes (names, or "
            f'their number), or write {path.with_suffix(".json")} with {{"classes": […]}}'
        )
    wanted = values.pop("output", None)
    graph_input = image_input(path, without_masks(path, header.inputs, values.get("dropout", ())))
    output = logits_output(path, header.outputs, wanted)
    names = {info.name for info in header.outputs}
    found = {name: name if name in names else None for name in SIDE_OUTPUTS}
    values.setdefault("input_format", "rgb8" if graph_input.dtype == "uint8" else "float-rgb")
    spec = ModelSpec(
        path=path,
        input_dtype=graph_input.dtype,
        input_name=graph_input.name,
        output_name=output.name,
        difficulty_name=found["difficulty"],
        embedding_name=found["embedding"],
        batch=(graph_input.shape or (None,))[0],
        external=header.external,
        **(values | {"input_size": input_size(path, values, graph_input)}),
    )
    _check_together(spec)
    if output.shape is not None and output.shape[1] is not None:
        check_channels(spec, output.shape[1])
    return spec


def raster_size(spec: ModelSpec, height: int, width: int) -> tuple[int, int]:
    """Size (H, W) at which the network sees an image of ``height`` × ``width`` pixels.

    ``input_size`` where there is one; else the image's own size, with ``stretch`` rounded to the
    nearest multiple of ``size_multiple``, at least one.

    Raises
    ------
    ItemError
        Code ``size``: the model does not resize and cannot take this size.
    """
    multiple = spec.size_multiple
    if spec.resize == "stretch":
        if spec.input_size is not None:
            return spec.input_size
        return nearest_multiple(height, multiple), nearest_multiple(width, multiple)
    if spec.input_size is not None and spec.input_size != (height, width):
        need = f"{spec.input_size[0]}×{spec.input_size[1]}"
    elif height % multiple or width % multiple:
        need = f"multiples of {multiple}"
    else:
        return height, width
    raise ItemError(
        "size", f"the image is {height}×{width} (H×W) and the model takes {need} without resizing"
    )


def check_channels(spec: ModelSpec, channels: int) -> None:
    """Hold the channels of the graph's output against ``classes``; raises ModelError."""
    if channels == spec.channels:
        return
    if spec.activation == "sigmoid":
        raise ModelError(
            f"model {spec.path}: output {spec.output_name!r} has {channels} channels with a "
            "sigmoid, one yes or no a class; deal scores one class a pixel: re-export with a "
            "softmax, or with one channel"
        )
    hint = "; for one channel set activation to sigmoid" if channels == 1 else ""
    raise ModelError(
        f"model {spec.path}: output {spec.output_name!r} has {channels} channels but classes names "
        f"{spec.num_classes}: correct classes in the metadata, side-car or options{hint}"
    )


def choose_difficulty(
    spec: ModelSpec, option: DifficultyHead | str | Path | None
) -> tuple[DifficultyHead | None, bool]:
    """The head that counts, and whether the graph's own difficulty does instead.

    The option wins over the graph, which wins over the metadata. ModelError for an option of
    another number of classes.
    """
    if option is None:
        from_graph = spec.difficulty_name is not None
        return (None if from_graph else spec.difficulty_head), from_graph
    head = option if isinstance(option, DifficultyHead) else DifficultyHead.load(option)
    if head.num_classes != spec.num_classes:
        raise ModelError(
            f"the difficulty head has {head.num_classes} weights, model {spec.path} "
            f"{spec.num_classes} classes: give a head that was fitted on this model"
        )
    return head, False


def nearest_multiple(length: int, multiple: int) -> int:
    """The multiple of ``multiple`` nearest to ``length``, at least one."""
    return max((length + multiple // 2) // multiple, 1) * multiple


def _check_together(spec: ModelSpec) -> None:
    """What no key can be checked for alone."""
    where = f"model {spec.path}"
    is_float = spec.input_format.startswith("float")
    if is_float == (spec.input_dtype == "uint8"):
        raise ModelError(
            f"{where}: input_format {spec.input_format} does not go with its {spec.input_dtype} "
            f"input; use {'rgb8 or bgr8' if is_float else 'float-rgb or float-bgr'}"
        )
    if is_float and (spec.mean is None or spec.std is None):
        raise ModelError(
            f"{where} takes float images: give mean and std (of 0…1) as it was trained, for "
            "example mean [0.485, 0.456, 0.406] and std [0.229, 0.224, 0.225]; "
            "[0, 0, 0] and [1, 1, 1] if it normalises by itself"
        )
    if not is_float and not (spec.mean is None and spec.std is None):
        raise ModelError(f"{where} takes uint8 and normalises by itself: leave out mean and std")
    if spec.input_size is not None and any(n % spec.size_multiple for n in spec.input_size):
        raise ModelError(
            f"{where}: input_size {list(spec.input_size)} is no multiple of size_multiple "
            f"{spec.size_multiple}"
        )
    if spec.activation == "sigmoid" and spec.num_classes != 2:
        raise ModelError(
            f"{where}: activation sigmoid means one channel and two classes, background and "
            f"foreground; classes names {spec.num_classes}. Networks with a sigmoid for each of "
            "several classes are not supported: re-export with a softmax"
        )
    if spec.palette is not None and len(spec.palette) != spec.num_classes:
        raise ModelError(
            f"{where}: palette has {len(spec.palette)} colours for {spec.num_classes} classes"
        )
    head = spec.difficulty_head
    if head is not None and head.num_classes != spec.num_classes:
        raise ModelError(
            f"{where}: difficulty_head has {head.num_classes} weights for {spec.num_classes} "
            "classes: fit it on this model's logits"
        )


def _metadata(path: Path, header: OnnxHeader) -> Mapping[str, Any]:
    text = header.metadata.get(METADATA_KEY)
    return {} if text is None else _parse_json(text, f"metadata of {path}")


def _side_car(path: Path) -> Mapping[str, Any] | None:
    side_car = path.with_suffix(".json")
    if not side_car.is_file():
        return None
    try:
        text = side_car.read_bytes()
    except OSError as error:
        raise ModelError(f"side-car {side_car}: {error.strerror}") from error
    return _parse_json(text, str(side_car))


def _parse_json(text: str | bytes, source: str) -> Mapping[str, Any]:
    try:
        values = json.loads(text)
    except ValueError as error:
        raise ModelError(f"{source} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ModelError(f"{source}: expected a JSON object, not {type(values).__name__}")
    return values
