"""Parts of the site that are written from the code: the API, the commands, the stored columns.

A page asks for its part by the line ``MARKER``. Nothing here imports Sphinx, so tests can call it.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import click
import pyarrow as pa

import deal
from deal.cli import deal as root_command
from deal.results.schema import IMAGE_COLUMNS, REGION_COLUMNS, REQUIRED

__all__ = ["GENERATED", "MARKER", "api", "columns", "commands"]

MARKER = "<!-- generated: docs/pages.py -->"

# Public names by what they are for. A public name that stands nowhere here is listed under "More".
_GROUPS = {
    "Score a pool and select": (
        "score_pool",
        "select",
        "view",
        "Scorer",
        "BatchScorer",
        "RunReport",
        "Selection",
        "Progress",
    ),
    "Label what is selected": ("annotate", "Annotation", "collect", "Collection"),
    "Acquisition functions": (
        "acquisition",
        "acquisition_names",
        "acquisition_scores",
        "load_plugin",
    ),
    "Statistics from logits": (
        "score_logits",
        "difficulty_map",
        "Statistics",
        "Grid",
        "Segments",
        "components",
    ),
    "Difficulty heads": ("DifficultyHead", "fit_head", "FitReport"),
    "Regions of a pool": ("Components", "GivenSegments", "Superpixels"),
    "Models and results": ("ModelSpec", "read_spec", "read_results", "read_regions", "Results"),
}
_MODULES = {
    "On a cluster": ("deal.ray",),
    "Results that engines write": ("deal.results",),
    "Training (needs PyTorch)": ("deal.training",),
    "Export": ("deal.export.onnx", "deal.export.head"),
}


def api() -> str:
    """Return the API reference: a directive for each public name, under headings."""
    public = [name for name in deal.__all__ if not name.startswith("__")]
    names = [name for name in public if not inspect.ismodule(getattr(deal, name))]
    named = {name for group in _GROUPS.values() for name in group}
    errors = [name for name in names if _is_error(getattr(deal, name))]
    more = [name for name in names if name not in named and name not in errors]
    groups: dict[str, Iterable[str]] = {
        **{title: [n for n in group if n in names] for title, group in _GROUPS.items()},
        "More": more,
        "Exceptions": errors,
    }
    parts = []
    for title, group in groups.items():
        parts += [f"## {title}", *(_directive("deal", name) for name in group)] if group else []
    for title, modules in _MODULES.items():
        parts.append(f"## {title}")
        for module in modules:
            public = importlib.import_module(module).__all__
            parts += [_directive(module, name) for name in public]
    return "\n\n".join(parts)


def _is_error(value: object) -> bool:
    return inspect.isclass(value) and issubclass(value, BaseException)


def _directive(module: str, name: str) -> str:
    value = getattr(importlib.import_module(module), name)
    kind = "class" if inspect.isclass(value) else "function" if callable(value) else "data"
    lines = [f".. auto{kind}:: {module}.{name}"]
    if kind == "class":
        lines += ["   :members:", "   :show-inheritance:"][: 2 if _is_error(value) else 1]
    return "\n".join(["```{eval-rst}", *lines, "```"])


def commands() -> str:
    """Return the reference of all commands: usage, description and every option."""
    return "\n\n".join(_described(root_command, "deal", None))


def _described(command: click.Command, name: str, parent: click.Context | None) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent)
    if parent is not None:
        usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
        yield f"## {context.command_path}"
        yield f"```\n{usage}\n```"
    yield from _paragraphs(command.help or "")
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            if found is not None:
                yield from _described(found, child, context)
    else:
        yield from _options(command, context)
    if command.epilog:
        yield f"```\n{inspect.cleandoc(command.epilog).lstrip(chr(8)).strip()}\n```"


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in inspect.cleandoc(text).partition("\f")[0].split("\n\n"):
        if paragraph.startswith("\b"):
            yield f"```\n{inspect.cleandoc(paragraph[1:])}\n```"
        else:
            yield _escaped(" ".join(paragraph.split()))


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    groups: dict[str, list[str]] = {}
    for parameter in command.get_params(context):
        if isinstance(parameter, click.Argument):
            continue
        shown = copy.copy(parameter)
        shown.hidden = False  # type: ignore[attr-defined]
        record = shown.get_help_record(context)
        assert record is not None
        names, text = record
        group = getattr(parameter, "group", "Help")
        groups.setdefault(group, []).append(f"`{names}`\n: {_escaped(text)}")
    for title, lines in groups.items():
        yield f"**{title}**" if len(groups) > 1 else "**Options**"
        yield from lines


def _escaped(text: str) -> str:
    """Text of a help page as Markdown: what stands in backquotes stays as it is."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        part if number % 2 else re.sub(r"([*_<>\[\]$|\\])", r"\\\1", part)
        for number, part in enumerate(parts)
    )


def columns() -> str:
    """Return the tables of stored columns, from the schema itself."""
    tables = {"images/*.parquet": IMAGE_COLUMNS, "regions/*.parquet": REGION_COLUMNS}
    return "\n\n".join(f"## `{name}`\n\n{_table(table)}" for name, table in tables.items())


def _table(table: Mapping[str, tuple[pa.DataType, str]]) -> str:
    lines = ["| column | type | null? | meaning |", "|---|---|---|---|"]
    for name, (kind, meaning) in table.items():
        null = "never" if name in REQUIRED else "may be"
        lines.append(f"| `{name}` | `{_type(kind)}` | {null} | {_escaped(meaning)} |")
    return "\n".join(lines)


def _type(kind: pa.DataType) -> str:
    return re.sub(r"list<\w+: (\w+)>", r"list<\1>", str(kind))


GENERATED: Mapping[str, Callable[[], Any]] = {
    "reference/api": api,
    "reference/cli": commands,
    "reference/stored": columns,
}
"""Page of the site → what writes its generated part."""
