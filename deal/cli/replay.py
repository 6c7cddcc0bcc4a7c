"""``deal select --as-stream`` and its options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from deal.cli.grouped import FC, option
from deal.errors import UsageError

if TYPE_CHECKING:
    from deal.selection.replay import Replay

__all__ = ["replayed", "split_options", "stream_options"]

_STREAM = "Stream"
_LIMITS = [
    option(
        _STREAM,
        "--as-stream",
        is_flag=True,
        help="Replay the images as a stream, in the order of their times, and select as a rig with "
        "these rules would (deal.Stream). Says how close that comes to the choice from the whole "
        "pool, and writes decisions.csv. The options below need it.",
    ),
    option(
        _STREAM,
        "--look-ahead",
        metavar="8s",
        help="How long an image may wait for the decision about its neighbours. Default: four "
        "times --min-gap.",
    ),
    option(
        _STREAM,
        "--context-before",
        metavar="1s",
        help="Keep the images up to this long before a kept one, as long as it is kept.",
    ),
    option(
        _STREAM,
        "--context-after",
        metavar="1s",
        help="Keep the images up to this long after a kept one.",
    ),
    option(
        _STREAM,
        "--random-share",
        type=float,
        metavar="SHARE",
        help="Share of the budget for a random sample of all images, 0 to 1. Default: 0.",
    ),
    option(
        _STREAM,
        "--pending",
        type=int,
        metavar="N",
        help="Images that may wait at a time. Default: 1024.",
    ),
]

_LIMIT_NAMES = (
    "look_ahead",
    "context_before",
    "context_after",
    "random_share",
    "pending",
)


def stream_options(function: FC) -> FC:
    """Add ``--as-stream`` and the rules that only a stream has."""
    for decorate in reversed(_LIMITS):
        function = decorate(function)
    return function


def replayed(
    out: Sequence[str], options: dict[str, Any], keywords: dict[str, Any]
) -> Replay | None:
    """What a stream keeps of the folders; None without ``--as-stream``.

    Parameters
    ----------
    out : sequence of str
    options : dict
        Values of `stream_options`.
    keywords : dict
        Keywords of `deal.select`.

    Raises
    ------
    UsageError
        A rule of streams is given without ``--as-stream``, or does not fit.
    """
    limits = {name: options[name] for name in _LIMIT_NAMES if options[name] is not None}
    if not options["as_stream"]:
        if limits:
            given = next(iter(limits)).replace("_", "-")
            raise UsageError(f"--{given} is a rule of streams: give --as-stream too")
        return None
    from dataclasses import replace

    from deal.pool.ids import sequence_pattern
    from deal.selection.ranking import Ranking
    from deal.selection.replay import StreamLimits, replay

    rules = dict(keywords)
    sequence_from = rules.pop("sequence_from")
    if sequence_from is not None:
        sequence_pattern(sequence_from)
    ranking = replace(Ranking.of(**rules), sequence_from=sequence_from)
    return replay(list(out), ranking, StreamLimits(**limits))


def split_options(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Values of `stream_options`, and the others."""
    names = ("as_stream", *_LIMIT_NAMES)
    own = {name: options[name] for name in names}
    return own, {name: value for name, value in options.items() if name not in own}
