"""What the GPU itself does: copies and exponentials, the scale of every bound."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch

from deal.bench.gpu.device import CpuDevice, Device, interleave, open_device
from deal.bench.gpu.machine import find_capability
from deal.bench.gpu.record import Record
from deal.bench.timing import spread

__all__ = ["exponential_program", "rates"]

_SOURCE = Path(__file__).with_name("exp_rate.cu")


def rates(record: Record) -> None:
    """Measure copies within the GPU and from pinned host memory, and the rate of 2^x."""
    device = open_device(record.device)
    _copies(record, device)
    _exponentials(record)


def _copies(record: Record, device: Device) -> None:
    size = 2**20 if record.rehearsal else 2**30
    source = torch.randint(0, 255, (size,), dtype=torch.uint8, device=record.device)
    target = torch.empty_like(source)
    host = device.pinned(torch.randint(0, 255, (size // 4,), dtype=torch.uint8))
    part = torch.empty(size // 4, dtype=torch.uint8, device=record.device)
    candidates = {
        "device to device": lambda: target.copy_(source),
        "host to device": lambda: part.copy_(host, non_blocking=True),
    }
    seconds = interleave(device, candidates, rounds=3 if record.rehearsal else 9)
    record.check("copies", bool((target == source).all() and (part.cpu() == host).all()))
    moved = {"device to device": 2 * size, "host to device": size // 4}
    for name, values in seconds.items():
        record.row(name, spread([1e-9 * moved[name] / s for s in values]), "GB/s")
    record.note("device to device counts bytes read and bytes written; host memory is pinned")


def exponential_program(folder: Path, capability: str) -> Path:
    """Compile ``exp_rate.cu``; RuntimeError with the compiler's words where that fails."""
    program = folder / "exp_rate"
    home = os.environ.get("CUDA_HOME")
    nvcc = shutil.which("nvcc", path=f"{home}/bin" if home else None)
    if nvcc is None:
        raise RuntimeError("no nvcc on PATH or in CUDA_HOME")
    code = f"-gencode=arch=compute_{capability},code=sm_{capability}"
    command = [nvcc, "-O3", "-std=c++17", code, str(_SOURCE), "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip()[-300:])
    return program


def _exponentials(record: Record) -> None:
    with tempfile.TemporaryDirectory(prefix="deal-bench-") as name:
        try:
            program = exponential_program(Path(name), find_capability() or "90")
        except RuntimeError as error:
            record.note(f"exponentials are left out: {error}")
            return
        if record.rehearsal:  # compiled, but nothing here runs it
            count = 2**16
            x = torch.rand(count)
            seconds = [CpuDevice().seconds(x.exp) for _ in range(3)]
            record.row("exponentials", [1e-12 * count / s for s in seconds], "T/s")
            return
        done = subprocess.run([program], capture_output=True, text=True, check=False)
    record.check("exponentials", done.returncode == 0, done.stderr.strip())
    record.row("exponentials", [float(line) for line in done.stdout.split()], "T/s")
