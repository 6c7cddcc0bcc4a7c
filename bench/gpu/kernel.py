"""Statistics and difficulty head on the GPU: agreement, time, bounds, peers."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import deal
from deal.bench.gpu.abi import Call
from deal.bench.gpu.device import Device, interleave, open_device
from deal.bench.gpu.issue_bound import ISSUE_CAPABILITY, Gpu, Kernels, bounds
from deal.bench.gpu.machine import find_capability, max_gigahertz
from deal.bench.gpu.peers import attention, batched_statistics
from deal.bench.gpu.record import Record
from deal.bench.kernel import SHAPES, smooth_logits
from deal.bench.timing import ratios, spread
from deal.kernel.statistics import difficulty_grid

__all__ = ["head", "kernel"]

_REHEARSED = {
    "camvid": (5, (12, 16), (48, 64), (6, 8)),
    "cityscapes": (7, (17, 17), (65, 65), (9, 9)),
}
_CELL = 40
_MEANS = 1e-5
_TIES = 1e-3
_HEAD = 1e-5
_TARGETS = {"camvid": "<= 3", "cityscapes": "<= 12"}
_LATENCY = "<= 0.2"
_ISSUE_TARGET = "<= 2"
_COMPILING = 60.0


@dataclass(frozen=True)
class _Inputs:
    """Arguments of one shape, on the device."""

    logits: torch.Tensor
    difficulty: torch.Tensor
    size: tuple[int, int]
    head: deal.DifficultyHead


def _inputs(record: Record, shape: str, batch: int, dtype: torch.dtype) -> _Inputs:
    classes, small, size, grid = (_REHEARSED if record.rehearsal else SHAPES)[shape]
    rng = np.random.default_rng(0)
    head = deal.DifficultyHead(0.8, rng.normal(size=classes), -0.4, grid)
    distinct = torch.from_numpy(smooth_logits(classes, small, min(batch, 8)))
    logits = distinct.repeat(-(-batch // len(distinct)), 1, 1, 1)[:batch]
    difficulty = torch.from_numpy(rng.normal(size=(batch, 1, *grid)).astype(np.float32))
    where = record.device
    return _Inputs(logits.to(where, dtype), difficulty.to(where), size, head)


def kernel(record: Record) -> None:
    """Time the statistics at batches of 32, 8 and 1, in fp16 and fp32, of both shapes."""
    device = open_device(record.device)
    batches = (3, 1) if record.rehearsal else (32, 8, 1)
    code = _machine_code(record)
    for shape in _TARGETS:
        for dtype in (torch.float16, torch.float32):
            for batch in batches:
                label = f"{shape}, {str(dtype).removeprefix('torch.')}, batch {batch}"
                z = _inputs(record, shape, batch, dtype)
                seconds = _time(record, device, shape, label, z)
                _bounds(record, label, z, seconds)
                if code is not None:
                    _issue_bound(record, label, z, seconds, *code)
    for shape in _TARGETS:
        _beside_pytorch(record, device, shape, batches[0])


def _calls(z: _Inputs) -> dict[str, Call]:
    return {
        "statistics": Call(z.logits, z.size, difficulty=z.difficulty),
        "statistics and regions": Call(z.logits, z.size, difficulty=z.difficulty, cell=_CELL),
        "statistics, regions and lines": Call(
            z.logits, z.size, difficulty=z.difficulty, cell=_CELL, lines=True
        ),
        "head and statistics": Call(z.logits, z.size, head=z.head),
        "head": Call(z.logits, z.size, head=z.head, grid_only=True),
    }


def _time(record: Record, device: Device, shape: str, label: str, z: _Inputs) -> Sequence[float]:
    """Check and time all calls; returns seconds of the statistics alone."""
    calls = _calls(z)
    for call in calls.values():
        call.run(device.stream)
    _check(record, label, z, calls)
    graphs = {name: device.graph(_launch(call, device)) for name, call in calls.items()}
    rounds = 3 if record.rehearsal else 30
    seconds = interleave(device, graphs, rounds=rounds)
    for call in calls.values():
        call.finish()
    _check(record, f"{label}, graph replayed", z, calls)
    batch = len(z.logits)
    for name, values in seconds.items():
        target = _TARGETS[shape] if name == "statistics" and _is_goal(z) else None
        us = spread(values).scaled(1e6 / batch)
        record.row(f"{name}: {label}", us, "µs/image", target)
    if batch == 1:
        whole = _wall(device, calls["head and statistics"], 20 if record.rehearsal else 200)
        record.row(f"logits to tables, wall: {label}", spread(whole).scaled(1e3), "ms", _LATENCY)
    # Lines are traced on the host, by the call that waits.
    whole = _wall(device, calls["statistics, regions and lines"], 3 if record.rehearsal else 10)
    record.row(f"with lines, wall: {label}", spread(whole).scaled(1e6 / batch), "µs/image")
    for call in calls.values():
        call.close()
    return seconds["statistics"]


def _is_goal(z: _Inputs) -> bool:
    return z.logits.dtype == torch.float16 and len(z.logits) >= 32


def _launch(call: Call, device: Device) -> Callable[[], None]:
    return lambda: call.enqueue(device.stream)


def _wall(device: Device, call: Call, rounds: int) -> list[float]:
    found = []
    for _ in range(rounds):
        device.synchronize()
        start = time.perf_counter()
        call.run(device.stream)
        found.append(time.perf_counter() - start)
    return found


def _bounds(record: Record, label: str, z: _Inputs, seconds: Sequence[float]) -> None:
    """How far from the least time that reading the logits, or their exponentials, take."""
    copy, exps = record.earlier.get("device to device"), record.earlier.get("exponentials")
    if copy is None or exps is None:
        record.note(f"{label}: no bounds, since the rates were not measured")
        return
    read = (z.logits.nbytes + z.difficulty.nbytes) / (copy * 1e9)
    batch, classes = z.logits.shape[:2]
    raised = batch * classes * z.size[0] * z.size[1] / (exps * 1e12)
    bound = max(read, raised)
    of = "reading the logits" if read > raised else "one exponential a pixel and class"
    record.row(f"bound ({of}): {label}", [1e6 * bound / batch], "µs/image")
    record.row(f"statistics / bound: {label}", spread(seconds).scaled(1 / bound), "ratio")


def _machine_code(record: Record) -> tuple[Kernels, Gpu] | None:
    """The kernels' instructions and what issues them, where both are known."""
    if record.rehearsal:
        return None
    capability, gigahertz = find_capability(), max_gigahertz()
    if capability != ISSUE_CAPABILITY or gigahertz is None:
        record.note(f"no bound by issue: rates are known of compute capability {ISSUE_CAPABILITY}")
        return None
    properties = torch.cuda.get_device_properties(record.device)
    try:
        kernels = Kernels(capability)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        record.note(f"no bound by issue: {error}")
        return None
    return kernels, Gpu(properties.name, properties.multi_processor_count, gigahertz)


