"""Difficulty-aware active learning for semantic segmentation: what to label next.

Public names are imported on first use, so that ``import deal`` stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deal._lazy import on_first_use
from deal._version import __version__

if TYPE_CHECKING:
    from deal.acquisitions.binding import acquisition_scores
    from deal.acquisitions.registry import acquisition, acquisition_names
    from deal.errors import DealError
    from deal.kernel.geometry import components
    from deal.kernel.regions import Grid, Segments
    from deal.kernel.statistics import score_logits
    from deal.model.head import DifficultyHead
    from deal.model.spec import ModelSpec, read_spec
    from deal.regions.sources import Components, GivenSegments, Superpixels
    from deal.results.reading import read_regions, read_results
    from deal.run.pipeline import score_pool
    from deal.scoring.scorer import Scorer
    from deal.selection import select
    from deal.types import Statistics

__all__ = [
    "Components",
    "DealError",
    "DifficultyHead",
    "GivenSegments",
    "Grid",
    "ModelSpec",
    "Scorer",
    "Segments",
    "Statistics",
    "Superpixels",
    "__version__",
    "acquisition",
    "acquisition_names",
    "acquisition_scores",
    "components",
    "read_regions",
    "read_results",
    "read_spec",
    "score_logits",
    "score_pool",
    "select",
]

_HOMES = {
    "Components": "deal.regions.sources",
    "DealError": "deal.errors",
    "DifficultyHead": "deal.model.head",
    "GivenSegments": "deal.regions.sources",
    "Grid": "deal.kernel.regions",
    "ModelSpec": "deal.model.spec",
    "Scorer": "deal.scoring.scorer",
    "Segments": "deal.kernel.regions",
    "Statistics": "deal.types",
    "Superpixels": "deal.regions.sources",
    "acquisition": "deal.acquisitions.registry",
    "acquisition_names": "deal.acquisitions.registry",
    "acquisition_scores": "deal.acquisitions.binding",
    "components": "deal.kernel.geometry",
    "read_regions": "deal.results.reading",
    "read_results": "deal.results.reading",
    "read_spec": "deal.model.spec",
    "score_logits": "deal.kernel.statistics",
    "score_pool": "deal.run.pipeline",
    "select": "deal.selection",
}


__getattr__ = on_first_use(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
