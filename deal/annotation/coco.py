"""COCO JSON with uncompressed run lengths, which keep holes; polygons on request.

Format: https://cocodataset.org/#format-data. Category ids count from 1: CVAT refuses 0.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from deal.annotation.labels import LabelMap
from deal.annotation.polygons import fill, polygons_of
from deal.annotation.record import Canvas, Drawn, Legend, Picture, Shape
from deal.annotation.runs import coco_counts, from_runs, runs_of
from deal.errors import PoolError

__all__ = ["PREDICTIONS", "document", "read"]

PREDICTIONS = "predictions of a model, written by deal annotate"
"""What ``info.description`` says until people have drawn something else."""


def document(
    pictures: Iterable[Picture], names: Sequence[str], shape: Shape | None = None
) -> Iterator[str]:
    """The JSON of pictures in their order; parameters as :func:`deal.annotation.cvat.document`.

    An image has the further keys ``deal_rank``, ``deal_score`` and ``deal_id``. Annotations come
    before images, so that they need not be kept.
    """
    shape = shape or Shape()
    categories = [{"id": number, "name": name} for number, name in enumerate(names, 1)]
    info = {"description": PREDICTIONS}
    yield f'{{"info":{json.dumps(info)},\n"categories":{json.dumps(categories)},\n"annotations":['
    images = []
    count = 0
    for number, picture in enumerate(pictures, 1):
        height, width = picture.size
        images.append(
            {
                "id": number,
                "file_name": picture.file,
                "width": width,
                "height": height,
                "deal_rank": picture.rank,
                "deal_score": picture.score,
                "deal_id": picture.id,
            }
        )
        if picture.labels is None:
            continue
        for annotation in _annotations(picture.labels, shape):
            count += 1
            head = {"id": count, "image_id": number, **annotation, "iscrowd": 0}
            yield f"{',' if count > 1 else ''}\n{json.dumps(head, separators=(',', ':'))}"
    yield f'],\n"images":{json.dumps(images)}}}\n'


def _annotations(labels: LabelMap, shape: Shape) -> Iterator[dict[str, Any]]:
    if shape.polygon:
        for label, rings in groupby(polygons_of(labels, shape.tolerance), lambda found: found[0]):
            for _, ring in rings:
                mask = fill(ring, cast(tuple[int, int], labels.shape))
                segmentation = [[round(value, 3) for value in ring.ravel().tolist()]]
                yield {"category_id": label, "segmentation": segmentation, **_measures(mask)}
        return
    for label in np.unique(labels[labels > 0]).tolist():
        mask = labels == label
        runs = {"counts": runs_of(mask, "columns"), "size": list(labels.shape)}
        yield {"category_id": label, "segmentation": runs, **_measures(mask)}


def _measures(mask: NDArray[np.bool_]) -> dict[str, Any]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):  # of a polygon that was simplified to a sliver
        return {"area": 0, "bbox": [0, 0, 0, 0]}
    left, top = int(columns[0]), int(rows[0])
    box = [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top]
    return {"area": int(mask.sum()), "bbox": box}


def read(value: Any, name: str, legend: Legend) -> Iterator[Drawn]:
    """What a COCO file draws, image by image, annotations in their order.

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
        ``value`` does not have the lists ``images``, ``categories`` and ``annotations``, or an
        image or a category has no id of its own.
    """
    lists = [value.get(key) if isinstance(value, dict) else None for key in _LISTS]
    if not all(isinstance(entries, list) for entries in lists):
        raise PoolError(
            f"{name} is not COCO: it must hold the lists {', '.join(_LISTS)}; export it as COCO 1.0"
        )
    images, categories, annotations = (
        [entry for entry in entries if isinstance(entry, dict)]
        for entries in cast(list[list[Any]], lists)
    )
    called = _by_id(categories, "categories", "name", name)
    listed = _by_id(images, "images", "file_name", name)
    legend.declare(list(called.values()))
    by_image: dict[int | str | None, list[dict[str, Any]]] = {}
    for annotation in annotations:
        by_image.setdefault(_id(annotation.get("image_id")), []).append(annotation)
    for image in images:
        number = _id(image.get("id"))
        if number not in listed:  # it was listed twice
            continue
        file = listed.pop(number)
        rank = image.get("deal_rank")
        try:
            canvas = Canvas(legend, (_whole(image["height"]), _whole(image["width"])))
        except (KeyError, ValueError) as error:
            yield Drawn(file, None, skipped=f"damaged: {error}")
            continue
        for annotation in by_image.pop(number, []):
            segmentation, category = annotation.get("segmentation"), annotation.get("category_id")
            if not segmentation:
                canvas.leave_out_kind("bbox")
            elif (label := called.get(_id(category))) is None:
                canvas.leave_out(f"of the category {category!r}, which the file does not list")
            else:
                canvas.paint(label, _mask(segmentation, canvas.size))
        drawn = canvas.drawn(file, rank if type(rank) is int else None)
        yield replace(drawn, id=str(image.get("deal_id", "")))
    if by_image:
        number = sum(map(len, by_image.values()))
        such = f"images that the file does not list, such as image_id {next(iter(by_image))!r}"
        yield Drawn(such, None, problems=(f"{number} annotation(s) of them are left out",))


_LISTS = ("images", "categories", "annotations")


def _by_id(
    entries: Sequence[dict[str, Any]], listed: str, key: str, name: str
) -> dict[int | str | None, str]:
    """What entries of a list are called, by id; PoolError if ids do not tell them apart."""
    called: dict[int | str | None, str] = {}
    for entry in entries:
        text, number = str(entry.get(key, "")), _id(entry.get("id"))
        if number is None:
            raise PoolError(
                f"{name}: {text!r} of the {listed} has the id {entry.get('id')!r}; give it a whole "
                "number, and its annotations the same"
            )
        if called.setdefault(number, text) != text:
            raise PoolError(
                f"{name}: {called[number]!r} and {text!r} of the {listed} have one id, "
                f"{number!r}, so annotations may mean either; give each its own, or collect the "
                "files that were joined one by one, with --add"
            )
    return called


def _id(value: Any) -> int | str | None:
    """An id, whether its writer made it a number, a number with a point, or text; else None."""
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdigit() and len(value) < 20 else value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if type(value) is int else None


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"its size {value!r} is not a whole number")
    return value


def _mask(segmentation: Any, size: tuple[int, int]) -> Callable[[], NDArray[np.bool_]]:
    def runs() -> NDArray[np.bool_]:
        given = segmentation["size"]
        if given != list(size):
            raise ValueError(f"the size of its mask is {given} instead of {list(size)}")
        counts = segmentation["counts"]
        counts = coco_counts(counts) if isinstance(counts, str) else counts
        return from_runs(counts, size, "columns")

    def polygons() -> NDArray[np.bool_]:
        whole = np.zeros(size, dtype=np.bool_)
        for points in segmentation:
            whole |= fill(np.asarray(points, dtype=np.float64).reshape(-1, 2), size)
        return whole

    return runs if isinstance(segmentation, dict) else polygons
