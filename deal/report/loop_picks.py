"""Compare the picks of an experiment's methods: their overlap and their variety."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import pyarrow as pa

from deal.loop.labeled import Item, Region, image_of
from deal.loop.table import Experiment
from deal.report.markdown import name as shown
from deal.report.markdown import table
from deal.report.scenes import scenes_of
from deal.selection.attributes import frame_numbers

__all__ = ["pick_sections"]

_COLUMNS = 8  # largest number of drives that fit into a table


def pick_sections(experiment: Experiment, scene_length: int) -> list[str]:
    """Lines of two sections; only finished runs count.

    Parameters
    ----------
    experiment : Experiment
    scene_length : int
        Frames, by the last number in the id.
    """
    by_method: dict[str, dict[int, frozenset[Item]]] = {}
    for run in experiment.runs:
        if len(run.rounds) == len(experiment.counts):
            by_method.setdefault(run.method, {})[run.seed] = frozenset(run.picks())
    if not by_method:
        return []
    rounds = experiment.shared["rounds"]
    predicted = str(rounds.get("regions")).startswith("components")
    overlap = [
        [
            shown(row),
            *(
                "" if row == column else share(_overlap(mine, theirs, predicted=predicted))
                for column, theirs in by_method.items()
            ),
        ]
        for row, mine in by_method.items()
    ]
    lines = [
        "## Overlap of picks",
        "",
        "Share of what is picked in all rounds that two methods share, by seed and then "
        f"averaged{_by_chance(experiment)}.",
        "",
        *table(["", *map(shown, by_method)], overlap),
        *_images(by_method),
    ]
    drives: Mapping[str, str | None] = experiment.shared["drives"]
    if drives and all(drives.values()):
        lines += _drives(
            by_method, {item: str(drive) for item, drive in drives.items()}, scene_length
        )
    return lines


def _by_chance(experiment: Experiment) -> str:
    """What two random choices would share, where that is known."""
    rounds, first = experiment.shared["rounds"], experiment.counts[0]
    if str(rounds.get("regions")).startswith("components"):
        return "; components are those of one network, so only whole images are compared"
    if rounds.get("budget"):  # how many regions there are to click is not stored
        return ""
    chance = (experiment.counts[-1] - first) / max(1, experiment.shared["images"] - first)
    return f"; two random choices would share {share(chance)}"


def share(value: float | None) -> str:
    """A fraction as per cent."""
    return "-" if value is None else f"{100 * value:.0f} %"


def _overlap(
    mine: Mapping[int, frozenset[Item]],
    theirs: Mapping[int, frozenset[Item]],
    *,
    predicted: bool,
) -> float | None:
    """Mean overlap over seeds; None without a common seed, or between images and regions.

    Regions that are ``predicted`` by the network of each run are not the same for any two of them.
    """
    seeds = sorted(mine.keys() & theirs.keys())
    if predicted and any(_of_regions(mine[s]) for s in seeds):
        return None
    if any(_of_regions(mine[s]) != _of_regions(theirs[s]) for s in seeds):
        return None
    shares = [len(mine[s] & theirs[s]) / max(1, len(mine[s])) for s in seeds]
    return math.fsum(shares) / len(shares) if shares else None


def _of_regions(picks: frozenset[Item]) -> bool:
    return any(isinstance(item, Region) for item in picks)


def _images(by_method: Mapping[str, Mapping[int, frozenset[Item]]]) -> list[str]:
    """Say over how many images the picks are spread, if there are regions among them."""
    if not any(_of_regions(picks) for of in by_method.values() for picks in of.values()):
        return []
    rows = []
    for method, of in by_method.items():
        counted = [Counter(map(image_of, picks)) for picks in of.values()]
        largest = [max(c.values(), default=0) for c in counted]
        cells = [[c.total() for c in counted], [len(c) for c in counted], largest]
        rows.append([shown(method), *map(_mean, cells)])
    return [
        "## Images among the picks",
        "",
        "On average of a seed: what is picked, the images it is of, and the most of one image.",
        "",
        *table(["method", "picks", "images", "most of one"], rows),
    ]


def _drives(
    by_method: Mapping[str, Mapping[int, frozenset[Item]]],
    drives: Mapping[str, str],
    scene_length: int,
) -> list[str]:
    ids = list(drives)
    frames = frame_numbers(pa.table({"id": ids})).to_pylist()
    found = scenes_of([drives[item] for item in ids], frames, scene_length)
    scenes = dict(zip(ids, found, strict=True))
    numbered = None not in found
    names = sorted(set(drives.values()))
    columns = names if len(names) <= _COLUMNS else []

    def row(name: str, sets: Sequence[frozenset[Item]]) -> list[str]:
        picks = [list(map(image_of, items)) for items in sets]
        cells = [shown(name), _mean([len({drives[item] for item in items}) for items in picks])]
        if numbered:
            counted = [Counter(scenes[item] for item in items) for items in picks]
            largest = [max(c.values(), default=0) / max(1, c.total()) for c in counted]
            cells += [_mean([len(c) for c in counted]), share(math.fsum(largest) / len(largest))]
        every = Counter(drives[item] for items in picks for item in items)
        return [*cells, *(share(every[name] / max(1, every.total())) for name in columns)]

    rows = [row(method, list(of.values())) for method, of in by_method.items()]
    rows.append(row("(whole pool)", [frozenset(ids)]))
    heads = ["method", "drives", *(["scenes", "largest scene"] if numbered else [])]
    heads += map(shown, columns)
    text = "Different drives among a seed's picks, on average"
    if numbered:
        text += f", and scenes: stretches of {scene_length} frames of a drive; then the share of "
        text += "picks that lies in the one scene with the most of them"
    text += "; then each drive's share." if columns else "."
    return ["## Drives and scenes among the picks", "", text, "", *table(heads, rows)]


def _mean(values: Sequence[int]) -> str:
    return f"{math.fsum(values) / len(values):.1f}"
