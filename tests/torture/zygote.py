"""A process that has imported what commands need, and forks one child per command.

Started by :mod:`tests.torture.commands`. A line of stdin is a command as JSON; two lines of stdout
answer it: the child's process id when it starts, its status when it has ended.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import sys
from pathlib import Path

# onnxruntime is not among them: it starts a thread, which a child would lack.
_ALWAYS = (
    *("numpy", "pyarrow.parquet", "PIL.Image", "simplejpeg", "rich.console", "rich.table", "onnx"),
    *("deal.run.pipeline", "deal.selection", "deal.fitting", "deal.cli.score", "deal.cli.select"),
    *("deal.cli.fit_head", "deal.cli.export"),
)


def prepare(modules: list[str]) -> None:
    """Import once what every child needs."""
    for module in (*_ALWAYS, *modules):
        importlib.import_module(module)
    hasten()
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        raise RuntimeError("one of the modules has started a thread")


def hasten() -> None:
    """Every row is a part at once, and what another process left is removed at once."""
    import deal.machine.files
    import deal.run.ledger

    deal.run.ledger._FLUSH_SECONDS = 0
    deal.machine.files._LEFT_OVER = 0


def live(request: dict) -> int:
    """Run a command as its own process would, with calls that fail where the request says so."""
    from deal import cli
    from deal.cli.ending import end_at_signals

    for descriptor, name in ((1, request["stdout"]), (2, request["stderr"])):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    file = os.open(request["counter"], os.O_RDWR)
    plan = request["plan"]
    ctypes.CDLL(None).torture_arm(
        os.fsencode(request["folder"]),
        plan["kinds"],
        ctypes.c_long(plan["at"]),
        plan["error"],
        plan["sticky"],
        plan["signal"],
        plan["late"],
        file,
    )
    code = cli.run(cli.deal, request["arguments"], "deal")
    end_at_signals()
    return code


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    prepare(sys.argv[1:])
    print("ready", file=answers)
    while line := sys.stdin.readline():
        child = os.fork()
        if not child:
            return live(json.loads(line))
        print(child, file=answers)
        print(os.waitpid(child, 0)[1], file=answers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
