"""End to end on JPEG files: ``score_pool`` beside its stages and the released loop, on one GPU."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import deal
from deal.bench.gpu.device import open_device
from deal.bench.gpu.record import Record, SkipError
from deal.bench.networks import export, random_module
from deal.bench.released import ReleasedNetwork, released_scores
from deal.bench.timing import spread
from deal.engines import open_engine
from deal.errors import DealError
from deal.machine.cores import available_cores
from deal.metrics import spearman
from deal.synthetic.scenes import write_pool
from deal.training.checkpoint import save_checkpoint

__all__ = ["whole"]

_DISTINCT = 64
_AGREED = 5e-3
_TARGETS = {"stages": ">= 0.8", "released": ">= 25"}


def whole(record: Record) -> None:
    """Time a pool of JPEG files from their bytes to the ranking, and what bounds it."""
    try:
        import simplejpeg  # noqa: F401
    except ImportError as error:
        raise SkipError(
            "deal-score decodes with simplejpeg, which is not installed: put its wheel into a "
            "folder and say make gpu WHEELS=FOLDER"
        ) from error
    size = (96, 128) if record.rehearsal else (360, 480)
    count, few, batch = (12, 6, 4) if record.rehearsal else (6000, 160, 32)
    network = "light" if record.rehearsal else "paper"
    with tempfile.TemporaryDirectory(prefix="deal-bench-") as name:
        folder = Path(name)
        pool = write_pool(folder / "pool", count, size, distinct=min(count, _DISTINCT))
        files = sorted(pool.iterdir())
        trained, meta = random_module(network, size=size)
        checkpoint = folder / "network.pt"
        save_checkpoint(checkpoint, trained, meta)
        released = ReleasedNetwork(trained.to(record.device)).eval()
        run_released = partial(released_scores, released, files[:few], size, device=record.device)
        theirs, seconds = _timed(run_released)
        _, again = _timed(run_released)
        released_rate = few / min(seconds, again)
        record.row("released loop", [few / seconds, few / again], "images/s")
        trained.to("cpu")
        alone, decode_rate = _decode_rates(record, files)
        transfer_rate = _transfer_rate(record, batch, size)
        found = False
        for engine in ("trt", "ort", "torch"):
            try:
                model = checkpoint if engine == "torch" else export(folder, trained, meta)
                network_rate = _network_rate(record, model, engine, batch, size)
            except (DealError, ImportError) as error:
                record.note(f"--engine {engine} is left out: {error}")
                continue
            found = True
            cores = [network_rate / alone]
            record.row(f"cores that decode for the network, --engine {engine}", cores, "cores")
            rates = {"decode": decode_rate, "transfer": transfer_rate, "network": network_rate}
            score = partial(_score, record, pool, model, engine, batch, folder)
            _end_to_end(record, score, engine, files, theirs, rates, released_rate)
        record.check("an engine runs here", found)


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


def _decode_rates(record: Record, files: Sequence[Path]) -> tuple[float, float]:
    """Images a second of one core, and of all."""
    from deal.pool.decode import decode_bytes

    data = [path.read_bytes() for path in files[:_DISTINCT]]
    cores = available_cores()
    alone = len(data) / min(_timed(lambda: [decode_bytes(d) for d in data])[1] for _ in range(3))
    work = list(islice(cycle(data), len(data) * cores))
    with ThreadPoolExecutor(cores) as threads:

        def all_cores() -> None:
            for _ in threads.map(lambda d: decode_bytes(d).image.shape, work):
                pass

        together = [len(work) / _timed(all_cores)[1] for _ in range(3)]
    record.row("decoding, one core", [alone], "images/s")
    record.row(f"decoding, {cores} cores", together, "images/s")
    return alone, spread(together).median


def _transfer_rate(record: Record, batch: int, size: tuple[int, int]) -> float:
    import torch

    device = open_device(record.device)
    host = device.pinned(torch.randint(0, 255, (batch, *size, 3), dtype=torch.uint8))
    there = torch.empty(host.shape, dtype=torch.uint8, device=record.device)
    seconds = [
        device.seconds(lambda: there.copy_(host, non_blocking=True), calls=8) for _ in range(9)
    ]
    rates = [batch / s for s in seconds]
    record.row("transfer of uint8 from pinned memory", rates, "images/s")
    return spread(rates).median


def _network_rate(
    record: Record, model: Path, engine: str, batch: int, size: tuple[int, int]
) -> float:
    """Images a second of the engine alone, images ready in memory."""
    opened: Any = open_engine(model, engine, device=record.device, batch_size=batch)
    images = np.random.default_rng(0).integers(0, 256, (batch, *size, 3), dtype=np.uint8)

    def several() -> None:
        for _ in range(4):
            opened.infer(images)
        if hasattr(opened, "stream"):
            opened.stream.synchronize()

    several()
    rates = [4 * batch / _timed(several)[1] for _ in range(5)]
    record.row(f"network alone, --engine {engine}", rates, "images/s")
    return spread(rates).median


def _score(
    record: Record, pool: Path, model: Path, engine: str, batch: int, folder: Path, turn: int
) -> Any:
    return deal.score_pool(
        [str(pool)],
        model=model,
        engine=engine,
        device=record.device,
        batch_size=batch,
        output=folder / f"out-{engine}-{turn}",
    )


def _end_to_end(
    record: Record,
    score: Callable[[int], Any],
    engine: str,
    files: Sequence[Path],
    theirs: NDArray[np.float64],
    stages: dict[str, float],
    released_rate: float,
) -> None:
    steady, walls = [], []
    for turn in range(1 if record.rehearsal else 3):
        done, wall = _timed(partial(score, turn))
        record.check(f"all images, --engine {engine}", done.scored == len(files), str(done.errors))
        steady.append(done.scored / done.seconds)
        walls.append(done.scored / wall)
    _agree(record, engine, done.output, files, theirs)
    slowest = min(stages, key=lambda stage: stages[stage])
    label = f"--engine {engine}"
    record.row(f"deal-score, first image to last, {label}", steady, "images/s")
    record.row(f"deal-score, opening and ranking too, {label}", walls, "images/s")
    record.row(
        f"deal-score / slowest of decode, transfer and network ({slowest}), {label}",
        [rate / stages[slowest] for rate in steady],
        "ratio",
        _TARGETS["stages"],
    )
    record.row(
        f"deal-score / released loop, {label}",
        [rate / released_rate for rate in steady],
        "ratio",
        _TARGETS["released"],
    )
    record.note(f"{label}: bound by {done.bound_by}, as the run itself reports")


def _agree(
    record: Record, engine: str, output: Path, files: Sequence[Path], theirs: NDArray[np.float64]
) -> None:
    table = deal.read_results([str(output)])
    uris, scores = table.column("uri").to_pylist(), deal.acquisition_scores(table, "ds").tolist()
    ours = dict(zip(uris, scores, strict=True))
    mine = np.array([ours[str(path.resolve())] for path in files[: len(theirs)]])
    difference = float(np.abs(mine - theirs).max())
    rank = spearman(mine, theirs)
    passed = difference <= _AGREED and (record.rehearsal or rank > 0.99)
    record.check(
        f"scores as the released loop's, --engine {engine}",
        passed,
        f"differ by up to {difference:.2g}, Spearman {rank:.4f}",
    )
