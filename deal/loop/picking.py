"""The picks of one round: score and rank the pool with the code that users run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deal.errors import DealError, ModelError
from deal.kernel.regions import Grid
from deal.loop.config import LoopConfig
from deal.loop.labeled import Item, Region, area, image_of, regions_of, write_labeled
from deal.loop.pool import Pool
from deal.results.reading import read_regions, read_results
from deal.selection import Selection, select
from deal.selection.options import SelectOptions

__all__ = ["Picking", "pixel_count", "scoring_options", "too_few"]

Score: TypeAlias = Callable[[Path, Mapping[str, Any]], Path]


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
        "regions": config.rounds.source if given.picks_regions else None,
        "outlines": given.picks_regions and config.rounds.grid is None,
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

    def pick(self, score: Score, labeled: Sequence[Item]) -> list[Item]:
        """Score the pool and choose the items to label next.

        Parameters
        ----------
        score : callable
            :meth:`deal.loop.learner.Learner.score` of the round's network.
        labeled : sequence of Item
            The items in ``labeled.csv``.

        Raises
        ------
        DealError
            The pool cannot be scored, or the method's rules allow less than the round must pick.
        """
        model = score(self.folder / "results", scoring_options(self.config, self.method))
        if self.config.methods[self.method].picks_regions:
            picks, selection = self._regions(model, labeled)
        else:
            picks, selection = self._images(labeled)
        selection.write(self.folder)
        return picks

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
        """Pick regions worth the images that the next round adds, in pixels or clicks."""
        rounds, results = self.config.rounds, self.folder / "results"
        grid = rounds.grid
        raster = _raster(results, model, labeled if grid is not None else ())
        found = {} if grid is not None else _outlined(results)
        images = self.pool.counts[self.number] - self.pool.counts[self.number - 1]
        if rounds.clicks_per_image is None:
            known = sum(pixel_count(item, grid, raster) for item in labeled)
            limit = self.pool.counts[self.number] * raster[0] * raster[1] - known
            unit, slack = "pixels", _largest(found, grid, raster)
        else:
            limit, unit, slack = rounds.clicks_per_image * images, "clicks", 1
        asked = self._selection(f"{unit}:{limit}")
        if grid is None:
            asked["exclude"] = self.folder / "known.csv"
            write_labeled(self.folder / "known.csv", _known(found, labeled))
        selection = select(results, **asked)
        numbers = selection.table.column("region").to_pylist()
        names = zip(selection.ids, numbers, strict=True)
        picks: list[Item] = [
            found[name].region if found else Region(*name, raster) for name in names
        ]
        spent = len(picks)
        if unit == "pixels":
            spent = sum(pixel_count(item, grid, raster) for item in picks)
        if limit - spent >= slack:
            left = _left(found, _known(found, labeled), unit) if grid is None else limit
            if limit - left >= slack:
                raise DealError(
                    f"{self.method}-seed{self.seed} round {self.number}: regions of {left} {unit} "
                    f"are left in the pool, fewer than the {limit} that the round must pick: let "
                    "[rounds] labeled end earlier, or lower its budget"
                )
            raise self._too_few(f"regions of {spent} of the {limit} {unit}")
        return picks, selection

    def _selection(self, budget: int | str) -> SelectOptions:
        """Options of :func:`deal.select`; each round has another seed for draws by scores."""
        picks = len(self.config.rounds.labeled) - 1
        asked = self.config.methods[self.method].asked(self.number, picks)
        seed = self.seed
        if asked.get("stochastic") is not None:
            seed = int(np.random.SeedSequence((self.seed, self.number)).generate_state(1)[0])
        if str(budget).startswith("clicks"):  # one for each region, whatever its outline
            asked |= {"click_corner": 0.0, "click_length": 0.0, "click_fixed": 1.0}
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
            f"an input_size, the same in every round, and delete {results.parent}, so that the "
            "same deal loop trains it again"
        )
    return rasters.pop()


class _Offer(NamedTuple):
    """A region that a round may pick, and its box x0, y0, x1, y1 in pixels of the image."""

    region: Region
    box: tuple[int, int, int, int]


def _outlined(results: Path) -> dict[tuple[str, int], _Offer]:
    """Regions that a round may pick, by id of the image and number."""
    sizes = {
        row["id"]: (row["height"], row["width"])
        for row in read_results(results, ["id", "height", "width"]).to_pylist()
    }
    table = read_regions(results, ["id", "region", "polygon", "n_pixels", "x0", "y0", "x1", "y1"])
    found = {}
    for image, number, outline, pixels, *box in zip(*table.to_pydict().values(), strict=True):
        region = Region(image, number, sizes[image], outline, pixels)
        found[image, number] = _Offer(region, (box[0], box[1], box[2], box[3]))
    return found


def _known(found: Mapping[tuple[str, int], _Offer], labeled: Sequence[Item]) -> list[Item]:
    """Images that are labeled, and regions of which at least half was labeled in earlier rounds."""
    of = regions_of(labeled)
    covered = {}
    for image, regions in of.items():
        areas = (area(region, region.raster, None) for region in regions)
        covered[image] = functools.reduce(np.logical_or, areas)
    known: list[Item] = [item for item in labeled if isinstance(item, str)]
    for region, (x0, y0, x1, y1) in found.values():
        old = covered.get(region.image)
        if old is not None and old[y0:y1, x0:x1].any():
            inside = area(region, region.raster, None)
            if 2 * int((inside & old).sum()) >= int(inside.sum()):
                known.append(Region(region.image, region.number, region.raster))
    return known


def _left(found: Mapping[tuple[str, int], _Offer], known: Sequence[Item], unit: str) -> int:
    """What the regions are worth that are not ``known``, in pixels or clicks."""
    images = {item for item in known if isinstance(item, str)}
    regions = {(item.image, item.number) for item in known if isinstance(item, Region)}
    free = [
        offer.region
        for name, offer in found.items()
        if name not in regions and name[0] not in images
    ]
    return len(free) if unit == "clicks" else sum(region.pixels for region in free)


def _largest(
    found: Mapping[tuple[str, int], _Offer], grid: Grid | None, raster: tuple[int, int]
) -> int:
    """Pixels of the largest region: as many may be left of a budget that rules do not limit."""
    if grid is not None:
        return min(grid.cell, raster[0]) * min(grid.cell, raster[1])
    return max((region.pixels for region, _ in found.values()), default=1)


def pixel_count(item: Item, grid: Grid | None, raster: tuple[int, int]) -> int:
    """Number of raster pixels of an image or a region."""
    height, width = raster
    if isinstance(item, str):
        return height * width
    if item.outline:
        return item.pixels
    assert grid is not None
    row, column = divmod(item.number, grid.shape(raster)[1])
    return min(grid.cell, height - row * grid.cell) * min(grid.cell, width - column * grid.cell)
