"""CVAT for images 1.1: one XML file, read by CVAT's ``CVAT 1.1`` importer.

Format: https://docs.cvat.ai/docs/manual/advanced/formats/format-cvat/. A ``mask`` is a box with the
lengths of runs along its rows, the first of pixels outside the mask.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from numpy.typing import NDArray

from deal.annotation.labels import LabelMap
from deal.annotation.polygons import fill, polygons_of
from deal.annotation.record import Canvas, Drawn, Legend, Picture, Shape
from deal.annotation.runs import from_runs, runs_of
from deal.errors import PoolError

__all__ = ["document", "labels_json", "read"]

_CHUNK = 1 << 20
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_AREAS = {"mask", "polygon"}
_OTHERS = {"box", "polyline", "points", "ellipse", "cuboid", "skeleton", "tag"}


def document(
    pictures: Iterable[Picture], names: Sequence[str], shape: Shape | None = None
) -> Iterator[str]:
    """The XML of pictures in their order, one mask per class or one polygon per area.

    Parameters
    ----------
    pictures : iterable of Picture
    names : sequence of str, length C
        Names of the classes, each different.
    shape : Shape, optional
        Masks by default.
    """
    shape = shape or Shape()
    kind = "polygon" if shape.polygon else "mask"
    labels = "".join(
        f"<label><name>{escape(_xml(name))}</name><type>{kind}</type><attributes></attributes>"
        "</label>\n"
        for name in names
    )
    yield (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n'
        f"<meta><task><name>deal</name><labels>\n{labels}</labels></task></meta>\n"
    )
    for number, picture in enumerate(pictures):
        height, width = picture.size
        file = quoteattr(_xml(picture.file), {"\n": "&#10;", "\r": "&#13;", "\t": "&#9;"})
        yield f'<image id="{number}" name={file} width="{width}" height="{height}">\n'
        if picture.labels is not None:
            write = _polygons if shape.polygon else _masks
            yield from write(picture.labels, names, shape)
        yield "</image>\n"
    yield "</annotations>\n"


def labels_json(names: Sequence[str], colours: Sequence[tuple[int, int, int]]) -> str:
    """The labels of a task as ``cvat-cli task create --labels labels.json`` takes them."""
    labels = [
        {"name": name, "color": "#{:02x}{:02x}{:02x}".format(*colour), "attributes": []}
        for name, colour in zip(names, colours, strict=True)
    ]
    return json.dumps(labels, indent=1) + "\n"


def _masks(labels: LabelMap, names: Sequence[str], shape: Shape) -> Iterator[str]:
    for label in np.unique(labels[labels > 0]).tolist():
        mask = labels == label
        (top, bottom), (left, right) = _extent(mask.any(axis=1)), _extent(mask.any(axis=0))
        runs = ", ".join(map(str, runs_of(mask[top:bottom, left:right], "rows")))
        yield (
            f'<mask label={quoteattr(_xml(names[label - 1]))} source="auto" occluded="0" '
            f'rle="{runs}" left="{left}" top="{top}" width="{right - left}" '
            f'height="{bottom - top}" z_order="0"></mask>\n'
        )


def _polygons(labels: LabelMap, names: Sequence[str], shape: Shape) -> Iterator[str]:
    for label, ring in polygons_of(labels, shape.tolerance):
        points = ";".join(f"{x:g},{y:g}" for x, y in ring.tolist())
        yield (
            f'<polygon label={quoteattr(_xml(names[label - 1]))} source="auto" occluded="0" '
            f'points="{points}" z_order="0"></polygon>\n'
        )


def _extent(flags: NDArray[np.bool_]) -> tuple[int, int]:
    """First and last, exclusive, of the places that are set."""
    places = np.flatnonzero(flags)
    return int(places[0]), int(places[-1]) + 1


def _xml(text: str) -> str:
    """A text without the characters that no XML file may hold."""
    return _NOT_XML.sub("\ufffd", text)


def read(file: BinaryIO, name: str, legend: Legend) -> Iterator[Drawn]:
    """What an export of CVAT draws, picture by picture, in the order of ``z_order``.

    Raises
    ------
    PoolError
        The file is not XML, is cut off, or is another export than "CVAT for images 1.1".
    """
    reader = _Reader(legend)
    parser = expat.ParserCreate()
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = reader.doctype
    try:
        while chunk := file.read(_CHUNK):
            parser.Parse(chunk, False)
            yield from reader.take()
        parser.Parse(b"", True)
        yield from reader.take()
    except _ForeignError as error:
        raise PoolError(f'{name} {error}; export from CVAT as "CVAT for images 1.1"') from error
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise PoolError(
            f'{name} is damaged or not XML ({error}); export it again as "CVAT for images 1.1"'
        ) from error


class _ForeignError(Exception):
    """The XML is of something else."""


class _Reader:
    """Collects images while the XML streams by; everything but class names is in attributes."""

    def __init__(self, legend: Legend) -> None:
        self._legend = legend
        self._path: list[str] = []
        self._words: list[str] = []
        self._names: list[str] = []
        self._image: dict[str, str] = {}
        self._shapes: list[tuple[str, dict[str, str]]] = []
        self._found: list[Drawn] = []

    def take(self) -> list[Drawn]:
        found, self._found = self._found, []
        return found

    def doctype(self, *_: object) -> None:
        raise _ForeignError("declares a document type")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if not self._path and tag != "annotations":
            raise _ForeignError(f"begins with <{tag}>")
        if tag == "track":
            raise _ForeignError("holds the tracks of a video")
        self._path.append(tag)
        self._words = []
        if tag == "image":
            self._legend.declare(self._names)
            self._image, self._shapes = attributes, []
        elif self._path[-2:-1] == ["image"]:
            self._shapes.append((tag, attributes))

    def text(self, words: str) -> None:
        if self._path[-2:] == ["label", "name"]:
            self._words.append(words)

    def end(self, tag: str) -> None:
        if self._path[-2:] == ["label", "name"]:
            self._names.append("".join(self._words))
        self._path.pop()
        if tag == "image":
            self._found.append(_drawn(self._image, self._shapes, self._legend))


def _drawn(
    image: dict[str, str], shapes: list[tuple[str, dict[str, str]]], legend: Legend
) -> Drawn:
    name = image.get("name", "")
    try:
        canvas = Canvas(legend, (int(image["height"]), int(image["width"])))
    except (KeyError, ValueError) as error:
        return Drawn(name, None, skipped=f"damaged: {error}")
    for kind, shape in sorted(shapes, key=_depth):
        if kind in _AREAS:
            canvas.paint(shape.get("label", ""), _mask(kind, shape, canvas.size))
        elif kind in _OTHERS:
            canvas.leave_out_kind(kind)
    return canvas.drawn(name)


def _depth(shape: tuple[str, dict[str, str]]) -> int:
    try:
        return int(shape[1].get("z_order", 0))
    except ValueError:
        return 0


def _mask(
    kind: str, shape: dict[str, str], size: tuple[int, int]
) -> Callable[[], NDArray[np.bool_]]:
    def polygon() -> NDArray[np.bool_]:
        points = [point.split(",") for point in shape["points"].split(";")]
        return fill([(float(x), float(y)) for x, y in points], size)

    def mask() -> NDArray[np.bool_]:
        left, top, width, height = (
            int(float(shape[key])) for key in ("left", "top", "width", "height")
        )
        if min(left, top) < 0 or min(width, height) < 1:
            raise ValueError("its box is empty or begins outside the image")
        if left + width > size[1] or top + height > size[0]:
            raise ValueError("its box leaves the image")
        runs = [int(run) for run in shape["rle"].split(",")]
        whole = np.zeros(size, dtype=np.bool_)
        whole[top : top + height, left : left + width] = from_runs(runs, (height, width), "rows")
        return whole

    return polygon if kind == "polygon" else mask
