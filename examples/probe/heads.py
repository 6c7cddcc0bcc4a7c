"""Which difficulty head finds the wrong pixels: of probabilities or features, by which errors.

``heads.py ROOT OUTPUT`` takes ``features.pt`` beside itself and the labels of ``ROOT/train``. Every
fourth frame by name is measured on, labeled sets are drawn from the others. It writes
``OUTPUT/rows.csv``, a row a set and score, and ``OUTPUT/table.md``.
"""

from __future__ import annotations

import csv
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray
from own_features import SCALE, Labeled, unseen
from probe import fit_classifier, minimise, sampled
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from deal.loop.statistics import mean_interval
from deal.metrics import spearman

CLASSES, VOID, CELL, FIRST = 11, 11, 4, 8
SIZES, SEEDS, DECAYS = (8, 16, 32, 64), range(5), (1e-3, 1e-2, 1e-1, 1.0)
REGION_SIZES, REGION_SEEDS = (32,), range(3)
TITLES = {
    "auroc": "AUROC",
    "ap": "Average precision",
    "in_image": "AUROC in an image",
    "cells": "Cells: rank correlation of a cell's mean score with its share of wrong pixels",
    "images": "Images: rank correlation of an image's mean score with its share of wrong pixels",
}


@dataclass(frozen=True)
class Seen:
    """What heads are fitted on: probabilities [M,C] of some layer, and where it is wrong."""

    p: Tensor
    wrong: Tensor


@dataclass(frozen=True)
class Head:
    """Weights of features [E] (or None), of p and p(1 - p) [0, C or 2C], and the bias."""

    features: Tensor | None
    of_p: Tensor
    bias: float


def inputs_of_p(p: Tensor, copies: int) -> Tensor:
    """Nothing, p, or p and p(1 - p): [M, copies · C]."""
    return torch.cat([p, p * (1 - p)], dim=1)[:, : copies * p.shape[1]]


def fit_own(x: Tensor | None, p: Tensor, copies: int, wrong: Tensor, decay: float) -> Head:
    """A head as that of ``fit_head``, which sees features too, with a decay of their own."""
    q = SCALE * inputs_of_p(p, copies)
    q = q.double() if x is None else q
    channels = 0 if x is None else x.shape[1]
    weight = torch.where(wrong, wrong.sum() ** -1.5, (~wrong).sum() ** -1.5).to(q.dtype)
    weight /= weight.sum()
    target = wrong.to(q.dtype)
    head = torch.zeros(channels + q.shape[1] + 1, dtype=q.dtype, requires_grad=True)

    def loss() -> Tensor:
        of_x, of_p = head[:channels], head[channels:-1]
        logits = q @ of_p + head[-1]
        if x is not None:
            logits = logits + x @ of_x
        fit = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        return (weight * fit).sum() + decay * (of_x**2).sum() + 1e-4 * ((SCALE * of_p) ** 2).sum()

    found = minimise(head, loss, 100)
    of_x = None if x is None else found[:channels]
    return Head(of_x, SCALE * found[channels:-1].float(), float(found[-1]))


def training_errors(labeled: Labeled, layer: Tensor) -> Seen:
    """Of the layer on what it was fitted on."""
    p = (labeled.x @ layer[:-1] + layer[-1]).softmax(1)
    return Seen(p, p.argmax(1) != labeled.y)


def crossed_errors(labeled: Labeled) -> Seen:
    """Of layers that have not seen the image: a fourth of the images is left out in turn."""
    p = unseen(labeled, CLASSES)
    return Seen(p, p.argmax(1) != labeled.y)


def areas(score: NDArray[np.float64], wrong: NDArray[np.bool_]) -> tuple[float, float]:
    """AUROC and average precision of a score that should be high where it is wrong."""
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    hits = np.cumsum(wrong[order])[ends].astype(float)
    misses = ends + 1 - hits
    recall, fallout = hits / hits[-1], misses / misses[-1]
    auroc = np.trapezoid(np.append(0, recall), np.append(0, fallout))
    return float(auroc), float((np.diff(recall, prepend=0) * hits / (ends + 1)).sum())


