"""How many of the best rows a choice is given at first, so that it hardly ever asks for more."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from deal.acquisitions import Bound
from deal.selection.budget import Budget
from deal.selection.ranking import Ranking

__all__ = ["Reach", "TooFewRowsError"]

_LEAST = 1 << 16  # rows
_LEAST_WITH_RULES = 1 << 18
# Readings ahead take 2 and then 4 times the budget (Choice.choose); the next step adds 8 and 16.
_WITH_RULES, _FURTHER = 6, 5
_UNSURE = 1.25  # the number of rows is estimated while they come


class TooFewRowsError(Exception):
    """A choice came to the end of the rows that it was given, and there are more."""


@dataclass(frozen=True, slots=True)
class Reach:
    """A number of rows for a choice.

    Attributes
    ----------
    times : float or None
        So many times what the budget pays for; None for all rows.
    least : int
        At least so many rows.
    """

    times: float | None = None
    least: int = 0

    @classmethod
    def of(cls, ranking: Ranking, bound: Bound, *, compares: bool) -> Reach:
        """The first reach of a choice; ``compares`` says whether picks have to keep apart.

        Everything is looked at where every row counts: without a budget, where costs or limits of
        bytes and windows decide which rows still fit, where picks are far from each other, and
        where strata have their own best rows.
        """
        counts = ranking.budget.cost == "count" and ranking.budget != Budget()
        if not counts or bound.greedy or ranking.limits or ranking.stratify is not None:
            return cls()
        times = 1.0
        if ranking.diverse is not None:
            if ranking.diverse.times is None:
                return cls()
            times = ranking.diverse.times
        limited = ranking.quotas or ranking.max_per_image is not None or ranking.min_gap is not None
        if limited or compares:
            return cls(times * _WITH_RULES, _LEAST_WITH_RULES)
        return cls(times, _LEAST)

    def rows(self, budget: Budget, named: int, scored: int) -> int | None:
        """Rows to keep of about so many that have a score, beside those that lists name."""
        if self.times is None:
            return None
        picks = budget.resolve(math.ceil(_UNSURE * scored))
        return max(math.ceil(self.times * picks) + named, self.least)

    def further(self) -> Reach:
        """The reach of the next try."""
        assert self.times is not None
        return replace(self, times=self.times * _FURTHER, least=self.least * _FURTHER)
