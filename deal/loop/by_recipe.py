"""Training by deal: from scratch, with a fixed number of steps, resumable after any epoch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from deal._version import __version__
from deal.errors import OutputError
from deal.loop.config import LoopConfig
from deal.loop.decoder_fit import DecoderFit
from deal.loop.files import hold, write_json, write_text
from deal.loop.labeled import count_labels, described, images_of, only_regions, regions_of
from deal.loop.learner import Task, score_model
from deal.loop.pool import Pool, open_data
from deal.loop.recipes import recipe_of
from deal.loop.records import named
from deal.loop.trained import trained
from deal.loop.training import TrainingConfig
from deal.machine.cores import available_cores
from deal.text import one_line
from deal.training.checkpoint import save_atomically, save_checkpoint
from deal.training.data import Dataset, Sample
from deal.training.difficulty import WithDifficulty
from deal.training.epochs import Training
from deal.training.evaluation import evaluate
from deal.training.preparation import (
    find_device,
    place,
)
from deal.training.step import ALIGN_CORNERS

__all__ = ["RecipeLearner", "clicked", "known_samples", "reproducible"]

# Different streams of random numbers, which must be independent.
_ORDER, _AUGMENT = 3, 4

_CHECKPOINT = "checkpoint.pt"
# Largest difference of logits between PyTorch and the export. Ten times that of `deal export`: the
# batch norms of a network of few steps enlarge rounding, 0.0023 on some processors.
_TOLERANCE = 1e-2

_MODELS = ("model.onnx", "model-dropout.onnx")  # the second has inputs for dropout masks


class RecipeLearner:
    """Trains by ``[training]``, with data in memory; see :class:`deal.loop.learner.Learner`.

    Initial weights depend only on the seed; order and augmentation of an image depend only on seed,
    epoch and image, so methods that share images also share these. A folder gets ``checkpoint.pt``,
    ``training.jsonl`` with one line per epoch, and ``timing.json`` with ``steps``, their
    ``seconds``, the seconds spent on making batches (``batch_seconds``; the network took the rest),
    and the kind of ``device``. ``training.pt`` holds the state for a resume.
    """

    def __init__(self, config: LoopConfig, training: TrainingConfig) -> None:
        self._config, self._training = config, training
        with named("[training]"):
            self._device = find_device(training.device)
        self.pool, self._data = open_data(config)
        self._fit = DecoderFit(config, training, self._data) if training.fit_steps else None

    def learn(self, task: Task, say: Callable[[str], None]) -> dict[str, Any]:
        """Train unless that is done already, and evaluate in float32 at the labels' own size."""
        checkpoint = task.folder / _CHECKPOINT
        with reproducible(self._training.threads, self._device):
            if not checkpoint.exists():
                train = _Round(
                    self._config, self._training, self.pool, self._data, task, self._fit, say
                )
                timing = train.run(say)
                write_json(task.folder / "timing.json", timing)
            result = evaluate(
                place(trained(checkpoint)[0], self._device),
                getattr(self._data, self._config.data.evaluate),
                ignore_index=self._data.ignore_index,
                align_corners=ALIGN_CORNERS,
            )
        return {
            **result.to_dict(self.pool.classes),
            **clicked(self._config, self.pool, self._data, task),
        }

    def score(self, folder: Path, output: Path, options: Mapping[str, Any]) -> Path:
        """Score an ONNX export, or the checkpoint if PyTorch scores."""
        model = self._model(folder, dropout=options["dropout_passes"] > 0)
        return score_model(self.pool, model, output, options)

    def has_network(self, folder: Path) -> bool:
        """Whether there is a checkpoint."""
        return (folder / _CHECKPOINT).exists()

    def forget(self, folder: Path) -> None:
        """Delete checkpoint and models."""
        for name in (_CHECKPOINT, *_MODELS):
            (folder / name).unlink(missing_ok=True)

    def _model(self, folder: Path, *, dropout: bool) -> Path:
        if self._config.scoring.engine == "torch":
            trained(folder / _CHECKPOINT)  # raises if it is damaged
            return folder / _CHECKPOINT
        from deal.export.onnx import export_checkpoint

        model = folder / _MODELS[dropout]
        with hold(folder, wait=True):
            if not model.exists():
                trained(folder / _CHECKPOINT)
                checks = [sample.image for sample in self._data.train[:2]]
                export_checkpoint(
                    folder / _CHECKPOINT,
                    model,
                    images=checks,
                    tolerance=_TOLERANCE,
                    dropout=dropout,
                    embedding=True,
                )
        return model


@contextmanager
def reproducible(threads: int, device: torch.device) -> Iterator[None]:
    """Set PyTorch to a fixed number of threads and, on the CPU, to deterministic algorithms."""
    deterministic: Any = torch.utils.deterministic  # its stubs lack the setting
    before = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        deterministic.fill_uninitialized_memory,
    )
    try:
        # Set each time, since opening a PyTorch engine, as the export does, changes it.
        torch.set_num_threads(threads or available_cores())
        # On CUDA the gradient of bilinear resizing has no deterministic algorithm.
        torch.use_deterministic_algorithms(device.type == "cpu")
        # Otherwise every new tensor is filled before it is written, which takes a tenth of a step.
        deterministic.fill_uninitialized_memory = False
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        deterministic.fill_uninitialized_memory = before[2]


