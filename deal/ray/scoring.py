"""``deal.ray.score``: a pool or a Ray data set, scored by all machines of a cluster."""

from __future__ import annotations

import datetime
import json
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Unpack

import pyarrow as pa
import pyarrow.compute as pc

from deal._install import pip_install
from deal._options import takes
from deal.acquisitions.options import OF_PLUGINS, function_options
from deal.errors import DealError, EngineUnavailableError, TooManyErrorsError, UsageError
from deal.machine.files import writing
from deal.pool.inside import Reading
from deal.pool.remote_path import RemotePath
from deal.ray.cluster import Need, address_of, aloud, connected, load, one_line, workers_for
from deal.ray.items import Listed, check_unique, listed
from deal.ray.passes import Dataset, in_blocks, no_worker, one_by_one, where
from deal.ray.remote import run_there
from deal.ray.worker import Done, Facts, facts_of
from deal.results.batches import StoredResults, write
from deal.results.output import Output
from deal.results.records import write_record
from deal.run.batch_scorer import check_item_columns, rows_of_failed, scorer_of
from deal.run.config import PoolOptions, RunSettings, ScoreConfig
from deal.run.ending import Work, check_columns, finished, rank, record, sketch_of
from deal.run.progress import Progress, RunReport
from deal.run.signals import interruptible
from deal.run.workers import open_session
from deal.scoring.masks import check_masks, save_masks
from deal.scoring.options import Network, Pixels, Runtime, Voting
from deal.selection import Ranking

__all__ = ["score"]

_ROWS = 512
_BLOCKS_PER_WORKER = 4
_IMAGES = "rows of images are all that workers write: score regions with deal-score --shard"
_PER_WORKER = "a worker takes as many threads as --threads says"
_WITHOUT = {
    **dict.fromkeys(("regions", "keep_regions", "outlines"), _IMAGES),
    **dict.fromkeys(("sessions", "decode_threads"), _PER_WORKER),
    "dedup": "neighbours may lie on different machines: give near_duplicates when you select",
    "shard": "the cluster divides the pool by itself",
    **dict.fromkeys(("screen", "screen_keep"), "screen on one machine, or on several by --shard"),
}


@takes(
    PoolOptions,
    *(Runtime, Network, Voting, Pixels, RunSettings, Reading, Ranking.of, function_options),
    otherwise=OF_PLUGINS,
    without=_WITHOUT,
)
def score(
    pool: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | pa.Table | Dataset,
    *,
    model: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    on: str = "ray",
    actors: int | tuple[int, int] | str = "auto",
    block_rows: int | None = None,
    patience: float = 120.0,
    progress: Callable[[Progress], None] | None = None,
    **options: Unpack[PoolOptions],
) -> RunReport:
    """Score a pool on a Ray cluster into an output folder and rank it, as `score_pool` does.

    The rows have the bits of ``deal-score``. If the run was interrupted, the same call continues
    where it stopped: images that are ok are skipped, failed ones are tried again. Where the process
    is connected to Ray already, that cluster is used.

    Parameters
    ----------
    pool : path, sequence of paths, pyarrow.Table or ray.data.Dataset
        Folders, globs, images and manifests, which workers have to find under the same names; or a
        table or data set of items as `BatchScorer` takes them.
    model : path or sequence of paths
        As in `score_pool`; workers have to find it under the same name.
    output : path
        The output folder, on a file system that all workers share, or in object storage.
    on : str
        ``ray``: a cluster of this call's own, on this machine. ``ray://auto``: the one that this
        machine belongs to. ``ray://HOST[:PORT]``: another one; all paths are those of its machines.
    actors : int, (int, int) or ``auto``
        How many workers, or how many at least and at most. Each takes ``threads`` CPUs (1 by
        default), with ``device="cuda"`` also one GPU. ``auto``: as many as fit.
    block_rows : int, optional
        Images of a block, whose rows become one part. By default 512, or fewer so that every worker
        gets several.
    patience : float
        Seconds to wait for the first worker. Other jobs may hold the cluster.
    progress : callable, optional
        Called with a `Progress` in the calling thread whenever a block is finished.

    Raises
    ------
    DealError
        One of its subclasses. Errors that can be found without scoring are raised before any work.
    InterruptedRunError
        The process was interrupted; finished blocks are stored.
    """
    address = address_of(on)
    if block_rows is not None and block_rows < 1:
        raise UsageError(f"block_rows must be at least 1, not {block_rows}")
    is_paths = isinstance(pool, (str, os.PathLike, list, tuple))
    sources: Any = pool if is_paths else ()
    config = ScoreConfig.parse(sources, model=model, output=output, **options)
    named: dict[str, Any] = {
        "model": model,
        "output": output,
        "actors": actors,
        "block_rows": block_rows,
    }
    progress = aloud(progress)
    with connected(address):
        if load().util.client.ray.is_connected():
            if not is_paths:
                raise UsageError("a data set cannot travel to another cluster: give a manifest")
            return run_there(
                lambda tell: score(sources, **named, patience=patience, progress=tell, **options),
                progress,
            )
        run = _Run(config, actors, block_rows, patience, progress)
        with interruptible(run.state):
            return run.finish(None if is_paths else pool)


