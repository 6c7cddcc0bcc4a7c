"""The options of a ranking, which ``deal score`` and ``deal select`` share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from deal.acquisitions import acquisition_names
from deal.acquisitions.registry import POLICIES
from deal.cli.common import print_note
from deal.cli.grouped import FC, option
from deal.cli.limits import limit_options
from deal.errors import UsageError

if TYPE_CHECKING:
    from deal.selection import Selection

__all__ = ["csv_safe_option", "note_formulas", "ranking_keywords", "ranking_options", "seed_option"]


def seed_option(group: str) -> Callable[[FC], FC]:
    """``--seed`` of a ranking."""
    return option(
        group,
        "--seed",
        type=int,
        default=0,
        show_default=True,
        metavar="S",
        help="Seed of --acquisition random and of --stochastic.",
    )


def _complete_name(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in [*acquisition_names(), *POLICIES] if name.startswith(incomplete)]


_RANKING, _BUDGET, _RULES, _DIVERSITY = "Ranking", "Budget", "Rules", "Diversity"
_RANKING_OPTIONS = [
    option(
        _RANKING,
        "--acquisition",
        default="ds",
        show_default=True,
        metavar="NAME",
        shell_complete=_complete_name,
        first_day=True,
        help="Rank by this acquisition function: "
        + ", ".join(acquisition_names())
        + "; or clasp: entropy, drawn, with --stratify class:66%.",
    ),
    option(
        _RANKING,
        "--plugin",
        "plugins",
        multiple=True,
        metavar="MODULE",
        help="Load your own acquisition functions from a module or .py file. Repeatable.",
    ),
    option(
        _RANKING,
        "--levels",
        type=int,
        metavar="L",
        help="Number of histogram levels of de; it must divide 240. Default: 8.",
    ),
    option(
        _RANKING,
        "--edges",
        metavar="image|fixed",
        help="Histogram range of de: from the minimum to the maximum of each image, or from 0 to "
        "1. Default: image.",
    ),
    option(
        _RANKING,
        "--tail",
        type=float,
        metavar="SHARE",
        help="Average the worst pixels, this share of each image, in the tail:* functions. "
        "Default: 0.05.",
    ),
    option(
        _RANKING,
        "--focus",
        metavar="CLASS,…",
        help="Names of the classes that the focus:* functions count, such as pole,sign,bicyclist.",
    ),
    option(
        _RANKING,
        "--acquisition-option",
        "acquisition_options",
        multiple=True,
        metavar="KEY=VALUE",
        help="Pass an option to your own acquisition function. Repeatable.",
    ),
    seed_option(_RANKING),
    option(
        _RANKING,
        "--stochastic",
        metavar="power|softrank[:BETA]",
        help="Draw at random instead of taking the best. The chances are proportional to "
        "score^BETA (power) or rank^-BETA (softrank). BETA defaults to 1.",
    ),
    option(
        _RANKING,
        "--table",
        metavar="images|regions",
        help="What to rank. Default: images, or regions if the budget counts regions.",
    ),
    option(
        _BUDGET,
        "--budget",
        metavar="AMOUNT",
        first_day=True,
        help="How much to select: 500, 5%, 2GB (files of this size together), regions:2000, "
        "pixels:5e6 (unmasked raster pixels) or clicks:20000 (estimated clicks of an annotator). "
        "Percentages work with units too: pixels:5%. Rows that no longer fit are skipped. "
        "Default: rank everything.",
    ),
    option(
        _BUDGET,
        "--by",
        metavar="score|score-per-cost",
        help="Order of the ranks. Default: score, or score-per-cost for pixels and clicks.",
    ),
    option(
        _BUDGET,
        "--cost",
        metavar="count|pixels|clicks",
        help="Cost of a row if the budget counts rows. Default: the unit of the budget.",
    ),
    option(
        _BUDGET,
        "--click-corner",
        type=float,
        default=1.0,
        show_default=True,
        metavar="N",
        help="Clicks per corner of the predicted boundaries.",
    ),
    option(
        _BUDGET,
        "--click-length",
        type=float,
        default=0.0,
        show_default=True,
        metavar="N",
        help="Clicks per raster pixel of boundary length.",
    ),
    option(
        _BUDGET,
        "--click-fixed",
        type=float,
        default=1.0,
        show_default=True,
        metavar="N",
        help="Clicks per image or region, whatever it shows.",
    ),
    option(
        _RULES,
        "--spread",
        default="auto",
        show_default=True,
        metavar="auto|off|2s|60f",
        first_day=True,
        help="Spread the picks of a budget of images: by a gap in time where the manifest or the "
        "names tell it, otherwise over kinds of images. auto chooses the gap from pool and budget. "
        "off ranks by score alone.",
    ),
    option(
        _RULES,
        "--near-duplicates",
        default="auto",
        show_default=True,
        metavar="auto|off|LEVELS",
        help="Of two picks whose thumbnails differ by at most LEVELS grey levels, keep the one "
        "with the higher rank. auto is 1.5 where picks are spread, and off otherwise.",
    ),
    option(
        _RULES,
        "--quota",
        multiple=True,
        metavar="ATTR[:VALUE]=N|P%",
        help="Limit the share of the budget that each value of an attribute may take "
        "(camera=20%), or one value (camera:front=100). Attributes are camera, sequence, folder "
        "and the columns of the manifest. Repeatable.",
    ),
    option(
        _RULES,
        "--stratify",
        metavar="class|ATTR[:P%]",
        help="Share out P% of the budget, and give out the rest by score. class takes the best of "
        "each predicted class in turn (class:66%); each sequence, camera, folder or value of a "
        "column of the manifest takes its share of the pool. P defaults to 100.",
    ),
    option(
        _RULES,
        "--min-gap",
        metavar="2s|30f",
        first_day=True,
        help="Keep the picks of a sequence this far apart: in seconds by the manifest's "
        "timestamps, or in frames by the last number in the id.",
    ),
    option(
        _RULES,
        "--gap-per",
        default="camera",
        show_default=True,
        metavar="camera|sequence",
        help="Count the gaps of --spread and --min-gap for each camera of a sequence alone, or for "
        "all its cameras together.",
    ),
    *limit_options(_RULES),
    option(
        _RULES,
        "--max-per-image",
        type=int,
        metavar="K",
        help="Select at most K regions per image.",
    ),
    option(
        _RULES,
        "--exclude",
        multiple=True,
        type=click.Path(),
        metavar="FILE",
        first_day=True,
        help="Leave out the ids in FILE, which are labeled already: a CSV with a column id, such "
        "as an earlier selection.csv, or one id per line. Repeatable.",
    ),
    option(
        _RULES,
        "--include",
        multiple=True,
        type=click.Path(),
        metavar="FILE",
        help="Select the ids in FILE first, whatever their scores and the rules. They count "
        "against the budget. Repeatable.",
    ),
    option(
        _DIVERSITY,
        "--diverse",
        metavar="M|P%",
        first_day=True,
        help="Spread the picks: among the best M times the budget (or the best P% of the pool), "
        "take again and again the image farthest from all labeled and picked ones.",
    ),
    option(
        _DIVERSITY,
        "--features",
        default="auto",
        show_default=True,
        metavar="auto|embedding|statistics",
        help="Features whose distance core-set and --diverse measure: the model's embedding, or "
        "class and difficulty statistics. auto: the embedding if the model has one.",
    ),
    option(
        _DIVERSITY,
        "--metric",
        default="cosine",
        show_default=True,
        metavar="cosine|euclidean",
        help="Distance between features.",
    ),
]


def csv_safe_option(group: str) -> Callable[[FC], FC]:
    """``--csv-safe``, for a command that writes ``selection.csv``."""
    return option(
        group,
        "--csv-safe",
        is_flag=True,
        help="In selection.csv, write an apostrophe before names that begin with =, +, - or @, so "
        "that spreadsheets do not run them as formulas.",
    )


def note_formulas(selection: Selection) -> None:
    """Say that ``selection.csv`` holds what a spreadsheet would run, if it does."""
    if count := selection.formulas:
        rows = "1 row" if count == 1 else f"{count} rows"
        print_note(
            f"{rows} of selection.csv hold names that begin with =, +, - or @, which spreadsheets "
            "run as formulas: --csv-safe writes them as text"
        )


def ranking_options(function: FC) -> FC:
    """Add the options of `select`, which ``deal score`` and ``deal select`` share."""
    for decorate in reversed(_RANKING_OPTIONS):
        function = decorate(function)
    return function


def ranking_keywords(options: dict[str, Any]) -> dict[str, Any]:
    """Load plugins; keywords of `deal.select` for the values of `ranking_options`.

    Other options stay as they are. Raises UsageError.
    """
    options = dict(options)
    if plugins := options.pop("plugins"):
        from deal.acquisitions import load_plugin

        for plugin in plugins:
            load_plugin(plugin)
    own: dict[str, Any] = {}
    for text in options.pop("acquisition_options"):
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--acquisition-option {text!r}: write it as KEY=VALUE")
        if key in options:
            raise UsageError(f"--acquisition-option {text!r}: give --{key.replace('_', '-')}")
        own[key] = value
    return {**options, "acquisition_options": own}
