"""The regions that a scorer measures, the choice of those it keeps, and their rows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal.acquisitions import Bound
from deal.errors import ItemError, UsageError
from deal.kernel.regions import Grid, Segments
from deal.regions.sources import Components, RegionSource
from deal.scoring.inputs import InputGroup
from deal.scoring.region_rows import region_rows
from deal.types import Statistics

__all__ = ["RegionPlan", "Regions"]

Regions = Grid | Segments | None


@dataclass(frozen=True, slots=True)
class RegionPlan:
    """Takes regions from their source to rows of the table.

    Parameters
    ----------
    source : RegionSource or None
    score : Bound
        The acquisition function that ranks the regions of an image.
    keep : int, optional
        The number of regions to keep per image; None keeps all that are not empty.
    outlines : bool
        Whether rows have the column ``polygon``.

    Raises
    ------
    UsageError
        ``source`` has the wrong type, another option needs a source and there is none, or ``keep``
        is below 1.
    """

    source: RegionSource | None
    score: Bound
    keep: int | None = None
    outlines: bool = False

    def __post_init__(self) -> None:
        if self.source is not None and not isinstance(self.source, RegionSource):
            raise UsageError(
                "a Scorer takes Grid, Components, Superpixels or GivenSegments regions; Segments "
                "belong to one image: open the Scorer with GivenSegments() and give score() "
                "segments=[…]"
            )
        if self.keep is not None and (self.source is None or self.keep < 1):
            raise UsageError("keep_regions needs regions, and at least 1 of them to keep")
        if self.outlines and self.source is None:
            raise UsageError("outlines need regions")

    def check(self, columns: Collection[str]) -> None:
        """Raise UsageError unless the regions of one image can be ranked by these columns."""
        missing = sorted(set(self.score.columns) - set(columns))
        if self.keep is not None and (missing or self.score.needs_totals):
            raise UsageError(
                f"regions of one image cannot be ranked by {self.score.name!r}: "
                + (f"{', '.join(missing)} not known" if missing else "it needs the pool")
            )

    def regions(
        self, group: InputGroup, logits: Any, align_corners: bool, threads: int | None
    ) -> tuple[Regions, dict[int, ItemError]]:
        """The regions of a group's images for the kernel, and failures for images with too many."""
        if self.source is None or isinstance(self.source, Grid):
            return self.source, {}
        if not isinstance(self.source, Components):
            return Segments(np.stack(group.segments)), {}
        return self.source.segments(logits, group.size, align_corners, group.mask, threads)

    def rows(
        self, stats: Statistics, ok: list[int], group: InputGroup, regions: Regions
    ) -> dict[str, NDArray[Any]] | None:
        """Rows of ``regions/*.parquet`` for images of a group; ``image`` is the batch index."""
        if stats.regions is None:
            return None
        table = region_rows(
            stats.regions,
            ok,
            keep=self.keep,
            score=self.score,
            sizes=np.array(group.originals),
            placements=group.placements,
            outlined=regions if self.outlines else None,
        )
        table["image"] = np.array(group.indices)[table["image"]]
        return table

    def settings(self) -> dict[str, Any] | None:
        """Settings that change stored rows, as JSON values."""
        if self.source is None:
            return None
        score = {"acquisition": self.score.name, **self.score.options}
        return {
            **self.source.settings(),
            **({"outlines": True} if self.outlines else {}),
            "keep": self.keep,
            "score": None if self.keep is None else score,
        }
