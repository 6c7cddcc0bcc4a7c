"""Difficulty-aware active learning for semantic segmentation: what to label next.

Public names are imported on first use, so that ``import deal`` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from deal._version import __version__

if TYPE_CHECKING:
    from deal.acquisition import acquisition_names, acquisition_scores
    from deal.errors import DealError
    from deal.geometry import components
    from deal.head import DifficultyHead
    from deal.model import ModelSpec, read_spec
    from deal.pipeline import score_pool
    from deal.region_sources import Components, GivenSegments, Superpixels
    from deal.regions import Grid, Segments, score_logits
    from deal.results import read_regions, read_results
    from deal.scorer import Scorer
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
    "Components": "deal.region_sources",
    "DealError": "deal.errors",
    "DifficultyHead": "deal.head",
    "GivenSegments": "deal.region_sources",
    "Grid": "deal.regions",
    "ModelSpec": "deal.model",
    "Scorer": "deal.scorer",
    "Segments": "deal.regions",
    "Statistics": "deal.types",
    "Superpixels": "deal.region_sources",
    "acquisition_names": "deal.acquisition",
    "acquisition_scores": "deal.acquisition",
    "components": "deal.geometry",
    "read_regions": "deal.results",
    "read_results": "deal.results",
    "read_spec": "deal.model",
    "score_logits": "deal.regions",
    "score_pool": "deal.pipeline",
    "select": "deal.selection",
}


def __getattr__(name: str) -> Any:
    if name == "acquisition":  # the registry's module, which is also its decorator
        return importlib.import_module("deal.acquisition")
    if name not in _HOMES:
        raise AttributeError(f"module 'deal' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
