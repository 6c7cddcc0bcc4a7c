"""The least time the kernel of the statistics can take on a GPU, from its machine code.

Compiles ``csrc/cuda/pixels_cuda.cu``, follows the instructions that a pixel meets in it and divides
them by what a multiprocessor issues a clock. ``python -m deal.bench.gpu.issue_bound`` prints the
table; it needs nvcc and cuobjdump, but no GPU.

What is counted: the loop over rows of ``score_pixels`` for a request without regions and mask, its
side that loads new rows of logits as often as a raster meets them, and likewise the loops of
``make_difficulty`` and ``count_boundary``. What is not: zeroing and flushing of shared memory, the
slow way of division (denormals), conflicts of atomics, latencies. Issue rates are those of compute
capability 9.0 in the CUDA C++ programming guide, "Throughput of native arithmetic instructions".
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ISSUE_CAPABILITY", "Bound", "Gpu", "Kernels", "bounds"]

_CSRC = Path(__file__).parents[2] / "csrc"
_FLAGS = ("-std=c++17", "-O3", "--fmad=false", "--prec-div=true")  # as in setup.py

ISSUE_CAPABILITY = "90"
"""Compute capability that the rates below are of."""

# Lanes a clock of one multiprocessor; what is not named is limited by issue alone.
_ISSUE = 128
_PIPES = {
    "fma": (128, r"FFMA|FADD|FMUL|HADD2|HFMA2"),
    "fma, heavy": (64, r"IMAD"),
    "alu": (
        64,
        r"FMNMX|FSETP|FSEL|ISETP|IADD3|VIADD|LOP3|PLOP3|LEA|SHF|SEL|VIMNMX|IMNMX|PRMT|MOV|I2FP",
    ),
    "conversion": (16, r"MUFU|F2I|I2F(?!P)|F2F|POPC|FLO|BREV|REDUX"),
    "memory": (32, r"LD|ST|ATOM|RED(?!UX)|SHFL"),
}
# Classes of score_pixels<dtype, least, most>.
_BUCKETS = ((1, 8), (9, 12), (13, 16), (17, 20), (21, 24), (25, 28))
_DTYPES = {"float32": 0, "float16": 1, "bfloat16": 2}  # deal_dtype
_THREADS, _ROWS = 128, 16  # cuda/raster_cuda.h
_SLOW_WAY = 12  # instructions before and after the call of a subroutine
REGISTERS, SHARED, BLOCKS = 65536, 227 * 1024, 32  # of a multiprocessor, for blocks


@dataclass(frozen=True)
class Gpu:
    """What issues instructions."""

    name: str = "H200"
    multiprocessors: int = 132
    gigahertz: float = 1.755


@dataclass(frozen=True)
class Resources:
    """What ptxas gives a kernel."""

    registers: int
    spilled: int  # bytes

    def blocks(self, shared: int) -> int:
        """Blocks at a time on a multiprocessor, each with so many bytes of shared memory."""
        warps = _THREADS // 32
        by_registers = REGISTERS // (-(-self.registers * 32 // 256) * 256 * warps)
        return min(by_registers, SHARED // (shared + 1024), BLOCKS)


@dataclass(frozen=True)
class Bound:
    """Instructions of a kernel and the time they take at least."""

    kernel: str
    per_pixel: float  # instructions
    lanes: dict[str, float]  # clocks a pixel and multiprocessor, by pipe and "issue"
    resources: Resources
    microseconds: float  # an image

    @property
    def limit(self) -> str:
        """The pipe that takes longest."""
        return max(self.lanes, key=lambda pipe: self.lanes[pipe])


# ---- machine code -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Instruction:
    address: int
    predicate: str
    name: str
    target: int | None  # of a branch

    def pipe(self) -> str | None:
        for pipe, (_, names) in _PIPES.items():
            if re.match(names, self.name):
                return pipe
        return None


_LINE = re.compile(r"/\*([0-9a-f]{4,})\*/\s+(@!?U?P\w+ )?\s*([A-Z0-9][\w.]*)([^;]*);")


def _read_sass(text: str) -> dict[str, list[_Instruction]]:
    """The instructions of every function, by its mangled name."""
    functions: dict[str, list[_Instruction]] = {}
    for part in re.split(r"\n\s*Function : ", text)[1:]:
        code = []
        for found in _LINE.finditer(part):
            address, predicate, name, operands = found.groups()
            target = re.search(r"0x([0-9a-f]+)\s*$", operands) if name.startswith("BRA") else None
            # BRA P4, X: a second predicate stands among the operands.
            condition = (predicate or "") + (" P" if re.match(r"\s*!?P\d", operands) else "")
            branch = int(target[1], 16) if target else None
            code.append(
                _Instruction(
                    int(address, 16),
                    condition.strip() if name.startswith("BRA") else (predicate or "").strip(),
                    name,
                    branch,
                )
            )
        functions[part.split("\n", 1)[0].strip()] = code
    return functions


def _loops(code: Sequence[_Instruction]) -> list[tuple[int, int]]:
    """First and last index of every loop, in the order of their ends.

    Jumps back without a condition are returns of parts that lie apart from where they belong.
    """
    at = {instruction.address: i for i, instruction in enumerate(code)}
    return [
        (at[line.target], i)
        for i, line in enumerate(code)
        if line.target is not None
        and line.predicate
        and line.target < line.address
        and line.target in at
    ]


def _walk(code: Sequence[_Instruction], first: int, last: int, skipped: int = 0) -> Counter[str]:
    """Instructions met from one index to another, by name.

    A part is passed by if it calls a subroutine (the slow way of division) or sums over a warp
    (regions), and the last ``skipped`` of the parts that begin by asking whether a class exists:
    branches that have their target in common.
    """
    at = {instruction.address: i for i, instruction in enumerate(code)}
    inner = [
        line
        for line in code[first:last]
        if line.target is not None and line.predicate and line.address < line.target
    ]
    common: dict[int, list[int]] = {}
    for line in inner:
        assert line.target is not None
        common.setdefault(line.target, []).append(line.address)
    met: Counter[str] = Counter()
    i = first
    while i <= last:
        line = code[i]
        met[line.name] += 1
        i += 1
        if line.target is None or line.address >= line.target or line.target not in at:
            continue
        to = at[line.target]
        if to > last:
            continue
        chain = sorted(common.get(line.target, []))
        part = code[i:to]
        taken = (
            not line.predicate
            or any(re.match(r"REDUX|VOTE|MATCH", other.name) for other in part)
            or (len(part) < _SLOW_WAY and any(other.name.startswith("CALL") for other in part))
        )
        if len(chain) > 1 and skipped and line.address in chain[-skipped:]:
            taken = True
        if taken:
            i = to
    return met


def _clocks(met: dict[str, float]) -> dict[str, float]:
    """Clocks of a multiprocessor for one lane's instructions, by pipe and for their issue."""
    clocks = {"issue": sum(met.values()) / _ISSUE}
    for name, count in met.items():
        for pipe, (lanes, names) in _PIPES.items():
            if re.match(names, name):
                clocks[pipe] = clocks.get(pipe, 0.0) + count / lanes
                break
    return clocks


