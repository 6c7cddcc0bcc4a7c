"""Paired differences of mIoU between methods of several experiments: ``paired.py CSV…``.

Each ``CSV`` is one that ``deal report loop`` writes; the experiments have to share their seeds. Of
every method: mean AUROC of difficulty after the first round; of every two: mIoU averaged from the
second round on, the difference in points ± half of the paired 95 % interval.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from itertools import combinations
from statistics import fmean

from deal.loop.statistics import mean_interval


def later_rounds(paths: list[str], column: str) -> dict[str, dict[str, float]]:
    """Mean of a column from the second round on, by method and seed."""
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for path in paths:
        with open(path, newline="") as file:
            for row in csv.DictReader(file):
                if row["round"] != "1":
                    values[row["method"]][row["seed"]].append(float(row[column]))
    return {m: {seed: fmean(v) for seed, v in seeds.items()} for m, seeds in values.items()}


def main(*paths: str) -> None:
    """Print all of it."""
    for method, seeds in later_rounds(list(paths), "auroc:difficulty").items():
        print(f"{method}: AUROC of difficulty {fmean(seeds.values()):.3f}")
    miou = later_rounds(list(paths), "miou")
    for one, other in combinations(miou, 2):
        shared = miou[one].keys() & miou[other].keys()
        points = [100 * (miou[one][seed] - miou[other][seed]) for seed in sorted(shared)]
        found = mean_interval(points)
        print(f"{one} - {other}: {found.mean:+.2f} ± {found.half:.2f} ({found.count} seeds)")


if __name__ == "__main__":
    main(*sys.argv[1:])
