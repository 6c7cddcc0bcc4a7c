"""The frozen configuration of an experiment, read from one TOML file."""

from __future__ import annotations

import datetime
import math
import os
import re
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from deal.acquisitions.registry import POLICIES
from deal.errors import UsageError
from deal.loop.records import record
from deal.loop.rounds import RoundsConfig
from deal.loop.training import CommandConfig, TrainingConfig, training_config
from deal.pool.ids import sequence_pattern
from deal.pool.schemes import refuse_scheme
from deal.selection import Ranking
from deal.selection.options import SelectOptions, flat_options
from deal.selection.stochastic import parse_schedule
from deal.training.recipe import IMAGENET, check_seed, check_size

__all__ = [
    "FULL",
    "DataConfig",
    "LoopConfig",
    "MethodConfig",
    "ScoringConfig",
    "parse_config",
    "read_config",
]

FULL = "full"
"""The name of full supervision among the runs."""

# Options of a selection that the loop sets itself, and those that concern regions.
_OWN = ("budget", "exclude", "include", "seed")
_OF_REGIONS = ("table", "max_per_image")
# Known data sets → regular expression for the drive in an image's name.
_DRIVES = {"synthetic-drives": r"^(.+)_\d+"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """``[data]``: see :func:`deal.training.data.load_dataset`.

    Attributes
    ----------
    dataset : str
    root : str, optional
        Folder of the data set, relative to the folder of the configuration.
    size : (H, W), optional
    scenes : int
        Training scenes of ``synthetic``, or frames of ``synthetic-drives``.
    evaluate : ``val`` or ``test``
        The split on which every round is measured.
    sequence_from : str, optional
        Regular expression that is searched in an image's name; its first group is the image's
        drive. Known data sets do not need it.
    """

    dataset: str
    root: str | None = None
    size: tuple[int, int] | None = None
    scenes: int = 500
    evaluate: str = "val"
    sequence_from: str | None = None

    def __post_init__(self) -> None:
        check_size("[data] size", self.size)
        if self.dataset in _DRIVES and self.sequence_from is None:
            object.__setattr__(self, "sequence_from", _DRIVES[self.dataset])
        if self.sequence_from is not None:
            sequence_pattern(self.sequence_from, "[data] sequence_from")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringConfig:
    """``[scoring]``: options of :func:`deal.score_pool`.

    The engine scores the ONNX export; ``torch`` scores the checkpoint without an export.
    """

    engine: str = "ort"
    device: str = "auto"
    batch_size: int | None = None
    sessions: int | None = None
    threads: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodConfig:
    """``[methods.NAME]``.

    Attributes
    ----------
    selection : mapping
        ``acquisition``, its options and other keywords of :func:`deal.select`. If regions are
        labeled, ``table`` is ``regions``, or ``images`` for a method that picks whole images.
    difficulty_loss : bool
        False trains the network without the difficulty loss, as an ablation. Such a method has its
        own first round.
    uncertainty : bool
        True gives the difficulty branch weights of uncertainty, as ``[training] uncertainty`` does
        for all methods. Such a method has its own first round.
    flip, dropout_passes, dropout_seed
        The committee of passes (:class:`deal.scoring.committee.Members`).
    """

    selection: Mapping[str, Any]
    difficulty_loss: bool = True
    uncertainty: bool = False
    flip: bool = False
    dropout_passes: int = 0
    dropout_seed: int = 0

    @property
    def picks_regions(self) -> bool:
        """Whether the method picks regions instead of whole images."""
        return self.selection.get("table") == "regions"

    def ranking(self) -> Ranking:
        """The method's settings for ranking; UsageError if they are invalid for every budget.

        The budget stands for that of any round.
        """
        asked: SelectOptions = {
            **self.asked(1, 1),
            "budget": "pixels:1" if self.picks_regions else "100%",
        }
        return Ranking.of(**asked)

    def asked(self, number: int, picks: int) -> SelectOptions:
        """``selection`` as :func:`deal.select` takes it, for the ``number``th of so many picks.

        Picks are spread only if it says so.
        """
        asked = flat_options({"spread": "off", **self.selection})
        policy = POLICIES.get(asked.get("acquisition", ""))
        if policy is not None and asked.get("stochastic") is None:
            asked["stochastic"] = policy.in_rounds
        schedule = parse_schedule(asked.get("stochastic"))
        if schedule is not None:
            asked["stochastic"] = schedule.at(number, picks)
        return asked


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopConfig:
    """The configuration of an experiment; sizes are (H, W) in pixels.

    Attributes
    ----------
    experiment : str
        Name of the experiment's folder in ``output``.
    output : str
        Output folder, relative to the working folder.
    seeds : tuple of int
    data, training, rounds, scoring
    methods : mapping of name to MethodConfig
    plugins : tuple of str
        Modules or files that register acquisition functions.
    full : bool
        Also train once per seed with all labels, as "full", the reference of the report.
    keep_models : bool
        Keep checkpoint and ONNX file of every round, not only of the shared first round.
    """

    experiment: str
    data: DataConfig
    training: TrainingConfig | CommandConfig
    rounds: RoundsConfig
    methods: Mapping[str, MethodConfig]
    output: str = "runs"
    seeds: tuple[int, ...] = (0,)
    scoring: ScoringConfig = field(default_factory=ScoringConfig)
    plugins: tuple[str, ...] = ()
    full: bool = False
    keep_models: bool = False

    def __post_init__(self) -> None:
        if not _is_name(self.experiment):
            raise UsageError(f"experiment {self.experiment!r} must be a valid name of a folder")
        refuse_scheme(self.output, "output", "give a folder on this machine")
        if not self.methods:
            raise UsageError("there is no method: add a table such as [methods.random]")
        for name in self.methods:
            if name in ("common", FULL):
                raise UsageError(f"method {name!r}: the loop itself uses this name; choose another")
            if not _is_name(name):
                raise UsageError(f"method {name!r}: use letters, digits, - and _ for the name")
        if isinstance(self.training, CommandConfig):
            self._check_command()
        elif self.training.pixels is not None:
            self._check_features()
        elif self.rounds.source is not None and self.training.steps is None:
            raise UsageError(
                "[rounds] regions needs [training] steps instead of epochs: an epoch would take "
                "longer the more images the regions are spread over"
            )
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise UsageError("seeds must be a list of different whole numbers, each at least 0")
        for seed in self.seeds:
            check_seed("each of seeds", seed)

    @property
    def folder(self) -> Path:
        """The folder of the experiment."""
        return Path(self.output) / self.experiment

    def shared(self) -> dict[str, Any]:
        """Settings that all runs of an experiment share, as JSON values.

        Methods and seeds may be added later; folders, devices and compiling may differ between
        machines.
        """
        values = {"data": asdict(self.data), "training": self.training.shared()}
        values["rounds"] = self.rounds.shared()
        del values["data"]["root"]
        return typing.cast(dict[str, Any], _json(values))

    def of_method(self, name: str) -> dict[str, Any]:
        """One method's settings as JSON values."""
        values = asdict(self.methods[name])
        if not self.methods[name].uncertainty:
            del values["uncertainty"]
        return typing.cast(dict[str, Any], _json(values))

    def _check_features(self) -> None:
        """Refuse committees, whose members see other images than the kept features show."""
        for name, method in self.methods.items():
            for key in ("flip", "dropout_passes"):
                if getattr(method, key):
                    raise UsageError(
                        f"[methods.{name}] {key} does not work with [training] pixels, which "
                        "scores kept features of whole images: leave one of them out"
                    )

    def _check_command(self) -> None:
        """Refuse settings that only deal's own training has."""
        for name, method in self.methods.items():
            for key, default in (("difficulty_loss", True), ("uncertainty", False)):
                if getattr(method, key) is not default:
                    raise UsageError(
                        f"[methods.{name}] {key} works only with deal's own training: leave it out "
                        "with [training] command"
                    )
        if self.data.size is not None:
            raise UsageError(
                "[data] size cannot be used with [training] command, which reads the files itself: "
                "the model's input_size decides the size for scoring"
            )
        if self.scoring.engine not in ("ort", "openvino", "trt"):
            raise UsageError(
                f"[scoring] engine must be ort, openvino or trt, not {self.scoring.engine!r}: "
                "[training] command writes ONNX"
            )


def read_config(path: str | os.PathLike[str]) -> LoopConfig:
    """Read a TOML file.

    Raises
    ------
    UsageError
        The file cannot be read, is not TOML, lacks a key, or has an unknown key or a value of a
        wrong type.
    """
    file = Path(path)
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"configuration {file} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"configuration {file} is not TOML: {error}") from error
    try:
        return parse_config(values, file.parent)
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from error


def parse_config(values: Mapping[str, Any], folder: Path = Path()) -> LoopConfig:
    """Make a configuration from nested mappings; input paths are relative to ``folder``."""
    values = dict(values)
    sections: dict[str, Any] = {
        "data": DataConfig,
        "rounds": RoundsConfig,
        "scoring": ScoringConfig,
    }
    for name, kind in sections.items():
        if name in values:
            values[name] = record(kind, values[name], f"[{name}]")
    if "training" in values:
        values["training"] = training_config(values["training"])
    for section, name in (("data", "root"), ("training", "weights")):
        path = getattr(values.get(section), name, None)
        if isinstance(path, str) and (section, path) != ("training", IMAGENET):
            values[section] = replace(values[section], **{name: str(folder / path)})
    plugins = values.get("plugins", [])
    if isinstance(plugins, list) and all(isinstance(name, str) for name in plugins):
        from deal.acquisitions import load_plugin

        values["plugins"] = [
            str(folder / name) if name.endswith(".py") else name for name in plugins
        ]
        for plugin in values["plugins"]:
            load_plugin(plugin)
    methods = values.get("methods")
    if isinstance(methods, Mapping):
        rounds = values.get("rounds")
        regions = isinstance(rounds, RoundsConfig) and rounds.source is not None
        values["methods"] = {
            name: _method(name, table, regions=regions) for name, table in methods.items()
        }
    return record(LoopConfig, values, "the configuration")


def _method(name: str, table: Any, *, regions: bool) -> MethodConfig:
    where = f"[methods.{name}]"
    if not isinstance(table, Mapping):
        raise UsageError(f"{where} must be a table")
    for key, value in table.items():
        _refuse_unstorable(value, f"{where} {key}")
    own = {item.name for item in fields(MethodConfig)} - {"selection"}
    selection = {key: value for key, value in table.items() if key not in own}
    for key in _OWN:
        if key in selection:
            raise UsageError(f"{where} {key}: the loop sets it itself")
    if regions:
        selection = {"table": "regions", "by": "score", **selection}
    for key in () if regions else _OF_REGIONS:
        if key in selection:
            raise UsageError(f"{where} {key} needs regions: give [rounds] regions, such as grid:40")
    if "acquisition" not in selection:
        raise UsageError(f"{where} needs acquisition, such as 'ds'")
    rest = {key: value for key, value in table.items() if key in own}
    method = record(MethodConfig, {**rest, "selection": selection}, where)
    try:
        method.ranking()
    except (UsageError, TypeError) as error:
        raise UsageError(f"{where} {error}") from error
    return method


def _refuse_unstorable(value: Any, where: str) -> None:
    """Refuse what JSON cannot hold, since a run is known again by the JSON of its settings."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            _refuse_unstorable(item, where)
    elif isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{where} cannot be {value}: give a finite number")
    elif isinstance(value, (datetime.date, datetime.time)):
        raise UsageError(f"{where} cannot be a date or a time of TOML: give text, in quotes")


def _is_name(text: str) -> bool:
    return re.fullmatch(r"\w[\w.-]*", text) is not None


def _json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json(item) for item in value]
    return value
