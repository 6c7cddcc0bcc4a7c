"""How many sessions run at once and with how many threads each: by rule, or measured.

``--sessions auto`` tries one session a core with one thread each, and one session with all cores,
on the first image of the pool. The former has no work to part and nothing to wait for; the latter
takes the memory of one network, and wins where caches are too small for several.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from statistics import median
from typing import Any

from deal.errors import ItemError, ModelError
from deal.machine.cores import available_cores
from deal.pool.decode import decode
from deal.run.config import ScoreConfig
from deal.scoring.session import Session
from deal.types import PoolItem

__all__ = ["Layout", "default_threads", "layout_for"]

# Batches in flight: the network runs on one while the next is brought up and the last scored.
_SESSIONS_CUDA = 2
# A measurement takes so much of the run, and no longer unless the network is slow.
_SHARE, _SECONDS, _ROUNDS = 0.05, 2.0, 4
# One session with all cores has to be so much faster: less is noise.
_GAIN = 1.05
# Images of the pool that may fail before the measurement is given up.
_SAMPLES = 20


@dataclass(frozen=True, slots=True)
class Layout:
    """What runs at once.

    Attributes
    ----------
    sessions : int
    threads : int
        Of one session.
    batch_size : int
    measured : dict, optional
        Of ``auto``: what was found, or why nothing was measured; JSON values.
    """

    sessions: int
    threads: int
    batch_size: int
    measured: dict[str, Any] | None = None

    def notes(self) -> list[str]:
        """What the user should hear of ``auto``: what it chose, and why."""
        if self.measured is None:
            return []
        if "skipped" in self.measured:
            why = f"not measured, {self.measured['skipped']}"
        else:
            speeds = self.measured["images_per_second"].items()
            why = ", ".join(f"{name}: {speed:.1f} images/s" for name, speed in speeds)
        return [f"--sessions auto chose {self.sessions}x{self.threads} (sessions x threads): {why}"]


def default_threads(config: ScoreConfig) -> int:
    """Threads of one session: one, as sessions share the cores; torch has but one session."""
    runtime = config.scoring.runtime
    return runtime.threads or (available_cores() if runtime.engine == "torch" else 1)


def layout_for(config: ScoreConfig, scorer: Session, left: int) -> Layout:
    """The layout of a run: as asked for, by rule, or measured.

    Parameters
    ----------
    config : ScoreConfig
    scorer : Session
        Open, with `default_threads`.
    left : int
        Images still to be scored.
    """
    cores, threads, runtime = available_cores(), default_threads(config), config.scoring.runtime
    on_cpu = scorer.device == "cpu"
    sessions = max(cores // threads, 1)
    if not on_cpu:
        sessions = 1 if runtime.engine == "torch" else _SESSIONS_CUDA
    batch_size = runtime.batch_size or (1 if on_cpu else scorer.batch_size)
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

    score(scorer)  # what is only done once does not count
    one = _seconds(lambda: score(scorer))
    whole = one * left / (batch_size * cores)
    budget = min(_SHARE * whole, max(_SECONDS, 2 * _ROUNDS * one))
    if budget < 2 * _ROUNDS * one:
        return {"skipped": f"{left} images are too few for a measurement to pay"}
    wide = scorer.again(threads=cores)
    narrow = [scorer, *(scorer.again() for _ in range(cores - 1))]
    try:
        found = _interleaved(score, narrow, wide, started + budget)
    finally:
        for session in (wide, *narrow[1:]):
            session.close()
    speeds = {name: batch_size * median(values) for name, values in found.items()}
    return {
        "fastest": "wide" if speeds["wide"] > _GAIN * speeds["narrow"] else "narrow",
        "images_per_second": {f"{cores}x1": speeds["narrow"], f"1x{cores}": speeds["wide"]},
        "rounds": len(found["wide"]),
        "seconds": time.perf_counter() - started,
    }


def _interleaved(
    score: Callable[[Session], None], narrow: Sequence[Session], wide: Session, deadline: float
) -> dict[str, list[float]]:
    """Batches a second of both layouts, in turns until the deadline."""
    speeds: dict[str, list[float]] = {"narrow": [], "wide": []}
    with ThreadPoolExecutor(len(narrow), "deal-measure") as executor:

        def timed(session: Session) -> float:
            return _seconds(lambda: score(session))

        def together() -> float:
            # the sum of their speeds: sessions of a run do not wait for the slowest
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
    """The first image of the pool that can be scored, as the network sees it."""
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
