"""A selection → a folder of tasks for a labeling tool, with the model's predictions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from deal.annotation import coco, cvat, label_studio
from deal.annotation.folder import Folder
from deal.annotation.images import name_of
from deal.annotation.labels import tool_colours, tool_names
from deal.annotation.picks import by_image, find_images, read_picks, with_outlines, with_scores
from deal.annotation.pictures import Maker
from deal.annotation.plan import (
    CLASSES,
    README,
    TASKS,
    Line,
    Options,
    Task,
    classes_json,
    parts,
    tasks_csv,
)
from deal.annotation.predicting import Predictor
from deal.annotation.readme import command, readme
from deal.annotation.record import Picture
from deal.annotation.scripts import SCRIPTS
from deal.errors import OutputError
from deal.pool.decode import MAX_PIXELS
from deal.pool.ids import id_to_path
from deal.pool.remote_path import place
from deal.pool.schemes import refuse_scheme

__all__ = ["Annotation", "annotate"]

_SPLIT = frozenset(" \t*?[")  # what a shell splits or expands


@dataclass(frozen=True)
class Annotation:
    """What :func:`deal.annotate` wrote.

    Attributes
    ----------
    output : Path
    count : int
        Pictures that were written.
    of_regions : bool
        They are of regions.
    command : str
        What imports the folder, to be run within it.
    left_out : tuple of str
        Picks that are not in the folder, and why, one line each.
    notes : tuple of str
        What the user should know.
    """

    output: Path
    count: int
    of_regions: bool
    command: str
    left_out: tuple[str, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())


def annotate(
    results: str | os.PathLike[str],
    *,
    to: str,
    output: str | os.PathLike[str],
    selection: str | os.PathLike[str] | None = None,
    model: str | os.PathLike[str] | None = None,
    predictions: bool = True,
    shape: Literal["mask", "polygon"] = "mask",
    tolerance: float = 1.5,
    min_area: int = 0,
    images: Literal["copy", "link", "none"] = "copy",
    image_url: str | None = None,
    batch: int | None = None,
    regions: Literal["crop", "image"] = "crop",
    overwrite: bool = False,
    max_pixels: int = MAX_PIXELS,
    progress: Callable[[int, int], None] | None = None,
) -> Annotation:
    """Write the images of a selection as tasks for a labeling tool, in rank order.

    The model labels them before people do. An image that can no longer be read is left out and
    named; everything else is written.

    Parameters
    ----------
    results : path
        The output folder of :func:`deal.score_pool`.
    to : str
        ``cvat``, ``label-studio``, ``coco``, ``masks`` (class indices as PNG), ``fiftyone`` or
        ``lightly``.
    output : path
        Folder to write; new or empty.
    selection : path, optional
        CSV file with a column ``id``, in rank order; ``selection.csv`` in ``results`` by default.
        Rows with a ``region`` are about regions of images.
    model : path, optional
        The model that predicts; the one that scored by default.
    predictions : bool
        False writes the images without labels, and needs no model.
    shape : str
        ``mask``: one mask per class, exact; ``polygon``: one polygon per area. A hole is joined to
        its exterior by a line that runs there and back, since no tool's polygons have holes.
    tolerance : float
        Pixels by which polygons may leave the border between two classes.
    min_area : int
        4-connected areas of fewer pixels get no label.
    images : str
        ``copy`` puts the images into the folder, ``link`` symbolic links to them where they are
        files, and ``none`` names them by their ids. Bytes stay as they are, also those of images
        inside archives and logs; frames of videos, images that are turned by EXIF, and formats that
        the tool does not show become upright PNG files.
    image_url : str, optional
        Name images by their id below this prefix, such as ``s3://bucket/frames``.
    batch : int, optional
        Images per batch: a job (CVAT) or a folder.
    regions : str
        Of selected regions: ``crop`` makes a picture of each, and ``image`` one of each image, in
        which everything else is faint.
    overwrite : bool
        Replace what an earlier call wrote to the folder.
    max_pixels : int
        Of the largest image that is decoded.
    progress : callable, optional
        Called with the pictures done and in all.

    Returns
    -------
    Annotation

    Raises
    ------
    UsageError
        An option or the selection is invalid.
    ResultsError, ModelError, EngineUnavailableError
        The results or the model do not fit or cannot be read.
    OutputError
        The folder is not empty or cannot be written, or no image can be read.

    Examples
    --------
    >>> deal.annotate("out", to="label-studio", output="tasks").count
    """
    options = Options(
        to, shape, tolerance, min_area, images, image_url, batch, regions, predictions
    )
    refuse_scheme(output, "--output", "give a folder on this machine")
    results, folder = place(results, what="OUT"), Folder(Path(output))
    folder.check(overwrite=overwrite)
    ranked = results / "selection.csv"
    picks, notes = read_picks(place(selection or ranked))
    if regions == "image":
        picks = by_image(picks)
    sources, classes = find_images(results, picks)
    picks = with_outlines(results, with_scores(picks, ranked))
    with Predictor.open(results, model, sources, enabled=predictions) as predictor:
        legend = _Legend(classes, tool_names(classes), predictor.colours(len(classes)))
        folder.begin({"to": to})
        maker = Maker(options, folder, predictor, len(picks), max_pixels)
        for pick in picks:
            if pick.id not in sources:
                maker.leave_out(pick, "it is not among the results")
        for tasks in parts(picks, sources, options):
            pictures = _watched(maker.pictures(tasks), maker.lines, len(picks), progress)
            _write(folder, tasks, _document(pictures, legend.names, options, len(picks)), options)
    lines = sorted(maker.lines, key=lambda line: line.rank)
    written = [line for line in lines if line.file]
    left_out = [_left_out(line) for line in lines if not line.file]
    if not written:
        folder.discard()
        raise OutputError(
            f"no image of the selection can be written (the first: {left_out[0]}); mount the pool "
            "where it was when it was scored"
        )
    notes += _notes(options, written, maker.turned)
    if maker.copied:
        notes.append(
            f"{maker.copied} images are no files of their own (they lie in archives, videos, logs "
            "or stores), so FiftyOne gets copies of them in images/"
        )
    _describe(folder, options, legend, lines)
    of_regions = any(pick.regions for pick in picks)
    told = [*notes, *(f"left out: {line}" for line in left_out)]
    folder.write(README, [readme(options, len(written), told, of_regions=of_regions)])
    return Annotation(
        folder.path, len(written), of_regions, command(options), tuple(left_out), tuple(notes)
    )


@dataclass(frozen=True, slots=True)
class _Legend:
    """Classes, the tool's names for them, and their colours."""

    classes: list[str]
    names: list[str]
    colours: list[tuple[int, int, int]]


