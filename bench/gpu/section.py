"""One section in a process of its own: ``python -m deal.bench.gpu.section NAME DEVICE …``."""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deal.bench.gpu import machine
from deal.bench.gpu.record import CheckError, Record, SkipError

__all__ = ["SECTIONS", "Section", "main"]


@dataclass(frozen=True)
class Section:
    """A part of the command.

    ``seconds`` is what it may take of the budget; where ``proves``, being cut is a failure.
    """

    function: str
    seconds: float
    proves: bool = False


SECTIONS: Mapping[str, Section] = {
    "tests": Section("checks.tests", 120, proves=True),
    "sanitizer": Section("checks.sanitizer", 120, proves=True),
    "rates": Section("rates.rates", 40),
    "kernel": Section("kernel.kernel", 110),
    "head": Section("kernel.head", 40),
    "end to end": Section("whole.whole", 110),
    "decoding": Section("decoding.decoding", 40),
    "engines": Section("engines.engines", 150),
}
"""In the order in which they run."""


def main(arguments: list[str]) -> int:
    """Run a section: its name, the device, the file it writes, its seconds, earlier medians."""
    name, device, path, seconds, earlier = arguments
    record = Record(Path(path), device, float(seconds), json.loads(earlier))
    module, _, function = SECTIONS[name].function.partition(".")
    try:
        getattr(importlib.import_module(f"deal.bench.gpu.{module}"), function)(record)
    except SkipError as error:
        record.write("skipped", str(error))
    except CheckError as error:
        print(error, file=sys.stderr)
        return 1
    except Exception:
        record.write("crashed", traceback.format_exc()[-2000:])
        raise
    record.write("clocks", machine.clocks())
    record.write("finished", True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
