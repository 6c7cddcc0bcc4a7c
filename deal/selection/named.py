"""Rows that lists of the user name: those to leave out, and those to take first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deal.selection.rules import IdList

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Named", "lacking"]


class Named:
    """A list, ready to be held against many rows.

    Parameters
    ----------
    names : IdList
    of_regions : bool
        Whether rows are regions. The list may name a region to name its image.
    """

    def __init__(self, names: IdList, *, of_regions: bool) -> None:
        import pyarrow as pa

        images, pairs = names.images, {name for name, _ in names.regions}
        self._pairs = names.regions if of_regions else frozenset()
        self._images = pa.array(sorted(images if of_regions else images | pairs), pa.large_string())
        self._of_pairs = pa.array(sorted(pairs if of_regions else ()), pa.large_string())

    def rows(self, ids: pa.Array, regions: NDArray[np.int32] | None) -> NDArray[np.bool_]:
        """Which rows the list names, bool [n]."""
        import pyarrow as pa
        import pyarrow.compute as pc

        found = np.zeros(len(ids), dtype=bool)
        if len(self._images) or len(self._of_pairs):
            ids = ids.cast(pa.large_string())
        if len(self._images):
            found |= pc.is_in(ids, self._images).to_numpy(zero_copy_only=False)
        if regions is not None and len(self._of_pairs):
            near = np.flatnonzero(pc.is_in(ids, self._of_pairs).to_numpy(zero_copy_only=False))
            pairs = zip(ids.take(pa.array(near)).to_pylist(), regions[near].tolist(), strict=True)
            found[near] |= np.array([pair in self._pairs for pair in pairs], dtype=bool)
        return found


def lacking(
    names: IdList,
    ids: pa.Array,
    regions: NDArray[np.int32] | None,
    rows: NDArray[np.bool_],
    option: str,
    what: str,
) -> Iterator[str]:
    """Yield a note on names in a list that none of the rows that it names has."""
    import pyarrow as pa

    found = ids.filter(pa.array(rows)).to_pylist()
    images = set(found)
    lacks = len(names.images - images)
    if regions is None:
        lacks += len({name for name, _ in names.regions} - images - names.images)
    elif names.regions:
        pairs = set(zip(found, regions[rows].tolist(), strict=True))
        lacks += len(names.regions - pairs)
    if lacks:
        yield f"{lacks} of the {len(names)} names to {option} are {what}"
