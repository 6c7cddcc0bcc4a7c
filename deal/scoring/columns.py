"""The columns of images that are ok, from the statistics of a group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal.scoring.batch_scores import BatchScores
from deal.scoring.inputs import InputGroup
from deal.scoring.region_plan import RegionPlan, Regions
from deal.types import Statistics

__all__ = ["scores_of"]


def scores_of(
    group: InputGroup,
    stats: Statistics,
    embedding: NDArray[Any] | None,
    ok: Sequence[int],
    regions: Regions,
    plan: RegionPlan,
) -> BatchScores:
    """Columns of the images of a group whose numbers in it are ``ok``, and of their regions."""
    rows = np.array(ok, dtype=np.int64)
    originals = np.array(group.originals)
    # Behind a network everything is cold: to take all rows of two dozen columns would cost 0.1 ms.
    images = stats.images
    if len(rows) < len(group.indices):
        images = {name: values[rows] for name, values in images.items()}
    columns = {
        "width": originals[rows, 1],
        "height": originals[rows, 0],
        "raster_width": np.full(len(rows), group.size[1]),
        "raster_height": np.full(len(rows), group.size[0]),
        **images,
    }
    if embedding is not None:
        columns["embedding"] = embedding[rows].astype(np.float32)
    table = plan.rows(stats, list(ok), group, regions)
    return BatchScores(np.array(group.indices)[rows], columns, table, {})
