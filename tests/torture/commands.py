"""The commands whose ends are tortured: small, of equal bytes at every run, and what they leave.

Commands are children of a process that has imported everything (:mod:`tests.torture.zygote`), so
that hundreds of them take minutes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import mmap
import os
import random
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deal import read_results
from deal.results.reading import read_regions
from tests.helpers.labeled import colour_fields, write_labeled
from tests.helpers.models import metadata, save_model
from tests.helpers.runs import SIZE, write_pool
from tests.torture.cases import Finding

__all__ = ["CALLS", "Ended", "Operation", "Plan", "Runner", "Workshop", "open_workshop"]

CALLS = {"open": 1, "write": 2, "rename": 4, "fsync": 8, "close": 16, "mkdir": 32, "unlink": 64}
"""Kinds of system calls that build/failing_calls.so watches, as it numbers them."""

_ROOT = Path(__file__).parents[2]
_SHIM = _ROOT / "build" / "failing_calls.so"
_LONGEST = 180.0

Outcome = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """Which call below the folder does what; see tests/c/failing_calls.c."""

    kinds: int = 127
    at: int = -1
    error: int = 0
    sticky: int = 0
    signal: int = 0
    late: int = 0


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code or minus its signal, its streams, the calls it made."""

    code: int
    stdout: str
    stderr: str
    calls: int
    seconds: float


@dataclass
class Operation:
    """A command, in a folder of its own.

    Attributes
    ----------
    arguments : callable
        Folder → arguments; everything is written below the folder.
    outcome : callable
        Folder → what has to be equal after every disturbance.
    weight : int
        How often it is chosen, beside the others.
    before : callable or None
        Folder → prepares what the command finds there.
    """

    arguments: Callable[[Path], Sequence[str]]
    outcome: Callable[[Path], Outcome]
    weight: int
    before: Callable[[Path], None] | None = None
    expected: Outcome | None = None
    leaves: frozenset[str] = frozenset()
    calls: int = 0
    seconds: float = 0.0


class Runner:
    """Runs commands one after another as children of one process."""

    def __init__(self, folder: Path, modules: Sequence[str]) -> None:
        self._folder = folder
        self._counter = folder / "counter"
        self._counter.write_bytes(bytes(8))
        with open(self._counter, "r+b") as file:
            self._calls = mmap.mmap(file.fileno(), 8)
        env = {**os.environ, "LD_PRELOAD": str(_SHIM)}
        env |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        env["JE_ARROW_MALLOC_CONF"] = "background_thread:false"  # pyarrow's: no thread to lose
        env.pop("DEAL_DEBUG", None)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.torture.zygote", *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # else a line that waits in a buffer would not be seen by select
            cwd=_ROOT,
            env=env,
        )
        if self._answer() != "ready":
            raise RuntimeError("the process that runs commands has not started, see above")

    def close(self) -> None:
        """End the process."""
        self._process.communicate()
        self._calls.close()

    def run(
        self,
        arguments: Sequence[str],
        folder: Path,
        plan: Plan = Plan(),
        *,
        ending: tuple[float, int] | None = None,
    ) -> Ended:
        """Run a command; ``ending`` sends a signal after so many seconds."""
        self._calls[:] = bytes(8)
        streams = [self._folder / "stdout", self._folder / "stderr"]
        request = {
            "arguments": list(arguments),
            "folder": str(folder),
            "counter": str(self._counter),
            "stdout": str(streams[0]),
            "stderr": str(streams[1]),
            "plan": dataclasses.asdict(plan),
        }
        assert self._process.stdin is not None
        begun = time.monotonic()
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        child = int(self._answer())
        if ending is not None:
            time.sleep(ending[0])
            with suppress(ProcessLookupError):
                os.kill(child, ending[1])
        status = int(self._end_of(child))
        return Ended(
            os.waitstatus_to_exitcode(status),
            streams[0].read_text(errors="replace") if streams[0].exists() else "",
            streams[1].read_text(errors="replace") if streams[1].exists() else "",
            struct.unpack("q", self._calls[:])[0],
            time.monotonic() - begun,
        )

    def _end_of(self, child: int) -> str:
        deadline = time.monotonic() + _LONGEST
        while not select.select([self._process.stdout], [], [], 1.0)[0]:
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
                self._answer()
                raise Finding(f"the command hung for {_LONGEST:.0f} s")
        return self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().decode().strip()


# ---- the operations ---------------------------------------------------------------------------


