"""The settings of a scoring run as one frozen record, checked before any work."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Unpack

from deal._options import check_threads, check_whole
from deal.errors import UsageError
from deal.pool.decode import MAX_PIXELS
from deal.pool.ids import Shard, parse_shard, path_to_id
from deal.pool.inside import Reading, ReadingOptions
from deal.pool.listing import Pool
from deal.pool.remote_path import RemotePath, place
from deal.run.dedup import parse_dedup
from deal.run.screen_check import KEEP, check_screen, parse_screen
from deal.scoring.committee import Members
from deal.scoring.options import Scoring, ScoringOptions
from deal.selection.options import SelectOptions
from deal.selection.ranking import Ranking

__all__ = [
    "AUTO",
    "STORE_MAPS",
    "ErrorLimit",
    "PoolOptions",
    "RunSettings",
    "ScoreConfig",
    "parse_max_errors",
    "parse_sessions",
]

STORE_MAPS = ("none", "selected", "all")
AUTO = "auto"  # value of ``sessions``: measure on the first image of the pool


@dataclass(frozen=True, slots=True)
class ErrorLimit:
    """The number of images that may fail: a count, or a percentage of the pool."""

    count: int | None = None
    percent: Fraction | None = None

    def allows(self, errors: int, total: int) -> bool:
        """Whether ``errors`` of ``total`` images are within the limit."""
        if self.percent is not None:
            return errors * 100 <= self.percent * total
        return self.count is None or errors <= self.count

    def __str__(self) -> str:
        return f"{float(self.percent):g}%" if self.percent is not None else str(self.count)


class PoolOptions(ScoringOptions, SelectOptions, ReadingOptions, total=False):
    """Types of the options of ``score_pool``: for scoring, for selecting, and of `RunSettings`."""

    shard: Shard | str
    sequence_from: str | None
    skip: Sequence[str]
    dedup: float | str | None
    screen: float | str | os.PathLike[str] | None
    screen_keep: float
    sessions: int | str | None
    decode_threads: int | None
    max_errors: ErrorLimit | int | str | None
    max_pixels: int
    save_manifest: str | os.PathLike[str] | None
    previews: int
    store_maps: Literal["none", "selected", "all"]
    overwrite: bool
    csv_safe: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """Options of a run over a pool, in addition to those of scoring and selecting.

    Parameters
    ----------
    shard : str or Shard
        Score only one part of the pool, ``"0/4"`` … ``"3/4"``: chosen by a hash of the id, or, of a
        pool that is one manifest in Parquet, a range of its rows.
    sequence_from : str, optional
        Regular expression that is searched in an image's id; its first group is the name of the
        image's sequence.
    skip : sequence of str
        Globs; images are left out if their id, or a folder in it, matches one.
    dedup : float, optional
        Threshold in grey levels (:mod:`deal.run.dedup`). A frame that differs by no more than this
        from the last kept frame of its sequence gets the status ``duplicate``. None compares no
        frames.
    screen : ``auto``, a factor or a path, optional
        Score the whole pool cheaply first, and exactly only what can still reach the budget
        (:mod:`deal.run.screened`): at ``0.5`` of the height and width of the network's input, with
        the cheaper model of a file, or, with ``auto``, at the factor that costs least. The others
        get the status ``skipped``.
    screen_keep : float
        The share of the best possible mean score that the picks have to reach, with 95 %
        confidence. Images are scored exactly until a bound says so.
    sessions : int or ``auto``, optional
        Number of sessions that run at once. By default there are, on the CPU, as many networks as
        the cores allow with ``threads`` each; on CUDA there is one network with 2 batches in
        flight. ``auto`` measures what is faster (:mod:`deal.run.sessions`).
    decode_threads : int, optional
        Threads that decode images; by default one per core. They wait while the network is slower.
    max_errors : int or str, optional
        ``10`` or ``"0.1%"`` of the pool; the run ends with an error if more images fail. None
        allows any number.
    max_pixels : int
        Images with more pixels are not decoded and become error rows.
    save_manifest : path, optional
        A file ``.jsonl``: before scoring, write the whole pool to it as a manifest, with the
        versions of objects in stores, so that later runs need not list them.
    previews : int
        Number of top ranks to draw on ``previews.jpg``.
    store_maps : ``none``, ``selected`` or ``all``
        Store predicted classes, difficulty and entropy of every pixel of the images that are
        selected, or of all, as PNG files below ``maps/`` (:mod:`deal.results.maps`). They are made
        after the ranking, in one further pass over these images.
    overwrite : bool
        Remove earlier results in the output folder first.
    csv_safe : bool
        Guard text in ``selection.csv`` that a spreadsheet would run as a formula
        (:meth:`deal.Selection.write`).

    Raises
    ------
    UsageError
        A value is out of range.
    """

    shard: Shard = Shard()  # noqa: RUF009 (frozen)
    sequence_from: str | None = None
    skip: tuple[str, ...] = ()
    dedup: float | None = None
    screen: str | None = None
    screen_keep: float = KEEP
    sessions: int | str | None = None
    decode_threads: int | None = None
    max_errors: ErrorLimit | None = None
    max_pixels: int = MAX_PIXELS
    save_manifest: str | None = None
    previews: int = 0
    store_maps: str = "none"
    overwrite: bool = False
    csv_safe: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreConfig(RunSettings):
    """All settings of `score_pool`; the options of the command line have the same names.

    Attributes
    ----------
    pool : tuple of str
        Folders, globs, images and manifests (:class:`deal.pool.listing.Pool`).
    model : tuple of str
        ONNX files, or checkpoints for engine ``torch``: one model, or the members of a committee.
        Statistics of a single model are those of the first.
    output : Path
        On this machine, or in object storage (`deal.pool.remote_path`).
    scoring : Scoring
    reading : Reading
        What is read of files that hold images.
    ranking : Ranking
        How rows are ranked and selected at the end.
    """

    pool: tuple[str, ...]
    model: tuple[str, ...]
    output: Path
    scoring: Scoring = field(default_factory=Scoring)
    reading: Reading = field(default_factory=Reading)
    ranking: Ranking = field(default_factory=Ranking)

    def __post_init__(self) -> None:
        Members.of(self.model, self.scoring.voting)
        runtime, chosen = self.scoring.runtime, self.scoring.choice
        sessions = None if self.sessions == AUTO else self.sessions
        check_threads(sessions=sessions, decode_threads=self.decode_threads)
        check_whole(1, max_pixels=self.max_pixels)
        check_whole(0, previews=self.previews)
        if chosen.keep_regions is not None and chosen.regions is None:
            raise UsageError("keep_regions needs regions, such as grid:40")
        if self.ranking.table == "regions" and chosen.regions is None:
            raise UsageError(
                "ranking regions needs scored regions: give --regions, such as grid:40"
            )
        if chosen.outlines and chosen.regions is None:
            raise UsageError("--outlines needs --regions, such as components")
        if self.dedup is not None and self.shard.count > 1:
            raise UsageError(
                "--dedup compares neighbours, but --shard separates them: leave out one of the "
                "options, or give each machine whole sequences as its own pool"
            )
        if self.sessions == AUTO and runtime.threads is not None:
            raise UsageError("--sessions auto also chooses the threads: leave out --threads")
        if self.save_manifest is not None and not self.save_manifest.endswith(".jsonl"):
            raise UsageError(f"--save-manifest {self.save_manifest!r} must end with .jsonl")
        if isinstance(self.output, RemotePath):
            self._check_store()
        check_screen(
            self.screen,
            self.screen_keep,
            self.ranking,
            has_regions=chosen.regions is not None,
            has_dedup=self.dedup is not None,
            is_remote=isinstance(self.output, RemotePath),
        )
        if self.store_maps not in STORE_MAPS:
            raise UsageError(
                f"store_maps must be {', '.join(STORE_MAPS[:-1])} or {STORE_MAPS[-1]}, not "
                f"{self.store_maps!r}"
            )

    def _check_store(self) -> None:
        """Refuse what an output in object storage cannot do."""
        if self.overwrite:
            raise UsageError(
                f"--overwrite removes nothing in object storage, where another machine may write "
                f"meanwhile: remove {self.output} with the tools of the store, or choose another "
                "--output"
            )
        if self.store_maps != "none":
            raise UsageError(
                "--store-maps needs an --output on this machine: leave it out, copy the results "
                "when the run is done, and run deal select COPY --store-maps selected"
            )

    @classmethod
    def parse(
        cls,
        pool: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        model: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        output: str | os.PathLike[str],
        **options: Unpack[PoolOptions],
    ) -> ScoreConfig:
        """Make a config from values or text such as ``shard="0/4"``, ``max_errors="0.1%"``.

        Raises UsageError for invalid values.
        """
        given: dict[str, Any] = dict(options)
        scoring = {name: given.pop(name) for name in _SCORING if name in given}
        own = {item.name for item in fields(RunSettings)}
        run = {name: given.pop(name) for name in own if name in given}
        read = {item.name for item in fields(Reading)}
        reading = {name: given.pop(name) for name in read if name in given}
        if "topic" in reading:
            reading["topic"] = _several(reading["topic"])
        for name, reader in _READERS.items():
            if name in run:
                run[name] = reader(run[name])
        return cls(
            pool=_paths(pool),
            model=_paths(model),
            output=place(output, options.get("endpoint_url"), "--output"),
            scoring=Scoring.of(**scoring),
            reading=Reading(**reading),
            ranking=Ranking.of(**given),
            **run,
        )

    @property
    def items(self) -> Pool:
        """The images of this run's shard, as a pool to count and list."""
        return self._pool(self.shard)

    @property
    def whole_pool(self) -> Pool:
        """The images of all shards."""
        return self._pool(Shard())

    def _pool(self, shard: Shard) -> Pool:
        return Pool(
            self.pool,
            sequence_from=self.sequence_from,
            shard=shard,
            skip=self.skip,
            reading=self.reading,
        )

    @property
    def region_score(self) -> dict[str, Any] | None:
        """The acquisition function if it can rank the regions of one image, else None."""
        if self.ranking.of_regions(None) is None:
            return None
        ranking = self.ranking
        return {"acquisition": ranking.acquisition, "seed": ranking.seed, **ranking.options}

    def to_dict(self) -> dict[str, Any]:
        """Every setting as JSON values."""
        return {
            "pool": list(map(path_to_id, self.pool)),
            "model": list(map(path_to_id, self.model)),
            "output": path_to_id(str(self.output)),
            **self.scoring.settings(),
            **asdict(self.reading),
            "ranking": self.ranking.to_dict(),
            **{item.name: getattr(self, item.name) for item in fields(RunSettings)},
            "shard": str(self.shard),
            "max_errors": None if self.max_errors is None else str(self.max_errors),
        }


