"""What ``why`` says of kept frames, as `deal.select` says it of stored rows.

A frame's classes are noted when it is scored, six bytes each, and those of frames that are gone are
forgotten. After a restart the kept frames that are not known are scored once more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal.acquisitions import Bound
from deal.results.schema import images_schema, to_table
from deal.selection.reasons import reason_of
from deal.selection.why import class_codes, class_texts

__all__ = ["Reasons"]

_FEW = 1024


class Reasons:
    """The reasons of frames, by id.

    Parameters
    ----------
    bound : Bound
        The function that ranks. One that compares with the pool's median says nothing of a stream,
        which does not know the pool.
    classes : int
        Number of classes of the model.
    """

    def __init__(self, bound: Bound, classes: int) -> None:
        self._bound, self._classes = bound, classes
        self._reason = reason_of(bound)
        self._codes: dict[str, bytes] = {}
        self._limit = _FEW

    def note(
        self, ids: Sequence[str], columns: Mapping[str, NDArray[Any]], holds: Callable[[str], bool]
    ) -> None:
        """Remember the rows of a batch; ``holds`` tells whether a frame may still be kept."""
        for name, code in zip(ids, self._of(columns), strict=True):
            if code is not None:
                self._codes[name] = code
        if len(self._codes) > self._limit:
            self._codes = {name: code for name, code in self._codes.items() if holds(name)}
            self._limit = max(2 * len(self._codes), _FEW)

    def lacking(self, ids: Sequence[str]) -> list[str]:
        """Those of the frames whose images have to be scored, for what is not known of them."""
        if self._reason.fixed is not None or self._reason.against_pool:
            return []
        return [name for name in ids if name not in self._codes]

    def texts(self, ids: Sequence[str]) -> list[str | None]:
        """The text of each frame; None where nothing can be said."""
        import pyarrow as pa

        if self._reason.fixed is not None:
            return [self._reason.fixed] * len(ids)
        codes = [self._codes.get(name, bytes(6)) for name in ids]
        column = pa.chunked_array([pa.array(codes, pa.binary(6))])
        texts: list[str | None] = class_texts(self._reason, self._bound, column, None).to_pylist()
        return texts

    def _of(self, columns: Mapping[str, NDArray[Any]]) -> list[bytes | None]:
        rows = len(columns["status"])
        reason = self._reason
        if (
            reason.fixed is not None
            or reason.against_pool
            or not set(reason.columns) <= set(columns)
        ):
            return [None] * rows
        # As a part of results has them, so that the shares are those of `deal.select`.
        needed = {name: columns[name] for name in (*reason.columns, "status")}
        filler = np.full(rows, "", object)
        table = to_table(
            {**needed, "id": filler, "uri": filler, "source_version": filler},
            images_schema(),
            self._classes,
        )
        codes = class_codes(reason, self._bound, table, None, None)
        found: list[bytes | None] = codes.to_pylist()
        return found
