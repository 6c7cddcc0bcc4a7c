"""What follows scoring, whatever scored: ranking, previews, maps, the report and the record."""

from __future__ import annotations

import datetime
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deal._version import __version__
from deal.errors import UsageError
from deal.machine.files import writing
from deal.machine.packages import versions_of
from deal.pool.digests import DigestSet
from deal.pool.ids import path_to_id
from deal.results.parts import list_parts
from deal.results.schema import images_schema, regions_schema
from deal.run.config import ScoreConfig
from deal.run.progress import Progress, RunReport
from deal.run.sketch import QuantileSketch
from deal.scoring.kept import KeptOutputs
from deal.scoring.session import Session
from deal.types import COMMITTEE_COLUMNS

if TYPE_CHECKING:
    from deal.selection import Selection

_PACKAGES = {"torch": ("torch",), "openvino": ("openvino",)}

__all__ = ["Work", "check_columns", "finished", "rank", "record", "sketch_of"]


@dataclass(frozen=True, slots=True)
class Work:
    """What a run has done, as `RunReport` documents it."""

    total: int
    skipped: int
    scored: int
    duplicates: int
    errors: dict[str, int]
    seconds: float
    busy_seconds: dict[str, float]
    bound_by: str


def check_columns(
    config: ScoreConfig, classes: tuple[str, ...], *, has_difficulty: bool, has_committee: bool
) -> None:
    """Refuse a ranking by columns that the model of a run does not give; raises UsageError."""
    acquisition, model = config.ranking.acquisition, config.model[0]
    needs = config.ranking.bind(classes).columns
    if not has_difficulty and any("difficulty" in column for column in needs):
        raise UsageError(
            f"--acquisition {acquisition} ranks by difficulty and model {model} "
            "has no difficulty head: choose entropy, margin or least-confidence, or give a head "
            "file as --difficulty-head (deal fit-head --model MODEL --data LABELED -o head.json "
            "fits one)"
        )
    if not has_committee and set(needs) & set(COMMITTEE_COLUMNS):
        raise UsageError(
            f"--acquisition {acquisition} ranks by the votes of a committee, but only "
            f"{model} votes: give --model several times, --flip or --dropout-passes"
        )


def rank(config: ScoreConfig) -> Selection:
    """Rank what is stored and write the selection."""
    from deal.selection import select_by

    # No part is written if a shard has no image, or none that is ok.
    stored = list_parts(config.output / config.ranking.table)
    empty = images_schema if config.ranking.table == "images" else regions_schema
    sources: Any = config.output if stored else empty().empty_table()
    selection = select_by(sources, config.ranking)
    selection.write(config.output, csv_safe=config.csv_safe)
    return selection


def finished(
    config: ScoreConfig,
    work: Work,
    selection: Selection,
    notes: list[str],
    session: Callable[[], Session],
    progress: Callable[[Progress], None] | None,
    kept: KeptOutputs | None = None,
) -> RunReport:
    """Draw previews and store maps if they are asked for, and return the report.

    ``session`` gives the network, which runs again for what is not ``kept``; it is called only if
    there is something to draw.
    """
    said = list(notes)
    previews: Path | None = None
    with writing(config.output):
        (config.output / "previews.jpg").unlink(missing_ok=True)  # may be from another ranking
    if config.previews and len(selection):
        from deal.run.previews import write_previews

        previews, more = write_previews(
            config.output,
            selection,
            session(),
            sources=config.output,
            ranking=config.ranking,
            count=config.previews,
            max_pixels=config.max_pixels,
            endpoint_url=config.reading.endpoint_url,
            progress=progress,
            kept=kept,
        )
        said += more
    maps: Path | None = None
    if config.store_maps != "none" and len(selection):
        from deal.run.storing import store_maps

        maps = config.output / "maps"
        said += store_maps(
            config.output,
            session(),
            set(selection.ids) if config.store_maps == "selected" else None,
            shard=config.shard if config.store_maps == "all" else None,
            max_pixels=config.max_pixels,
            endpoint_url=config.reading.endpoint_url,
            progress=progress,
            kept=kept,
        )
    quarantined = sum(work.errors.values()) > 0 and config.max_errors is None
    return RunReport(
        output=config.output,
        total=work.total,
        skipped=work.skipped,
        scored=work.scored,
        duplicates=work.duplicates,
        errors=work.errors,
        selection=selection,
        seconds=work.seconds,
        busy_seconds=work.busy_seconds,
        bound_by=work.bound_by,
        notes=tuple(said),
        previews=previews,
        maps=maps,
        exit_code=3 if quarantined else 0,
    )


def record(
    config: ScoreConfig, report: RunReport, started: datetime.datetime, sketch: QuantileSketch
) -> dict[str, Any]:
    """Everything about a run besides the tables, as JSON values for ``runs/<shard>.json``."""
    return {
        "command": list(map(path_to_id, sys.argv)),
        "working_folder": path_to_id(str(Path.cwd())),
        "settings": config.to_dict(),
        "versions": _versions(config.scoring.runtime.engine),
        "started": started.isoformat(timespec="seconds"),
        "counts": {
            "total": report.total,
            "skipped": report.skipped,
            "scored": report.scored,
            "duplicates": report.duplicates,
            "errors": report.errors,
        },
        "seconds": report.seconds,
        "busy_seconds": report.busy_seconds,
        "bound_by": report.bound_by,
        "selection": report.selection.metadata,
        "score_sketch": sketch.to_dict(),
        "notes": list(report.notes),
        **({} if report.screen is None else {"screen": asdict(report.screen)}),
    }


def sketch_of(config: ScoreConfig) -> QuantileSketch:
    """Sketch the scores of all rows of this shard, also beyond the budget; empty for distances."""
    from deal.selection import score_sources

    sketch = QuantileSketch()
    if not list_parts(config.output / config.ranking.table):
        return sketch
    # No hash tells the ids of a shard that is a range of rows.
    own = DigestSet(config.items.ids()) if config.items.takes_rows else None
    is_mine = config.shard.contains if own is None else own.__contains__
    for ids, scores in score_sources(config.output, config.ranking):
        ranked = ~np.isnan(scores)
        if config.shard.count > 1:
            mine = [is_mine(item_id) for item_id in ids.to_pylist()]
            ranked &= np.array(mine, dtype=bool)
        sketch.add(scores[ranked])
    return sketch


def _versions(engine: str) -> dict[str, str]:
    packages = ["numpy", "pyarrow", "Pillow", "simplejpeg", "scikit-image"]
    packages += _PACKAGES.get(engine, ("onnxruntime", "onnxruntime-gpu"))
    own = {"deal-score": __version__, "python": platform.python_version()}
    return own | versions_of(packages)
