"""Networks side by side on the CPU, and what they cost."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, SimpleQueue

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from deal.engines import open_engine
from deal.engines.base import Engine

__all__ = ["Sessions", "network_costs"]

Batch = NDArray[np.uint8]


class Sessions:
    """Sessions as ``deal-score`` opens them, each fed by a thread that does nothing else.

    Parameters
    ----------
    path : Path
        A model of the contract. One that takes floats gets them from uint8 RGB within a run.
    count, threads : int
        Sessions, and threads of each.
    engine, precision : str
        As in :func:`deal.engines.open_engine`.

    Attributes
    ----------
    spec : ModelSpec
    """

    def __init__(
        self,
        path: Path,
        count: int,
        threads: int,
        engine: str = "ort",
        precision: str | None = None,
    ) -> None:
        self._engines = [
            open_engine(path, engine, "cpu", precision, threads, probe=False) for _ in range(count)
        ]
        self.spec = self._engines[0].spec

    def logits(self, batch: Batch) -> NDArray[np.float32]:
        """Logits of a batch [B,H,W,3], by the first session."""
        return np.asarray(self._engines[0].infer(batch).logits)

    def run(self, batches: Sequence[Batch]) -> None:
        """Run every batch once, by whichever session is free, and throw its logits away."""
        waiting: SimpleQueue[Batch] = SimpleQueue()
        for batch in batches:
            waiting.put(batch)
        failures: list[BaseException] = []

        def serve(engine: Engine) -> None:
            try:
                while True:
                    engine.infer(waiting.get_nowait())
            except Empty:
                return
            except BaseException as error:
                failures.append(error)

        workers = [threading.Thread(target=serve, args=(e,)) for e in self._engines]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if failures:
            raise failures[0]


def network_costs(path: Path, image: Batch, folder: Path) -> tuple[int, bool]:
    """Multiply-accumulates of a network on one image [H,W,3], and whether it is quantised.

    Counted over convolutions and matrix products from the shapes that ONNX Runtime's profiler
    records without optimising the graph; an 8-bit convolution counts as one in float.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    session.run(None, {session.get_inputs()[0].name: image[None]})
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    total = 0
    kinds = set()
    for event in events:
        arguments = event.get("args", {})
        kind = arguments.get("op_name")
        if kind is None or "output_type_shape" not in arguments:
            continue
        kinds.add(kind)
        shapes = [next(iter(shape.values())) for shape in arguments["input_type_shape"]]
        output = next(iter(arguments["output_type_shape"][0].values()))
        if kind in ("Conv", "QLinearConv"):
            weight = shapes[1] if kind == "Conv" else shapes[3]
            total += int(np.prod(output)) * int(np.prod(weight[1:]))
        elif kind in ("MatMul", "Gemm"):
            total += int(np.prod(output)) * shapes[0][-1]
    return total, any(kind.startswith(("Quantize", "QLinear", "Dequantize")) for kind in kinds)
