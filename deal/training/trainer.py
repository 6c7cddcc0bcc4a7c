"""The training loop: one frozen configuration in, a checkpoint and its numbers out."""

from __future__ import annotations

import functools
import itertools
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from deal._version import __version__
from deal.errors import DealError, EngineUnavailableError, OutputError, PoolError, UsageError
from deal.training.augment import Augmentation
from deal.training.checkpoint import (
    CheckpointMeta,
    build_module,
    load_checkpoint,
    save_atomically,
    save_checkpoint,
)
from deal.training.data import Dataset, load_dataset
from deal.training.difficulty import WithDifficulty
from deal.training.evaluation import Evaluation, evaluate
from deal.training.losses import joint_loss
from deal.training.mobilenet import load_imagenet_weights
from deal.training.networks import DeepLab

__all__ = ["TrainConfig", "poly_factor", "train"]

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
_ALIGN_CORNERS = True  # as DEAL was released
_POWER = 0.9
_BEST, _LAST = "best.pt", "last.pt"
_METRICS, _SUMMARY = "metrics.jsonl", "summary.json"


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides the result of a training run; sizes are (H, W) in pixels.

    Attributes
    ----------
    dataset, data, size, scenes
        See :func:`deal.training.data.load_dataset`.
    network, width
        See :func:`deal.training.networks.build_network`.
    output : str
        Folder of checkpoints and metrics.
    epochs, batch_size : int
    lr : float
        Of the backbone at the start; falls to 0 by the poly schedule.
    head_lr_factor : float
        Times ``lr`` for ASPP, decoder and difficulty branch.
    momentum, weight_decay : float
    alpha : float
        Weight of the difficulty loss.
    class_balance : bool
        Weight the cross entropy of class c by 1/ln(1.1 + share of c).
    grid : (h, w) or None
        Attention grid.
    crop : (h, w) or None
        None takes the size of the images.
    scale : (low, high)
    blur, color_jitter : float
    seed : int
    precision : str
        ``fp32`` or ``bf16`` (autocast; parameters and evaluation stay float32).
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    weights : str or None
        torchvision's MobileNetV2 state dict.
    start_from : str or None
        Checkpoint of the same network and classes to go on from.
    validate_every : int
        Epochs between validations; the last epoch is always validated.
    """

    dataset: str
    output: str
    data: str | None = None
    size: tuple[int, int] | None = None
    scenes: int = 500
    network: str = "light"
    width: float = 1.0
    epochs: int = 100
    batch_size: int = 4
    lr: float = 0.01
    head_lr_factor: float = 10.0
    momentum: float = 0.9
    weight_decay: float = 5e-4
    alpha: float = 1.0
    class_balance: bool = False
    grid: tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    scale: tuple[float, float] = (0.5, 2.0)
    blur: float = 0.5
    color_jitter: float = 0.0
    seed: int = 0
    precision: str = "fp32"
    device: str = "auto"
    weights: str | None = None
    start_from: str | None = None
    validate_every: int = 1


def poly_factor(step: int, total: int) -> float:
    """Learning rate of ``step`` (from 0) as a fraction of the first: (1 − step/total)^0.9."""
    return math.pow(1 - step / total, _POWER)


def train(config: TrainConfig, *, overwrite: bool = False) -> dict[str, Any]:
    """Train, choose the best epoch on val, evaluate it on test.

    Writes ``best.pt`` (see :func:`deal.training.checkpoint.load_checkpoint`), ``last.pt`` (all
    that a resume needs), ``metrics.jsonl`` and at the end ``summary.json`` to ``config.output``.
    Killed at any point, the same configuration goes on after the last finished epoch and ends
    with the same network, bit for bit on a CPU with the same number of threads.

    Parameters
    ----------
    config : TrainConfig
    overwrite : bool
        Start again even if the output holds a run.

    Returns
    -------
    dict
        The content of ``summary.json``.

    Raises
    ------
    UsageError, PoolError, ModelError
        Options, data or weights are not usable; before any training.
    EngineUnavailableError
        The device is not there.
    OutputError
        The output holds a run with another configuration, or cannot be written.
    DealError
        The loss is no longer finite.
    """
    _validate(config)
    device = _device(config.device)
    output = Path(config.output)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"output {output} cannot be made: {error.strerror}") from error
    resumed = None if overwrite else _read_resumable(output / _LAST, config)
    if resumed and (output / _SUMMARY).exists():
        summary: dict[str, Any] = json.loads((output / _SUMMARY).read_text(encoding="utf-8"))
        return summary
    data = load_dataset(
        config.dataset,
        None if config.data is None else Path(config.data),
        size=config.size,
        scenes=config.scenes,
    )
    if config.batch_size > len(data.train):
        raise PoolError(
            f"--batch-size {config.batch_size} is more than the {len(data.train)} training images"
        )
    run = _Run(config, data, device, output)
    if overwrite:  # only now that nothing can be refused any more
        for name in (_LAST, _BEST, _METRICS, _SUMMARY):
            (output / name).unlink(missing_ok=True)
    return run.run(resumed)


def _validate(config: TrainConfig) -> None:
    for name in ("epochs", "validate_every", "width", "lr"):
        if getattr(config, name) <= 0:
            raise UsageError(f"--{name.replace('_', '-')} must be positive")
    if config.batch_size < 2:
        raise UsageError("--batch-size must be at least 2: batch normalisation needs a batch")
    if not 0 < config.scale[0] <= config.scale[1]:
        raise UsageError("--scale needs LOW and HIGH with 0 < LOW <= HIGH")
    if config.weights is not None and config.start_from is not None:
        raise UsageError("--weights and --start-from exclude each other")
    if config.weights is not None and config.width != 1:
        raise UsageError("--weights are those of width 1; leave out --width")


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise EngineUnavailableError(
            "--device cuda: no CUDA device, or torch built without CUDA; use --device cpu"
        )
    return torch.device(name)


def _read_resumable(path: Path, config: TrainConfig) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        stored = dict(state["config"])
    except Exception as error:  # torch.load raises pickle, zip, OS and runtime errors alike
        raise OutputError(f"{path} cannot be read; use --overwrite to start again") from error
    wanted = asdict(config)
    stored["output"] = wanted["output"]  # a folder may move
    changed = sorted(k for k in wanted.keys() | stored if wanted.get(k) != stored.get(k))
    if changed:
        raise OutputError(
            f"{path.parent} holds a run with another {', '.join(changed)}; "
            "use --overwrite to start again, or another --output"
        )
    return state


class _Run:
    """State of one training run between epochs."""

    def __init__(
        self, config: TrainConfig, data: Dataset, device: torch.device, output: Path
    ) -> None:
        self.config = config
        self.data = data
        self.device = device
        self.output = output
        torch.manual_seed(config.seed)
        self.meta = CheckpointMeta(
            network=config.network,
            width=config.width,
            classes=data.classes,
            palette=data.palette,
            ignore_index=data.ignore_index,
            mean=_MEAN,
            std=_STD,
            align_corners=_ALIGN_CORNERS,
            grid=config.grid,
            input_size=data.size,
            provenance={},
        )
        module, self.started_from = _initial_module(config, self.meta)
        self.module = _placed(module, device)
        self.optimizer = _optimizer(config, self.module)
        self.augment = Augmentation(
            crop=config.crop or data.size,
            scale=config.scale,
            blur=config.blur,
            color_jitter=config.color_jitter,
            mean=_MEAN,
            ignore_index=data.ignore_index,
        )
        self.class_weights = _class_weights(data).to(device) if config.class_balance else None
        self.steps_per_epoch = len(data.train) // config.batch_size
        self.history: list[dict[str, Any]] = []
        self.best_epoch = 0
        self.best_miou = -math.inf

    def run(self, resumed: dict[str, Any] | None) -> dict[str, Any]:
        """Train the epochs that are left and evaluate the best one."""
        if resumed is not None:
            self._restore(resumed)
        console = Console(stderr=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} steps"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console) as progress:
            task = progress.add_task(
                "train",
                total=self.config.epochs * self.steps_per_epoch,
                completed=len(self.history) * self.steps_per_epoch,
            )
            for epoch in range(len(self.history) + 1, self.config.epochs + 1):
                record = self._train_epoch(epoch, functools.partial(progress.advance, task))
                if epoch % self.config.validate_every == 0 or epoch == self.config.epochs:
                    self._validate(record)
                self.history.append(record)
                self._save()
                progress.console.print(_describe(record), highlight=False, soft_wrap=True)
        return self._finish()

    def _train_epoch(self, epoch: int, advance: Callable[[], None]) -> dict[str, Any]:
        started = time.perf_counter()
        self.module.train()
        sums = torch.zeros(3, dtype=torch.float64)
        for index, (images, labels) in enumerate(self._batches(epoch)):
            step = (epoch - 1) * self.steps_per_epoch + index
            factor = poly_factor(step, self.config.epochs * self.steps_per_epoch)
            for group in self.optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor
            with torch.autocast(
                self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"
            ):
                logits, difficulty = self.module(images)
            loss = joint_loss(
                logits,
                difficulty,
                labels,
                ignore_index=self.data.ignore_index,
                align_corners=_ALIGN_CORNERS,
                alpha=self.config.alpha,
                class_weights=self.class_weights,
            )
            self.optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss.total)
            self.optimizer.step()
            values = torch.stack([loss.total, loss.segmentation, loss.difficulty])
            sums += values.detach().double().cpu()
            advance()
        means = (sums / self.steps_per_epoch).tolist()
        if not math.isfinite(means[0]):
            raise DealError(f"the loss is not finite in epoch {epoch}: lower --lr")
        return {
            "epoch": epoch,
            "lr": self.optimizer.param_groups[0]["lr"],
            "loss": means[0],
            "segmentation_loss": means[1],
            "difficulty_loss": means[2],
            "seconds": round(time.perf_counter() - started, 1),
        }

    def _batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of an epoch; order and augmentation depend on seed and epoch alone."""
        order = np.random.default_rng((self.config.seed, epoch)).permutation(len(self.data.train))
        size = self.config.batch_size
        for start in range(0, self.steps_per_epoch * size, size):
            crops = [
                self.augment(
                    self.data.train[index],
                    np.random.default_rng((self.config.seed, epoch, int(index))),
                )
                for index in order[start : start + size]
            ]
            images = torch.from_numpy(np.stack([image for image, _ in crops]))
            labels = torch.from_numpy(np.stack([label for _, label in crops]))
            # NHWC memory seen as NCHW is the channels-last layout of the network.
            yield images.to(self.device).permute(0, 3, 1, 2), labels.to(self.device).long()

    def _validate(self, record: dict[str, Any]) -> None:
        result = self._evaluate(self.module, "val")
        record["val"] = result.to_dict(self.data.classes)
        if result.miou > self.best_miou:
            self.best_miou, self.best_epoch = result.miou, record["epoch"]
            provenance = {
                "deal": __version__,
                "torch": str(torch.__version__),
                "recipe": _recipe(self.config),
                "epoch": record["epoch"],
                "val": record["val"],
                "started_from": self.started_from,
            }
            meta = replace(self.meta, provenance=provenance)
            save_checkpoint(self.output / _BEST, self.module, meta)

    def _evaluate(self, module: WithDifficulty, split: str) -> Evaluation:
        return evaluate(
            module,
            getattr(self.data, split),
            ignore_index=self.data.ignore_index,
            align_corners=_ALIGN_CORNERS,
        )

    def _save(self) -> None:
        state = {
            "config": asdict(self.config),
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rng": torch.get_rng_state(),
            "history": self.history,
            "best": [self.best_epoch, self.best_miou],
        }
        save_atomically(state, self.output / _LAST)
        lines = [json.dumps(record) + "\n" for record in self.history]
        _write_atomically(self.output / _METRICS, "".join(lines))

    def _restore(self, state: dict[str, Any]) -> None:
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"])
        self.history = state["history"]
        self.best_epoch, self.best_miou = state["best"]

    def _finish(self) -> dict[str, Any]:
        module = _placed(load_checkpoint(self.output / _BEST)[0], self.device)
        validated = {record["epoch"]: record for record in self.history if "val" in record}
        summary: dict[str, Any] = {
            "config": asdict(self.config),
            "parameters": sum(p.numel() for p in module.parameters()),
            "training_images": len(self.data.train),
            "training_seconds": round(sum(record["seconds"] for record in self.history)),
            "best_epoch": self.best_epoch,
            "val": validated[self.best_epoch]["val"],
            "test": None,
        }
        if self.data.test:
            summary["test"] = self._evaluate(module, "test").to_dict(self.data.classes)
            final = {"epoch": self.best_epoch, "test": summary["test"]}
            lines = [json.dumps(record) + "\n" for record in (*self.history, final)]
            _write_atomically(self.output / _METRICS, "".join(lines))
        _write_atomically(self.output / _SUMMARY, json.dumps(summary, indent=2) + "\n")
        return summary


