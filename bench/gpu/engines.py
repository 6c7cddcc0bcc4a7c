"""Which engine runs the network fastest on this GPU, and what share of it the kernel is?"""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deal.bench.gpu.device import Device, interleave, open_device
from deal.bench.gpu.record import Record
from deal.bench.networks import export, half_model, random_module
from deal.bench.timing import spread
from deal.engines import find_device, open_engine
from deal.errors import DealError
from deal.synthetic.scenes import scene
from deal.training.checkpoint import CheckpointMeta
from deal.training.difficulty import WithDifficulty

__all__ = ["HalfNetwork", "engines"]

# Random weights magnify rounding: on the CPU, with every value rounded to float16, logits differ by
# 0.10 to 0.17 of their norm, by network and size. Logits of other images would differ by 1.4.
_TOLERANCE = 0.3
_COMPILING = 75.0
_OPENING = 30.0
_SHARE = "<= 5"
_SCENES = 8
_STATISTICS = "statistics: camvid, float16, batch 32"


class HalfNetwork(nn.Module):
    """uint8 RGB [N,H,W,3] → logits [N,C,h,w], everything after the normalisation in float16.

    Parameters
    ----------
    trained : WithDifficulty
        Around a ``DeepLab``; is changed. On the CPU, where a rehearsal runs, it stays float32.
    device : ``cuda`` or ``cpu``
    """

    def __init__(self, trained: WithDifficulty, device: str) -> None:
        super().__init__()
        network: Any = trained.module
        self.normalization = network.normalization.to(device)
        self.dtype = torch.float16 if device == "cuda" else torch.float32
        layout: Any = {"memory_format": torch.channels_last}
        self.parts = nn.ModuleList(
            part.to(device, self.dtype).to(**layout)
            for part in (network.backbone, network.aspp, network.decoder)
        )

    def forward(self, image: Tensor) -> Tensor:
        """Run the network without its difficulty branch."""
        backbone, aspp, decoder = self.parts
        pixels = self.normalization(image.permute(0, 3, 1, 2))  # channels last already
        low, high = backbone(pixels.to(self.dtype))
        logits: Tensor = decoder(low, aspp(high))
        return logits


def engines(record: Record) -> None:
    """Time the networks at batches of 32, 8 and 1 by each engine that is here."""
    device = open_device(record.device)
    size = (96, 128) if record.rehearsal else (360, 480)
    batches = (2,) if record.rehearsal else (32, 8, 1)
    for network in ("light",) if record.rehearsal else ("paper", "light"):
        trained, meta = random_module(network, size=size)
        scenes = np.stack([scene(seed, size)[0] for seed in range(_SCENES)])
        images = np.resize(scenes, (batches[0], *scenes.shape[1:]))
        trained.to(record.device)
        with torch.inference_mode():
            pixels = torch.from_numpy(images[:_SCENES]).to(record.device).permute(0, 3, 1, 2)
            expected = trained.module(pixels).float().cpu().numpy()
        trained.to("cpu")
        _pytorch(record, device, copy.deepcopy(trained), network, images, expected, batches)
        _onnx_engines(record, trained, meta, images, expected, batches)


def _pytorch(
    record: Record,
    device: Device,
    trained: WithDifficulty,
    network: str,
    images: NDArray[np.uint8],
    expected: NDArray[np.float32],
    batches: tuple[int, ...],
) -> None:
    eager = HalfNetwork(trained, record.device).eval()
    for batch in batches:
        x = torch.from_numpy(images[:batch]).to(record.device)
        label = f"{network}, batch {batch}"
        runs: dict[str, Callable[[], object]] = {}
        names: dict[str, Any] = {"PyTorch float16, eager": eager}
        if record.left > _COMPILING:
            torch._dynamo.reset()  # a shape of its own for each batch, so none is dynamic
            names["PyTorch float16, compiled"] = torch.compile(eager)
        else:
            record.note(f"{label}: torch.compile is left out: {record.left:.0f} s are left")
        with torch.inference_mode():
            for name, module in names.items():
                try:
                    for _ in range(2):
                        found = module(x)
                    runs[name] = device.graph(partial(module, x))
                except Exception as error:  # compilers differ by machine; the peer is optional
                    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                    record.note(f"{label}: {name} is left out: {reason[:200]}")
                    continue
                _check(record, f"{name}, {label}", found.float().cpu().numpy(), expected)
            seconds = interleave(device, runs, rounds=3 if record.rehearsal else 10)
        for name, values in seconds.items():
            record.row(f"{name}: {label}", [batch / s for s in values], "images/s")
        statistics = record.earlier.get(_STATISTICS)
        if statistics is not None and batch == 32 and seconds:
            best = min(seconds.values(), key=lambda values: spread(values).median)
            share = [100 * statistics / (1e6 * s / batch) for s in best]
            target = _SHARE if network == "paper" else None
            record.row(f"kernel / fastest PyTorch: {label}", share, "%", target)


def _check(
    record: Record, label: str, found: NDArray[np.float32], expected: NDArray[np.float32]
) -> None:
    """Hold logits to those of PyTorch in float32."""
    count = min(len(found), len(expected))
    difference = np.linalg.norm(found[:count] - expected[:count])
    error = float(difference / np.linalg.norm(expected[:count]))
    record.check(label, error <= _TOLERANCE, f"relative error of the logits {error:.2g}")


def _onnx_engines(
    record: Record,
    trained: WithDifficulty,
    meta: CheckpointMeta,
    images: NDArray[np.uint8],
    expected: NDArray[np.float32],
    batches: tuple[int, ...],
) -> None:
    """ONNX Runtime and TensorRT as ``deal-score`` runs them: images up, logits left on the GPU."""
    there = []
    for engine in ("ort", "trt"):
        try:
            find_device(engine, record.device)
            there.append(engine)
        except (DealError, ImportError) as error:
            record.note(f"--engine {engine}: {meta.network} is left out: {error}")
    with tempfile.TemporaryDirectory(prefix="deal-bench-") as name:
        path = None
        for engine, batch in product(there, batches):
            label = f"--engine {engine}: {meta.network}, batch {batch}"
            if record.left < _OPENING:
                record.note(f"{label} is left out: {record.left:.0f} s are left")
                continue
            try:
                path = path or half_model(export(Path(name), trained, meta))
                opened = open_engine(path, engine, device=record.device, batch_size=batch)
            except (DealError, ImportError) as error:
                record.note(f"{label} is left out: {error}")
                continue
            found = _on_host(opened.infer(images[: min(batch, len(expected))]).logits)
            _check(record, label, found, expected)
            seconds = _stream(opened, images[:batch], 3 if record.rehearsal else 10)
            record.row(label, [batch / s for s in seconds], "images/s")


def _on_host(array: Any) -> NDArray[np.float32]:
    values = array.to_host() if hasattr(array, "to_host") else array
    return np.asarray(values, dtype=np.float32)


def _stream(opened: Any, images: NDArray[np.uint8], rounds: int) -> list[float]:
    """Wall seconds of a batch in a row of batches, until the last is done."""
    found = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        for _ in range(5):
            opened.infer(images)
        if hasattr(opened, "stream"):
            opened.stream.synchronize()
        found.append((time.perf_counter() - start) / 5)
    return found[1:]
