"""The C interface under sanitizers: tests/c/fuzz_deal.c, twenty thousand requests a case."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.torture.cases import Case, Finding

__all__ = ["abi"]

_ROOT = Path(__file__).parents[2]
_REQUESTS = 20_000


@contextmanager
def abi(folder: Path) -> Iterator[Case]:
    """Right and wrong requests: a status, and results that add up."""
    program = _ROOT / "build" / "fuzz_deal_sanitized"
    make = ["make", "--silent", str(program.relative_to(_ROOT))]
    subprocess.run(make, cwd=_ROOT, check=True, stdout=subprocess.DEVNULL)

    def case(rng: random.Random) -> Mapping[str, int]:
        arguments = [str(program), str(rng.getrandbits(60)), str(_REQUESTS)]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Finding(f"{' '.join(arguments)} ended with {done.returncode}: {done.stderr}")
        counts: dict[str, int] = json.loads(done.stdout)
        return {"requests": counts["cases"]}

    yield case
