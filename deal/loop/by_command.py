"""Training by a command: it gets a list of files and a seed, and writes an ONNX model."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deal.engines import find_device
from deal.errors import DealError, ModelError, OutputError, UsageError
from deal.labeled.labels import DEFAULT_VOID, LabeledFiles
from deal.loop.config import LoopConfig
from deal.loop.evaluation import evaluate_model
from deal.loop.files import hold, write_csv, write_json
from deal.loop.labeled import Item, Region, count_labels, images_of, only_regions, regions_of
from deal.loop.learner import HeldError, Task, score_model
from deal.loop.pool import open_files
from deal.loop.records import named
from deal.loop.training import CommandConfig
from deal.model.spec import ModelSpec, read_spec

__all__ = ["CommandLearner"]

_WORK = "training"
_TAIL = 15


class CommandLearner:
    """Trains by a command; see :class:`deal.loop.learner.Learner`.

    The folder of a round gets ``training/`` for the command. It holds ``labeled.csv``, the labels
    of images in which only regions are labeled, ``log.txt`` with the output of the command, and the
    files that the command writes, among them ``model.onnx``. The command has failed unless it ends
    with status 0. After a failure or a kill the same command runs again in the same folder, so that
    it can continue from its own files.
    """

    def __init__(self, config: LoopConfig, training: CommandConfig) -> None:
        self._config, self._training = config, training
        program = training.command[0]
        if shutil.which(program) is None:
            raise UsageError(
                f"[training] command: there is no program {program!r}; give its path, or install it"
            )
        with named("[scoring]"):  # the engine also measures, so it is needed even without picks
            find_device(config.scoring.engine, config.scoring.device)
        self.pool, self._files = open_files(config)

    def learn(self, task: Task, say: Callable[[str], None]) -> dict[str, Any]:
        """Run the command unless its model is there, and measure that."""
        timing = task.folder / "timing.json"
        if not timing.exists() or not self.has_network(task.folder):
            started = time.perf_counter()
            self._train(task, say)
            seconds = round(time.perf_counter() - started, 3)
            write_json(timing, {"seconds": seconds})
            say(f"trained in {seconds:.1f} s")
        model, scoring = _model(task.folder), self._config.scoring
        try:
            self._check_needs(read_spec(model))
            metrics = evaluate_model(
                model,
                self._files.evaluate,
                self._files.classes,
                engine=scoring.engine,
                device=scoring.device,
                threads=scoring.threads,
            )
        except (ModelError, UsageError) as error:  # the model cannot be used as it is
            timing.unlink()
            raise ModelError(
                f"{error}. Correct what [training] command does; the same deal loop then runs it "
                "again"
            ) from error
        if self._config.rounds.label == "dominant":
            metrics["labels"] = self._counts(task.labeled)
        return metrics

    def score(self, folder: Path, output: Path, options: Mapping[str, Any]) -> Path:
        """Score with the file that the command wrote."""
        return score_model(self.pool, _model(folder), output, options)

    def has_network(self, folder: Path) -> bool:
        """Whether there is the file that the command wrote."""
        return _model(folder).is_file()

    def forget(self, folder: Path) -> None:
        """Delete the command's files except its log."""
        for path in (folder / _WORK).glob("*"):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name not in ("labeled.csv", "log.txt"):
                path.unlink()

    def _check_needs(self, spec: ModelSpec) -> None:
        """Refuse a model that some method cannot use, before the pool is scored with it."""
        has_difficulty = spec.difficulty_name is not None or spec.difficulty_head is not None
        for name, method in self._config.methods.items():
            columns = method.ranking().bind(spec.classes).columns
            if not has_difficulty and any("difficulty" in column for column in columns):
                raise ModelError(
                    f"[methods.{name}] picks by difficulty, but model {spec.path} has none: train "
                    "it with deal.training.WithDifficulty, or end the command with deal fit-head "
                    "and deal export --difficulty-head"
                )
            if method.dropout_passes and not spec.dropout:
                raise ModelError(
                    f"[methods.{name}] has dropout_passes, but model {spec.path} has no inputs for "
                    "masks: export it with deal.export.onnx.export_module(…, dropout=True)"
                )

    def _list_files(self, work: Path, labeled: Sequence[Item]) -> None:
        """Write ``labeled.csv``, and a label for each image in which only regions are labeled."""
        rows, regions = [], regions_of(labeled)
        for index in self.pool.indices(images_of(labeled)):
            item, pair = self.pool.ids[index], self._files.train[index]
            label = pair.label.absolute()
            if item in regions:
                label = work / "labels" / f"{item}.png"
                self._write_label(label, pair, regions[item])
            rows.append([item, pair.image.absolute(), label])
        write_csv(work / "labeled.csv", ["id", "image", "label"], rows)

    def _write_label(self, path: Path, files: LabeledFiles, regions: Sequence[Region]) -> None:
        """Write a label with the values of its file, void outside the given regions."""
        label = only_regions(_values(files), regions, self._config.rounds, self._void(files)).label
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(label).save(path)
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error}") from error

    def _void(self, files: LabeledFiles) -> int:
        """The value of void in the file of a label."""
        return self._files.classes.ignore_index if files.ids is None else DEFAULT_VOID

    def _counts(self, labeled: Sequence[Item]) -> dict[str, Any]:
        """What dominant labels cost and how right they are, by the values of the files."""
        files = dict(zip(self.pool.ids, self._files.train, strict=True))
        void = self._void(self._files.train[0])
        return count_labels(labeled, lambda image: _values(files[image]), self._config.rounds, void)

    def _train(self, task: Task, say: Callable[[str], None]) -> None:
        work = task.folder.absolute() / _WORK
        model, log = _model(task.folder).absolute(), work / "log.txt"
        arguments = self._training.arguments(
            labeled=str(work / "labeled.csv"), output=str(model), seed=str(task.seed)
        )
        say(shlex.join(arguments))
        with hold(work, wait=False) as lock:
            if lock is None:
                raise HeldError(
                    f"a training that an earlier deal loop started still runs in {work}: wait for "
                    "it, or end it, and start again"
                )
            self._list_files(work, task.labeled)
            with open(log, "wb") as file:
                status = _run(arguments, file, lock, say)
        if status != 0:
            ended = f"with status {status}" if status > 0 else f"by signal {-status}"
            tail = _tail(log)
            error = DealError(
                f"[training] command ended {ended}; correct it, and run the same deal loop to "
                f"continue. {f'The end of {log}:' if tail else f'It printed nothing to {log}'}"
            )
            for line in tail:
                error.add_note(line)
            raise error
        if not model.is_file():
            raise ModelError(
                f"[training] command ended with status 0 but did not write {model}: it must write "
                "the file that {output} stands for"
            )


def _model(folder: Path) -> Path:
    return folder / _WORK / "model.onnx"


def _values(files: LabeledFiles) -> NDArray[np.uint8]:
    """The values [H, W] that the file of a label holds."""
    with Image.open(files.label) as file:
        return np.array(file)


def _run(arguments: list[str], log: BinaryIO, lock: int, say: Callable[[str], None]) -> int:
    """Run the command and return its status; after Ctrl-C, wait for the command to end.

    The command inherits the lock and so keeps it if it outlives a killed loop.
    """
    try:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[lock],
        )
    except OSError as error:
        raise DealError(
            f"[training] command {arguments[0]!r} cannot be run: {error.strerror}"
        ) from error
    try:
        return process.wait()
    except KeyboardInterrupt:
        say("interrupted: waiting for the command to end; a second Ctrl-C kills it")
        try:
            process.wait()
        except KeyboardInterrupt:
            process.kill()
            process.wait()
        raise


def _tail(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:]
