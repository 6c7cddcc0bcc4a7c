"""What a kind of torture is, and how its cases are run, counted and made again.

A case is a function of a random generator that gives the name of its outcome, or raises. Case I of
a kind under a seed has a generator of its own, so that a finding is made again by its three.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import resource
import signal
import struct
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Case", "Finding", "Kind", "Tally", "hunt"]

Case = Callable[[random.Random], "str | Mapping[str, int]"]
"""One try: the name of its outcome, or counts of several outcomes; raises where deal is wrong."""

_MOST_FINDINGS = 20
_REPORT_SECONDS = 0.5
_CASE_SECONDS = 60
_NO_CASE = 70  # how the process of the cases ends when it fails outside of them
_ROOM = 3 * 2**30


class Finding(Exception):  # noqa: N818
    """Deal did what it promises not to do."""


@dataclass(frozen=True)
class Kind:
    """One kind of torture.

    Attributes
    ----------
    open : callable
        Folder → context manager of the case function.
    what : str
        One phrase for the page.
    goal : int
        Cases that are wanted over all runs.
    share : int
        Of the time of a run, beside the shares of the others.
    caged : bool
        Cases run in a process of their own, which may take 3 GiB and 60 s a case: a crash, a
        hang and a blow-up of memory are findings.
    """

    open: Callable[[Path], AbstractContextManager[Case]]
    what: str
    goal: int
    share: int = 1
    caged: bool = False


@dataclass
class Tally:
    """What came out of the cases of one kind."""

    cases: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, other: Tally) -> None:
        """Take in what another has counted; time is not added."""
        self.cases += other.cases
        self.counts.update(other.counts)
        self.findings += other.findings


def hunt(
    name: str,
    kind: Kind,
    *,
    seed: int,
    seconds: float = 60.0,
    count: int | None = None,
    first: int = 0,
    folder: Path | None = None,
) -> Tally:
    """Run cases ``first``, ``first + 1``, … until the time or the count is over."""
    begun = time.monotonic()
    limits = _Limits(begun + seconds, None if count is None else first + count)
    with tempfile.TemporaryDirectory(prefix="torture-", dir=folder) as place:
        if kind.caged:
            tally = _hunt_caged(name, kind, seed, first, limits, Path(place))
        else:
            with kind.open(Path(place)) as case:
                tally = Tally()
                _run(name, case, seed, first, limits, tally.add)
    tally.seconds = time.monotonic() - begun
    return tally


@dataclass(frozen=True)
class _Limits:
    deadline: float
    stop: int | None

    def over(self, index: int) -> bool:
        return time.monotonic() >= self.deadline or (self.stop is not None and index >= self.stop)


def _run(
    name: str,
    case: Case,
    seed: int,
    index: int,
    limits: _Limits,
    report: Callable[[Tally], None],
    before: Callable[[int], None] = lambda index: None,
) -> None:
    reported, tally, found = time.monotonic(), Tally(), 0
    while not limits.over(index) and found < _MOST_FINDINGS:
        before(index)
        outcome, finding = _one(name, case, seed, index)
        tally.cases += outcome.total()
        tally.counts.update(outcome)
        if finding:
            tally.findings.append(finding)
            found += 1
        index += 1
        if time.monotonic() - reported > _REPORT_SECONDS:
            report(tally)
            reported, tally = time.monotonic(), Tally()
    report(tally)


def _one(name: str, case: Case, seed: int, index: int) -> tuple[Counter[str], str | None]:
    where = f"--kinds {name} --seed {seed} --first {index} --count 1"
    try:
        outcome = case(random.Random(f"{name} {seed} {index}"))
    except Exception as error:
        said = str(error) if isinstance(error, Finding) else traceback.format_exc()
        return Counter({"wrong": 1}), f"{where}: {said}"
    return Counter({outcome: 1} if isinstance(outcome, str) else outcome), None


# ---- the cage ---------------------------------------------------------------------------------


def _hunt_caged(
    name: str, kind: Kind, seed: int, index: int, limits: _Limits, folder: Path
) -> Tally:
    tally = Tally()
    place = mmap.mmap(-1, 8)  # the case that runs
    while not limits.over(index) and len(tally.findings) < _MOST_FINDINGS:
        place[:] = struct.pack("q", index - 1)
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(reader)
            _live_in_cage(name, kind, seed, index, limits, folder, writer, place)
        os.close(writer)
        with open(reader, encoding="utf-8") as reports:
            for line in reports:
                values = json.loads(line)
                values["counts"] = Counter(values["counts"])
                tally.add(Tally(**values))
        status = os.waitpid(child, 0)[1]
        if not status:
            break
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == _NO_CASE:
            raise RuntimeError(f"{name}: the campaign's own process failed, see above")
        index = struct.unpack("q", place[:])[0] + 1
        where = f"--kinds {name} --seed {seed} --first {index - 1} --count 1"
        ended = (
            signal.strsignal(os.WTERMSIG(status))
            if os.WIFSIGNALED(status)
            else f"exit {os.WEXITSTATUS(status)}"
        )
        tally.findings.append(f"{where}: the process ended: {ended}")
        tally.add(Tally(1, Counter({"wrong": 1})))
    return tally


def _live_in_cage(
    name: str,
    kind: Kind,
    seed: int,
    index: int,
    limits: _Limits,
    folder: Path,
    writer: int,
    place: mmap.mmap,
) -> None:
    code = _NO_CASE
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        with open("/proc/self/statm", encoding="ascii") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + _ROOM, used + _ROOM))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

        def report(tally: Tally) -> None:
            values = {"cases": tally.cases, "counts": tally.counts, "findings": tally.findings}
            os.write(writer, json.dumps(values).encode() + b"\n")

        def before(index: int) -> None:
            place[:] = struct.pack("q", index)
            signal.alarm(_CASE_SECONDS)

        with kind.open(folder) as case:
            _run(name, case, seed, index, limits, report, before)
            signal.alarm(0)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