# ---- kernels ----------------------------------------------------------------------------------


class Kernels:
    """The machine code of ``csrc/cuda/pixels_cuda.cu`` for one architecture."""

    def __init__(
        self, arch: str = ISSUE_CAPABILITY, nvcc: str = "nvcc", cuobjdump: str = "cuobjdump"
    ) -> None:
        home = os.environ.get("CUDA_HOME")
        if home and shutil.which(nvcc) is None:
            nvcc, cuobjdump = f"{home}/bin/{nvcc}", f"{home}/bin/{cuobjdump}"
        for tool in (nvcc, cuobjdump):
            if shutil.which(tool) is None:
                raise FileNotFoundError(
                    f"{tool}: not on PATH; both come with the CUDA toolkit "
                    "(cuobjdump also as the wheels nvidia-cuda-cuobjdump, nvidia-cuda-nvdisasm)"
                )
        with tempfile.TemporaryDirectory() as folder:
            cubin = str(Path(folder) / "pixels.cubin")
            source = str(_CSRC / "cuda/pixels_cuda.cu")
            code = f"-arch=sm_{arch}"
            command = [nvcc, *_FLAGS, f"-I{_CSRC}", code, "-cubin", "-Xptxas", "-v", source]
            told = subprocess.run([*command, "-o", cubin], check=True, capture_output=True)
            sass = subprocess.run(
                [cuobjdump, "-sass", cubin], check=True, capture_output=True, text=True
            )
        self._code = _read_sass(sass.stdout)
        self._resources = _read_resources(told.stderr.decode() + told.stdout.decode())

    def _function(self, pattern: str) -> str:
        return next(name for name in self._code if pattern in name)

    def _rows(self, name: str) -> tuple[tuple[int, int], tuple[int, int]]:
        """The loop over rows of a column, and the one around it that loads logits."""
        code = self._code[name]
        loops = sorted(_loops(code), key=lambda loop: loop[1] - loop[0], reverse=True)
        around = loops[0]
        inside = max(
            (loop for loop in loops[1:] if around[0] <= loop[0] and loop[1] <= around[1]),
            key=lambda loop: loop[1] - loop[0],
        )
        return inside, around

    def statistics(self, classes: int, dtype: str, loads: float) -> tuple[str, dict[str, float]]:
        """Name of the kernel and its instructions a pixel; loads of logits a row."""
        least, most = next(bucket for bucket in _BUCKETS if bucket[0] <= classes <= bucket[1])
        name = self._function(f"score_pixelsILi{_DTYPES[dtype]}ELi{least}ELi{most}E")
        return name, self._columns(name, loads, most - classes)

    def difficulty(self, loads: float) -> tuple[str, dict[str, float]]:
        """Likewise of the difficulty of every pixel."""
        name = self._function("make_difficulty")
        return name, self._columns(name, loads, 0)

    def boundary(self) -> tuple[str, dict[str, float]]:
        """Likewise of the boundary pixels, four at a time."""
        name = self._function("count_boundary_by_words")
        code = self._code[name]
        first, last = max(_loops(code), key=lambda loop: loop[1] - loop[0])
        return name, {key: count / 4 for key, count in _walk(code, first, last).items()}

    def _columns(self, name: str, loads: float, skipped: int) -> dict[str, float]:
        code = self._code[name]
        inside, around = self._rows(name)
        met = {key: float(count) for key, count in _walk(code, *inside, skipped).items()}
        outside = _walk(code, around[0], inside[0] - 1) + _walk(code, inside[1] + 1, around[1])
        for key, count in outside.items():
            met[key] = met.get(key, 0.0) + count * loads
        return met

    def resources(self, name: str) -> Resources:
        """Registers and spilled bytes of a kernel."""
        return self._resources[name]


