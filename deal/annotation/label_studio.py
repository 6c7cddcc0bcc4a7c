"""Label Studio: tasks with predictions, the labeling configuration, and exported annotations.

Format: https://labelstud.io/guide/predictions. Corners of polygons are per cent of the image's
size; brushes are :mod:`deal.annotation.brush`. ``score`` of a prediction is read as confidence, the
lowest first, so it rises with the rank.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from deal.annotation.brush import brush_of, from_brush
from deal.annotation.images import RAW_KEYS
from deal.annotation.polygons import fill, polygons_of
from deal.annotation.record import Canvas, Drawn, Legend, Picture, Shape
from deal.errors import PoolError

__all__ = ["config", "local_address", "read", "tasks"]

_FROM, _TO = "label", "image"
_BRUSH, _POLYGON = "brushlabels", "polygonlabels"
_AREAS = {_BRUSH: "rle", _POLYGON: "points", "brush": "rle", "polygon": "points"}
# Controls that say something of a region, whose geometry they repeat, or of the whole image.
_REMARKS = {
    "choices", "datetime", "labels", "number", "pairwise", "ranking", "rating", "relation",
    "taxonomy", "textarea",
}  # fmt: skip
_UPLOAD = re.compile("^[0-9a-f]{8}-")  # what Label Studio puts before the name of an upload


def config(
    names: Sequence[str], colours: Sequence[tuple[int, int, int]], shape: Shape | None = None
) -> str:
    """The labeling configuration: an image, and brushes or polygons of the classes."""
    tag = "PolygonLabels" if (shape or Shape()).polygon else "BrushLabels"
    labels = "".join(
        f'    <Label value={quoteattr(name)} background="#{r:02x}{g:02x}{b:02x}"/>\n'
        for name, (r, g, b) in zip(names, colours, strict=True)
    )
    return (
        f'<View>\n  <Image name="{_TO}" value="$image" zoom="true" zoomControl="true"/>\n'
        f'  <{tag} name="{_FROM}" toName="{_TO}">\n{labels}  </{tag}>\n</View>\n'
    )


def tasks(
    pictures: Iterable[Picture],
    names: Sequence[str],
    shape: Shape | None = None,
    *,
    count: int,
    model: str = "deal",
) -> Iterator[str]:
    """The JSON of the tasks, in the order of the pictures.

    Parameters
    ----------
    pictures : iterable of Picture
    names : sequence of str, length C
        Names of the classes, each different.
    shape : Shape, optional
        Brushes, one per class, by default; else one polygon per area.
    count : int
        Number of ranks in all: ``score`` is rank ÷ (count + 1).
    model : str
        What Label Studio calls the source of the predictions.
    """
    shape = shape or Shape()
    yield "["
    for number, picture in enumerate(pictures):
        task: dict[str, Any] = {
            "data": {
                "image": picture.file,
                "deal_rank": picture.rank,
                "deal_score": picture.score,
                "id": picture.id,
                **({"deal_region": picture.region} if picture.region else {}),
            }
        }
        if picture.labels is not None:
            prediction = {
                "model_version": model,
                "score": picture.rank / (count + 1),
                "result": list(_results(picture, names, shape)),
            }
            task["predictions"] = [prediction]
        yield f"{',' if number else ''}\n{json.dumps(task, separators=(',', ':'))}"
    yield "]\n"


def local_address(path: str) -> str:
    """Where Label Studio serves a file of the folder that it may serve, by its path there."""
    return f"/data/local-files/?d={quote(path)}"


def _results(picture: Picture, names: Sequence[str], shape: Shape) -> Iterator[dict[str, Any]]:
    labels = picture.labels
    assert labels is not None
    height, width = picture.size
    values: Iterable[tuple[int, dict[str, Any]]]
    if shape.polygon:
        kind = _POLYGON
        scale = np.array([100 / width, 100 / height])
        values = (
            (label, {"points": (ring * scale).tolist(), "closed": True})
            for label, ring in polygons_of(labels, shape.tolerance)
        )
    else:
        kind = _BRUSH
        values = (
            (label, {"format": "rle", "rle": brush_of(labels == label)})
            for label in np.unique(labels[labels > 0]).tolist()
        )
    for number, (label, value) in enumerate(values):
        yield {
            "id": f"r{picture.rank}-{number}",
            "type": kind,
            "from_name": _FROM,
            "to_name": _TO,
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {**value, kind: [names[label - 1]]},
        }


def read(value: Any, name: str, legend: Legend) -> Iterator[Drawn]:
    """What an export (JSON) draws, task by task; of several annotations of a task the latest.

    Parameters
    ----------
    value : object
        The JSON of the file.
    name : str
        The file, for errors.
    legend : Legend

    Raises
    ------
    PoolError
        It is no list of tasks, or another of Label Studio's formats.
    """
    if not isinstance(value, list) or not all(isinstance(task, dict) for task in value):
        raise PoolError(f"{name} is not a list of tasks; {_REMEDY}")
    if value and not any("data" in task for task in value):
        raise PoolError(f"{name} holds no task with 'data' (is it JSON-MIN?); {_REMEDY}")
    given = [task.get("data") for task in value]
    datas = [data if isinstance(data, dict) else {} for data in given]
    files = _file_names([data.get("image") or next(iter(data.values()), "") for data in datas])
    for task, data, file in zip(value, datas, files, strict=True):
        rank = data.get("deal_rank")
        drawn = _drawn(task, file, rank if type(rank) is int else None, legend)
        yield replace(drawn, id=str(data.get("id", "")))


_REMEDY = 'export from Label Studio as "JSON"'


def _drawn(task: dict[str, Any], file: str, rank: int | None, legend: Legend) -> Drawn:
    annotations = [a for a in task.get("annotations") or [] if isinstance(a, dict)]
    done = [a for a in annotations if not a.get("was_cancelled")]
    if not done:
        why = "it was skipped" if annotations else "nobody has labeled it"
        return Drawn(file, None, rank, skipped=why)
    latest = max(done, key=_age)
    results = [r for r in latest.get("result") or [] if isinstance(r, dict)]
    size = next((_size(r) for r in results if _size(r) is not None), None)
    problems: tuple[str, ...] = ()
    if len(done) > 1:
        problems = (f"the latest of {len(done)} annotations is taken",)
    if size is None:
        return Drawn(file, None, rank, problems, "nothing is drawn in it")
    try:
        canvas = Canvas(legend, size)
    except ValueError as error:
        return Drawn(file, None, rank, problems, f"damaged: {error}")
    names = _names(results)
    for result in results:
        kind, shape = str(result.get("type")), result.get("value")
        if kind in _REMARKS:
            continue
        if kind not in _AREAS or not isinstance(shape, dict) or _AREAS[kind] not in shape:
            canvas.leave_out_kind(kind)
            continue
        name = _first(shape, kind) or names.get(str(result.get("id")))
        if name is None:
            canvas.leave_out("without a label: give each one of the classes")
        else:
            canvas.paint(name, _mask(result, shape, size))
    drawn = canvas.drawn(file, rank)
    return Drawn(file, drawn.labels, rank, problems + drawn.problems, drawn.skipped)


def _names(results: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Labels by the ids of regions, where Labels is a tag of its own beside Brush or Polygon."""
    names = {}
    for result in results:
        shape = result.get("value")
        name = _first(shape, "labels") if isinstance(shape, dict) else None
        if result.get("type") == "labels" and name is not None and "id" in result:
            names[str(result["id"])] = name
    return names


