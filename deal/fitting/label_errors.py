"""Rank labels by how likely they are wrong: where a network doubts what a pool is labeled with.

Some pools come with labels that nobody checked: of a cheap annotator, another model, or an older
map. A network that was trained on other labels, or on most of these, disagrees with the wrong ones.
It also errs itself, so a disagreement counts the more, the easier the pixel is for it.

========================  ========================================================================
score                     mean over the labeled pixels of
========================  ========================================================================
``easy:entropy``          1 − H(P) / ln C where the prediction is not the label, else 0
``easy:difficulty``       1 − D where the prediction is not the label, else 0
``disagreement``          1 where the prediction is not the label, else 0
``self-confidence``       1 − P(label)
========================  ========================================================================

``self-confidence`` is the label quality of confident learning (Northcutt et al., JAIR 2021, arXiv
1911.00068), which Lad and Mueller (2023, arXiv 2307.05080) compare for segmentation. For labels
that the network itself predicted there is no disagreement: they are wrong where difficulty is high,
so `deal select` ranks them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deal.engines import open_engine
from deal.errors import PoolError, UsageError
from deal.fitting.images import LabeledImage, find_split, find_void
from deal.fitting.label_order import Doubtful, Seen, check_frames, in_order, order_of
from deal.fitting.pixels import bands, pixel_scores, resize, softmax
from deal.fitting.runner import Runner
from deal.fitting.variants import Variant, find_heads
from deal.kernel.regions import Grid
from deal.selection.document import csv_text

__all__ = [
    "LABEL_SCORES",
    "DoubtedLabel",
    "Doubts",
    "PixelDoubts",
    "pixel_doubts",
    "rank_label_errors",
]

LABEL_SCORES = ("easy:entropy", "easy:difficulty", "disagreement", "self-confidence")


@dataclass(frozen=True, slots=True)
class DoubtedLabel:
    """The label of an image, or of a cell of it.

    Attributes
    ----------
    rank : int
        From 1, the most doubtful.
    id : str
        Path of the image relative to the root.
    region : int or None
        Number of the cell as in :class:`deal.Grid`; None for a whole image.
    score : float
        0…1.
    x0, y0, x1, y1 : int
        Half-open box, pixels of the label.
    pixels : int
        Pixels with a label.
    differ : float
        The share of them whose prediction is another class.
    label, predicted : str
        The most frequent pair of classes where they differ (the first by index of several); empty
        if they nowhere do.
    """

    rank: int
    id: str
    region: int | None
    score: float
    x0: int
    y0: int
    x1: int
    y1: int
    pixels: int
    differ: float
    label: str
    predicted: str


@dataclass(frozen=True)
class Doubts:
    """Labels in the order in which to correct them.

    Attributes
    ----------
    score : str
        One of `LABEL_SCORES`.
    labels : tuple of DoubtedLabel
    classes : tuple of str
    void : int
    images : mapping of id to LabeledImage
    heading : str
        One sentence on how many of them are there, and how they were spread.
    notes : tuple of str
        Notes for the user.
    """

    score: str
    labels: tuple[DoubtedLabel, ...]
    classes: tuple[str, ...]
    void: int
    images: Mapping[str, LabeledImage]
    heading: str = ""
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        """All but the images, the classes and void, as one document."""
        values = {
            "score": self.score,
            "heading": self.heading,
            "notes": self.notes,
            "labels": [asdict(label) for label in self.labels],
        }
        return json.dumps(values, indent=1, ensure_ascii=False)

    def to_csv(self) -> str:
        """One row per label, with the attributes of `DoubtedLabel` as columns."""
        columns = [field.name for field in fields(DoubtedLabel)]
        return csv_text(columns, (asdict(label).values() for label in self.labels))


def rank_label_errors(
    model: str | Path,
    data: str | Path,
    *,
    score: str = "easy:entropy",
    cell: int | None = None,
    split: str | None = None,
    difficulty_head: str | Path | None = None,
    ignore_index: int | None = None,
    sequence_from: str | None = None,
    budget: str | int | None = None,
    spread: str = "auto",
    near_duplicates: str | float = "auto",
    min_gap: str | None = None,
    diverse: str | float | None = None,
    engine: str = "ort",
    device: str = "auto",
    threads: int | None = None,
    model_options: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Doubts:
    """Run a network on labeled images, and rank the labels by how doubtful they are.

    Parameters
    ----------
    model, engine, device, threads, model_options
        As :class:`deal.Scorer` takes them.
    data, split
        Labeled images, as in :func:`deal.fitting.images.find_split`.
    score : str
        One of `LABEL_SCORES`.
    cell : int, optional
        Rank square cells of this side, in pixels of the label, instead of whole images.
    difficulty_head : path, optional
        A head to use in place of the model's own difficulty.
    ignore_index : int, optional
        Label of void pixels; see :func:`deal.fitting.images.find_void`.
    sequence_from : str, optional
        Regular expression searched in the id; its first group is the sequence.
    budget : int or str, optional
        How many labels to pick: ``20`` or ``"5%"``. None ranks all.
    spread, near_duplicates, min_gap, diverse
        As `deal.select` takes them: by default the picks of a budget of images are spread, and a
        budget of cells is not.
    progress : callable, optional
        Called with images done and images in all.

    Returns
    -------
    Doubts
        Without images and cells that have no labeled pixel. Ties go by id, then region.

    Raises
    ------
    UsageError, EngineUnavailableError
        Options do not fit, or the score needs a difficulty that the model lacks.
    ResultsError
        A rule needs sequences or times that ids do not tell.
    PoolError
        Labeled images are missing, do not fit the model, or have no labeled pixel.
    ModelError
        The model or a head does not keep its contract, or gives NaN or infinite logits.
    """
    if score not in LABEL_SCORES:
        raise UsageError(f"score must be one of {', '.join(LABEL_SCORES)}, not {score!r}")
    if difficulty_head is not None and score != "easy:difficulty":
        raise UsageError(
            f"score {score} reads no difficulty, so --difficulty-head changes nothing: give "
            "--score easy:difficulty, or leave the head out"
        )
    grid = None if cell is None else Grid(cell)
    ranking = order_of(cell, budget, spread, near_duplicates, min_gap, diverse)
    root = Path(data)
    images, _ = find_split(root, split, sequence_from)
    check_frames(ranking, images)
    opened = open_engine(model, engine, device, None, threads, model_options, batch_size=1)
    spec = opened.spec
    void = find_void(root, spec, ignore_index)
    head = None
    if score == "easy:difficulty":
        head = find_heads(opened, [] if difficulty_head is None else [difficulty_head])[-1]
    runner = Runner(opened, void, threads, ("difficulty",))
    rows: list[Doubtful] = []
    found: dict[tuple[str, int | None], tuple[Any, ...]] = {}
    seen: list[Seen] = []
    for number, image in enumerate(images):
        if progress is not None:
            progress(number, len(images))
        pixels = pixel_doubts(runner, image, score, head)
        seen.append(
            Seen.of(image.id, image.sequence, pixels.rgb, pixels.logits, spec.align_corners)
        )
        for region, (y0, y1, x0, x1) in _boxes(pixels.label.shape, grid):
            part = slice(y0, y1), slice(x0, x1)
            row = _row(
                pixels.doubts[part], pixels.predicted[part], pixels.label[part], void, spec.classes
            )
            if row is not None:
                rows.append(Doubtful(number, region, row[0]))
                found[image.id, region] = row[0], x0, y0, x1, y1, *row[1:]
    if progress is not None:
        progress(len(images), len(images))
    if not found:
        raise PoolError(f"{data} has no labeled pixel: all of its labels are {void} (void)")
    picked = in_order(seen, rows, score, ranking)
    names = zip(picked.ids, picked.table.column("region").to_pylist(), strict=True)
    return Doubts(
        score,
        tuple(DoubtedLabel(rank, *name, *found[name]) for rank, name in enumerate(names, 1)),
        spec.classes,
        void,
        {image.id: image for image in images},
        picked.heading,
        picked.notes,
    )


class PixelDoubts(NamedTuple):
    """An image with its labels, and what a network says of them.

    Attributes
    ----------
    doubts : ndarray of float32 [H, W]
        0 for void pixels.
    predicted : ndarray of int64 [H, W]
    label : ndarray of uint8 [H, W]
    rgb : ndarray of uint8 [H, W, 3]
    logits : ndarray of float32 [1, C, h, w]
    """

    doubts: NDArray[np.float32]
    predicted: NDArray[np.int64]
    label: NDArray[np.uint8]
    rgb: NDArray[np.uint8]
    logits: NDArray[np.float32]


def pixel_doubts(
    runner: Runner, image: LabeledImage, score: str, head: Variant | None
) -> PixelDoubts:
    """Doubt each pixel's label; ``head`` is the difficulty, for ``easy:difficulty``."""
    output, label, rgb = runner.look(image)
    size = label.shape[0], label.shape[1]
    doubts = np.zeros(size, np.float32)
    predicted = np.zeros(size, np.int64)
    difficulty = None if head is None else head.map(runner, output, size)
    align = runner.engine.spec.align_corners
    for rows in bands(output.logits.shape[1], size):
        logits = resize(output.logits[0], size, align, rows)
        known = label[rows] != runner.void
        if score == "self-confidence":
            given = np.where(known, label[rows], 0).astype(np.int64)
            chance = np.take_along_axis(softmax(logits), given[None], axis=0)[0]
            predicted[rows] = logits.argmax(axis=0)
            doubts[rows] = np.where(known, 1 - chance, 0)
            continue
        found = pixel_scores(logits)
        predicted[rows] = found.predicted
        differs = known & (found.predicted != label[rows])
        easy: Any = 1.0
        if score == "easy:entropy":
            easy = 1 - found.entropy
        elif difficulty is not None:
            easy = 1 - difficulty[rows]
        doubts[rows] = np.where(differs, easy, 0)
    return PixelDoubts(doubts, predicted, label, rgb, output.logits)


