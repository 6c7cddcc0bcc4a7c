"""Selection: rank stored rows by an acquisition function and choose what to label next.

``ranking`` holds the request, ``sources`` and ``gather`` read the tables, ``order`` ranks,
``greedy`` and ``diverse`` take what budget and rules allow, ``document`` is the result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deal.selection.budget import Budget, ClickModel, parse_budget
    from deal.selection.document import COLUMNS, Selection
    from deal.selection.order import rank
    from deal.selection.ranking import Ranking
    from deal.selection.rules import Gap, IdList, Quota
    from deal.selection.selector import score_sources, select, select_by
else:  # a run needs the request at its start, and what selects at its end
    from deal._lazy import on_first_use

    __getattr__ = on_first_use(
        __name__,
        {
            "Budget": "deal.selection.budget",
            "COLUMNS": "deal.selection.document",
            "ClickModel": "deal.selection.budget",
            "Gap": "deal.selection.rules",
            "IdList": "deal.selection.rules",
            "Quota": "deal.selection.rules",
            "Ranking": "deal.selection.ranking",
            "Selection": "deal.selection.document",
            "parse_budget": "deal.selection.budget",
            "rank": "deal.selection.order",
            "score_sources": "deal.selection.selector",
            "select": "deal.selection.selector",
            "select_by": "deal.selection.selector",
        },
    )

__all__ = [
    "COLUMNS",
    "Budget",
    "ClickModel",
    "Gap",
    "IdList",
    "Quota",
    "Ranking",
    "Selection",
    "parse_budget",
    "rank",
    "score_sources",
    "select",
    "select_by",
]
