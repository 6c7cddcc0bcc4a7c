"""``score_pool``: the whole run, from the first checks to ranking and previews."""

from __future__ import annotations

import datetime
import os
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import pyarrow as pa

from deal import _native
from deal._options import takes
from deal._version import __version__
from deal.acquisitions.options import OF_PLUGINS, function_options
from deal.errors import UsageError
from deal.machine.meter import peak_memory
from deal.machine.packages import versions_of
from deal.pool.ids import path_to_id
from deal.pool.inside import Reading
from deal.pool.pixels import DARK, STRAY
from deal.pool.saving import write_manifest
from deal.results.output import Output
from deal.results.parts import list_parts
from deal.results.schema import images_schema, regions_schema
from deal.run.config import PoolOptions, RunSettings, ScoreConfig
from deal.run.dedup import dedup_settings
from deal.run.ledger import Ledger
from deal.run.progress import InterruptedRunError, Progress, RunReport
from deal.run.sessions import layout_for
from deal.run.sketch import QuantileSketch
from deal.run.storing import store_maps
from deal.run.workers import Line, open_session
from deal.scoring.masks import check_masks, save_masks
from deal.scoring.options import CONCERNS
from deal.scoring.session import Session
from deal.selection import Ranking, score_sources, select_by
from deal.types import COMMITTEE_COLUMNS

__all__ = ["InterruptedRunError", "Progress", "RunReport", "ScoreConfig", "score_pool"]


@takes(
    PoolOptions, *CONCERNS, RunSettings, Reading, Ranking.of, function_options, otherwise=OF_PLUGINS
)
def score_pool(
    pool: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    model: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    progress: Callable[[Progress], None] | None = None,
    **options: Unpack[PoolOptions],
) -> RunReport:
    """Score a pool into an output folder and rank it, as ``deal-score`` does.

    If a run was interrupted, the same call continues where the run stopped: stored images are
    skipped, and failed ones are tried again.

    Parameters
    ----------
    pool : path or sequence of paths
        Folders, globs, images and manifests.
    model : path or sequence of paths
        Several models are a committee: all of them vote, and the other statistics are those of the
        first.
    output : path
        The output folder.
    progress : callable, optional
        Called with a `Progress` in the calling thread whenever images are finished.

    Raises
    ------
    DealError
        One of its subclasses (:mod:`deal.errors`). Errors that can be found without scoring are
        raised before any work.
    InterruptedRunError
        SIGINT or SIGTERM arrived; finished images are stored. It is a KeyboardInterrupt.
    """
    config = ScoreConfig.parse(pool, model=model, output=output, **options)
    mask, keep = config.scoring.pixels.mask, config.scoring.choice.keep_regions
    items = config.items
    total = items.count()
    if config.save_manifest is not None:
        write_manifest(config.save_manifest, config.whole_pool)
    with open_session(config) as scorer:
        _check_columns(config, scorer)
        notes = [*items.notes(), *scorer.doubts]
        notes += check_masks(mask, items, max_pixels=config.max_pixels)
        if keep is not None and config.region_score is None:
            default = "ds" if scorer.has_difficulty else "entropy"
            notes.append(
                f"{config.ranking.acquisition} cannot rank the regions of one image, so {default} "
                f"chose the {keep} that are kept"
            )
        with Output.open(
            config.output,
            settings={**scorer.fingerprint_settings(), **dedup_settings(config.dedup)},
            classes=scorer.spec.classes,
            overwrite=config.overwrite,
            shard=config.shard,
        ) as results:
            save_masks(mask, config.output)
            by_camera = mask is not None and bool(mask.cameras)
            ledger = Ledger(results, total, config.max_errors, progress, by_camera=by_camera)
            layout = layout_for(config, scorer, max(total - results.done_count, 0))
            notes += layout.notes()
            line = Line(config, scorer, ledger, layout)
            started = datetime.datetime.now(datetime.UTC)
            device, seconds = scorer.device, line.run()
            scored_peak = peak_memory()
            results.check_rows()
            foreign = [*ledger.doubts.sentences(scorer.spec.classes), *_notes(ledger)]
            foreign += line.fetcher.notes()
            # Free the memory of scoring first, so that ranking needs no more than scoring did.
            results.forget()
            if not config.previews and config.store_maps == "none":
                scorer.close()
            sketch = _sketch(config)
            pa.default_memory_pool().release_unused()
            report = _report(config, scorer, ledger, line, seconds, (notes, foreign), progress)
            record = _record(config, device, line, report, started, sketch)
            record["notes"] = list(report.notes)
            record["peak_memory"] = {"scored": scored_peak, "ranked": peak_memory()}
            results.write_run(record)
            return report


def _check_columns(config: ScoreConfig, scorer: Session) -> None:
    """Refuse a ranking by columns that this scorer does not compute."""
    acquisition = config.ranking.acquisition
    needs = config.ranking.bind(scorer.spec.classes).columns
    if not scorer.has_difficulty and any("difficulty" in column for column in needs):
        raise UsageError(
            f"--acquisition {acquisition} ranks by difficulty and model {scorer.spec.path} "
            "has no difficulty head: choose entropy, margin or least-confidence, or give a head "
            "file as --difficulty-head (deal fit-head --model MODEL --data LABELED -o head.json "
            "fits one)"
        )
    if not scorer.has_committee and set(needs) & set(COMMITTEE_COLUMNS):
        raise UsageError(
            f"--acquisition {acquisition} ranks by the votes of a committee, but only "
            f"{scorer.spec.path} votes: give --model several times, --flip or --dropout-passes"
        )


