"""How picks of images are spread: by gaps in time or over kinds, and without near-duplicates.

The highest scores often belong to neighbouring frames of one hard moment. A budget of images is
therefore spread, unless the user says ``spread off``:

* Where rows have a sequence and a time (:mod:`deal.selection.places`), picks of a sequence keep a
  gap. If P images were picked evenly out of sequences of the length T, each would have T/P for
  itself; the gap is a third of that, in whole intervals between frames. So it does not depend on
  the frame rate, and a pick rules out about two thirds of its share at most: what scores high still
  comes first. A quarter of an interval is subtracted, so that frames that come a little early count
  as well.
* Elsewhere the pool is divided into as many kinds (:mod:`deal.selection.kinds`) as a quarter of the
  budget. The best image of every kind is taken first, and no kind takes more than twice its share.
* Near-duplicates of picks are skipped (:mod:`deal.selection.near`).

Images that are excluded, since they are labeled, count like picks. Spreading never leaves a budget
unfilled. As long as it is not filled, the gap is halved and the rows that were left out are gone
through again, best first; a gap below one interval is none. Kinds then take more than their share,
and at last near-duplicates come back, unless the user gave the threshold. Picks are ranked by score
in the end, whenever they were taken.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deal.acquisitions import Bound
from deal.errors import ResultsError
from deal.pool.signature import limit_of
from deal.selection.budget import Budget
from deal.selection.diverse import FEATURE_COLUMNS
from deal.selection.greedy import Choice, Spacing
from deal.selection.kinds import KindRule, Kinds
from deal.selection.near import NearDuplicates
from deal.selection.order import rank, total
from deal.selection.places import Place
from deal.selection.ranking import Ranking
from deal.selection.rows import Rows
from deal.selection.rules import AUTO_LEVELS
from deal.selection.signatures import distances, has_thumbnails, read_signatures

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Spreading", "asks_for_places", "near_levels"]

_SHARE = 3  # a gap is one part of so many of a pick's share of time
_PER_KIND = 4  # picks for each kind
_OVER = 2  # times its share that a kind takes at most
_SCENE = {True: 300, False: 10_000_000_000}  # frames, or nanoseconds


def _by_default(ranking: Ranking, bound: Bound) -> bool:
    """Whether ``auto`` spreads this selection: a budget of images alone, no random baseline."""
    counts_images = ranking.table == "images" and ranking.budget.cost == "count"
    if ranking.limits:  # as on a rig, which cannot fill up a budget afterwards
        return False
    return counts_images and ranking.budget != Budget() and bound.name != "random"


def asks_for_places(ranking: Ranking, bound: Bound) -> bool:
    """Whether the choice needs sequences and times, where there are any."""
    if ranking.spread.kind != "auto":
        return ranking.spread.kind == "gap"
    own_way = bound.greedy or ranking.diverse is not None or ranking.stochastic is not None
    own_way |= ranking.stratify is not None
    return _by_default(ranking, bound) and not own_way and ranking.min_gap is None


def near_levels(ranking: Ranking, bound: Bound) -> Fraction | None:
    """Grey levels within which picks are near-duplicates; None if none are compared."""
    near, spread = ranking.near_duplicates, ranking.spread
    if near.kind == "auto":
        spreads = spread.kind == "gap" or (spread.kind == "auto" and _by_default(ranking, bound))
        return AUTO_LEVELS if spreads else None
    return near.levels


@dataclass
class Spreading:
    """The rules that spread a selection, made by :meth:`of`, and what became of them.

    Attributes
    ----------
    near : NearDuplicates or None
    """

    rows: Rows
    near: NearDuplicates | None = None
    levels: Fraction | None = None
    strict: bool = False  # near-duplicates never come back
    place: Place | None = None
    spacing: Spacing | None = None
    kinds: Kinds | None = None
    kind_rule: KindRule | None = None
    representatives: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    gap: int = 0
    closer: int = 0
    repeated: int = 0

    @classmethod
    def of(
        cls,
        rows: Rows,
        ranking: Ranking,
        bound: Bound,
        order: NDArray[np.int64],
        limit: float,
        labeled: NDArray[np.int64],
    ) -> Spreading:
        """Find out how to spread a selection.

        Parameters
        ----------
        order : ndarray of int64
            The ranked rows, best first.
        limit : float
            The budget.
        labeled : ndarray of int64
            Rows that are excluded and have a score.

        Raises
        ------
        ResultsError
            What a rule that the user asked for needs is not stored.
        """
        levels, images = near_levels(ranking, bound), None
        made = cls(rows, levels=levels, strict=ranking.near_duplicates.kind == "levels")
        if rows.regions is not None and (levels is not None or ranking.spread.kind == "gap"):
            images = rows.ids.dictionary_encode().indices.to_numpy()
        if levels is not None and has_thumbnails(rows, order, must=made.strict):
            made.near = NearDuplicates(
                lambda some: read_signatures(rows, some), limit_of(levels), images
            )
        # With a budget for all of them there is nothing to choose.
        images_of_pool = rows.pool.scored + rows.pool.skipped
        scarce = limit < images_of_pool - len(labeled) or ranking.budget.cost != "count"
        if rows.places is None or not scarce:
            return made
        wanted = ranking.spread.gap
        assert rows.names is not None
        place = rows.places.find(
            rows.names,
            lambda a, b: distances(rows.source, a, b),
            None if wanted is None else wanted.frames,
        )
        made.place = None if place is None else place.of(rows.numbers)
        rows.places = rows.names = place = None
        picks = int(limit) + len(labeled)
        if made.place is not None:
            made.gap = _gap(made.place, picks) if wanted is None else wanted.size
            if made.gap:
                sequences, times = made.place.sequences, made.place.times
                least = made.gap if wanted is not None else made.gap - made.place.step // 4
                made.spacing = Spacing(sequences, times, least, images)
        elif wanted is not None:
            raise ResultsError(_lacking(wanted.text, wanted.frames))
        else:
            made._divide(ranking, order, picks, int(limit), labeled)
        return made

    def _again(self, choice: Choice, order: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows that another pass may take."""
        left = _left(choice, order)
        return left if choice.near is None else choice.near.open(left)

    @property
    def rules(self) -> list[Any]:
        """The rules for a `Choice`, near-duplicates aside."""
        return [rule for rule in (self.spacing, self.kind_rule) if rule is not None]

    def cover(self, labeled: NDArray[np.int64]) -> None:
        """Count labeled rows as picks."""
        if self.near is not None:
            self.near.cover(labeled)
        if self.kind_rule is not None:
            self.kind_rule.load(labeled)
        for rule in self.rules:
            for row in labeled.tolist():
                rule.take(row)

    def choose(
        self, choice: Choice, order: NDArray[np.int64], later: NDArray[np.int64], *, more: bool
    ) -> None:
        """Take rows of the order, best first, until the budget is filled.

        Parameters
        ----------
        order : ndarray of int64
            Rows that come first.
        later : ndarray of int64
            Some of the rows that come after them.
        more : bool
            Whether there are rows beyond ``order``.

        Raises
        ------
        TooFewRowsError
            The choice needs to know rows beyond ``order``.
        """
        first = len(choice.taken)
        whole = np.concatenate([order, later])
        if self.kind_rule is not None:
            mask = np.zeros(len(self.rows), bool)
            mask[self.representatives] = True
            choice.choose(whole[mask[whole]])
        choice.choose(self._again(choice, order), more=more)
        spread = len(choice.taken)
        for gap in self._gaps():
            if choice.is_full(order):
                break
            assert self.spacing is not None
            self.spacing.narrow(gap)
            choice.choose(self._again(choice, order))
        if self.kind_rule is not None and not choice.is_full(order):
            choice.rules.remove(self.kind_rule)
            choice.choose(self._again(choice, order))
        self.closer = len(choice.taken) - spread
        if self.near is not None and not self.strict and not choice.is_full(order):
            before = len(choice.taken)
            choice.near = None
            choice.choose(self._again(choice, order))
            self.repeated = len(choice.taken) - before
        place = np.empty(len(self.rows), np.int64)
        place[whole] = np.arange(len(whole))
        chosen = np.array(choice.taken[first:], np.int64)
        choice.reorder(first, chosen[np.argsort(place[chosen])])

    def to_dict(
        self, taken: NDArray[np.int64], available: NDArray[np.int64], *, by_score: bool
    ) -> dict[str, Any] | None:
        """What spread the rows taken, of those ``available``, as JSON values; None if nothing did.

        ``share_of_best_score`` is the mean score of the rows taken, divided by that of as many rows
        with the highest scores. It is left out where picks are not ``by_score``, and where the sum
        of the scores is too large for a float.
        """
        if self.near is None and self.spacing is None and self.kind_rule is None:
            return None
        found: dict[str, Any] = {"by": "nothing"}
        if self.place is not None:
            found |= {"by": "time", **self._in_time(self.place, taken)}
        elif self.kinds is not None:
            feature = "embedding" if self.kinds.is_embedding else "statistics"
            found |= {"by": feature, "kinds": len(self.kinds.sizes)}
        found["closer"] = self.closer
        if self.near is not None and self.levels is not None:
            skipped = len(self.near.refused - set(taken.tolist()))
            found["near_duplicates"] = {
                "levels": float(self.levels),
                "skipped": skipped,
                "taken": self.repeated,
                "without_thumbnail": len(self.near.unknown),
            }
        best = total(self.rows.scores[available[: len(taken)]]) if by_score else 0.0
        if best > 0 and math.isfinite(share := total(self.rows.scores[taken]) / best):
            found["share_of_best_score"] = share
        return found

    def notes(self) -> Iterator[str]:
        """Notes for the user."""
        if self.near is not None and self.near.unknown:
            yield (
                f"{len(self.near.unknown)} of the rows that were looked at have no thumbnail, as "
                "an earlier version stored them: near-duplicates among them are noticed once they "
                "are scored again (deal-score --overwrite)"
            )

    def _in_time(self, place: Place, taken: NDArray[np.int64]) -> dict[str, Any]:
        unit = "frames" if place.frames else "seconds"
        scale = 1 if place.frames else 1e9
        placed = taken[place.sequences[taken] >= 0]
        sequences = place.sequences[placed]
        scenes = (place.times[placed] - place.starts[sequences]) // _SCENE[place.frames]
        return {
            "unit": unit,
            "gap": self.gap / scale,
            "interval": place.step / scale,
            "sequences": place.count,
            "sequences_picked": len(np.unique(sequences)),
            "scene": _SCENE[place.frames] / scale,
            "scenes_picked": len(np.unique(np.stack([sequences, scenes]), axis=1).T),
        }

    def _gaps(self) -> Iterator[int]:
        """Ever smaller gaps, the last of them 0."""
        if self.spacing is None or self.place is None:
            return
        gap = self.gap // 2
        while gap > self.place.step:
            yield gap
            gap //= 2
        yield 0

    def _divide(
        self,
        ranking: Ranking,
        order: NDArray[np.int64],
        picks: int,
        limit: int,
        labeled: NDArray[np.int64],
    ) -> None:
        """Divide the pool into kinds, if features are stored."""
        import pyarrow as pa

        count = -(-limit // _PER_KIND)
        if count < 2:
            return
        sample = np.flatnonzero(self.rows.sampled)
        sample = sample[rank(self.rows.ids.take(pa.array(sample)), np.zeros(len(sample)))]
        columns = FEATURE_COLUMNS[ranking.features]
        try:
            kinds = Kinds(self.rows.read(sample, ["id", *columns]), count)
        except ResultsError:
            return
        share = picks * kinds.sizes / max(int(kinds.sizes.sum()), 1)
        limits = np.maximum(np.ceil(_OVER * share), 1).astype(np.int64)

        def summary(piece: pa.Table) -> pa.Table:
            return pa.table({"kind": kinds.of(piece)})

        def read(rows: NDArray[np.int64]) -> NDArray[np.int32]:
            found = self.rows.read(rows, ["id", *columns], summary)
            return np.asarray(found.column("kind").to_numpy(), np.int32)

        self.kinds = kinds
        self.kind_rule = KindRule(len(self.rows), limits, read)
        self.kind_rule.set(sample, kinds.sampled)
        done = np.zeros(len(self.rows), bool)
        done[labeled] = True
        covered = set(kinds.sampled[done[sample]].tolist())
        place = np.empty(len(self.rows), np.int64)
        place[order] = np.arange(len(order))
        best: dict[int, int] = {}
        for index in np.argsort(place[sample]).tolist():
            kind = int(kinds.sampled[index])
            if kind >= 0 and kind not in covered:
                best.setdefault(kind, int(sample[index]))
        self.representatives = np.array(sorted(best.values()), np.int64)


def _gap(place: Place, picks: int) -> int:
    """A third of the time that each pick has for itself, in whole intervals; 0 below two."""
    whole = _SHARE * picks * place.step
    intervals = (2 * place.length + whole) // (2 * whole)  # rounded
    return intervals * place.step if intervals > 1 else 0


def _left(choice: Choice, order: NDArray[np.int64]) -> NDArray[np.int64]:
    taken = np.zeros(len(choice.weights), bool)
    taken[np.array(choice.taken, np.int64)] = True
    return order[~taken[order]]


def _lacking(text: str, frames: bool) -> str:
    what = "names that end in the number of a frame" if frames else "timestamps"
    remedy = (
        "give the gap in seconds, if the manifest has timestamp_ns"
        if frames
        else "score from a manifest with a column timestamp_ns, or give the gap in frames, such as "
        "60f, if names end in a number"
    )
    return (
        f"spread {text}: fewer than half of the rows have {what} in sequences of three or more; "
        f"{remedy}, or leave spread to auto"
    )
