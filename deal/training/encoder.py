"""What every encoder of a segmentation network offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn

__all__ = ["Encoder"]


class Encoder(nn.Module, ABC):
    """A classification network without its classifier, as stages that end at growing strides.

    Stage 0 is the stem. The outputs of some stages, the taps, are the features for a decoder.

    Attributes
    ----------
    source : str
        Whose ImageNet weights fit.
    width : float
        Multiplier of the channels; ImageNet weights exist for 1.
    last : int
        Number of the last stage.
    taps : tuple of int
        Stages whose outputs are the features, the finest first.
    channels : tuple of int
        Channels of the features.
    """

    source: str
    width: float
    last: int
    taps: tuple[int, ...]
    channels: tuple[int, ...]

    @abstractmethod
    def stage(self, number: int) -> nn.Module:
        """The module of a stage."""

    @abstractmethod
    def renamed(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Released weights by the names of this module, without those of the classifier."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map normalised images [B,3,H,W] to features [B,c,⌈H/s⌉,⌈W/s⌉] at the strides s."""
        return self.onwards(0, x)

    def onwards(self, first: int, x: Tensor, found: tuple[Tensor, ...] = ()) -> tuple[Tensor, ...]:
        """Run the stages from ``first`` on; ``found`` are the features of those before."""
        return self._run(first, self.last, x, found)[1]

    def upto(self, last: int, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run the stages up to ``last``: their output, and the features found so far."""
        return self._run(0, last, x, ())

    def _run(
        self, first: int, last: int, x: Tensor, found: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        for number in range(first, last + 1):
            x = self.stage(number)(x)
            if number in self.taps:
                found = (*found, x)
        return x, found
