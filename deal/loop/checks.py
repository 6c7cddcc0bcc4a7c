"""Checks before any training: whether rounds can be scored, and whether methods can pick."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow as pa

from deal.engines import find_device
from deal.errors import ResultsError, UsageError
from deal.kernel.regions import Grid
from deal.loop.config import LoopConfig
from deal.loop.labeled import Region
from deal.loop.picking import pixel_count, scoring_options, too_few
from deal.loop.pool import Pool
from deal.loop.records import named
from deal.results.schema import images_schema, regions_schema
from deal.run.config import ScoreConfig
from deal.selection import Ranking, select_by
from deal.selection.attributes import frame_numbers
from deal.selection.budget import parse_budget
from deal.selection.rules import IdList
from deal.types import COMMITTEE_COLUMNS

__all__ = ["check_methods", "check_scoring"]

# Attributes that only a manifest gives; a data set has no manifest.
_FROM_MANIFEST = ("camera", "timestamp_ns", "attributes")

_BOUNDLESS = 2**40  # pixels; so many that any share of them is more than none


def check_scoring(config: LoopConfig, methods: Iterable[str]) -> None:
    """Refuse a missing engine or device, and settings with which scoring is impossible.

    Parameters
    ----------
    config : LoopConfig
    methods : iterable of str
        Methods that still have picks to make; if there are none, the engine is not checked.

    Raises
    ------
    UsageError, EngineUnavailableError
        As :func:`deal.score_pool`.
    """
    for name in methods:
        with named("[scoring]"):
            find_device(config.scoring.engine, config.scoring.device)
        with named(f"[scoring] for [methods.{name}]:"):
            ScoreConfig.parse(
                "pool", model="model", output=config.folder, **scoring_options(config, name)
            )


def check_methods(config: LoopConfig, pool: Pool, runs: Iterable[tuple[str, int]]) -> None:
    """Refuse methods whose function or rules cannot work in any round of this pool.

    What rules allow depends on earlier picks, so this check only finds rules that no picks could
    meet.

    Parameters
    ----------
    config : LoopConfig
    pool : Pool
    runs : iterable of (method, seed)
        Runs that still have picks to make.

    Raises
    ------
    UsageError
        A function reads columns that rounds do not store, an option names a class that the data
        lack, or a rule names an attribute that no image has.
    DealError
        A rule allows less than a round must pick, whatever was picked before.
    """
    for name, seed in runs:
        _check_function(config, pool, name)
        _check_rules(config, pool, name, seed)


def _check_function(config: LoopConfig, pool: Pool, method: str) -> None:
    """Score an empty table that has the columns which this method's rounds will store."""
    given = config.methods[method]
    with _remedied(method):
        bound = given.ranking().bind(pool.classes)
        if not given.difficulty_loss and any("difficulty" in name for name in bound.columns):
            raise UsageError(
                f"{bound.name} ranks by difficulty, but difficulty_loss = false does not train "
                "it: give another function, or leave out difficulty_loss"
            )
        schemas = [images_schema(), *([regions_schema()] if given.picks_regions else [])]
        lacking = {*_FROM_MANIFEST}
        if not given.flip and not given.dropout_passes:
            lacking.update(COMMITTEE_COLUMNS)
        fields = {field.name: field for schema in schemas for field in schema}
        stored = pa.schema(field for name, field in fields.items() if name not in lacking)
        rows = stored.empty_table()
        if not bound.greedy:
            bound.scores(rows, bound.totals(rows))


def _check_rules(config: LoopConfig, pool: Pool, method: str, seed: int) -> None:
    """Let the selection try each rule alone, on all rows that a round could pick from."""
    given = config.methods[method]
    rules = list(_single_rules(given.ranking(), pool.initial(seed)))
    if not rules:
        return
    grid = raster = None
    if given.picks_regions:  # the prediction or the image decides about others than cells
        grid, raster = config.rounds.grid or Grid(1), pool.raster if config.rounds.grid else None
        raster = None if config.rounds.clicks_per_image is not None else raster
    what = "images" if grid is None else "pixels"
    rows = _rows(pool, grid, raster)
    amounts, slack = _amounts(pool, grid, raster)
    for wanted, number in amounts.items():
        budget = parse_budget(f"{what}:{wanted}")
        for rule in rules:
            with _remedied(method):
                spent = select_by(rows, replace(rule, budget=budget)).metadata["spent"]
            if wanted - spent >= slack:
                some = f"{'' if grid is None else 'regions of '}{spent} of the {wanted} {what}"
                raise too_few(method, seed, number, some)


