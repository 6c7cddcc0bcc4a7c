"""What is drawn in pictures → images with labels, and an account of what is not."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from deal.annotation.archive import Export
from deal.annotation.images import EVERY, ReadImage, decoded_image, png, read_image
from deal.annotation.labeled import LabeledFolder
from deal.annotation.labels import LabelMap
from deal.annotation.plan import Line
from deal.annotation.record import Drawn, Legend
from deal.errors import ItemError, PoolError

__all__ = ["Finder", "Gathering", "Problem"]

_LEFT_OUT = {"size", "unreadable"}
_SUFFIXES = {*EVERY, ".jpeg", ".tiff"}
_MASKS = {"SegmentationClass", "SegmentationObject"}


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that an export lacks, or that was left out.

    Attributes
    ----------
    kind : str
        ``missing``: not labeled yet; ``unknown image``: none of the tasks; ``size``: labels of
        another size than the image; ``unreadable``: the image or its labels are damaged or gone;
        ``twice``: in the exports more than once, the last counts; ``shape``: a shape was left out;
        ``unknown class``.
    name : str
        The image, by its id or its file, or the class.
    text : str
    """

    kind: str
    name: str
    text: str


class Finder:
    """Finds the task and the image of what is drawn."""

    def __init__(
        self,
        lines: Sequence[Line],
        tasks: str | os.PathLike[str] | None,
        images: str | os.PathLike[str] | None,
        max_pixels: int,
    ) -> None:
        self._tasks = None if tasks is None else Path(tasks)
        self._images = None if images is None else Path(images)
        self._max_pixels = max_pixels
        self.export: Export | None = None
        self.lines = [line for line in lines if line.file]
        self._by_name: dict[str, list[Line]] = {}
        for line in self.lines:
            for key in {line.file, *_names(line.file)}:
                self._by_name.setdefault(key, []).append(line)

    def line(self, drawn: Drawn) -> Line | None:
        """The task of a picture; None if it is none of them."""
        if self._tasks is None:
            height, width = (0, 0) if drawn.labels is None else drawn.labels.shape
            return Line(0, drawn.name, None, "", file=drawn.name, width=width, height=height)
        for key in (drawn.name, *_names(drawn.name)):
            found = self._by_name.get(key, [])
            ranked = [line for line in found if line.rank == drawn.rank]
            if len(found) == 1 or ranked:
                return (ranked or found)[0]
        return None

    def image(self, line: Line) -> ReadImage:
        """The upright image of a task; raises ItemError."""
        name = PurePosixPath(line.file)
        places: list[Path] = []
        if self._images is not None:
            ids = [line.id] if self._tasks is not None else []
            keys = [key for key in (*ids, line.file, name.name) if _is_below(key)]
            places = [self._images / key for key in keys]
        elif self._tasks is not None and not line.region:
            places = [self._tasks / line.folder / "images" / name.name]
        for place in places:
            if place.is_file():
                return read_image(os.fspath(place), max_pixels=self._max_pixels, is_uri=False)
        if line.uri:
            return read_image(line.uri, max_pixels=self._max_pixels)
        return self._exported(name)

    def _exported(self, name: PurePosixPath) -> ReadImage:
        export = self.export
        paths = [PurePosixPath(file) for file in (() if export is None else export.files)]
        paths = [path for path in paths if path.suffix.lower() in _SUFFIXES]
        paths = [path for path in paths if not _MASKS.intersection(path.parts)]
        for matches in (
            [path for path in paths if path.parts[-len(name.parts) :] == name.parts],
            [path for path in paths if path.name == name.name],
            [path for path in paths if path.stem == name.stem],
        ):
            if len(matches) == 1 and export is not None:
                data = export.read(matches[0].as_posix())
                return decoded_image(data, max_pixels=self._max_pixels)
        raise ItemError(
            "io", "the image is not found: name its folder with --images, or its tasks with --tasks"
        )


class Gathering:
    """Puts what is drawn into the data set, and keeps account of what is not."""

    def __init__(self, finder: Finder, folder: LabeledFolder) -> None:
        self._finder, self._folder = finder, folder
        self.gathered: set[str] = set()
        self.problems: list[Problem] = []
        self._why_missing: dict[int, str] = {}
        self._seen: set[tuple[str, str]] = set()

    def add(self, drawn: Drawn) -> None:
        """Gather one picture."""
        line = self._finder.line(drawn)
        if line is None:
            self._note("unknown image", drawn.name, "it is none of the tasks")
            return
        for text in drawn.problems:
            self._note("shape", line.id, text)
        if drawn.labels is None:
            damaged = drawn.skipped.startswith("damaged")
            if damaged or not self._finder.lines:
                self._note("unreadable" if damaged else "missing", line.id, drawn.skipped)
            self._why_missing[line.rank] = drawn.skipped
            return
        key = line.id, line.region
        if key in self._seen:
            self._note("twice", line.id, "it is in the exports more than once: the last counts")
        try:
            self._put(line, drawn.labels)
        except ItemError as error:
            kind = "size" if error.code == "size" else "unreadable"
            self._note(kind, line.id, error.message)
        else:
            self._seen.add(key)
            self.gathered.add(line.id)

    def end(self, legend: Legend) -> None:
        """Note what is missing; PoolError if nothing was gathered."""
        told = {problem.name for problem in self.problems if problem.kind in _LEFT_OUT}
        for line in self._finder.lines:
            if (line.id, line.region) not in self._seen and line.id not in told:
                why = self._why_missing.get(line.rank, "it is not in the export")
                self._note("missing", line.id, why)
        for name, number in sorted(legend.unknown.items()):
            text = f"{number} shape(s) are left out; --map names what it is, as a class or void"
            self._note("unknown class", name, text)
        if not self.gathered:
            first = self.problems[0] if self.problems else None
            reason = f" (the first: {first.name}: {first.text})" if first else ""
            raise PoolError(f"no labels were found{reason}; export the tasks once they are labeled")

    def _put(self, line: Line, labels: LabelMap) -> None:
        if labels.shape != (line.height, line.width):
            raise ItemError(
                "size",
                f"its labels are {labels.shape[1]}x{labels.shape[0]} pixels, but the picture is "
                f"{line.width}x{line.height}",
            )
        image = self._finder.image(line)
        place = None
        if line.region:
            place = line.regions, (line.x0, line.y0)
            if line.x0 + line.width > image.size[1] or line.y0 + line.height > image.size[0]:
                raise ItemError("size", "the image is smaller than when its region was written")
        elif labels.shape != image.size:
            raise ItemError(
                "size",
                f"its labels are {labels.shape[1]}x{labels.shape[0]} pixels, but the image is "
                f"{image.size[1]}x{image.size[0]}",
            )
        keep = image.plain and image.is_shown_alike(EVERY)
        data, suffix = (image.data, image.suffix) if keep else (png(image.pixels), ".png")
        self._folder.put(line.id, data, suffix, labels, place, image.size)

    def _note(self, kind: str, name: str, text: str) -> None:
        self.problems.append(Problem(kind, name, text))


def _is_below(name: str) -> bool:
    """Whether a name that an export gives leads nowhere but below the folder of images."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _names(file: str) -> tuple[str, str]:
    """The name of a file without its folder, and without its ending."""
    path = PurePosixPath(file)
    return path.name, path.stem
