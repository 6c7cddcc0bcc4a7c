"""What a network says of one image, for people to look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal.engines.base import Engine, on_host
from deal.errors import ItemError
from deal.model.placing import placement
from deal.model.spec import choose_difficulty
from deal.scoring.inputs import Inputs
from deal.scoring.maps import cell_uncertainty

__all__ = ["Prediction", "predict"]


@dataclass(frozen=True, slots=True)
class Prediction:
    """One image as the network sees it, and what it says.

    Attributes
    ----------
    name : str
    classes : tuple of str
    image : ndarray of uint8 [H, W, 3]
        The network's input, before normalisation.
    labels : ndarray of uint8 [h, w]
        The class of every cell of the logits.
    uncertainty : ndarray of float32 [h, w]
        0…1: the difficulty, or the entropy as a share of ln C.
    measure : str
        ``difficulty`` or ``entropy``: what that is.
    entropy : float
        Mean over the cells that show the image, in nats.
    counts : ndarray of int64 [C]
        These cells by predicted class.
    error : str or None
        Why there is nothing of all this; the arrays are empty then.
    """

    name: str
    classes: tuple[str, ...]
    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    uncertainty: NDArray[np.float32]
    measure: str
    entropy: float
    counts: NDArray[np.int64]
    error: str | None = None

    @property
    def shares(self) -> dict[str, float]:
        """Share of each predicted class, the largest first."""
        order = np.argsort(-self.counts, kind="stable")
        total = max(int(self.counts.sum()), 1)
        return {self.classes[i]: float(self.counts[i] / total) for i in order if self.counts[i]}

    def columns(self) -> dict[str, NDArray[Any]]:
        """The columns of the results that tell of a damaged model."""
        return {"entropy_mean": np.array([self.entropy]), "class_pixels": self.counts[None]}

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values, without maps."""
        if self.error is not None:
            return {"name": self.name, "error": self.error}
        return {"name": self.name, "entropy": self.entropy, "shares": self.shares}


def predict(engine: Engine, name: str, pixels: NDArray[np.uint8]) -> Prediction:
    """Run a network on one image, oriented RGB uint8 [H, W, 3].

    Raises ModelError where the network does not run.
    """
    spec = engine.spec
    try:
        image, _ = Inputs(spec, "input").prepared(pixels)
    except ItemError as error:
        return _failed(name, spec.classes, error.message)
    output = on_host(engine.infer([image]))
    logits = np.asarray(output.logits, np.float32)
    if not np.isfinite(logits).all():
        return _failed(name, spec.classes, "the network gives NaN or infinite logits")
    z = logits[0].astype(np.float64)
    entropy = cell_uncertainty(z[None], ("entropy",))["entropy"]
    labels = z.argmax(axis=0)
    shown = _shown(placement(spec, *pixels.shape[:2]).inside, image.shape[:2], labels.shape)
    uncertainty, measure = entropy / np.log(len(z)), "entropy"
    head, from_graph = choose_difficulty(spec, None)
    if head is not None:
        uncertainty = head.difficulty_map(
            logits, size=labels.shape, align_corners=spec.align_corners
        )[0]
        measure = "difficulty"
    elif from_graph and output.difficulty is not None:
        grid = np.asarray(output.difficulty, np.float64)[0, 0]
        uncertainty, measure = 1 / (1 + np.exp(-grid)), "difficulty"
    return Prediction(
        name,
        spec.classes,
        image,
        labels.astype(np.uint8),
        uncertainty.astype(np.float32),
        measure,
        float(entropy[shown].mean()),
        np.bincount(labels[shown].ravel(), minlength=len(z)).astype(np.int64),
    )


def _shown(
    inside: tuple[slice, slice], size: tuple[int, ...], grid: tuple[int, ...]
) -> tuple[slice, slice]:
    """Cells of the logits that show the image; at least one."""
    rows, columns = (
        slice(part.start * n // length, max(-(-part.stop * n // length), 1))
        for part, n, length in zip(inside, grid, size, strict=True)
    )
    return rows, columns


def _failed(name: str, classes: tuple[str, ...], error: str) -> Prediction:
    return Prediction(
        name,
        classes,
        np.zeros((0, 0, 3), np.uint8),
        np.zeros((0, 0), np.uint8),
        np.zeros((0, 0), np.float32),
        "entropy",
        0.0,
        np.zeros(len(classes), np.int64),
        error,
    )
