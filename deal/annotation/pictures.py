"""Picks → pictures: whole images, crops of regions, or images in which regions stand out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deal.annotation.folder import Folder
from deal.annotation.images import (
    ReadImage,
    address,
    file_of,
    name_of,
    png,
    read_image,
    safe_name,
)
from deal.annotation.label_studio import local_address
from deal.annotation.labels import LabelMap, without_small
from deal.annotation.picks import Pick
from deal.annotation.plan import Line, Options, Task
from deal.annotation.polygons import fill_wkt
from deal.annotation.predicting import Predicted, Predictor
from deal.annotation.record import Picture
from deal.errors import ItemError
from deal.model.palette import OKABE_ITO

__all__ = ["Maker"]

_LINE = OKABE_ITO[0]
_FAINT = 160  # the grey towards which pixels outside of the regions go


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """The part of an image that a picture shows, and what is to be labeled in it.

    Attributes
    ----------
    box : x0, y0, x1, y1
        Half-open, in pixels of the upright image.
    inside : ndarray of bool [H, W], or None
        Of the image: where it is to be labeled; None for everywhere.
    """

    box: tuple[int, int, int, int]
    inside: NDArray[np.bool_] | None = None

    @property
    def place(self) -> tuple[slice, slice]:
        """The index of the part."""
        x0, y0, x1, y1 = self.box
        return slice(y0, y1), slice(x0, x1)


class Maker:
    """Makes the pictures of one export and writes their files.

    Attributes
    ----------
    lines : list of Line
        What ``tasks.csv`` says of the picks so far.
    turned : int
        Images that EXIF turns.
    copied : int
        Images that were to be named, and are in the folder since they are no files.
    """

    def __init__(
        self,
        options: Options,
        folder: Folder,
        predictor: Predictor,
        count: int,
        max_pixels: int,
    ) -> None:
        self._options, self._folder, self._predictor = options, folder, predictor
        self._max_pixels, self._digits = max_pixels, max(len(str(count)), 4)
        self.lines: list[Line] = []
        self.turned = self.copied = 0

    def leave_out(self, pick: Pick, reason: str, task: Task | None = None) -> None:
        """Note a pick of which there is no picture."""
        uri, batch = ("", 0) if task is None else (task.source.uri, task.batch)
        self.lines.append(
            Line(pick.rank, pick.id, pick.score, _numbers(pick), batch=batch, uri=uri, error=reason)
        )

    def pictures(self, tasks: list[Task]) -> Iterator[Picture]:
        """The pictures of tasks, in order; their files are written on the way."""
        for task in tasks:
            try:
                source = task.source
                image = read_image(source.uri, source.version, max_pixels=self._max_pixels)
                if task.source.size not in (None, image.size):
                    raise ItemError("size", "the file has another size than when it was scored")
                predicted = self._predictor.predict(task.pick.id, image.pixels, task.source.camera)
                picture = self._picture(task, image, predicted)
            except ItemError as error:
                self.leave_out(task.pick, error.message, task)
            else:
                yield picture

    def _picture(self, task: Task, image: ReadImage, predicted: Predicted | None) -> Picture:
        pick, options = task.pick, self._options
        view = _view(pick, image.size, crop=options.regions == "crop")
        labels = None
        if predicted is not None:
            labels = _labels(predicted.labels, view, options.min_area)
        self.turned += image.turned
        base = f"{pick.rank:0{self._digits}d}_{safe_name(pick.id)}"
        if pick.regions and options.regions == "crop":
            base += f"_r{_numbers(pick)}"
        file = self._place(task, image, view, base)
        mask = ""
        if options.format.masks and predicted is not None and labels is not None:
            mask = f"{base}.png"
            self._folder.put(Path(task.folder, "masks", mask), png(labels))
            heat = predicted.heat[view.place]
            self._folder.put(Path(task.folder, predicted.measure, mask), png(heat))
        x0, y0, x1, y1 = view.box
        self.lines.append(
            Line(
                rank=pick.rank,
                id=pick.id,
                score=pick.score,
                region=_numbers(pick),
                folder=task.folder,
                file=file,
                mask=mask,
                width=x1 - x0,
                height=y1 - y0,
                x0=x0,
                y0=y0,
                batch=task.batch,
                uri=task.source.uri,
            )
        )
        shown = self._shown(task, file)
        size = y1 - y0, x1 - x0
        return Picture(pick.rank, pick.score, pick.id, shown, size, labels, _numbers(pick))

    def _place(self, task: Task, image: ReadImage, view: _View, base: str) -> str:
        """Put a picture into the folder, if it is to be there, and return its name."""
        options, folder = self._options, Path(task.folder, "images")
        if view.inside is None:
            path = file_of(task.source.uri)
            copied = options.to == "fiftyone" and path is None  # it opens files alone
            self.copied += copied and not options.files
            if not options.files and not copied:
                return _named(options, task)
            if image.is_shown_alike(options.format.suffixes):
                name = f"{base}{image.suffix}"
                if options.images == "link" and path is not None:
                    self._folder.link(folder / name, str(path))
                else:
                    self._folder.put(folder / name, image.data)
                return name
        pixels = image.pixels
        if view.inside is not None and options.regions == "image":
            pixels = _faint(pixels, view.inside)
        self._folder.put(folder / f"{base}.png", png(pixels[view.place]))
        return f"{base}.png"

    def _shown(self, task: Task, file: str) -> str:
        """What stands in the document for a picture."""
        options = self._options
        if options.to != "label-studio":
            return file
        if options.image_url is not None and not task.pick.regions:
            return address(options.image_url, task.pick.id)
        return local_address(Path(task.folder, "images", file).as_posix())


def _numbers(pick: Pick) -> str:
    return ";".join(str(region.number) for region in pick.regions)


def _named(options: Options, task: Task) -> str:
    """How a tool names an image that it finds elsewhere."""
    path = file_of(task.source.uri)
    if options.to == "fiftyone" and path is not None:
        return str(path.absolute())
    if options.to != "cvat" or options.image_url is None:
        return name_of(task.pick.id)
    place = address(options.image_url, task.pick.id)
    return place if options.on_web else place.split("/", 3)[-1]  # the name within the bucket


def _view(pick: Pick, size: tuple[int, int], *, crop: bool) -> _View:
    whole = (0, 0, size[1], size[0])
    if not pick.regions:
        return _View(whole)
    inside = np.zeros(size, dtype=np.bool_)
    for region in pick.regions:
        inside |= fill_wkt(region.outline, size)
    if not inside.any():
        raise ItemError("size", f"region {_numbers(pick)} covers no pixel of the image")
    return _View(pick.regions[0].box(size) if crop else whole, inside)


def _labels(labels: LabelMap, view: _View, min_area: int) -> LabelMap:
    kept = without_small(labels, min_area)
    if view.inside is not None:
        kept = kept * view.inside.astype(kept.dtype)
    return kept[view.place]


def _faint(pixels: NDArray[np.uint8], inside: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """An image whose pixels outside are washed out, with a line round those inside."""
    grey = ((pixels.astype(np.uint16) + 3 * _FAINT) // 4).astype(np.uint8)
    near = inside.copy()
    for _ in range(max(min(inside.shape) // 250, 1)):
        wider = near.copy()
        wider[1:] |= near[:-1]
        wider[:-1] |= near[1:]
        wider[:, 1:] |= near[:, :-1]
        wider[:, :-1] |= near[:, 1:]
        near = wider
    grey[near] = _LINE
    return np.where(inside[:, :, None], pixels, grey)