class Workshop:
    """Models, pools and labels, and the operations on them."""

    def __init__(self, folder: Path, heavy: bool) -> None:
        self.folder = folder
        self.pool = write_pool(folder / "pool", 6)
        self.model = save_model(folder / "m.onnx", exact=True, props=metadata())
        small = {**metadata(), "input_size": [24, 32]}
        self.small = save_model(folder / "s.onnx", exact=True, size=SIZE, props=small, gain=0.5)
        rng = np.random.default_rng(0)
        write_labeled(folder / "labeled", "", colour_fields(rng, 8, (3, 4), 8))
        modules: list[str] = []
        self.operations = {
            "score": Operation(self._score, scored, 24),
            "score regions": Operation(self._score_regions, scored, 12),
            "score overwrite": Operation(self._overwrite, scored, 12, before=self._other_settings),
            "select": Operation(self._select, selected, 60, before=self._scored),
            "fit-head": Operation(self._fit_head, files_of("head.json"), 4),
            "export static": Operation(self._static, files_of("static.onnx"), 4),
            "export int8": Operation(self._int8, files_of("int8.onnx"), 1),
        }
        if heavy:
            modules += ["torch", "deal.cli.loop", "deal.cli.train", "deal.loop.experiment"]
            self.operations["train"] = Operation(self._train, trained, 1)
            self.operations["loop"] = Operation(self._loop, looped, 1)
        self.runner = Runner(folder, modules)

    def close(self) -> None:
        """End the process that runs the commands."""
        self.runner.close()

    @contextmanager
    def place(self, operation: Operation) -> Iterator[Path]:
        """A new folder that a command finds prepared."""
        place = Path(tempfile.mkdtemp(prefix="case-", dir=self.folder))
        try:
            if operation.before is not None:
                operation.before(place)
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def choose(self, rng: random.Random, *names: str) -> Operation:
        """An operation by weight, that has been run undisturbed once."""
        names = names or tuple(self.operations)
        name = rng.choices(names, [self.operations[name].weight for name in names])[0]
        operation = self.operations[name]
        if operation.expected is None:
            self.learn(operation)
        return operation

    def learn(self, operation: Operation) -> None:
        """Run an operation undisturbed: what it gives, leaves, calls and takes."""
        with self.place(operation) as place:
            ended = self.runner.run(operation.arguments(place), place)
            if ended.code:
                raise RuntimeError(f"{operation.arguments(place)}: {ended}")
            operation.expected = operation.outcome(place)
            operation.leaves = names_in(place)
            operation.calls, operation.seconds = ended.calls, ended.seconds

    def check(self, operation: Operation, place: Path, done: str) -> None:
        """Run the same command again; raise where it is not as if nothing had happened."""
        ended = self.runner.run(operation.arguments(place), place)
        if ended.code:
            raise Finding(f"{done}; the same command again ended with {ended.code}: {ended.stderr}")
        found = operation.outcome(place)
        if found != operation.expected:
            assert operation.expected is not None
            keys = [key for key in found if found[key] != operation.expected.get(key)]
            raise Finding(f"{done}; the same command again gave other {keys or 'files'}")
        if left := names_in(place) - operation.leaves:
            raise Finding(f"{done}; the same command again left {sorted(left)}")

    # ---- what they are called with ----

    def _score(self, place: Path) -> list[str]:
        inputs = [str(self.pool), "--model", str(self.model), "--output", str(place / "out")]
        threads = ["--sessions", "1", "--threads", "1", "--decode-threads", "1"]
        return ["score", *inputs, *threads, "--quiet"]

    def _score_regions(self, place: Path) -> list[str]:
        return [*self._score(place), "--regions", "grid:8", "--budget", "regions:5"]

    def _overwrite(self, place: Path) -> list[str]:
        return [*self._score(place), "--overwrite", "--previews", "2"]

    def _select(self, place: Path) -> list[str]:
        return ["select", str(place / "out"), "--acquisition", "entropy", "--diverse", "2",
                "--budget", "3", "--output", str(place / "picked")]  # fmt: skip

    def _fit_head(self, place: Path) -> list[str]:
        return ["fit-head", "--model", str(self.model), "--data", str(self.folder / "labeled"),
                "--output", str(place / "head.json"), "--pixels", "1000", "--threads", "1",
                "--overwrite", "--quiet"]  # fmt: skip

    def _static(self, place: Path) -> list[str]:
        return ["export", str(self.model), "--output", str(place / "static.onnx"),
                "--static", "24x32", "--images", str(self.pool)]  # fmt: skip

    def _int8(self, place: Path) -> list[str]:
        return ["export", str(self.small), "--output", str(place / "int8.onnx"),
                "--precision", "int8"]  # fmt: skip

    def _train(self, place: Path) -> list[str]:
        return ["train", "--dataset", "synthetic", "--scenes", "10", "--width", "0.1",
                "--crop", "32x48", "--epochs", "2", "--batch-size", "2", "--grid", "4x6",
                "--output", str(place / "run")]  # fmt: skip

    def _loop(self, place: Path) -> list[str]:
        config = place / "trial.toml"
        config.write_text(_LOOP.format(output=json.dumps(str(place / "runs"))))
        return ["loop", str(config)]

    def _scored(self, place: Path) -> None:
        self._copy("scored", self._score, place)

    def _other_settings(self, place: Path) -> None:
        self._copy("other", lambda folder: [*self._score(folder), "--raster", "image"], place)

    def _copy(self, name: str, arguments: Callable[[Path], list[str]], place: Path) -> None:
        kept = self.folder / name
        if not kept.exists():
            ended = self.runner.run(arguments(kept), kept)
            if ended.code:
                raise RuntimeError(f"{arguments(kept)}: {ended}")
        shutil.copytree(kept / "out", place / "out")


