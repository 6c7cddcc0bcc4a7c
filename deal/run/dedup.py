"""Near-duplicates: frames that show the same as the last kept frame of their sequence.

A frame is *kept* if it is sent to the network. Each frame is compared with the last kept frame of
its sequence, by their signatures (:mod:`deal.pool.signature`). If the difference is within a
threshold, the frame is a duplicate of that frame and does not go through the network; otherwise it
is kept. So in a slow drift a frame is kept from time to time, however little each frame differs
from the one before.

Neighbours belong to one sequence (or one folder, by id, if there are no sequences) and one camera,
in the order of the pool. The decisions depend only on the images, not on threads, batches or where
an earlier run stopped: a kept frame that an earlier run stored is decoded again when a new frame
follows it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any

from deal.errors import UsageError
from deal.pool.digests import digest
from deal.pool.signature import MOST_LEVELS, SHAPE, Thumbnail, distance, limit_of
from deal.run.rows import Outcome
from deal.types import PoolItem

__all__ = [
    "DEDUP_THRESHOLD",
    "Followers",
    "Neighbours",
    "dedup_settings",
    "parse_dedup",
]

DEDUP_THRESHOLD = 2.0
"""Grey levels; a tenth of the neighbouring frames in CamVid's drives differ less."""

# Sequences whose last frame is remembered, for pools that interleave them.
_OPEN_SEQUENCES = 1024


def parse_dedup(value: Any) -> float | None:
    """Read a threshold in grey levels; True is the default, None or False compares no frames.

    Raises UsageError unless the threshold is a number in 0…255.
    """
    if value is None or value is False:
        return None
    if value is True:
        return DEDUP_THRESHOLD
    try:
        threshold = float(value)
    except (TypeError, ValueError):
        threshold = -1.0
    if not 0 <= threshold <= MOST_LEVELS:
        raise UsageError(
            f"--dedup {value!r} is not a threshold of 0…255 grey levels: give a number, such as "
            f"--dedup={DEDUP_THRESHOLD:g}, or put --dedup without a number last"
        )
    return threshold


def dedup_settings(threshold: float | None) -> dict[str, Any]:
    """Settings for the fingerprint, as JSON values; empty if no frames are compared."""
    if threshold is None:
        return {}
    # Schema 1 took thumbnails from the network's input, so it decided otherwise.
    return {"dedup": {"threshold": threshold, "thumbnail": list(SHAPE), "of": "image"}}


@dataclass(slots=True)
class _Kept:
    """The last kept frame of a sequence."""

    item: PoolItem
    thumbnail: Thumbnail | None
    stored: bool  # by an earlier run, with no new frame since


class Neighbours:
    """Decides for each frame, in the order of the pool, whether it repeats a kept frame.

    Parameters
    ----------
    threshold : float
        Grey levels.
    load : callable
        Returns the thumbnail of an item that an earlier run scored; None if it cannot be made.
    """

    def __init__(self, threshold: float, load: Callable[[PoolItem], Thumbnail | None]) -> None:
        self._limit = limit_of(threshold)
        self._load = load
        self._kept: OrderedDict[tuple[str | None, ...], _Kept] = OrderedDict()

    def duplicate_of(self, item: PoolItem, small: Thumbnail) -> str | None:
        """Id of the kept frame that this new frame repeats; None if the new frame is kept."""
        kept = self._last(item)
        if kept is not None and self._repeats(kept, small):
            return kept.item.id
        self._keep(_Kept(item, small, stored=False))
        return None

    def holds(self, item: PoolItem, leader: int | None) -> bool:
        """Whether this run would decide about a stored frame as the earlier run did.

        Parameters
        ----------
        item : PoolItem
            An item that is stored and has not changed since.
        leader : int or None
            Digest of ``duplicate_of`` in the stored row; None for a frame that was scored.
        """
        kept = self._last(item)
        if leader is not None:
            return kept is not None and kept.stored and digest(kept.item.id) == leader
        small = None
        if kept is not None and not kept.stored:
            # The kept frame is new, or it failed in the earlier run and its duplicates were scored.
            small = self._load(item)
            if small is not None and self._repeats(kept, small):
                return True
        self._keep(_Kept(item, small, stored=True))
        return True

    def _last(self, item: PoolItem) -> _Kept | None:
        key = _sequence(item)
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def _keep(self, kept: _Kept) -> None:
        key = _sequence(kept.item)
        self._kept[key] = kept
        self._kept.move_to_end(key)
        if len(self._kept) > _OPEN_SEQUENCES:
            self._kept.popitem(last=False)

    def _repeats(self, kept: _Kept, small: Thumbnail) -> bool:
        if kept.thumbnail is None:
            kept.thumbnail = self._load(kept.item)
        return kept.thumbnail is not None and distance(kept.thumbnail, small) <= self._limit


def _sequence(item: PoolItem) -> tuple[str | None, ...]:
    if item.sequence is not None:
        return item.sequence, item.camera
    return "folder", item.id.rpartition("/")[0], item.camera


class Followers:
    """Holds duplicates back until their kept frame is scored; if it fails, they are not lost.

    Attributes
    ----------
    orphans : list of PoolItem
        Duplicates of frames that failed; they must be scored themselves.
    """

    def __init__(self) -> None:
        self.orphans: list[PoolItem] = []
        self._waiting: dict[str, list[Outcome]] = {}
        self._failed: set[str] = set()
        self._lock = Lock()  # one thread sends frames, another settles them

    def expect(self, item: PoolItem) -> None:
        """Note that a kept frame is on its way to the network."""
        with self._lock:
            self._waiting[item.id] = []

    def settle(self, outcome: Outcome) -> list[Outcome]:
        """Take an outcome; return the outcomes that may be stored now, in order."""
        leader = outcome.duplicate_of
        with self._lock:
            if leader is None:
                return [outcome, *self._released(outcome)]
            if leader in self._waiting:
                self._waiting[leader].append(outcome)
                return []
            if leader in self._failed:
                self._orphan(outcome)
                return []
        return [outcome]

    def _released(self, outcome: Outcome) -> list[Outcome]:
        released = []
        for index, (item, _) in enumerate(outcome.images):
            followers = self._waiting.pop(item.id, None)
            if followers is None:
                continue
            if index in outcome.failures:
                self._failed.add(item.id)
                for follower in followers:
                    self._orphan(follower)
            else:
                released += followers
        return released

    def _orphan(self, outcome: Outcome) -> None:
        self.orphans += [item for item, _ in outcome.images]
