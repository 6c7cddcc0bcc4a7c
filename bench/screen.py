"""What does screening save, and what does it cost? Runs with and without it, in turns."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

import deal
from deal._demo import demo_file
from deal.bench.report import Report, Row
from deal.bench.timing import Spread, ratios, spread
from deal.run.progress import RunReport
from deal.run.screen_check import is_model
from deal.synthetic.drives import film, plan_pool

__all__ = ["FUNCTIONS", "name_of", "run"]

FUNCTIONS = ("ds", "ds:entropy", "entropy", "margin", "de")
_TARGETS = {"5%": ">= 2.2", "1%": ">= 2.8"}
_KEPT = {"de": ">= 0.985"}
_SIZE = (360, 480)
_SEED = 7


@dataclass
class _Found:
    """What the rounds of one function and budget gave."""

    seconds: list[float] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    reached: list[float] = field(default_factory=list)
    promised: list[float] = field(default_factory=list)


def run(
    *,
    pool: Sequence[str] = (),
    model: str | None = None,
    screen: str = "0.5",
    screen_keep: float = 0.99,
    functions: Sequence[str] = FUNCTIONS,
    budgets: Sequence[str] = ("5%", "1%"),
    spread_picks: str = "off",
    frames: int = 1000,
    skip: Sequence[str] = (),
    rounds: int = 3,
) -> Report:
    """Score a pool with and without screening, and compare time and picks.

    Parameters
    ----------
    pool : sequence of str
        Images; by default generated drives.
    model : str, optional
        By default the bundled one.
    screen, screen_keep, skip
        As `deal.score_pool` takes them.
    functions, budgets : sequence of str
        Each function is screened for with each budget.
    spread_picks : str
        The option ``spread`` of both runs.
    frames : int
        Generated, if no pool is given.
    rounds : int

    Returns
    -------
    Report
        Images per second, their ratio within each round, the share of the pool scored exactly, the
        mean exact score of the picks over that of the unscreened run's, and what was promised.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if not pool:
            pool = [str(_film(folder / "drives", frames))]
        options = {"model": model or str(demo_file("model.onnx")), "skip": skip}
        plain: list[float] = []
        found = {(name, budget): _Found() for name in functions for budget in budgets}
        images = 0
        for turn in range(rounds):
            whole = folder / f"whole-{turn}"
            report, seconds = _timed(pool, output=whole, acquisition=functions[0], **options)
            images = report.total
            plain.append(seconds)
            table = deal.read_results(whole, status="ok")
            for (name, budget), one in found.items():
                output = folder / f"{turn}-{name.replace(':', '-')}-{budget.rstrip('%')}"
                choice = {"acquisition": name, "budget": budget, "spread": spread_picks}
                report, seconds = _timed(
                    pool,
                    output=output,
                    screen=screen,
                    screen_keep=screen_keep,
                    **choice,
                    **options,
                )
                scores = dict(
                    zip(
                        table.column("id").to_pylist(),
                        deal.acquisition_scores(table, name).tolist(),
                        strict=True,
                    )
                )
                best = deal.select(table, **choice).ids  # type: ignore[arg-type]
                one.seconds.append(seconds)
                one.shares.append(_share(report))
                one.reached.append(_mean(report.selection.ids, scores) / _mean(best, scores))
                assert report.screen is not None
                one.promised.append(report.screen.kept)
    rows = [Row("without screening", _rate(images, plain), "images/s")]
    for (name, budget), one in found.items():
        label = f"{name} at {budget}"
        kept = _KEPT.get(name, ">= 0.99")
        rows += [
            Row(f"{label}: screened", _rate(images, one.seconds), "images/s"),
            Row(f"{label}: ratio", ratios(plain, one.seconds), "times", _TARGETS.get(budget)),
            Row(f"{label}: scored exactly", spread(one.shares), "share"),
            Row(f"{label}: mean score / best", spread(one.reached), "ratio", kept),
            Row(f"{label}: promised (95%)", spread(one.promised), "ratio"),
        ]
    return Report(
        question="screen",
        settings={
            "images": images,
            "model": "bundled" if model is None else Path(model).name,
            "screen": name_of(screen),
            "screen_keep": screen_keep,
            "spread": spread_picks,
            "rounds": rounds,
        },
        rows=tuple(rows),
    )


def name_of(screen: str) -> str:
    """``auto``, a factor, or the name of a model without its folder."""
    return Path(screen).name if is_model(screen) else screen


def _timed(pool: Sequence[str], **options: object) -> tuple[RunReport, float]:
    """A run, and its wall seconds from opening the model to the ranking."""
    started = time.perf_counter()
    report = deal.score_pool(pool, **options)  # type: ignore[arg-type]
    return report, time.perf_counter() - started


def _share(report: RunReport) -> float:
    assert report.screen is not None
    return 1.0 if report.screen.reason is not None else report.screen.exact / report.total


def _mean(ids: Sequence[str], scores: dict[str, float]) -> float:
    return float(np.mean([scores[name] for name in ids]))


def _rate(images: int, seconds: Sequence[float]) -> Spread:
    return spread([images / one for one in seconds])


def _film(folder: Path, frames: int) -> Path:
    """Generated drives of so many frames in all, as JPEG files."""
    for drive in plan_pool(_SEED, frames):
        place = folder / drive.name
        place.mkdir(parents=True)
        for name, image, _ in film(drive, _SIZE):
            Image.fromarray(image).save(place / f"{name}.jpg", quality=92)
    return folder
