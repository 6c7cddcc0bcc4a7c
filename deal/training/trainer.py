"""The training loop, which turns a frozen configuration into a checkpoint and its metrics."""

from __future__ import annotations

import functools
import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from deal._version import __version__
from deal.errors import OutputError, PoolError
from deal.machine.files import hold, write_text
from deal.pool.schemes import refuse_scheme
from deal.text import one_line
from deal.training.checkpoint import (
    load_checkpoint,
    save_atomically,
    save_checkpoint,
)
from deal.training.config import TrainConfig
from deal.training.data import Dataset, held_out, load_dataset
from deal.training.difficulty import WithDifficulty
from deal.training.epochs import Training
from deal.training.evaluation import Evaluation, evaluate
from deal.training.preparation import (
    find_device,
    place,
    precision_note,
)
from deal.training.step import ALIGN_CORNERS

__all__ = ["train"]

_BEST, _LAST = "best.pt", "last.pt"
_METRICS, _SUMMARY = "metrics.jsonl", "summary.json"


def train(config: TrainConfig, *, overwrite: bool = False) -> dict[str, Any]:
    """Train, choose the best epoch on val, and evaluate it on test.

    Writes ``best.pt`` (see :func:`deal.training.checkpoint.load_checkpoint`), ``last.pt`` (the
    state for a resume), ``metrics.jsonl`` and at the end ``summary.json`` to ``config.output``. If
    a run was killed, the same configuration continues after the last finished epoch and ends with
    the same network, bit for bit on a CPU with the same number of threads.

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
        Options, data or weights cannot be used. Raised before any training.
    EngineUnavailableError
        The device is missing.
    OutputError
        The output holds a run with another configuration, or cannot be written, or another
        process trains in it.
    DealError
        The loss is no longer finite.
    """
    config.validate()
    refuse_scheme(config.output, "--output", "give a folder on this machine")
    device = find_device(config.device)
    output = Path(config.output)
    with hold(output, wait=False) as held:
        if held is None:
            raise OutputError(
                f"another process trains in {output}: wait for it, or choose another --output"
            )
        return _train(config, device, output, overwrite=overwrite)


def _train(
    config: TrainConfig, device: torch.device, output: Path, *, overwrite: bool
) -> dict[str, Any]:
    """:func:`train` in a folder that no other process uses."""
    resumed = None if overwrite else _read_resumable(output / _LAST, config)
    if resumed and (summary := _read_summary(output / _SUMMARY)) is not None:
        return summary
    data = load_dataset(
        config.dataset,
        None if config.data is None else Path(config.data),
        size=config.size,
        scenes=config.scenes,
    )
    if config.hold_out is not None:
        data = held_out(data, config.hold_out)
    if config.batch_size > len(data.train):
        raise PoolError(
            f"--batch-size {config.batch_size} is more than the {len(data.train)} training images"
        )
    run = _Run(config, data, device, output)
    if overwrite:  # after all checks, so that a refused call deletes nothing
        for name in (_LAST, _BEST, _METRICS, _SUMMARY):
            (output / name).unlink(missing_ok=True)
    return run.run(resumed)


def _read_summary(path: Path) -> dict[str, Any] | None:
    """The summary of a finished run; None if there is none, or a damaged one: it is made anew."""
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return summary if isinstance(summary, dict) else None


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
    stored = {**{key: wanted[key] for key in config.younger()}, **stored}
    changed = sorted(k for k in wanted.keys() | stored if wanted.get(k) != stored.get(k))
    if changed:
        raise OutputError(
            f"{path.parent} holds a run with another {', '.join(changed)}; "
            "use --overwrite to start again, or another --output"
        )
    return state


class _Run(Training):
    """A training with validation, between epochs."""

    def __init__(
        self, config: TrainConfig, data: Dataset, device: torch.device, output: Path
    ) -> None:
        super().__init__(config, data, device)
        self.output = output
        self.history: list[dict[str, Any]] = []
        self.best_epoch = 0
        self.best_miou = -math.inf

    def run(self, resumed: dict[str, Any] | None) -> dict[str, Any]:
        """Train the epochs that are left and evaluate the best one."""
        if resumed is not None:
            try:
                self._restore(resumed)
            except (KeyError, RuntimeError, TypeError, ValueError) as error:
                raise OutputError(
                    f"{self.output / _LAST} does not fit this run ({one_line(error)}); use "
                    "--overwrite to start again"
                ) from error
        console = Console(stderr=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} steps"),
            TimeRemainingColumn(),
        )
        if note := precision_note(self.config, self.device):
            console.print(note, highlight=False, soft_wrap=True)
        with Progress(*columns, console=console) as progress:
            task = progress.add_task(
                "train",
                total=self.steps,
                completed=len(self.history) * self.per_epoch,
            )
            for epoch in range(len(self.history) + 1, self.config.epochs + 1):
                done = self.train_epoch(epoch, functools.partial(progress.advance, task))
                record = {
                    "epoch": epoch,
                    "lr": done.lr,
                    **done.losses,
                    "seconds": round(done.seconds, 1),
                }
                if epoch % self.config.validate_every == 0 or epoch == self.config.epochs:
                    self._validate(record)
                self.history.append(record)
                self._save()
                progress.console.print(_describe(record), highlight=False, soft_wrap=True)
        return self._finish()

    def _validate(self, record: dict[str, Any]) -> None:
        result = self._evaluate(self.result, "val")
        record["val"] = result.to_dict(self.data.classes)
        if result.miou > self.best_miou:
            self.best_miou, self.best_epoch = result.miou, record["epoch"]
            provenance = {
                "deal": __version__,
                "torch": str(torch.__version__),
                "recipe": self.config.recipe(),
                "epoch": record["epoch"],
                "val": record["val"],
                "started_from": self.started_from,
            }
            meta = replace(self.meta, provenance=provenance)
            save_checkpoint(self.output / _BEST, self.result, meta)

    def _evaluate(self, module: WithDifficulty, split: str) -> Evaluation:
        return evaluate(
            module,
            getattr(self.data, split),
            ignore_index=self.data.ignore_index,
            align_corners=ALIGN_CORNERS,
        )

    def _save(self) -> None:
        state = {
            "config": asdict(self.config),
            **self.state(),
            "history": self.history,
            "best": [self.best_epoch, self.best_miou],
        }
        save_atomically(state, self.output / _LAST)
        lines = [json.dumps(record) + "\n" for record in self.history]
        write_text(self.output / _METRICS, "".join(lines))

    def _restore(self, state: dict[str, Any]) -> None:
        self.restore(state)
        self.history = state["history"]
        self.best_epoch, self.best_miou = state["best"]

    def _finish(self) -> dict[str, Any]:
        module = place(load_checkpoint(self.output / _BEST)[0], self.device)
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
            write_text(self.output / _METRICS, "".join(lines))
        write_text(self.output / _SUMMARY, json.dumps(summary, indent=2) + "\n")
        return summary


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
