"""What a scoring run is asked to do: one frozen record, checked before any work."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from fractions import Fraction
from pathlib import Path
from typing import Any, Unpack

from deal.errors import UsageError
from deal.pool.decode import MAX_PIXELS
from deal.pool.ids import Shard, parse_shard, path_to_id
from deal.pool.listing import Pool
from deal.run.dedup import parse_dedup
from deal.scoring.committee import Members
from deal.scoring.options import Scoring, ScoringOptions
from deal.selection.ranking import Ranking, SelectOptions

__all__ = [
    "AUTO",
    "ErrorLimit",
    "PoolOptions",
    "RunSettings",
    "ScoreConfig",
    "parse_max_errors",
    "parse_sessions",
]

AUTO = "auto"  # of ``sessions``: measured on the first image of the pool


@dataclass(frozen=True, slots=True)
class ErrorLimit:
    """How many images may be quarantined: a count, or a percentage of the pool."""

    count: int | None = None
    percent: Fraction | None = None

    def allows(self, errors: int, total: int) -> bool:
        """Whether ``errors`` of ``total`` images are within the limit."""
        if self.percent is not None:
            return errors * 100 <= self.percent * total
        return self.count is None or errors <= self.count

    def __str__(self) -> str:
        return f"{float(self.percent):g}%" if self.percent is not None else str(self.count)


class PoolOptions(ScoringOptions, SelectOptions, total=False):
    """Types of the options of ``score_pool``: of scoring, of selecting, and of `RunSettings`."""

    shard: Shard | str
    sequence_from: str | None
    skip: Sequence[str]
    dedup: float | str | None
    sessions: int | str | None
    decode_threads: int | None
    max_errors: ErrorLimit | int | str | None
    max_pixels: int
    previews: int
    overwrite: bool
    csv_safe: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """Options of a run over a pool, beside those of scoring and of selecting.

    Parameters
    ----------
    shard : str or Shard
        ``"0/4"`` … ``"3/4"``: only this part of the pool, by a hash of the id.
    sequence_from : str, optional
        Regular expression whose first group, searched in an image's id, names its sequence.
    skip : sequence of str
        Globs: images whose id, or a folder of it, matches one are left out.
    dedup : float, optional
        Threshold in grey levels (:mod:`deal.run.dedup`): frames that differ by no more from the
        last one kept of their sequence become rows ``duplicate``. None compares nothing.
    sessions : int or ``auto``, optional
        Networks that run at once. Default: on the CPU as many as there are cores for, with
        ``threads`` each; on CUDA 2, batches in flight through one network. ``auto``
        measures (:mod:`deal.run.sessions`).
    decode_threads : int, optional
        Threads that decode images; every core by default. They rest while the network is the
        slower part.
    max_errors : int or str, optional
        ``10`` or ``"0.1%"`` of the pool: more failed images than this end the run as a failure.
        None allows any number.
    max_pixels : int
        Larger images are not decoded.
    previews : int
        How many of the top ranks to draw on ``previews.jpg``.
    overwrite : bool
        Remove earlier results in the output folder first.
    csv_safe : bool
        Mark text in ``selection.csv`` that a spreadsheet would run as a formula
        (:meth:`deal.Selection.write`).

    Raises
    ------
    UsageError
        A number is too small.
    """

    shard: Shard = Shard()  # noqa: RUF009 (frozen)
    sequence_from: str | None = None
    skip: tuple[str, ...] = ()
    dedup: float | None = None
    sessions: int | str | None = None
    decode_threads: int | None = None
    max_errors: ErrorLimit | None = None
    max_pixels: int = MAX_PIXELS
    previews: int = 0
    overwrite: bool = False
    csv_safe: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreConfig(RunSettings):
    """Everything that `score_pool` is asked for; the command line's options bear the same names.

    Attributes
    ----------
    pool : tuple of str
        Folders, globs, images and manifests (:class:`deal.pool.listing.Pool`).
    model : tuple of str
        ONNX files, or checkpoints for engine ``torch``: one, or the members of a committee, the
        first of which is the model whose own statistics are stored.
    output : Path
    scoring : Scoring
    ranking : Ranking
        What is ranked and selected in the end.
    """

    pool: tuple[str, ...]
    model: tuple[str, ...]
    output: Path
    scoring: Scoring = field(default_factory=Scoring)
    ranking: Ranking = field(default_factory=Ranking)

    def __post_init__(self) -> None:
        Members.of(self.model, self.scoring.voting)
        runtime, chosen = self.scoring.runtime, self.scoring.choice
        if chosen.keep_regions is not None and chosen.regions is None:
            raise UsageError("keep_regions needs regions, such as grid:40")
        if self.ranking.table == "regions" and chosen.regions is None:
            raise UsageError(
                "to rank regions they have to be scored: give --regions, such as grid:40"
            )
        if chosen.outlines and chosen.regions is None:
            raise UsageError("--outlines needs --regions, such as components")
        for name, value in (
            ("keep_regions", chosen.keep_regions),
            ("sessions", self.sessions),
            ("threads", runtime.threads),
            ("decode_threads", self.decode_threads),
            ("batch_size", runtime.batch_size),
            ("max_pixels", self.max_pixels),
        ):
            if isinstance(value, int) and value < 1:
                raise UsageError(f"{name} must be at least 1, not {value}")
        if self.dedup is not None and self.shard.count > 1:
            raise UsageError(
                "--dedup compares neighbours, which --shard takes apart: leave out one of them, or "
                "give each machine whole sequences as a pool of its own"
            )
        if self.sessions == AUTO and runtime.threads is not None:
            raise UsageError("--sessions auto measures the threads, too: leave out --threads")
        if self.previews < 0:
            raise UsageError(f"previews must be at least 0, not {self.previews}")

    @classmethod
    def parse(
        cls,
        pool: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        model: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        output: str | os.PathLike[str],
        **options: Unpack[PoolOptions],
    ) -> ScoreConfig:
        """Make a config from values or their text: ``shard="0/4"``, ``max_errors="0.1%"``.

        Raises UsageError for values that make no sense.
        """
        given: dict[str, Any] = dict(options)
        scoring = {name: given.pop(name) for name in _SCORING if name in given}
        own = {item.name for item in fields(RunSettings)}
        run = {name: given.pop(name) for name in own if name in given}
        for name, reader in _READERS.items():
            if name in run:
                run[name] = reader(run[name])
        return cls(
            pool=_paths(pool),
            model=_paths(model),
            output=Path(output),
            scoring=Scoring.of(**scoring),
            ranking=Ranking.of(**given),
            **run,
        )

    @property
    def items(self) -> Pool:
        """The images of this run's shard, to be counted and listed."""
        return Pool(self.pool, sequence_from=self.sequence_from, shard=self.shard, skip=self.skip)

    @property
    def region_score(self) -> dict[str, Any] | None:
        """What ranks the regions of an image: the acquisition function, if it can; else None."""
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
    """``10``, ``"10"`` or ``"0.1%"``; None is no limit. UsageError on anything else."""
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
    """A number, ``auto``, or None; UsageError on anything else."""
    if value is None or value == AUTO:
        return value
    try:
        return int(value)
    except ValueError:
        raise UsageError(f"--sessions must be a number or {AUTO}, not {value!r}") from None


_SCORING = frozenset(ScoringOptions.__annotations__)
_READERS: dict[str, Callable[[Any], Any]] = {
    "dedup": parse_dedup,
    "max_errors": parse_max_errors,
    "sessions": parse_sessions,
    "skip": lambda skip: (skip,) if isinstance(skip, str) else tuple(skip),
    "shard": lambda shard: parse_shard(shard) if isinstance(shard, str) else shard or Shard(),
}