def _first(shape: dict[str, Any], key: str) -> str | None:
    """The first label under a key; None if there is no list of labels."""
    words = shape.get(key)
    if isinstance(words, list) and words and isinstance(words[0], str) and words[0]:
        return words[0]
    return None


def _age(annotation: dict[str, Any]) -> tuple[str, int]:
    number = annotation.get("id")
    when = annotation.get("updated_at") or annotation.get("created_at") or ""
    return str(when), number if type(number) is int else 0


def _size(result: dict[str, Any]) -> tuple[int, int] | None:
    height, width = result.get("original_height"), result.get("original_width")
    return (height, width) if type(height) is int and type(width) is int else None


def _mask(
    result: dict[str, Any], shape: dict[str, Any], size: tuple[int, int]
) -> Callable[[], NDArray[np.bool_]]:
    def mask() -> NDArray[np.bool_]:
        if _size(result) != size:
            raise ValueError("it is of an image of another size")
        if result.get("image_rotation"):
            raise ValueError("its image was rotated in the tool")
        if _AREAS[str(result["type"])] == "rle":
            return from_brush(shape["rle"], size)
        points = np.asarray(shape["points"], dtype=np.float64) * (size[1] / 100, size[0] / 100)
        return fill(points, size)

    return mask


def _file_names(images: Sequence[Any]) -> list[str]:
    """The names of images of tasks, each of a URL, a local file or an upload.

    Where several images have one name, as frames of several folders do, folders stand before it.
    """
    paths = [_path(image) for image in images]
    names = [_UPLOAD.sub("", path[-1]) if "upload" in path[:-1] else path[-1] for path in paths]
    length, open_names = 1, _doubled(names, paths)
    while open_names and length < max(map(len, paths)):
        length += 1
        names = [
            "/".join(path[-length:]) if name in open_names else name
            for name, path in zip(names, paths, strict=True)
        ]
        open_names = _doubled(names, paths)
    return names


def _doubled(names: list[str], paths: list[tuple[str, ...]]) -> set[str]:
    """Names of several paths."""
    first: dict[str, tuple[str, ...]] = {}
    pairs = zip(names, paths, strict=True)
    return {name for name, path in pairs if first.setdefault(name, path) != path}


def _path(image: Any) -> tuple[str, ...]:
    """The folders and the name of a task's image."""
    text = image if isinstance(image, str) else ""
    if text.startswith(RAW_KEYS):  # a name in a bucket may hold any character
        return tuple(text.split("/"))
    parts = urlsplit(text)
    local = parse_qs(parts.query).get("d")  # which decodes what it gives
    return tuple((local[0] if local else unquote(parts.path)).split("/"))
