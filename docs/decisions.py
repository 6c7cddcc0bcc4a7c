"""Draw docs/images/rig-rules.png: which frames of a made-up trip the rules of a rig keep.

    python docs/decisions.py [FILE]

A trip of twelve minutes, one frame per second, has hard moments by day and a dusk at its end, where
all frames score higher. Every panel is a `deal.Stream` with the rules in its title.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

import deal

SECOND = 10**9
COUNT = 720
BUDGET = 24
PANELS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("--budget 24", {}),
    ("--budget 24 --min-gap 10s", {"min_gap": "10s"}),
    (
        "--budget 24 --min-gap 10s --window 3min --window-budget 6",
        {"min_gap": "10s", "window": "3min", "window_budget": 6},
    ),
    ("--budget 24 --min-gap 10s --random-share 0.25", {"min_gap": "10s", "random_share": 0.25}),
)
WIDTH, HEIGHT, LEFT, TOP, GAP = 1500, 190, 90, 20, 56
INK, LINE, DUSK, RULE = (40, 44, 52), (176, 182, 190), (238, 240, 244), (205, 210, 216)
RANKED, RANDOM = (0, 92, 175), (214, 96, 28)


def scores() -> NDArray[np.float64]:
    """A trip's scores: float64 [COUNT]."""
    rng = np.random.default_rng(11)
    time = np.arange(COUNT)
    found = 0.12 + 0.02 * rng.standard_normal(COUNT)
    for at, high, wide in ((70, 0.5, 9), (160, 0.34, 14), (260, 0.42, 6), (395, 0.3, 18)):
        found += high * np.exp(-0.5 * ((time - at) / wide) ** 2)
    found += 0.38 / (1 + np.exp(-(time - 585) / 12))  # dusk
    found += np.where(time > 585, 0.06 * np.sin(time / 9.0) + 0.03 * rng.standard_normal(COUNT), 0)
    return np.asarray(np.clip(found, 0.02, None))


def kept(values: NDArray[np.float64], rules: dict[str, Any]) -> dict[int, str]:
    """Frames that a stream keeps, with their part."""
    stream = deal.Stream(budget=BUDGET, **rules)
    for index, value in enumerate(values.tolist()):
        stream.push(f"{index:04}", score=value, timestamp_ns=index * SECOND)
    stream.end()
    return {int(decision.id): decision.why for decision in stream.kept()}


def draw(path: Path) -> None:
    """Draw all panels into a PNG file."""
    values = scores()
    size = (WIDTH, TOP + len(PANELS) * (HEIGHT + GAP) + 40)
    image = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(image)
    text, small = ImageFont.load_default(22), ImageFont.load_default(18)
    for number, (title, rules) in enumerate(PANELS):
        top = TOP + number * (HEIGHT + GAP) + 30
        bottom = top + HEIGHT - 30

        def at(index: float, value: float, bottom: int = bottom) -> tuple[float, float]:
            return LEFT + (WIDTH - LEFT - 30) * index / COUNT, bottom - (HEIGHT - 30) * value / 0.75

        pen.rectangle([at(585, 0.75), at(COUNT, 0.0)], fill=DUSK)
        if "window" in rules:
            for minute in range(0, 13, 3):
                pen.line([at(60 * minute, 0.0), at(60 * minute, 0.75)], fill=RULE, width=2)
        pen.line([at(0, 0.0), at(COUNT, 0.0)], fill=RULE, width=2)
        pen.line([at(i, v) for i, v in enumerate(values.tolist())], fill=LINE, width=2)
        found = kept(values, rules)
        for index, part in sorted(found.items()):
            x, y = at(index, float(values[index]))
            colour = RANKED if part == "ranked" else RANDOM
            pen.ellipse([x - 6, y - 6, x + 6, y + 6], fill=colour, outline="white", width=1)
        dusk = sum(index >= 585 for index in found)
        pen.text((LEFT, top - 32), title, fill=INK, font=text)
        told = f"{dusk} of {len(found)} kept at dusk"
        pen.text((WIDTH - 30, top - 30), told, fill=INK, font=small, anchor="ra")
        pen.text((LEFT - 12, top), "score", fill=INK, font=small, anchor="ra")
    last = TOP + len(PANELS) * (HEIGHT + GAP) - GAP + 34
    for minute in range(0, 13, 2):
        x = LEFT + (WIDTH - LEFT - 30) * minute / 12
        pen.text((x, last - 26), f"{minute} min", fill=INK, font=small, anchor="ma")
    pen.ellipse([LEFT, last + 8, LEFT + 12, last + 20], fill=RANKED)
    pen.text((LEFT + 22, last + 2), "kept for its score", fill=INK, font=small)
    pen.ellipse([LEFT + 260, last + 8, LEFT + 272, last + 20], fill=RANDOM)
    pen.text((LEFT + 282, last + 2), "kept by chance", fill=INK, font=small)
    image.quantize(64).save(path, optimize=True)


if __name__ == "__main__":
    default = Path(__file__).parent / "images" / "rig-rules.png"
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else default)
