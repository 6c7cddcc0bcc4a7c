"""Signals at random moments of commands: the same command again, as if nothing had happened."""

from __future__ import annotations

import errno
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.torture.cases import Case, Finding
from tests.torture.commands import CALLS, Ended, Operation, Plan, Workshop, open_workshop

__all__ = ["calls", "calls_case", "kill_case", "kills"]

_SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
_STOPPED = {signal.SIGTERM: 143, signal.SIGINT: 130}


@contextmanager
def kills(folder: Path) -> Iterator[Case]:
    """SIGKILL, SIGTERM and SIGINT: by the clock, or before, at or within a call that writes."""
    with open_workshop(folder) as workshop:
        yield lambda rng: kill_case(rng, workshop)


def kill_case(rng: random.Random, workshop: Workshop, *names: str) -> str:
    operation = workshop.choose(rng, *names)
    with workshop.place(operation) as place:
        arguments, done = operation.arguments(place), arguments_text(operation, place)
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            number = rng.choice(_SIGNALS)
            if rng.random() < 0.3:
                moment = rng.uniform(0, 1.1) * operation.seconds
                ended = workshop.runner.run(arguments, place, ending=(moment, number))
                done += f", {number.name} after {moment:.3f} s"
            else:
                at, late = rng.randrange(max(1, operation.calls)), rng.randrange(2)
                plan = Plan(at=at, signal=number, late=late)
                ended = workshop.runner.run(arguments, place, plan)
                done += f", {number.name} at call {at} of {operation.calls}"
            _check_end(ended, number, done)
        workshop.check(operation, place, done)
    return next(name for name, known in workshop.operations.items() if known is operation)


def _check_end(ended: Ended, number: signal.Signals, done: str) -> None:
    """A signal ends a command as shells expect; it may be done before, too."""
    if ended.code not in (0, -number, _STOPPED.get(number, 0)):
        raise Finding(f"{done}: ended with {ended.code}: {ended.stderr}")
    if "Traceback" in ended.stderr:
        raise Finding(f"{done}: {ended.stderr}")


def arguments_text(operation: Operation, place: Path) -> str:
    return " ".join(operation.arguments(place)).replace(str(place), "PLACE")


# ---- failing calls ----------------------------------------------------------------------------

_ERRORS = {
    errno.ENOSPC: ("open", "write", "rename", "fsync", "close", "mkdir"),
    errno.EIO: ("open", "write", "rename", "fsync", "close", "mkdir"),
    errno.EROFS: ("open", "rename", "mkdir"),
    errno.EMFILE: ("open",),
}


@contextmanager
def calls(folder: Path) -> Iterator[Case]:
    """System calls that fail, once or from then on, in the folder that is written."""
    with open_workshop(folder) as workshop:
        yield lambda rng: calls_case(rng, workshop)


def calls_case(rng: random.Random, workshop: Workshop, *names: str) -> str:
    operation = workshop.choose(rng, *names)
    error = rng.choice(list(_ERRORS))
    kinds = sum(CALLS[name] for name in _ERRORS[error])
    with workshop.place(operation) as place:
        at, sticky = rng.randrange(max(1, operation.calls)), rng.randrange(2)
        plan = Plan(kinds=kinds, at=at, error=error, sticky=sticky)
        ended = workshop.runner.run(operation.arguments(place), place, plan)
        done = f"{arguments_text(operation, place)}, {errno.errorcode[error]} at call {at}"
        done += " and from then on" if sticky else ""
        lines = [line for line in ended.stderr.splitlines() if not line.startswith("note: ")]
        if ended.code not in (0, 1, 3):
            raise Finding(f"{done}: ended with {ended.code}: {ended.stderr}")
        if "Traceback" in ended.stderr or "internal error" in ended.stderr:
            raise Finding(f"{done}: {ended.stderr}")
        errors = [line for line in lines if line.startswith("error: ")]
        if ended.code == 1 and (len(errors) != 1 or lines[-1:] != errors):
            raise Finding(f"{done}: not one clear line: {ended.stderr}")
        workshop.check(operation, place, done)
    return "ended by one line" if ended.code == 1 else "done in spite of it"
