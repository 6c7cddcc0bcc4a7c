"""Options of scoring that both `Scorer` and ``score_pool`` take, grouped by concern.

To add an option, add a field to its group with a line of documentation, its type to
`ScoringOptions`, and the option to ``deal/cli/score.py``. It then appears in the signature of every
call, in ``config.scoring`` of a run, and in the settings that ``runs/<shard>.json`` records.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar, Unpack

import numpy as np
from numpy.typing import NDArray

from deal._options import check_threads, check_whole
from deal.model.head import DifficultyHead
from deal.pool.ids import path_to_id
from deal.regions.sources import RegionSource, parse_regions
from deal.scoring.masks import Masks, parse_masks

__all__ = [
    "CONCERNS",
    "Network",
    "Pixels",
    "RegionChoice",
    "Runtime",
    "Scoring",
    "ScoringOptions",
    "Voting",
]

G = TypeVar("G")
Mask = NDArray[np.uint8] | str | os.PathLike[str]


class ScoringOptions(TypedDict, total=False):
    """Types of the options that the groups document."""

    engine: str
    device: str
    precision: str | None
    threads: int | None
    batch_size: int | None
    model_options: Mapping[str, Any] | None
    difficulty_head: DifficultyHead | str | Path | None
    flip: bool
    dropout_passes: int
    dropout_seed: int
    raster: Literal["input", "half", "image"]
    scaled_decode: bool
    mask: Masks | Mask | Mapping[str, Mask] | Sequence[str] | None
    regions: RegionSource | str | None
    keep_regions: int | None
    outlines: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """How the network runs; but for ``precision`` this changes no stored number beyond rounding.

    Parameters
    ----------
    engine : ``ort``, ``openvino``, ``trt``, ``torch`` or ``auto``
        The software that runs the network: ONNX Runtime, OpenVINO, TensorRT, or PyTorch as the
        reference. ``auto`` measures ONNX Runtime and OpenVINO on the model for about a second and
        takes the faster of those that are installed, without changing a number beyond rounding; a
        run into stored results takes the engine that these are of.
    device : ``auto``, ``cpu``, ``cuda`` or ``cuda:<index>``
        ``auto`` takes CUDA if the engine supports it and the driver finds a device.
    precision : ``fp32``, ``fp16``, ``bf16`` or ``int8``, optional
        The precision the model must have; a model of another precision is refused. None runs the
        model as it is. ``openvino`` computes a float32 model in ``bf16``, where the processor has
        it; this changes the stored numbers.
    threads : int, optional
        Threads of one session, for network and kernel. By default a `Scorer`, which is one session,
        takes every core this process may use; the sessions of ``score_pool`` run side by side with
        one thread each (engine ``torch``: one session with every core).
    batch_size : int, optional
        Images of one size that go through the network together. The default on a device is 32, and
        smaller batches are padded to it. On the CPU it is 8 for a `Scorer`, whose threads share the
        images of a batch, and 1 for the sessions of ``score_pool``.
    """

    engine: str = "ort"
    device: str = "auto"
    precision: str | None = None
    threads: int | None = None
    batch_size: int | None = None

    def __post_init__(self) -> None:
        check_threads(threads=self.threads)
        check_whole(1, batch_size=self.batch_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """How a model file is read.

    Parameters
    ----------
    model_options : mapping, optional
        Keys of the model contract (:mod:`deal.model.spec`) that replace the model's own values, in
        every model of a committee.
    difficulty_head : DifficultyHead or path, optional
        The difficulty head to use. Without it, the graph's own ``difficulty`` output is used, or
        else the head in the model's metadata.
    """

    model_options: Mapping[str, Any] | None = None
    difficulty_head: DifficultyHead | str | Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Voting:
    """Votes in addition to those of the models.

    Parameters
    ----------
    flip : bool
        Each model votes once more, on the image mirrored left to right.
    dropout_passes : int
        Number of extra passes of one model with random masks on its dropout layers, which vote
        beside the model itself (Monte-Carlo dropout). Cannot be combined with ``flip`` or several
        models.
    dropout_seed : int
        Seed of the masks, 0 … 2⁶³−1.
    """

    flip: bool = False
    dropout_passes: int = 0
    dropout_seed: int = 0

    def __post_init__(self) -> None:
        check_whole(0, dropout_passes=self.dropout_passes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """Which pixels count, and at which resolution.

    Parameters
    ----------
    raster : ``input``, ``half`` or ``image``
        The size on which statistics are computed: the network's input, half of its height and
        width (a quarter of the kernel's time), or the oriented original. Counts, lengths and sizes
        of regions are in pixels of this raster.
    scaled_decode : bool
        Decode JPEG files that are larger than the network's input directly to 1/2, 1/4 or 1/8 of
        their size, never below the input size. Does not apply to ``raster`` ``image``, nor to
        arrays that are given to a `Scorer`.
    mask : array of uint8 [H, W], path, mapping of camera to either, or sequence of str, optional
        Pixels to ignore have value 0 (car hood, vignette), in pixels of the oriented original. In
        a mapping, ``""`` stands for cameras without a mask of their own. A sequence holds
        ``"FILE"`` or ``"CAMERA=FILE"``.
    """

    raster: Literal["input", "half", "image"] = "input"
    scaled_decode: bool = True
    mask: Masks | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionChoice:
    """Which regions get statistics of their own.

    Parameters
    ----------
    regions : Grid, Components, Superpixels, GivenSegments or str, optional
        The regions of each image, with sizes in raster pixels; as text ``grid:40``,
        ``components``, ``slic:200`` or ``segments:DIR``. None scores images only.
    keep_regions : int, optional
        Keep only this many regions per image, those that score highest; None keeps all that are
        not empty.
    outlines : bool
        Store the outline of each region as WKT in the column ``polygon``.
    """

    regions: RegionSource | None = None
    keep_regions: int | None = None
    outlines: bool = False

    def __post_init__(self) -> None:
        check_whole(1, keep_regions=self.keep_regions)


CONCERNS = (Runtime, Network, Voting, Pixels, RegionChoice)
"""The groups, in the order in which signatures and documentation list their options."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """Every option of scoring; made by :meth:`of`."""

    runtime: Runtime = field(default_factory=Runtime)
    network: Network = field(default_factory=Network)
    voting: Voting = field(default_factory=Voting)
    pixels: Pixels = field(default_factory=Pixels)
    choice: RegionChoice = field(default_factory=RegionChoice)

    @classmethod
    def of(cls, **options: Unpack[ScoringOptions]) -> Scoring:
        """Read values or text such as ``regions="grid:40"``; UsageError if one is invalid."""
        given: dict[str, Any] = dict(options)
        for name, read in (("mask", parse_masks), ("regions", parse_regions)):
            if name in given:
                given[name] = read(given[name])
        return cls(
            runtime=_taken(Runtime, given),
            network=_taken(Network, given),
            voting=_taken(Voting, given),
            pixels=_taken(Pixels, given),
            choice=_taken(RegionChoice, given),
        )

    def settings(self) -> dict[str, Any]:
        """Every option as a JSON value."""
        found = {
            option.name: getattr(getattr(self, group.name), option.name)
            for group in fields(self)
            for option in fields(getattr(self, group.name))
        }
        head, mask, regions = found["difficulty_head"], found["mask"], found["regions"]
        if isinstance(head, DifficultyHead):
            found["difficulty_head"] = head.to_dict()
        elif head:
            found["difficulty_head"] = path_to_id(str(head))
        found["model_options"] = dict(found["model_options"] or {})
        found["mask"] = None if mask is None else mask.settings()
        found["regions"] = None if regions is None else path_to_id(str(regions))
        return found


def _taken(group: Callable[..., G], options: Mapping[str, Any]) -> G:
    names = inspect.signature(group).parameters
    return group(**{name: value for name, value in options.items() if name in names})
