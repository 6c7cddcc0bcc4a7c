"""``--engine auto``: run a model on the engines that are here, and take the fastest.

Only engines that give the same numbers within rounding are compared: in the precision that was
asked for, or else in that of the file. TensorRT is not tried, since it builds for minutes, and
PyTorch runs checkpoints alone.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deal.engines import open_engine
from deal.engines.base import on_host
from deal.errors import DealError, EngineUnavailableError, ModelError
from deal.model.placing import nearest_multiple

if TYPE_CHECKING:
    from deal.engines.base import Engine

__all__ = ["AUTO", "Choice", "choose_engine", "reason_of"]

AUTO = "auto"

_OF_ONNX = ("ort", "openvino")  # of two that are equally fast the first is taken
_SECONDS = 1.0
_TOLERANCE = 1e-3  # of the range of the logits
_SIZE = (360, 480)  # of images, where neither the model nor the caller says


@dataclass(frozen=True)
class Choice:
    """The engine that was taken, and why.

    Attributes
    ----------
    engine : str
    images_per_second : dict of str to float
        Of each engine that was measured: one session, with the threads of one.
    left_out : dict of str to str
        Why others were not, by name.
    """

    engine: str
    images_per_second: dict[str, float] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def note(self) -> str:
        """What was taken and what was measured, in one line."""
        speeds = [f"{name} {speed:.1f}" for name, speed in self.images_per_second.items()]
        why = [f"{', '.join(speeds)} images/s in one session"] if speeds else []
        why += [f"{name} left out: {reason}" for name, reason in self.left_out.items()]
        return f"--engine auto took {self.engine}" + (f" ({'; '.join(why)})" if why else "")


def choose_engine(
    model: str | Path,
    device: str = "auto",
    precision: str | None = None,
    threads: int | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    others: Sequence[str | Path] = (),
    batch_size: int | None = None,
    image_size: tuple[int, int] | None = None,
) -> Choice:
    """Measure the engines that are here on a model, for about a second besides opening it.

    Engines take turns on images of noise, of the size that the model takes or else of about
    ``image_size`` (H, W). An engine whose numbers are its own, such as
    int8 of OpenVINO, counts only if no other one runs the model.

    Parameters
    ----------
    model, device, precision, threads, options, batch_size
        As in :func:`deal.engines.open_engine`.
    others : sequence of path
        Further members of a committee: the engine has to run them too, and alike.

    Raises
    ------
    UsageError, EngineUnavailableError, ModelError
        No engine runs the models; with one engine what that one raises.
    """
    if Path(model).suffix in (".pt", ".pth"):
        return Choice("torch")
    opened: dict[str, Engine] = {}
    own: set[str] = set()  # names of those whose numbers are their own
    failed: dict[str, DealError] = {}
    for name in _OF_ONNX:
        try:
            engines = [
                open_engine(path, name, device, precision, threads, options, batch_size=batch_size)
                for path in (model, *others)
            ]
        except (EngineUnavailableError, ModelError) as error:
            failed[name] = error
            continue
        opened[name] = engines[0]
        if any(engine.own_numbers() for engine in engines):
            own.add(name)
    if not opened:
        raise _none_runs(Path(model), failed, precision)
    left_out = {name: reason_of(error) for name, error in failed.items()}
    alike = {name: engine for name, engine in opened.items() if name not in own}
    if alike:
        odd = "its numbers differ by more than rounding; --engine names it"
        left_out |= {name: odd for name in opened if name not in alike}
        opened = alike
    if len(opened) == 1:
        return Choice(next(iter(opened)), left_out=left_out)
    speeds, different = _measured(opened, image_size)
    for name in different:
        left_out[name] = "its logits differ"
    return Choice(max(speeds, key=lambda name: speeds[name]), speeds, left_out)


def _measured(
    engines: Mapping[str, Engine], image_size: tuple[int, int] | None
) -> tuple[dict[str, float], list[str]]:
    """Images per second, and the engines whose logits are not those of the first."""
    batches = {name: _batch(engine, image_size) for name, engine in engines.items()}
    logits = {name: _logits(engine, batches[name]) for name, engine in engines.items()}
    first = next(iter(logits.values()))
    different = [
        name
        for name, found in logits.items()
        if not np.abs(found - first).max() <= _TOLERANCE * np.ptp(first)
    ]
    seconds: dict[str, list[float]] = {name: [] for name in engines if name not in different}
    deadline = time.perf_counter() + _SECONDS
    while True:
        for name, taken in seconds.items():
            begin = time.perf_counter()
            on_host(engines[name].infer(batches[name]))
            taken.append(time.perf_counter() - begin)
        if time.perf_counter() >= deadline or len(seconds) == 1:
            break
    speeds = {name: len(batches[name]) / min(taken) for name, taken in seconds.items()}
    return speeds, different


def _batch(engine: Engine, image_size: tuple[int, int] | None) -> NDArray[np.uint8]:
    """A batch of noise; the first image is the same for every engine."""
    spec = engine.spec
    h, w = (nearest_multiple(n, spec.size_multiple) for n in image_size or _SIZE)
    size = spec.input_size or (h, w)
    image = np.random.default_rng(0).integers(0, 256, (1, *size, 3), np.uint8)
    return np.repeat(image, engine.batch or 1, axis=0)


def _logits(engine: Engine, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(on_host(engine.infer(batch)).logits[:1], np.float32)


def _none_runs(model: Path, failed: Mapping[str, DealError], precision: str | None) -> DealError:
    """What is wrong with the model or, where another engine might run it, what all of them say."""
    broken = [error for error in failed.values() if isinstance(error, ModelError)]
    if broken and (precision != "bf16" or len(broken) == len(failed)):
        return broken[0]
    reasons = "; ".join(f"{name}: {error}" for name, error in failed.items())
    return EngineUnavailableError(f"no engine here runs model {model} ({reasons})")


def reason_of(error: DealError) -> str:
    """The first words of an error that an engine raised when it was opened, before its remedy."""
    if isinstance(error.__cause__, ImportError):
        return "not installed"
    return str(error).partition(": ")[0].partition(";")[0]
