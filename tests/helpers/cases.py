"""One table of kernel cases, shared by the oracle and the kernel of every device."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

import deal
from deal import _native
from tests.oracle import reference

MEANS = 1e-5
"""Largest difference of a mean from the oracle's."""
LINES = ("boundary_length", "boundary_corners")
"""Columns of the simplified boundaries, sums of many lengths."""


@dataclass(frozen=True)
class Case:
    """A batch of logits with everything that can be asked of it."""

    name: str
    shape: tuple[int, int, int, int]  # B, C, h, w
    size: tuple[int, int]  # H, W
    grid: tuple[int, int] | None = None
    align_corners: bool = True
    masked: bool = False
    regions: str = "none"
    spread: float = 3.0
    difficulty: bool = False
    uncertainty: bool = False

    def make(self) -> dict[str, Any]:
        """Arguments of ``score_logits``; the same for the same case."""
        rng = np.random.default_rng(len(self.name) + sum(self.shape) * 31 + sum(self.size))
        b, c, h, w = self.shape
        logits = (rng.normal(size=self.shape) * self.spread).astype(np.float32)
        head = deal.DifficultyHead(0.8, rng.normal(size=c), -0.4, self.grid)
        if self.uncertainty:
            head = replace(head, uncertainty_weight=2 * rng.normal(size=c))
        grid = self.grid or (h, w)
        return {
            "logits": logits,
            "size": self.size,
            "align_corners": self.align_corners,
            "head": None if self.difficulty else head,
            "difficulty": (
                rng.normal(size=(b, 1, *grid)).astype(np.float32) if self.difficulty else None
            ),
            "mask": (rng.random((b, *self.size)) > 0.3).astype(np.uint8) if self.masked else None,
            "regions": self._regions(rng),
        }

    def _regions(self, rng: np.random.Generator) -> deal.Grid | deal.Segments | None:
        if self.regions == "grid":
            return deal.Grid(cell=7)
        if self.regions == "segments":
            ids = rng.integers(-1, 9, size=(self.shape[0], *self.size), dtype=np.int32)
            return deal.Segments(ids, count=12)
        return None


CASES = [
    Case("camvid", (1, 11, 90, 120), (360, 480), grid=(60, 80)),
    Case("camvid difficulty grid", (1, 11, 90, 120), (360, 480), grid=(60, 80), difficulty=True),
    Case("odd sizes", (2, 5, 12, 16), (45, 61), grid=(6, 8), difficulty=True, masked=True),
    Case("half pixel", (2, 5, 12, 16), (45, 61), align_corners=False, regions="grid"),
    Case("segments and mask", (3, 11, 20, 30), (77, 119), masked=True, regions="segments"),
    Case("full resolution logits", (1, 4, 33, 47), (33, 47), regions="grid"),
    Case("raster smaller than logits", (1, 19, 33, 29), (20, 17), grid=(5, 5), masked=True),
    Case("half pixel, smaller", (1, 7, 40, 52), (11, 13), align_corners=False, regions="segments"),
    Case("slightly smaller", (1, 4, 21, 40), (20, 38), grid=(19, 37)),
    Case("one class", (1, 1, 3, 4), (9, 9), regions="grid"),
    Case("two classes", (4, 2, 5, 6), (24, 25), grid=(1, 1)),
    Case("many classes", (1, 150, 8, 8), (32, 32), align_corners=False, masked=True),
    Case("most classes", (1, 256, 3, 5), (7, 11), grid=(4, 4), regions="grid"),
    Case("one pixel", (1, 3, 1, 1), (1, 1)),
    Case("one row", (2, 6, 1, 40), (1, 97), regions="segments"),
    Case("one column", (2, 6, 40, 1), (97, 1), masked=True),
    Case("sure", (1, 5, 10, 10), (40, 40), spread=40.0),
    Case("unsure", (1, 5, 10, 10), (40, 40), spread=1e-3, difficulty=True),
    Case("uncertainty", (1, 11, 45, 60), (90, 120), grid=(30, 40), uncertainty=True),
    Case("sure uncertainty", (2, 5, 10, 11), (40, 45), spread=40.0, uncertainty=True),
    Case("one uncertain class", (1, 1, 3, 4), (9, 9), uncertainty=True),
    Case("many uncertain classes", (1, 150, 8, 8), (32, 32), uncertainty=True),
]


