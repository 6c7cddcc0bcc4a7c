"""One round's picks: the pool scored with what users run, and ranked as they rank it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from deal.errors import DealError, ModelError
from deal.loop.config import LoopConfig
from deal.loop.labeled import Item, Region, write_labeled
from deal.loop.pool import Pool
from deal.pipeline import score_pool
from deal.regions import Grid
from deal.results import read_results
from deal.selection import Selection, select

__all__ = ["Picking"]

Raster = tuple[int, int]


@dataclass(frozen=True)
class Picking:
    """What a run picks after one of its rounds.

    Attributes
    ----------
    config : LoopConfig
    pool : Pool
    method : str
        One of the configuration's.
    seed, number : int
        The run's seed; the round, from 1.
    folder : Path
        Of the round: it has ``labeled.csv``, and gets ``results/`` and the selection.
    """

    config: LoopConfig
    pool: Pool
    method: str
    seed: int
    number: int
    folder: Path

    def pick(self, model: Path, labeled: Sequence[Item]) -> list[Item]:
        """Score the pool with a model and choose what is labeled next.

        Parameters
        ----------
        model : Path
        labeled : sequence of Item
            What ``labeled.csv`` holds.

        Raises
        ------
        DealError
            The pool cannot be scored, or the method's rules leave less than the round asks for.
        """
        given = self.config.methods[self.method]
        self._score(model)
        whole = [item for item in labeled if isinstance(item, str)]
        size = self.config.rounds.subset(len(self.pool.ids) - len(whole))
        unseen = set(self.pool.ids) - set(whole)
        unseen -= self.pool.candidates(self.seed, self.number, whole, size)
        if given.picks_regions:
            picks, selection = self._regions(model, labeled, sorted(unseen))
        else:
            picks, selection = self._images(unseen)
        selection.write(self.folder)
        return picks

    def _score(self, model: Path) -> None:
        given, scoring = self.config.methods[self.method], self.config.scoring
        score_pool(
            self.pool.images,
            model=model,
            output=self.folder / "results",
            engine=scoring.engine,
            device=scoring.device,
            batch_size=scoring.batch_size,
            sessions=scoring.sessions,
            threads=scoring.threads,
            sequence_from=self.config.data.sequence_from,
            regions=self.config.rounds.grid if given.picks_regions else None,
            flip=given.flip,
            dropout_passes=given.dropout_passes,
            dropout_seed=given.dropout_seed,
            acquisition="entropy",  # which every model has: the method's own ranks below
            max_errors=0,
        )

    def _images(self, unseen: set[str]) -> tuple[list[Item], Selection]:
        table = read_results(self.folder / "results")
        if unseen:
            table = table.filter(pc.invert(pc.is_in(table.column("id"), pa.array(sorted(unseen)))))
        wanted = self.pool.counts[self.number] - self.pool.counts[self.number - 1]
        selection = select(
            table,
            **self.config.methods[self.method].selection,
            seed=self.seed,
            budget=wanted,
            exclude=self.folder / "labeled.csv",
        )
        if len(selection) != wanted:
            raise self._too_few(f"{len(selection)} of the {wanted} images")
        return list(selection.ids), selection

    def _regions(
        self, model: Path, labeled: Sequence[Item], unseen: list[str]
    ) -> tuple[list[Item], Selection]:
        """Of as many pixels as the next round's images have on average, less those labeled."""
        grid = self.config.rounds.grid
        assert grid is not None
        exclude = [self.folder / "labeled.csv"]
        if unseen:
            exclude.append(self.folder / "unseen.csv")
            write_labeled(exclude[1], unseen)
        rasters = _rasters(self.folder / "results")
        for item in labeled:
            if isinstance(item, Region) and item.raster != rasters[item.image]:
                raise ModelError(
                    f"model {model} has another input_size than that of an earlier round: regions "
                    "are cells of one raster, so every round needs the same"
                )
        mean = sum(height * width for height, width in rasters.values()) / len(rasters)
        known = sum(_pixels(item, grid, rasters) for item in labeled)
        limit = int(self.pool.counts[self.number] * mean) - known
        selection = select(
            self.folder / "results",
            **self.config.methods[self.method].selection,
            seed=self.seed,
            budget=f"pixels:{limit}",
            exclude=exclude,
        )
        numbers = selection.table.column("region").to_pylist()
        picks: list[Item] = [
            Region(image, number, rasters[image])
            for image, number in zip(selection.ids, numbers, strict=True)
        ]
        spent = sum(_pixels(item, grid, rasters) for item in picks)
        if limit - spent >= grid.cell**2:
            raise self._too_few(f"regions of {spent} of the {limit} pixels")
        return picks, selection

    def _too_few(self, what: str) -> DealError:
        return DealError(
            f"{self.method}-seed{self.seed} round {self.number}: the rules of "
            f"[methods.{self.method}] leave {what} to pick; loosen them"
        )


def _rasters(results: Path) -> dict[str, Raster]:
    """Raster (H, W) of every image."""
    table = read_results(results, ["id", "raster_height", "raster_width"])
    ids, heights, widths = (table.column(name).to_pylist() for name in table.column_names)
    return dict(zip(ids, zip(heights, widths, strict=True), strict=True))


def _pixels(item: Item, grid: Grid, rasters: Mapping[str, Raster]) -> int:
    """How many raster pixels an image or a region has."""
    if isinstance(item, str):
        height, width = rasters[item]
        return height * width
    height, width = item.raster
    row, column = divmod(item.number, grid.shape(item.raster)[1])
    return min(grid.cell, height - row * grid.cell) * min(grid.cell, width - column * grid.cell)