def _report(
    config: ScoreConfig,
    scorer: Session,
    ledger: Ledger,
    line: Line,
    seconds: float,
    notes: tuple[list[str], list[str]],
    progress: Callable[[Progress], None] | None,
) -> RunReport:
    with ledger.output.exclusive():  # so that the last of several shards to end ranks them all
        # No part is written if a shard has no image, or none that is ok.
        stored = list_parts(config.output / config.ranking.table)
        empty = images_schema if config.ranking.table == "images" else regions_schema
        sources: Any = config.output if stored else empty().empty_table()
        selection = select_by(sources, config.ranking)
        selection.write(config.output, csv_safe=config.csv_safe)
    said = [*notes[0], *selection.notes, *notes[1]]
    previews: Path | None = None
    (config.output / "previews.jpg").unlink(missing_ok=True)  # may be from another ranking
    if config.previews and len(selection):
        from deal.run.previews import write_previews

        previews, more = write_previews(
            config.output,
            selection,
            scorer,
            sources=config.output,
            ranking=config.ranking,
            count=config.previews,
            max_pixels=config.max_pixels,
            endpoint_url=config.reading.endpoint_url,
        )
        said += more
    maps: Path | None = None
    if config.store_maps != "none" and len(selection):
        maps = config.output / "maps"
        said += store_maps(
            config.output,
            scorer,
            set(selection.ids) if config.store_maps == "selected" else None,
            shard=config.shard if config.store_maps == "all" else None,
            max_pixels=config.max_pixels,
            endpoint_url=config.reading.endpoint_url,
            progress=progress,
        )
    quarantined = ledger.errors.total() > 0 and config.max_errors is None
    return RunReport(
        output=config.output,
        total=ledger.total,
        skipped=ledger.skipped,
        scored=ledger.scored,
        duplicates=ledger.duplicates,
        errors=dict(sorted(ledger.errors.items())),
        selection=selection,
        seconds=seconds,
        busy_seconds=dict(line.meter.seconds),
        bound_by=line.bound_by(),
        notes=tuple(said),
        previews=previews,
        maps=maps,
        exit_code=3 if quarantined else 0,
    )


def _notes(ledger: Ledger) -> list[str]:
    notes = []
    if stray := ledger.marks[STRAY.removeprefix(";")]:
        notes.append(
            f"{stray} JPEGs have stray bytes between their segments (color_mode …{STRAY}); the "
            "bytes were skipped, and the pictures are complete"
        )
    if dark := ledger.marks[DARK.removeprefix(";")]:
        notes.append(
            f"{dark} images of 16-bit grey stay below 4096, as 12-bit cameras write them, and are "
            f"read as nearly black (color_mode …{DARK}): store them scaled to 16 or to 8 bits"
        )
    if ledger.redescribed:
        notes.append(
            f"{ledger.redescribed} images that were stored before got the sequence, camera, time "
            "or attributes that this pool gives now"
        )
    stale = ledger.output.done_count - ledger.state().finished
    if stale > 0:
        notes.append(
            f"{ledger.output.path} also holds {stale} images of earlier runs that are not in this "
            "pool; they are ranked too"
        )
    return notes


def _record(
    config: ScoreConfig,
    device: str,
    line: Line,
    report: RunReport,
    started: datetime.datetime,
    sketch: QuantileSketch,
) -> dict[str, Any]:
    """Write ``runs/<shard>.json``, which holds everything about the run besides the tables."""
    return {
        "command": list(map(path_to_id, sys.argv)),
        "working_folder": path_to_id(str(Path.cwd())),
        "settings": config.to_dict(),
        "versions": _versions(config.scoring.runtime.engine),
        "started": started.isoformat(timespec="seconds"),
        "device": device,
        "device_properties": _device_properties(device),
        "sessions": line.layout.sessions,
        "sessions_measured": line.layout.measured,
        "threads": line.layout.threads,
        "decode_threads": line.decoders,
        "batch_size": line.layout.batch_size,
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
    }


def _device_properties(device: str) -> dict[str, Any] | None:
    """Name, compute capability, memory and CUDA versions of a GPU; None for the CPU."""
    if device == "cpu" or not _native.has_cuda():
        return None
    return dict(_native.device_properties(int(device.partition(":")[2])))


def _sketch(config: ScoreConfig) -> QuantileSketch:
    """Sketch the scores of all rows of this shard, also beyond the budget; empty for distances."""
    sketch = QuantileSketch()
    if not list_parts(config.output / config.ranking.table):
        return sketch
    for ids, scores in score_sources(config.output, config.ranking):
        ranked = ~np.isnan(scores)
        if config.shard.count > 1:
            mine = [config.shard.contains(item_id) for item_id in ids.to_pylist()]
            ranked &= np.array(mine, dtype=bool)
        sketch.add(scores[ranked])
    return sketch


def _versions(engine: str) -> dict[str, str]:
    packages = ["numpy", "pyarrow", "Pillow", "simplejpeg", "scikit-image"]
    packages += ["torch"] if engine == "torch" else ["onnxruntime", "onnxruntime-gpu"]
    own = {"deal-score": __version__, "python": platform.python_version()}
    return own | versions_of(packages)