def _issue_bound(
    record: Record, label: str, z: _Inputs, seconds: Sequence[float], kernels: Kernels, gpu: Gpu
) -> None:
    """How far from the least time that issuing the instructions takes, at the highest clock."""
    height, width = z.logits.shape[2:]
    grid = z.difficulty.shape[2], z.difficulty.shape[3]
    dtype = str(z.logits.dtype).removeprefix("torch.")
    parts = bounds(kernels, z.logits.shape[1], (height, width), z.size, grid, dtype, gpu)
    us = sum(part.microseconds for part in parts)
    record.row(f"bound (issue of instructions): {label}", [us], "µs/image")
    record.row(
        f"statistics / bound (issue of instructions): {label}",
        spread(seconds).scaled(1e6 / len(z.logits) / us),
        "ratio",
        _ISSUE_TARGET if _is_goal(z) else None,
    )


def _check(record: Record, label: str, z: _Inputs, calls: dict[str, Call]) -> None:
    """Hold the first two images to the CPU's tables of the same logits."""
    few = slice(0, 2)
    host = z.logits[few].float().cpu().numpy()
    given = z.difficulty[few].cpu().numpy()
    expected = {
        "statistics, regions and lines": deal.score_logits(
            host, size=z.size, difficulty=given, regions=deal.Grid(_CELL)
        ),
        "head and statistics": deal.score_logits(host, size=z.size, head=z.head),
    }
    for name, stats in expected.items():
        tables = [(calls[name].images, stats.images), (calls[name].regions, stats.regions or {})]
        for found, wanted in tables:
            error = max(
                (
                    _error(found[column][few], wanted[column])
                    for column in found
                    if column in wanted
                ),
                default=0.0,
            )
            kind = "images" if found is tables[0][0] else "regions"
            if found:
                passed = error <= 1
                record.check(f"{name}, {kind}: {label}", passed, f"{error:.2g} of the tolerance")
    found_grid = calls["head"].grid
    assert found_grid is not None
    wanted_grid = difficulty_grid(host, z.head)
    scale = abs(z.head.gamma) * np.ptp(np.asarray(z.head.weight))
    error = float(np.abs(found_grid[few].cpu().numpy() - wanted_grid).max() / scale)
    record.check(f"head: {label}", error <= _HEAD, f"{error:.2g} of γ·(max w − min w)")


