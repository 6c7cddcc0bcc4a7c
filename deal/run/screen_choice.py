"""What the rules would pick of a screened pool, and what a bound still asks for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from deal.acquisitions import Bound
from deal.run.bound import Evidence, Line, fitted, kept_by_more, share_needed
from deal.run.screened_rows import EXPECTED, Rows
from deal.selection import Budget, Ranking, select_by

__all__ = ["PAYS", "Sample", "ScreenChoice"]

PAYS = 0.9
"""Share of the time of scoring everything exactly that screening may take."""

_SAMPLE = 1.5  # times the root of the pool's size
_LEAST = 40  # images of a sample, in every shard
_SLACK = 1.25  # by which the sizes of shards may differ

Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Sample:
    """A uniform sample of a pool, the same in every shard.

    Attributes
    ----------
    share : float
        Of the pool's images, 0…1.
    """

    share: float

    @classmethod
    def of(cls, images: int, shards: int) -> Sample:
        """The sample of a pool of so many images, which has enough of them in every shard."""
        size = max(_SAMPLE * math.sqrt(images), _LEAST * shards)
        return cls(min(size / max(images, 1), 1.0))

    def __contains__(self, item_id: str) -> bool:
        # By a hash of the id that nothing else uses.
        value = blake2b(item_id.encode(), digest_size=8, person=b"deal screen").digest()
        return int.from_bytes(value, "little") < self.share * 2**64


@dataclass(frozen=True, slots=True)
class ScreenChoice:
    """Which rows a ranking would pick, and what they reach; all follows from the rows.

    Attributes
    ----------
    ranking : Ranking
    bound : Bound
        Its function.
    sample : Sample
    goal : float
        The share of the best possible mean score that the picks have to reach.
    images, shards : int
        Of the whole pool.
    """

    ranking: Ranking
    bound: Bound
    sample: Sample
    goal: float
    images: int
    shards: int

    def needed(self, rows: Rows) -> tuple[Places, Places] | None:
        """Places of rows that still have to be scored, and of the others, the best forecasts first.

        None if nearly all have to be scored.
        """
        line, evidence = self._evidence(rows)
        open_rows = rows.unscored(line)

        def asked(picks: Places) -> Places:
            """The best forecasts that the bound asks for beside these picks."""
            kept = self._kept(rows, picks, line, evidence)
            low, high = 0, len(open_rows) if kept(0) < self.goal else 0
            while low < high:
                middle = (low + high) // 2
                low, high = (low, middle) if kept(middle) >= self.goal else (middle + 1, high)
            return open_rows[:low]

        picks = self._picks(rows.expected(line), rows)
        unknown = np.flatnonzero(~rows.is_exact & ~np.isfinite(rows.screen))
        found = np.unique(np.concatenate([unknown, picks[~rows.is_exact[picks]], asked(picks)]))
        if not len(found):  # kinds of images are other ones among the exact rows alone
            found = np.sort(asked(self._picks(rows.selectable(), rows)))
        if len(open_rows) and len(found) + rows.exact_count > PAYS * len(rows):
            return None
        return found, open_rows[~np.isin(open_rows, found)]

    def reached(self, rows: Rows, picks: Places | None = None) -> float:
        """The share that picks reach, by default those of the rules: at most the goal.

        The goal was checked, and more was not. It is 1 where no row is left that could do better.
        """
        line, evidence = self._evidence(rows)
        if not len(rows.unscored(line)):
            return 1.0
        if picks is None:
            picks = self._picks(rows.selectable(), rows)
        return min(self._kept(rows, picks, line, evidence)(0), self.goal)

    def share_needed(self, rows: Rows) -> float:
        """Share of the pool that has to be scored beside the sample, as the sample says."""
        _, evidence = self._evidence(rows)
        count = int(self.ranking.budget.resolve(self.images))
        top = share_needed(evidence, count, self.images, self.goal)
        return min(top + (1 - top) * self.sample.share, 1.0)

    def _evidence(self, rows: Rows) -> tuple[Line, Evidence]:
        """The forecast, and what the rows that were scored both ways say of it."""
        both = np.flatnonzero(np.isfinite(rows.exact) & np.isfinite(rows.screen))
        is_sample = np.array([name in self.sample for name in rows.names(both)], bool)
        sample = both[is_sample]
        line = fitted(rows.screen[sample], rows.exact[sample])
        forecasts = line(rows.screen[both])
        return line, Evidence(forecasts, rows.exact[both] - forecasts, is_sample)

    def _picks(self, table: pa.Table, rows: Rows) -> Places:
        """What the rules take of a table of the rows that has the column `EXPECTED`."""
        budget = self.ranking.budget
        amount = budget.resolve(len(rows) + rows.gone)
        if self.shards > 1 and budget.amount is not None:
            part = min(_SLACK * len(rows) / max(self.images, 1), 1.0)
            amount = math.ceil(amount * part)
        budget = Budget(amount=int(amount), unit=budget.unit)  # type: ignore[arg-type]
        chosen = select_by(
            table,
            replace(self.ranking, budget=budget),
            described=0,
            bound=self.bound.stored_as(EXPECTED),
        )
        return rows.places(list(chosen.ids))

    def _kept(
        self, rows: Rows, picks: Places, line: Line, evidence: Evidence
    ) -> Callable[[int], float]:
        """The bound, if so many more of the best forecasts were scored and changed no pick."""
        values = np.where(rows.is_exact, rows.exact, line(rows.screen))[picks]
        forecasts = line(rows.screen[rows.unscored(line)])
        return kept_by_more(values, forecasts, evidence)
