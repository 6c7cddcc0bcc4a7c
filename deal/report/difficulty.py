"""Report the quality of difficulty as Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence

from deal.fitting.measures import AREAS, UNCERTAINTIES, ClassMeasures, best_score
from deal.fitting.quality import DifficultyQuality, ScoreQuality
from deal.fitting.variants import PRODUCTS
from deal.metrics import Calibration
from deal.model.head import DifficultyHead
from deal.report.markdown import name as shown
from deal.report.markdown import table

__all__ = ["to_markdown"]

_MAIN = ("difficulty", *UNCERTAINTIES)
_AREA_HEADS = ("AUROC", "average precision", "AURC")


def to_markdown(quality: DifficultyQuality) -> str:
    """Write every table under a heading, with a text that says how to read it."""
    setting = quality.setting
    where = "/".join(shown(part) for part in (setting["data"], setting["split"]) if part)
    lines = [
        f"# Difficulty of {shown(setting['model'])} on {where}",
        "",
        f"- Model: {shown(setting['model'])} (sha256 {setting['model_sha256'][:12]}); "
        f"measured by deal {setting['deal']}.",
        f"- {quality.images} images, {quality.pixels} labeled pixels, of which "
        f"{quality.wrong / quality.pixels:.1%} are predicted wrong; mIoU {quality.miou:.1%}.",
        "- Difficulty is that of "
        f"{shown(quality.heads['difficulty'][0])}{_numbers(quality.heads['difficulty'][1])}.",
        f"- {_verdict(quality)}",
        "",
        *_overall(quality),
        *_parts(quality),
        *_calibration(quality),
        *_classes(quality),
        *_heads(quality),
        *_attention(quality),
    ]
    return "\n".join(lines).rstrip("\n") + "\n"


def _numbers(head: DifficultyHead | None) -> str:
    if head is None:
        return ""
    return f" (γ {head.gamma:.3g}, attention grid {_grid(head)})"


def _grid(head: DifficultyHead | None) -> str:
    if head is None:
        return "-"
    return "of the logits" if head.grid is None else f"{head.grid[0]}×{head.grid[1]}"


def _verdict(quality: DifficultyQuality) -> str:
    areas = {name: quality.scores[name].areas for name in _MAIN}
    winners = [best_score(areas, area, (*UNCERTAINTIES, "difficulty")) for area in AREAS]
    if winners[0] is None:
        return "All pixels are right, or all are wrong: no score can be measured."
    named = ", ".join(
        f"{name} (by {', '.join(heads)})"
        for name in dict.fromkeys(winners)
        if (heads := [h for w, h in zip(winners, _AREA_HEADS, strict=True) if w == name])
    )
    wins = ", ".join(
        f"{name}'s in {won} of {count}" for name, (won, count) in quality.image_wins.items()
    )
    return (
        f"What finds the wrong pixels best: {named}. Within an image, difficulty's "
        f"AUROC is above {wins} images."
    )


def _overall(quality: DifficultyQuality) -> list[str]:
    share = f"{quality.wrong / quality.pixels:.3f}"
    rows = [
        [name, *_areas(quality.scores[name]), *_by_image(quality.scores[name])]
        for name in (*_MAIN, *PRODUCTS)
    ]
    alone = (_number(getattr(quality.class_alone, area)) for area in AREAS)
    rows.append(["predicted class alone", *alone, "-", "-"])
    rows.append(["chance", "0.500", share, share, "0.500", "0.000"])
    return [
        "## Finding the wrong pixels",
        "",
        "AUROC, average precision: higher is better; AURC: lower. AUROC in an image: mean over the "
        "images of the AUROC within each. Images: rank correlation of an image's mean score, by "
        "which a pool is ranked, with its share of wrong pixels. `ds:entropy` and so on: product "
        "of difficulty and that uncertainty. Predicted class alone: a score that only knows the "
        "predicted class of a pixel, namely the share of this class that is wrong here.",
        "",
        *table(["score", *_AREA_HEADS, "AUROC in an image", "images"], rows),
    ]


def _parts(quality: DifficultyQuality) -> list[str]:
    lines = []
    for title, what, parts in (
        ("sequence", "Neighbouring frames of a sequence look alike.", quality.by_sequence),
        (
            "predicted class",
            "An unlabeled image has predicted classes too. A score that only knows the class of a "
            "pixel has an AUROC of 0.500 here.",
            quality.by_predicted,
        ),
        (
            "labeled class",
            "Which pixels of a class does the network miss? Wrong pixels are predicted as other "
            "classes, so it matters here too how a score ranks the classes.",
            quality.by_label,
        ),
    ):
        if not parts:
            continue
        lines += [f"## By {title}", "", what, ""]
        for area, head in zip(AREAS, _AREA_HEADS, strict=True):
            rows = [
                [
                    shown(part.name),
                    part.pixels,
                    f"{part.wrong / part.pixels:.1%}",
                    *(_number(getattr(part.scores[name], area)) for name in _MAIN),
                ]
                for part in parts
            ]
            rows.append(["mean", "", "", *(_number(_mean(parts, name, area)) for name in _MAIN)])
            lines += [f"{head}:", "", *table([title, "pixels", "wrong", *_MAIN], rows)]
    return lines


def _mean(parts: Sequence[ClassMeasures], name: str, area: str) -> float | None:
    values = [getattr(part.scores[name], area) for part in parts]
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _calibration(quality: DifficultyQuality) -> list[str]:
    found = {name: quality.scores[name].calibration for name in _MAIN}
    undone = quality.scores["difficulty"].unweighted_calibration
    if undone is not None:
        found["difficulty, weights undone"] = undone
    rows = []
    for number, edges in enumerate(found["difficulty"].bins):
        cells = [f"{edges.low:.1f}…{edges.high:.1f}"]
        for calibration in found.values():
            part = calibration.bins[number]
            cells += [f"{part.pixels / quality.pixels:.1%}", _percent(part.wrong_share)]
        rows.append(cells)
    heads = [f"{name}: {what}" for name in found for what in ("pixels", "wrong")]
    totals = [
        [name, f"{_mean_score(calibration):.3f}", f"{calibration.error:.3f}"]
        for name, calibration in found.items()
    ]
    return [
        "## Calibration",
        "",
        "A score read as the probability that a pixel is wrong: the mean should be "
        f"{quality.wrong / quality.pixels:.3f}. ECE: expected calibration error, ten bins; lower "
        "is better. Only least-confidence is a probability by its definition; entropy (of 0…1, "
        "divided by ln C) and margin are listed for comparison. The difficulty loss weighs the "
        "rarer of wrong and right pixels more, so D lies above the probability by design where "
        "fewer than half are wrong. Weights undone: D with its odds divided by (right/wrong)^1.5, "
        "by the pixels that are right and wrong here.",
        "",
        *table(["score", "mean", "ECE"], totals),
        "Share of the pixels in a bin, and how many of them are wrong:",
        "",
        *table(["score", *heads], rows),
    ]


def _mean_score(calibration: Calibration) -> float:
    pixels = sum(part.pixels for part in calibration.bins)
    return math.fsum((part.mean_score or 0) * part.pixels for part in calibration.bins) / pixels


def _classes(quality: DifficultyQuality) -> list[str]:
    sides = ("predicted", "labeled")
    rows = []
    for number, name in enumerate(quality.classes):
        iou = quality.iou[number]
        cells = [shown(name), "-" if iou is None else f"{1 - iou:.3f}"]
        for score in _MAIN:
            means = (getattr(quality.scores[score], side).means[number] for side in sides)
            cells += map(_number, means)
        rows.append(cells)
    last = ["rank correlation with 1 − IoU", ""]
    for score in _MAIN:
        last += [_number(getattr(quality.scores[score], side).correlation) for side in sides]
    heads = [f"{score}, {side}" for score in _MAIN for side in sides]
    return [
        "## Difficult classes",
        "",
        "Mean score of the pixels predicted as a class, and of those labeled as it, beside "
        "1 − IoU, which difficulty follows according to the paper. Entropy is scaled to 0…1.",
        "",
        *table(["class", "1 − IoU", *heads], [*rows, last]),
    ]


def _heads(quality: DifficultyQuality) -> list[str]:
    names = [name for name in quality.heads if name not in quality.attention]
    if len(names) < 2:
        return []
    rows = []
    for name in (*names, *UNCERTAINTIES):
        score = quality.scores[name]
        source, head = quality.heads.get(name, ("", None))
        undone = score.unweighted_calibration
        rows.append(
            [
                shown(name),
                shown(source) or "-",
                "-" if head is None else f"{head.gamma:.3g}",
                _grid(head),
                *_areas(score),
                *_by_image(score),
                f"{score.calibration.error:.3f}",
                "-" if undone is None else f"{undone.error:.3f}",
                _number(score.predicted.correlation),
                _number(score.labeled.correlation),
            ]
        )
    columns = [
        *("score", "head", "γ", "attention grid", *_AREA_HEADS, "AUROC in an image", "images"),
        *("ECE", "ECE, weights undone", "classes, predicted", "classes, labeled"),
    ]
    return [
        "## Heads on the same logits",
        "",
        "Other grids and γ = 0 change the first head without a new fit. Classes: the rank "
        "correlations with 1 − IoU of above.",
        "",
        *table(columns, rows),
    ]


def _attention(quality: DifficultyQuality) -> list[str]:
    if not quality.attention:
        return []
    rows = []
    for name in quality.attention:
        score = quality.scores[name]
        areas = (getattr(score.areas, area) for area in AREAS)
        rows.append([name, *(_number(a, 6) for a in areas), f"{score.largest_change or 0:.1g}"])
    return [
        "## Attention by polynomials",
        "",
        "A polynomial in place of `exp` in the attention. The kernel computes degree 4 where that "
        "is cheaper than all pairs of cells. Largest change: how far D of any pixel is from "
        "that of all pairs.",
        "",
        *table(["computation", *_AREA_HEADS, "largest change"], rows),
    ]


def _areas(score: ScoreQuality) -> list[str]:
    return [_number(getattr(score.areas, area)) for area in AREAS]


def _by_image(score: ScoreQuality) -> list[str]:
    return [_number(score.image_auroc), _number(score.image_correlation)]


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
