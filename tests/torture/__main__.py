"""Run a campaign: ``make torture MINUTES=20 [SEED=n] [KINDS=images,kills]``.

Prints a line per kind and every finding, and appends the counts to the record from which
``python -m tests.torture.page`` writes docs/reliability.md. Exits with 1 where there are findings.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

from tests.torture.cases import hunt
from tests.torture.kinds import KINDS
from tests.torture.record import RECORD, append


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20, help="of all kinds together")
    parser.add_argument("--seed", type=int, help="drawn and printed unless given")
    parser.add_argument("--kinds", help=f"separated by commas: {','.join(KINDS)}")
    parser.add_argument("--count", type=int, help="cases of each kind, where time does not decide")
    parser.add_argument("--first", type=int, default=0, help="the case to begin with")
    parser.add_argument("--record", type=Path, help=f"where counts go (default: {RECORD})")
    parser.add_argument("--no-record", action="store_true")
    arguments = parser.parse_args()
    chosen = arguments.kinds.split(",") if arguments.kinds else list(KINDS)
    if unknown := set(chosen) - set(KINDS):
        parser.error(f"no kind {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    seed = random.SystemRandom().getrandbits(32) if arguments.seed is None else arguments.seed
    print(f"seed {seed}", flush=True)
    share = 60 * arguments.minutes / sum(KINDS[name].share for name in chosen)
    found = 0
    for name in chosen:
        kind = KINDS[name]
        tally = hunt(
            name,
            kind,
            seed=seed,
            seconds=share * kind.share,
            count=arguments.count,
            first=arguments.first,
        )
        counts = ", ".join(f"{count} {what}" for what, count in sorted(tally.counts.items()))
        print(f"{name}: {tally.cases} in {tally.seconds:.0f} s: {counts}", flush=True)
        for finding in tally.findings:
            print(f"FINDING {finding}", flush=True)
        found += len(tally.findings)
        if not arguments.no_record:
            append(arguments.record or RECORD, name, seed, tally)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