def _recipe(config: TrainConfig) -> dict[str, Any]:
    """The configuration without what only this machine knows: folders and device."""
    recipe = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in asdict(config).items()
        if key not in ("data", "output", "device", "start_from")
    }
    if config.weights is not None:
        recipe["weights"] = Path(config.weights).name
    return recipe


def _initial_module(
    config: TrainConfig, meta: CheckpointMeta
) -> tuple[WithDifficulty, dict[str, Any] | None]:
    """The network before the first step, and the provenance of the checkpoint it comes from."""
    module = build_module(meta)
    network = module.module
    assert isinstance(network, DeepLab)
    if config.weights is not None:
        load_imagenet_weights(network.backbone, config.weights)
    if config.start_from is None:
        return module, None
    start, old = load_checkpoint(config.start_from)
    for name in ("network", "width", "classes"):
        if getattr(old, name) != getattr(meta, name):
            raise UsageError(
                f"--start-from {config.start_from} has {name} {getattr(old, name)}, "
                f"this run {getattr(meta, name)}"
            )
    module.load_state_dict(start.state_dict())
    return module, dict(old.provenance)


def _placed(module: WithDifficulty, device: torch.device) -> WithDifficulty:
    # Channels last is the faster layout of convolutions on CPU and GPU alike.
    for tensor in itertools.chain(module.parameters(), module.buffers()):
        if tensor.ndim == 4:
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
    return module.to(device)


