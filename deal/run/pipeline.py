"""``score_pool``: the whole run, from the first checks to ranking and previews."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Unpack

import pyarrow as pa

from deal import _native
from deal._options import takes
from deal.acquisitions.options import OF_PLUGINS, function_options
from deal.machine.meter import peak_memory
from deal.pool.inside import Reading
from deal.pool.pixels import DARK, STRAY
from deal.pool.saving import write_manifest
from deal.results.output import Output
from deal.run.config import PoolOptions, RunSettings, ScoreConfig
from deal.run.dedup import dedup_settings
from deal.run.ending import Work, check_columns, finished, rank, record, sketch_of
from deal.run.engine import settled
from deal.run.ledger import Ledger
from deal.run.progress import InterruptedRunError, Progress, RunReport, Screened
from deal.run.sessions import layout_for
from deal.run.steps import Steps
from deal.run.workers import Line, open_session
from deal.scoring.kept import KeptOutputs
from deal.scoring.masks import check_masks, save_masks
from deal.scoring.options import CONCERNS
from deal.selection import Ranking

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
    saved: list[str] = []
    if config.save_manifest is not None:
        saved = write_manifest(config.save_manifest, config.whole_pool)
    config, chosen = settled(config)
    with open_session(config) as scorer:
        check_columns(
            config,
            scorer.spec.classes,
            has_difficulty=scorer.has_difficulty,
            has_committee=scorer.has_committee,
        )
        notes = [*items.notes(), *saved, *chosen, *scorer.doubts]
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
            engine=scorer.engine,
            overwrite=config.overwrite,
            shard=config.shard,
            by_rows=items.takes_rows,
        ) as results:
            save_masks(mask, config.output)
            by_camera = mask is not None and bool(mask.cameras)
            ledger = Ledger(results, total, config.max_errors, progress, by_camera=by_camera)
            layout = layout_for(config, scorer, max(total - results.done_count, 0))
            notes += layout.notes()
            draws = config.previews > 0 or config.store_maps != "none"
            kept = KeptOutputs() if draws else None
            steps = Steps(scorer, max_pixels=config.max_pixels, kept=kept)
            line = Line(config, scorer, ledger, layout, steps)
            started = datetime.datetime.now(datetime.UTC)
            device, screened = scorer.device, None
            if config.screen is None:
                line.run()
            else:
                from deal.run.screened import Screening

                screening = Screening(config, scorer, results, ledger, layout, line, progress)
                screened = screening.run()
            busy = dict(line.meter.seconds)
            scored_peak = peak_memory()
            results.check_rows()
            foreign = [*ledger.doubts.sentences(scorer.spec.classes)]
            foreign += _notes(ledger, is_whole=config.screen is None)
            foreign += line.fetcher.notes()
            # Free the memory of scoring first, so that ranking needs no more than scoring did.
            results.forget()
            if not draws:
                scorer.close()
            sketch = sketch_of(config)
            pa.default_memory_pool().release_unused()
            work = Work(
                total=total,
                skipped=ledger.skipped if screened is None else _stored(ledger, screened),
                scored=ledger.scored,
                duplicates=ledger.duplicates,
                errors=dict(sorted(ledger.errors.items())),
                seconds=line.seconds,
                busy_seconds=busy,
                bound_by=line.bound_by(),
            )
            with results.exclusive():  # so that the last of several shards to end ranks them all
                selection = rank(config)
                if screened is not None:
                    before, screened = screened, screening.judged(screened, selection)
                    if screened != before:  # the notes of a selection say what its picks reach
                        selection = rank(config)
            said = [*notes, *selection.notes, *foreign]
            report = finished(config, work, selection, said, lambda: scorer, progress, kept)
            report = replace(report, screen=screened)
            how = {
                "device": device,
                "device_properties": _device_properties(device),
                "sessions": line.layout.sessions,
                "sessions_measured": line.layout.measured,
                "threads": line.layout.threads,
                "decode_threads": line.decoders,
                "batch_size": line.layout.batch_size,
                "peak_memory": {"scored": scored_peak, "ranked": peak_memory()},
            }
            results.write_run({**record(config, report, started, sketch), **how})
            return report


def _stored(ledger: Ledger, screened: Screened) -> int:
    """Images with an exact row of an earlier run: a screened run asks of some more than once."""
    new = ledger.scored + ledger.duplicates + ledger.errors.total()
    return max(ledger.total - new - screened.skipped, 0)


def _notes(ledger: Ledger, *, is_whole: bool) -> list[str]:
    """What a run noticed; ``is_whole`` says whether it went through all of its pool."""
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
    if stale > 0 and is_whole:
        notes.append(
            f"{ledger.output.path} also holds {stale} images of earlier runs that are not in this "
            "pool; they are ranked too"
        )
    return notes


def _device_properties(device: str) -> dict[str, Any] | None:
    """Name, compute capability, memory and CUDA versions of a GPU; None for the CPU."""
    if device == "cpu" or not _native.has_cuda():
        return None
    return dict(_native.device_properties(int(device.partition(":")[2])))
