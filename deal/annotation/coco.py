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
        ``value`` does not have the lists ``images``, ``categories`` and ``annotations``.
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
    called = {entry.get("id"): str(entry.get("name", "")) for entry in categories}
    legend.declare(list(called.values()))
    by_image: dict[Any, list[dict[str, Any]]] = {}
    for annotation in annotations:
        by_image.setdefault(_key(annotation.get("image_id")), []).append(annotation)
    for image in images:
        file = str(image.get("file_name", ""))
        rank = image.get("deal_rank")
        try:
            canvas = Canvas(legend, (_whole(image["height"]), _whole(image["width"])))
        except (KeyError, ValueError) as error:
            yield Drawn(file, None, skipped=f"damaged: {error}")
            continue
        for annotation in by_image.get(_key(image.get("id")), []):
            segmentation = annotation.get("segmentation")
            if not segmentation:
                canvas.leave_out("bbox")
                continue
            category = annotation.get("category_id")
            label = called.get(category, f"category {category}")
            canvas.paint(label, _mask(segmentation, canvas.size))
        drawn = canvas.drawn(file, rank if type(rank) is int else None)
        yield replace(drawn, id=str(image.get("deal_id", "")))


_LISTS = ("images", "categories", "annotations")


def _key(value: Any) -> Any:
    return value if isinstance(value, (int, str)) else None


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"its size {value!r} is not a whole number")
    return value


def _mask(segmentation: Any, size: tuple[int, int]) -> Callable[[], NDArray[np.bool_]]:
    def runs() -> NDArray[np.bool_]:
        given = tuple(segmentation["size"])
        if given != size:
            raise ValueError(f"its mask is {given[1]}x{given[0]} instead of {size[1]}x{size[0]}")
        counts = segmentation["counts"]
        counts = coco_counts(counts) if isinstance(counts, str) else counts
        return from_runs(counts, size, "columns")

    def polygons() -> NDArray[np.bool_]:
        whole = np.zeros(size, dtype=np.bool_)
        for points in segmentation:
            whole |= fill(np.asarray(points, dtype=np.float64).reshape(-1, 2), size)
        return whole

    return runs if isinstance(segmentation, dict) else polygons
