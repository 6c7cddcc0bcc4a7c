"""The recipe for training a network, shared by `deal train` and the rounds of `deal loop`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from deal.errors import UsageError

__all__ = ["Recipe"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Network and optimizer; sizes are (H, W) in pixels.

    Attributes
    ----------
    network : ``light`` or ``paper``
    width : float
        Multiplies the channels.
    batch_size : int
    lr : float
        Learning rate of the backbone at the start; it falls to 0 by the poly schedule.
    head_lr_factor : float
        Factor on ``lr`` for ASPP, decoder and difficulty branch.
    momentum, weight_decay : float
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
        torchvision's MobileNetV2 state dict, or a checkpoint of the same network and width with any
        classes (:func:`deal.training.weights.load_weights`).
    """

    network: str = "light"
    width: float = 1.0
    batch_size: int = 4
    lr: float = 0.01
    head_lr_factor: float = 1.0
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
            if value is not None and value <= 0:
                raise UsageError(f"{called(name)} must be positive, not {value}")
        if self.batch_size < 2:
            raise UsageError(
                f"{called('batch_size')} must be at least 2: batch normalisation needs a batch"
            )
        if not 0 < self.scale[0] <= self.scale[1]:
            raise UsageError(f"{called('scale')} needs LOW and HIGH with 0 < LOW <= HIGH")
