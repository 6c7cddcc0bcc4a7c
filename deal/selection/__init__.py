"""Selection: rank stored rows by an acquisition function and choose what to label next.

``ranking`` holds the request, ``sources`` and ``gather`` read the tables, ``order`` ranks,
``greedy`` and ``diverse`` take what budget and rules allow, ``document`` is the result.
"""

from __future__ import annotations

from deal.selection.budget import Budget, ClickModel, parse_budget
from deal.selection.document import COLUMNS, Selection
from deal.selection.order import rank
from deal.selection.ranking import Ranking
from deal.selection.rules import Gap, IdList, Quota
from deal.selection.selector import score_sources, select, select_by

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
