"""Label maps and pictures for tests of annotation, and exports as tools write them."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from deal.annotation.record import Legend, Picture

__all__ = [
    "NAMES",
    "Labels",
    "accept_predictions",
    "colours_of",
    "exported",
    "golden_pictures",
    "label_maps",
    "legend",
    "pictures",
    "zipped",
]

Labels = NDArray[np.uint8]

NAMES = ("road", 'a, "b" & <c>', "Fußgänger")


@st.composite
def label_maps(draw: st.DrawFn, classes: int) -> Labels:
    """Label maps of 1 to 24 pixels a side: noise, blocks with holes, single pixels, one label."""
    height, width = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["noise", "blocks", "pixel", "full", "empty"]))
    if kind == "noise":
        return rng.integers(0, classes + 1, (height, width)).astype(np.uint8)
    labels = np.zeros((height, width), np.uint8)
    if kind == "full":
        labels[:] = rng.integers(1, classes + 1)
    elif kind == "pixel":
        labels[rng.integers(height), rng.integers(width)] = rng.integers(1, classes + 1)
    elif kind == "blocks":
        for _ in range(int(rng.integers(1, 9))):
            (y0, y1), (x0, x1) = (sorted(rng.integers(0, n + 1, 2)) for n in (height, width))
            labels[y0:y1, x0:x1] = rng.integers(0, classes + 1)
    return labels


def pictures(maps: Sequence[Labels | None], size: tuple[int, int] = (3, 4)) -> list[Picture]:
    """Pictures of label maps, in rank order."""
    return [
        Picture(
            rank=rank,
            score=1 / rank,
            id=f"drive/{rank}.jpg",
            file=f"{rank:04d}_{rank}.jpg",
            size=size if labels is None else (labels.shape[0], labels.shape[1]),
            labels=labels,
        )
        for rank, labels in enumerate(maps, 1)
    ]


def legend(names: Sequence[str]) -> Legend:
    return Legend({name: label for label, name in enumerate(names, 1)}, names)


def colours_of(names: Sequence[str]) -> list[tuple[int, int, int]]:
    return [(index + 1, 2 * index % 256, 9) for index in range(len(names))]


def golden_pictures() -> list[Picture]:
    """What the golden files hold: holes, touching classes, a class of one pixel, an empty image."""
    ring = np.zeros((10, 12), np.uint8)
    ring[1:8, 2:10] = 1
    ring[3:5, 4:7] = 0  # a hole
    ring[5:7, 4:8] = 2
    ring[9, 11] = 3
    full = np.full((5, 7), 2, np.uint8)
    return pictures([ring, full, np.zeros((4, 4), np.uint8)])


def exported(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tasks as Label Studio exports them once somebody has accepted the predictions."""
    return [
        {
            "id": number,
            "data": task["data"],
            "predictions": [],
            "annotations": [
                {"id": number, "was_cancelled": False, "result": prediction["result"]}
                for prediction in task["predictions"]
            ],
        }
        for number, task in enumerate(tasks, 101)
    ]


def zipped(path: Path, files: Mapping[str, bytes | str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def accept_predictions(tasks: Path, export: Path) -> Path:
    """Write the export of Label Studio in which every prediction of a file of tasks is accepted."""
    export.write_text(json.dumps(exported(json.loads(tasks.read_text()))))
    return export
