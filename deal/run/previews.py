"""``previews.jpg``: the first picks of a selection with the maps that explain them."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deal.errors import ItemError, ModelError, OutputError
from deal.kernel.geometry import box_outline
from deal.machine.files import replacing
from deal.model.palette import class_colours
from deal.pool.decode import MAX_PIXELS
from deal.pool.remote_path import place
from deal.run.makers import Makers
from deal.run.overlays import Rings, hot_cells, rings_of_cells, rings_of_wkt
from deal.run.progress import Progress
from deal.run.reopen import (
    StoredImage,
    decode_and_map,
    function_of,
    shown_function,
    stored_images,
)
from deal.run.sheet import Entry, Key, contact_sheet, pictures_of, thumb_size
from deal.scoring.faults import fault
from deal.scoring.kept import KeptOutput, KeptOutputs
from deal.scoring.session import Session
from deal.selection import Ranking, Selection
from deal.selection.sources import Sources
from deal.selection.standing import Standing, standing
from deal.selection.why import best_regions

__all__ = ["MOST", "write_previews"]

MOST = 320
"""Images of a sheet: at their tallest they fill most of the 65,535 rows that a JPEG may have."""

Source = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is to be drawn, before its image is read."""

    name: str
    id: str
    region: int | None
    score: float
    standing: str
    why: str
    outlines: list[tuple[str, str]]  # WKT and text


def write_previews(
    folder: Source,
    selection: Selection,
    session: Session,
    *,
    sources: Source | Sequence[Source],
    ranking: Ranking,
    count: int,
    max_pixels: int = MAX_PIXELS,
    endpoint_url: str | None = None,
    progress: Callable[[Progress], None] | None = None,
    kept: KeptOutputs | None = None,
) -> tuple[Path, list[str]]:
    """Draw the first ``count`` of a selection on ``previews.jpg`` in a folder.

    Only these images, and the median and the easiest of the pool, are decoded again, and go through
    the network again if its outputs are not kept.

    Parameters
    ----------
    folder : path
    selection : Selection
    session : Session
        The model that scored the pool (:func:`deal.run.reopen.reopen`).
    sources : path or sequence of paths
        The output folders that were selected from.
    ranking : Ranking
        How it was selected.
    count : int
    max_pixels : int
        Larger images are not drawn.
    endpoint_url : str, optional
        As in `deal.pool.inside.Reading`.
    progress : callable, optional
        Called after every image.
    kept : KeptOutputs, optional
        What the network gave before.

    Returns
    -------
    path : Path
    notes : list of str
        Notes on what is missing on the sheet, and why.

    Raises
    ------
    OutputError
        The sheet cannot be written.
    """
    folders = [sources] if isinstance(sources, (str, os.PathLike)) else list(sources)
    notes = []
    if min(count, len(selection)) > MOST:
        count = MOST
        notes.append(f"previews.jpg shows the first {MOST}: a JPEG cannot be taller")
    pool = standing(folders, ranking)
    picks = _picks(selection, folders, ranking, pool, count)
    others = [] if pool is None else _contrast(pool, folders, ranking, picks)
    images = stored_images(
        folders, {wanted.id for wanted in (*picks, *others)}, endpoint_url=endpoint_url
    )
    thumb = thumb_size(len(picks))
    function = shown_function(session, function_of(selection.metadata))
    colours = class_colours(session.spec.num_classes, session.spec.palette)

    def make(own: Session, wanted: _Wanted) -> Entry | str:
        try:
            stored = images[wanted.id]
            known = None if kept is None else kept.get(stored.item)
            return _entry(wanted, stored, own, known, function, colours, thumb, max_pixels)
        except (ItemError, MemoryError, ModelError, RuntimeError) as error:
            return fault(error, "drawing it").message

    started, failed = time.monotonic(), 0
    drawn: tuple[list[Entry], list[Entry]] = [], []
    every = [*picks, *others]
    with Makers(session, len(every)) as makers:
        for done, (wanted, entry) in enumerate(makers.each(make, every), 1):
            if isinstance(entry, str):
                failed += 1
                notes.append(f"no preview of {wanted.id!r}: {entry}")
            else:
                drawn[done > len(picks)].append(entry)
            if progress is not None:
                seconds = time.monotonic() - started
                progress(Progress(len(every), 0, done, failed, seconds, what="previews drawn"))
    if not session.has_difficulty:
        notes.append("the model has no difficulty head: the previews show entropy")
    key = _key(selection, session, function, colours, drawn[0])
    path = place(folder) / "previews.jpg"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            contact_sheet(drawn[0], drawn[1], key).save(file, format="JPEG", quality=90)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    return path, notes


def _picks(
    selection: Selection,
    folders: Sequence[Source],
    ranking: Ranking,
    pool: Standing | None,
    count: int,
) -> list[_Wanted]:
    records = list(selection.records(count))
    regions = _regions_of([record["id"] for record in records], folders, ranking)
    picks = []
    for record in records:
        score = math.nan if record["score"] is None else record["score"]
        outlines = regions.get(record["id"], [])
        if record["polygon"] is not None:
            outlines = [(record["polygon"], str(record["region"]))]
        text = "" if pool is None or math.isnan(score) else _standing_text(pool, score, ranking)
        name, why = f"#{record['rank']}", record["why"] or ""
        picks.append(_Wanted(name, record["id"], record["region"], score, text, why, outlines))
    return picks


