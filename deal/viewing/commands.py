"""The commands that the page shows: what selects as it is, and what fills up the basket."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deal.acquisitions.lookup import find
from deal.errors import UsageError

if TYPE_CHECKING:
    from deal.viewing.rows import Pool

__all__ = ["RULES", "filling", "rules_told", "selecting"]

_PROGRAMS = {"deal": "deal", "deal-score": "deal-score", "__main__.py": "deal"}
_FUNCTION_OPTIONS = ("levels", "edges", "tail", "focus")
RULES = {
    "spread": "--spread",
    "near_duplicates": "--near-duplicates",
    "min_gap": "--min-gap",
    "gap_per": "--gap-per",
    "sequence_from": "--sequence-from",
    "diverse": "--diverse",
    "features": "--features",
    "metric": "--metric",
    "stratify": "--stratify",
    "stochastic": "--stochastic",
    "max_per_image": "--max-per-image",
    "max_bytes": "--max-bytes",
    "window_ns": "--window",
    "window_budget": "--window-budget",
    "window_bytes": "--window-bytes",
    "quota": "--quota",
}
"""Options of `deal select` by their names in ``selection.json``."""

_COSTS = {
    "table": "--table",
    "by": "--by",
    "cost": "--cost",
    "click_corner": "--click-corner",
    "click_length": "--click-length",
    "click_fixed": "--click-fixed",
}
_LISTS = {"exclude": "--exclude", "include": "--include"}


def selecting(pool: Pool, run: Mapping[str, Any] | None) -> str:
    """The command that selects as it is: that of the run, or a ``deal select``.

    Of lists of ids only digests are stored, so ``FILE`` stands for them.
    """
    metadata = pool.metadata
    ran = {} if run is None else run.get("selection") or {}
    if run is not None and ran and all(metadata.get(k) == v for k, v in ran.items()):
        program, *words = run.get("command") or [""]
        first = _PROGRAMS.get(Path(program).name)
        if first is not None and words:
            return shlex.join([first, *words])
    name = metadata.get("acquisition") or pool.acquisition
    words = ["deal", "select", str(pool.output), "--acquisition", name, *_own(metadata)]
    if metadata.get("budget") is not None:
        words += ["--budget", str(metadata["budget"])]
    words += _given(metadata, {**_COSTS, **RULES, "seed": "--seed"})
    words += _listed(metadata, _LISTS)
    return shlex.join([*words, *_stream(metadata)])


def filling(pool: Pool) -> str:
    """How a ``deal select`` of images begins that goes on as the selection was made."""
    metadata, name = pool.metadata, pool.acquisition
    words = ["deal", "select", str(pool.output)]
    if name != "ds:none":
        words += ["--acquisition", name]
    if metadata.get("table") == "images" and metadata.get("acquisition") == name:
        words += _own(metadata)
        words += _given(metadata, {**RULES, "seed": "--seed"})
        words += _listed(metadata, {"exclude": "--exclude"})
    return shlex.join(words)


def rules_told(metadata: Mapping[str, Any]) -> list[str]:
    """The rules of a selection, as options."""
    words = _given(metadata, RULES)
    told = [" ".join(pair) for pair in zip(words[::2], words[1::2], strict=True)]
    lists = [(option, metadata.get(name)) for name, option in _LISTS.items()]
    return told + [f"{option} ({found['names']:,} ids)" for option, found in lists if found]


def _listed(metadata: Mapping[str, Any], options: Mapping[str, str]) -> list[str]:
    given = [option for name, option in options.items() if metadata.get(name)]
    return [word for option in given for word in (option, "FILE")]


def _given(metadata: Mapping[str, Any], options: Mapping[str, str]) -> list[str]:
    """The options that a selection has and would not have by itself."""
    usual = _usual(metadata)
    words: list[str] = []
    for name, option in options.items():
        value = metadata.get(name)
        if value is None or value == usual.get(name):
            continue
        for each in value if isinstance(value, list) else [value]:
            words += [option, _seconds(each) if name == "window_ns" else str(each)]
    return words


def _usual(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What is stored of a selection by the same function, with the same budget and no options."""
    from deal.selection import Ranking
    from deal.selection.budget import parse_budget
    from deal.selection.options import flat_options

    budget = metadata.get("budget")
    known = ("acquisition", "table", *(name for name in _COSTS if name.startswith("click")))
    given = {name: metadata[name] for name in (*known, *_own_names(metadata)) if name in metadata}
    plain = Ranking.of(cost="clicks")
    try:
        usual = Ranking.of(**flat_options({**given, "budget": budget})).to_dict()
    except UsageError:
        usual = Ranking.of(budget=budget).to_dict()
    return {
        **usual,
        "table": parse_budget(budget).table or "images",
        "gap_per": plain.gap_per,
        "features": plain.features,
        "metric": plain.metric,
        "click_corner": plain.clicks.corner,
        "click_length": plain.clicks.length,
        "click_fixed": plain.clicks.fixed,
    }


def _own_names(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    try:
        return tuple(name for name in find(metadata["acquisition"]).options if name != "seed")
    except (KeyError, UsageError):
        return ()


def _own(metadata: Mapping[str, Any]) -> Iterator[str]:
    """Options of the function that are not its defaults, as the command line takes them."""
    names = _own_names(metadata)
    defaults = find(metadata["acquisition"]).options if names else {}
    for name in names:
        value = metadata.get(name, defaults[name])
        if value == defaults[name]:
            continue
        listed = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
        if name in _FUNCTION_OPTIONS:
            yield from (f"--{name}", listed)
        else:
            yield from ("--acquisition-option", f"{name}={listed}")


def _stream(metadata: Mapping[str, Any]) -> list[str]:
    """Options of a selection that was made as a stream."""
    from dataclasses import asdict

    from deal.selection.replay import StreamLimits

    stream = metadata.get("stream")
    if not stream:
        return []
    words = ["--as-stream"]
    for name, usual in asdict(StreamLimits()).items():
        if stream.get(name, usual) != usual:
            words += [f"--{name.replace('_', '-')}", str(stream[name])]
    return words


def _seconds(nanoseconds: int) -> str:
    whole, part = divmod(nanoseconds, 10**9)
    return f"{whole}.{part:09d}".rstrip("0").rstrip(".") + "s"
