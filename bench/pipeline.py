"""What share of the bare ONNX Runtime sessions' speed does the whole pipeline keep?"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

import deal
from deal.bench.networks import random_model
from deal.bench.report import Report, Row
from deal.bench.timing import interleave, ratios, spread
from deal.cores import available_cores
from deal.decode import decode
from deal.engines.onnxruntime import open_session
from deal.pool import open_pool
from deal.synthetic import write_pool
from deal.types import PoolItem

__all__ = ["run"]


def run(
    *,
    pool: Sequence[str] = (),
    model: str | None = None,
    network: str = "paper",
    sessions: int | None = None,
    threads: int = 1,
    batch_size: int = 1,
    images: int = 400,
    rounds: int = 3,
) -> Report:
    """Time ``score_pool`` and bare sessions on the same images, interleaved.

    Both open their sessions within the measured time; the bare sessions find their images decoded
    in memory and throw the logits away.
    """
    sessions = sessions or available_cores()
    with tempfile.TemporaryDirectory(prefix="deal-bench-") as name:
        folder = Path(name)
        sources = list(pool) or [str(write_pool(folder / "pool", images, (360, 480)))]
        path = Path(model) if model else random_model(folder, network)
        items = [item for item in open_pool(sources) if isinstance(item, PoolItem)]
        batches = _decoded(items, batch_size)
        runs = iter(range(10_000))

        def whole() -> deal.RunReport:
            return deal.score_pool(
                sources,
                model=path,
                output=folder / f"out-{next(runs)}",
                sessions=sessions,
                threads=threads,
                batch_size=batch_size,
                acquisition="entropy",
                device="cpu",
            )

        report = whole()
        if report.scored != len(items):
            raise AssertionError(f"{report.scored} of {len(items)} images were scored")
        seconds = interleave(
            {"bare": lambda: _bare(path, batches, sessions, threads), "whole": whole},
            rounds=rounds,
        )
    count = len(items)
    return Report(
        question="pipeline",
        command=f"deal bench pipeline --network {network}",
        settings={
            "images": count,
            "size": list(batches[0].shape[1:3]),
            "network": Path(model).name if model else network,
            "sessions": sessions,
            "threads": threads,
            "batch_size": batch_size,
            "rounds": rounds,
        },
        rows=(
            Row("bare sessions", spread([count / s for s in seconds["bare"]]), "images/s"),
            Row("deal-score", spread([count / s for s in seconds["whole"]]), "images/s"),
            Row(
                "deal-score / bare sessions",
                ratios(seconds["bare"], seconds["whole"]),
                "ratio",
                ">= 0.95",
            ),
        ),
    )


def _decoded(items: Sequence[PoolItem], batch_size: int) -> list[NDArray[np.uint8]]:
    images = [decode(item).image for item in items]
    if len({image.shape for image in images}) > 1:
        raise AssertionError("the pipeline benchmark wants images of one size")
    return [np.stack(images[i : i + batch_size]) for i in range(0, len(images), batch_size)]


def _bare(path: Path, batches: Sequence[NDArray[np.uint8]], sessions: int, threads: int) -> None:
    """Run every batch through plain sessions, one thread a session."""
    waiting: SimpleQueue[NDArray[np.uint8]] = SimpleQueue()
    for batch in batches:
        waiting.put(batch)
    failures: list[BaseException] = []

    def serve() -> None:
        try:
            session: Any = open_session(path, "cpu", threads)
            name = session.get_inputs()[0].name
            while True:
                session.run(["logits"], {name: waiting.get_nowait()})
        except Empty:
            return
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=serve) for _ in range(sessions)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failures:
        raise failures[0]