def _standing_text(pool: Standing, score: float, ranking: Ranking) -> str:
    what = f"of {pool.count:,} {ranking.table}"
    if score >= pool.ascending[-1]:
        return f"highest {what}"
    percent = pool.percent_below(score)
    if percent == 0:
        return f"lowest {what}"
    shown = f"{percent:.0f}" if percent < 99 else f"{math.floor(10 * percent) / 10:.1f}"
    return f"higher than {shown} % {what}"


def _contrast(
    pool: Standing, folders: Sequence[Source], ranking: Ranking, picks: Sequence[_Wanted]
) -> list[_Wanted]:
    """The median and the easiest row of the pool, unless they are among the picks."""
    shown = {(pick.id, pick.region) for pick in picks}
    rows = [(name, row) for name, row in (("median", pool.median), ("easiest", pool.easiest))]
    rows = [(name, row) for name, row in rows if (row.id, row.region) not in shown]
    regions = _regions_of([row.id for _, row in rows], folders, ranking)
    what = f"of {pool.count:,} {ranking.table}"
    texts = {"median": f"the middle {what}", "easiest": f"lowest {what}"}
    found = []
    for name, row in rows:
        outlines = regions.get(row.id, [])
        if row.region is not None:
            boxes = _boxes(folders, {(row.id, row.region)})
            outlines = [(wkt, str(row.region)) for wkt in boxes.values()]
        found.append(_Wanted(name, row.id, row.region, row.score, texts[name], "", outlines))
    return found


def _regions_of(
    names: Sequence[str], folders: Sequence[Source], ranking: Ranking
) -> dict[str, list[tuple[str, str]]]:
    """Outlines of the stored regions of each image that score highest."""
    import pyarrow as pa

    if ranking.table == "regions" or not names:
        return {}
    best = best_regions(Sources(folders), ranking, pa.array(names, pa.large_string()))
    if best is None:
        return {}
    pairs = [(names[row["image"]], int(row["region"])) for row in best]
    boxes = _boxes(folders, set(pairs))
    found: dict[str, list[tuple[str, str]]] = {}
    for pair in pairs:
        if pair in boxes:
            found.setdefault(pair[0], []).append((boxes[pair], str(pair[1])))
    return found


def _boxes(folders: Sequence[Source], wanted: set[tuple[str, int]]) -> dict[tuple[str, int], str]:
    """Outlines of stored regions as WKT; their boxes where no outline is stored."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = ["id", "region", "polygon", "x0", "y0", "x1", "y1"]
    ids = pa.array(sorted({item_id for item_id, _ in wanted}))
    found = {}
    for piece in Sources(folders, "regions").read(columns):
        near = piece.filter(pc.is_in(piece.column("id"), ids.cast(piece.column("id").type)))
        for row in near.to_pylist():
            if (row["id"], row["region"]) in wanted:
                box = box_outline(*(row[name] for name in ("x0", "y0", "x1", "y1")))
                found[row["id"], row["region"]] = row.get("polygon") or box
    return found


def _entry(
    wanted: _Wanted,
    stored: StoredImage,
    session: Session,
    known: KeptOutput | None,
    function: Mapping[str, Any] | None,
    colours: NDArray[np.uint8],
    thumb: int,
    max_pixels: int,
) -> Entry:
    pixels, maps = decode_and_map(
        stored,
        session.score_maps_or_errors,
        acquisition=function,
        max_pixels=max_pixels,
        known=known,
    )
    height, width = pixels.shape[:2]
    scale = thumb / max(height, width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    shrink = Image.Resampling.HAMMING  # much faster than Lanczos, and sharp enough for a thumbnail
    frame = np.asarray(Image.fromarray(pixels).resize(size, shrink, reducing_gap=3.0))
    heat = _resized(maps.score, size, Image.Resampling.BILINEAR)
    factor = size[0] / width, size[1] / height
    outlines: list[tuple[Rings, str]] = [
        (rings_of_wkt(wkt, factor), text) for wkt, text in wanted.outlines
    ]
    share: float | None = None
    if not outlines:
        hot, part = hot_cells(maps.score)
        if part:
            outlines, share = [(rings_of_cells(hot, size), "")], part
    classes = _resized(maps.classes, size, Image.Resampling.NEAREST)
    return Entry(
        name=wanted.name,
        id=wanted.id,
        score=wanted.score,
        standing=wanted.standing,
        carried=share,
        why=wanted.why,
        frame=frame,
        heat=np.clip(heat, 0, None),
        classes=classes,
        outlines=outlines,
        pictures=pictures_of(frame, outlines, classes, colours),
    )


def _resized(plane: NDArray[Any], size: tuple[int, int], filter_: Image.Resampling) -> NDArray[Any]:
    resized = np.asarray(Image.fromarray(plane).resize(size, filter_))
    return resized.astype(plane.dtype)


def _key(
    selection: Selection,
    session: Session,
    function: Mapping[str, Any] | None,
    colours: NDArray[np.uint8],
    entries: Sequence[Entry],
) -> Key:
    measure = session.measure(function)
    spec = session.spec
    outlined = "the regions that carry the score"
    if any(entry.carried is not None for entry in entries):
        outlined = f"the tenth of the image with most {measure.label}"
    elif selection.metadata["table"] == "regions":
        outlined = "the region that was picked"
    return Key(
        title=selection.heading,
        shown=f"the first {len(entries)}" if len(entries) < len(selection) else "all of them",
        measure=measure.label,
        unit=measure.unit,
        top=measure.top(spec.num_classes),
        classes=spec.classes,
        colours=colours,
        outlined=outlined,
    )
