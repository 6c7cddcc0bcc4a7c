"""Runs of an experiment, round by round; every step is a file, so a killed run can continue."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deal._install import pip_install
from deal._version import __version__
from deal.errors import DealError, OutputError, UsageError
from deal.loop.by_command import CommandLearner
from deal.loop.checks import check_methods, check_scoring
from deal.loop.config import FULL, LoopConfig
from deal.loop.files import hold, read_json, share, write_json
from deal.loop.labeled import Item, described, read_labeled, write_labeled
from deal.loop.learner import HeldError, Learner, Task
from deal.loop.picking import Picking
from deal.loop.pool import Pool
from deal.loop.shapes import EXPERIMENT, round_metrics
from deal.loop.table import read_experiment, write_table
from deal.loop.training import CommandConfig, TrainingConfig

__all__ = ["LoopReport", "run_loop"]

# Files of the first round that runs share.
_SHARED = ("labeled.csv", "metrics.json")


@dataclass(frozen=True, slots=True)
class LoopReport:
    """The report of one call of `run_loop`.

    Attributes
    ----------
    folder : Path
        Folder of the experiment.
    finished : tuple of str
        The requested runs that are finished now.
    elsewhere : tuple of str
        Runs on which another process works.
    """

    folder: Path
    finished: tuple[str, ...]
    elsewhere: tuple[str, ...]


def run_loop(
    config: LoopConfig,
    *,
    methods: Sequence[str] = (),
    seeds: Sequence[int] = (),
    say: Callable[[str], None] = lambda text: None,
) -> LoopReport:
    """Run every method for every seed, or continue interrupted runs.

    Several processes may work on one experiment: each takes runs that no other process has.

    Parameters
    ----------
    config : LoopConfig
    methods, seeds : sequences, optional
        Run only these methods and seeds of the configuration.
    say : callable
        Gets messages about progress, one line per call.

    Raises
    ------
    UsageError, PoolError, EngineUnavailableError
        Configuration, data, engine or device cannot be used, or a method's function or rules cannot
        work in any round of this pool. Raised before any training.
    OutputError
        The folder holds an experiment, or a run, of another configuration. Raised before any
        training.
    ModelError, DealError
        A model that a command wrote cannot be used, or a method's rules allow less than a round
        must pick. Raised during the run.
    """
    known = (*config.methods, *([FULL] if config.full else []))
    for name in methods:
        if name not in known:
            hint = "; full = true in the configuration adds full" if name == FULL else ""
            raise UsageError(f"no method {name!r}: the methods are {', '.join(known)}{hint}")
    for seed in seeds:
        if seed not in config.seeds:
            raise UsageError(f"seed {seed} is not among the configuration's seeds")
    config.rounds.check_growth()
    _check_shared(config)
    asked = [(m, s) for s in seeds or config.seeds for m in methods or known]
    pairs = list(dict.fromkeys(asked))
    to_pick = [(m, s) for m, s in pairs if _has_picks_left(config, m, s)]
    check_scoring(config, dict.fromkeys(method for method, _ in to_pick))
    learner = _open_learner(config)
    shared = _shared(config, learner.pool)
    _check_data(config, shared)
    runs = [
        (_Full if method == FULL else _Run)(config, learner, method, seed, say)
        for method, seed in pairs
    ]
    for run in runs:
        run.check()
    check_methods(config, learner.pool, to_pick)
    _write_shared(config, shared)
    if note := _slow(config.training):
        say(note)
    finished, elsewhere = [], []
    for run in runs:
        with hold(run.folder, wait=False) as held:
            if held is None:
                elsewhere.append(run.name)
                continue
            try:
                run.work()
            except HeldError as error:
                say(str(error))
                elsewhere.append(run.name)
                continue
            finished.append(run.name)
        write_table(read_experiment(config.folder))
    return LoopReport(config.folder, tuple(finished), tuple(elsewhere))


def _has_picks_left(config: LoopConfig, method: str, seed: int) -> bool:
    """Whether a run still has to score the pool; full supervision never does."""
    last = config.folder / f"{method}-seed{seed}" / f"round-{len(config.rounds.labeled)}"
    return method != FULL and not (last / "labeled.csv").exists()


def _check_shared(config: LoopConfig) -> None:
    path = config.folder / "experiment.json"
    if not path.exists():
        return
    stored, wanted = read_json(path, EXPERIMENT), config.shared()
    changed = sorted(
        f"[{section}] {key}"
        for section, values in wanted.items()
        for key in values.keys() | stored[section].keys()
        if values.get(key) != stored[section].get(key)
    )
    if changed == ["[training] command"] and not _of_rounds(config, "metrics.json"):
        # No round was finished with the old command, so it may be corrected; what it trained is
        # trained again.
        for timing in _of_rounds(config, "timing.json"):
            timing.unlink()
        path.unlink()
    elif changed:
        raise OutputError(
            f"{config.folder} holds runs with another {', '.join(changed)}: choose another "
            "experiment name"
        )


def _slow(training: TrainingConfig | CommandConfig) -> str | None:
    """A note where the precision makes training slow."""
    if isinstance(training, CommandConfig):
        return None
    from deal.training.preparation import find_device, precision_note

    return precision_note(training, find_device(training.device))


def _of_rounds(config: LoopConfig, name: str) -> list[Path]:
    """Files of this name in the folders of rounds, not among the files of a command."""
    places = ("common/*", f"{FULL}-seed*", "*/round-*")
    return [path for place in places for path in config.folder.glob(f"{place}/{name}")]


def _shared(config: LoopConfig, pool: Pool) -> dict[str, Any]:
    """The content of ``experiment.json``."""
    return {
        **config.shared(),
        "images": len(pool.ids),
        "counts": list(pool.counts),
        "classes": list(pool.classes),
        "drives": dict(zip(pool.ids, pool.drives, strict=True)),
    }


def _check_data(config: LoopConfig, shared: Mapping[str, Any]) -> None:
    path = config.folder / "experiment.json"
    if path.exists() and (stored := read_json(path)) != shared:
        changed = ", ".join(key for key in shared if stored.get(key) != shared[key])
        raise OutputError(
            f"{config.folder} holds runs on other data ({changed}): choose another experiment name"
        )


def _write_shared(config: LoopConfig, shared: Mapping[str, Any]) -> None:
    path = config.folder / "experiment.json"
    with hold(config.folder, wait=True):
        _check_data(config, shared)  # another process may have written it in the meantime
        if not path.exists():
            write_json(path, shared)


class _Run:
    """One method and seed."""

    def __init__(
        self,
        config: LoopConfig,
        learner: Learner,
        method: str,
        seed: int,
        say: Callable[[str], None],
    ) -> None:
        self.config, self.method, self.seed = config, method, seed
        self.learner, self.pool = learner, learner.pool
        self.given = config.methods[method]
        self.name = f"{method}-seed{seed}"
        self.folder = config.folder / self.name
        self.uncertainty = config.training.uncertainty or self.given.uncertainty
        variant = "" if self.given.difficulty_loss else "-without-difficulty"
        if self.uncertainty and not config.training.uncertainty:
            variant += "-with-uncertainty"
        self.common = config.folder / "common" / f"seed{seed}{variant}"
        self.rounds = len(self.pool.counts)
        self._say = say

    def check(self) -> None:
        """Refuse a folder that holds a run with other settings."""
        path = self.folder / "run.json"
        if not path.exists():
            return
        stored = read_json(path)
        if any(stored.get(key) != value for key, value in self._settings().items()):
            raise OutputError(
                f"{self.folder} holds a run of another [methods.{self.method}]: give the method "
                "another name, or delete the folder"
            )

    def work(self) -> None:
        self.check()
        if not (self.folder / "run.json").exists():
            write_json(self.folder / "run.json", {**self._settings(), "deal": __version__})
        self._first_round()
        for number in range(1, self.rounds + 1):
            folder = self._round(number)
            self._train(folder, number)
            if number < self.rounds and not (self._round(number + 1) / "labeled.csv").exists():
                self._pick(number)
            if number > 1 and not self.config.keep_models:
                self.learner.forget(folder)

    def _round(self, number: int) -> Path:
        return self.folder / f"round-{number}"

    def _settings(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "seed": self.seed,
            "counts": list(self.pool.counts),
            "settings": self.config.of_method(self.method),
        }

    def _first_round(self) -> None:
        """Train the model that all methods of this seed share, or wait for another process."""
        with hold(self.common, wait=True):
            if not (self.common / "labeled.csv").exists():
                write_labeled(self.common / "labeled.csv", self.pool.initial(self.seed))
            self._train(self.common, 1)
        missing = [name for name in _SHARED if not (self._round(1) / name).exists()]
        if missing:  # what is damaged is not given to yet another run
            _read_labeled(self.common, self.pool, 1)
            read_json(self.common / "metrics.json", round_metrics(self.pool.classes))
        for name in missing:
            share(self.common / name, self._round(1) / name)

    def _train(self, folder: Path, number: int, *, again: bool = False) -> None:
        settings = {
            "difficulty_loss": self.given.difficulty_loss,
            "uncertainty": self.uncertainty,
        }

        def tell(text: str) -> None:
            self._tell(number, text)

        if again or not _is_learned(folder):
            labeled = _read_labeled(folder, self.pool, number)
            _learn(self.learner, folder, labeled, self.seed, settings, tell)

    def _pick(self, number: int) -> None:
        """Score the pool and select the next items with the code that users run."""
        folder = self._round(number)
        trained = self.common if number == 1 else folder
        with hold(trained, wait=True):
            if not self.learner.has_network(trained):  # the picks were deleted after it
                self._train(trained, number, again=True)
        score = functools.partial(self.learner.score, trained)
        labeled = _read_labeled(folder, self.pool, number)
        picking = Picking(self.config, self.pool, self.method, self.seed, number, folder)
        picks = picking.pick(score, labeled)
        write_labeled(self._round(number + 1) / "labeled.csv", [*labeled, *picks])
        self._tell(number, f"picked {described(picks)}")

    def _tell(self, number: int, text: str) -> None:
        self._say(f"{self.name} round {number}/{self.rounds}: {text}")


class _Full:
    """Full supervision of one seed: the same training with every label and without picks."""

    def __init__(
        self,
        config: LoopConfig,
        learner: Learner,
        method: str,
        seed: int,
        say: Callable[[str], None],
    ) -> None:
        self.config, self.learner, self.seed, self._say = config, learner, seed, say
        self.name = f"{method}-seed{seed}"
        self.folder = config.folder / self.name

    def check(self) -> None:
        """Check nothing: the settings are those that all runs share."""

    def work(self) -> None:
        ids = self.learner.pool.ids
        if not (self.folder / "labeled.csv").exists():
            write_labeled(self.folder / "labeled.csv", ids)
        settings = {"uncertainty": self.config.training.uncertainty}
        if not _is_learned(self.folder):
            labeled = read_labeled(self.folder / "labeled.csv", frozenset(ids), len(ids))
            _learn(self.learner, self.folder, labeled, self.seed, settings, self._tell)
        if not self.config.keep_models:
            self.learner.forget(self.folder)

    def _tell(self, text: str) -> None:
        self._say(f"{self.name}: {text}")


def _is_learned(folder: Path) -> bool:
    """Whether the network of a folder was trained and measured."""
    return (folder / "metrics.json").exists()


def _read_labeled(folder: Path, pool: Pool, number: int) -> tuple[Item, ...]:
    """The items that a round is trained on."""
    return read_labeled(folder / "labeled.csv", frozenset(pool.ids), pool.counts[number - 1])


def _learn(
    learner: Learner,
    folder: Path,
    labeled: tuple[Item, ...],
    seed: int,
    settings: Mapping[str, bool],
    tell: Callable[[str], None],
) -> None:
    """Train on the labeled items and measure."""
    task = Task(folder=folder, labeled=labeled, seed=seed, **settings)
    metrics = learner.learn(task, lambda text: tell(f"{described(labeled)}, {text}"))
    write_json(folder / "metrics.json", metrics)
    tell(f"{described(labeled)}, mIoU {100 * metrics['miou']:.1f} %")


def _open_learner(config: LoopConfig) -> Learner:
    """Open the data and device, or the command, of the training."""
    if isinstance(config.training, CommandConfig):
        return CommandLearner(config, config.training)
    try:
        if config.training.pixels is not None:
            from deal.loop.by_features import FeatureLearner

            return FeatureLearner(config, config.training)
        from deal.loop.by_recipe import RecipeLearner
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise DealError(
            f"deal loop needs PyTorch for its own training: {pip_install('train')}, or give "
            "[training] command"
        ) from error
    return RecipeLearner(config, config.training)