class _Round(Training):
    """The training of one round, on the labeled items."""

    lr_option = "lr"

    def __init__(
        self,
        config: LoopConfig,
        training: TrainingConfig,
        pool: Pool,
        whole: Dataset,
        task: Task,
        fit: DecoderFit | None,
        say: Callable[[str], None],
    ) -> None:
        self.folder, self._state = task.folder, task.folder / "training.pt"
        self.labeled = [item if isinstance(item, str) else list(item) for item in task.labeled]
        self.indices, self.images = np.array(pool.indices(images_of(task.labeled))), len(pool.ids)
        self.records: list[dict[str, Any]] = []
        per_epoch = len(self.indices) // training.batch_size
        epochs = training.epochs or -(-(training.steps or 0) // per_epoch)
        given = replace(
            training,
            uncertainty=task.uncertainty,
            alpha=training.alpha if task.difficulty_loss else 0.0,
        )
        recipe = recipe_of(config, given, seed=task.seed, epochs=epochs, output=str(task.folder))
        steps = training.steps or epochs * per_epoch
        fitted = {} if fit is None else {"fit_steps": training.fit_steps}
        samples = known_samples(config, pool, whole, task, self.indices.tolist())

        def prepare(module: WithDifficulty) -> None:
            if fit is not None and not self._state.exists():
                fit(module, task.seed, self.indices.tolist(), samples, say)

        super().__init__(
            recipe,
            replace(whole, train=samples),
            find_device(training.device),
            steps=steps,
            provenance={
                "deal": __version__,
                "torch": str(torch.__version__),
                "recipe": {**recipe.recipe(), "steps": steps, **fitted},
                "labeled": described(task.labeled),
            },
            prepare=prepare,
        )

    def run(self, say: Callable[[str], None]) -> dict[str, Any]:
        if self._state.exists():
            self._restore(self._state)
        for epoch in range(len(self.records) + 1, self.config.epochs + 1):
            with named(f"{self.folder}:"):
                done = self.train_epoch(epoch)
            record = {
                "epoch": epoch,
                "steps": done.steps,
                **done.losses,
                "seconds": round(done.seconds, 3),
                "batch_seconds": round(done.batch_seconds, 3),
            }
            self.records.append(record)
            if epoch < self.config.epochs:
                self._save(self._state)
            say(
                f"epoch {epoch}/{self.config.epochs}: loss {record['segmentation_loss']:.3f} + "
                f"{record['difficulty_loss']:.3f}, {record['seconds']:.1f} s"
            )
        lines = [json.dumps(record) + "\n" for record in self.records]
        write_text(self.folder / "training.jsonl", "".join(lines))
        save_checkpoint(self.folder / "checkpoint.pt", self.result, self.meta)
        self._state.unlink(missing_ok=True)
        return {
            "steps": self.steps,
            "seconds": round(sum(record["seconds"] for record in self.records), 3),
            "batch_seconds": round(sum(record["batch_seconds"] for record in self.records), 3),
            "device": self.device.type,
        }

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Every image of the pool draws its place, so methods see common images in one order."""
        draws = np.random.default_rng((self.config.seed, _ORDER, epoch)).random(self.images)
        return np.argsort(draws[self.indices], kind="stable")

    def augment_seed(self, epoch: int, index: int) -> tuple[int, ...]:
        """The seed depends on the image's place in the pool: common images are augmented alike."""
        return self.config.seed, _AUGMENT, epoch, int(self.indices[index])

    def _save(self, path: Path) -> None:
        values = {"labeled": self.labeled, **self.state(), "records": self.records}
        save_atomically(values, path)

    def _restore(self, path: Path) -> None:
        try:
            state: Any = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch.load raises pickle, zip, OS and runtime errors alike
            raise OutputError(f"{path} cannot be read: delete it to train again") from error
        if state["labeled"] != self.labeled:
            raise OutputError(f"{path} was trained on other images: delete it to train again")
        try:
            self.restore(state)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise OutputError(
                f"{path} does not fit this run ({one_line(error)}): delete it to train again"
            ) from error
        self.records = state["records"]


def known_samples(
    config: LoopConfig, pool: Pool, data: Dataset, task: Task, indices: Sequence[int]
) -> tuple[Sample, ...]:
    """The samples of ``indices``; labels of partly labeled images are void elsewhere."""
    regions = regions_of(task.labeled)
    samples = []
    for index in indices:
        sample = data.train[index]
        if found := regions.get(pool.ids[index]):
            partly = only_regions(sample.label, found, config.rounds, data.ignore_index)
            sample = replace(sample, label=partly.label)
        samples.append(sample)
    return tuple(samples)


def clicked(config: LoopConfig, pool: Pool, data: Dataset, task: Task) -> dict[str, Any]:
    """With dominant labels: what they cost and how right they are, as ``labels``."""
    if config.rounds.label != "dominant":
        return {}
    truth = {item: sample.label for item, sample in zip(pool.ids, data.train, strict=True)}
    counts = count_labels(task.labeled, truth.__getitem__, config.rounds, data.ignore_index)
    return {"labels": counts}
