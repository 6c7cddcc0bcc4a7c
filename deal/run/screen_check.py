"""What ``--screen`` may be, and what it does not go with."""

from __future__ import annotations

from pathlib import Path

from deal.acquisitions import Bound
from deal.errors import UsageError
from deal.pool.ids import path_to_id
from deal.selection.ranking import Ranking

__all__ = ["AUTO", "KEEP", "check_screen", "factor_of", "is_model"]

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
    if not 0 < keep < 1:
        raise UsageError(f"--screen-keep must lie between 0 and 1, such as 0.99; not {keep}")
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
    refused = _refused(ranking, ranking.bind(None)) | {
        "stores statistics of images: leave out --regions, or score without --screen": has_regions,
        "does not go with --dedup: near-duplicates among the picks are left out anyway (see "
        "--near-duplicates)": has_dedup,
        "needs an --output on this machine": is_remote,
    }
    for reason, given in refused.items():
        if given:
            raise UsageError(f"--screen {reason}")


def _refused(ranking: Ranking, bound: Bound) -> dict[str, bool]:
    """Why screening cannot serve a ranking: each reason, and whether it is given."""
    name = bound.name
    everything = ranking.budget.amount is None and ranking.budget.percent is None
    return {
        "needs a budget, such as 5%: without one, every image is picked": everything,
        "counts images: give a budget of images or a percentage, or score without --screen": (
            ranking.table != "images" or ranking.cost != "count" or ranking.budget.unit == "bytes"
        ),
        "cannot bound what limits of bytes and windows leave out: leave them out, or score "
        "without --screen": bool(ranking.limits),
        f"cannot forecast {name}, which has no score of single images: leave --screen out": (
            bound.greedy or name == "random"
        ),
        f"cannot forecast {name}, which needs the totals of the whole pool: leave --screen out": (
            bound.needs_totals
        ),
        "leaves out images of low scores, and draws give each of them a chance: leave out "
        "--stochastic, or --screen": ranking.stochastic is not None,
        "cannot bound what shares of --stratify leave out: leave one of them out": (
            ranking.stratify is not None
        ),
        "has no exact statistics of all that --diverse compares: leave one of them out": (
            ranking.diverse is not None
        ),
    }


def factor_of(text: str) -> float | None:
    """The factor of height and width; None for another text."""
    try:
        return float(text)
    except ValueError:
        return None


def is_model(text: str) -> bool:
    """Whether a screen is another model, and not the same on a smaller input."""
    return text != AUTO and factor_of(text) is None