class _Run:
    """One run, from the first checks to the ranking."""

    def __init__(
        self,
        config: ScoreConfig,
        actors: int | tuple[int, int] | str,
        block_rows: int | None,
        patience: float,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self._config = config
        self._actors = actors
        self._block_rows = block_rows
        self._patience = patience
        self._progress = progress
        runtime = config.scoring.runtime
        on_gpu = runtime.device.startswith("cuda")
        self._need = Need(cpus=runtime.threads or 1, gpus=float(on_gpu))
        is_remote = isinstance(config.output, RemotePath)
        self._output = config.output if is_remote else config.output.absolute()
        self._scorer = scorer_of(
            config.model,
            replace(config.scoring, runtime=replace(runtime, device="cuda" if on_gpu else "cpu")),
            decode_threads=self._need.cpus,
            max_pixels=config.max_pixels,
            endpoint_url=config.reading.endpoint_url,
        )
        self._total = self._skipped = self._scored = 0
        self._errors: Counter[str] = Counter()
        self._seconds: Counter[str] = Counter()
        self._started = time.monotonic()

    def state(self) -> Progress:
        """The counts as they are now."""
        failed = self._errors.total()
        seconds = time.monotonic() - self._started
        return Progress(self._total, self._skipped, self._scored + failed, failed, seconds)

    def finish(self, given: pa.Table | Dataset | None) -> RunReport:
        """Score what is missing, and rank all."""
        config = self._config
        is_dataset = given is not None and not isinstance(given, pa.Table)
        actors = workers_for(self._actors, self._need, reads=is_dataset)
        facts = self._facts()
        check_columns(
            config,
            facts.classes,
            has_difficulty=facts.has_difficulty,
            has_committee=facts.has_committee,
        )
        notes = list(facts.doubts)
        pool = listed(config.items) if given is None else Listed(_ids(given))
        if given is None:
            mask = config.scoring.pixels.mask
            notes += [
                *config.items.notes(),
                *check_masks(mask, config.items, max_pixels=config.max_pixels),
            ]
        check_unique(pool.items.column("id"))
        self._total = len(pool.items) + len(pool.failed)
        stored = StoredResults(self._output)
        if config.overwrite:
            self._overwrite(facts)
        stored.check(facts.schema)
        missing: pa.Table = stored.missing(pool.items)
        self._skipped = len(pool.items) - len(missing)
        save_masks(config.scoring.pixels.mask, config.output)
        started = datetime.datetime.now(datetime.UTC)
        self._started = time.monotonic()
        if pool.failed:
            rows = rows_of_failed(pool.failed, facts.schema)
            write(rows, self._output)
            self._count(Done.of_rows(rows, {}))
        if len(missing):
            self._score(missing, given if is_dataset else None, facts, actors)
        self._check_errors()
        return self._report(facts, actors, notes, started)

    def _facts(self) -> Facts:
        """What the model is like, as a worker finds it."""
        ray = load()
        asked = (
            ray.remote(facts_of)
            .options(num_cpus=self._need.cpus, num_gpus=self._need.gpus, max_retries=0)
            .remote(self._scorer)
        )
        if not ray.wait([asked], timeout=self._patience)[0]:
            ray.cancel(asked, force=True)
            raise no_worker(self._need, self._patience)
        try:
            found = ray.get(asked)
        except ray.exceptions.RayError as error:
            raise EngineUnavailableError(
                f"a worker cannot open the model ({one_line(error)}): install the same version of "
                f"deal on every machine of the cluster, {pip_install('ray', 'ort')}"
            ) from error
        if isinstance(found, DealError):
            raise found
        facts: Facts = found
        return facts

    def _overwrite(self, facts: Facts) -> None:
        settings = json.loads(facts.schema.metadata[b"deal.settings"])
        Output.open(self._output, settings=settings, classes=facts.classes, overwrite=True).close()

    def _score(
        self, missing: pa.Table, blocks: Dataset | None, facts: Facts, actors: tuple[int, int]
    ) -> None:
        """Score items: all in blocks, then those whose block was lost one by one."""
        rows = self._block_rows or _rows_of_block(len(missing), actors[1])
        wanted: pa.Array | None = None
        if blocks is None:
            tables = [missing.slice(at, rows) for at in range(0, len(missing), rows)]
            source = load().data.from_arrow(tables)
        else:
            source = blocks.repartition(target_num_rows_per_block=rows)
            wanted = missing.column("id").combine_chunks()
        left = dict.fromkeys(missing.column("id").to_pylist())
        for done in in_blocks(
            source, self._scorer, self._output, wanted, self._need, actors, patience=self._patience
        ):
            self._count(done)
            for item_id in done.ids:
                left.pop(item_id, None)
        if left:
            ids = pa.array(list(left), pa.string())
            lost = missing.filter(pc.is_in(missing.column("id"), ids))
            for done in one_by_one(
                lost if blocks is None else where(blocks, ids),
                self._scorer,
                facts.schema,
                self._output,
                self._need,
                actors[1],
                patience=self._patience,
            ):
                self._count(done)

    def _count(self, done: Done) -> None:
        if done.failure is not None:
            raise done.failure
        self._scored += done.scored
        self._errors.update(done.errors)
        self._seconds.update(done.seconds)
        if self._progress is not None:
            self._progress(self.state())
        limit = self._config.max_errors
        if limit is not None and limit.count is not None:
            self._check_errors()

    def _check_errors(self) -> None:
        limit, failed = self._config.max_errors, self._errors.total()
        if limit is not None and not limit.allows(failed, self._total):
            raise TooManyErrorsError(
                f"{failed} of {self._total} images failed, more than --max-errors {limit} allows: "
                f"see the column error in {self._config.output}/images, or allow more"
            )

    def _report(
        self,
        facts: Facts,
        actors: tuple[int, int],
        notes: list[str],
        started: datetime.datetime,
    ) -> RunReport:
        config = self._config
        work = Work(
            total=self._total,
            skipped=self._skipped,
            scored=self._scored,
            duplicates=0,
            errors=dict(sorted(self._errors.items())),
            seconds=time.monotonic() - self._started,
            busy_seconds=dict(self._seconds),
            bound_by=max(self._seconds, key=lambda stage: self._seconds[stage], default="network"),
        )
        selection = rank(config)
        with ExitStack() as opened:
            report = finished(
                config,
                work,
                selection,
                [*notes, *selection.notes],
                lambda: opened.enter_context(open_session(config)),
                self._progress,
            )
        with writing(config.output):
            how = {
                "device": facts.device,
                "ray": {"actors": actors, "cpus": self._need.cpus, "gpus": self._need.gpus},
            }
            fingerprint = facts.schema.metadata[b"deal.fingerprint"].decode()
            values = {**record(config, report, started, sketch_of(config)), **how}
            write_record(config.output, config.shard, fingerprint, values)
        return report


def _rows_of_block(total: int, workers: int) -> int:
    return min(_ROWS, max(math.ceil(total / (_BLOCKS_PER_WORKER * workers)), 1))


def _ids(given: pa.Table | Dataset) -> pa.Table:
    """The items of a table; of a data set their ids and versions alone."""
    if isinstance(given, pa.Table):
        check_item_columns(given.column_names)
        return given
    names = given.schema().names
    check_item_columns(names)
    wanted = [name for name in ("id", "source_version") if name in names]
    blocks = given.select_columns(wanted)
    return pa.concat_tables(blocks.iter_batches(batch_size=None, batch_format="pyarrow"))
