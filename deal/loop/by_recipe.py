"""Training by deal: from scratch, a fixed number of steps, resumable after any epoch."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deal._version import __version__
from deal.errors import DealError, OutputError
from deal.loop.config import LoopConfig
from deal.loop.files import hold, write_json, write_text
from deal.loop.labeled import described, images_of, only_regions, regions_of
from deal.loop.learner import Task
from deal.loop.pool import Pool, open_data
from deal.loop.records import named
from deal.loop.training import TrainingConfig
from deal.machine.cores import available_cores
from deal.training.augment import Augmentation
from deal.training.batches import Batch, batch_maker
from deal.training.checkpoint import (
    CheckpointMeta,
    load_checkpoint,
    save_atomically,
    save_checkpoint,
)
from deal.training.clock import BatchClock
from deal.training.config import TrainConfig
from deal.training.data import Dataset, Sample
from deal.training.evaluation import evaluate
from deal.training.preparation import (
    build_optimizer,
    class_weights,
    compiled,
    find_device,
    initial_module,
    place,
)
from deal.training.step import ALIGN_CORNERS, MEAN, STD, training_step

__all__ = ["RecipeLearner"]

# Streams of random numbers that must not meet.
_ORDER, _AUGMENT = 3, 4

_CHECKPOINT = "checkpoint.pt"
_MODELS = ("model.onnx", "model-dropout.onnx")  # as it is, and with inputs for dropout masks


class RecipeLearner:
    """Trains as ``[training]`` says, with data in memory; see :class:`deal.loop.learner.Learner`.

    Initial weights depend on the seed alone; order and augmentation of an image on seed, epoch and
    image alone, so that methods which share images share these too. A folder gets
    ``checkpoint.pt``, ``training.jsonl`` with a line an epoch, and ``timing.json``: ``steps``,
    their ``seconds``, how many of these went into making batches (``batch_seconds``; the rest is
    the network's), and the kind of ``device``. ``training.pt`` is what a resume needs.
    """

    def __init__(self, config: LoopConfig, training: TrainingConfig) -> None:
        self._config, self._training = config, training
        with named("[training]"):
            self._device = find_device(training.device)
        self.pool, self._data = open_data(config)

    def learn(self, task: Task, say: Callable[[str], None]) -> dict[str, Any]:
        """Train unless that is done, and evaluate in float32 at the labels' own size."""
        checkpoint = task.folder / _CHECKPOINT
        with _reproducible(self._training.threads, self._device):
            if not checkpoint.exists():
                timing = _Round(self._config, self._training, self.pool, self._data, task).run(say)
                write_json(task.folder / "timing.json", timing)
            result = evaluate(
                place(load_checkpoint(checkpoint)[0], self._device),
                getattr(self._data, self._config.data.evaluate),
                ignore_index=self._data.ignore_index,
                align_corners=ALIGN_CORNERS,
            )
        return result.to_dict(self.pool.classes)

    def model(self, folder: Path, *, dropout: bool) -> Path:
        """The file to score with: exported, unless PyTorch scores the checkpoint itself."""
        if self._config.scoring.engine == "torch":
            return folder / _CHECKPOINT
        from deal.export.onnx import export_checkpoint

        model = folder / _MODELS[dropout]
        with hold(folder, wait=True):
            if not model.exists():
                checks = [sample.image for sample in self._data.train[:2]]
                export_checkpoint(
                    folder / _CHECKPOINT, model, images=checks, dropout=dropout, embedding=True
                )
        return model

    def forget(self, folder: Path) -> None:
        """Delete checkpoint and models."""
        for name in (_CHECKPOINT, *_MODELS):
            (folder / name).unlink(missing_ok=True)


@contextmanager
def _reproducible(threads: int, device: torch.device) -> Iterator[None]:
    """PyTorch with a fixed number of threads and, on the CPU, only deterministic algorithms."""
    deterministic: Any = torch.utils.deterministic  # its stubs lack the setting
    before = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        deterministic.fill_uninitialized_memory,
    )
    try:
        # Said anew each time: whoever opens a PyTorch engine, as the export does, changes it.
        torch.set_num_threads(threads or available_cores())
        # On CUDA the gradient of bilinear resizing has no deterministic algorithm.
        torch.use_deterministic_algorithms(device.type == "cpu")
        # Else every new tensor is filled before an operator writes it: a tenth of a step.
        deterministic.fill_uninitialized_memory = False
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        deterministic.fill_uninitialized_memory = before[2]


