"""Does `deal rank-errors` find wrong labels? Some are planted into a labeled data set."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deal import _native
from deal.bench.report import Report, Row
from deal.bench.timing import single
from deal.errors import UsageError
from deal.fitting.images import LabeledImage, find_split, find_void, read
from deal.fitting.label_errors import LABEL_SCORES, rank_label_errors
from deal.model.spec import ModelSpec, read_spec

__all__ = ["found_in", "plant", "run"]

_SHARE = 0.1  # of the images that get an error, and of the list that is looked at
_LEAST, _MOST = 0.005, 0.1  # of an image: the area whose class is swapped

Planted = dict[str, NDArray[np.bool_]]
Key = tuple[str, int | None]


def run(
    data: str, *, model: str, split: str | None = None, cell: int = 40, seed: int = 0
) -> Report:
    """Swap the class of a component in every tenth image, and see where the rankings have them.

    A cell counts as planted if at least half of it got another class. ``combined`` is the product
    of ``easy:entropy`` and ``easy:difficulty``; for a model without difficulty both are left out.

    Raises
    ------
    UsageError
        There are fewer than ten images, or no cell counts as planted.
    PoolError
        Images or labels are missing, or do not fit the model.
    """
    root = Path(data)
    images, _ = find_split(root, split)
    spec = read_spec(model)
    void = find_void(root, spec, None)
    has_difficulty = spec.difficulty_name is not None or spec.difficulty_head is not None
    scores = [one for one in LABEL_SCORES if has_difficulty or one != "easy:difficulty"]
    with tempfile.TemporaryDirectory(prefix="deal-bench-") as folder:
        planted = plant(images, Path(folder), spec, void, seed)
        if not any(_half(wrong, cell) for wrong in planted.values()):
            raise UsageError(f"no cell of {cell} pixels is half planted: give a smaller --cell")
        ranked: dict[str, dict[Key, float]] = {}
        wrong: dict[str, set[Key]] = {"images": {(each, None) for each in planted}}
        for score in scores:
            doubts = rank_label_errors(model, folder, score=score, cell=cell, ignore_index=void)
            cells = {(each.id, each.region): each for each in doubts.labels}
            ranked[f"cells, {score}"] = {key: each.score for key, each in cells.items()}
            mean: dict[Key, float] = {}
            worst: dict[Key, float] = {}
            for name, parts in groupby(sorted(cells), key=lambda key: key[0]):
                of = [cells[key] for key in parts]
                pixels = sum(each.pixels for each in of)
                mean[name, None] = sum(each.score * each.pixels for each in of) / pixels
                worst[name, None] = max(each.score for each in of)
            ranked[f"images, {score}"] = mean
            ranked[f"images by their worst cell, {score}"] = worst
            wrong["cells"] = {
                key
                for key, each in cells.items()
                if each.id in planted
                and planted[each.id][each.y0 : each.y1, each.x0 : each.x1].mean() >= 0.5
            }
        spread = rank_label_errors(model, folder, budget=f"{100 * _SHARE:g}%", ignore_index=void)
    rows = []
    for kind, those in wrong.items():
        if has_difficulty:
            first, second = (ranked[f"{kind}, easy:{name}"] for name in ("entropy", "difficulty"))
            ranked[f"{kind}, combined"] = {key: first[key] * second[key] for key in first}
        rows.append(Row(f"{kind}: random order, expected", single(_SHARE), "share of planted"))
        rows += [
            Row(name, single(found_in(each, those)), "share of planted")
            for name, each in ranked.items()
            if name.startswith(kind)
        ]
    taken = len({(each.id, None) for each in spread.labels} & wrong["images"])
    label = "images, easy:entropy, --spread auto"
    rows.append(Row(label, single(taken / len(planted)), "share of planted"))
    return Report(
        question="label-errors",
        settings={
            "model": Path(model).name,
            "images": len(images),
            "planted_images": len(planted),
            "planted_cells": len(wrong["cells"]),
            "cell": cell,
            "seed": seed,
        },
        rows=tuple(rows),
        notes=(f"planted: {len(planted)} images, {len(wrong['cells'])} cells", spread.heading),
    )


def _half(wrong: NDArray[np.bool_], side: int) -> bool:
    """Whether at least half of a cell is wrong."""
    height, width = wrong.shape
    return any(
        wrong[y : y + side, x : x + side].mean() >= 0.5
        for y in range(0, height, side)
        for x in range(0, width, side)
    )


def found_in(scores: Mapping[Key, float], wrong: set[Key], share: float = _SHARE) -> float:
    """The share of ``wrong`` among the first of a ranking; ties go by name."""
    order = sorted(scores, key=lambda key: (-scores[key], key[0], key[1] or 0))
    first = order[: math.ceil(share * len(order))]
    return len(wrong.intersection(first)) / len(wrong)


def plant(
    images: Sequence[LabeledImage], folder: Path, spec: ModelSpec, void: int, seed: int
) -> Planted:
    """Write images and labels, some of them wrong, into a folder; image → pixels that are wrong.

    Raises
    ------
    UsageError
        There are too few images, or none of the chosen has a component of a fitting size.
    """
    if len(images) < 1 / _SHARE:
        raise UsageError(f"{len(images)} images are too few: at least 10 are needed")
    rng = np.random.default_rng(seed)
    chosen = set(rng.permutation(len(images))[: round(_SHARE * len(images))].tolist())
    planted: Planted = {}
    for kind in ("images", "labels"):
        (folder / kind).mkdir()
    for number, image in enumerate(images):
        name = image.id.replace("/", "_")  # its end still tells sequence and frame
        (folder / "images" / name).symlink_to(image.files.image.resolve())
        _, label = read(image, spec.num_classes, void)
        if (
            number in chosen
            and (swapped := _swapped(label, spec.num_classes, void, rng)) is not None
        ):
            planted[f"images/{name}"] = swapped != label
            label = swapped
        Image.fromarray(label).save((folder / "labels" / name).with_suffix(".png"))
    if not planted:
        raise UsageError("no image has a component of a fitting size: give another --seed")
    return planted


def _swapped(
    label: NDArray[np.uint8], num_classes: int, void: int, rng: np.random.Generator
) -> NDArray[np.uint8] | None:
    """The label with another class in one component; None if no component has a fitting size."""
    areas = _native.components(np.where(label == void, -1, label).astype(np.int32), 1)[0]
    sizes = np.bincount(areas[areas >= 0]) / label.size
    fitting = np.flatnonzero((sizes >= _LEAST) & (sizes <= _MOST))
    if not len(fitting):
        return None
    inside = areas == rng.choice(fitting)
    other = (int(label[inside][0]) + int(rng.integers(1, num_classes))) % num_classes
    return np.where(inside, np.uint8(other), label)