_LOOP = """
experiment = "trial"
output = {output}
seeds = [0]
[data]
dataset = "synthetic"
scenes = 12
size = [32, 48]
[training]
epochs = 1
width = 0.1
batch_size = 2
lr = 0.05
grid = [4, 6]
threads = 1
[rounds]
labeled = [3, 5]
[scoring]
engine = "torch"
device = "cpu"
sessions = 1
threads = 1
[methods.ds]
acquisition = "ds:entropy"
"""


@contextmanager
def open_workshop(folder: Path, *, heavy: bool = True) -> Iterator[Workshop]:
    """The operations; ``heavy`` with those that train."""
    workshop = Workshop(folder, heavy)
    try:
        yield workshop
    finally:
        workshop.close()


# ---- what has to be equal ---------------------------------------------------------------------


def scored(place: Path) -> Outcome:
    """Rows of images and regions by id, and the ranking to the byte."""
    out = place / "out"
    images = sorted(read_results(out).to_pylist(), key=lambda row: row["id"])
    regions = read_regions(out).to_pylist() if (out / "regions").exists() else []
    regions.sort(key=lambda row: (row["id"], row["region"]))
    return {
        "images": repr(images),
        "regions": repr(regions),
        **_bytes(out, ("selection.csv", "selection.json")),
    }


def selected(place: Path) -> Outcome:
    """The ranking to the byte, and the rows untouched; paths in it are those of the case."""
    found = _bytes(place / "picked", ("selection.csv", "selection.json"))
    return {name: content.replace(str(place).encode(), b"") for name, content in found.items()}


def files_of(*names: str) -> Callable[[Path], Outcome]:
    """Files to the byte."""
    return lambda place: _bytes(place, names)


def trained(place: Path) -> Outcome:
    """Weights, and metrics but for times."""
    import torch

    checkpoint = torch.load(place / "run" / "best.pt", map_location="cpu", weights_only=True)
    weights = hashlib.sha256()
    for tensor in _tensors(checkpoint):
        weights.update(tensor.numpy().tobytes())
    metrics = [
        {key: value for key, value in json.loads(line).items() if "seconds" not in key}
        for line in (place / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    return {"weights": weights.hexdigest(), "metrics": repr(metrics)}


def _tensors(value: Any) -> Iterator[Any]:
    import torch

    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for key in value:
            yield from _tensors(value[key])
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)


def looped(place: Path) -> Outcome:
    """Labeled sets, selections, metrics and the table, without the case's own folder."""
    kept = ("labeled.csv", "selection.csv", "metrics.json", "results.csv")
    root = place / "runs"
    return {
        str(path.relative_to(root)): path.read_text().replace(str(place), "")
        for path in sorted(root.rglob("*"))
        if path.name in kept and "results" not in path.parts
    }


def names_in(place: Path) -> frozenset[str]:
    """Names of what is there, but for the numbers of parts, processes and runs."""
    names = (re.sub(r"\d+", "N", str(path.relative_to(place))) for path in place.rglob("*"))
    return frozenset(name.replace("N-of-N-N.json", "N-of-N.json") for name in names)


def _bytes(folder: Path, names: Sequence[str]) -> Outcome:
    return {name: (folder / name).read_bytes() for name in names}
