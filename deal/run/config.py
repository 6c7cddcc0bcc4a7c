"""What a scoring run is asked to do: one frozen record, checked before any work."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from deal.errors import UsageError
from deal.model.head import DifficultyHead
from deal.pool.decode import MAX_PIXELS
from deal.pool.ids import Shard, parse_shard, path_to_id
from deal.pool.listing import Pool
from deal.regions.sources import RegionSource, parse_regions
from deal.run.dedup import parse_dedup
from deal.scoring.committee import Members
from deal.scoring.masks import Masks, parse_masks
from deal.selection import Ranking

__all__ = ["AUTO", "ErrorLimit", "ScoreConfig", "parse_max_errors", "parse_sessions"]

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreConfig:
    """Settings of `score_pool`; the command line's options bear the same names.

    Attributes
    ----------
    pool : tuple of str
        Folders, globs, images and manifests (:class:`deal.pool.listing.Pool`).
    model : tuple of str
        ONNX files, or checkpoints for engine ``torch``: one, or the members of a committee, the
        first of which is the model whose own statistics are stored.
    output : Path
    engine, device, precision, model_options
        As in :func:`deal.engines.open_engine`.
    flip, dropout_passes, dropout_seed
        Further members of a committee (:class:`deal.committee.Members`).
    difficulty_head : DifficultyHead or str, optional
        Wins over the model's own.
    raster : ``input`` or ``image``
    regions : RegionSource, optional
        A grid, components, superpixels or segments (:mod:`deal.region_sources`).
    keep_regions : int, optional
        Store the top so many regions of an image; all that are not empty by default.
    outlines : bool
        Store the outlines of the regions kept, as WKT.
    scaled_decode : bool
        Decode JPEGs that are larger than the network's input straight to 1/2, 1/4 or 1/8 of their
        size, never below that input; True by default. Only with ``raster`` ``input``.
    mask : Masks, optional
        0 = ignore, in pixels of the oriented image; for all images, or by camera.
    ranking : Ranking
        What is ranked and selected in the end; :meth:`parse` takes its keywords.
    shard : Shard
    sequence_from : str, optional
        As in :class:`deal.pool.listing.Pool`.
    dedup : float, optional
        Threshold in grey levels (:mod:`deal.dedup`): frames that differ less from the last one
        kept of their sequence become rows ``duplicate``. None compares nothing.
    sessions : int or ``auto``, optional
        Networks that run at once. Default: on the CPU as many as there are cores for, with
        ``threads`` each; on CUDA 2, batches in flight through one network. ``auto``
        measures (:mod:`deal.layout`).
    threads : int, optional
        Of one session; 1 by default (engine ``torch``: every core).
    decode_threads : int, optional
        Every core by default; they rest while the network is the slower part.
    batch_size : int, optional
        Images of one size that go through the network together; 1 on the CPU, 32 on CUDA,
        where smaller ones are filled up.
    max_errors : ErrorLimit, optional
        More failed images than this end the run as a failure.
    max_pixels : int
        Larger images are not decoded.
    previews : int
        How many of the top ranks to draw on ``previews.jpg``.
    overwrite : bool
    """

    pool: tuple[str, ...]
    model: tuple[str, ...]
    output: Path
    engine: str = "ort"
    device: str = "auto"
    precision: str | None = None
    model_options: Mapping[str, Any] | None = None
    flip: bool = False
    dropout_passes: int = 0
    dropout_seed: int = 0
    difficulty_head: DifficultyHead | str | None = None
    raster: Literal["input", "image"] = "input"
    scaled_decode: bool = True
    regions: RegionSource | None = None
    keep_regions: int | None = None
    outlines: bool = False
    mask: Masks | None = None
    ranking: Ranking = field(default_factory=Ranking)
    shard: Shard = field(default_factory=Shard)
    sequence_from: str | None = None
    dedup: float | None = None
    sessions: int | str | None = None
    threads: int | None = None
    decode_threads: int | None = None
    batch_size: int | None = None
    max_errors: ErrorLimit | None = None
    max_pixels: int = MAX_PIXELS
    previews: int = 0
    overwrite: bool = False

    def __post_init__(self) -> None:
        Members.of(self.model, **self.members)
        if self.keep_regions is not None and self.regions is None:
            raise UsageError("keep_regions needs regions, such as grid:40")
        if self.ranking.table == "regions" and self.regions is None:
            raise UsageError(
                "to rank regions they have to be scored: give --regions, such as grid:40"
            )
        if self.outlines and self.regions is None:
            raise UsageError("--outlines needs --regions, such as components")
        names = ("keep_regions", "sessions", "threads", "decode_threads", "batch_size")
        for name in (*names, "max_pixels"):
            value = getattr(self, name)
            if isinstance(value, int) and value < 1:
                raise UsageError(f"{name} must be at least 1, not {value}")
        if self.dedup is not None and self.shard.count > 1:
            raise UsageError(
                "--dedup compares neighbours, which --shard takes apart: leave out one of them, or "
                "give each machine whole sequences as a pool of its own"
            )
        if self.sessions == AUTO and self.threads is not None:
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
        **options: Any,
    ) -> ScoreConfig:
        """Make a config from values or their text: ``shard="0/4"``, ``max_errors="0.1%"``.

        ``mask`` is what :func:`deal.masks.parse_masks` takes, ``regions`` what
        :func:`deal.region_sources.parse_regions` does; options that are no attributes are those
        of :func:`deal.select`. Raises UsageError for values that make no sense.
        """
        own = {item.name for item in fields(cls)}
        ranking = {name: options.pop(name) for name in list(options) if name not in own}
        for name, reader in _READERS.items():
            if name in options:
                options[name] = reader(options[name])
        return cls(
            pool=_paths(pool),
            model=_paths(model),
            output=Path(output),
            ranking=Ranking.of(**ranking),
            **options,
        )

    @property
    def items(self) -> Pool:
        """The images of this run's shard, to be counted and listed."""
        return Pool(self.pool, sequence_from=self.sequence_from, shard=self.shard)

    @property
    def members(self) -> dict[str, Any]:
        """Keyword arguments of `Scorer` that make a committee, beside several models."""
        return {
            "flip": self.flip,
            "dropout_passes": self.dropout_passes,
            "dropout_seed": self.dropout_seed,
        }

    @property
    def region_score(self) -> dict[str, Any] | None:
        """What ranks the regions of an image: the acquisition function, if it can; else None."""
        if self.ranking.of_regions(None) is None:
            return None
        ranking = self.ranking
        return {"acquisition": ranking.acquisition, "seed": ranking.seed, **ranking.options}

    def to_dict(self) -> dict[str, Any]:
        """Every setting as JSON values."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        head = self.difficulty_head
        return {
            **values,
            "pool": list(map(path_to_id, self.pool)),
            "model": list(map(path_to_id, self.model)),
            "output": path_to_id(str(self.output)),
            "model_options": dict(self.model_options or {}),
            "difficulty_head": head.to_dict()
            if isinstance(head, DifficultyHead)
            else head and path_to_id(head),
            "regions": None if self.regions is None else path_to_id(str(self.regions)),
            "mask": None if self.mask is None else self.mask.settings(),
            "ranking": self.ranking.to_dict(),
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


_READERS: dict[str, Callable[[Any], Any]] = {
    "dedup": parse_dedup,
    "mask": parse_masks,
    "max_errors": parse_max_errors,
    "regions": parse_regions,
    "sessions": parse_sessions,
    "shard": lambda shard: parse_shard(shard) if isinstance(shard, str) else shard or Shard(),
}
