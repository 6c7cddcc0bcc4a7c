"""What a link that takes nothing back sends next: the best kept frame that may go.

Nothing is decided when a frame is captured. Whenever the link is free, the best kept frame that is
older than the look-ahead goes. That needs neither a threshold nor the length of the trip.
"""

from __future__ import annotations

from collections.abc import Iterable

from deal.selection.stream import Decision, number_of
from deal.selection.stream_rules import StreamRules

__all__ = ["Link"]


class Link:
    """What a link has begun to send, and what may follow.

    Attributes
    ----------
    pinned : set of int
        Numbers of the frames that are sent, or being sent.
    sent : dict of int to None
        In the order of sending.
    """

    def __init__(self, rules: StreamRules) -> None:
        self.pinned: set[int] = set()
        self.sent: dict[int, None] = {}
        self._ahead = rules.look_ahead_ns or 4 * (rules.min_gap_ns or 0)
        self._now: int | None = None  # None after the end of a trip: all may go

    def meet(self, time: int) -> None:
        """A frame of this time has come."""
        # Where a clock was set back, time starts anew.
        anew = self._now is None or time < self._now - self._ahead
        self._now = time if anew or self._now is None else max(self._now, time)

    def end(self) -> None:
        """The trip is over."""
        self._now = None

    def next(self, kept: Iterable[Decision], written: set[int]) -> Decision | None:
        """The frame to send: one that was not sent to its end, else the best that may go.

        Parameters
        ----------
        kept : iterable of Decision
            Best first.
        written : set of int
            Numbers of the frames that have a file.
        """
        best = None
        for decision in kept:
            number = number_of(decision.id)
            if decision.why != "ranked" or number in self.sent or number not in written:
                continue
            if number in self.pinned:
                return decision
            old = self._now is None or decision.timestamp_ns <= self._now - self._ahead
            if best is None and old:
                best = decision
        return best
