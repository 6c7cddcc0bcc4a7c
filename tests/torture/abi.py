"""The C interface under sanitizers: tests/c/fuzz_deal.c and fuzz_stream.c, many cases at a time."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.torture.cases import Case, Finding

__all__ = ["abi", "streams"]

_ROOT = Path(__file__).parents[2]


@contextmanager
def abi(folder: Path) -> Iterator[Case]:
    """Right and wrong requests: a status, and results that add up."""
    yield _fuzzer("fuzz_deal_sanitized", 20_000, "requests")


@contextmanager
def streams(folder: Path) -> Iterator[Case]:
    """Random rules and frames: within every limit after every push, one last decision per frame."""
    yield _fuzzer("fuzz_stream_sanitized", 5_000, "streams")


def _fuzzer(name: str, count: int, unit: str) -> Case:
    program = _ROOT / "build" / name
    make = ["make", "--silent", str(program.relative_to(_ROOT))]
    subprocess.run(make, cwd=_ROOT, check=True, stdout=subprocess.DEVNULL)

    def case(rng: random.Random) -> Mapping[str, int]:
        arguments = [str(program), str(rng.getrandbits(60)), str(count)]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Finding(f"{' '.join(arguments)} ended with {done.returncode}: {done.stderr}")
        return {unit: json.loads(done.stdout)["cases"]}

    return case