class _Round:
    def __init__(
        self, config: LoopConfig, training: TrainingConfig, pool: Pool, whole: Dataset, task: Task
    ) -> None:
        given = replace(training, uncertainty=task.uncertainty)
        self.seed, self.folder = task.seed, task.folder
        self.labeled = [item if isinstance(item, str) else list(item) for item in task.labeled]
        self.indices, self.images = np.array(pool.indices(images_of(task.labeled))), len(pool.ids)
        self.device = find_device(given.device)
        self.per_epoch = len(self.indices) // given.batch_size
        self.epochs = given.epochs or -(-(given.steps or 0) // self.per_epoch)
        self.steps = given.steps or self.epochs * self.per_epoch
        data = replace(whole, train=self._known(config, pool, whole, task))
        self.recipe = TrainConfig(
            dataset=config.data.dataset,
            output=str(task.folder),
            size=config.data.size,
            scenes=config.data.scenes,
            epochs=self.epochs,
            seed=task.seed,
            validate_every=self.epochs,
            **{
                name: getattr(given, name)
                for name in TrainConfig.__dataclass_fields__
                if hasattr(given, name) and name not in ("epochs", "alpha")
            },
            alpha=given.alpha if task.difficulty_loss else 0.0,
        )
        torch.manual_seed(task.seed)
        self.meta = CheckpointMeta(
            network=given.network,
            width=given.width,
            classes=data.classes,
            palette=data.palette,
            ignore_index=data.ignore_index,
            mean=MEAN,
            std=STD,
            align_corners=ALIGN_CORNERS,
            grid=given.grid,
            input_size=data.size,
            provenance={
                "deal": __version__,
                "torch": str(torch.__version__),
                "recipe": {**self.recipe.recipe(), "steps": self.steps},
                "labeled": described(task.labeled),
            },
            uncertainty=task.uncertainty,
        )
        self.module = place(initial_module(self.recipe, self.meta)[0], self.device)
        self.forward = compiled(self.recipe, self.module)
        self.optimizer = build_optimizer(self.recipe, self.module)
        self.weights = class_weights(data).to(self.device) if given.class_balance else None
        augment = Augmentation(
            crop=given.crop or data.size,
            scale=given.scale,
            blur=given.blur,
            color_jitter=given.color_jitter,
            mean=MEAN,
            ignore_index=data.ignore_index,
        )
        self.make_batch = batch_maker(data.train, augment, self.device)
        self.records: list[dict[str, Any]] = []

    def _known(
        self, config: LoopConfig, pool: Pool, data: Dataset, task: Task
    ) -> tuple[Sample, ...]:
        """The samples of ``indices``; of images labeled in part the rest of the label is void."""
        grid, regions = config.rounds.grid, regions_of(task.labeled)
        samples = []
        for index in self.indices:
            sample = data.train[index]
            if found := regions.get(pool.ids[index]):
                assert grid is not None
                label = only_regions(sample.label, found, grid, data.ignore_index)
                sample = replace(sample, label=label)
            samples.append(sample)
        return tuple(samples)

    def run(self, say: Callable[[str], None]) -> dict[str, Any]:
        state = self.folder / "training.pt"
        if state.exists():
            self._restore(state)
        for epoch in range(len(self.records) + 1, self.epochs + 1):
            record = self._train_epoch(epoch)
            self.records.append(record)
            if epoch < self.epochs:
                self._save(state)
            say(
                f"epoch {epoch}/{self.epochs}: loss {record['segmentation_loss']:.3f} + "
                f"{record['difficulty_loss']:.3f}, {record['seconds']:.1f} s"
            )
        lines = [json.dumps(record) + "\n" for record in self.records]
        write_text(self.folder / "training.jsonl", "".join(lines))
        save_checkpoint(self.folder / "checkpoint.pt", self.module, self.meta)
        state.unlink(missing_ok=True)
        return {
            "steps": self.steps,
            "seconds": round(sum(record["seconds"] for record in self.records), 3),
            "batch_seconds": round(sum(record["batch_seconds"] for record in self.records), 3),
            "device": self.device.type,
        }

    def _train_epoch(self, epoch: int) -> dict[str, Any]:
        self.module.train()
        started, clock = time.perf_counter(), BatchClock(self.device)
        sums = torch.zeros(3, dtype=torch.float64, device=self.device)
        first = (epoch - 1) * self.per_epoch
        count = min(self.per_epoch, self.steps - first)
        for index, (images, labels) in enumerate(self._batches(epoch, count, clock)):
            sums += training_step(
                self.recipe,
                self.forward,
                self.optimizer,
                images,
                labels,
                progress=(first + index, self.steps),
                ignore_index=self.meta.ignore_index,
                class_weights=self.weights,
            ).double()
        means = (sums / count).tolist()  # which waits for a device
        if not math.isfinite(means[0]):
            raise DealError(f"{self.folder}: the loss is not finite in epoch {epoch}: lower lr")
        return {
            "epoch": epoch,
            "steps": count,
            "loss": means[0],
            "segmentation_loss": means[1],
            "difficulty_loss": means[2],
            "seconds": round(time.perf_counter() - started, 3),
            "batch_seconds": round(clock.seconds(), 3),
        }

    def _batches(self, epoch: int, count: int, clock: BatchClock) -> Iterator[Batch]:
        # Every image of the pool draws its place: common images come in a common order.
        draws = np.random.default_rng((self.seed, _ORDER, epoch)).random(self.images)
        order = np.argsort(draws[self.indices], kind="stable")
        size = self.recipe.batch_size
        for start in range(0, count * size, size):
            chosen = order[start : start + size].tolist()
            seeds = [(self.seed, _AUGMENT, epoch, int(self.indices[index])) for index in chosen]
            with clock.running():
                batch = self.make_batch(chosen, seeds)
            yield batch

    def _save(self, path: Path) -> None:
        values = {
            "labeled": self.labeled,
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state() if self.device.type == "cuda" else None,
            "records": self.records,
        }
        save_atomically(values, path)

    def _restore(self, path: Path) -> None:
        try:
            state: Any = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch.load raises pickle, zip, OS and runtime errors alike
            raise OutputError(f"{path} cannot be read: delete it to train again") from error
        if state["labeled"] != self.labeled:
            raise OutputError(f"{path} was trained on other images: delete it to train again")
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"])
        if state["cuda_rng"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_rng"])
        self.records = state["records"]
