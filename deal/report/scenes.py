"""Divide a pool into scenes: stretches of a sequence, by frame numbers or times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

__all__ = ["Scene", "scenes_of"]

Scene: TypeAlias = tuple[str, int]
"""A sequence and the number of one of its stretches."""


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
