"""The recipe for training a network, shared by `deal train` and the rounds of `deal loop`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from numbers import Integral

from deal.errors import UsageError

__all__ = [
    "IMAGENET",
    "LARGEST_SEED",
    "NETWORKS",
    "Recipe",
    "check_seed",
    "check_size",
    "last_stage",
    "normalization_of",
]

_LITE = tuple(
    f"lite{size}{decoder}" for size in range(3) for decoder in ("", "-aspp", "-lraspp", "-fast")
)
NETWORKS = ("paper", "light", *_LITE)
"""``paper``, ``light``: DeepLabv3+ on MobileNetV2. ``lite0`` to ``lite2``: EfficientNet-Lite with a
perceptron on four scales; ``-aspp``: with the decoder of ``light``, 128 channels; ``-lraspp``: with
LR-ASPP; ``-fast``: with LR-ASPP on an encoder without its last two stages."""

PIXELWISE = ("lite0", "lite1", "lite2")
"""Networks whose decoder works pixel by pixel."""


def last_stage(network: str) -> int:
    """Number of the last stage of a network's encoder; the stem is stage 0."""
    return 5 if network.endswith("-fast") else 7


IMAGENET = "imagenet"
"""``weights`` that an installed package has."""

LARGEST_SEED = 2**63 - 1


def check_seed(called: str, seed: int) -> None:
    """Raise UsageError for a seed that PyTorch does not take."""
    is_whole = isinstance(seed, Integral) and not isinstance(seed, bool)
    if not is_whole or not 0 <= seed <= LARGEST_SEED:
        raise UsageError(f"{called} must be a whole number from 0 to 2^63 - 1, not {seed!r}")


def check_size(called: str, size: tuple[int, int] | None) -> None:
    """Raise UsageError for a size (H, W) without pixels."""
    if size is not None and min(size) < 1:
        raise UsageError(f"{called} needs a height and a width of at least 1, not {list(size)}")


_Three = tuple[float, float, float]


def normalization_of(network: str) -> tuple[_Three, _Three]:
    """Mean and deviation, of values in 0…1, that a network's ImageNet weights were trained with."""
    if network in _LITE:
        mean, std = 127 / 255, 128 / 255
        return (mean, mean, mean), (std, std, std)
    return (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


_YOUNGER = (
    "uncertainty",
    "optimizer",
    "warmup",
    "freeze",
    "freeze_norm",
    "cache",
    "ema",
    "hold_out",
)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Network and optimizer; sizes are (H, W) in pixels.

    Attributes
    ----------
    network : str
        One of :data:`NETWORKS`.
    width : float
        Multiplies the channels.
    batch_size : int
    lr : float
        Learning rate of the backbone at the start; it falls to 0 by the poly schedule.
    head_lr_factor : float
        Factor on ``lr`` for ASPP, decoder and difficulty branch.
    optimizer : ``sgd`` or ``adamw``
    momentum, weight_decay : float
        ``momentum`` is that of SGD.
    warmup : int
        Steps in which the learning rate rises from 0 to its schedule.
    freeze : int or None
        Last stage of the encoder that is not trained, 0 (the stem) to 7 (all of it).
    freeze_norm : bool
        Batch norm of the whole encoder keeps its statistics; frozen stages always do.
    cache : int
        Augmented variants of each image whose features of the frozen stages are kept on disk, so
        that these stages run once per variant and not once per step; 0 keeps none.
    ema : float
        Decay per step of an exponential moving average of the weights, which is what is evaluated
        and kept; 0 keeps the weights of the last step.
    alpha : float
        Weight of the difficulty loss.
    class_balance : bool
        Weight the cross entropy of class c by 1/ln(1.1 + share of c).
    grid : (h, w) or None
        Attention grid; None means the grid of the logits.
    uncertainty : bool
        Also give the difficulty branch weights of the variances p(1 − p).
    crop : (h, w) or None
        Size of the crops; None means the size of the images.
    scale : (low, high)
    blur, color_jitter : float
    precision : str
        ``fp32`` or ``bf16`` (autocast; parameters and evaluation stay float32).
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    compile : str or None
        Mode of ``torch.compile`` for the steps: ``default`` or ``reduce-overhead`` (CUDA graphs).
        Compiling takes about a minute at the start of every training.
    weights : str or None
        ``imagenet``, a state dict of the encoder's released weights, or a checkpoint of the same
        network and width with any classes (:func:`deal.training.weights.load_weights`).
    """

    network: str = "light"
    width: float = 1.0
    batch_size: int = 4
    lr: float = 0.01
    head_lr_factor: float = 1.0
    optimizer: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    alpha: float = 1.0
    class_balance: bool = False
    grid: tuple[int, int] | None = None
    uncertainty: bool = False
    crop: tuple[int, int] | None = None
    scale: tuple[float, float] = (0.5, 2.0)
    blur: float = 0.5
    color_jitter: float = 0.0
    precision: str = "fp32"
    device: str = "auto"
    compile: str | None = None
    weights: str | None = None
    warmup: int = 0
    freeze: int | None = None
    freeze_norm: bool = False
    cache: int = 0
    ema: float = 0.0

    @property
    def keeps(self) -> str | None:
        """The field that keeps a part of the encoder as it is, if one does."""
        if self.freeze is not None:
            return "freeze"
        return "freeze_norm" if self.freeze_norm else None

    def younger(self) -> frozenset[str]:
        """Names of fields that older runs lack, where their value is that of older runs."""
        return frozenset(
            field.name
            for field in fields(self)
            if field.name in _YOUNGER and getattr(self, field.name) == field.default
        )

    def check(self, called: Callable[[str], str], positive: tuple[str, ...] = ()) -> None:
        """Raise UsageError for values that are invalid or contradict each other.

        Parameters
        ----------
        called : callable
            Returns the user's name of a field: ``--batch-size``, or ``[training] batch_size``.
        positive : tuple of str
            Further fields that must be positive if they are given.
        """
        for name in (*positive, "width", "lr"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UsageError(f"{called(name)} must be positive, not {value}")
        for name in ("head_lr_factor", "weight_decay", "alpha", "warmup", "cache"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise UsageError(f"{called(name)} must not be negative, not {value}")
        for name in ("momentum", "color_jitter", "ema"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise UsageError(f"{called(name)} must be at least 0 and below 1, not {value}")
        if not 0 <= self.blur <= 1:
            raise UsageError(f"{called('blur')} must be a probability, 0 to 1, not {self.blur}")
        for name in ("crop", "grid"):
            check_size(called(name), getattr(self, name))
        if self.batch_size < 2:
            raise UsageError(
                f"{called('batch_size')} must be at least 2: batch normalisation needs a batch"
            )
        last = last_stage(self.network)
        if self.freeze is not None and not 0 <= self.freeze <= last:
            raise UsageError(
                f"{called('freeze')} must be a stage of {self.network}'s encoder, 0 (the stem) to "
                f"{last} (all of it), not {self.freeze}"
            )
        if self.cache and self.freeze is None:
            raise UsageError(
                f"{called('cache')} keeps features of frozen stages: give {called('freeze')} too"
            )
        if self.cache and self.compile is not None:
            raise UsageError(
                f"{called('cache')} and {called('compile')} exclude each other: what follows the "
                "kept features is not compiled"
            )
        if not 0 < self.scale[0] <= self.scale[1] < math.inf:
            raise UsageError(f"{called('scale')} needs LOW and HIGH with 0 < LOW <= HIGH")
