"""Folders of tasks as tests read them, and exports as labeling tools write them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

import deal
from deal.annotation import coco, cvat, label_studio
from deal.labeled.datasets import list_dataset
from deal.labeled.labels import read_label
from deal.pool.decode import decode_bytes
from tests.helpers.annotation import accept_predictions, exported, legend, zipped
from tests.helpers.models import CLASSES
from tests.helpers.runs import SIZE

__all__ = [
    "VOID",
    "Export",
    "box",
    "document",
    "from_coco",
    "from_cvat",
    "from_label_studio",
    "from_voc",
    "image",
    "kinds",
    "label_maps",
    "labels_of",
    "predicted",
    "predicted_labels",
    "task_rows",
]


def task_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "tasks.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def predicted(model: Path, path: Path) -> np.ndarray:
    """Class + 1 of every pixel, by the public Scorer."""
    with deal.Scorer(model) as scorer:
        (classes,) = scorer.predict([decode_bytes(path.read_bytes()).image])
    return classes + np.uint8(1)


def label_maps(folder: Path, to: str) -> Iterator[np.ndarray | None]:
    """Label maps of a folder of tasks, in the order of its documents."""
    if to == "cvat":
        data = (folder / "annotations.xml").read_bytes()
        yield from (d.labels for d in cvat.read(io.BytesIO(data), "", legend(CLASSES)))
    elif to == "coco":
        value = json.loads((folder / "annotations.json").read_bytes())
        yield from (d.labels for d in coco.read(value, "", legend(CLASSES)))
    elif to == "label-studio":
        tasks = exported(json.loads((folder / "tasks.json").read_bytes()))
        yield from (d.labels for d in label_studio.read(tasks, "", legend(CLASSES)))
    else:
        for path in sorted((folder / "masks").iterdir()):
            yield np.asarray(Image.open(path))


VOID = 255


Export = Callable[[Path, Path], Path]


def from_cvat(tasks: Path, folder: Path) -> Path:
    return zipped(
        folder / "cvat.zip", {"annotations.xml": (tasks / "annotations.xml").read_bytes()}
    )


def from_label_studio(tasks: Path, folder: Path) -> Path:
    return accept_predictions(tasks / "tasks.json", folder / "export.json")


def from_coco(tasks: Path, folder: Path) -> Path:
    data = (tasks / "annotations.json").read_bytes()
    return zipped(folder / "coco.zip", {"annotations/instances_default.json": data})


def from_voc(tasks: Path, folder: Path) -> Path:
    """As CVAT writes "Segmentation mask 1.1": colours, and images without their ending."""
    colours = np.array([[0, 0, 0], *([17 * i, 255 - i, 9] for i in range(len(CLASSES)))], np.uint8)
    lines = [
        f"{name}:{','.join(map(str, colour))}::"
        for name, colour in zip(("background", *CLASSES), colours.tolist(), strict=True)
    ]
    files: dict[str, bytes | str] = {
        "labelmap.txt": "# label:color_rgb:parts:actions\n" + "\n".join(lines) + "\n"
    }
    for path in (tasks / "masks").iterdir():
        data = io.BytesIO()
        Image.fromarray(colours[np.asarray(Image.open(path))]).save(data, format="PNG")
        files[f"SegmentationClass/{path.name}"] = data.getvalue()
        files[f"SegmentationObject/{path.name}"] = data.getvalue()
    return zipped(folder / "voc.zip", files)


def labels_of(folder: Path) -> dict[str, np.ndarray]:
    """Labels by id, read as training reads them."""
    classes, splits = list_dataset("folder", folder)
    found = {}
    with (folder / "labeled.csv").open(newline="") as file:
        ids = {row["label"]: row["id"] for row in csv.DictReader(file)}
    for files in (pair for pairs in splits.values() for pair in pairs):
        with Image.open(files.image) as image:
            size = image.height, image.width
        label = read_label(files, size, len(classes.names), classes.ignore_index)
        found[ids[files.label.name]] = label
    return found


def predicted_labels(out: Path, tmp_path: Path) -> dict[str, np.ndarray]:
    """What was predicted, as labels."""
    folder = deal.annotate(out, to="masks", output=tmp_path / "predicted").output
    with (folder / "tasks.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    masks = {row["id"]: np.asarray(Image.open(folder / "masks" / row["mask"])) for row in rows}
    return {name: mask - np.uint8(1) for name, mask in masks.items()}


def document(*images: str, labels: tuple[str, ...] = CLASSES) -> bytes:
    named = "".join(f"<label><name>{name}</name></label>" for name in labels)
    head = f"<annotations><meta><job><labels>{named}</labels></job></meta>"
    return f"{head}{''.join(images)}</annotations>".encode()


def image(name: str, *shapes: str, size: tuple[int, int] = SIZE) -> str:
    height, width = size
    return (
        f'<image id="0" name="{name}" width="{width}" height="{height}">{"".join(shapes)}</image>'
    )


def box(label: str, x0: int, y0: int, x1: int, y1: int) -> str:
    corners = f"{x0},{y0};{x1},{y0};{x1},{y1};{x0},{y1}"
    return f'<polygon label="{label}" points="{corners}" z_order="0"/>'


def kinds(found: deal.Collection) -> list[tuple[str, str]]:
    return [(problem.kind, problem.name) for problem in found.problems]
