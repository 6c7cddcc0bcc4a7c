"""A cluster to work on, and whether there is room on it."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any, TypeVar

from deal._install import pip_install
from deal.errors import EngineUnavailableError, UsageError
from deal.machine.cores import available_cores

__all__ = ["Need", "address_of", "aloud", "connected", "load", "one_line", "workers_for"]

T = TypeVar("T")

_PORT = 10001
_QUIET = ("ray.data", "ray._private.worker")


@dataclass(frozen=True, slots=True)
class Need:
    """What one worker takes of a node."""

    cpus: int
    gpus: float

    def __str__(self) -> str:
        return f"{self.cpus} CPU{'s' * (self.cpus > 1)}" + (
            f" and {self.gpus:g} GPU" if self.gpus else ""
        )


def load() -> Any:
    """The package ray; EngineUnavailableError where it is missing."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise EngineUnavailableError(
            f"Ray is not installed ({error}): {pip_install('ray')}"
        ) from error
    return ray


def address_of(on: str) -> str | None:
    """Read ``ray``, ``ray://auto`` or ``ray://HOST[:PORT]``; None is a cluster of one's own.

    Raises UsageError.
    """
    scheme, _, host = on.partition("://")
    if scheme != "ray" or (not host and "://" in on) or "/" in host:
        raise UsageError(
            f"--on {on!r}: write ray for a cluster of its own on this machine, ray://auto for the "
            "cluster that this machine belongs to, or ray://HOST[:PORT] for another one"
        )
    if host in ("", "auto"):
        return host or None
    return f"ray://{host}" if ":" in host else f"ray://{host}:{_PORT}"


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """A connection: the one this process has, or a new one that ends here.

    Without an address a cluster is started for this call alone, even where others run on the
    machine. Raises EngineUnavailableError if a cluster cannot be reached.
    """
    ray = load()
    if ray.is_initialized():
        with _quiet():
            yield
        return
    options: dict[str, Any] = {}
    if address is None or "://" not in address:  # a server of clients has settings of its own
        options |= {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # read when Ray starts
        options |= {"num_cpus": available_cores(), "include_dashboard": False}
    with _quiet():
        try:
            ray.init(address or "local", **options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = one_line(error)
            where = f"the cluster {address}" if address else "a cluster on this machine"
            raise EngineUnavailableError(
                f"{where} does not answer ({reason}): see that it runs (ray status), or leave out "
                "its address"
            ) from error
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def _quiet() -> Iterator[None]:
    """What Ray says of blocks and retries deal says in its own words; stdout is for results."""
    loggers = [logging.getLogger(name) for name in _QUIET]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with redirect_stdout(sys.stderr):  # where Ray's own threads would print
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def aloud(function: Callable[[T], None] | None) -> Callable[[T], None] | None:
    """A function of the caller that prints where it would outside of :func:`connected`."""
    if function is None:
        return None
    stdout, call = sys.stdout, function

    def spoken(value: T) -> None:
        with redirect_stdout(stdout):
            call(value)

    return spoken


def one_line(error: Exception) -> str:
    """An error of Ray, which may be pages long, as a line."""
    return " ".join(str(error).split())[:300]


def workers_for(actors: int | tuple[int, int] | str, need: Need, *, reads: bool) -> tuple[int, int]:
    """How many workers to use, at least and at most.

    Parameters
    ----------
    actors : int, (int, int) or ``auto``
    need : Need
        Of one worker.
    reads : bool
        Whether tasks beside the workers read the blocks, which need a CPU. If workers held all of
        them, both would wait for ever.

    Raises
    ------
    UsageError
        So many do not fit the cluster.
    """
    fit = _fit(need, spare=int(reads))
    beside = " beside one CPU that reads the data set" if reads else ""
    if fit < 1:
        raise UsageError(
            f"no node of the cluster has {need}{beside} ({_nodes()}): lower --threads, add a node, "
            "or choose --device cpu"
        )
    if actors == "auto":
        return 1, fit
    least, most = actors if isinstance(actors, tuple) else (actors, actors)
    if isinstance(least, str) or isinstance(most, str) or not 1 <= least <= most:
        raise UsageError(f"actors must be auto, a number or (least, most), not {actors!r}")
    if least > fit:
        raise UsageError(
            f"{least} actors with {need} each do not fit the cluster ({_nodes()}), which has room "
            f"for {fit}{beside}: lower actors, or leave it at auto"
        )
    return least, most


def _fit(need: Need, spare: int) -> int:
    total = 0
    for resources in _resources():
        cpus = int(resources.get("CPU", 0))
        places = (cpus - min(spare, cpus)) // need.cpus
        spare -= min(spare, cpus)
        if need.gpus:
            places = min(places, int(resources.get("GPU", 0) / need.gpus))
        total += places
    return total


def _resources() -> list[dict[str, float]]:
    """Of each node that is up, the smallest first."""
    found = [node["Resources"] for node in load().nodes() if node["Alive"]]
    return sorted(found, key=lambda resources: resources.get("CPU", 0))


def _nodes() -> str:
    found = _resources()
    parts = ", ".join(f"{r.get('CPU', 0):g} CPU + {r.get('GPU', 0):g} GPU" for r in found[:4])
    return f"{len(found)} nodes: {parts}" + (", …" if len(found) > 4 else "")
