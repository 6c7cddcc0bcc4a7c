"""Options and progress of the commands that run a network over labeled images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from deal.cli.grouped import FC, option

__all__ = ["Bar", "ignore_index_option", "model_options", "split_options"]

_MODEL = "Model"
_MODEL_OPTIONS = [
    option(
        _MODEL,
        "--model",
        envvar="DEAL_MODEL",
        type=click.Path(),
        metavar="FILE",
        help="ONNX model (or a checkpoint, for --engine torch). Default: the environment variable "
        "DEAL_MODEL.",
    ),
    option(
        _MODEL,
        "--model-option",
        "model_options",
        multiple=True,
        metavar="KEY=VALUE",
        help="Set a key of the model contract that the model file lacks, as for deal-score. "
        "Repeatable.",
    ),
    option(
        _MODEL,
        "--engine",
        default="ort",
        show_default=True,
        metavar="ort|openvino|trt|torch",
        help="Run the network with ONNX Runtime, OpenVINO, TensorRT, or PyTorch (the reference).",
    ),
    option(
        _MODEL,
        "--device",
        default="auto",
        show_default=True,
        metavar="auto|cpu|cuda[:I]",
        help="auto uses CUDA if the engine supports it and the driver finds a GPU.",
    ),
    option(
        _MODEL,
        "--threads",
        type=click.IntRange(min=1),
        metavar="N",
        help="Number of threads. Default: one per core.",
    ),
]


def model_options(function: FC) -> FC:
    """Add the options that name a network and what runs it."""
    for decorate in reversed(_MODEL_OPTIONS):
        function = decorate(function)
    return function


def split_options(group: str, what: str) -> Callable[[FC], FC]:
    """``--data`` and ``--split``; ``what`` begins the help of the second."""
    split = option(
        group,
        "--split",
        metavar="NAME",
        help=f"{what} Default: test, or val if there is no test.",
    )
    data = option(
        group,
        "--data",
        type=click.Path(),
        required=True,
        metavar="ROOT",
        help="Labeled images, as for deal fit-head: ROOT/{train,val,test}/{images,labels}, "
        "ROOT/{images,labels} or Cityscapes.",
    )
    return lambda function: data(split(function))


def ignore_index_option(group: str) -> Callable[[FC], FC]:
    """``--ignore-index``: the label of pixels that count for nothing."""
    return option(
        group,
        "--ignore-index",
        type=int,
        metavar="N",
        help="Label of void pixels. Default: the one in ROOT/classes.json, else the model's, else "
        "255.",
    )


class Bar:
    """Progress on a terminal's stderr; called with images done and images in all."""

    def __init__(self, *, enabled: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress

        self._bar = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            "images",
            console=Console(stderr=True),
            transient=True,
            disable=not enabled,
        )
        self._task: Any = None

    def __enter__(self) -> Bar:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def __call__(self, done: int, total: int) -> None:
        """Show how far it is."""
        if self._task is None:
            self._task = self._bar.add_task("", total=total)
        self._bar.update(self._task, completed=done)
