"""How long does a core-set take, and how much memory?"""

from __future__ import annotations

import subprocess
import sys

import numpy as np
from numpy.typing import NDArray

from deal.acquisitions.k_center import k_center_greedy
from deal.acquisitions.partitioned import picks_of_parts
from deal.bench.failed import FailedCheckError
from deal.bench.report import Report, Row
from deal.bench.timing import interleave, ratios, single, spread
from deal.machine.meter import peak_memory

__all__ = ["make_features", "numpy_k_center", "run"]

KINDS = ("network", "noise")

_CHUNK = 4096
_PROBE = "from deal.bench.core_set import probe_memory; probe_memory({}, {}, {}, {})"


def make_features(rows: int, width: int, kind: str) -> NDArray[np.float32]:
    """Seeded features [rows, width], made in pieces so that making them takes no memory.

    ``network``: sixteen causes mixed and rectified, as pooled features of a network are: not
    negative, correlated. ``noise``: independent normal numbers, where all distances are alike and
    bounds say least.
    """
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((16, width), dtype=np.float32)
    found = np.empty((rows, width), np.float32)
    for start in range(0, rows, _CHUNK):
        part = found[start : start + _CHUNK]
        if kind == "noise":
            rng.standard_normal(out=part, dtype=np.float32)
        else:
            causes = rng.standard_normal((len(part), 16), dtype=np.float32)
            np.maximum(causes @ mixing, 0, out=part)
    return found


def numpy_k_center(
    features: NDArray[np.float32], count: int, order: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """Cosine k-center from row 0 as NumPy users write it: one product with all rows a pick.

    Returns the picks, the distance of each, and the greatest distance there was at each. With an
    ``order`` those rows are taken whatever their distance.
    """
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    nearest = 1 - unit @ unit[0]
    nearest[0] = -1
    picks = np.empty(count, np.int64)
    distances, greatest = np.empty(count, np.float32), np.empty(count, np.float32)
    for k in range(count):
        farthest = int(nearest.argmax())
        pick = farthest if order is None else int(order[k])
        picks[k], distances[k], greatest[k] = pick, nearest[pick], nearest[farthest]
        np.minimum(nearest, 1 - unit @ unit[pick], out=nearest)
        nearest[pick] = -1
    return picks, distances, greatest


def run(
    *,
    rows: int = 100_000,
    width: int = 256,
    picks: int = 1000,
    threads: int = 2,
    rounds: int = 3,
    parts: int = 0,
) -> Report:
    """Time ``k_center_greedy`` beside NumPy, and measure the peak memory of a process of its own.

    First picks of a part are held against brute force in float64; then, with all rows, each pick
    has to be as far as any row is by NumPy's distances.

    With ``parts``, the search in so many parts is measured instead: how far the farthest row is
    from the picks, divided by the same of one search.
    """
    if parts:
        return _run_parts(rows, width, picks, threads, rounds, parts)
    memory = _peak(rows, width, picks, threads)
    lines = []
    for kind in KINDS:
        x = make_features(rows, width, kind)
        _check(x[: max(rows // 100, 20)], min(picks, 20))

        def ours(x: NDArray[np.float32] = x) -> NDArray[np.int64]:
            return k_center_greedy(x, picks, centers=[0], threads=threads)[0]

        def theirs(x: NDArray[np.float32] = x) -> object:
            return numpy_k_center(x, picks)

        _, distances, greatest = numpy_k_center(x, picks, ours())
        np.testing.assert_allclose(distances, greatest, rtol=0, atol=1e-5)
        seconds = interleave({"ours": ours, "numpy": theirs}, rounds=rounds, warmup=0, pause=0.3)
        lines += [
            Row(f"core-set, {kind}", spread(seconds["ours"]), "s", "<= 15"),
            Row(f"NumPy, {kind}", spread(seconds["numpy"]), "s"),
            Row(f"NumPy / core-set, {kind}", ratios(seconds["numpy"], seconds["ours"]), "ratio"),
        ]
    size = rows * width * 4
    return Report(
        question="core-set",
        settings={
            "rows": rows,
            "width": width,
            "picks": picks,
            "threads": threads,
            "rounds": rounds,
        },
        rows=(
            *lines,
            Row("peak of a process, features in it", single(memory / 2**20), "MiB"),
            Row("peak / features", single(memory / size), "ratio", "<= 2"),
        ),
    )


def _in_parts(x: NDArray[np.float32], picks: int, threads: int, parts: int) -> NDArray[np.int64]:
    """Rows that are picked among the picks of so many parts."""
    cut = zip(np.array_split(np.arange(len(x)), parts), np.array_split(x, parts), strict=True)
    found = picks_of_parts(cut, picks, centers=x[:0], threads=threads)
    return found[k_center_greedy(x[found], picks, threads=threads)[0]]


def _run_parts(rows: int, width: int, picks: int, threads: int, rounds: int, parts: int) -> Report:
    lines = []
    for kind in KINDS:
        x = make_features(rows, width, kind)

        def whole(x: NDArray[np.float32] = x) -> NDArray[np.int64]:
            return k_center_greedy(x, picks, threads=threads)[0]

        def partitioned(x: NDArray[np.float32] = x) -> NDArray[np.int64]:
            return _in_parts(x, picks, threads, parts)

        # The next pick is the farthest row.
        reached = [
            k_center_greedy(x, 1, centers=f(), threads=threads)[1][0] for f in (whole, partitioned)
        ]
        seconds = interleave({"one": whole, "parts": partitioned}, rounds=rounds, warmup=0)
        lines += [
            Row(
                f"radius of parts / of one search, {kind}",
                single(reached[1] / reached[0]),
                "ratio",
                "<= 1.1",
            ),
            Row(f"core-set in parts, {kind}", spread(seconds["parts"]), "s"),
            Row(f"core-set in one search, {kind}", spread(seconds["one"]), "s"),
        ]
    return Report(
        question="core-set-parts",
        settings={
            "rows": rows,
            "width": width,
            "picks": picks,
            "threads": threads,
            "rounds": rounds,
            "parts": parts,
        },
        rows=tuple(lines),
    )


def _check(x: NDArray[np.float32], count: int) -> None:
    order, distances = k_center_greedy(x, count, centers=[0])
    unit = x.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    nearest = 1 - unit @ unit[0]
    for pick, distance in zip(order, distances, strict=True):
        nearest[0] = -1  # the given center
        farthest = int(nearest.argmax())
        if pick != farthest or abs(distance - nearest[farthest]) > 1e-6:
            raise FailedCheckError(f"core-set picked {pick}, float64 picks {farthest}")
        nearest = np.minimum(nearest, 1 - unit @ unit[pick])
        nearest[pick] = -1


def _peak(rows: int, width: int, picks: int, threads: int) -> int:
    """Peak resident bytes of a process that makes features and picks from them."""
    code = _PROBE.format(rows, width, picks, threads)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return int(done.stdout)


def probe_memory(rows: int, width: int, picks: int, threads: int) -> None:
    """Print the peak resident bytes of this process after picking."""
    k_center_greedy(make_features(rows, width, "network"), picks, threads=threads)
    print(peak_memory())
