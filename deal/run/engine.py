"""The engine that ``auto`` stands for in a run: that of the results so far, or the fastest."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

from deal.engines import find_device
from deal.engines.choosing import AUTO, choose_engine, reason_of
from deal.errors import EngineUnavailableError, ItemError, UsageError
from deal.model.spec import read_spec
from deal.pool.decode import decode
from deal.results.claim import claimed
from deal.run.config import ScoreConfig
from deal.run.sessions import default_threads
from deal.types import PoolItem

__all__ = ["settled"]

_SAMPLES = 20  # images that may fail before a usual size is taken


def settled(config: ScoreConfig) -> tuple[ScoreConfig, list[str]]:
    """The config with the name of an engine, and a note on the one that ``auto`` took.

    Raises as :func:`deal.engines.choosing.choose_engine` does.
    """
    if config.scoring.runtime.engine != AUTO:
        return config, []
    recorded, notes = _recorded(config), []
    if recorded is not None:
        try:
            find_device(recorded, config.scoring.runtime.device)
        except (EngineUnavailableError, UsageError) as error:
            notes.append(
                f"the results in {config.output} so far are of {recorded}, which does not run "
                f"here: {reason_of(error)}"
            )
        else:
            said = f"--engine auto took {recorded}, as for the results in {config.output} so far"
            return _with(config, recorded), [said]
    runtime = config.scoring.runtime
    choice = choose_engine(
        config.model[0],
        runtime.device,
        runtime.precision,
        default_threads(runtime),
        config.scoring.network.model_options,
        others=config.model[1:],
        batch_size=runtime.batch_size,
        image_size=_image_size(config),
    )
    return _with(config, choice.engine), [*notes, choice.note()]


def _with(config: ScoreConfig, engine: str) -> ScoreConfig:
    runtime = replace(config.scoring.runtime, engine=engine)
    return replace(config, scoring=replace(config.scoring, runtime=runtime))


def _recorded(config: ScoreConfig) -> str | None:
    """The engine of the results that the run goes on with, if they say."""
    if config.overwrite:
        return None
    return (claimed(config.output) or {}).get("deal.engine")


def _image_size(config: ScoreConfig) -> tuple[int, int] | None:
    """Size (H, W) of the first image that can be read, for a model that takes any."""
    model = Path(config.model[0])
    options = config.scoring.network.model_options
    if model.suffix != ".onnx" or read_spec(model, options).input_size is not None:
        return None
    for item in islice(config.items, _SAMPLES):
        if isinstance(item, PoolItem):
            try:
                return decode(item, max_pixels=config.max_pixels).size
            except (ItemError, MemoryError):  # its row will say why
                continue
    return None
