"""What a selection says of images that were only screened, whose exact scores are not known."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from deal.acquisitions import Bound
from deal.selection.ranking import Ranking

__all__ = ["SERVES", "is_bounded", "notes_on_screened", "why_unscreenable"]

SERVES = "serves.json"
"""File below ``screen/`` of an output: which ranking its exact rows serve, and how well."""


def is_bounded(ranking: Ranking) -> bool:
    """Whether the share that picks reach is a bound at 95 % confidence, and no estimate.

    It is one where any image may take the place of any other of its quota. Gaps, kinds and
    near-duplicates exclude images because of others, which no exchange of single images bounds.
    """
    return (
        str(ranking.spread) == "off"
        and ranking.min_gap is None
        and str(ranking.near_duplicates) in ("auto", "off")
        and len(ranking.quotas) <= 1
    )


def why_unscreenable(ranking: Ranking, bound: Bound) -> str | None:
    """Why screening cannot serve a ranking, and what to do: a text that follows ``--screen``."""
    name = bound.name
    everything = ranking.budget.amount is None and ranking.budget.percent is None
    reasons = {
        "needs a budget, such as 5%: without one, every image is picked": everything,
        "counts images: give a budget of images or a percentage, or score without --screen": (
            ranking.table != "images" or ranking.cost != "count" or ranking.budget.unit == "bytes"
        ),
        "cannot bound what limits of bytes and windows leave out: leave them out, or score "
        "without --screen": bool(ranking.limits),
        f"cannot forecast {name}, which has no score of single images: leave --screen out": (
            _sees_the_pool(bound)
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
    return next((reason for reason, given in reasons.items() if given), None)


def _sees_the_pool(bound: Bound) -> bool:
    """Whether a function chooses from all images together, and has no score of single ones."""
    return bound.greedy or bound.name == "random"


def notes_on_screened(
    folders: Iterable[Path], ranking: Ranking, bound: Bound, skipped: int, rows: int
) -> Iterator[str]:
    """Yield a note on rows that are skipped: whether the best of them may be missing."""
    if not skipped:
        return
    head = f"{skipped} of {rows} images were only screened (status skipped) and are not picked"
    if ranking.budget.percent is not None and ranking.budget.cost != "count":
        yield (
            f"the {ranking.budget.cost} of images that were only screened are not known: budget "
            f"{ranking.budget} is a part of those of the {rows - skipped} others"
        )
    outputs = list(folders)
    found = _served(outputs[0]) if len(outputs) == 1 else None
    if found is not None:
        chosen = found["ranking"]
        asked = ranking.to_dict(bound)
        differ = [name for name in asked if asked[name] != chosen.get(name) and name != "budget"]
        if not differ and asked["budget"] == chosen["budget"]:
            yield (
                f"{head}: the others hold picks of at least {found['kept']:.3f} of the best "
                f"possible mean score by {bound.name}, "
                + ("with 95 % confidence" if is_bounded(ranking) else "by an estimate")
            )
            return
    if _sees_the_pool(bound):
        yield (
            f"{head}; the {rows - skipped} others were scored exactly mostly because their scores "
            f"are high, so {bound.name} chooses from a biased part of the pool: run deal-score "
            "without --screen to score all"
        )
        return
    helps = why_unscreenable(ranking, bound) is None
    screen = (
        f"with --screen, --acquisition {bound.name}, this budget and these rules"
        f"{'' if len(outputs) == 1 else ' over all their images into one output'} to score what "
        "can reach it, or "
    )
    yield (
        f"{head}, so better ones by {bound.name} and these rules may be among them: run deal-score "
        f"{screen if helps else ''}without --screen to score all"
    )


def _served(folder: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((folder / "screen" / SERVES).read_bytes())
        return found if {"ranking", "kept"} <= found.keys() else None
    except (OSError, ValueError, AttributeError):
        return None
