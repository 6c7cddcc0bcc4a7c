"""Writing results: an output folder that survives kills, resumes, and has one row an item.

Layout: ``images/*.parquet``, ``regions/*.parquet``, ``runs/<shard>.json``
(:mod:`deal.results.parts`), ``_lock*`` (:mod:`deal.results.lock`). The image rows decide: an item
is done when its row is visible.
Hence the order of every change, so that a kill between two steps leaves no item with two rows
and no region without its image once the folder is opened again:

* a new part: regions become visible before images;
* a row that is replaced: the old image row goes, then its regions, then the new part comes;
* regions whose image row is missing are dropped when the folder is opened.

In object storage nothing keeps other processes out, so less is changed: rows that do not count stay
until `deal compact`, and a part is rewritten only if it still is what was read.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import uuid4

import pyarrow as pa

from deal.errors import OutputError, ResultsError
from deal.machine.arrow import compute as pc
from deal.machine.files import writing
from deal.pool.ids import Shard
from deal.pool.remote_path import RemotePath, place
from deal.results.known import Known, redescribed
from deal.results.lock import OutputLock
from deal.results.maps import remove_foreign_maps, remove_maps
from deal.results.partfile import Part, deal_metadata
from deal.results.parts import (
    part_name,
    part_size,
    publish,
)
from deal.results.records import record_paths, write_record
from deal.results.schema import (
    fingerprint,
    images_schema,
    part_metadata,
    regions_schema,
    to_table,
)
from deal.results.stock import Stock
from deal.types import PoolItem

__all__ = ["Output"]


class Output:
    """An output folder, open for writing one shard. Made by :meth:`open`; a context manager.

    Leaving the context writes the rows still buffered, unless an exception ends it. Not
    thread-safe: one thread at a time.

    Attributes
    ----------
    path : Path
    shard : Shard
    fingerprint : str
    """

    def __init__(
        self,
        path: Path,
        settings: Mapping[str, Any],
        classes: Sequence[str],
        shard: Shard,
        part_rows: int,
        lock: OutputLock,
        by_rows: bool = False,
        engine: str | None = None,
    ) -> None:
        self.path = path
        self.shard = shard
        self.fingerprint = fingerprint(settings)
        self._metadata = part_metadata(settings, classes)
        self._num_classes = len(classes)
        self._part_rows = part_rows
        self._images: list[pa.Table] = []
        self._regions: list[pa.Table] = []
        self._rows = 0
        shared = deal_metadata(self._metadata) | ({"deal.engine": engine} if engine else {})
        self._stock = Stock(path, shard, shared, by_rows=by_rows)
        self._run = uuid4().hex[:8] if isinstance(path, RemotePath) else ""
        self._lock = lock

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        settings: Mapping[str, Any],
        classes: Sequence[str],
        engine: str | None = None,
        overwrite: bool = False,
        shard: Shard | None = None,
        part_rows: int = 512,
        by_rows: bool = False,
    ) -> Output:
        """Create or reopen an output folder and bring it into order.

        Rows with status ``error`` of this shard are dropped, to be tried again.

        Parameters
        ----------
        path : path
        settings : mapping
            JSON values: exactly what changes a stored number. Their fingerprint must equal that
            of the parts already there.
        classes : sequence of str, length C
        engine : str, optional
            What runs the network; it is noted in ``results.json`` for later runs.
        overwrite : bool
            First remove all parts of other settings and all rows of this shard. Nothing but
            files deal wrote is touched.
        shard : Shard, optional
            Processes that write shards of equal ``count`` may share the folder.
        part_rows : int
            Of the first parts; later ones have more (:func:`deal.results.parts.part_size`).
        by_rows : bool
            The shard is a range of rows of a manifest, not a hash of ids
            (`deal.pool.listing.Pool.takes_rows`).

        Raises
        ------
        OutputError
            The folder cannot be written, is in use, or holds results of other settings or files
            of someone else.
        """
        path, shard = place(path, what="--output"), shard or Shard()
        if overwrite and isinstance(path, RemotePath):
            raise OutputError(
                f"{path} lies in object storage, where nothing keeps others from writing it "
                "meanwhile: instead of overwriting it, remove it, or choose another --output"
            )
        with _changing(path):
            for folder in ("images", "runs"):
                (path / folder).mkdir(parents=True, exist_ok=True)
            lock = OutputLock(path, shard, fingerprint(settings))
            try:
                output = cls(path, settings, classes, shard, part_rows, lock, by_rows, engine)
                with lock.exclusive():
                    if overwrite:
                        output._overwrite()
                    output._stock.recover()
            except BaseException:
                lock.release()
                raise
        return output

    def __enter__(self) -> Output:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.flush()
        finally:
            self.close()

    @property
    def done_count(self) -> int:
        """Items of this shard whose rows are stored; those that were only screened do not count."""
        return self._stock.done_count

    def is_done(self, item_id: str, source_version: str) -> bool:
        """Whether a row of the item, made from this version of its file, is stored.

        An item that is not done may be written; a row of an older version is then replaced.
        """
        return self._stock.known.is_done(item_id, source_version)

    def is_skipped(self, item_id: str, source_version: str) -> bool:
        """Whether a row says that this version of the item was only screened; it is not done."""
        return self._stock.known.is_skipped(item_id, source_version)

    def differs(self, item: PoolItem) -> bool:
        """Whether the pool gives another sequence, camera, time or attributes than were stored."""
        return self._stock.known.differs(item)

    def duplicate_of(self, item_id: str) -> int | None:
        """Digest of the id that an item repeats by its row when the folder was opened, or None."""
        return self._stock.known.leader(item_id)

    def write(self, images: Mapping[str, Any], regions: Mapping[str, Any] | None = None) -> None:
        """Buffer rows; as many as :func:`deal.results.parts.part_size` says become a part.

        Parameters
        ----------
        images : mapping of column name to array or sequence of length B, or ndarray [B, K]
            Columns of :data:`deal.results.schema.IMAGE_COLUMNS`; ``id``, ``uri``,
            ``source_version`` and ``status`` are needed, others are null where absent, None or NaN.
        regions : mapping of column name to array or sequence of length R, optional
            Columns of :data:`deal.results.schema.REGION_COLUMNS`, one value per region; ``id``
            is that of an image in ``images``.

        Raises
        ------
        ValueError
            Unknown columns, or lengths that differ: a mistake of the caller.
        OutputError
            The part cannot be written.
        """
        table = to_table(images, images_schema(), self._num_classes)
        if regions is not None and len(regions["id"]):
            self._regions.append(to_table(regions, regions_schema(), self._num_classes))
        self._images.append(table)
        self._rows += len(table)
        if self._rows >= part_size(self._part_rows, self._stock.row_count):
            self.flush()

    def flush(self) -> None:
        """Make the buffered rows a visible part, replacing older rows of the same items."""
        if not self._rows:
            return
        name = part_name(self.shard, self._stock.next_number, self._run)
        images = pa.concat_tables(self._images)
        ids = images.column("id").to_pylist()
        if len(set(ids)) < len(ids):
            raise ValueError("an item was written twice")
        with _changing(self.path):
            self._drop(ids)
            if self._regions:
                regions = pa.concat_tables(self._regions)
                (self.path / "regions").mkdir(exist_ok=True)
                publish(
                    regions.replace_schema_metadata(self._metadata), self.path / "regions" / name
                )
            publish(images.replace_schema_metadata(self._metadata), self.path / "images" / name)
        skipped = pc.equal(images.column("status"), "skipped").to_pylist()
        self._stock.store(name, ids, images.column("source_version").to_pylist(), skipped)
        self._images, self._regions, self._rows = [], [], 0
        del images
        # Else what parts and files' writers took stays, in pieces too small for what comes next.
        pa.default_memory_pool().release_unused()

    def describe(self, items: Iterable[PoolItem]) -> int:
        """Give stored rows the sequence, camera, time and attributes that the pool gives now.

        What the pool does not give stays as it was stored.

        Returns
        -------
        int
            How many rows that changed.

        Raises
        ------
        OutputError
            A part cannot be rewritten.
        """
        by_part: dict[str, dict[str, PoolItem]] = defaultdict(dict)
        for item in items:
            part = self._stock.known.part(item.id)
            if part is not None:
                by_part[part][item.id] = item
        total = 0
        for name, known in by_part.items():
            with _changing(self.path), self._lock.exclusive():
                path = self.path / "images" / name
                with Part(path) as stored:
                    rows, changed = redescribed(stored.read(), known)
                if changed:
                    publish(rows, path, stored.tag)
            total += changed
        return total

    def check_rows(self) -> None:
        """Count the rows of the parts against what was stored in them.

        Raises
        ------
        OutputError
            A part is gone, or something else changed it.
        """
        with _changing(self.path):
            self._stock.check()

    def write_run(self, record: Mapping[str, Any]) -> Path:
        """Write ``runs/<shard>.json``: the record, with ``shard`` and ``fingerprint`` added.

        That of the run before becomes ``runs/<shard>-0001.json``, or the next number.
        """
        with _changing(self.path):
            return write_record(self.path, self.shard, self.fingerprint, record)

    def forget(self) -> None:
        """Give back the memory of what is done, when nothing more will be written."""
        self._stock.known = Known()

    def exclusive(self) -> AbstractContextManager[None]:
        """Keep other shards from joining, leaving and rewriting parts for a moment."""
        return self._lock.exclusive()

    def close(self) -> None:
        """Give the folder back; rows still buffered are lost."""
        self._lock.release()

    def _overwrite(self) -> None:
        """Remove all parts of other settings, and all rows of this shard."""
        self._stock.clear()
        for path in record_paths(self.path, self.shard):
            path.unlink(missing_ok=True)
        for name in ("previews.jpg", "selection.csv", "selection.json"):
            (self.path / name).unlink(missing_ok=True)
        remove_foreign_maps(self.path, self.fingerprint)

    def _drop(self, ids: Sequence[str]) -> None:
        """Drop stored rows of these items, and their regions and maps."""
        stale = [item_id for item_id in ids if item_id in self._stock.known]
        for item_id in stale:
            remove_maps(self.path, item_id)
        if stale:
            with self._lock.exclusive():
                self._stock.remove(stale)


@contextmanager
def _changing(path: Path) -> Iterator[None]:
    """OutputError for whatever goes wrong with the files of an output."""
    try:
        with writing(path):
            yield
    except ResultsError as error:
        raise OutputError(str(error)) from error
