"""Are the picks of a selection spread as a person would spread them, and what does it cost?"""

from __future__ import annotations

import csv
import tempfile
from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import deal
from deal._demo import demo_file
from deal.bench.report import Report, Row
from deal.bench.timing import single
from deal.errors import UsageError
from deal.synthetic.drives import KINDS, Drive, film

__all__ = ["measures", "run"]

_FRAMES_PER_SECOND = 30
_SCENE = 10  # seconds
_SIZE = (96, 128)
_TARGETS = {"near": "<= 5", "scenes": ">= 35", "share": ">= 0.93"}
_SEED = 100


def run(
    *,
    pool: Sequence[str] = (),
    model: str | None = None,
    budget: int = 100,
    acquisition: str = "ds",
    frames_per_second: int = _FRAMES_PER_SECOND,
    kinds: str | None = None,
    drives: int = 60,
    seconds: int = 10,
    keep: str | None = None,
) -> Report:
    """Score a pool, select from it in several ways, and count what the picks have in common.

    Parameters
    ----------
    pool : sequence of str
        Frames of drives, whose names end in the number of the frame; or images of any kind. By
        default drives are generated.
    model : str, optional
        By default the bundled one.
    budget : int
    acquisition : str
    frames_per_second : int
        Of the numbers in the names.
    kinds : str, optional
        CSV file with the columns ``id`` and ``kind``: kinds of images are counted instead of
        scenes.
    drives, seconds : int
        Generated drives, at 30 frames per second, and how long each of them is.
    keep : str, optional
        Folder for frames and results, used again if it holds them; a temporary one by default.

    Raises
    ------
    UsageError
        The file of kinds lacks an image of the pool.
    """
    with _folder(keep) as folder:
        if not pool:
            pool = [str(_film(folder / "drives", drives, seconds))]
        out = folder / "scored"
        deal.score_pool(pool, model=model or demo_file("model.onnx"), output=out)
        table = deal.read_results(out, status="ok")
    values = deal.acquisition_scores(table, acquisition)
    scores = dict(zip(table.column("id").to_pylist(), values.tolist(), strict=True))
    known = None if kinds is None else _kinds(kinds, scores)
    rows: list[Row] = []
    for label, options in _ways(None if known else frames_per_second).items():
        chosen = {"acquisition": acquisition, "budget": budget, **options}
        ids = list(deal.select(table, **chosen).ids)
        found = measures(ids, scores, frames_per_second, known)
        goals = _TARGETS if label == "spread auto" and budget == 100 and known is None else {}
        if known is None:
            name = f"{label}: within 1 s of a higher pick"
            rows.append(Row(name, single(found["near"]), "picks", goals.get("near")))
            name = f"{label}: scenes of {_SCENE} s"
            rows.append(Row(name, single(found["scenes"]), "scenes", goals.get("scenes")))
        else:
            goal = f">= {len(set(known.values()))}" if label == "spread auto" else None
            rows.append(Row(f"{label}: kinds", single(found["kinds"]), "kinds", goal))
        name = f"{label}: mean score / best"
        rows.append(Row(name, single(found["share"]), "ratio", goals.get("share")))
    return Report(
        question="spread",
        settings={
            "images": len(scores),
            "model": "bundled" if model is None else Path(model).name,
            "acquisition": acquisition,
            "budget": budget,
            "frames_per_second": frames_per_second,
        },
        rows=tuple(rows),
    )


def measures(
    ids: Sequence[str],
    scores: Mapping[str, float],
    frames_per_second: int,
    kinds: Mapping[str, str] | None = None,
) -> dict[str, float]:
    """Count what picks have in common.

    Parameters
    ----------
    ids : sequence of str
        The picks.
    scores : mapping of id to score
        All images that could be picked.
    frames_per_second : int
    kinds : mapping of id to kind, optional

    Returns
    -------
    dict
        ``near``: picks within a second of a pick of the same drive with a higher score (or an equal
        score and a lower id). ``scenes``: stretches of ten seconds of a drive, counted from its
        first frame, that hold a pick. ``share``: mean score of the picks divided by that of as many
        images with the highest scores. ``kinds``: kinds among the picks.
    """
    where = {name: _frame(name) for name in scores}
    first: dict[str, int] = {}
    for drive, number in where.values():
        first[drive] = min(first.get(drive, number), number)
    near, taken, scenes = 0, dict[str, list[int]](), set()
    for name in sorted(ids, key=lambda name: (-scores[name], name)):
        drive, number = where[name]
        others = taken.setdefault(drive, [])
        at = bisect_left(others, number - frames_per_second)
        near += at < len(others) and others[at] <= number + frames_per_second
        insort(others, number)
        scenes.add((drive, (number - first[drive]) // (_SCENE * frames_per_second)))
    best = sorted(scores.values(), reverse=True)[: len(ids)]
    found: dict[str, float] = {"near": near, "scenes": len(scenes)}
    found["share"] = float(np.mean([scores[name] for name in ids]) / np.mean(best))
    if kinds is not None:
        found["kinds"] = len({kinds[name] for name in ids})
    return found


def _ways(frames_per_second: int | None) -> dict[str, dict[str, Any]]:
    """Options of `deal.select` by name; with a frame rate also the best more than 1 s apart."""
    apart = {}
    if frames_per_second is not None:
        gap = f"{frames_per_second + 1}f"
        apart = {"more than 1 s apart": {"spread": gap, "near_duplicates": "off"}}
    return {
        "spread off": {"spread": "off"},
        "spread auto": {},
        "spread auto, near-duplicates 3": {"near_duplicates": 3},
        **apart,
        "diverse 3": {"spread": "off", "diverse": 3},
        "stochastic power": {"spread": "off", "stochastic": "power"},
        "random": {"acquisition": "random"},
    }


def _frame(name: str) -> tuple[str, int]:
    """Drive and number of a frame; a name without a number is a drive of its own."""
    stem = Path(name).with_suffix("").as_posix()
    digits = len(stem) - len(stem.rstrip("0123456789"))
    return (stem[: len(stem) - digits], int(stem[-digits:])) if digits else (name, 0)


def _film(folder: Path, drives: int, seconds: int) -> Path:
    """Write frames of generated drives, of each kind as many."""
    frames = seconds * _FRAMES_PER_SECOND
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(drives):
        kind = KINDS[number % len(KINDS)]
        drive = Drive(f"{kind}-{number:03d}", kind, _SEED + number, frames)
        if (folder / f"{drive.name}_{frames - 1:04d}.jpg").exists():
            continue
        for name, picture, _ in film(drive, _SIZE):
            Image.fromarray(picture).save(folder / f"{name}.jpg", quality=90)
    return folder


def _kinds(path: str, scores: Mapping[str, float]) -> dict[str, str]:
    with open(path, newline="", encoding="utf-8") as file:
        known = {row["id"]: row["kind"] for row in csv.DictReader(file)}
    found = {name: known.get(Path(name).name, known.get(name)) for name in scores}
    lacking = [name for name, kind in found.items() if kind is None]
    if lacking:
        raise UsageError(f"{path} has no kind of {lacking[0]!r}: give a line for each image")
    return {name: kind for name, kind in found.items() if kind is not None}


@contextmanager
def _folder(keep: str | None) -> Iterator[Path]:
    if keep is not None:
        Path(keep).mkdir(parents=True, exist_ok=True)
        yield Path(keep)
        return
    with tempfile.TemporaryDirectory(prefix="deal-bench-") as name:
        yield Path(name)
