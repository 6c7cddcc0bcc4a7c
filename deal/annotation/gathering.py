"""What is drawn in pictures → images with labels, and an account of what is not."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from deal.annotation.archive import Export
from deal.annotation.images import EVERY, ReadImage, decoded_image, png, read_image
from deal.annotation.labeled import LabeledFolder
from deal.annotation.labels import LabelMap
from deal.annotation.names import Names
from deal.annotation.plan import Line
from deal.annotation.record import Drawn, Legend
from deal.errors import ItemError, PoolError
from deal.pool.formats import IMAGE_SUFFIXES

__all__ = ["Finder", "Gathering", "Problem"]

_LEFT_OUT = {"size", "unreadable"}
_SUFFIXES = {*EVERY, *IMAGE_SUFFIXES}
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
        self._export: Export | None = None
        self._files: Names[str] | None = None
        self.lines = [line for line in lines if line.file]
        self._by_id = {(line.id, line.rank): line for line in self.lines}
        self._by_name = Names((line.file, line) for line in self.lines)

    def begin(self, export: Export) -> None:
        """What is asked for next is drawn in this export."""
        self._export = export
        if self._images is None:
            self._files = None

    def line(self, drawn: Drawn) -> Line:
        """The task of a picture; raises ItemError if it is none of them, or may be several."""
        if self._tasks is None:
            height, width = (0, 0) if drawn.labels is None else drawn.labels.shape
            name = self._with_ending(drawn.name)
            return Line(0, name, None, "", file=name, width=width, height=height)
        if drawn.rank is not None and (drawn.id, drawn.rank) in self._by_id:
            return self._by_id[drawn.id, drawn.rank]
        found = self._by_name.find(drawn.name)
        ranked = [line for line in found if line.rank == drawn.rank]
        if len(found) == 1 or ranked:
            return (ranked or found)[0]
        if found:
            several = ", ".join(line.id for line in found[:3])
            raise ItemError("io", f"{len(found)} tasks have this name ({several})")
        raise ItemError("io", "it is none of the tasks")

    def image(self, line: Line) -> ReadImage:
        """The upright image of a task; raises ItemError."""
        name = PurePosixPath(line.file)
        places: list[Path] = []
        # A picture of a region is not its image: of that the id alone tells.
        names = [line.id] if line.region else [line.id, line.file]
        if self._images is not None:
            keys = names if line.region else [*names, name.name]
            places = [self._images / key for key in keys if _is_below(key)]
        elif self._tasks is not None and not line.region:
            places = [self._tasks / line.folder / "images" / name.name]
        for place in places:
            if place.is_file():
                return self._read(place)
        found: list[str] = []
        if self._images is not None:
            found = next(filter(None, map(self._found, dict.fromkeys(names))), [])
            if len(found) == 1:
                return self._read(self._images / found[0])
        if line.uri:
            return read_image(line.uri, max_pixels=self._max_pixels)
        if self._images is None:
            found = self._found(line.file)
            if len(found) == 1 and self._export is not None:
                return decoded_image(self._export.read(found[0]), max_pixels=self._max_pixels)
        if found:
            several = ", ".join(found[:3])
            raise ItemError("io", f"{len(found)} images have this name ({several}): rename them")
        if self._images is not None:
            raise ItemError("io", f"no image in {self._images} has this name")
        raise ItemError(
            "io", "the image is not found: name its folder with --images, or its tasks with --tasks"
        )

    def _read(self, path: Path) -> ReadImage:
        return read_image(os.fspath(path), max_pixels=self._max_pixels, is_uri=False)

    def _with_ending(self, name: str) -> str:
        """The name of a mask with the ending that its image has."""
        images, path = self._images, PurePosixPath(name)
        if images is not None and _is_below(name) and (images / name).is_file():
            return name
        found = [PurePosixPath(file) for file in self._found(name)]
        if len(found) != 1 or found[0].name == path.name:
            return name
        stem = path.name if found[0].stem == path.name else path.stem
        return path.with_name(stem + found[0].suffix).as_posix()

    def _found(self, name: str) -> list[str]:
        """Paths of the images that a name may mean, below ``--images`` or in the export."""
        if self._files is None:
            files: Iterable[str] = () if self._export is None else self._export.files
            if self._images is not None:
                below = (path.relative_to(self._images) for path in self._images.rglob("*"))
                files = sorted(path.as_posix() for path in below)
            paths = [PurePosixPath(file) for file in files]
            self._files = Names(
                (path.as_posix(), path.as_posix())
                for path in paths
                if path.suffix.lower() in _SUFFIXES and not _MASKS.intersection(path.parts)
            )
        return self._files.find(name)


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
        try:
            line = self._finder.line(drawn)
        except ItemError as error:
            self._note("unknown image", drawn.name, error.message)
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
