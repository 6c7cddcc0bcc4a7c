"""What the commands share: options in groups, notes, the table of ranks."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from deal.acquisitions import acquisition_names
from deal.errors import UsageError
from deal.text import printable

if TYPE_CHECKING:
    from deal.selection import Selection

__all__ = [
    "GroupedCommand",
    "GroupedOption",
    "Size",
    "key_value",
    "option",
    "print_note",
    "print_selection",
    "ranking_keywords",
    "ranking_options",
    "seed_option",
]

FC = TypeVar("FC", bound="Callable[..., Any] | click.Command")


class Size(click.ParamType):  # type: ignore[type-arg]  # older ones are not generic
    """``360x480`` as (360, 480).

    Parameters
    ----------
    example : str
        Shown where a value is something else.
    """

    name = "HxW"

    def __init__(self, example: str = "360x480") -> None:
        self._example = example

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Parse a value; click.BadParameter."""
        parts = value.lower().split("x")
        if len(parts) != 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
            self.fail(f"{value!r} is not HxW, such as {self._example}", param, ctx)
        return int(parts[0]), int(parts[1])


class GroupedOption(click.Option):
    """An option that stands under a heading of the help."""

    def __init__(self, *args: Any, group: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group


class GroupedCommand(click.Command):
    """A command whose help lists the options by group, in the order of their definition."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and not isinstance(parameter, click.Argument):
                groups.setdefault(getattr(parameter, "group", "Help"), []).append(record)
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records)


def option(group: str, *names: str, **kwargs: Any) -> Callable[[FC], FC]:
    """``click.option`` under a heading of the help."""
    return click.option(*names, cls=GroupedOption, group=group, **kwargs)


def seed_option(group: str) -> Callable[[FC], FC]:
    """``--seed`` of a ranking."""
    return option(
        group,
        "--seed",
        type=int,
        default=0,
        show_default=True,
        metavar="S",
        help="Seed of random and --stochastic.",
    )


def key_value(text: str) -> tuple[str, Any]:
    """One ``--model-option``: key, and its value as JSON or else as text; UsageError."""
    key, separator, value = text.partition("=")
    if not separator:
        raise UsageError(f"--model-option {text!r}: write it as KEY=VALUE, such as classes=19")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


_RANKING, _BUDGET, _RULES, _DIVERSITY = "Ranking", "Budget", "Rules", "Diversity"
_RANKING_OPTIONS = [
    option(
        _RANKING,
        "--acquisition",
        default="ds",
        show_default=True,
        metavar="NAME",
        help="Acquisition function: " + ", ".join(acquisition_names()) + ".",
    ),
    option(
        _RANKING,
        "--plugin",
        "plugins",
        multiple=True,
        metavar="MODULE",
        help="Module or .py file that registers acquisition functions of your own; repeatable.",
    ),
    option(
        _RANKING,
        "--levels",
        type=int,
        metavar="L",
        help="Histogram levels of de, a divisor of 240. Default: 8.",
    ),
    option(
        _RANKING,
        "--edges",
        metavar="image|fixed",
        help="Histogram range of de: each image's own min…max (default), or 0…1.",
    ),
    option(
        _RANKING,
        "--tail",
        type=float,
        metavar="SHARE",
        help="Share of pixels, the worst, that tail:* average. Default: 0.05.",
    ),
    option(
        _RANKING,
        "--focus",
        metavar="CLASS,…",
        help="Classes that focus:* counts, by name: pole,sign,bicyclist.",
    ),
    option(
        _RANKING,
        "--acquisition-option",
        "acquisition_options",
        multiple=True,
        metavar="KEY=VALUE",
        help="Option of an acquisition function of your own; repeatable.",
    ),
    seed_option(_RANKING),
    option(
        _RANKING,
        "--stochastic",
        metavar="power|softrank[:BETA]",
        help="Draw by the scores instead of taking the best: with chances as score^BETA, or as "
        "rank^-BETA. BETA: 1 unless given.",
    ),
    option(
        _RANKING,
        "--table",
        metavar="images|regions",
        help="What to rank. Default: images, or regions for a budget of regions.",
    ),
    option(
        _BUDGET,
        "--budget",
        metavar="AMOUNT",
        help="How much to select: 500, 5%, regions:2000, pixels:5e6 (raster pixels, unmasked), "
        "clicks:20000 (of an annotator, estimated); percentages go with units too. Greedy: what "
        "no longer fits is skipped. Default: rank all.",
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
        help="What a row costs, for a budget that counts rows. Default: the budget's unit.",
    ),
    option(
        _BUDGET,
        "--click-corner",
        type=float,
        default=1.0,
        show_default=True,
        metavar="N",
        help="Clicks a corner of the predicted boundaries.",
    ),
    option(
        _BUDGET,
        "--click-length",
        type=float,
        default=0.0,
        show_default=True,
        metavar="N",
        help="Clicks a raster pixel of their length.",
    ),
    option(
        _BUDGET,
        "--click-fixed",
        type=float,
        default=1.0,
        show_default=True,
        metavar="N",
        help="Clicks any image or region takes.",
    ),
    option(
        _RULES,
        "--quota",
        multiple=True,
        metavar="ATTR[:VALUE]=N|P%",
        help="Most of the budget that any value of an attribute takes, or that one value does: "
        "camera=20%, camera:front=100. Attributes: camera, sequence, folder, the manifest's "
        "columns. Repeatable.",
    ),
    option(
        _RULES,
        "--min-gap",
        metavar="2s|30f",
        help="Least distance of images of a sequence: of time, or of the last number in the id.",
    ),
    option(_RULES, "--max-per-image", type=int, metavar="K", help="Regions of one image at most."),
    option(
        _RULES,
        "--exclude",
        multiple=True,
        type=click.Path(),
        metavar="FILE",
        help="Ids that are labeled: a CSV with a column id (selection.csv), or one id a line. "
        "Repeatable.",
    ),
    option(
        _RULES,
        "--include",
        multiple=True,
        type=click.Path(),
        metavar="FILE",
        help="Ids to take first, whatever score and rules; they count against the budget.",
    ),
    option(
        _DIVERSITY,
        "--diverse",
        metavar="M|P%",
        help="Pick the farthest from labeled and chosen images, again and again, among the best M "
        "times the budget, or the best P% of the pool.",
    ),
    option(
        _DIVERSITY,
        "--features",
        default="auto",
        show_default=True,
        metavar="auto|embedding|statistics",
        help="What distances of core-set and --diverse are between: the model's embedding, or "
        "class and difficulty statistics.",
    ),
    option(
        _DIVERSITY,
        "--metric",
        default="cosine",
        show_default=True,
        metavar="cosine|euclidean",
        help="The distance.",
    ),
]


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
    for text in options.pop("acquisition_options"):
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--acquisition-option {text!r}: write it as KEY=VALUE")
        if key in options:
            raise UsageError(f"--acquisition-option {text!r}: give --{key.replace('_', '-')}")
        options[key] = value
    return options


def print_note(text: str) -> None:
    """Print something the user should hear, on stderr."""
    print(f"note: {printable(text)}", file=sys.stderr)


def print_selection(selection: Selection, top: int) -> None:
    """Print the first ranks as a table, on stdout."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    metadata, shown = selection.metadata, min(top, len(selection))
    if shown <= 0:
        return
    table = Table()
    table.add_column("rank", justify="right")
    table.add_column("score", justify="right")
    table.add_column("id", overflow="fold")
    rows = list(selection.records(shown))
    extra = ["region"] if metadata["table"] == "regions" else []
    extra += ["cost"] if metadata["cost"] != "count" else []
    for name in extra:
        table.add_column(metadata["cost"] if name == "cost" else name, justify="right")
    if any(row["why"] for row in rows):
        extra.append("why")
        table.add_column("why", overflow="fold")
    for row in rows:
        score = "" if row["score"] is None else f"{row['score']:.6f}"
        cells = [str(row["rank"]), score, row["id"]]
        cells += ["" if row[name] is None else f"{row[name]}" for name in extra]
        table.add_row(*(Text(printable(cell)) for cell in cells))
    console = Console()
    if not console.is_terminal:  # a file or pipe has no width to fold to
        console = Console(width=200)
    print(
        f"{metadata['acquisition']}: {len(selection)} selected of {metadata['scored']} scored"
        f"{selection.drawn}, the first {shown}:"
    )
    console.print(table)