def _amounts(
    pool: Pool, grid: Grid | None, raster: tuple[int, int] | None
) -> tuple[dict[int, int], float]:
    """How much rounds pick, in images or pixels, and the least shortage that ends a run.

    Returns
    -------
    amounts : dict of amount to number of the first round that picks it
    slack : float
        The least shortage. It is infinite if only a model will decide the raster or the regions; an
        unlimited budget then still shows whether images have the attributes that rules need.
    """
    if grid is not None and raster is None:
        return {_BOUNDLESS: 1}, math.inf
    unit = slack = 1
    if grid is not None and raster is not None:
        unit = raster[0] * raster[1]
        # A part smaller than one region may be left of each drive's share.
        slack = pixel_count(Region("", 0, raster), grid, raster) * len(set(pool.drives))
    amounts: dict[int, int] = {}
    for number, (before, after) in enumerate(pairwise(pool.counts), 1):
        amounts.setdefault(unit * (after - before), number)
    return amounts, slack


def _single_rules(ranking: Ranking, labeled: Iterable[str]) -> Iterator[Ranking]:
    """Yield each rule alone, so that a selection from `_rows` takes the most that it allows."""
    plain = replace(
        ranking,
        acquisition="entropy",
        options={},
        stochastic=None,
        diverse=None,
        by="score",
        cost="pixels" if ranking.table == "regions" else "count",
        quotas=(),
        stratify=None,
        min_gap=None,
        max_per_image=None,
        exclude=IdList(images=frozenset(labeled)),
    )
    for attribute in {quota.attribute: None for quota in ranking.quotas}:
        quotas = tuple(quota for quota in ranking.quotas if quota.attribute == attribute)
        yield replace(plain, quotas=quotas)
    if ranking.stratify is not None and not ranking.stratify.by_class:
        yield replace(plain, stratify=ranking.stratify)
    if ranking.min_gap is not None:
        yield replace(plain, min_gap=ranking.min_gap)
    if ranking.max_per_image is not None:
        yield replace(plain, max_per_image=ranking.max_per_image)


def _rows(pool: Pool, grid: Grid | None, raster: tuple[int, int] | None) -> pa.Table:
    """Rows with the columns that rules read, for images or for all of their regions.

    The first frames score best, so that a gap allows the most rows; within an image, the largest
    regions score best.
    """
    raster = raster or (1, 1)
    rows, columns = (1, 1) if grid is None else grid.shape(raster)
    numbers = np.arange(rows * columns, dtype=np.int32)
    regions = [Region("", number, raster) for number in numbers.tolist()]
    sizes = [1 if grid is None else pixel_count(each, grid, raster) for each in regions]
    images = np.repeat(np.arange(len(pool.ids)), len(numbers))
    pixels = np.tile(sizes, len(pool.ids))
    names = {"id": pool.ids, "sequence": pool.drives}
    table = pa.table({name: pa.array(of, pa.string()) for name, of in names.items()}).take(images)
    frames = frame_numbers(table).fill_null(0).to_numpy()
    scores = np.empty(len(images))
    scores[np.lexsort((-pixels, frames))] = np.arange(len(images), 0, -1)
    given = {"n_pixels": pixels, "entropy_mean": scores}
    if grid is not None:
        given["region"] = np.tile(numbers, len(pool.ids))
    for name, values in given.items():
        table = table.append_column(name, pa.array(values))
    for name in _FROM_MANIFEST:
        table = table.append_column(name, pa.nulls(len(table), images_schema().field(name).type))
    return table


@contextmanager
def _remedied(method: str) -> Iterator[None]:
    """Make errors name the method, and errors about results say what a loop's results can have."""
    try:
        with named(f"[methods.{method}]"):
            yield
    except ResultsError as error:
        raise UsageError(
            f"{error}. (In deal loop, flip = true or dropout_passes of a method makes a committee, "
            "and sequence_from of [data] gives sequences; there is no manifest.)"
        ) from error