def _read_resources(text: str) -> dict[str, Resources]:
    found = {}
    for part in text.split("Compiling entry function '")[1:]:
        spilled = sum(map(int, re.findall(r"(\d+) bytes spill", part)))
        registers = re.search(r"Used (\d+) registers", part)
        assert registers is not None
        found[part.split("'", 1)[0]] = Resources(int(registers[1]), spilled)
    return found


# ---- bounds -----------------------------------------------------------------------------------


def _loads_a_row(logits: int, raster: int, align_corners: bool = True) -> float:
    """How often a row of the raster meets other rows of logits, blocks of 16 rows on their own."""
    scale = (logits - 1) / max(raster - 1, 1) if align_corners and raster > 1 else logits / raster
    loads = 0
    for y in range(raster):
        rows = [
            max(0.0, k * scale if align_corners else (k + 0.5) * scale - 0.5) for k in (y - 1, y)
        ]
        held, wanted = ((int(row), row > int(row)) for row in rows)
        loads += y % _ROWS == 0 or held != wanted
    return loads / raster


def bounds(
    kernels: Kernels,
    classes: int,
    logits: tuple[int, int],
    raster: tuple[int, int],
    grid: tuple[int, int] | None = None,
    dtype: str = "float16",
    gpu: Gpu | None = None,
) -> list[Bound]:
    """Statistics, difficulty and boundaries of one image of a large batch; ``grid`` of difficulty.

    Sums of ``microseconds`` are what ``statistics`` of ``make gpu`` cannot go below.
    """
    gpu = gpu or Gpu()
    height, width = raster
    pixels = height * -(-width // 32) * 32  # whole warps of a row
    parts = [
        kernels.statistics(classes, dtype, _loads_a_row(logits[0], height)),
        kernels.difficulty(_loads_a_row((grid or logits)[0], height)),
        kernels.boundary(),
    ]
    found = []
    for name, met in parts:
        clocks = _clocks(met)
        seconds = pixels * max(clocks.values()) / (gpu.multiprocessors * gpu.gigahertz * 1e9)
        label = re.search(r"score_pixels|make_difficulty|count_boundary_by_words", name)
        assert label is not None
        found.append(
            Bound(label[0], sum(met.values()), clocks, kernels.resources(name), seconds * 1e6)
        )
    return found


def shared_bytes(classes: int) -> int:
    """Shared memory of a block of ``score_pixels`` without regions."""
    most = next(most for least, most in _BUCKETS if least <= classes <= most)
    return 4 * (4 * most * 32 + 3 * 240)


SHAPES = {
    "camvid": (11, (45, 60), (360, 480), (60, 80)),
    "camvid, light": (11, (90, 120), (360, 480), (60, 80)),
    "cityscapes": (19, (86, 86), (688, 688), (86, 86)),
    "cityscapes, light": (19, (172, 172), (688, 688), (86, 86)),
}


def main() -> int:
    """Print the bounds of the shapes that have a target."""
    try:
        kernels = Kernels()
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 1
    gpu = Gpu()
    print(f"{gpu.name}: {gpu.multiprocessors} multiprocessors at {gpu.gigahertz} GHz, float16")
    for label, (classes, logits, raster, grid) in SHAPES.items():
        parts = bounds(kernels, classes, logits, raster, grid)
        total = sum(part.microseconds for part in parts)
        print(f"{label}: C = {classes}, logits {logits}, raster {raster}: {total:.2f} µs an image")
        for part in parts:
            of_class = f" ({part.per_pixel / classes:.1f} a class)" if part is parts[0] else ""
            shared = shared_bytes(classes) if part is parts[0] else 0
            blocks = part.resources.blocks(shared)
            clocks = ", ".join(f"{pipe} {value:.2f}" for pipe, value in sorted(part.lanes.items()))
            print(
                f"  {part.kernel}: {part.per_pixel:.0f} instructions a pixel{of_class}, "
                f"{part.microseconds:.2f} µs by {part.limit} (clocks a pixel: {clocks}); "
                f"{part.resources.registers} registers, {part.resources.spilled} bytes spilled, "
                f"{shared} bytes shared, {blocks * _THREADS // 32} of 64 warps"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
