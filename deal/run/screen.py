"""The first, cheap pass over a pool: the ways to screen, as settings of runs."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from deal.errors import ModelError, UsageError
from deal.model.spec import ModelSpec, read_spec
from deal.run.config import ScoreConfig
from deal.run.screen_check import KEEP, factor_of, is_model
from deal.types import COMMITTEE_COLUMNS

__all__ = ["FOLDER", "Screen", "screens_of"]

FOLDER = "screen"
"""Folder of an output that holds the results of its screens, each an output of its own."""
_AUTO_FACTORS = (0.5, 2 / 3)


@dataclass(frozen=True, slots=True)
class Screen:
    """One way to screen.

    Attributes
    ----------
    name : str
        Of its folder.
    shown : str
        What it is, for users.
    config : ScoreConfig
        The run over the pool that screens it.
    cost : float or None
        Share of the time of an exact pass, by the pixels of the input; None: to be measured.
    """

    name: str
    shown: str
    config: ScoreConfig
    cost: float | None


def screens_of(config: ScoreConfig, spec: ModelSpec) -> list[Screen]:
    """The ways to screen that ``--screen`` allows, the cheapest first.

    Raises
    ------
    ModelError
        The model's input has a fixed size, or the cheaper model cannot stand in for it.
    """
    assert config.screen is not None
    if is_model(config.screen):
        return [_with_model(config, spec)]
    factor = factor_of(config.screen)
    factors = _AUTO_FACTORS if factor is None else (factor,)
    return [_smaller(config, spec, one) for one in factors]


def _smaller(config: ScoreConfig, spec: ModelSpec, factor: float) -> Screen:
    """The same model on a smaller input."""
    if spec.input_size is None:
        raise ModelError(
            f"model {spec.path} takes images at their own size, so --screen cannot shrink its "
            "input: give --model-option input_size=[H,W], or a cheaper model as --screen MODEL"
        )
    if spec.resize == "none":
        raise ModelError(
            f"model {spec.path} does not resize images (resize none), so --screen cannot shrink "
            "its input: give a cheaper model as --screen MODEL"
        )
    network = config.scoring.network
    members = config.model if config.scoring.runtime.engine != "torch" else ()
    multiple = math.lcm(
        spec.size_multiple, *(read_spec(m, network.model_options).size_multiple for m in members)
    )
    height, width = (max(round(n * factor / multiple), 1) * multiple for n in spec.input_size)
    options = {**(network.model_options or {}), "input_size": [height, width]}
    for model in members:
        try:
            read_spec(model, options)
        except (ModelError, UsageError) as error:
            votes = {*COMMITTEE_COLUMNS} & {*config.ranking.bind(spec.classes).columns}
            other = "" if votes else ", or give a cheaper model as --screen MODEL"
            raise ModelError(
                f"model {model} cannot take an input of {height}×{width}, so --screen cannot "
                f"shrink it: export it with a dynamic height and width{other} ({error})"
            ) from error
    scoring = replace(config.scoring, network=replace(network, model_options=options))
    full = spec.input_size[0] * spec.input_size[1]
    name, shown = f"{height}x{width}", f"at {height}×{width}"
    made = _pass(config, name, spec, replace(config, scoring=scoring))
    return Screen(name, shown, made, height * width / full)


def _with_model(config: ScoreConfig, spec: ModelSpec) -> Screen:
    """Another model at its own size."""
    assert config.screen is not None
    path = Path(config.screen)
    try:
        other = read_spec(path)
    except ModelError as error:
        where = f" (--model-option is for --model alone, {path.stem}.json beside the screen for it)"
        is_lack = "model option" in str(error)
        raise ModelError(f"--screen {path}: {error}{where if is_lack else ''}") from error
    if other.classes != spec.classes:
        raise ModelError(
            f"--screen {path} has {other.num_classes} classes and model {spec.path} "
            f"{spec.num_classes}, or names them otherwise: screen with a model of the same classes"
        )
    network = replace(config.scoring.network, model_options=None, difficulty_head=None)
    runtime = replace(config.scoring.runtime, precision=None)
    scoring = replace(config.scoring, network=network, runtime=runtime)
    name = f"model-{other.digest()[:12]}"
    changed = replace(config, model=(config.screen,), scoring=scoring)
    made = _pass(config, name, other, changed)
    return Screen(name, f"with {path.name}", made, None)


def _pass(config: ScoreConfig, name: str, spec: ModelSpec, changed: ScoreConfig) -> ScoreConfig:
    # A forecast needs no full raster, which models that box or crop images do need.
    is_cut = spec.resize in ("letterbox", "crop")
    pixels = replace(changed.scoring.pixels, raster="input" if is_cut else "half")
    return replace(
        changed,
        screen=None,
        screen_keep=KEEP,
        output=config.output / FOLDER / name,
        scoring=replace(changed.scoring, pixels=pixels),
        previews=0,
        store_maps="none",
        save_manifest=None,
    )
