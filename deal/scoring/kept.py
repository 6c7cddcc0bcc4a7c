"""What the network gave while scoring, kept for pictures, so that it need not run again."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

from deal.engines.base import as_numpy
from deal.scoring.inputs import InputGroup
from deal.types import EngineOutput, PoolItem

__all__ = ["KeptOutput", "KeptOutputs"]

_MOST = 2**27  # bytes


@dataclass(frozen=True, slots=True, eq=False)
class KeptOutput:
    """The output for one image, as a batch of one.

    Attributes
    ----------
    group : InputGroup
        Without pixels, mask and segments.
    output : EngineOutput
        On the host, without the embedding.
    """

    group: InputGroup
    output: EngineOutput


class KeptOutputs:
    """The outputs for a small pool, for any number of threads.

    Of a pool whose outputs take more than ``most`` bytes nothing is kept: few of its images are
    drawn, beside which running the network again is cheap.

    Parameters
    ----------
    most : int, optional
    """

    def __init__(self, most: int | None = None) -> None:
        self._left = _MOST if most is None else most
        self._kept: dict[tuple[str, str], KeptOutput] = {}
        self._lock = threading.Lock()

    def put(
        self,
        items: Sequence[PoolItem],
        group: InputGroup,
        rows: Sequence[int],
        output: EngineOutput,
    ) -> None:
        """Keep these rows of a group's output.

        Parameters
        ----------
        items : sequence of PoolItem
            Of the batch, at the places that ``group.indices`` gives.
        group : InputGroup
        rows : sequence of int
        output : EngineOutput
        """
        if self._left < 0:
            return
        logits, difficulty, members = map(
            as_numpy, (output.logits, output.difficulty, output.members)
        )
        for row in rows:
            one = slice(row, row + 1)
            own = EngineOutput(
                logits[one].copy(),
                None if difficulty is None else difficulty[one].copy(),
                members=None if members is None else members[:, one].copy(),
            )
            arrays = own.logits, own.difficulty, own.members
            needed = sum(array.nbytes for array in arrays if array is not None)
            place = replace(group.part(row), indices=[0], images=[], masks=[], segments=[])
            item = items[group.indices[row]]
            with self._lock:
                self._left -= needed
                if self._left < 0:
                    self._kept.clear()
                    return
                self._kept[item.id, item.source_version] = KeptOutput(place, own)

    def get(self, item: PoolItem) -> KeptOutput | None:
        """The output for this version of an item, if it was kept."""
        return self._kept.get((item.id, item.source_version))
