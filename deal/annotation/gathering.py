"""What is drawn in pictures → images with labels, and an account of what is not."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
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
from deal.pool.ids import id_to_path, path_to_id

__all__ = ["Finder", "Gathering", "Place", "Problem"]

_LEFT_OUT, _STRANGE = {"conflict", "size", "unreadable"}, "unknown image"
_SUFFIXES = {*EVERY, *IMAGE_SUFFIXES}
_MASKS = {"SegmentationClass", "SegmentationObject"}
_LABEL = "export the tasks once they are labeled"
_CONFLICT = (
    "the data set has another image of this id, which stays: give --tasks, whose ids tell them "
    "apart, or collect into another --output"
)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that an export lacks, or that was left out.

    Attributes
    ----------
    kind : str
        ``missing``: not labeled yet; ``unknown image``: none of the tasks; ``size``: labels of
        another size than the image; ``unreadable``: the image or its labels are damaged or gone;
        ``conflict``: the data set has another image of this id; ``twice``: in the exports more than
        once, the last counts; ``shape``: a shape was left out; ``unknown class``.
    name : str
        The image, by its id or its file, or the class.
    text : str
    """

    kind: str
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where the image of a task lies.

    Attributes
    ----------
    read : callable
        Gives the upright image; raises ItemError.
    file : str
        What was found by its name; empty where the task itself says the place.
    """

    read: Callable[[], ReadImage]
    file: str = ""


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
            try:
                item_id = path_to_id(name)
            except UnicodeEncodeError as error:
                raise ItemError("io", "its name is no valid text") from error
            return Line(0, item_id, None, "", file=name, width=width, height=height)
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

    def place(self, line: Line) -> Place:
        """Where the image of a task lies; raises ItemError."""
        places: list[Path] = []
        own = id_to_path(line.id)
        # A picture of a region is not its image: of that the id alone tells.
        names = [own] if line.region else [own, line.file]
        if self._images is not None:
            places = [self._images / name for name in names if _is_below(name)]
        elif self._tasks is not None and not line.region:
            places = [self._tasks / line.folder / "images" / PurePosixPath(line.file).name]
        for path in places:
            if path.is_file():
                return self._of(path)
        found: list[str] = []
        if self._images is not None:
            found = next(filter(None, map(self._found, dict.fromkeys(names))), [])
            if len(found) == 1:
                return self._of(self._images / found[0])
        if line.uri:
            return Place(partial(self._stored, line.uri, found))
        if self._images is None:
            found = self._found(line.file)
            if len(found) == 1 and self._export is not None:
                read = partial(self._packed, self._export, found[0])
                return Place(read, f"{self._export.name}: {found[0]}")
        raise self._lost(
            found,
            "the image is not found: name its folder with --images, or its tasks with --tasks",
        )

    def _of(self, path: Path) -> Place:
        name = os.fspath(path)
        return Place(partial(read_image, name, max_pixels=self._max_pixels, is_uri=False), name)

    def _packed(self, export: Export, file: str) -> ReadImage:
        return decoded_image(export.read(file), max_pixels=self._max_pixels)

    def _stored(self, uri: str, found: Sequence[str]) -> ReadImage:
        """An image where the pool had it, if it is still there."""
        try:
            return read_image(uri, max_pixels=self._max_pixels)
        except ItemError as error:
            if error.code != "io":
                raise
            moved = f"{error.message}; name the folder where the pool is now with --images"
            raise self._lost(found, moved) from error

    def _lost(self, found: Sequence[str], otherwise: str) -> ItemError:
        """Why there is no image: several have its name, or none in ``--images`` has."""
        if found:
            several = ", ".join(found[:3])
            return ItemError("io", f"{len(found)} images have this name ({several}): rename them")
        if self._images is not None:
            return ItemError("io", f"no image in {self._images} has this name")
        return ItemError("io", otherwise)

    def _with_ending(self, name: str) -> str:
        """The name with ``/``, and that of a mask with the ending that its image has."""
        images = self._images
        if images is not None and _is_below(name) and (images / name).is_file():
            return name
        name = name.replace("\\", "/")
        path = PurePosixPath(name)
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
        self._owners: dict[str, str] = {}  # ids by the files that were found for them

    def add(self, drawn: Drawn) -> None:
        """Gather one picture."""
        try:
            line = self._finder.line(drawn)
        except ItemError as error:
            self._note(_STRANGE, drawn.name, error.message)
            return
        for text in drawn.problems:
            self._note("shape", line.id, text)
        if drawn.labels is None:
            damaged = drawn.skipped.startswith("damaged")
            missing = not self._finder.lines and not self._folder.holds(line.id)
            if damaged or missing:
                self._note("unreadable" if damaged else "missing", line.id, drawn.skipped)
            self._why_missing[line.rank] = drawn.skipped
            return
        key = line.id, line.region
        try:
            kept = self._put(line, drawn.labels)
        except ItemError as error:
            kind = "size" if error.code == "size" else "unreadable"
            self._note(kind, line.id, error.message)
            return
        if not kept:
            self._note("conflict", line.id, _CONFLICT)
            return
        if key in self._seen:
            self._note("twice", line.id, "it is in the exports more than once: the last counts")
        self._seen.add(key)
        self.gathered.add(line.id)

    def end(self, legend: Legend) -> None:
        """Note what is missing; PoolError if nothing was gathered."""
        told = {problem.name for problem in self.problems if problem.kind in _LEFT_OUT}
        for line in self._finder.lines:
            if not self._folder.holds(line.id, line.regions) and line.id not in told:
                why = self._why_missing.get(line.rank, "it is not in the export")
                self._note("missing", line.id, why)
        for name, number in sorted(legend.unknown.items()):
            text = f"{number} shape(s) are left out; --map names what it is, as a class or void"
            self._note("unknown class", name, text)
        if not self.gathered:
            raise PoolError(self._why_none())

    def _why_none(self) -> str:
        """Why nothing was gathered: above all, labels that were left out."""
        if not self.problems:
            return f"no labels were found; {_LABEL}"
        first = min(self.problems, key=lambda p: (p.kind not in _LEFT_OUT, p.kind != _STRANGE))
        remedy = "" if first.kind in _LEFT_OUT else f"; {_LABEL}"
        if first.kind == _STRANGE:
            remedy = "; name with --tasks the tasks of this export"
        return f"no labels were found (the first: {first.name}: {first.text}){remedy}"

    def _put(self, line: Line, labels: LabelMap) -> bool:
        """Put labels and image into the data set; False if it has another image of this id."""
        if labels.shape != (line.height, line.width):
            raise ItemError(
                "size",
                f"its labels are {labels.shape[1]}x{labels.shape[0]} pixels, but the picture is "
                f"{line.width}x{line.height}",
            )
        image = self._image(line)
        region = None
        if line.region:
            region = line.regions, (line.x0, line.y0)
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
        if self._folder.has_other(line.id, data):
            return False
        self._folder.put(line.id, data, suffix, labels, region, image.size)
        return True

    def _image(self, line: Line) -> ReadImage:
        """The image of a task, unless another has the same one: then neither is sure."""
        place = self._finder.place(line)
        owner = self._owners.setdefault(place.file, line.id) if place.file else line.id
        if owner == line.id:
            return place.read()
        self._owners[place.file] = ""  # nobody's, from now on
        text = (
            f"its image would be {place.file}, but another's as well: name with --images a folder "
            "that has an image for each"
        )
        if owner in self.gathered and self._folder.take_back(owner):
            self.gathered.remove(owner)
            self._note("unreadable", owner, text)
        raise ItemError("io", text)

    def _note(self, kind: str, name: str, text: str) -> None:
        self.problems.append(Problem(kind, name, text))


def _is_below(name: str) -> bool:
    """Whether a name that an export gives leads nowhere but below the folder of images."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts
