"""Maps of the picks: those that a run stored, or else of one pass of the network over the picks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deal.errors import DealError, ItemError
from deal.pool.decode import decode
from deal.results.maps import KINDS, from_stored, map_stamp, read_map
from deal.types import PoolItem
from deal.viewing.pictures import Mapped, small_maps

if TYPE_CHECKING:
    from deal.scoring.session import Session
    from deal.viewing.rows import Pool

__all__ = ["Layers", "find_layers"]

_REPLACED = "the file has changed since it was scored: score the pool again"


class Layers:
    """Where the maps of the picks come from; iterating draws them.

    Attributes
    ----------
    missing : str
        Why there are no maps; empty where there are.
    failed : dict of row to str
        Why single images have none, after iterating.
    """

    def __init__(
        self,
        pool: Pool,
        stored: Sequence[int] = (),
        drawn: Sequence[int] = (),
        session: Session | None = None,
        missing: str = "",
    ) -> None:
        self.missing = missing
        self.failed: dict[int, str] = {}
        self._pool = pool
        self._rows_stored = list(stored)
        self._rows_drawn = list(drawn) if session is not None else []
        self._session = session

    def __len__(self) -> int:
        return len(self._rows_stored) + len(self._rows_drawn)

    def __iter__(self) -> Iterator[Mapped]:
        yield from self._stored()
        if self._session is not None:
            with self._session as session:
                yield from self._drawn(session)

    def _drawn(self, session: Session) -> Iterator[Mapped]:
        from deal.run.reopen import map_pass

        ids = self._pool.table.column("id").take(self._rows_drawn).to_pylist()
        row_of = dict(zip(ids, self._rows_drawn, strict=True))
        for item_id, pixels, maps in map_pass(self._pool.output, ids, session):
            row = row_of[item_id]
            if pixels is None:
                assert isinstance(maps, ItemError)
                self.failed[row] = f"{maps.code}: {maps.message}"
                continue
            assert not isinstance(maps, ItemError)
            classes = maps.classes.astype(np.uint32) + 1
            classes[classes > 255] = 0  # void; the page paints 255 classes
            planes: dict[str, NDArray[Any] | None] = {
                "classes": classes,
                "difficulty": maps.difficulty,
                "entropy": maps.entropy,
                "score": maps.score,
            }
            yield row, pixels, small_maps(planes)

    def _stored(self) -> Iterator[Mapped]:
        if not self._rows_stored:
            return
        pool = self._pool
        for row, item in zip(self._rows_stored, pool.items(self._rows_stored), strict=True):
            try:
                pixels = decode(item).image
            except ItemError as error:
                self.failed[row] = f"{error.code}: {error.message}"
                continue
            planes: dict[str, NDArray[Any] | None] = {}
            for kind in KINDS:
                stored = read_map(pool.output, kind, item.id)
                if stored is not None and kind == "classes":
                    planes[kind] = np.where(stored > 255, 0, stored)
                elif stored is not None:
                    planes[kind] = from_stored(kind, stored, len(pool.classes))
            first = ("entropy", "difficulty") if "entropy" in pool.acquisition else KINDS[1:]
            planes["score"] = next((planes[kind] for kind in first if kind in planes), None)
            yield row, pixels, small_maps(planes)


def find_layers(pool: Pool, rows: Sequence[int], model: str | os.PathLike[str] | None) -> Layers:
    """Find maps for rows: stored ones of these very images, else the model that scored them.

    Where there is neither, `Layers` says why. An image whose file has changed since counts as one
    without stored maps.

    Raises
    ------
    DealError
        A ``model`` was given and cannot be used.
    """
    if not rows:
        why = "--maps 0 was given" if pool.selected else "Nothing is selected"
        return Layers(pool, missing=f"{why}, so no maps were drawn.")
    stored: list[int] = []
    replaced: list[int] = []
    for row, item in zip(rows, pool.items(rows), strict=True):
        stamp = f"{pool.fingerprint} {item.source_version}"
        if any(map_stamp(pool.output, kind, item.id) == stamp for kind in KINDS):
            (replaced if _replaced(item) else stored).append(row)
    others = sorted(set(rows) - set(stored), key=list(rows).index)
    if not others:
        return Layers(pool, stored)
    from deal.run.reopen import reopen

    try:
        return Layers(pool, stored, others, reopen(pool.output, model))
    except DealError as error:
        if model is not None:
            raise
        missing = "" if stored else f"There are no overlays: {error}."
        layers = Layers(pool, stored, missing=missing)
        layers.failed |= dict.fromkeys(replaced, _REPLACED)
        return layers


def _replaced(item: PoolItem) -> bool:
    """Whether another file lies there now; one that cannot be read is told of when it is."""
    try:
        return item.locator.version() != item.source_version
    except ItemError:
        return False
