"""Which policy to begin with on a scored pool: a few rules, each with the page that shows why."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pyarrow.compute as pc

from deal.errors import ResultsError
from deal.results.reading import list_results, read_results
from deal.selection import select
from deal.selection.rules import AUTO_LEVELS

__all__ = ["PoolFacts", "Recommendation", "pool_facts", "recommend"]

Source: TypeAlias = "str | os.PathLike[str]"

ALIKE = 2 * AUTO_LEVELS
"""Grey levels within which images look alike; noise and drift of a slow drive stay below it."""
REDUNDANT = 1 / 3
"""Share of such images from which picks have to be spread: drives have more, CamVid 3 %."""


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """What a scored pool shows.

    Attributes
    ----------
    images : int
        Rows that are ok, or were only screened.
    duplicates : float or None
        Share of the images, 0…1, that look like an earlier one in a random order; None if no
        signatures are stored.
    regions : bool
        Whether regions are stored.
    difficulty : bool
        Whether difficulty is stored.
    skipped : int
        Of the images: those that were only screened, which no selection takes.
    """

    images: int
    duplicates: float | None
    regions: bool
    difficulty: bool
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A policy, and what speaks for it.

    Attributes
    ----------
    options : str
        Options of `deal select`; N stands for how much will be labeled.
    why : str
        One sentence.
    page : str
        Page of the documentation, below ``docs/``.
    shown : bool
        Whether a confirmed experiment shows it; otherwise it only does no known harm.
    """

    options: str
    why: str
    page: str
    shown: bool


def pool_facts(sources: Source | Sequence[Source]) -> PoolFacts:
    """Look at stored results.

    Raises
    ------
    ResultsError
        There are no results, or none that is ok.
    """
    columns = ["id", "status", "thumbnail", "difficulty_mean"]
    table = read_results(sources, columns).table
    ok = pc.equal(table.column("status"), "ok")
    if not pc.any(ok).as_py():
        raise ResultsError("no image of these results is ok: score the pool first")
    difficulty = table.filter(ok).column("difficulty_mean")
    scored = len(difficulty)
    # Those alone that screening scored exactly are alike: they are what is hard.
    table = table.filter(pc.or_(ok, pc.equal(table.column("status"), "skipped")))
    thumbnail = table.column("thumbnail")
    duplicates = None
    if not thumbnail.null_count:
        images = table.select(["id", "thumbnail"])  # without a status, all are ranked
        kept = select(
            images, acquisition="random", spread="off", near_duplicates=float(AUTO_LEVELS)
        )
        duplicates = 1 - len(kept) / len(table)
    return PoolFacts(
        images=len(table),
        duplicates=duplicates,
        regions=bool(_regions(sources)),
        difficulty=not difficulty.null_count,
        skipped=len(table) - scored,
    )


def _regions(sources: Source | Sequence[Source]) -> list[Path]:
    try:
        return list_results(sources, "regions")
    except ResultsError:
        return []


def recommend(facts: PoolFacts, labeled: int | None = None) -> Recommendation:
    """Choose a policy for the next labels.

    Parameters
    ----------
    facts : PoolFacts
    labeled : int, optional
        Images of this pool that are labeled; None if that is not known.
    """
    if labeled == 0:
        return Recommendation(
            "--acquisition random --budget N",
            "The network has seen no label of this pool, so its doubts say little about it: begin "
            "with a random set, and score again.",
            "results/index.md",
            shown=False,
        )
    if facts.duplicates is not None and facts.duplicates >= REDUNDANT:
        function = "ds:entropy" if facts.difficulty else "entropy"
        return Recommendation(
            f"--acquisition {function} --diverse 3 --budget N",
            "Many images look alike, so the best scores repeat each other: spread the picks. Which "
            "score is spread matters little.",
            "results/drives.md",
            shown=True,
        )
    if facts.regions:
        return Recommendation(
            "--acquisition balanced:entropy --stochastic power --budget regions:N",
            "Regions of many images are worth more than whole images of as many pixels. Draw them, "
            "with weight for rare classes; do not take the ones that score highest. Where they are "
            "components that get one click each, do take those: --acquisition entropy --budget "
            "regions:N.",
            "results/pretrained.md",
            shown=True,
        )
    return Recommendation(
        "--acquisition random --budget N",
        "The images hardly repeat each other, and on whole images of such pools no function is "
        "surely above random in each; ds:entropy --diverse 3 is surely below it in none. Regions "
        "(--regions grid:40) are worth more, if you can label parts.",
        "results/index.md",
        shown=False,
    )
