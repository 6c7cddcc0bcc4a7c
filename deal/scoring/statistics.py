"""Statistics of a network's output, computed where the output lies: on the host or a device."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal import _native
from deal.engines.device import DeviceArray
from deal.kernel.regions import Grid, Segments
from deal.kernel.statistics import difficulty_map, score_logits
from deal.machine.meter import Meter
from deal.model.head import DifficultyHead
from deal.model.spec import ModelSpec
from deal.types import EngineOutput, Statistics

__all__ = ["Kernel"]


class Kernel:
    """Calls :func:`deal.score_logits` for one model. Use one per thread.

    If the output is on a device, only masks and maps of segments are copied to the device, and only
    the tables are copied back.

    Parameters
    ----------
    spec : ModelSpec
    head : DifficultyHead, optional
    from_graph : bool
        Whether the graph's own difficulty is used.
    threads : int, optional
        Threads on the CPU.
    """

    def __init__(
        self, spec: ModelSpec, head: DifficultyHead | None, from_graph: bool, threads: int | None
    ) -> None:
        self._spec = spec
        self._head = head
        self._from_graph = from_graph
        self._threads = threads
        self._uploads: dict[str, DeviceArray] = {}

    def again(self, threads: int | None) -> Kernel:
        """The same for another thread."""
        twin = copy.copy(self)
        twin._threads = threads
        twin._uploads = {}
        return twin

    def statistics(
        self,
        output: EngineOutput,
        size: tuple[int, int],
        regions: Grid | Segments | None,
        mask: NDArray[np.uint8] | None,
        meter: Meter,
    ) -> Statistics:
        """Statistics on a raster of ``size``; the time they take is counted as ``kernel``."""
        logits = output.logits if output.members is None else output.members
        arguments: dict[str, Any] = {
            "size": size,
            "head": self._head,
            "align_corners": self._spec.align_corners,
            "difficulty": output.difficulty if self._from_graph else None,
            "threads": self._threads,
        }
        if not isinstance(logits, DeviceArray):
            with meter("kernel"):
                return score_logits(logits, regions=regions, mask=mask, **arguments)
        stream = logits.stream
        begin, end = (_native.Event(stream.device, timing=True) for _ in range(2))
        if isinstance(regions, Segments):
            ids = np.ascontiguousarray(regions.map)
            count = regions.count if regions.count is not None else int(ids.max(initial=0)) + 1
            regions = Segments(self._upload("segments", ids, stream), count)
        if mask is not None:
            mask = self._upload("mask", np.ascontiguousarray(mask), stream)
        begin.record(stream)
        found = score_logits(
            logits, regions=regions, mask=mask, stream=stream, done=end, **arguments
        )
        meter.add({"kernel": end.milliseconds_since(begin) / 1000})
        return found

    def difficulty_maps(
        self, output: EngineOutput, size: tuple[int, int]
    ) -> list[NDArray[np.float32] | None]:
        """Difficulty [H, W] of each image of an output on the host; None where it is not finite."""
        maps: list[NDArray[np.float32] | None] = []
        for row in range(len(output.logits)):
            logits = output.logits[row : row + 1]
            grids = output.difficulty if self._from_graph else None
            grid = None if grids is None else grids[row : row + 1]
            is_finite = np.isfinite(logits).all() and (grid is None or np.isfinite(grid).all())
            maps.append(
                difficulty_map(
                    logits,
                    self._head,
                    size=size,
                    align_corners=self._spec.align_corners,
                    difficulty=grid,
                    threads=self._threads,
                )[0]
                if is_finite
                else None
            )
        return maps

    def _upload(self, name: str, array: NDArray[Any], stream: _native.Stream) -> Any:
        """Copy an array to the device; memory is allocated anew only if it is too small."""
        kept = self._uploads.get(name)
        if kept is None or kept.nbytes < array.nbytes:
            kept = self._uploads[name] = DeviceArray.empty((array.nbytes,), np.uint8, stream)
        # The host memory is not pinned, so the call returns only after it has been read.
        stream.copy(kept.address, array.ctypes.data, array.nbytes)
        return kept.seen_as(array.shape, array.dtype)
