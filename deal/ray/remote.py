"""A run on the machines of another cluster, followed from here."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any

from deal._install import pip_install
from deal.errors import DealError, EngineUnavailableError
from deal.ray.cluster import load, one_line
from deal.run.progress import Progress, RunReport

__all__ = ["run_there"]

Run = Callable[[Callable[[Progress], None]], RunReport]

_LOOK_UP = 1.0  # seconds


class _There:
    """Runs on the cluster; one thread works, another one tells how far it is."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._last: Progress | None = None

    def run(self, function: Run) -> RunReport | DealError:
        try:
            return function(self._note)
        except DealError as error:
            return error

    def _note(self, progress: Progress) -> None:
        with self._lock:
            self._last = progress

    def last(self) -> Progress | None:
        with self._lock:
            return self._last


def run_there(function: Run, progress: Callable[[Progress], None] | None) -> RunReport:
    """Call a function on the connected cluster and pass its progress on; raises what it raises.

    If this process is interrupted, so is the run.
    """
    ray = load()
    there: Any = ray.remote(_There).options(num_cpus=0, max_concurrency=2).remote()
    result = there.run.remote(function)
    ended = False
    try:
        while not ended:
            ended = bool(ray.wait([result], timeout=_LOOK_UP)[0])
            last = ray.get(there.last.remote())
            if progress is not None and last is not None:
                progress(last)
        found: RunReport | DealError = ray.get(result)
    except ray.exceptions.RayError as error:
        raise EngineUnavailableError(
            f"the cluster cannot run deal ({one_line(error)}): install the same version on every "
            f"machine of it, {pip_install('ray', 'ort')}"
        ) from error
    finally:
        ray.kill(there)
    if isinstance(found, DealError):
        raise found
    return found