def _paths(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
) -> tuple[str, ...]:
    several = [paths] if isinstance(paths, (str, os.PathLike)) else paths
    return tuple(os.fspath(path) for path in several)


def parse_max_errors(limit: str | int | ErrorLimit | None) -> ErrorLimit | None:
    """Read ``10``, ``"10"`` or ``"0.1%"``; None is no limit. UsageError otherwise."""
    if limit is None or isinstance(limit, ErrorLimit):
        return limit
    text = str(limit).strip()
    try:
        if text.endswith("%"):
            percent = Fraction(text[:-1])
            if 0 <= percent <= 100:
                return ErrorLimit(percent=percent)
        elif int(text) >= 0:
            return ErrorLimit(count=int(text))
    except (ValueError, ZeroDivisionError):
        pass
    raise UsageError(
        f"--max-errors must be a number of images or a percentage of the pool, such as 10 or "
        f"0.1%; not {text!r}"
    )


def parse_sessions(value: int | str | None) -> int | str | None:
    """Read a number, ``auto``, or None; UsageError otherwise."""
    if value is None or value == AUTO:
        return value
    try:
        return int(value)
    except ValueError:
        raise UsageError(f"--sessions must be a number or {AUTO}, not {value!r}") from None


def _several(texts: str | Sequence[str]) -> tuple[str, ...]:
    return (texts,) if isinstance(texts, str) else tuple(texts)


_SCORING = frozenset(ScoringOptions.__annotations__)
_READERS: dict[str, Callable[[Any], Any]] = {
    "dedup": parse_dedup,
    "max_errors": parse_max_errors,
    "screen": parse_screen,
    "save_manifest": lambda path: None if path is None else os.fspath(path),
    "sessions": parse_sessions,
    "skip": _several,
    "shard": lambda shard: (
        shard if isinstance(shard, Shard) else Shard() if shard is None else parse_shard(str(shard))
    ),
}
