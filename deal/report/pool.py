"""Compare the picks of all acquisition functions on one scored pool: overlap and variety.

Before you choose a function, see whether functions differ on the pool at all: if their picks
overlap by 95 %, the cheaper one is good enough.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from deal.acquisitions import canonical_name
from deal.acquisitions.columns import has_status, is_ok
from deal.acquisitions.labels import label
from deal.acquisitions.lookup import find
from deal.acquisitions.registry import registered
from deal.errors import ResultsError, UsageError
from deal.pool.ids import sequence_pattern
from deal.report.markdown import code, table
from deal.report.markdown import name as shown
from deal.report.scenes import Scene, parse_length, scenes_of
from deal.results.reading import read_results
from deal.selection import parse_budget, select
from deal.selection.attributes import frame_numbers, texts

__all__ = ["Picks", "PoolReport", "report_pool"]

Source: TypeAlias = "str | os.PathLike[str]"


@dataclass(frozen=True, slots=True)
class Picks:
    """The picks of one acquisition function.

    Attributes
    ----------
    name : str
        Name of the acquisition function.
    ids : tuple of str
        Ids of the picks, best first.
    sequences, scenes : int
        Number of different sequences and scenes among the picks; 0 if the pool has no sequences, or
        no frame numbers.
    largest_scene : float
        Share of the picks, 0…1, in the scene that has the most of them.
    """

    name: str
    ids: tuple[str, ...]
    sequences: int
    scenes: int
    largest_scene: float


@dataclass(frozen=True, slots=True)
class PoolReport:
    """Picks of every function over one pool; see :func:`report_pool`.

    Attributes
    ----------
    images : int
        Number of rows that are ok.
    count : int
        Number of images that the budget allows.
    rules : mapping of str to str
        Budget, seed and further rules for all functions.
    scene_length : str
    pool : Picks
        The whole pool, for comparison.
    picks : tuple of Picks
    left_out : mapping of str to str
        Functions that cannot score these results → the reason.
    skipped : int
        Number of rows that were only screened, from which no function picks.
    """

    images: int
    count: int
    rules: Mapping[str, str]
    scene_length: str
    pool: Picks
    picks: tuple[Picks, ...]
    left_out: Mapping[str, str]
    skipped: int = 0

    def overlap(self) -> NDArray[np.float64]:
        """Share of picks that each two of the A functions have in common, 0…1: float64 [A, A]."""
        sets = [set(picks.ids) for picks in self.picks]
        return np.array([[len(a & b) / max(len(a), 1) for b in sets] for a in sets])

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {
            "images": self.images,
            "skipped": self.skipped,
            "rules": dict(self.rules),
            "count": self.count,
            "scene_length": self.scene_length,
            "pool": {"sequences": self.pool.sequences, "scenes": self.pool.scenes},
            "functions": [
                {
                    "name": picks.name,
                    "sequences": picks.sequences,
                    "scenes": picks.scenes,
                    "largest_scene": picks.largest_scene,
                    "ids": list(picks.ids),
                }
                for picks in self.picks
            ],
            "overlap": self.overlap().tolist(),
            "left_out": dict(self.left_out),
        }

    def to_markdown(self) -> str:
        """Write two tables, and a list of the functions that were left out."""
        rules = " ".join(f"--{key.replace('_', '-')} {value}" for key, value in self.rules.items())
        lines = [
            f"{self.images} images, of which each function picks {self.count} ({code(rules)}). "
            f"The pool has {self.pool.sequences} sequences and {self.pool.scenes} scenes "
            f"(stretches of {shown(self.scene_length)} of a sequence){self._uncounted()}.",
            "",
            *self._screened(),
            *table(
                ["", "acquisition", "sequences", "scenes", "picks in the largest scene", "first"],
                [
                    [
                        number,
                        shown(label(picks.name)),
                        picks.sequences,
                        picks.scenes,
                        f"{picks.largest_scene:.0%}",
                        ", ".join(map(code, picks.ids[:2])),
                    ]
                    for number, picks in enumerate(self.picks, 1)
                ],
                align="><>>><",
            ),
            f"Picks in common, percent (two random choices would share {self._chance():.0%}):",
            "",
            *table(
                ["", *range(1, len(self.picks) + 1)],
                [
                    [shown(label(picks.name)), *(f"{share * 100:.0f}" for share in row)]
                    for picks, row in zip(self.picks, self.overlap(), strict=True)
                ],
            ),
        ]
        if self.left_out:
            lines += ["Left out:", ""]
            lines += [f"- {code(key)}: {shown(reason)}" for key, reason in self.left_out.items()]
        return "\n".join(lines).rstrip("\n") + "\n"

    def _uncounted(self) -> str:
        if not self.pool.sequences:
            return "; to count them, give --sequence-from"
        if self.pool.scenes:
            return ""
        lacking, other = ("frame numbers", "10s"), ("times", "300f")
        what, such = lacking if self.scene_length.strip().endswith("f") else other
        return f"; the images have no {what} to count scenes by: try --scene-length {such}"

    def _screened(self) -> list[str]:
        if not self.skipped:
            return []
        return [
            f"{self.skipped} further images were only screened (status skipped), so all functions "
            "pick from the few that one of them asked for, and seem more alike than they are: run "
            "deal-score without --screen first.",
            "",
        ]

    def _chance(self) -> float:
        return self.count / max(self.images, 1)


def report_pool(
    sources: Source | Sequence[Source],
    *,
    acquisitions: Sequence[str] = (),
    budget: str | int = "10%",
    scene_length: str = "300f",
    sequence_from: str | None = None,
    seed: int = 0,
    spread: str = "off",
    min_gap: str | None = None,
    diverse: str | float | None = None,
    stochastic: str | None = None,
    **options: Any,
) -> PoolReport:
    """Let acquisition functions pick from stored results, and compare their picks.

    Parameters
    ----------
    sources : path or sequence of paths
        Output folders of `deal-score`, scored with the same settings.
    acquisitions : sequence of str
        Names of functions; by default every registered function that can score the results.
    budget : int or str
        A budget of images, as in `deal.select`.
    scene_length : str
        Length of a scene: ``300f``, or ``10s`` for results with timestamps. A scene is a stretch of
        a sequence of this length, counted from the first frame of the sequence in the pool. The
        number of a frame is the last number in its id.
    sequence_from : str, optional
        Regular expression that is searched in the id; where it matches, its first group is the
        sequence, whatever is stored, also for the rules below.
    seed, spread, min_gap, diverse, stochastic
        As in `deal.select`, for every function. By default picks are not spread, so that only the
        functions make a difference.
    options
        Options of the acquisition functions; each function gets those that it takes.

    Raises
    ------
    UsageError
        A name is unknown, no function takes an option, or a budget, gap or expression is malformed.
    ResultsError
        As `deal.select`; also if no image is ok, or a function that was given by name cannot score
        the results.
    """
    length = parse_length(scene_length)
    if parse_budget(budget).unit not in (None, "images"):
        raise UsageError(
            f"this report compares picks of images, so budget {budget!r} cannot be used"
        )
    every = [key for key, entry in registered().items() if "images" in entry.tables]
    names = list(dict.fromkeys(canonical_name(name) for name in acquisitions)) or every
    _refuse_unused(names, options)
    rows = read_results(sources, ["id", "status", "sequence", "timestamp_ns"]).table
    stored = rows.filter(is_ok(rows.column("status")))
    if not len(stored):
        raise ResultsError("no image of these results is ok: score the pool first")
    ids = stored.column("id").to_pylist()
    pattern = None if sequence_from is None else sequence_pattern(sequence_from)
    sequences = texts(stored, "sequence", pattern).to_pylist()
    times = (frame_numbers(stored) if length.frames else stored.column("timestamp_ns")).to_pylist()
    scenes = scenes_of(sequences, times, length.size)
    where = {item: (sequences[row], scenes[row]) for row, item in enumerate(ids)}
    rules: dict[str, Any] = {
        "budget": budget,
        "seed": seed,
        "spread": spread,
        "min_gap": min_gap,
        "diverse": diverse,
        "stochastic": stochastic,
        "sequence_from": sequence_from,
    }
    picked: list[Picks] = []
    left_out: dict[str, str] = {}
    for name in names:
        taken = {key: value for key, value in options.items() if key in find(name).options}
        try:
            selection = select(sources, acquisition=name, **rules, acquisition_options=taken)
        except (UsageError, ResultsError) as error:
            if acquisitions:
                raise
            left_out[name] = str(error)
        else:
            picked.append(_picks(name, selection.ids, where))
    if not picked:
        raise ResultsError(
            "no acquisition function can rank these results: "
            + "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        )
    return PoolReport(
        images=len(ids),
        count=max(len(picks.ids) for picks in picked),
        rules={key: str(value) for key, value in rules.items() if value not in (None, "off")},
        scene_length=scene_length,
        pool=_picks("pool", ids, where),
        picks=tuple(picked),
        left_out=left_out,
        skipped=int(has_status(rows.column("status"), "skipped").sum()),
    )


def _refuse_unused(names: Sequence[str], options: Mapping[str, Any]) -> None:
    for option in options:
        if not any(option in find(name).options for name in names):
            raise UsageError(f"none of {', '.join(names)} takes the option {option}")


def _picks(
    name: str, ids: Sequence[str], where: Mapping[str, tuple[str | None, Scene | None]]
) -> Picks:
    sequences = {where[item][0] for item in ids} - {None}
    scenes = Counter(scene for item in ids if (scene := where[item][1]) is not None)
    largest = max(scenes.values(), default=0) / max(len(ids), 1)
    return Picks(name, tuple(ids), len(sequences), len(scenes), largest)
