"""The picks of one round: score and rank the pool with the code that users run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deal.errors import DealError, ModelError
from deal.kernel.regions import Grid
from deal.loop.config import LoopConfig
from deal.loop.labeled import Item, Region, image_of
from deal.loop.pool import Pool
from deal.results.reading import read_results
from deal.run.pipeline import score_pool
from deal.selection import Selection, select
from deal.selection.options import SelectOptions

__all__ = ["Picking", "pixel_count", "scoring_options", "too_few"]


def scoring_options(config: LoopConfig, method: str) -> dict[str, Any]:
    """Options of :func:`deal.score_pool` after every round of a method."""
    given, scoring = config.methods[method], config.scoring
    return {
        "engine": scoring.engine,
        "device": scoring.device,
        "batch_size": scoring.batch_size,
        "sessions": scoring.sessions,
        "threads": scoring.threads,
        "sequence_from": config.data.sequence_from,
        "regions": config.rounds.grid if given.picks_regions else None,
        "flip": given.flip,
        "dropout_passes": given.dropout_passes,
        "dropout_seed": given.dropout_seed,
        "acquisition": "entropy",  # works for every model; the method's own function ranks later
        "max_errors": 0,
    }


@dataclass(frozen=True)
class Picking:
    """Picks items for a run after one of its rounds.

    Attributes
    ----------
    config : LoopConfig
    pool : Pool
    method : str
        Name of a method in the configuration.
    seed, number : int
        The seed of the run, and the number of the round, from 1.
    folder : Path
        Folder of the round, which has ``labeled.csv`` and gets ``results/`` and the selection.
    """

    config: LoopConfig
    pool: Pool
    method: str
    seed: int
    number: int
    folder: Path

    def pick(self, model: Path, labeled: Sequence[Item]) -> list[Item]:
        """Score the pool with a model and choose the items to label next.

        Parameters
        ----------
        model : Path
        labeled : sequence of Item
            The items in ``labeled.csv``.

        Raises
        ------
        DealError
            The pool cannot be scored, or the method's rules allow less than the round must pick.
        """
        self._score(model)
        if self.config.methods[self.method].picks_regions:
            picks, selection = self._regions(model, labeled)
        else:
            picks, selection = self._images(labeled)
        selection.write(self.folder)
        return picks

    def _score(self, model: Path) -> None:
        score_pool(
            self.pool.images,
            model=model,
            output=self.folder / "results",
            **scoring_options(self.config, self.method),
        )

    def _images(self, labeled: Sequence[Item]) -> tuple[list[Item], Selection]:
        table = read_results(self.folder / "results")
        if self.config.rounds.pool_subset is not None:
            known = [image_of(item) for item in labeled]
            size = self.config.rounds.subset(len(self.pool.ids) - len(known))
            seen = self.pool.candidates(self.seed, self.number, known, size).union(known)
            table = table.filter(pc.is_in(table.column("id"), pa.array(sorted(seen))))
        wanted = self.pool.counts[self.number] - self.pool.counts[self.number - 1]
        selection = select(table, **self._selection(wanted))
        if len(selection) != wanted:
            raise self._too_few(f"{len(selection)} of the {wanted} images")
        return list(selection.ids), selection

    def _regions(self, model: Path, labeled: Sequence[Item]) -> tuple[list[Item], Selection]:
        """Pick regions with as many pixels as the next round's images have, less those labeled."""
        grid = self.config.rounds.grid
        assert grid is not None
        raster = _raster(self.folder / "results", model, labeled)
        height, width = raster
        known = sum(pixel_count(item, grid, raster) for item in labeled)
        limit = self.pool.counts[self.number] * height * width - known
        selection = select(self.folder / "results", **self._selection(f"pixels:{limit}"))
        numbers = selection.table.column("region").to_pylist()
        picks: list[Item] = [
            Region(image, number, raster)
            for image, number in zip(selection.ids, numbers, strict=True)
        ]
        spent = sum(pixel_count(item, grid, raster) for item in picks)
        if limit - spent >= min(grid.cell, height) * min(grid.cell, width):
            raise self._too_few(f"regions of {spent} of the {limit} pixels")
        return picks, selection

    def _selection(self, budget: int | str) -> SelectOptions:
        """Options of :func:`deal.select`; each round has another seed for draws by scores."""
        picks = len(self.config.rounds.labeled) - 1
        asked = self.config.methods[self.method].asked(self.number, picks)
        seed = self.seed
        if asked.get("stochastic") is not None:
            seed = int(np.random.SeedSequence((self.seed, self.number)).generate_state(1)[0])
        labeled = self.folder / "labeled.csv"
        return {**asked, "seed": seed, "budget": budget, "exclude": labeled}

    def _too_few(self, what: str) -> DealError:
        return too_few(self.method, self.seed, self.number, what)


def too_few(method: str, seed: int, number: int, what: str) -> DealError:
    """The error about a method whose rules allow only ``what`` after round ``number``."""
    return DealError(
        f"{method}-seed{seed} round {number}: the rules of [methods.{method}] allow only {what} "
        "that the round must pick; loosen them"
    )


def _raster(results: Path, model: Path, labeled: Sequence[Item]) -> tuple[int, int]:
    """Raster (H, W) of all images in this and earlier rounds; ModelError if there are several."""
    table = read_results(results, ["raster_height", "raster_width"])
    rasters = {(row["raster_height"], row["raster_width"]) for row in table.to_pylist()}
    rasters |= {item.raster for item in labeled if isinstance(item, Region)}
    if len(rasters) > 1:
        listed = ", ".join(f"{height}x{width}" for height, width in sorted(rasters))
        raise ModelError(
            f"regions are cells of one raster, but model {model} has several ({listed}): give it "
            "an input_size, the same in every round"
        )
    return rasters.pop()


def pixel_count(item: Item, grid: Grid, raster: tuple[int, int]) -> int:
    """Number of raster pixels of an image or a region."""
    height, width = raster
    if isinstance(item, str):
        return height * width
    row, column = divmod(item.number, grid.shape(raster)[1])
    return min(grid.cell, height - row * grid.cell) * min(grid.cell, width - column * grid.cell)
