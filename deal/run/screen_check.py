"""What ``--screen`` may be, and what it does not go with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from deal.errors import UsageError
from deal.pool.ids import path_to_id
from deal.selection.ranking import Ranking
from deal.selection.screened import why_unscreenable

__all__ = ["AUTO", "KEEP", "check_screen", "factor_of", "is_model", "parse_screen"]

AUTO = "auto"
KEEP = 0.99
"""The share of the best possible mean score that picks reach by default."""


def check_screen(
    screen: str | None,
    keep: float,
    ranking: Ranking,
    *,
    has_regions: bool,
    has_dedup: bool,
    is_remote: bool,
) -> None:
    """Refuse, with the reason, what screening cannot serve; raises UsageError."""
    is_number = isinstance(keep, (int, float)) and not isinstance(keep, bool)
    if not is_number or not 0 < keep < 1:
        raise UsageError(f"--screen-keep must lie between 0 and 1, such as 0.99; not {keep!r}")
    if screen is None:
        if keep != KEEP:
            raise UsageError("--screen-keep needs --screen, such as --screen auto")
        return
    factor = factor_of(screen)
    if factor is not None and not 0.1 <= factor < 1:
        raise UsageError(
            f"--screen {screen} must be a factor from 0.1 to below 1, auto, or a model"
        )
    if is_model(screen) and not Path(screen).is_file():
        raise UsageError(
            f"--screen {path_to_id(screen)!r} is neither auto nor a factor such as 0.5, and "
            "no such model file exists"
        )
    if (reason := why_unscreenable(ranking, ranking.bind(None))) is not None:
        raise UsageError(f"--screen {reason}")
    refused = {
        "stores statistics of images: leave out --regions, or score without --screen": has_regions,
        "does not go with --dedup: near-duplicates among the picks are left out anyway (see "
        "--near-duplicates)": has_dedup,
        "needs an --output on this machine": is_remote,
    }
    for reason, given in refused.items():
        if given:
            raise UsageError(f"--screen {reason}")


def parse_screen(value: Any) -> str | None:
    """Read ``auto``, a factor or a path as a text, or None; UsageError otherwise."""
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(float(value))
    if isinstance(value, (str, os.PathLike)):
        return os.fspath(value)
    raise UsageError(f"--screen must be auto, a factor such as 0.5, or a model file, not {value!r}")


def factor_of(text: str) -> float | None:
    """The factor of height and width; None for another text."""
    try:
        return float(text)
    except ValueError:
        return None


def is_model(text: str) -> bool:
    """Whether a screen is another model, and not the same on a smaller input."""
    return text != AUTO and factor_of(text) is None
