"""Prints the line of examples/consumer, a hash of every statistic of random logits, and what ran.

Builds for different processors, by different compilers, print the same: wheels.sh compares them.
The argument is the folder that deal has to be imported from.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np

import deal
from deal import _native

folder = Path(sys.argv[1]).resolve()
if folder not in Path(deal.__file__).resolve().parents:
    raise SystemExit(f"deal is imported from {deal.__file__}, not from {folder}")

logits = (np.arange(6 * 12 * 16) * 37 % 101 / 16).astype(np.float32).reshape(1, 6, 12, 16)
images = deal.score_logits(logits, size=(90, 120), align_corners=False).images
entropy, margin = images["entropy_mean"][0], images["margin_mean"][0]
score = deal.acquisition_scores(images, "entropy")[0]
print(f"entropy {entropy:.17g} margin {margin:.17g} score {score:.17g}")

rng = np.random.Generator(np.random.PCG64(0))
found = hashlib.sha256()
for case in range(60):
    members, batch, classes = rng.integers(1, [3, 4, 40])
    height, width = rng.integers(1, 30, 2)
    shape = (members, batch, classes, height, width)
    logits = (rng.integers(-(2**12), 2**12, shape) / 2**8).astype(np.float16 if case % 2 else "f4")
    head = deal.DifficultyHead(
        weight=rng.integers(-50, 50, classes).astype(np.float32) / 16, gamma=0.75, bias=-0.5
    )
    got = deal.score_logits(
        logits,
        size=(int(rng.integers(1, 90)), int(rng.integers(1, 120))),
        head=head,
        regions=deal.Grid(int(rng.integers(4, 40))),
        align_corners=bool(case % 3),
        threads=2,
    )
    for columns in (got.images, got.regions):
        for name, column in columns.items():
            found.update(name.encode() + np.ascontiguousarray(column).tobytes())
print(found.hexdigest())
print(_native.build_info().split()[0])
