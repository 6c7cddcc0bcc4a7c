"""What the model predicts for picked images: labels and difficulty at each image's own size."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal.annotation.labels import LabelMap
from deal.annotation.picks import Source
from deal.errors import ItemError, ModelError
from deal.model.palette import class_colours
from deal.results.maps import map_stamp, read_map, to_stored
from deal.results.reading import iter_results
from deal.run.reopen import model_palette, reopen
from deal.scoring.faults import fault
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


class _Stored:
    """Maps that lie beside the results, if they are of the images as they were scored."""

    def __init__(self, results: Path, sources: Mapping[str, Source]) -> None:
        metadata = next(iter_results(results, ["id"])).schema.metadata or {}
        self._results = results
        self._settings = metadata[b"deal.fingerprint"].decode()
        self._sources = sources

    def measure(self, item_id: str) -> str | None:
        """Which of the measures is stored with the classes; None if the maps are not there."""
        stamp = f"{self._settings} {self._sources[item_id].version}"
        if map_stamp(self._results, "classes", item_id) != stamp:
            return None
        for measure in ("difficulty", "entropy"):
            if map_stamp(self._results, measure, item_id) == stamp:
                return measure
        return None

    def predicted(self, item_id: str) -> Predicted | None:
        """The maps of an image."""
        measure = self.measure(item_id)
        if measure is None:
            return None
        labels = read_map(self._results, "classes", item_id)
        heat = read_map(self._results, measure, item_id)
        return None if labels is None or heat is None else Predicted(labels, heat, measure)


class Predictor:
    """Gives stored maps, or runs the model that scored; or predicts nothing. A context manager.

    Parameters
    ----------
    session : Session or None
        None where all maps are stored, or none are wanted.
    stored : _Stored or None
        None predicts nothing.
    palette : sequence of colours or None
        The model's own.
    """

    def __init__(
        self, session: Session | None, stored: _Stored | None, palette: Any = None
    ) -> None:
        self._session, self._stored, self._palette = session, stored, palette
        self._known: OrderedDict[str, Predicted] = OrderedDict()

    @classmethod
    def open(
        cls,
        results: Path,
        model: str | os.PathLike[str] | None,
        sources: Mapping[str, Source],
        *,
        enabled: bool,
    ) -> Predictor:
        """Open the model if an image has no stored maps; errors as of `deal.run.reopen.reopen`."""
        if not enabled:
            return cls(None, None, model_palette(results, model))
        stored = _Stored(results, sources)
        needed = model is not None or any(stored.measure(item_id) is None for item_id in sources)
        if not needed:
            return cls(None, stored, model_palette(results))
        session = reopen(results, model)
        return cls(session, stored, session.spec.palette)

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
        return [(int(r), int(g), int(b)) for r, g, b in class_colours(count, self._palette)]

    def predict(
        self, item_id: str, pixels: NDArray[np.uint8], camera: str | None
    ) -> Predicted | None:
        """What is predicted for an image, upright RGB; None where nothing is wanted.

        Raises
        ------
        ItemError
            The network refuses the image, or its stored maps are of another size or gone.
        """
        if self._stored is None:
            return None
        if item_id in self._known:
            self._known.move_to_end(item_id)
            return self._known[item_id]
        predicted = self._stored.predicted(item_id) or self._computed(pixels, camera)
        if predicted.labels.shape != pixels.shape[:2]:
            raise ItemError("size", "the image has another size than its stored maps")
        self._known[item_id] = predicted
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return predicted

    def _computed(self, pixels: NDArray[np.uint8], camera: str | None) -> Predicted:
        if self._session is None:
            raise ItemError("io", "its stored maps are gone")
        try:
            maps = self._session.maps_or_errors([pixels], cameras=[camera])[0]
        except (MemoryError, ModelError, RuntimeError) as error:
            raise fault(error, "predicting its labels") from error
        if isinstance(maps, ItemError):
            raise maps
        return _stored_form(maps, self._session.spec.num_classes)


def _stored_form(maps: Maps, num_classes: int) -> Predicted:
    measure = "entropy" if maps.difficulty is None else "difficulty"
    values = maps.entropy if maps.difficulty is None else maps.difficulty
    labels = to_stored("classes", maps.classes, num_classes)
    return Predicted(labels, to_stored(measure, values, num_classes), measure)
