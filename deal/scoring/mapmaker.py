"""Images → maps, on the host: what `Session` shows of every pixel rather than sums up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deal.acquisitions.measures import Measure
from deal.engines.base import as_numpy, on_host
from deal.errors import ItemError, ModelError, UsageError
from deal.model.placing import Placement
from deal.scoring.committee import Committee
from deal.scoring.faults import network_fault
from deal.scoring.inputs import InputGroup, Inputs
from deal.scoring.kept import KeptOutput
from deal.scoring.maps import (
    ClassMap,
    Maps,
    Plane,
    ScoreMap,
    class_image,
    fitted,
    uncertainty_planes,
    void,
)
from deal.scoring.statistics import Kernel
from deal.types import EngineOutput

__all__ = ["MapMaker"]

Image8 = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """What a network gives for one image: logits [M, C, h, w], difficulty on the raster."""

    logits: NDArray[np.floating]
    difficulty: Plane | None
    place: Placement
    original: tuple[int, int]
    mask: Image8 | None


@dataclass(frozen=True, slots=True)
class MapMaker:
    """Makes the maps of a `Session`, with its networks and settings.

    Parameters
    ----------
    engine : Committee
    kernel : Kernel
    inputs : Inputs
    has_difficulty : bool
    batch_size : int
    threads : int, optional
    """

    engine: Committee
    kernel: Kernel
    inputs: Inputs
    has_difficulty: bool
    batch_size: int
    threads: int | None

    def difficulty(self, images: Sequence[Image8]) -> list[Plane | None]:
        """:meth:`deal.Scorer.difficulty_maps`."""
        maps: list[Plane | None] = []
        for start in range(0, len(images), self.batch_size):
            batch = images[start : start + self.batch_size]
            found: dict[int, Plane | None] = {}
            for group in self.inputs.groups(batch)[0]:
                found |= self._difficulty(group)
            maps += [found.get(index) for index in range(len(batch))]
        return maps

    def _difficulty(self, group: InputGroup) -> dict[int, Plane | None]:
        """Maps by index; without those that the network refuses, tried image by image."""
        try:
            output = on_host(self.engine.model.infer(group.images))
        except (ModelError, MemoryError, RuntimeError):
            rows = range(len(group.indices)) if len(group.indices) > 1 else ()
            alone = (self._difficulty(group.part(row)) for row in rows)
            return {index: plane for found in alone for index, plane in found.items()}
        planes = self.kernel.difficulty_maps(output, group.size)
        return {
            index: None if plane is None else fitted(plane, place, place.content)
            for index, place, plane in zip(group.indices, group.placements, planes, strict=True)
        }

    def classes(
        self, images: Sequence[Image8], cameras: Sequence[str | None] | None
    ) -> list[ClassMap | None]:
        """:meth:`deal.Scorer.predict`."""
        views = self._views(images, cameras, None, members=False)
        return [None if isinstance(v, ItemError) else self._classes(v) for v in views]

    def maps(
        self,
        images: Sequence[Image8],
        cameras: Sequence[str | None] | None,
        measure: Measure,
        outputs: Sequence[KeptOutput | None] | None = None,
    ) -> list[Maps | ItemError]:
        """:meth:`deal.scoring.session.Session.maps_or_errors`."""
        views = self._views(images, cameras, outputs, members=measure.of_committee)
        return [
            view if isinstance(view, ItemError) else self._maps(view, measure) for view in views
        ]

    def scores(
        self,
        images: Sequence[Image8],
        cameras: Sequence[str | None] | None,
        measure: Measure,
        outputs: Sequence[KeptOutput | None] | None = None,
    ) -> list[ScoreMap | ItemError]:
        """:meth:`deal.scoring.session.Session.score_maps_or_errors`."""
        views = self._views(images, cameras, outputs, members=measure.of_committee)
        return [v if isinstance(v, ItemError) else self._shown(v, measure)[0] for v in views]

    def _views(
        self,
        images: Sequence[Image8],
        cameras: Sequence[str | None] | None,
        outputs: Sequence[KeptOutput | None] | None,
        *,
        members: bool,
    ) -> Iterator[_View | ItemError]:
        """Yield what the network gives for each image, or why it gives nothing.

        It runs for the images of which no output is known.
        """
        names = [None] * len(images) if cameras is None else cameras
        if len(names) != len(images):
            raise UsageError(f"{len(images)} images, but {len(names)} cameras: give one per image")
        known = [None] * len(images) if outputs is None else outputs
        new = [index for index, output in enumerate(known) if output is None]
        run = self._run([images[index] for index in new], [names[index] for index in new], members)
        for name, kept in zip(names, known, strict=True):
            if kept is None:
                yield next(run)
            else:
                yield self._seen(kept.group, kept.output, [name], members=members)[0]

    def _run(
        self, images: Sequence[Image8], names: Sequence[str | None], members: bool
    ) -> Iterator[_View | ItemError]:
        for start in range(0, len(images), self.batch_size):
            some = slice(start, start + self.batch_size)
            groups, found = self.inputs.groups(images[some])
            batch: dict[int, _View | ItemError] = {**found}
            for group in groups:
                batch |= self._tried(group, names[some], members=members)
            yield from (batch[index] for index in range(len(batch)))

    def _tried(
        self, group: InputGroup, cameras: Sequence[str | None], *, members: bool
    ) -> dict[int, _View | ItemError]:
        """Run a group; if the network refuses it, image by image, so that one fails alone."""
        try:
            return self._group(group, cameras, members=members)
        except (ModelError, MemoryError, RuntimeError) as error:
            if len(group.indices) == 1:
                size = group.images[0].shape[0], group.images[0].shape[1]
                return {group.indices[0]: network_fault(error, size, fits=False)}
        views: dict[int, _View | ItemError] = {}
        for row in range(len(group.indices)):
            views |= self._tried(group.part(row), cameras, members=members)
        return views

    def _group(
        self, group: InputGroup, cameras: Sequence[str | None], *, members: bool
    ) -> dict[int, _View | ItemError]:
        output = (self.engine if members else self.engine.model).infer(group.images)
        return self._seen(group, output, cameras, members=members)

    def _seen(
        self,
        group: InputGroup,
        output: EngineOutput,
        cameras: Sequence[str | None],
        *,
        members: bool,
    ) -> dict[int, _View | ItemError]:
        first, difficulty = as_numpy(output.logits), as_numpy(output.difficulty)
        logits = as_numpy(output.members) if members else first[None]
        planes: list[Plane | None] = [None] * len(group.indices)
        if self.has_difficulty:
            planes = self.kernel.difficulty_maps(EngineOutput(first, difficulty), group.size)
        views: dict[int, _View | ItemError] = {}
        for row, index in enumerate(group.indices):
            is_lost = self.has_difficulty and planes[row] is None
            if is_lost or not np.isfinite(logits[:, row]).all():
                views[index] = ItemError("nonfinite", "outputs of the network are NaN or infinite")
                continue
            original, place = group.originals[row], group.placements[row]
            try:
                mask = self.inputs.own_mask(cameras[index], original)
            except ItemError as error:
                views[index] = error
            else:
                views[index] = _View(logits[:, row], planes[row], place, original, mask)
        return views

    def _classes(self, view: _View) -> ClassMap:
        return class_image(
            view.logits[0],
            view.place,
            view.original,
            view.mask,
            align_corners=self.engine.spec.align_corners,
            threads=self.threads,
        )

    def _maps(self, view: _View, measure: Measure) -> Maps:
        shown, planes = self._shown(view, measure, ("entropy",))
        own = None if view.difficulty is None else _fitted_to(view, view.difficulty, shown.classes)
        entropy = _fitted_to(view, planes["entropy"], shown.classes)
        return Maps(shown.classes, shown.score, own, entropy)

    def _shown(
        self, view: _View, measure: Measure, more: tuple[str, ...] = ()
    ) -> tuple[ScoreMap, dict[str, Plane]]:
        """The map of the measure, and the planes of the raster that ``more`` names, too."""
        names = tuple(dict.fromkeys(n for n in (*more, measure.uncertainty) if n is not None))
        planes = uncertainty_planes(
            view.logits, view.place.size, names, align_corners=self.engine.spec.align_corners
        )
        classes = self._classes(view)
        factor = None if measure.uncertainty is None else planes[measure.uncertainty]
        plane = measure.plane(view.difficulty, factor, view.place.size)
        score = measure.focused(_fitted_to(view, plane, classes), classes)
        return ScoreMap(classes, score), planes


def _fitted_to(view: _View, plane: Plane, classes: ClassMap) -> Plane:
    """A plane of the raster at the image's own size, 0 where it has no class."""
    values = np.array(fitted(plane, view.place, view.original))
    values[void(classes)] = 0
    return values
