"""Divide a pool into scenes: stretches of a sequence, by frame numbers or times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from deal.errors import UsageError
from deal.selection.rules import Gap, parse_gap

__all__ = ["Scene", "parse_length", "scenes_of"]

Scene: TypeAlias = tuple[str, int]
"""A sequence and the number of one of its stretches."""


def parse_length(text: str, *, times: bool = True) -> Gap:
    """Read the length of a scene: ``300f``, or with ``times`` also ``10s``; UsageError."""
    try:
        length = parse_gap(str(text))
    except UsageError:
        length = None
    if length is None or not (times or length.frames):
        forms = "a number of frames or a time, such as 300f or 10s"
        raise UsageError(
            f"scene_length {text!r}: write {forms if times else 'a number of frames, such as 300f'}"
        )
    return length


def scenes_of(
    sequences: Sequence[str | None], times: Sequence[int | None], length: int
) -> list[Scene | None]:
    """The scene of each image: stretches of ``length``, counted from the sequence's first image.

    None for an image without a sequence or a time.
    """
    begin: dict[str, int] = {}
    for sequence, time in zip(sequences, times, strict=True):
        if sequence is not None and time is not None:
            begin[sequence] = min(time, begin.get(sequence, time))
    return [
        None if sequence is None or time is None else (sequence, (time - begin[sequence]) // length)
        for sequence, time in zip(sequences, times, strict=True)
    ]
