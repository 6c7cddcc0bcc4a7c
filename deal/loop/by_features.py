"""Training of a decoder on features that a frozen encoder gave once for all runs."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from deal._version import __version__
from deal.fitting.examples import drawn_examples, head_of, joined
from deal.fitting.logistic import fit_numbers
from deal.kernel.statistics import difficulty_map
from deal.loop.by_recipe import clicked, known_samples, reproducible
from deal.loop.config import LoopConfig
from deal.loop.decoder_fit import kept_features
from deal.loop.evaluation import Measurement
from deal.loop.feature_scoring import FeatureScorer
from deal.loop.files import hold, share, write_json
from deal.loop.labeled import described, images_of
from deal.loop.learner import Task
from deal.loop.pool import open_data
from deal.loop.recipes import initial, recipe_of
from deal.loop.trained import trained
from deal.loop.training import TrainingConfig
from deal.model.head import DifficultyHead
from deal.results.parts import list_parts
from deal.training.checkpoint import save_checkpoint
from deal.training.data import Sample
from deal.training.difficulty import WithDifficulty
from deal.training.epochs import checkpoint_meta
from deal.training.networks import SegmentationNetwork
from deal.training.pixelwise import LabeledCells, fit_decoder, labeled_cells
from deal.training.step import ALIGN_CORNERS

__all__ = ["FeatureLearner"]

_CHECKPOINT = "checkpoint.pt"
_EXAMPLES = 20_000  # of the difficulty head
_DIFFICULTY = 6  # this stream of random numbers is independent of those of the loop


class FeatureLearner:
    """Trains by ``[training] pixels``; see :class:`deal.loop.learner.Learner`.

    The features of all images lie in OUTPUT/features, shared by all experiments there
    (:class:`deal.training.kept.KeptFeatures`). A round fits the decoder on them, then the
    difficulty head on the errors of the labeled cells as `deal fit-head` does, and runs the decoder
    alone to measure and to score. A folder gets ``checkpoint.pt``, which has the whole network, and
    ``timing.json``. A round that was killed begins anew and ends with the same bits.
    """

    def __init__(self, config: LoopConfig, training: TrainingConfig) -> None:
        self._config, self._training = config, training
        self.pool, self._data = open_data(config)
        # Opened here, so that weights which cannot be used are refused before any work.
        self._splits = {
            split: kept_features(config, training, self._data, split)
            for split in ("train", config.data.evaluate)
        }
        self._scorer = FeatureScorer(self.pool, self._splits["train"], self._threads)

    def learn(self, task: Task, say: Callable[[str], None]) -> dict[str, Any]:
        """Train unless that is done already, and measure in float32 at the labels' own size."""
        checkpoint = task.folder / _CHECKPOINT
        with reproducible(self._training.threads, torch.device("cpu")):
            self._compute(say)
            if not checkpoint.exists():
                self._train(task, say)
            module = trained(checkpoint)[0]
            metrics = self._measure(module)
        return {**metrics, **clicked(self._config, self.pool, self._data, task)}

    def score(self, folder: Path, output: Path, options: Mapping[str, Any]) -> Path:
        """Score the features of the pool; the columns are those of an export's scores.

        Methods that share a first round share its rows, too.
        """
        checkpoint = folder / _CHECKPOINT
        regions = str((options["regions"], options["outlines"]))
        scored = folder / f"results-{hashlib.sha256(regions.encode()).hexdigest()[:8]}"
        with hold(folder, wait=True), reproducible(self._training.threads, torch.device("cpu")):
            self._compute(lambda text: None)
            self._scorer.score(checkpoint, scored, options)
        for table in ("regions", "images"):
            for part in list_parts(scored / table):
                share(part, output / table / part.name)
        return checkpoint

    def has_network(self, folder: Path) -> bool:
        """Whether there is a checkpoint."""
        return (folder / _CHECKPOINT).exists()

    def forget(self, folder: Path) -> None:
        """Delete the checkpoint, and the rows that the run has under another name."""
        (folder / _CHECKPOINT).unlink(missing_ok=True)
        for scored in folder.glob("results-*"):
            shutil.rmtree(scored)

    def _compute(self, say: Callable[[str], None]) -> None:
        for features in self._splits.values():
            if not features.path.exists():
                with hold(features.path.parent, wait=True):
                    features.compute(say)

    def _train(self, task: Task, say: Callable[[str], None]) -> None:
        started = time.perf_counter()
        given = replace(self._training, uncertainty=task.uncertainty)
        recipe = recipe_of(self._config, given, seed=task.seed)
        module = initial(recipe, self._data)
        indices = self.pool.indices(images_of(task.labeled))
        samples = known_samples(self._config, self.pool, self._data, task, indices)
        features = self._splits["train"]
        labels = [sample.label for sample in samples]
        cells = labeled_cells(features, indices, labels, self._data.ignore_index)
        steps, pixels = self._training.steps, self._training.pixels
        assert steps is not None
        assert pixels is not None
        fit_decoder(recipe, module, features, cells, steps=steps, pixels=pixels, say=say)
        if task.difficulty_loss:
            head = self._fit_difficulty(module, cells, task, say)
            if head is not None:
                _put(head, module)
        timing = {"steps": steps, "seconds": round(time.perf_counter() - started, 3)}
        provenance = {
            "deal": __version__,
            "torch": str(torch.__version__),
            "recipe": {**recipe.recipe(), "steps": steps, "pixels": pixels},
            "labeled": described(task.labeled),
        }
        meta = checkpoint_meta(recipe, self._data, provenance)
        save_checkpoint(task.folder / _CHECKPOINT, module, meta)
        write_json(task.folder / "timing.json", timing)

    @torch.inference_mode()
    def _fit_difficulty(
        self, module: WithDifficulty, cells: LabeledCells, task: Task, say: Callable[[str], None]
    ) -> DifficultyHead | None:
        """The head for the network's errors on labeled cells; None if there is no error."""
        features, network = self._splits["train"], cast(SegmentationNetwork, module.module)
        grid = self._training.grid or features.grid
        images = np.unique(cells.images)
        share = max(2, _EXAMPLES // len(images))
        parts, counts = [], np.zeros(2, np.int64)
        for image in images.tolist():
            logits = network.decode(features.maps([image])).numpy()
            label = np.full(features.grid, -1)
            own = cells.images == image
            label[cells.y[own], cells.x[own]] = cells.labels[own]
            part, found = drawn_examples(
                logits,
                logits[0].argmax(axis=0) != label,
                label >= 0,
                grid,
                ALIGN_CORNERS,
                share,
                np.random.default_rng((task.seed, _DIFFICULTY, image)),
                self._threads,
                task.uncertainty,
            )
            parts.append(part)
            counts += found
        if not counts.all():
            say("all labeled cells are right, or all are wrong: difficulty stays untrained")
            return None
        numbers = fit_numbers(joined(parts))[0]
        return head_of(numbers, len(self._data.classes), grid)

    @property
    def _threads(self) -> int | None:
        return self._training.threads or None

    @torch.inference_mode()
    def _measure(self, module: WithDifficulty) -> dict[str, Any]:
        split = self._config.data.evaluate
        features, network = self._splits[split], cast(SegmentationNetwork, module.module)
        samples: Sequence[Sample] = getattr(self._data, split)
        measurement, head = Measurement(self.pool.classes, self._data.ignore_index), module.head()
        for index, sample in enumerate(samples):
            logits = network.decode(features.maps([index])).numpy()
            size = (sample.label.shape[0], sample.label.shape[1])
            difficulty: NDArray[np.float32] = difficulty_map(
                logits, head, size=size, align_corners=ALIGN_CORNERS, threads=self._threads
            )[0]
            measurement.add(logits[0], difficulty, sample.label, ALIGN_CORNERS)
        return measurement.result()


@torch.no_grad()
def _put(head: DifficultyHead, module: WithDifficulty) -> None:
    """Give the difficulty branch the numbers of a head."""
    branch = module.difficulty
    branch.gamma.fill_(head.gamma)
    branch.weight.copy_(torch.tensor(head.weight))
    branch.bias.fill_(head.bias)
    if branch.uncertainty_weight is not None and head.uncertainty_weight is not None:
        branch.uncertainty_weight.copy_(torch.tensor(head.uncertainty_weight))
