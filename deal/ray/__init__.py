"""Scoring on a Ray cluster: ``deal.ray.score``, and ``deal-score --on ray``.

::

    pool ─► table of items ─► blocks ─► workers: BatchScorer, a part per block ─► counts ─► ranking
            (this process)    (Ray Data, any number of machines)                (this process)

A block is an image's worth of waiting at most: its part is written by the worker that scored it, so
nothing but counts comes back. Names are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deal.ray.scoring import score
else:  # type checkers assume that a module with __getattr__ has every name
    from deal._lazy import on_first_use

    __getattr__ = on_first_use(__name__, {"score": "deal.ray.scoring"})

__all__ = ["score"]


def __dir__() -> list[str]:
    return sorted(__all__)
