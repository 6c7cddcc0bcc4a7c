"""The record of a model contract: the facts about one segmentation network."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deal.model.dropout import DropoutLayer
from deal.model.head import DifficultyHead

__all__ = ["ModelSpec"]

# Keys of ModelSpec that change a stored number although the model file is the same.
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
    """All facts about a model; keys of the contract keep their names (:mod:`deal.model.spec`).

    Attributes
    ----------
    path : Path
    classes : tuple of str
        Length C. A sigmoid network of one channel has two classes: background, foreground.
    input_dtype, output_dtype : str
        Dtypes of the graph's input (``uint8``, ``float32``, ``float16`` or ``float64``) and output
        (``float32``, ``float16``, ``float64`` or ``bfloat16``).
    input_name, output_name, difficulty_name, embedding_name : str
        Names of graph inputs and outputs; the last two are None if the graph has no such output.
    precision : str or None
        ``fp32``, ``fp16``, ``bf16`` or ``int8``; None if it is not recorded.
    batch : int or None
        The only batch size that the graph takes; None for any.
    external : tuple of str
        Files with external weights, relative to the model's folder.
    stated : frozenset of str
        Keys of the contract that metadata, side-car or options give; the others are assumed.
    """

    path: Path
    classes: tuple[str, ...]
    input_format: str = "rgb8"
    palette: tuple[tuple[int, int, int], ...] | None = None
    ignore_index: int | None = None
    input_layout: str = "nhwc"
    output_layout: str = "nchw"
    input_size: tuple[int, int] | None = None
    size_multiple: int = 1
    resize: str = "stretch"
    pad_value: tuple[int, int, int] = (114, 114, 114)
    pad_position: str = "center"
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
    output_dtype: str = "float32"
    input_name: str = "image"
    output_name: str = "logits"
    difficulty_name: str | None = None
    embedding_name: str | None = None
    batch: int | None = None
    external: tuple[str, ...] = ()
    stated: frozenset[str] = field(default=frozenset(), compare=False)

    @property
    def num_classes(self) -> int:
        """C, the channels of the logits that engines return."""
        return len(self.classes)

    @property
    def channels(self) -> int:
        """Channels of the graph's own output: C, or 1 with sigmoid."""
        return 1 if self.activation == "sigmoid" else self.num_classes

    @property
    def gives_logits(self) -> bool:
        """Whether the kernel can take the graph's output without a conversion on the host."""
        is_plain = self.output_kind == "logits" and self.activation == "softmax"
        is_read = self.output_layout == "nchw" and self.output_dtype in ("float32", "float16")
        return is_plain and is_read

    @property
    def output_names(self) -> dict[str, str]:
        """The graph's names for ``logits``, ``difficulty`` and ``embedding``, if it has them."""
        names = {
            "logits": self.output_name,
            "difficulty": self.difficulty_name,
            "embedding": self.embedding_name,
        }
        return {role: name for role, name in names.items() if name is not None}

    def number_settings(self) -> dict[str, Any]:
        """Keys that change a stored number although the model file is the same, as JSON values."""
        values: dict[str, Any] = {name: getattr(self, name) for name in _NUMBER_KEYS}
        # Newer keys are left out if they have no effect, so that older results can be resumed.
        usual = "nhwc" if self.input_dtype == "uint8" else "nchw"
        if self.input_layout != usual:
            values["input_layout"] = self.input_layout
        if self.output_layout != "nchw":
            values["output_layout"] = self.output_layout
        if self.resize == "letterbox":
            values |= {"pad_value": self.pad_value, "pad_position": self.pad_position}
        return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}

    def digest(self) -> str:
        """SHA-256 of the model file and its external weights, in hexadecimal."""
        digest = hashlib.sha256()
        for path in (self.path, *(self.path.parent / name for name in self.external)):
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()
