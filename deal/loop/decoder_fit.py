"""Training in two steps: the decoder on the frozen encoder first, then all layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from deal.loop.config import LoopConfig
from deal.loop.files import hold
from deal.loop.recipes import initial, recipe_of
from deal.loop.training import TrainingConfig
from deal.training.data import Dataset, Sample
from deal.training.difficulty import WithDifficulty
from deal.training.kept import KeptFeatures
from deal.training.networks import SegmentationNetwork
from deal.training.pixelwise import fit_decoder, labeled_cells

__all__ = ["DecoderFit", "kept_features"]

# As in the experiments with a frozen encoder.
_PIXELS, _LR, _WEIGHT_DECAY = 1024, 0.003, 0.01


def kept_features(
    config: LoopConfig, training: TrainingConfig, data: Dataset, split: str
) -> KeptFeatures:
    """Features of a split by the encoder's initial weights, in OUTPUT/features for all runs."""
    recipe = recipe_of(config, training, seed=0)
    network = initial(recipe, data).module
    assert isinstance(network, SegmentationNetwork)
    samples: Sequence[Sample] = getattr(data, split)
    return KeptFeatures(network, samples, Path(config.output) / "features", split)


class DecoderFit:
    """Fits a decoder by ``[training] fit_steps`` before all layers are trained.

    A decoder of random weights sends useless gradients into a pretrained encoder, and with few
    labels it takes most of the steps to become useful. Source: Kumar et al., arXiv 2202.10054.

    Parameters
    ----------
    config : LoopConfig
    training : TrainingConfig
    data : Dataset
    """

    def __init__(self, config: LoopConfig, training: TrainingConfig, data: Dataset) -> None:
        self._training, self._void = training, data.ignore_index
        self._features = kept_features(config, training, data, "train")
        self._recipe = replace(
            recipe_of(config, training, seed=0),
            optimizer="adamw",
            lr=_LR,
            head_lr_factor=1.0,
            weight_decay=_WEIGHT_DECAY,
            warmup=0,
        )

    def __call__(
        self,
        module: WithDifficulty,
        seed: int,
        indices: Sequence[int],
        samples: Sequence[Sample],
        say: Callable[[str], None],
    ) -> None:
        """Fit the decoder on the labeled pixels of ``samples``, the images with these indices."""
        if not self._features.path.exists():
            with hold(self._features.path.parent, wait=True):
                self._features.compute(say)
        labels = [sample.label for sample in samples]
        fit_decoder(
            replace(self._recipe, seed=seed),
            module,
            self._features,
            labeled_cells(self._features, indices, labels, self._void),
            steps=self._training.fit_steps,
            pixels=_PIXELS,
            say=lambda text: say(f"decoder, {text}"),
        )