def segment_map(
    regions: deal.Grid | deal.Segments | None, batch: int, size: tuple[int, int]
) -> tuple[NDArray[np.int32] | None, int]:
    """The regions as the oracle takes them: ids [B, H, W] and their number."""
    if regions is None:
        return None, 0
    if isinstance(regions, deal.Segments):
        assert regions.count is not None
        return np.broadcast_to(regions.map, (batch, *size)), regions.count
    rows, columns = regions.shape(size)
    y, x = np.mgrid[: size[0], : size[1]] // regions.cell
    ids = (y * columns + x).astype(np.int32)
    return np.broadcast_to(ids, (batch, *size)), rows * columns


def flatten(stats: deal.Statistics) -> dict[str, bytes]:
    """Every column as bytes, to compare bits."""
    tables = stats.images | {f"region_{k}": v for k, v in (stats.regions or {}).items()}
    return {name: np.ascontiguousarray(value).tobytes() for name, value in tables.items()}


def oracle(arguments):
    batch, size = arguments["logits"].shape[-4], arguments["size"]
    ids, count = segment_map(arguments["regions"], batch, size)
    difficulty = arguments["difficulty"]
    return reference.statistics(
        arguments["logits"],
        size=size,
        head=arguments["head"],
        difficulty=None if difficulty is None else difficulty[:, 0],
        regions=ids,
        n_regions=count,
        mask=arguments["mask"],
        align_corners=arguments["align_corners"],
    )


@cache
def oracle_of(case: Case) -> reference.Statistics:
    """What the oracle says of a case, which takes seconds; tests share it and only read it."""
    return oracle(case.make())


def wider_instruction_sets() -> list[int]:
    """Those of this build and processor beside the portable one."""
    found = []
    for isa in (_native.ISA_AVX2, _native.ISA_AVX512, _native.ISA_NEON):
        try:
            _native.Context(1, isa)
        except NotImplementedError:
            continue
        found.append(isa)
    return found


def near_ties(arguments):
    """Raster pixels whose two best classes are too close for float32 to tell apart."""
    z = reference.resize(arguments["logits"], arguments["size"], arguments["align_corners"])
    if z.shape[1] == 1:
        return 0
    top = np.sort(z, axis=1)
    return int((top[:, -1] - top[:, -2] < 1e-5 * np.abs(top[:, -1])).sum())


def assert_columns(found, expected, ties):
    assert set(found) == set(expected)
    for name, value in expected.items():
        got = found[name]
        assert got.shape == value.shape, name
        if name.endswith(("_hist", "_hist_image")):
            assert (got.sum(axis=-1) == value.sum(axis=-1)).all(), name
        elif name in ("class_pixels", "boundary_pixels", "majority_class"):
            assert np.abs(got - value).sum() <= 5 * ties, name
        elif name in LINES:  # a pixel that differs can move a whole line
            if ties == 0:
                np.testing.assert_allclose(got, value, atol=MEANS * 100, err_msg=name)
        elif name == "impurity":
            if ties == 0:
                np.testing.assert_allclose(got, value, atol=MEANS, err_msg=name)
        elif name.endswith("_sum"):
            pixels = np.maximum(expected["class_pixels"], 1) + 1e6 * (ties > 0)
            assert (np.abs(got - value) <= MEANS * pixels).all(), name
        else:
            np.testing.assert_allclose(got, value, atol=MEANS, rtol=0, err_msg=name)