class Development:
    """The frames that are measured on: features [N·h·w,E], classes and images."""

    def __init__(self, features: Tensor, labels: Tensor) -> None:
        y = labels.flatten()
        keep = y != VOID
        self.x = features.permute(0, 2, 3, 1).flatten(0, 2)[keep].float()
        self.y = y[keep]
        count, height, width = labels.shape
        image = torch.arange(count).repeat_interleave(height * width)[keep].numpy()
        self.starts = np.flatnonzero(np.diff(image, prepend=-1))
        cell = torch.arange(count * height * width // CELL**2)
        cell = cell.view(count, height // CELL, 1, width // CELL, 1)
        self.cell = cell.expand(-1, -1, CELL, -1, CELL).reshape(-1)[keep].numpy()

    def values(self, matrix: Tensor, bias: Tensor, labeled: Labeled) -> Tensor:
        """``x @ matrix + bias`` for ``x`` standardised as what is labeled."""
        folded = matrix / labeled.deviation[:, None]
        return self.x @ folded + (bias - labeled.mean @ folded)

    def measure(self, score: NDArray[np.float64], wrong: NDArray[np.bool_]) -> dict[str, float]:
        """All that ``TITLES`` names."""
        auroc, ap = areas(score, wrong)
        parts = list(
            zip(np.split(score, self.starts[1:]), np.split(wrong, self.starts[1:]), strict=True)
        )
        within = [areas(s, w)[0] for s, w in parts if 0 < w.sum() < len(w)]
        means = np.array([(s.mean(), w.mean()) for s, w in parts])
        images = spearman(*means.T)
        count = np.bincount(self.cell)
        some = count > 0
        sums = (np.bincount(self.cell, values)[some] / count[some] for values in (score, wrong))
        cells = spearman(*sums)
        found = auroc, ap, fmean(within), cells, images
        return dict(zip(TITLES, found, strict=True))


def heads(labeled: Labeled, seen: Seen, errors: str) -> Iterator[tuple[str, Head, float]]:
    """Names, heads, and seconds of each fit."""
    plans: list[tuple[str, bool, int, float]] = [
        ("p", False, 1, 0.0),
        ("p, p(1-p)", False, 2, 0.0),
    ]
    for copies, name in ((0, "x"), (2, "x, p, p(1-p)")):
        some = DECAYS if copies else DECAYS[:-1]
        plans += [(f"{name}; {decay:g}", True, copies, decay) for decay in some]
    for name, with_x, copies, decay in plans:
        begin = time.perf_counter()
        head = fit_own(labeled.x if with_x else None, seen.p, copies, seen.wrong, decay)
        yield f"{errors}: {name}", head, time.perf_counter() - begin


def run(labeled: Labeled, development: Development) -> Iterator[dict[str, float | str]]:
    """A row a score of one labeled set."""
    begin = time.perf_counter()
    layer = fit_classifier(labeled.x, labeled.y, CLASSES)
    own = training_errors(labeled, layer)
    middle = time.perf_counter()
    crossed = crossed_errors(labeled)
    end = time.perf_counter()
    p = development.values(layer[:-1], layer[-1], labeled).softmax(1)
    wrong = (p.argmax(1) != development.y).numpy()
    shares = {
        "wrong_training": float(own.wrong.float().mean()),
        "wrong_crossed": float(crossed.wrong.float().mean()),
        "wrong_development": float(wrong.mean()),
        "seconds_layer": middle - begin,
        "seconds_folds": end - middle,
    }
    top = p.double().topk(2, dim=1).values.numpy()
    entropy = -(p.double() * p.double().clamp_min(1e-30).log()).sum(1).numpy() / np.log(CLASSES)
    scores = {
        "entropy": entropy,
        "margin": 1 - top[:, 0] + top[:, 1],
        "least-confidence": 1 - top[:, 0],
    }
    for name, score in scores.items():
        yield {"score": name, **development.measure(score, wrong), **shares, "seconds": 0.0}
    for errors, seen in (("training", own), ("crossed", crossed)):
        for name, head, seconds in heads(labeled, seen, errors):
            copies = len(head.of_p) // CLASSES
            logits = inputs_of_p(p, copies) @ head.of_p + head.bias
            if head.features is not None:
                zero = torch.zeros(1)
                logits += development.values(head.features[:, None], zero, labeled)[:, 0]
            d = logits.double().sigmoid().numpy()
            for label, score in ((name, d), (f"{name} x entropy", d * entropy)):
                measured = development.measure(score, wrong)
                yield {"score": label, **measured, **shares, "seconds": seconds}


def gather(features: Tensor, labels: Tensor) -> Labeled:
    """What ``probe.py`` makes of images [N,E,h,w] and labels [N,h,w], image by image."""
    count, channels = len(labels), features.shape[1]
    pixels = labels[0].numel()
    total, squares = torch.zeros(2, channels, dtype=torch.double)
    xs, ys, images = [], [], []
    for number in range(count):
        x = features[number].float().permute(1, 2, 0).flatten(0, 1)
        total += x.double().sum(0)
        squares += (x.double() ** 2).sum(0)
        y = labels[number].flatten()
        keep = y != VOID
        xs.append(x[keep])
        ys.append(y[keep])
        images.append(torch.full((int(keep.sum()),), number))
    n = count * pixels
    mean = total / n
    deviation = ((squares - n * mean**2).clamp_min(0) / (n - 1)).sqrt().float() + 1e-6
    x = torch.cat(xs).sub_(mean.float()).div_(deviation)
    return Labeled(x, torch.cat(ys), torch.cat(images), mean.float(), deviation)


def cells(labels: Tensor, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """As many cells as so many images have: images, and labels that are void elsewhere.

    The first ``FIRST`` images are labeled in whole, all other cells are drawn.
    """
    count, height, width = labels.shape
    rows, columns = height // CELL, width // CELL
    taken = torch.zeros(count, rows * columns, dtype=torch.bool)
    taken[:FIRST] = True
    rest = np.arange(FIRST * rows * columns, taken.numel())
    drawn = np.random.default_rng(seed).choice(rest, (size - FIRST) * rows * columns, replace=False)
    taken.view(-1)[torch.from_numpy(drawn)] = True
    mask = taken.view(count, rows, 1, columns, 1).expand(-1, -1, CELL, -1, CELL)
    found = torch.where(mask.reshape(labels.shape), labels, VOID)
    used = taken.any(1).nonzero()[:, 0]
    return used, found[used]


def labeled_sets(
    features: Tensor, labels: Tensor, pool: NDArray[np.int64]
) -> Iterator[tuple[str, int, int, Labeled]]:
    """Kind, size, seed and the set itself."""
    for size in SIZES:
        for seed in SEEDS:
            chosen = np.random.default_rng(seed).permutation(pool)[:size]
            yield "images", size, seed, gather(features[chosen], labels[chosen])
    for size in REGION_SIZES:
        for seed in REGION_SEEDS:
            order = np.random.default_rng(seed).permutation(pool)
            used, partly = cells(labels[order], size, seed)
            yield "regions", size, seed, gather(features[order[used.numpy()]], partly)


def table(rows: list[dict[str, str]], command: str) -> str:
    """The page: means over the seeds, and paired differences to entropy and to probe.py's head."""
    groups: dict[str, dict[tuple[str, str, str], dict[str, str]]] = defaultdict(dict)
    for row in rows:
        groups[row["score"]][row["kind"], row["size"], row["seed"]] = row
    lines = [f"Made by `{command}`.", ""]
    for kind in ("images", "regions"):
        keys = list(dict.fromkeys(k for g in groups.values() for k in g if k[0] == kind))
        if keys:
            lines += kind_table(kind, keys, groups)
    return "\n".join(lines)


def kind_table(
    kind: str,
    keys: list[tuple[str, str, str]],
    groups: dict[str, dict[tuple[str, str, str], dict[str, str]]],
) -> list[str]:
    """Tables of one kind of sets."""
    sizes = list(dict.fromkeys(key[1] for key in keys))
    lines = [f"## Sets of {kind}", ""]
    lines += ["| size | wrong: training | crossed | development | layer s | folds s |"]
    lines += ["| ---: " * 6 + "|"]
    first = groups["entropy"]
    for size in sizes:
        some = [first[key] for key in keys if key[1] == size]
        shares = [
            100 * fmean(float(row[f"wrong_{name}"]) for row in some)
            for name in ("training", "crossed", "development")
        ]
        seconds = [fmean(float(row[f"seconds_{n}"]) for row in some) for n in ("layer", "folds")]
        lines.append(
            f"| {size} | "
            + " | ".join(f"{share:.1f} %" for share in shares)
            + " | "
            + " | ".join(f"{s:.1f}" for s in seconds)
            + " |"
        )
    for key, title in TITLES.items():
        lines += ["", f"### {title}", ""]
        head = [*sizes, "mean", "− entropy", "− training: p", "fit s (largest)"]
        lines += ["| score | " + " | ".join(head) + " |", "| --- " + "| ---: " * len(head) + "|"]
        for name, group in groups.items():
            lines.append(
                f"| {name} | " + " | ".join(cells_of(key, keys, sizes, group, groups)) + " |"
            )
    return [*lines, ""]


def cells_of(
    key: str,
    keys: list[tuple[str, str, str]],
    sizes: list[str],
    group: dict[tuple[str, str, str], dict[str, str]],
    groups: dict[str, dict[tuple[str, str, str], dict[str, str]]],
) -> list[str]:
    """Means by size, mean of all, paired differences ± half of the 95 % interval, seconds."""
    values = {k: float(group[k][key]) for k in keys}
    found = [f"{fmean(v for k, v in values.items() if k[1] == size):.3f}" for size in sizes]
    found.append(f"{fmean(values.values()):.3f}")
    for other in ("entropy", "training: p"):
        # Sets of one seed hold each other: a difference a seed.
        by_seed = defaultdict(list)
        for k, v in values.items():
            by_seed[k[2]].append(v - float(groups[other][k][key]))
        interval = mean_interval([fmean(v) for v in by_seed.values()])
        found.append(f"{interval.mean:+.3f} ± {interval.half:.3f}")
    found.append(f"{fmean(float(group[k]['seconds']) for k in keys if k[1] == sizes[-1]):.1f}")
    return found


def main(root: str, output: str) -> None:
    """Fit, measure and write."""
    torch.set_num_threads(1)
    data = torch.load(Path(__file__).parent / "features.pt", mmap=True)
    features, names = data["features"], data["names"]
    labels = torch.stack(
        [
            sampled(str(Path(root, "train/labels", f"{Path(name).stem}.png")), *features.shape[2:])
            for name in names
        ]
    )
    numbers = np.arange(len(names))
    development = Development(features[numbers[3::4]], labels[numbers[3::4]])
    pool = numbers[numbers % 4 != 3]
    rows = Path(output, "rows.csv")
    with rows.open("w", newline="") as file:
        writer = None
        for kind, size, seed, labeled in labeled_sets(features, labels, pool):
            begin = time.perf_counter()
            for row in run(labeled, development):
                line = {"kind": kind, "size": size, "seed": seed, **row}
                if writer is None:
                    writer = csv.DictWriter(file, list(line))
                    writer.writeheader()
                writer.writerow(line)
            file.flush()
            print(f"{kind} {size} {seed}: {time.perf_counter() - begin:.1f} s", flush=True)
    with rows.open(newline="") as file:
        page = table(list(csv.DictReader(file)), f"python heads.py {root} {output}")
    Path(output, "table.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
