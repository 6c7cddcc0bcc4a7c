"""Choose how many sessions run at once, and with how many threads each, by rule or measurement.

``--sessions auto`` tries two layouts on the first image of the pool: one session per core with one
thread each, and one session with all cores. The first need not divide or synchronise any work. The
second needs the memory of only one network, and is faster if caches are too small for several.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from deal.errors import ItemError, ModelError
from deal.machine.cores import available_cores
from deal.pool.decode import decode
from deal.run.config import ScoreConfig
from deal.scoring.options import Runtime
from deal.scoring.session import Session
from deal.types import PoolItem

__all__ = ["Layout", "default_batch_size", "default_threads", "layout_for"]

# Batches in flight: the network runs on one while the next is prepared and the last one scored.
_SESSIONS_CUDA = 2
# A measurement takes this share of the run, and more only if the network is slow.
_SHARE, _SECONDS, _ROUNDS = 0.05, 2.0, 4
# One session with all cores must be faster by this factor; a smaller difference is noise.
_GAIN = 1.05
# Number of images that may fail before the measurement is given up.
_SAMPLES = 20


@dataclass(frozen=True, slots=True)
class Layout:
    """The sessions that run at once.

    Attributes
    ----------
    sessions : int
    threads : int
        Threads of one session.
    batch_size : int
    measured : dict, optional
        With ``auto``: the measurement, or the reason why there is none; JSON values.
    """

    sessions: int
    threads: int
    batch_size: int
    measured: dict[str, Any] | None = None

    def notes(self) -> list[str]:
        """Notes for the user on what ``auto`` chose, and why."""
        if self.measured is None:
            return []
        if "skipped" in self.measured:
            why = f"not measured, {self.measured['skipped']}"
        else:
            speeds = self.measured["images_per_second"].items()
            why = ", ".join(f"{name}: {speed:.1f} images/s" for name, speed in speeds)
        return [f"--sessions auto chose {self.sessions}x{self.threads} (sessions x threads): {why}"]


def default_threads(runtime: Runtime) -> int:
    """Threads of one session by default: 1, as sessions share the cores; torch has one session."""
    return runtime.threads or (available_cores() if runtime.engine == "torch" else 1)


def default_batch_size(runtime: Runtime, session: Session) -> int:
    """Images of a batch by default: 1 on the CPU, where larger ones gain nothing."""
    return runtime.batch_size or (1 if session.device == "cpu" else session.batch_size)


def layout_for(config: ScoreConfig, scorer: Session, left: int) -> Layout:
    """Return the layout of a run: as given by the user, by rule, or measured.

    Parameters
    ----------
    config : ScoreConfig
    scorer : Session
        An open session with `default_threads`.
    left : int
        Number of images that are not scored yet.
    """
    cores, runtime = available_cores(), config.scoring.runtime
    threads = default_threads(runtime)
    on_cpu = scorer.device == "cpu"
    sessions = max(cores // threads, 1)
    if not on_cpu:
        sessions = 1 if runtime.engine == "torch" else _SESSIONS_CUDA
    batch_size = default_batch_size(runtime, scorer)
    if isinstance(config.sessions, int):
        return Layout(config.sessions, threads, batch_size)
    if config.sessions is None:
        return Layout(sessions, threads, batch_size)
    if not on_cpu or runtime.engine == "torch" or cores == 1:
        found: dict[str, Any] = {"skipped": "there is only one layout on one core, CUDA or torch"}
    else:
        found = _measure(config, scorer, cores, batch_size, left)
    if found.get("fastest") == "wide":
        return Layout(1, cores, batch_size, found)
    return Layout(sessions, threads, batch_size, found)


def _measure(
    config: ScoreConfig, scorer: Session, cores: int, batch_size: int, left: int
) -> dict[str, Any]:
    started = time.perf_counter()
    sample = _sample(config, scorer)
    if sample is None:
        return {"skipped": f"none of the first {_SAMPLES} images can be scored"}
    images, extras = [sample[0]] * batch_size, [sample[1]] * batch_size

    def score(session: Session) -> None:
        session.score_batch(images, extras)

    score(scorer)  # work that is done only once does not count
    one = _seconds(lambda: score(scorer))
    whole = one * left / (batch_size * cores)
    budget = min(_SHARE * whole, max(_SECONDS, 2 * _ROUNDS * one))
    if budget < 2 * _ROUNDS * one:
        return {"skipped": f"{left} images are too few for a measurement to pay off"}
    wide = scorer.again(threads=cores)
    narrow = [scorer, *(scorer.again() for _ in range(cores - 1))]
    try:
        found = _interleaved(score, narrow, wide, started + budget)
    finally:
        for session in (wide, *narrow[1:]):
            session.close()
    speeds = {name: batch_size * float(np.median(values)) for name, values in found.items()}
    return {
        "fastest": "wide" if speeds["wide"] > _GAIN * speeds["narrow"] else "narrow",
        "images_per_second": {f"{cores}x1": speeds["narrow"], f"1x{cores}": speeds["wide"]},
        "rounds": len(found["wide"]),
        "seconds": time.perf_counter() - started,
    }


def _interleaved(
    score: Callable[[Session], None], narrow: Sequence[Session], wide: Session, deadline: float
) -> dict[str, list[float]]:
    """Batches per second of both layouts, measured in turns until the deadline."""
    speeds: dict[str, list[float]] = {"narrow": [], "wide": []}
    with ThreadPoolExecutor(len(narrow), "deal-measure") as executor:

        def timed(session: Session) -> float:
            return _seconds(lambda: score(session))

        def together() -> float:
            # the sum of the speeds, since sessions of a run do not wait for the slowest
            return sum(1 / seconds for seconds in executor.map(timed, narrow))

        def alone() -> float:
            return len(narrow) / sum(timed(wide) for _ in narrow)

        together(), alone()  # the first inference of a session plans its memory
        while not speeds["wide"] or time.perf_counter() < deadline:
            speeds["narrow"].append(together())
            speeds["wide"].append(alone())
    return speeds


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _sample(config: ScoreConfig, scorer: Session) -> tuple[Any, Any] | None:
    """The first image of the pool that can be scored, prepared for the network."""
    for item in islice(config.items, _SAMPLES):
        if not isinstance(item, PoolItem):
            continue
        try:
            decoded = decode(item, max_pixels=config.max_pixels, at_least=scorer.at_least)
            image, extras = scorer.prepared(
                decoded.image, original=decoded.size, item_id=item.id, camera=item.camera
            )
            scorer.score_batch([image], [extras])
            return image, extras
        except (ItemError, MemoryError, ModelError, RuntimeError):  # its row will say why
            continue
    return None
