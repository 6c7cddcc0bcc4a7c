"""Options of `deal.selection.limits`, which all commands that select have in common."""

from __future__ import annotations

from collections.abc import Callable

from deal.cli.grouped import FC, option

__all__ = ["limit_options"]


def limit_options(group: str) -> list[Callable[[FC], FC]]:
    """``--max-bytes``, ``--window``, ``--window-budget`` and ``--window-bytes``."""
    return [
        option(
            group,
            "--max-bytes",
            metavar="2GB",
            help="Select files of at most this size together: the best that fit.",
        ),
        option(
            group,
            "--window",
            metavar="1h",
            help="Windows of time, by timestamps, with limits of their own: --window-budget, "
            "--window-bytes.",
        ),
        option(
            group,
            "--window-budget",
            type=int,
            metavar="N",
            help="Select at most N images per window.",
        ),
        option(
            group,
            "--window-bytes",
            metavar="200MB",
            help="Select files of at most this size together per window.",
        ),
    ]
