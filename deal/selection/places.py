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
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deal.selection.attributes import VIDEO_TIME
from deal.selection.growing import Growing
from deal.selection.order import mixed, name_hashes, text_buffers, text_hashes

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Place", "Places", "frame_names", "text_keys"]

Compare = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.int64]]
"""Distances of the signatures of pairs of rows, for the pairs where both are known."""

_DOT, _SLASH, _HASH = ord("."), ord("/"), ord("#")
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
    starts : ndarray of int64 [count]
        The first time of each sequence.
    frames : bool
        Whether times are frame numbers.
    step : int
        Usual interval between neighbours: the median, at least 1.
    length : int
        Length of all sequences together; an interval counts at most ten times the usual one.
    """

    sequences: NDArray[np.int32]
    times: NDArray[np.int64]
    starts: NDArray[np.int64]
    frames: bool
    step: int
    length: int

    @property
    def count(self) -> int:
        """Number of sequences (by camera, where cameras count apart)."""
        return len(self.starts)

    def of(self, rows: NDArray[np.int64]) -> Place:
        """The places of these rows alone."""
        return replace(self, sequences=self.sequences[rows], times=self.times[rows])


class Places:
    """Collects what the rows of a pool say of their sequence and time, piece by piece.

    It takes 17 bytes per row where names tell the time, and up to 34 where timestamps do.

    Parameters
    ----------
    by_camera : bool
        Whether cameras of a sequence count as sequences of their own.
    """

    def __init__(self, by_camera: bool) -> None:
        self._by_camera = by_camera
        self._rows = self._scored = 0
        self._frames, self._stamps = _Timeline(), _Timeline()
        self._cameras = Growing(np.uint64)

    def add(
        self,
        ids: pa.Array,
        scored: NDArray[np.bool_],
        sequence: pa.ChunkedArray | None,
        camera: pa.ChunkedArray | None,
        stamps: pa.ChunkedArray | None,
    ) -> None:
        """Add rows.

        Parameters
        ----------
        ids : pyarrow.LargeStringArray [n]
        scored : ndarray of bool [n]
            Other rows have no place.
        sequence, camera, stamps : pyarrow.ChunkedArray [n], optional
            Null where it is not known.
        """
        before = self._rows
        self._rows += len(ids)
        self._scored += int(scored.sum())
        frames, stems = frame_names(ids)
        is_frame = frames >= 0
        given = text_keys(sequence)
        cameras = text_keys(camera) if self._by_camera else None
        if cameras is not None:
            self._cameras.pad(before, 0)
            self._cameras.extend(cameras)
        known = None if stamps is None else stamps.is_valid().to_numpy()
        if stamps is not None and known is not None and known.any():
            times = stamps.fill_null(0).to_numpy().astype(np.int64)
            self._stamps.add(before, times, _folder_keys(ids), scored & known, given)
            is_frame &= ~known | (frames != times)  # a name may end in its time, as in MCAP files
        self._frames.add(before, frames, stems, scored & is_frame, given)

    def find(
        self, names: NDArray[np.uint64], compare: Compare, frames: bool | None = None
    ) -> Place | None:
        """The places of the scored rows; None if rows do not tell them. Call it once.

        Parameters
        ----------
        names : ndarray of uint64 [n]
            Hashes of the ids (:func:`deal.selection.order.name_hashes`).
        compare : callable
            See `Compare`; the result is empty where no thumbnail is known.
        frames : bool, optional
            Time is frame numbers (or timestamps), as the user says, whatever images look like.
        """
        if not self._scored:
            return None
        by_time = 2 * self._stamps.placed >= self._scored if frames is None else not frames
        line = self._stamps if by_time else self._frames
        self._stamps = self._frames = _Timeline()
        trusted = by_time or frames is not None
        trusted |= line.given > 0 and 2 * line.given_and_placed >= line.placed
        if 2 * line.placed < self._scored:
            return None
        times, keys, placed = line.close(self._rows)
        if len(self._cameras):
            self._cameras.pad(self._rows, 0)
            cameras = self._cameras.close()
            for start in range(0, len(keys), _STEP):
                part = slice(start, start + _STEP)
                keys[part] = mixed(keys[part] ^ mixed(cameras[part]))
        self._cameras = Growing(np.uint64)
        return _place(keys, times, placed, not by_time, names, None if trusted else compare)


class _Timeline:
    """Times and keys of sequences of the rows of a pool, in their order."""

    def __init__(self) -> None:
        self.placed = self.given = self.given_and_placed = 0
        self._times = Growing(np.int64)
        self._keys = Growing(np.uint64)
        self._has_place = Growing(bool)

    def add(
        self,
        before: int,
        times: NDArray[np.int64],
        keys: NDArray[np.uint64],
        placed: NDArray[np.bool_],
        given: NDArray[np.uint64] | None,
    ) -> None:
        """Add rows, after so many; a key that is given (not 0) counts instead of the other."""
        if given is not None:
            known = given != 0
            keys = np.where(known, given, keys)
            self.given += int(known.sum())
            self.given_and_placed += int((known & placed).sum())
        self.placed += int(placed.sum())
        self._pad(before)
        self._times.extend(times)
        self._keys.extend(keys)
        self._has_place.extend(placed)

    def close(self, rows: int) -> tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.bool_]]:
        """Times, keys and whether there is a place, of so many rows."""
        self._pad(rows)
        return self._times.close(), self._keys.close(), self._has_place.close()

    def _pad(self, rows: int) -> None:
        for column in (self._times, self._keys, self._has_place):
            column.pad(rows, 0)


def frame_names(ids: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """The number at the end of each name, and a hash of what stands before it.

    The suffix of the file does not count, and of a longer number the last 19 digits do: so many has
    a time in nanoseconds. Frames of a video have no number: their names end in a time in seconds.

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
    if (data == _HASH).any():
        import pyarrow.compute as pc

        of_video = pc.match_substring_regex(ids, VIDEO_TIME).to_numpy(zero_copy_only=False)
        found[of_video] = -1
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


def _place(
    keys: NDArray[np.uint64],
    times: NDArray[np.int64],
    placed: NDArray[np.bool_],
    frames: bool,
    names: NDArray[np.uint64],
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
        rows = rows[np.lexsort((names[rows], times[rows], keys[rows]))]
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
    return Place(sequences, times, times[rows[starts]], frames, step, length)


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