def _optimizer(config: TrainConfig, module: WithDifficulty) -> torch.optim.SGD:
    backbone: list[nn.Parameter] = []
    head: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        (backbone if name.startswith("module.backbone.") else head).append(parameter)
    groups = [
        {"params": backbone, "initial_lr": config.lr},
        {"params": head, "initial_lr": config.lr * config.head_lr_factor},
    ]
    return torch.optim.SGD(
        groups, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
    )


def _class_weights(data: Dataset) -> Tensor:
    """1/ln(1.1 + share of the class), after ENet (Paszke et al., arXiv 1606.02147)."""
    counts = np.zeros(256, np.int64)
    for sample in data.train:
        counts += np.bincount(sample.label.ravel(), minlength=256)
    labelled = counts[: len(data.classes)]
    weights = 1 / np.log(1.1 + labelled / max(1, labelled.sum()))
    return torch.tensor(weights / weights.mean(), dtype=torch.float32)


def _describe(record: dict[str, Any]) -> str:
    text = (
        f"epoch {record['epoch']}: loss {record['segmentation_loss']:.3f} + "
        f"{record['difficulty_loss']:.3f}, {record['seconds']:.0f} s"
    )
    if "val" not in record:
        return text
    auroc = record["val"]["auroc"]
    return f"{text}; val mIoU {100 * record['val']['miou']:.1f} %, AUROC " + ", ".join(
        f"{name} {value:.3f}" for name, value in auroc.items() if value is not None
    )


def _write_atomically(path: Path, text: str) -> None:
    temporary = path.with_name(f"_{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
