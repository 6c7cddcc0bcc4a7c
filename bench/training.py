"""How many images does one CPU core train per second?"""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import torch

from deal.bench.report import Report, Row
from deal.bench.timing import interleave, ratios, spread
from deal.machine.processor import emulates_bfloat16
from deal.training.config import TrainConfig
from deal.training.data import load_dataset
from deal.training.depthwise import DepthwiseConv2d
from deal.training.epochs import Training

__all__ = ["run"]

_SIZE = (240, 320)
_BATCH = 4
_EPOCHS = 10_000  # more than are run, so that the learning rate does not end

# Name → network, last frozen stage, target in images per second.
_CASES: dict[str, tuple[str, int | None, float | None]] = {
    "lite0-aspp, all layers": ("lite0-aspp", None, 3.3),
    "lite0-lraspp, from stride 8 on": ("lite0-lraspp", 3, 8.0),
    "lite0-fast, from stride 8 on": ("lite0-fast", 3, 20.0),
    "lite0, decoder alone": ("lite0", 7, None),
    "light, all layers": ("light", None, None),
}
_PLAIN = "light, gradients of PyTorch alone"


def run(*, images: int = 8, rounds: int = 3) -> Report:
    """Time epochs of training at 240×320 on one thread, batches of 4, in the faster precision.

    Frozen stages keep their features (`--cache 1`), which an epoch before has computed. What makes
    batches is within the time. Networks have random weights, which cost the same.

    Parameters
    ----------
    images : int
        Generated scenes of an epoch.
    rounds : int
    """
    precision = "fp32" if emulates_bfloat16() else "bf16"
    data = load_dataset("synthetic", None, size=_SIZE, scenes=max(5, images))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            candidates = {}
            for name, (network, freeze, _) in (_CASES | {_PLAIN: ("light", None, None)}).items():
                config = TrainConfig(
                    dataset="synthetic",
                    output=str(Path(folder)),
                    network=network,
                    freeze=freeze,
                    freeze_norm=network != "light",
                    cache=0 if freeze is None else 1,
                    batch_size=_BATCH,
                    grid=(15, 20),
                    lr=1e-4,
                    precision=precision,
                    epochs=_EPOCHS,
                )
                training = Training(config, data, torch.device("cpu"))
                if name == _PLAIN:
                    for module in training.module.modules():
                        if isinstance(module, DepthwiseConv2d):
                            module.own_backward = False
                candidates[name] = functools.partial(_epoch, training, [0])
            seconds = interleave(candidates, rounds=rounds)
    finally:
        torch.set_num_threads(before)
    count = len(data.train) // _BATCH * _BATCH
    rows = []
    for name, (_, _, target) in _CASES.items():
        bound = None if target is None else f">= {target:g}"
        rates = [count / value for value in seconds[name]]
        rows.append(Row(name, spread(rates), "images/s", bound))
    gains = ratios(seconds[_PLAIN], seconds["light, all layers"])
    rows.append(Row(f"{_PLAIN} / light, all layers", gains, "ratio"))
    return Report(
        question="training",
        settings={
            "images": count,
            "size": list(_SIZE),
            "batch": _BATCH,
            "precision": precision,
            "rounds": rounds,
        },
        rows=tuple(rows),
    )


def _epoch(training: Training, done: list[int]) -> None:
    done[0] += 1
    training.train_epoch(done[0])
