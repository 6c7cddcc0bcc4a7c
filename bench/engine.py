"""Which runtime runs the network fastest on all cores?"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal.bench.failed import FailedCheckError
from deal.bench.networks import int8_model, random_network, static_model
from deal.bench.report import Report, Row
from deal.bench.sessions import Sessions
from deal.bench.timing import interleave, ratios, spread
from deal.errors import DealError, ModelError
from deal.export.images import Scenes
from deal.machine.cores import available_cores
from deal.model.spec import ModelSpec
from deal.scoring.inputs import Inputs
from deal.synthetic.scenes import scene

__all__ = ["run"]

_SIZE = (360, 480)
_OURS = "ONNX Runtime, a session a core"
_OPENVINO = "OpenVINO, a session a core"
_BF16 = "OpenVINO bf16, a session a core"
_BF16_TARGET = 2  # times ONNX Runtime in float32
_TOLERANCE = 1e-3

Batch = NDArray[np.uint8]
Run = Callable[[Sequence[Batch]], None]
Logits = Callable[[Batch], NDArray[np.float32]]


def run(
    *,
    network: str = "paper",
    model: Sequence[str] = (),
    images: int = 16,
    rounds: int = 5,
    int8: bool = True,
    compiled: bool = True,
) -> Report:
    """Stream images through each runtime, uint8 RGB to logits, all cores, networks ready.

    Parameters
    ----------
    network : ``paper`` or ``light``
        With random weights, in float32, by every runtime.
    model : sequence of str
        Further ONNX files of the contract, such as a converted network: by ONNX Runtime and
        OpenVINO alone, and on images of their own size where they take no others.
    int8 : bool
        Run the network in 8 bits too.
    compiled : bool
        Run it by ``torch.compile`` too, which takes a minute to compile.

    Raises
    ------
    FailedCheckError
        A runtime's logits in float32 differ from eager PyTorch's by more than 0.1 % of their range.
    ModelError
        A given file cannot be run, or its logits are NaN or infinite.
    """
    import torch

    from deal.engines.torch import RgbNetwork

    cores = available_cores()
    torch.set_num_threads(cores)
    batches = [scene(seed, _SIZE)[0][None] for seed in range(images)]
    notes: list[str] = []
    with tempfile.TemporaryDirectory(prefix="deal-bench-") as name:
        trained, path = random_network(Path(name), network)
        eager = _Torch(RgbNetwork(trained.module, trained.num_classes).eval())
        several, single = Sessions(path, cores, 1), Sessions(path, 1, cores)
        static = Sessions(static_model(path, Path(name), _SIZE), cores, 1)
        runs: dict[str, tuple[Run, Logits]] = {
            _OURS: (several.run, several.logits),
            "deal export --static, a session a core": (static.run, static.logits),
            "ONNX Runtime, one session of all cores": (single.run, single.logits),
            "PyTorch eager": (eager.run, eager.logits),
        }
        for label, make in (
            ("torch.compile", lambda: _compiled(eager, batches[0])),
            (_OPENVINO, lambda: Sessions(path, cores, 1, "openvino")),
            (_BF16, lambda: Sessions(path, cores, 1, "openvino", "bf16")),
            ("OpenVINO, its throughput hint", lambda: _OpenVino(path)),
        ):
            if label == "torch.compile" and not compiled:
                notes.append(f"{label} is left out: --no-compiled")
                continue
            try:
                peer = make()
            except Exception as error:  # a missing compiler, package or operator: all optional
                notes.append(f"{label} is left out: {type(error).__name__}: {_first_line(error)}")
                continue
            runs[label] = peer.run, peer.logits
        _check(runs, batches[0])
        candidates: dict[str, Callable[[], None]] = {
            label: partial(go, batches) for label, (go, _) in runs.items()
        }
        of_other_size: set[str] = set()
        files = [Path(file) for file in model]
        if int8:
            files.insert(0, int8_model(path))
        else:
            notes.append("the network in 8 bits is left out: --no-int8")
        for file in files:
            given = Sessions(file, cores, 1)
            scenes = Scenes(range(images), given.spec.input_size or _SIZE)
            theirs = [_as_taken(given.spec, rgb) for rgb in scenes]
            size = theirs[0].shape[1:3]
            if not np.isfinite(given.logits(theirs[0])).all():
                raise ModelError(f"model {file} gives NaN or infinite logits: deal check {file}")
            for by, sessions in {"": given, **_by_openvino(file, given, cores, notes)}.items():
                label = f"{file.name}{by}, a session a core"
                if size != _SIZE:
                    label += f", {size[0]}×{size[1]}"
                    of_other_size.add(label)
                candidates[label] = partial(sessions.run, theirs)
        seconds = interleave(candidates, rounds=rounds, pause=0.3)
    rows = [Row(label, spread([images / s for s in v]), "images/s") for label, v in seconds.items()]
    rows += [
        Row(f"{_OURS} / {label}", ratios(values, seconds[_OURS]), "ratio")
        for label, values in seconds.items()
        if label != _OURS and label not in of_other_size
    ]
    if _BF16 in seconds:
        value = ratios(seconds[_OURS], seconds[_BF16])
        rows.append(Row("OpenVINO bf16 / ONNX Runtime", value, "ratio", f">= {_BF16_TARGET}"))
    return Report(
        question="engine",
        settings={
            "network": network,
            "models": [Path(file).name for file in model],
            "images": images,
            "size": list(_SIZE),
            "cores": cores,
            "rounds": rounds,
        },
        rows=tuple(rows),
        notes=tuple(notes),
    )


def _by_openvino(file: Path, ours: Sessions, cores: int, notes: list[str]) -> dict[str, Sessions]:
    """Sessions of OpenVINO on a file, in its precision and, of float32, in bf16, by their label."""
    found = {}
    is_float = ours.spec.precision in (None, "fp32")
    for by, precision in ((", OpenVINO", None), (", OpenVINO bf16", "bf16")):
        if precision is None or is_float:
            try:
                found[by] = Sessions(file, cores, 1, "openvino", precision)
            except DealError as error:
                notes.append(f"{file.name}{by} is left out: {_first_line(error)}")
    return found


def _as_taken(spec: ModelSpec, rgb: NDArray[np.uint8]) -> Batch:
    """A batch of one image [H,W,3] at the size that a model takes."""
    groups, failures = Inputs(spec, "input").groups([rgb])
    for failure in failures.values():
        raise ModelError(f"model {spec.path}: {failure.message}")
    return np.stack(groups[0].images)


class _Torch:
    def __init__(self, network: Any) -> None:
        self.network = network

    def logits(self, batch: Batch) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            return np.asarray(self.network(torch.from_numpy(batch)).numpy())

    def run(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            self.logits(batch)


def _compiled(eager: _Torch, batch: Batch) -> _Torch:
    import torch

    peer = _Torch(torch.compile(eager.network))
    peer.logits(batch)
    return peer


class _OpenVino:
    """OpenVINO in float32, as many requests at a time as its throughput hint asks for."""

    def __init__(self, path: Path) -> None:
        from deal.engines.openvino import ov

        network = ov.Core().compile_model(
            path, "CPU", {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "f32"}
        )
        self._network = network
        self._queue = ov.AsyncInferQueue(network)

    def logits(self, batch: Batch) -> NDArray[np.float32]:
        return np.array(self._network([batch])[0])

    def run(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            self._queue.start_async([batch])
        self._queue.wait_all()


def _check(runs: dict[str, tuple[Run, Logits]], batch: Batch) -> None:
    found = {label: logits(batch) for label, (_, logits) in runs.items()}
    expected = found["PyTorch eager"]
    for label, logits in found.items():
        difference = float(np.abs(logits - expected).max() / np.ptp(expected))
        # Random weights amplify the rounding of bf16: deal bench fidelity compares trained ones.
        if not difference <= (np.inf if label == _BF16 else _TOLERANCE):
            raise FailedCheckError(f"{label}: logits differ by {difference:.2g} of their range")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]
