"""What an export writes, and where: formats, options, names of files, the list of tasks."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deal.annotation.images import BROWSER, EVERY
from deal.annotation.picks import Pick, Source
from deal.annotation.record import Shape
from deal.errors import PoolError, UsageError

__all__ = [
    "CLASSES",
    "FORMATS",
    "MARKER",
    "README",
    "TASKS",
    "Format",
    "Line",
    "Options",
    "Task",
    "classes_json",
    "parts",
    "read_tasks",
    "tasks_csv",
]

MARKER, TASKS, CLASSES, README = "annotate.json", "tasks.csv", "classes.json", "README.txt"


@dataclass(frozen=True, slots=True)
class Format:
    """What a tool takes.

    Attributes
    ----------
    suffixes : frozenset of str
        Formats of images that it shows; others become PNG.
    folders : bool
        Batches are folders; otherwise one folder holds them all.
    masks : bool
        Labels are PNG files, with the difficulty beside them.
    document : str
        File that holds the labels; empty where masks do.
    """

    suffixes: frozenset[str]
    folders: bool = False
    masks: bool = False
    document: str = ""


FORMATS = {
    "cvat": Format(EVERY, document="annotations.xml"),
    "label-studio": Format(BROWSER, folders=True, document="tasks.json"),
    "coco": Format(EVERY, folders=True, document="annotations.json"),
    "masks": Format(EVERY, folders=True, masks=True),
    "fiftyone": Format(BROWSER, masks=True),
    "lightly": Format(BROWSER, masks=True),
}
"""Formats by name."""

_WEB = ("http://", "https://")


@dataclass(frozen=True, slots=True)
class Options:
    """Options of an export, checked; :func:`deal.annotate` documents them."""

    to: str
    shape: Literal["mask", "polygon"] = "mask"
    tolerance: float = 1.5
    min_area: int = 0
    images: Literal["copy", "link", "none"] = "copy"
    image_url: str | None = None
    batch: int | None = None
    regions: Literal["crop", "image"] = "crop"
    predictions: bool = True

    def __post_init__(self) -> None:
        for name, value, words in (
            ("to", self.to, tuple(FORMATS)),
            ("shape", self.shape, ("mask", "polygon")),
            ("images", self.images, ("copy", "link", "none")),
            ("regions", self.regions, ("crop", "image")),
        ):
            if value not in words:
                raise UsageError(f"{name} {value!r}: choose one of {', '.join(words)}")
        for name, number, least in (
            ("tolerance", self.tolerance, 0),
            ("min_area", self.min_area, 0),
            ("batch", 1 if self.batch is None else self.batch, 1),
        ):
            if not number >= least:
                raise UsageError(f"{name} {number!r}: a number from {least} on is needed")
        if self.shape == "polygon" and self.format.masks:
            raise UsageError(f"shape polygon: {self.to} takes masks only")
        if self.image_url is not None and self.to in ("fiftyone", "lightly"):
            raise UsageError(f"image_url: {self.to} opens files only; use images copy or link")
        if self.images == "none" and self.to == "lightly":
            raise UsageError("images none: lightly takes a folder of images; use copy or link")
        if not self.files and self.image_url is None and self.to == "label-studio":
            raise UsageError(
                "images none: Label Studio opens addresses alone; say where the images are with "
                "image_url, such as s3://bucket/folder"
            )

    @property
    def format(self) -> Format:
        """What the tool takes."""
        return FORMATS[self.to]

    @property
    def files(self) -> bool:
        """Whether the folder holds the images."""
        return self.images != "none" and self.image_url is None

    @property
    def on_web(self) -> bool:
        """Whether the images have addresses of the web, not names in a bucket."""
        return self.image_url is not None and self.image_url.startswith(_WEB)

    @property
    def drawing(self) -> Shape:
        """How labels are written."""
        return Shape(self.shape == "polygon", self.tolerance)


@dataclass(frozen=True, slots=True)
class Task:
    """A pick, where its image lies, and the folder (of a batch) to which it goes."""

    pick: Pick
    source: Source
    folder: str
    batch: int


def parts(
    picks: Sequence[Pick], sources: dict[str, Source], options: Options
) -> Iterator[list[Task]]:
    """Tasks by folder, in rank order; picks without a source are left out."""
    known = [pick for pick in picks if pick.id in sources]
    size = options.batch or max(len(known), 1)
    split = options.format.folders and options.batch is not None
    tasks = [
        Task(
            pick,
            sources[pick.id],
            f"batch-{place // size + 1:03d}" if split else "",
            place // size + 1,
        )
        for place, pick in enumerate(known)
    ]
    step = size if split else max(len(tasks), 1)
    for start in range(0, len(tasks), step):
        yield tasks[start : start + step]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of ``tasks.csv``.

    Attributes
    ----------
    file : str
        Name by which the tool knows the picture; empty if there is none.
    mask : str
        Name of its PNG files in ``masks/`` and ``difficulty/``; empty if there are none.
    x0, y0 : int
        Where the picture begins in the upright image.
    region : str
        Numbers of its regions, joined by ``;``; empty for a whole image.
    error : str
        Why there is no picture.
    """

    rank: int
    id: str
    score: float | None
    region: str
    folder: str = ""
    file: str = ""
    mask: str = ""
    width: int = 0
    height: int = 0
    x0: int = 0
    y0: int = 0
    batch: int = 0
    uri: str = ""
    error: str = ""

    @property
    def regions(self) -> tuple[int, ...]:
        """Numbers of its regions."""
        return tuple(int(number) for number in self.region.split(";") if number)


_COLUMNS = tuple(Line.__dataclass_fields__)
_WHOLE = ("rank", "width", "height", "x0", "y0", "batch")


def tasks_csv(lines: Iterable[Line]) -> str:
    """The text of ``tasks.csv``: which file is which id, at which rank."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(_COLUMNS)
    for line in lines:
        values = (getattr(line, name) for name in _COLUMNS)
        writer.writerow("" if value is None else value for value in values)
    return text.getvalue()


def read_tasks(folder: Path) -> tuple[list[Line], dict[str, Any]]:
    """The tasks of a folder that ``deal annotate`` wrote, and its ``classes.json``.

    Raises
    ------
    PoolError
        The folder is not such a one, or its files are damaged.
    """
    try:
        with (folder / TASKS).open(newline="", encoding="utf-8") as file:
            lines = [_line(row) for row in csv.DictReader(file)]
        classes = json.loads((folder / CLASSES).read_text(encoding="utf-8"))
        if not (isinstance(classes["labels"], list) and isinstance(classes["classes"], list)):
            raise ValueError("classes.json lacks its lists")
    except OSError as error:
        raise PoolError(
            f"{folder} is not a folder that deal annotate wrote ({error.strerror}: "
            f"{Path(error.filename or TASKS).name}); name that folder with --tasks"
        ) from error
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise PoolError(
            f"{folder}: {TASKS} or {CLASSES} is damaged ({error}); write the folder again"
        ) from error
    return lines, classes


def _line(row: dict[str, str]) -> Line:
    values: dict[str, Any] = {name: row[name] for name in _COLUMNS}
    values |= {name: int(values[name]) for name in _WHOLE}
    values["score"] = float(values["score"]) if values["score"] else None
    return Line(**values)


def classes_json(
    classes: Sequence[str], labels: Sequence[str], palette: Sequence[Sequence[int]]
) -> str:
    """The text of ``classes.json``: classes, and the names that the tool shows for them."""
    value = {
        "classes": list(classes),
        "labels": list(labels),
        "palette": [list(colour) for colour in palette],
    }
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
