"""Write docs/acquisition.md from the registry: ``python -m deal.acquisitions.page [FILE]``.

Run it from the repository's root; a test says when the page is stale.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

import pyarrow.types as pt

from deal.acquisitions.registry import ALIASES, BUILT_IN, Acquisition, registered
from deal.results.schema import IMAGE_COLUMNS, REGION_COLUMNS
from deal.types import COMMITTEE_COLUMNS

__all__ = ["command", "page"]

_SCHEMAS = {"images": IMAGE_COLUMNS, "regions": REGION_COLUMNS}

_TITLES = {
    "difficulty": "Difficulty",
    "uncertainty": "Uncertainty and the random baseline",
    "tails": "Tails",
    "classes": "Classes",
    "committee": "Committees",
    "representative": "Representative",
}

_HEAD = """\
<!-- Written by `python -m deal.acquisitions.page`: change the registry, not this page. -->
# Acquisition functions

An acquisition function turns stored statistics into one number per row; rows with a higher number
are labeled sooner. The network runs once, when the pool is scored. `deal select` then ranks the
pool by any of these functions without the network, and `deal-score` takes the same options.

`P` are the class probabilities of a pixel, `P₁ ≥ P₂ ≥ …` the same probabilities in descending
order, `D` is the difficulty of the pixel (0…1), and `H` is entropy in nats. Means are over the
raster pixels that are not masked. Ties go by id.

*Tables* says which rows a function scores: images, or images and regions (`--table regions`, or a
budget such as `regions:2000`, ranks regions). *Columns* lists what the function reads per row: one
number, or a list of 240 levels, of C classes, or of the E numbers of an embedding. *Cost* is what
these columns need: passes of the network over the pool (M for a committee of M members), and bytes
per row of images before compression. `deal bench acquisition` times every function on a table.

"""

_TAIL = """\
## Draw by the scores

The rows with the highest scores resemble each other: once one is labeled, a model finds the others
easier. With `--stochastic power`, `deal select` draws rows without replacement, with chances
proportional to the scores (or scores per cost); with `power:2`, to their squares. Rows that score 0
come last. Use `--stochastic softrank` for functions where a score of 0 has no special meaning, such
as `de`, or whose scores differ little, such as means of whole images. It draws with chances
proportional to 1 / rank, and `softrank:0.5` to 1 / √rank. The method is stochastic batch
acquisition: Kirsch et al., TMLR 2023, arXiv 2106.12059, section 3.

Draws use a hash of `--seed` and id, so they are the same in any shard or order. Give another seed
in the next round, with the next model. The column `score` is still the score of the function.
Budgets and rules still hold, and `--diverse` picks among the drawn rows.

## Your own

```python
import deal


@deal.acquisition("boundary", requires=["boundary_pixels", "n_pixels"])
def boundary(columns):
    return columns["boundary_pixels"] / columns["n_pixels"]


deal.acquisition_scores(deal.read_results("out/"), "boundary")
```

The function gets the columns that it requires as arrays of n usable rows and returns n numbers;
NaN leaves a row out. Its keyword-only parameters are its options. The score of a row must not
depend on other rows, since pools come in parts; a function that needs to know something about the
whole pool sums it up as integers with `totals=`. With `tables=("images", "regions")` the function
also ranks regions. `help(deal.acquisition)` documents every parameter.

On the command line, give `--plugin my_functions.py` or `--plugin package.module`, and options as
`--acquisition-option KEY=VALUE`. An installed package is found without `--plugin` if it names its
module as an entry point:

