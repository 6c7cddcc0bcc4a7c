"""How fast is the difficulty head beside attention in ONNX Runtime?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import deal
from deal import _native
from deal.bench.failed import FailedCheckError
from deal.bench.graphs import attention_graph
from deal.bench.kernel import MATRIX_BYTES, SHAPES, smooth_logits
from deal.bench.report import Report, Row
from deal.bench.timing import interleave, ratios, single, spread
from deal.kernel.statistics import difficulty_grid

__all__ = ["GRIDS", "exact_rows", "run"]

GRIDS = {name: (classes, grid) for name, (classes, _, _, grid) in SHAPES.items()} | {
    f"{name}-logits": (classes, logits) for name, (classes, logits, _, _) in SHAPES.items()
}
"""Classes and attention grid: the paper's, and the networks' own logits grids at stride 4."""

_ERROR = 1e-5
_PEER_ERROR = 1e-4
_CHECKED = 400


def run(*, grid: str = "camvid", threads: int = 1, rounds: int = 9) -> Report:
    """Time logits on the grid → difficulty before the sigmoid, one image, equal threads.

    Peers are graphs as an exporter writes the released module (MatMul, Softmax, MatMul: the N×N
    matrix; left out where it would take more than 1 GiB) and as one who knows ONNX Runtime does
    (``com.microsoft.MultiHeadAttention``, fused).

    Raises
    ------
    FailedCheckError
        An error, as a share of γ·(max w − min w), is above 1e-5 (peers: 1e-4).
    """
    classes, size = GRIDS[grid]
    cells = size[0] * size[1]
    rng = np.random.default_rng(0)
    logits = smooth_logits(classes, size, 1)
    head = deal.DifficultyHead(0.8, rng.normal(size=classes), -0.4, size)
    candidates: dict[str, Any] = {
        "native head": lambda: difficulty_grid(logits, head, threads=threads)
    }
    notes = []
    for label, fused in (("MatMul, Softmax, MatMul", False), ("MultiHeadAttention", True)):
        if not fused and 4 * cells**2 > MATRIX_BYTES:
            notes.append(f"{label} is left out: its matrix takes {4e-9 * cells**2:.1f} GB")
            continue
        session = _session(attention_graph(head, size, fused=fused), threads)
        candidates[label] = lambda session=session: session.run(None, {"z": logits})[0]
    chosen = np.unique(np.linspace(0, cells - 1, _CHECKED).astype(np.int64))
    expected = exact_rows(logits[0], head, chosen)
    scale = head.gamma * (max(head.weight) - min(head.weight))
    errors = {}
    checked = candidates | {
        "native head, all pairs": lambda: difficulty_grid(
            logits, head, threads=threads, attention=_native.ATTENTION_DIRECT
        )
    }
    for label, candidate in checked.items():
        found = np.asarray(candidate(), dtype=np.float64).reshape(-1)[chosen]
        errors[label] = float(np.abs(found - expected).max() / scale)
        if not errors[label] <= (_ERROR if label.startswith("native") else _PEER_ERROR):
            raise FailedCheckError(f"{label}: error {errors[label]:.2g} of γ·(max w − min w)")
    seconds = interleave(candidates, rounds=rounds, calls=3, pause=0.3)
    rows = [Row(label, spread(v).scaled(1e3), "ms/image") for label, v in seconds.items()]
    ours = seconds["native head"]
    rows += [
        Row(f"{label} / native head", ratios(v, ours), "ratio", ">= 50")
        for label, v in seconds.items()
        if label != "native head"
    ]
    error = errors["native head"]
    rows.append(
        Row(
            "error of the native head",
            single(error),
            "γ·(max w − min w)",
            f"<= {_ERROR:g}",
        )
    )
    return Report(
        question="head",
        settings={
            "classes": classes,
            "grid": list(size),
            "threads": threads,
            "rounds": rounds,
            "errors": errors,
        },
        rows=tuple(rows),
        notes=tuple(notes),
    )


def exact_rows(
    logits: NDArray[np.float32], head: deal.DifficultyHead, rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Difficulty before the sigmoid of some cells in float64, all pairs.

    Parameters
    ----------
    logits : [C, gh, gw], on the head's grid
    head : DifficultyHead
    rows : indices of cells, row-major
    """
    z = logits.reshape(len(logits), -1).astype(np.float64)
    p = np.exp(z - z.max(axis=0))
    p /= p.sum(axis=0)  # [C, N]
    v = np.asarray(head.weight) @ p
    k = np.exp(p[:, rows].T @ p)  # [rows, N]
    return np.asarray(head.gamma * (k @ v) / k.sum(axis=1) + v[rows] + head.bias)


def _session(graph: bytes, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