def _write(folder: Folder, tasks: list[Task], texts: Iterator[str], options: Options) -> None:
    """Write the pictures of a folder, and its document if there is one."""
    if options.format.document:
        folder.write(Path(tasks[0].folder, options.format.document), texts)
    else:
        for _ in texts:  # every picture writes its own files
            pass


def _notes(options: Options, written: Sequence[Line], turned: int) -> Iterator[str]:
    """What the user should know of images that are not in the folder."""
    if options.files:
        return
    if turned:
        yield (
            f"{turned} images are turned by EXIF, which some tools ignore: the labels are of "
            "upright images (--images copy writes those)"
        )
    if not options.on_web and any(name_of(line.id) != id_to_path(line.id) for line in written):
        yield "no tool opens images whose names are not UTF-8: use --images copy or link for them"
    if options.to == "cvat":
        yield from _hard_names([line.file for line in written])
    if options.to == "cvat" and options.image_url is not None and not options.on_web:
        yield "CVAT needs its manifest.jsonl beside the images in the bucket"


def _hard_names(names: Sequence[str]) -> Iterator[str]:
    """What to do about names that ``$(cat images.txt)`` does not give as they are."""
    if any("\n" in name for name in names):
        yield "images.txt cannot hold names with line breaks: use --images copy or link"
    if any(name.startswith("-") or not _SPLIT.isdisjoint(name) for name in names):
        yield (
            "images.txt holds names that a shell splits or takes for options: in bash, run "
            'mapfile -t names < images.txt and write -- "${names[@]}" for $(cat images.txt)'
        )


def _describe(folder: Folder, options: Options, legend: _Legend, lines: Sequence[Line]) -> None:
    """Write what describes the folder: tasks, classes, and what the tool needs to import them."""
    names, colours, to = legend.names, legend.colours, options.to
    folder.write(TASKS, [tasks_csv(lines)])
    folder.write(CLASSES, [classes_json(legend.classes, names, colours)])
    if to == "cvat":
        folder.write("labels.json", [cvat.labels_json(names, tool_colours(colours))])
        if not options.files:
            folder.write("images.txt", [f"{line.file}\n" for line in lines if line.file])
    if to == "label-studio":
        folder.write("config.xml", [label_studio.config(names, colours, options.drawing)])
    if to in SCRIPTS:
        folder.write(*SCRIPTS[to])


def _document(
    pictures: Iterator[Picture], names: Sequence[str], options: Options, count: int
) -> Iterator[str]:
    match options.to:
        case "cvat":
            return cvat.document(pictures, names, options.drawing)
        case "coco":
            return coco.document(pictures, names, options.drawing)
        case "label-studio":
            return label_studio.tasks(pictures, names, options.drawing, count=count)
        case _:
            return ("" for _ in pictures)


def _watched(
    pictures: Iterator[Picture],
    lines: Sequence[Line],
    count: int,
    progress: Callable[[int, int], None] | None,
) -> Iterator[Picture]:
    for picture in pictures:
        if progress is not None:
            progress(len(lines), count)
        yield picture


def _left_out(line: Line) -> str:
    region = f" region {line.region}" if line.region else ""
    return f"{line.id}{region}: {line.error}"