```toml
[project.entry-points."deal.acquisition"]
my-functions = "my_package.functions"
```
"""


def page() -> str:
    """Return the page as Markdown."""
    registry = registered()
    lines = ["| name | tables | options | cost |", "|---|---|---|---|"]
    for names in BUILT_IN.values():
        lines += [_row(registry[name]) for name in names]
    sections = [_section(module, registry) for module in BUILT_IN]
    return _HEAD + "\n".join([*lines, "", ""]) + "".join(sections) + _TAIL


def command(entry: Acquisition) -> str:
    """Return a command that ranks by the function, with every option of the function."""
    options = [
        f"--{option} {'pole,bicyclist' if option == 'focus' else value}"
        for option, value in entry.options.items()
    ]
    ranking = " ".join(["--acquisition", entry.name, *options, "--budget 500"])
    if set(_required(entry, "images")) & set(COMMITTEE_COLUMNS):
        return f"deal-score frames/ --model a.onnx --model b.onnx --output out/ {ranking}"
    return f"deal select out/ {ranking}"


def _section(module: str, registry: dict[str, Acquisition]) -> str:
    text = inspect.getdoc(importlib.import_module(f"deal.acquisitions.{module}")) or ""
    parts = [f"## {_TITLES[module]}", "", text, ""]
    for name in BUILT_IN[module]:
        parts += [*_entry(registry[name]), ""]
    return "\n".join([*parts, ""])


def _entry(entry: Acquisition) -> list[str]:
    summary = (inspect.getdoc(entry.function) or "").partition("\n\n")[0]
    lines = [
        f"### `{entry.name}`",
        "",
        _markdown(" ".join(summary.split())),
        "",
        f"* Formula: {entry.formula}",
        f"* Source: {entry.source}",
    ]
    lines += [f"* Columns of {table}: {_columns(entry, table)}" for table in entry.tables]
    options = entry.options
    if options:
        described = [f"`{name}` ({_default(value)})" for name, value in options.items()]
        lines.append(f"* Options: {', '.join(described)}")
    return [*lines, f"* Cost: {_cost(entry)}", "", "```", command(entry), "```"]


def _row(entry: Acquisition) -> str:
    names = [name for name, target in ALIASES.items() if target == entry.name]
    shown = ", ".join(f"`{name}`" for name in [entry.name, *names])
    options = ", ".join(f"`{option}`" for option in entry.options)
    return f"| {shown} | {', '.join(entry.tables)} | {options} | {_cost(entry)} |"


def _columns(entry: Acquisition, table: str) -> str:
    named = [_named(name, table) for name in _required(entry, table)]
    other = " (by default)" if set(inspect.signature(entry.requires).parameters) - {"table"} else ""
    return ", ".join(named) + other


def _required(entry: Acquisition, table: str) -> list[str]:
    """Columns of a table that a function reads when its options have their defaults."""
    given = {**entry.options, "table": table}
    taken = inspect.signature(entry.requires).parameters
    return list(entry.requires(**{name: given[name] for name in taken}))


def _named(name: str, table: str) -> str:
    """A column with its dimension, taken from the start of the schema's description of a list."""
    kind, meaning = _SCHEMAS[table][name]
    return f"`{name}` {meaning[: meaning.index(']') + 1]}" if pt.is_list(kind) else f"`{name}`"


def _cost(entry: Acquisition) -> str:
    table = entry.tables[0]
    names = _required(entry, table)
    if names == ["id"]:
        return "no pass; the id"
    passes = "M passes" if set(names) & set(COMMITTEE_COLUMNS) else "1 pass"
    return f"{passes}; {' + '.join(_size(*_SCHEMAS[table][name]) for name in names)} bytes"


def _size(kind: Any, meaning: str) -> str:
    if not pt.is_list(kind):
        return str(kind.bit_width // 8)
    return f"{kind.value_type.bit_width // 8}·{meaning[1 : meaning.index(']')]}"


def _default(value: Any) -> str:
    return "needed" if value is inspect.Parameter.empty else f"default {value}"


def _markdown(text: str) -> str:
    return text.replace("``", "`")


def main() -> None:
    """Write the page to the file given as argument, or to docs/acquisition.md."""
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/acquisition.md")
    target.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
