"""Where images lie in time: sequence and time of each row, from manifests or from names.

Timestamps win: if at least half of the scored rows have one, time is ``timestamp_ns``, within the
stored sequence or, without one, the folder. Otherwise a name that ends in a number is a frame of
that number, and its sequence is the stored one or, without one, what stands before the number.

Names may lie: many data sets number images that have nothing to do with each other. So unless
sequences are stored, frame numbers count only if neighbours look more alike than images half a
sequence apart, by their thumbnails; without thumbnails, if the numbers go in regular steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deal.selection.order import mixed, name_hashes, text_buffers, text_hashes

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Place", "Places", "frame_names", "text_keys"]

Compare = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.int64]]
"""Distances of the signatures of pairs of rows, for the pairs where both are known."""

_DOT, _SLASH = ord("."), ord("/")
_LONGEST_SUFFIX = 8
_STEP = 65_536  # rows worked on at once
_DIGITS = 19
_LARGEST = np.iinfo(np.int64).max
# Rows of a sequence, so that its neighbours and its length tell something.
_LEAST = 3
_SAMPLE = 256
# An interval counts at most as so many usual ones: the camera was off in between.
_MOST_STEPS = 10


@dataclass(frozen=True, slots=True)
class Place:
    """Sequence and time of each row.

    Attributes
    ----------
    sequences : ndarray of int32 [n]
        −1 for rows without a place, and for rows that have no score.
    times : ndarray of int64 [n]
        Nanoseconds or frame numbers.
    frames : bool
        Whether times are frame numbers.
    count : int
        Number of sequences (by camera, where cameras count apart).
    step : int
        Usual interval between neighbours: the median, at least 1.
    length : int
        Length of all sequences together; an interval counts at most ten times the usual one.
    """

    sequences: NDArray[np.int32]
    times: NDArray[np.int64]
    frames: bool
    count: int
    step: int
    length: int


class Places:
    """Collects what the rows of a pool say of their sequence and time, piece by piece.

    Parameters
    ----------
    by_camera : bool
        Whether cameras of a sequence count as sequences of their own.
    """

    def __init__(self, by_camera: bool) -> None:
        self._by_camera = by_camera
        self._frames: list[NDArray[np.int64]] = []
        self._stems: list[NDArray[np.uint64]] = []
        self._given: list[NDArray[np.uint64] | None] = []
        self._cameras: list[NDArray[np.uint64] | None] = []
        self._stamps: list[tuple[NDArray[np.int64], NDArray[np.bool_]] | None] = []

    def add(
        self,
        ids: pa.Array,
        sequence: pa.ChunkedArray | None,
        camera: pa.ChunkedArray | None,
        stamps: pa.ChunkedArray | None,
    ) -> None:
        """Add rows; ``ids`` is an array of large_string, the others may be None or null."""
        frames, stems = frame_names(ids)
        self._frames.append(frames)
        self._stems.append(stems)
        self._given.append(text_keys(sequence))
        self._cameras.append(text_keys(camera) if self._by_camera else None)
        known = None if stamps is None else stamps.is_valid().to_numpy()
        if stamps is None or known is None or not known.any():
            self._stamps.append(None)
        else:
            self._stamps.append((stamps.fill_null(0).to_numpy().astype(np.int64), known))

    def find(
        self,
        scored: NDArray[np.bool_],
        ids: pa.Array,
        compare: Compare,
        frames: bool | None = None,
    ) -> Place | None:
        """The places of the scored rows; None if rows do not tell them. Call it once.

        Parameters
        ----------
        scored : ndarray of bool [n]
        ids : pyarrow.LargeStringArray [n]
        compare : callable
            See `Compare`; the result is empty where no thumbnail is known.
        frames : bool, optional
            Time is frame numbers (or timestamps), as the user says, whatever images look like.
        """
        if not scored.any():
            return None
        lengths = [len(frames) for frames in self._frames]
        stamps = list(zip(lengths, self._stamps, strict=True))
        timed = np.concatenate([np.zeros(n, bool) if s is None else s[1] for n, s in stamps])
        given = _joined(self._given, lengths)
        cameras = _joined(self._cameras, lengths)
        by_time = 2 * int((timed & scored).sum()) >= int(scored.sum())
        by_time = by_time if frames is None else not frames
        trusted = True
        if by_time:
            times = np.concatenate(
                [np.zeros(n, np.int64) if s is None else s[0] for n, s in stamps]
            )
            placed = timed & scored
            keys = _folder_keys(ids)
        else:
            times, self._frames = np.concatenate(self._frames), []
            keys, self._stems = np.concatenate(self._stems), []
            placed = (times >= 0) & scored
        self._frames, self._stems, self._stamps = [], [], []
        if given is not None:
            known = given != 0
            keys = np.where(known, given, keys)
            trusted = frames is not None or by_time
            trusted |= 2 * int((known & placed).sum()) >= int(placed.sum())
        elif not by_time:
            trusted = frames is not None
        if cameras is not None:
            keys = mixed(keys ^ mixed(cameras))
        del given, cameras, timed, stamps
        if 2 * int(placed.sum()) < int(scored.sum()):
            return None
        return _place(keys, times, placed, not by_time, ids, None if trusted else compare)


def frame_names(ids: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """The number at the end of each name, and a hash of what stands before it.

    The suffix of the file does not count, and of a longer number the last 19 digits do: so many has
    a time in nanoseconds.

    Parameters
    ----------
    ids : pyarrow.LargeStringArray [n]

    Returns
    -------
    numbers : ndarray of int64 [n]
        −1 for names that do not end in a number, or in one above 2⁶³ − 1.
    stems : ndarray of uint64 [n]
        Equal for equal texts.
    """
    offsets, data = text_buffers(ids)
    starts, ends = offsets[:-1], offsets[1:].copy()
    padded = np.concatenate([np.zeros(1, np.uint8), data])  # so that a place before the text exists
    letters = _is_letter(padded)
    digits = (padded >= ord("0")) & (padded <= ord("9"))
    # The suffix: a dot, a letter, and letters or digits to the end.
    running = np.ones(len(ends), bool)
    cut = ends.copy()
    for back in range(1, _LONGEST_SUFFIX + 2):
        running &= ends - back >= starts
        at = np.where(running, ends - back, -1) + 1
        dot = running & (padded[at] == _DOT)
        first = np.where(dot & (back > 1), at + 1, 0)
        cut = np.where(dot & letters[first], ends - back, cut)
        running &= letters[at] | digits[at]
    numbers = np.zeros(len(ends), np.uint64)
    running = np.ones(len(ends), bool)
    begin = cut.copy()
    power = 1
    for back in range(1, _DIGITS + 1):
        running &= cut - back >= starts
        at = np.where(running, cut - back, -1) + 1
        running &= digits[at]
        if not running.any():
            break
        digit = padded[at].astype(np.uint64) - np.uint64(ord("0"))
        numbers += np.where(running, digit * np.uint64(power), np.uint64(0))
        begin = np.where(running, cut - back, begin)
        power *= 10
    found = np.where((begin < cut) & (numbers <= _LARGEST), numbers, 0).astype(np.int64)
    found[(begin == cut) | (numbers > _LARGEST)] = -1
    return found, text_hashes(data, starts, begin - starts)


def text_keys(column: pa.ChunkedArray | None) -> NDArray[np.uint64] | None:
    """Hashes of texts, never 0, and 0 for null; None if all are null."""
    import pyarrow as pa

    if column is None or column.null_count == len(column):
        return None
    texts = column.cast(pa.large_string()).combine_chunks()
    known = texts.is_valid().to_numpy(zero_copy_only=False)
    return np.where(known, np.maximum(name_hashes(texts.fill_null("")), 1), 0).astype(np.uint64)


def _folder_keys(ids: pa.Array) -> NDArray[np.uint64]:
    """Hash of the folder in each id: uint64 [n]."""
    keys = np.empty(len(ids), np.uint64)
    for start in range(0, len(ids), _STEP):
        offsets, data = text_buffers(ids.slice(start, _STEP))
        slashes = np.concatenate([[-1], np.flatnonzero(data == _SLASH)])
        last = slashes[np.searchsorted(slashes, offsets[1:]) - 1]
        lengths = np.maximum(last - offsets[:-1], 0)
        keys[start : start + _STEP] = text_hashes(data, offsets[:-1], lengths)
    return keys


def _is_letter(data: NDArray[np.uint8]) -> NDArray[np.bool_]:
    lower = data | 0x20
    return np.asarray((lower >= ord("a")) & (lower <= ord("z")))


def _joined(
    parts: list[NDArray[np.uint64] | None], lengths: list[int]
) -> NDArray[np.uint64] | None:
    if all(part is None for part in parts):
        return None
    return np.concatenate(
        [
            np.zeros(length, np.uint64) if part is None else part
            for part, length in zip(parts, lengths, strict=True)
        ]
    )


def _place(
    keys: NDArray[np.uint64],
    times: NDArray[np.int64],
    placed: NDArray[np.bool_],
    frames: bool,
    ids: pa.Array,
    compare: Compare | None,
) -> Place | None:
    """Group rows by their keys; None if they make no sequences, or none that look like it."""
    rows = np.flatnonzero(placed)
    rows = rows[np.lexsort((times[rows], keys[rows]))]
    in_order = keys[rows]
    first = np.concatenate([[True], in_order[1:] != in_order[:-1]])
    del in_order
    steps = np.diff(times[rows])
    if (first[1:] | (steps > 0)).sum() < len(rows) - 1:
        # Rows of one time go by a hash of their ids, so that the order of the storage decides
        # nothing.
        rows = rows[np.lexsort((name_hashes(ids)[rows], times[rows], keys[rows]))]
    starts = np.flatnonzero(first)
    sizes = np.diff(np.append(starts, len(rows)))
    if 2 * int(sizes[sizes >= _LEAST].sum()) < len(rows):
        return None
    steps = steps[~first[1:]]
    apart = steps[steps > 0]
    if not len(apart):
        return None
    step = int(np.partition(apart, (len(apart) - 1) // 2)[(len(apart) - 1) // 2])
    if compare is not None and not _looks_ordered(keys, times, rows, starts, sizes, compare, apart):
        return None
    sequences = np.full(len(keys), -1, np.int32)
    sequences[rows] = np.cumsum(first, dtype=np.int32) - 1
    length = int(np.minimum(apart, _MOST_STEPS * step).sum()) + len(starts) * step
    return Place(sequences, times, frames, len(starts), step, length)


def _looks_ordered(
    keys: NDArray[np.uint64],
    times: NDArray[np.int64],
    rows: NDArray[np.int64],
    starts: NDArray[np.int64],
    sizes: NDArray[np.int64],
    compare: Compare,
    steps: NDArray[np.int64],
) -> bool:
    """Whether neighbours look more alike than images half a sequence apart."""
    owner = np.repeat(np.arange(len(starts)), sizes)
    place = np.arange(len(rows)) - starts[owner]
    # Of rows with a next one, in sequences long enough for "half a sequence" to be further.
    some = np.flatnonzero((sizes[owner] > _LEAST) & (place + 1 < sizes[owner]))
    chance = mixed(keys[rows[some]] ^ mixed(times[rows[some]].astype(np.uint64)))
    sample = some[np.argsort(chance, kind="stable")[:_SAMPLE]]
    size = sizes[owner[sample]]
    far = starts[owner[sample]] + (place[sample] + size // 2) % size
    near_by = compare(rows[sample], rows[sample + 1])
    far_off = compare(rows[sample], rows[far])
    if not len(near_by) or not len(far_off):
        usual = np.partition(steps, (len(steps) - 1) // 2)[(len(steps) - 1) // 2]
        return bool(2 * int((steps == usual).sum()) >= len(steps))
    return bool(4 * _median(near_by) <= 3 * _median(far_off))


def _median(values: NDArray[np.int64]) -> int:
    return int(np.sort(values)[(len(values) - 1) // 2])
