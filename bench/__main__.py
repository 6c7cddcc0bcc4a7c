"""``python -m deal.bench QUESTION``: the same as ``deal bench QUESTION``."""

import sys

from deal.cli import run
from deal.cli.bench import command

if __name__ == "__main__":
    sys.exit(run(command, sys.argv[1:], "python -m deal.bench"))