def _error(found: Any, wanted: Any) -> float:
    """Error as a share of what is tolerated: means 1e-5, counts and sums 1e-3 of their total."""
    if np.asarray(wanted).dtype.kind == "f" and np.abs(wanted).max(initial=0) <= 10:
        return float(np.abs(found - wanted).max(initial=0) / _MEANS)
    total = np.abs(wanted).sum()
    return float(np.abs(found - wanted).sum() / (total * _TIES)) if total else float(np.any(found))


def _beside_pytorch(record: Record, device: Device, shape: str, batch: int) -> None:
    """The same statistics by PyTorch on the same logits, eager and compiled."""
    z = _inputs(record, shape, batch, torch.float16)
    ours = Call(z.logits, z.size, difficulty=z.difficulty, cell=_CELL)
    ours.run(device.stream)

    def eager() -> dict[str, torch.Tensor]:
        return batched_statistics(z.logits, z.difficulty, z.size, _CELL)

    peers: dict[str, Callable[[], dict[str, torch.Tensor]]] = {"eager PyTorch": eager}
    if record.left > _COMPILING:
        torch._dynamo.reset()
        peers["compiled PyTorch"] = torch.compile(eager)
    else:
        record.note(f"{shape}: compiled PyTorch is left out: {record.left:.0f} s are left")
    candidates: dict[str, Callable[[], object]] = {"kernel": device.graph(_launch(ours, device))}
    with torch.inference_mode():
        for name, peer in list(peers.items()):
            try:
                found = peer()
            except Exception as error:  # compilers differ by machine; the peer is optional
                record.note(f"{shape}: {name} is left out: {_first_line(error)}")
                continue
            worst = max(
                float(np.abs(ours.images[name] - found[name].cpu().numpy()).max())
                for name in found
                if name.endswith("_mean")
            )
            record.check(f"{name}: {shape}", worst <= 10 * _MEANS, f"means differ by {worst:.2g}")
            candidates[name] = peer
        seconds = interleave(device, candidates, rounds=3 if record.rehearsal else 15)
    ours.finish()
    ours.close()
    for name, values in seconds.items():
        if name == "kernel":
            continue
        us = spread(values).scaled(1e6 / batch)
        record.row(
            f"{name}, statistics and regions: {shape}, float16, batch {batch}", us, "µs/image"
        )
        ratio = ratios(values, seconds["kernel"])
        record.row(f"{name} / kernel: {shape}, float16, batch {batch}", ratio, "ratio")


def head(record: Record) -> None:
    """Time the difficulty head alone beside PyTorch's attention, fused and as released."""
    device = open_device(record.device)
    batches = (2, 1) if record.rehearsal else (32, 1)
    for shape in _TARGETS:
        for batch in batches:
            _head_beside_pytorch(record, device, shape, batch)


def _head_beside_pytorch(record: Record, device: Device, shape: str, batch: int) -> None:
    classes, _, _, grid = (_REHEARSED if record.rehearsal else SHAPES)[shape]
    given = _inputs(record, shape, batch, torch.float32).head
    logits = torch.from_numpy(smooth_logits(classes, grid, batch)).to(record.device)
    weight = torch.tensor(np.asarray(given.weight), dtype=torch.float32, device=record.device)
    call = Call(logits, grid, head=given, grid_only=True)
    call.run(device.stream)
    assert call.grid is not None
    scale = abs(given.gamma) * np.ptp(np.asarray(given.weight))
    candidates: dict[str, Callable[[], object]] = {"head": device.graph(_launch(call, device))}
    label = f"{shape}, float32, batch {batch}"
    with torch.inference_mode():
        for name, fused in (("fused attention of PyTorch", True), ("N×N matrix of PyTorch", False)):

            def peer(fused: bool = fused) -> torch.Tensor:
                return attention(logits, weight, given.gamma, given.bias, fused=fused)

            error = float((peer() - call.grid).abs().max()) / scale
            record.check(f"{name}: {label}", error <= 10 * _HEAD, f"{error:.2g} of the scale")
            candidates[name] = peer
        seconds = interleave(device, candidates, rounds=3 if record.rehearsal else 15)
    call.finish()
    call.close()
    for name, values in seconds.items():
        record.row(f"{name}, on its grid: {label}", spread(values).scaled(1e6 / batch), "µs/image")
        if name != "head":
            record.row(f"{name} / head: {label}", ratios(values, seconds["head"]), "ratio")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
