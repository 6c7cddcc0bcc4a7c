"""How long until the command line answers?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from deal.bench.report import Report, Row
from deal.bench.timing import interleave, spread

__all__ = ["run"]


def run(*, rounds: int = 15) -> Report:
    """Time ``deal-score --help`` as a whole process, beside an interpreter that does nothing."""
    command = [str(Path(sys.executable).with_name("deal-score")), "--help"]
    nothing = [sys.executable, "-c", "pass"]

    def call(arguments: list[str]) -> None:
        subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)

    seconds = interleave(
        {"help": lambda: call(command), "python": lambda: call(nothing)}, rounds=rounds
    )
    return Report(
        question="startup",
        settings={"rounds": rounds},
        rows=(
            Row("deal-score --help", spread(seconds["help"]), "s", "<= 0.3"),
            Row("python -c pass", spread(seconds["python"]), "s"),
        ),
    )
