"""Options of scoring, grouped by concern: what `Scorer` and ``score_pool`` take alike.

A new option: a field of its group with a line of documentation, its type in `ScoringOptions`, and
``deal/cli/score.py`` for the command line. It then stands in the signature of every call, in
``config.scoring`` of a run, and among the settings that ``runs/<shard>.json`` records.
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
    raster: Literal["input", "image"]
    scaled_decode: bool
    mask: Masks | Mask | Mapping[str, Mask] | Sequence[str] | None
    regions: RegionSource | str | None
    keep_regions: int | None
    outlines: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What runs the network; changes no stored number beyond rounding.

    Parameters
    ----------
    engine : ``ort``, ``trt`` or ``torch``
        What runs the network: ONNX Runtime, TensorRT, or PyTorch as the reference.
    device : ``auto``, ``cpu``, ``cuda`` or ``cuda:<index>``
        ``auto`` takes CUDA where the engine is built for it and a driver sees a device.
    precision : ``fp32``, ``fp16``, ``bf16`` or ``int8``, optional
        A model of another precision is refused. None runs the model as it is.
    threads : int, optional
        Threads of one session, for network and kernel. Default: a `Scorer`, which is one session,
        takes every core this process may use; the sessions of ``score_pool`` run side by side with
        one thread each (engine ``torch``: one session with every core).
    batch_size : int, optional
        Images of one size that go through the network together. Default on a device: 32, to which
        smaller batches are filled up. On the CPU: 8 for a `Scorer`, whose threads share the images
        of a batch; 1 for the sessions of ``score_pool``.
    """

    engine: str = "ort"
    device: str = "auto"
    precision: str | None = None
    threads: int | None = None
    batch_size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """How a model file is read.

    Parameters
    ----------
    model_options : mapping, optional
        Keys of the model contract (:mod:`deal.model.spec`) that win over the model's own, in every
        model of a committee.
    difficulty_head : DifficultyHead or path, optional
        Wins over the graph's own ``difficulty`` output, which wins over the head in the metadata.
    """

    model_options: Mapping[str, Any] | None = None
    difficulty_head: DifficultyHead | str | Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Voting:
    """Who votes beside the models.

    Parameters
    ----------
    flip : bool
        Each model votes once more, on the image mirrored left to right.
    dropout_passes : int
        Passes of one model under masks of its dropout layers that vote beside the model itself
        (Monte-Carlo dropout). Not with ``flip`` or several models.
    dropout_seed : int
        Draws the masks: 0 … 2⁶³−1.
    """

    flip: bool = False
    dropout_passes: int = 0
    dropout_seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """Which pixels count, and how finely.

    Parameters
    ----------
    raster : ``input`` or ``image``
        The size on which statistics are computed: the network's input, or the oriented original.
    scaled_decode : bool
        Decode JPEG files that are larger than the network's input straight to 1/2, 1/4 or 1/8 of
        their size, never below that input; only with ``raster`` ``input``. Arrays that a `Scorer`
        is given are used as they are.
    mask : array of uint8 [H, W], path, mapping of camera to either, or sequence of str, optional
        0 = ignore (car hood, vignette), in pixels of the oriented original. In a mapping ``""`` is
        for cameras without a mask of their own; a sequence holds ``"FILE"`` or ``"CAMERA=FILE"``.
    """

    raster: Literal["input", "image"] = "input"
    scaled_decode: bool = True
    mask: Masks | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionChoice:
    """Which regions get statistics of their own.

    Parameters
    ----------
    regions : Grid, Components, Superpixels, GivenSegments or str, optional
        Sizes are in raster pixels. As text ``grid:40``, ``components``, ``slic:200`` or
        ``segments:DIR``. None: images alone.
    keep_regions : int, optional
        Only the K regions of an image that score highest; None keeps all that are not empty.
    outlines : bool
        Give regions the column ``polygon``: their outline as WKT.
    """

    regions: RegionSource | None = None
    keep_regions: int | None = None
    outlines: bool = False


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
        """Read values or their text: ``regions="grid:40"``, ``mask="hood.png"``; UsageError."""
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
