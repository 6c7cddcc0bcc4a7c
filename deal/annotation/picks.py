"""What is to be labeled, in rank order: ``selection.csv``, or any CSV file with a column ``id``."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from deal.errors import ResultsError, UsageError
from deal.kernel.geometry import box_outline
from deal.machine.files import check_regular
from deal.results.reading import iter_results, read_regions
from deal.run.reopen import stored_images
from deal.selection import COLUMNS
from deal.selection.document import unguarded

__all__ = [
    "Pick",
    "Region",
    "Source",
    "by_image",
    "find_images",
    "read_picks",
    "with_outlines",
    "with_scores",
]

_CORNER = re.compile(r"(-?[\d.]+) (-?[\d.]+)")


@dataclass(frozen=True, slots=True)
class Region:
    """A region of an image: its number and outline (WKT, pixels of the oriented original)."""

    number: int
    outline: str

    def box(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """The box x0, y0, x1, y1 (half-open) round the region, within an image of size (H, W)."""
        corners = [(float(x), float(y)) for x, y in _CORNER.findall(self.outline)]
        if not corners:
            return 0, 0, 0, 0
        xs, ys = [x for x, _ in corners], [y for _, y in corners]
        x0, y0 = max(math.floor(min(xs)), 0), max(math.floor(min(ys)), 0)
        return x0, y0, min(math.ceil(max(xs)), size[1]), min(math.ceil(max(ys)), size[0])


@dataclass(frozen=True, slots=True)
class Pick:
    """One row of a selection.

    Attributes
    ----------
    rank : int
        Its place, from 1.
    id : str
        Of the image.
    score : float or None
    regions : tuple of Region
        Empty where the whole image is picked.
    """

    rank: int
    id: str
    score: float | None = None
    regions: tuple[Region, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Source:
    """Where the image of a pick lies, of which version, its camera and size (H, W); as stored."""

    uri: str
    version: str
    camera: str | None = None
    size: tuple[int, int] | None = None


def read_picks(path: Path) -> tuple[list[Pick], list[str]]:
    """The picks of a file in its order, and notes on rows that name a pick again.

    Regions whose outline the file does not give have an empty one.

    Raises
    ------
    UsageError
        The file cannot be read, has no column ``id``, or no row.
    """
    picks: dict[tuple[str, str], Pick] = {}
    notes: list[str] = []
    try:
        check_regular(path)
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            columns = tuple(rows.fieldnames or ())
            if "id" not in columns:
                raise UsageError(
                    f"{path} has no column id: give a selection.csv, or a CSV file whose first "
                    "line names a column id"
                )
            for row in rows:
                item_id = row["id"] or ""
                if not item_id:
                    raise UsageError(f"{path}, line {rows.line_num}: the id is empty")
                item_id = unguarded(item_id) if columns == COLUMNS else item_id
                key = item_id, row.get("region") or ""
                if key in picks:
                    notes.append(f"{item_id} is in {path.name} more than once: the first counts")
                    continue
                picks[key] = _pick(len(picks) + 1, item_id, row, f"{path}, line {rows.line_num}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(
            f"{path}: {reason}; give a selection.csv (deal select OUT -o OUT writes one) or "
            "--selection FILE"
        ) from error
    if not picks:
        raise UsageError(f"{path} names no image: there is nothing to annotate")
    return list(picks.values()), notes


def with_scores(picks: Sequence[Pick], selection: Path) -> list[Pick]:
    """Picks with the scores of a ``selection.csv``, if it is there, where they have none."""
    if all(pick.score is not None for pick in picks) or not selection.is_file():
        return list(picks)
    scores = {_key(pick): pick.score for pick in read_picks(selection)[0]}
    return [
        pick if pick.score is not None else replace(pick, score=scores.get(_key(pick)))
        for pick in picks
    ]


def _key(pick: Pick) -> tuple[str, tuple[int, ...]]:
    return pick.id, tuple(region.number for region in pick.regions)


def _pick(rank: int, item_id: str, row: dict[str, str], place: str) -> Pick:
    number = row.get("region") or ""
    if number and not number.isdecimal():
        raise UsageError(f"{place}: region {number!r} is not a number")
    try:
        score = float(row["score"]) if row.get("score") else None
    except ValueError as error:
        raise UsageError(f"{place}: score {row['score']!r} is not a number") from error
    if score is not None and not math.isfinite(score):
        score = None
    regions = (Region(int(number), row.get("polygon") or ""),) if number else ()
    return Pick(rank, item_id, score, regions)


def by_image(picks: Sequence[Pick]) -> list[Pick]:
    """One pick per image, at its best rank, with all regions that are picked in it."""
    found: dict[str, Pick] = {}
    for pick in picks:
        known = found.get(pick.id)
        if known is None:
            found[pick.id] = replace(pick, rank=len(found) + 1)
        elif known.regions and pick.regions:
            found[pick.id] = replace(known, regions=known.regions + pick.regions)
        else:  # the whole image is picked, too
            found[pick.id] = replace(known, regions=())
    return list(found.values())


def find_images(output: Path, picks: Sequence[Pick]) -> tuple[dict[str, Source], list[str]]:
    """Where the images of picks lie, by id, and the names of the classes.

    Raises
    ------
    ResultsError
        The folder holds no results, or none of the picks.
    """
    metadata = next(iter_results(output, ["id"])).schema.metadata or {}
    classes: list[str] = json.loads(metadata[b"deal.classes"])
    stored = stored_images(output, {pick.id for pick in picks})
    if not stored:
        raise ResultsError(
            f"{output} holds none of the images of the selection (the first is {picks[0].id}): "
            "name the folder from which it was selected"
        )
    found = {
        item_id: Source(image.item.uri, image.item.source_version, image.item.camera, image.size)
        for item_id, image in stored.items()
    }
    return found, classes


def with_outlines(output: Path, picks: Sequence[Pick]) -> list[Pick]:
    """Picks whose regions all have an outline: of ``regions/*.parquet`` where the file has none."""
    lacking = {pick.id for pick in picks if any(not r.outline for r in pick.regions)}
    if not lacking:
        return list(picks)
    columns = ["id", "region", "x0", "y0", "x1", "y1", "polygon"]
    table = read_regions(output, columns)
    table = table.filter(pc.is_in(table.column("id"), value_set=pa.array(sorted(lacking))))
    outlines = {(row["id"], row["region"]): _outline(row) for row in table.to_pylist()}
    return [replace(pick, regions=tuple(_outlined(pick, outlines))) for pick in picks]


def _outline(row: dict[str, object]) -> str:
    if row["polygon"]:
        return str(row["polygon"])
    x0, y0, x1, y1 = (float(str(row[edge])) for edge in ("x0", "y0", "x1", "y1"))
    return box_outline(x0, y0, x1, y1)


def _outlined(pick: Pick, outlines: dict[tuple[str, int], str]) -> Iterator[Region]:
    for region in pick.regions:
        outline = region.outline or outlines.get((pick.id, region.number))
        if outline is None:
            raise ResultsError(
                f"region {region.number} of {pick.id} is not among the stored regions: select "
                "regions that --keep-regions has kept"
            )
        yield Region(region.number, outline)
