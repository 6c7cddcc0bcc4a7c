"""What the model predicts for picked images: labels and difficulty at each image's own size."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from deal.annotation.labels import LabelMap
from deal.errors import ItemError, ModelError
from deal.model.palette import class_colours
from deal.results.maps import to_stored
from deal.run.faults import fault
from deal.run.reopen import reopen
from deal.scoring.maps import Maps
from deal.scoring.session import Session

__all__ = ["Predicted", "Predictor"]

_KEPT = 16  # images whose predictions are kept, for further regions of them


@dataclass(frozen=True, slots=True, eq=False)
class Predicted:
    """What a model predicts for one image.

    Attributes
    ----------
    labels : unsigned [H, W]
        Class + 1; 0 where the image is masked.
    heat : ndarray of uint8 [H, W]
        What ``measure`` says, as :func:`deal.results.maps.to_stored` gives it.
    measure : str
        ``difficulty``, or ``entropy`` for a model without difficulty.
    """

    labels: LabelMap
    heat: NDArray[np.uint8]
    measure: str


class Predictor:
    """Runs the model that scored; predicts nothing without one. A context manager."""

    def __init__(self, session: Session | None) -> None:
        self._session = session
        self._known: OrderedDict[str, Predicted] = OrderedDict()

    @classmethod
    def open(
        cls, results: Path, model: str | os.PathLike[str] | None, *, enabled: bool
    ) -> Predictor:
        """Open the model; parameters and errors as of :func:`deal.run.reopen.reopen`."""
        return cls(reopen(results, model) if enabled else None)

    def __enter__(self) -> Predictor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._session is not None:
            self._session.close()

    def colours(self, count: int) -> list[tuple[int, int, int]]:
        """A colour for each of ``count`` classes: the model's own, if it has some."""
        palette = None if self._session is None else self._session.spec.palette
        return [(int(r), int(g), int(b)) for r, g, b in class_colours(count, palette)]

    def predict(
        self, images: Sequence[tuple[str, NDArray[np.uint8], str | None]]
    ) -> list[Predicted | ItemError | None]:
        """Predictions for images (id, upright RGB, camera); None for each without a model."""
        if self._session is None:
            return [None] * len(images)
        return [self._one(self._session, *image) for image in images]

    def _one(
        self, session: Session, item_id: str, pixels: NDArray[np.uint8], camera: str | None
    ) -> Predicted | ItemError:
        if item_id in self._known:
            self._known.move_to_end(item_id)
            return self._known[item_id]
        try:
            maps = session.maps_or_errors([pixels], cameras=[camera])[0]
        except (MemoryError, ModelError, RuntimeError) as error:
            return fault(error, "predicting its labels")
        if isinstance(maps, ItemError):
            return maps
        self._known[item_id] = predicted = _stored(maps, session.spec.num_classes)
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return predicted


def _stored(maps: Maps, num_classes: int) -> Predicted:
    measure = "entropy" if maps.difficulty is None else "difficulty"
    values = maps.entropy if maps.difficulty is None else maps.difficulty
    labels = to_stored("classes", maps.classes, num_classes)
    return Predicted(labels, to_stored(measure, values, num_classes), measure)
