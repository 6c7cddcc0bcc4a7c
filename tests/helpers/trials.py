"""A folder of `deal loop` by hand, without training, and what its report says."""

from __future__ import annotations

from pathlib import Path

from deal.loop.files import write_csv, write_json

__all__ = ["VALUES", "rows", "section", "write_trial"]

IDS = [f"{'ab'[index % 2]}_{index}.jpg" for index in range(6)]
VALUES = {
    "random": {0: [0.30, 0.40, 0.50], 1: [0.20, 0.30, 0.40], 2: [0.10, 0.20, 0.30]},
    "ds": {0: [0.30, 0.42, 0.50], 1: [0.20, 0.33, 0.38], 2: [0.10, 0.24, 0.36]},
}
# Beyond the first two images, random picks from both drives and ds from one.
ORDER = {"random": [0, 1, 2, 3], "ds": [0, 1, 2, 4]}


def write_trial(root: Path) -> None:
    """Three seeds of two methods, three rounds each, whose numbers can be followed by hand."""
    shared = {
        "data": {"dataset": "folder", "size": [48, 64], "evaluate": "val"},
        "training": {
            "network": "light",
            "width": 1.0,
            "weights": None,
            "epochs": 15,
            "steps": None,
            "batch_size": 2,
            "lr": 0.05,
            "precision": "bf16",
        },
        "rounds": {"pool_subset": None},
        "images": 6,
        "counts": [2, 3, 4],
        "classes": ["road", "pole"],
        "drives": {name: name[0] for name in IDS},
    }
    write_json(root / "experiment.json", shared)
    for method, of in VALUES.items():
        for seed, curve in of.items():
            run = root / f"{method}-seed{seed}"
            values = {"method": method, "seed": seed, "counts": [2, 3, 4], "settings": {}}
            write_json(run / "run.json", values)
            for number, miou in enumerate(curve, 1):
                each = run / f"round-{number}"
                labeled = [[IDS[i]] for i in ORDER[method][: number + 1]]
                write_csv(each / "labeled.csv", ["id"], labeled)
                scores = ("difficulty", "entropy", "margin", "least-confidence")
                metrics = {
                    "miou": miou,
                    "accuracy": 0.5,
                    "iou": {"road": 2 * miou, "pole": None if number == 1 else 0.01},
                    "auroc": dict.fromkeys(scores, 0.5),
                }
                write_json(each / "metrics.json", metrics)


def section(text: str, heading: str) -> str:
    """What stands under a heading of a report."""
    return text.split(f"## {heading}\n")[1].split("\n## ")[0]


def rows(text: str, heading: str) -> dict[str, list[str]]:
    """The cells of the table under a heading, by the first of each row."""
    lines = [line for line in section(text, heading).splitlines() if line.startswith("| ")]
    cells = [line[2:-2].split(" | ") for line in lines]
    return {row[0]: row[1:] for row in cells[2:]}
