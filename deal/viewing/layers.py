"""Maps of the picks: those that a run stored, or else of one pass of the network over the picks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deal.errors import DealError, ItemError
from deal.pool.decode import decode
from deal.pool.ids import id_to_path
from deal.results.maps import KINDS, from_stored, map_path, read_map
from deal.types import PoolItem
from deal.viewing.pictures import Mapped, small_maps

if TYPE_CHECKING:
    from deal.scoring.session import Session
    from deal.viewing.rows import Pool

__all__ = ["Layers", "find_layers"]


class Layers:
    """Where the maps of the picks come from.

    Attributes
    ----------
    rows : list of int
        Rows that maps are drawn for.
    missing : str
        Why there are no maps; empty where there are.
    failed : dict of row to str
        Why single images have none, after iterating.
    """

    def __init__(
        self, pool: Pool, rows: Sequence[int], session: Session | None, missing: str = ""
    ) -> None:
        self.rows = [] if missing else list(rows)
        self.missing = missing
        self.failed: dict[int, str] = {}
        self._pool = pool
        self._session = session

    def __iter__(self) -> Iterator[Mapped]:
        if not self.rows:
            return
        ids = self._pool.table.column("id").take(self.rows).to_pylist()
        if self._session is None:
            yield from self._stored(ids)
        else:
            with self._session as session:
                yield from self._drawn(session, ids)

    def _drawn(self, session: Session, ids: list[str]) -> Iterator[Mapped]:
        from deal.run.reopen import map_pass

        row_of = dict(zip(ids, self.rows, strict=True))
        for item_id, pixels, maps in map_pass(self._pool.output, ids, session):
            row = row_of[item_id]
            if pixels is None:
                assert isinstance(maps, ItemError)
                self.failed[row] = f"{maps.code}: {maps.message}"
                continue
            assert not isinstance(maps, ItemError)
            classes = maps.classes.astype(np.uint16) + 1
            classes[classes > 255] = 0  # void; the page paints 255 classes
            planes: dict[str, NDArray[Any] | None] = {
                "classes": classes,
                "difficulty": maps.difficulty,
                "entropy": maps.entropy,
                "score": maps.score,
            }
            yield row, pixels, small_maps(planes)

    def _stored(self, ids: list[str]) -> Iterator[Mapped]:
        pool = self._pool
        uris = pool.table.column("uri").take(self.rows).to_pylist()
        for row, item_id, uri in zip(self.rows, ids, uris, strict=True):
            try:
                pixels = decode(PoolItem(item_id, uri, id_to_path(uri), "")).image
            except ItemError as error:
                self.failed[row] = f"{error.code}: {error.message}"
                continue
            planes: dict[str, NDArray[Any] | None] = {}
            for kind in KINDS:
                stored = read_map(pool.output, kind, item_id)
                if stored is not None:
                    plain = kind == "classes"
                    classes = len(pool.classes)
                    planes[kind] = stored if plain else from_stored(kind, stored, classes)
            score = planes.get("entropy" if "entropy" in pool.acquisition else "difficulty")
            planes["score"] = score if score is not None else planes.get("entropy")
            yield row, pixels, small_maps(planes)


def find_layers(
    pool: Pool,
    rows: Sequence[int],
    model: str | os.PathLike[str] | None,
) -> Layers:
    """Find maps for rows: stored ones, or the model that scored them, or the word why not.

    Raises
    ------
    DealError
        A ``model`` was given and cannot be used.
    """
    if not rows:
        return Layers(pool, (), None, "Nothing is selected, so no maps were drawn.")
    ids = pool.table.column("id").take(list(rows)).to_pylist()
    stored = [
        any(map_path(pool.output, kind, item_id).exists() for kind in KINDS) for item_id in ids
    ]
    if model is None and any(stored):
        return Layers(pool, [r for r, has in zip(rows, stored, strict=True) if has], None)
    from deal.run.reopen import reopen

    try:
        return Layers(pool, rows, reopen(pool.output, model))
    except DealError as error:
        if model is not None:
            raise
        return Layers(pool, (), None, f"There are no overlays: {error}.")
