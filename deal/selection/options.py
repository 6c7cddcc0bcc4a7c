"""Types of the options of a selection, as calls and files take them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, Literal, cast

from deal.acquisitions.options import AcquisitionOptions, function_options
from deal.selection.budget import Budget
from deal.selection.rules import Diverse, Gap, NearLimit, Quota, Spread, Strata
from deal.selection.stochastic import Stochastic

__all__ = ["SelectOptions", "flat_options"]


class SelectOptions(AcquisitionOptions, total=False):
    """Types of the options that `Ranking.of` documents, and of the acquisition function's."""

    acquisition: str
    seed: int
    stochastic: str | Stochastic | None
    budget: str | int | Budget | None
    table: Literal["images", "regions"] | None
    by: Literal["score", "score-per-cost"] | None
    cost: Literal["count", "pixels", "clicks"] | None
    click_corner: float
    click_length: float
    click_fixed: float
    max_per_image: int | None
    spread: str | Spread
    near_duplicates: str | float | NearLimit
    quota: str | Quota | Iterable[str | Quota]
    stratify: str | Strata | None
    min_gap: str | Gap | None
    gap_per: Literal["camera", "sequence"]
    max_bytes: int | str | None
    window: int | str | None
    window_budget: int | None
    window_bytes: int | str | None
    exclude: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
    include: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
    diverse: str | float | Diverse | None
    features: Literal["auto", "embedding", "statistics"]
    metric: Literal["cosine", "euclidean"]


def flat_options(options: Mapping[str, Any]) -> SelectOptions:
    """Read the options of a table in a file, which lists a plugin's options among the others."""
    known = SelectOptions.__annotations__
    own = {name: value for name, value in options.items() if name not in known}
    found = {name: value for name, value in options.items() if name in known}
    if own:
        listed = function_options(acquisition_options=found.get("acquisition_options"))
        found["acquisition_options"] = {**listed, **own}
    return cast(SelectOptions, found)