def _boxes(
    size: tuple[int, ...], grid: Grid | None
) -> list[tuple[int | None, tuple[int, int, int, int]]]:
    """Number and y0, y1, x0, x1 of each part of an image."""
    height, width = size
    if grid is None:
        return [(None, (0, height, 0, width))]
    rows, columns = grid.shape((height, width))
    side = grid.cell
    return [
        (
            y * columns + x,
            (y * side, min((y + 1) * side, height), x * side, min((x + 1) * side, width)),
        )
        for y in range(rows)
        for x in range(columns)
    ]


def _row(
    doubts: NDArray[np.float32],
    predicted: NDArray[np.int64],
    label: NDArray[np.uint8],
    void: int,
    classes: Sequence[str],
) -> tuple[float, int, float, str, str] | None:
    """Score, pixels, differ, label and predicted; None without a labeled pixel."""
    known = label != void
    pixels = int(known.sum())
    if not pixels:
        return None
    score = float(doubts[known].astype(np.float64).sum() / pixels)
    differs = known & (predicted != label)
    if not differs.any():
        return score, pixels, 0.0, "", ""
    pairs = label[differs].astype(np.int64) * len(classes) + predicted[differs]
    given, shown = divmod(int(np.bincount(pairs).argmax()), len(classes))
    return score, pixels, float(differs.sum() / pixels), classes[given], classes[shown]
