"""The report on difficulty as one HTML page, with curves of risk and of reliability."""

from __future__ import annotations

from deal.fitting.measures import UNCERTAINTIES
from deal.fitting.quality import COVERAGES, DifficultyQuality
from deal.report.charts import Curve, curve_chart, figure, series, steps
from deal.report.difficulty import to_markdown
from deal.report.html_page import blocks, tiles, with_figures
from deal.report.html_page import page as html_page

__all__ = ["page", "reliability", "risk_coverage"]

_MAIN = ("difficulty", *UNCERTAINTIES)
_UNDONE = "difficulty, weights undone"
_FEWEST = 0.0005  # share of the pixels that a mark of the reliability curve stands for
_PERCENT = [(number / 5, f"{20 * number} %") for number in range(6)]


def page(quality: DifficultyQuality) -> str:
    """Make one self-contained HTML page with text, tables and curves."""
    figures = {"Calibration": [_reliability_figure(quality)]}
    if 0 < quality.wrong < quality.pixels:
        figures["Finding the wrong pixels"] = [_risk_figure(quality)]
    parts = blocks(to_markdown(quality))
    return html_page("Difficulty", with_figures(parts, figures, [_tiles(quality)]))


def _tiles(quality: DifficultyQuality) -> str:
    auroc = quality.scores["difficulty"].areas.auroc
    return tiles(
        [
            (str(quality.images), "images"),
            (f"{quality.wrong / quality.pixels:.1%}", "of the pixels wrong"),
            (f"{quality.miou:.1%}", "mIoU"),
            ("-" if auroc is None else f"{auroc:.3f}", "AUROC of difficulty"),
        ]
    )


def _risk_figure(quality: DifficultyQuality) -> str:
    return figure(
        risk_coverage(quality),
        "Risk–coverage: accept the pixels with the lowest scores first; how many of the accepted "
        "ones are wrong? Lower is better. At 100 % every score has the share of all wrong pixels.",
    )


def _reliability_figure(quality: DifficultyQuality) -> str:
    return figure(
        reliability(quality),
        "Reliability: of the pixels with this score, how many are wrong? On the dashed line a "
        "score is the probability of an error. Point at a mark to see how many pixels it stands "
        f"for; bins with less than {_FEWEST:.2%} of them are left out.",
    )


def risk_coverage(quality: DifficultyQuality) -> str:
    """Draw the share of wrong pixels among those accepted first as SVG."""
    curves = [
        Curve(
            name,
            list(zip(COVERAGES, quality.scores[name].risks, strict=True)),
            [
                f"{risk:.2%} wrong of the {coverage:.0%} with the lowest scores"
                for coverage, risk in zip(COVERAGES, quality.scores[name].risks, strict=True)
            ],
            series(index),
            marked=5,
        )
        for index, name in enumerate(_MAIN)
    ]
    values = [0.0, *(y for curve in curves for _, y in curve.points)]
    return curve_chart(
        curves,
        title="Share of wrong pixels by coverage",
        labels=("coverage", "wrong, %"),
        x_ticks=_PERCENT,
        y=steps(values, 420),
    )


def reliability(quality: DifficultyQuality) -> str:
    """Draw the share of wrong pixels by score, in ten bins, as SVG."""
    found = {name: quality.scores[name].calibration for name in _MAIN}
    undone = quality.scores["difficulty"].unweighted_calibration
    if undone is not None:
        found[_UNDONE] = undone
    curves = []
    for index, (name, calibration) in enumerate(found.items()):
        known = [
            (part.mean_score, part.wrong_share, part.pixels)
            for part in calibration.bins
            if part.mean_score is not None
            and part.wrong_share is not None
            and part.pixels >= _FEWEST * quality.pixels
        ]
        curves.append(
            Curve(
                name,
                [(score, share) for score, share, _ in known],
                [
                    f"{share:.1%} wrong at a score of {score:.2f}, "
                    f"{pixels / quality.pixels:.1%} of the pixels"
                    for score, share, pixels in known
                ],
                series(index),
            )
        )
    return curve_chart(
        curves,
        title="Share of wrong pixels by score",
        labels=("score", "wrong, %"),
        x_ticks=[(number / 5, f"{number / 5:.1f}") for number in range(6)],
        y=(0.2, (0.0, 1.0)),
        diagonal="a score that is the probability of an error",
    )
