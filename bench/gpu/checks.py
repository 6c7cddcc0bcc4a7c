"""The GPU tests, and the kernels under NVIDIA's compute-sanitizer. Both need a checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from deal import _native
from deal.bench.gpu.record import Record, SkipError

__all__ = ["sanitizer", "tests"]

_ROOT = Path(__file__).resolve().parents[2]
_TOOLS = ("memcheck", "racecheck")
_FOUND_ERRORS = 9
_REFUSED = "Device not supported"  # by compute-sanitizer, on some virtual machines
# Those that need neither ONNX Runtime nor a decoder, which a bare machine lacks.
_OF_ENGINES = ("test_device.py", "test_torch_cuda.py")


def _checkout() -> Path:
    if not (_ROOT / "tests" / "kernel" / "test_cuda.py").exists():
        raise SkipError("the tests are not here: run it from a checkout, installed with pip -e")
    return _ROOT


def tests(record: Record) -> None:
    """Run every test that needs a GPU."""
    root = _checkout()
    info = _native.build_info()
    record.check("the build has the CUDA kernels", record.rehearsal or "cuda=yes" in info, info)
    files = sorted((root / "tests" / "kernel").glob("test_cuda*.py"))
    files += [root / "tests" / "engines" / name for name in _OF_ENGINES]
    with tempfile.TemporaryDirectory(prefix="deal-bench-") as name:
        found = Path(name) / "tests.xml"
        # Other versions of packages warn of other things: here only the tests themselves count.
        options = ["-q", "-p", "no:cacheprovider", "-o", "filterwarnings=default"]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, f"--junitxml={found}", *map(str, files)],
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
        )
        ran = found.exists()
        record.check("pytest ran", ran, "" if ran else f"{done.stdout[-500:]}{done.stderr[-500:]}")
        suite = ElementTree.parse(found).getroot()
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    reasons = set()
    broken = []
    for case in suite.iter("testcase"):
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            counts["failed"] += 1
            broken.append(case.get("name", "?"))
        elif skipped is not None:
            counts["skipped"] += 1
            reasons.add(skipped.get("message", ""))
        else:
            counts["passed"] += 1
    for outcome, count in counts.items():
        record.row(f"tests {outcome}", [float(count)], "tests")
    for reason in sorted(reasons):
        record.note(f"skipped: {reason}")
    detail = ", ".join(broken)[:500] if broken else f"{counts['passed']} passed"
    record.check("tests", done.returncode == 0 and counts["passed"] > 0, detail)


def sanitizer(record: Record) -> None:
    """Run small cases under memcheck and racecheck: no bad address, no race, the CPU's bits."""
    root = _checkout()
    program = shutil.which("compute-sanitizer")
    if program is None and not record.rehearsal:
        raise SkipError("no compute-sanitizer on PATH; it comes with the CUDA toolkit")
    for tool in _TOOLS:
        prefix = [] if record.rehearsal else _sanitized(str(program), tool)
        limit = max(record.left, 1.0)
        try:
            done = subprocess.run(
                [*prefix, sys.executable, "-m", "tests.helpers.cuda_cases", record.device],
                cwd=root,
                env=os.environ | {"PYTHONPATH": str(root)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=limit,
                check=False,
            )
        except subprocess.TimeoutExpired:
            record.note(f"{tool} was cut after {limit:.0f} s")
            continue
        if _REFUSED in done.stdout:
            raise SkipError(f"compute-sanitizer says of this machine: {_REFUSED}")
        record.check(tool, done.returncode == 0, done.stdout.strip()[-500:])


def _sanitized(program: str, tool: str) -> list[str]:
    return [program, "--tool", tool, "--error-exitcode", str(_FOUND_ERRORS)]
