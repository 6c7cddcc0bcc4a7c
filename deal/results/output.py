"""Writing results: an output folder that survives kills, resumes, and has one row an item.

Layout: ``images/*.parquet``, ``regions/*.parquet``, ``runs/<shard>.json``
(:mod:`deal.results.parts`), ``_lock*`` (:mod:`deal.results.lock`). The image rows decide: an item
is done when its row is visible.
Hence the order of every change, so that a kill between two steps leaves no item with two rows
and no region without its image once the folder is opened again:

* a new part: regions become visible before images;
* a row that is replaced: the old image row goes, then its regions, then the new part comes;
* regions whose image row is missing are dropped when the folder is opened.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from deal.errors import OutputError, ResultsError
from deal.machine.files import remove_if_old, writing
from deal.pool.ids import Shard
from deal.results.claim import check_part, take_over
from deal.results.known import DESCRIPTION, Known, redescribed
from deal.results.lock import OutputLock
from deal.results.maps import remove_foreign_maps, remove_maps
from deal.results.partfile import deal_metadata
from deal.results.parts import (
    FOLDERS,
    count_rows,
    footer,
    keep_rows,
    list_parts,
    part_name,
    part_number,
    part_shard,
    part_size,
    publish,
    read_ids,
    read_part,
)
from deal.results.records import record_paths, write_record
from deal.results.schema import (
    fingerprint,
    images_schema,
    part_metadata,
    regions_schema,
    to_table,
)
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
        self._known = Known()
        self._part_counts: dict[str, int] = {}  # rows of each, of whatever shard
        self._next_number = 0
        self._lock = lock

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        settings: Mapping[str, Any],
        classes: Sequence[str],
        overwrite: bool = False,
        shard: Shard | None = None,
        part_rows: int = 512,
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
        overwrite : bool
            First remove all parts of other settings and all rows of this shard. Nothing but
            files deal wrote is touched.
        shard : Shard, optional
            Processes that write shards of equal ``count`` may share the folder.
        part_rows : int
            Of the first parts; later ones have more (:func:`deal.results.parts.part_size`).

        Raises
        ------
        OutputError
            The folder cannot be written, is in use, or holds results of other settings or files
            of someone else.
        """
        path, shard = Path(path), shard or Shard()
        with _changing(path):
            for folder in ("images", "runs"):
                (path / folder).mkdir(parents=True, exist_ok=True)
            lock = OutputLock(path, shard, fingerprint(settings))
            try:
                output = cls(path, settings, classes, shard, part_rows, lock)
                with lock.exclusive():
                    output._recover(overwrite)
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
        """Items of this shard whose rows are stored."""
        return len(self._known)

    def is_done(self, item_id: str, source_version: str) -> bool:
        """Whether a row of the item, made from this version of its file, is stored.

        An item that is not done may be written; a row of an older version is then replaced.
        """
        return self._known.is_done(item_id, source_version)

    def differs(self, item: PoolItem) -> bool:
        """Whether the pool gives another sequence, camera, time or attributes than were stored."""
        return self._known.differs(item)

    def duplicate_of(self, item_id: str) -> int | None:
        """Digest of the id that an item repeats by its row when the folder was opened, or None."""
        return self._known.leader(item_id)

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
        if self._rows >= part_size(self._part_rows, self.done_count):
            self.flush()

    def flush(self) -> None:
        """Make the buffered rows a visible part, replacing older rows of the same items."""
        if not self._rows:
            return
        name = part_name(self.shard, self._next_number)
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
        self._next_number += 1
        self._part_counts[name] = len(ids)  # the number of a part that is gone may come again
        self._known.store(name, ids, images.column("source_version").to_pylist())
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
            part = self._known.part(item.id)
            if part is not None:
                by_part[part][item.id] = item
        total = 0
        for name, known in by_part.items():
            with _changing(self.path), self._lock.exclusive():
                path = self.path / "images" / name
                rows, changed = redescribed(read_part(path), known)
                if changed:
                    publish(rows, path)
            total += changed
        return total

    def check_rows(self) -> None:
        """Count the rows of the parts against what was stored in them.

        Raises
        ------
        OutputError
            A part is gone, or something else changed it.
        """
        for name, rows in self._part_counts.items():
            if not self._is_own(name):
                continue
            part = self.path / "images" / name
            with _changing(self.path):
                found = count_rows(part)
            if found != rows:
                raise OutputError(
                    f"{part} holds {found} rows, but {rows} were stored: something else changed "
                    "it; run the same command again to score what is missing"
                )

    def write_run(self, record: Mapping[str, Any]) -> Path:
        """Write ``runs/<shard>.json``: the record, with ``shard`` and ``fingerprint`` added.

        That of the run before becomes ``runs/<shard>-0001.json``, or the next number.
        """
        with _changing(self.path):
            return write_record(self.path, self.shard, self.fingerprint, record)

    def forget(self) -> None:
        """Give back the memory of what is done, when nothing more will be written."""
        self._known = Known()

    def exclusive(self) -> AbstractContextManager[None]:
        """Keep other shards from joining, leaving and rewriting parts for a moment."""
        return self._lock.exclusive()

    def close(self) -> None:
        """Give the folder back; rows still buffered are lost."""
        self._lock.release()

    def _concerns(self, part: Path) -> bool:
        """Whether rows of this shard may be in the part, and no living process owns it.

        Only shards of an equal count are written at the same time, each in its own parts. Parts of
        engines belong to no shard.
        """
        owner = part_shard(part.name)
        return owner is None or owner == self.shard or owner.count != self.shard.count

    def _is_own(self, part: str) -> bool:
        """Whether no other process may change the part while this one runs."""
        return self.shard.count == 1 or part_shard(part) == self.shard

    def _recover(self, overwrite: bool) -> None:
        for folder in FOLDERS:
            for path in (self.path / folder).glob("_*"):
                if part_shard(path.name) is None:
                    remove_if_old(path)  # an engine may be writing it
                elif self._concerns(path):
                    path.unlink()
        if overwrite:
            self._overwrite()
        for folder in FOLDERS:
            for part in list_parts(self.path / folder):
                check_part(part, deal_metadata(self._metadata))
        for part in list_parts(self.path / "images"):
            if self._concerns(part):
                self._load(part)
        for part in list_parts(self.path / "regions"):
            if self._concerns(part):
                self._drop_orphans(part.name)
        own = [
            part_number(part.name)
            for folder in FOLDERS
            for part in list_parts(self.path / folder)
            if part_shard(part.name) == self.shard
        ]
        self._next_number = max(own, default=-1) + 1
        take_over(self.path, deal_metadata(self._metadata))

    def _overwrite(self) -> None:
        for folder in FOLDERS:
            for part in list_parts(self.path / folder):
                foreign = part_shard(part.name) is None
                try:
                    found = footer(part)
                    foreign = foreign and "deal.schema" not in found
                    equal = found.get("deal.fingerprint") == self.fingerprint
                except (OSError, ResultsError):
                    equal = False
                if foreign:
                    continue
                if not equal or part_shard(part.name) == self.shard:
                    part.unlink()
                elif self._concerns(part):
                    ids = read_ids(part)
                    keep_rows(part, pa.array([not self.shard.contains(i) for i in ids.to_pylist()]))
        for path in record_paths(self.path, self.shard):
            path.unlink(missing_ok=True)
        for name in ("previews.jpg", "selection.csv", "selection.json"):
            (self.path / name).unlink(missing_ok=True)
        remove_foreign_maps(self.path, self.fingerprint)

    def _load(self, part: Path) -> None:
        """Learn what is done; drop this shard's rows with status ``error``, and second rows.

        An item has two where hosts whose locks do not reach each other wrote the same folder, or
        an engine wrote it twice. Which of them counts is that of :mod:`deal.results.repeats`.
        """
        columns = ["id", "status", "source_version", "duplicate_of", *DESCRIPTION]
        table = read_part(part, columns)
        ids = table.column("id").to_pylist()
        mine = pa.array([self.shard.contains(item_id) for item_id in ids], pa.bool_())
        is_ok = pc.equal(table.column("status"), "ok").to_pylist()
        better = [
            item_id
            for item_id, ok in zip(ids, is_ok, strict=True)
            if ok and self._known.leader(item_id) is not None and self.shard.contains(item_id)
        ]
        self._remove(better)
        stay = {*better}
        seen = [item_id in self._known and item_id not in stay for item_id in ids]
        gone = pc.or_(pc.equal(table.column("status"), "error"), pa.array(seen, pa.bool_()))
        gone = pc.and_(mine, gone.combine_chunks())
        keep_rows(part, pc.invert(gone))
        self._part_counts[part.name] = len(ids) - (pc.sum(gone).as_py() or 0)
        self._known.load(part.name, table.filter(pc.and_not(mine, gone)))

    def _drop(self, ids: Sequence[str]) -> None:
        """Drop stored rows of these items, and their regions and maps."""
        stale = [item_id for item_id in ids if item_id in self._known]
        for item_id in stale:
            remove_maps(self.path, item_id)
        if stale:
            with self._lock.exclusive():
                self._remove(stale)

    def _remove(self, ids: Sequence[str]) -> None:
        """Drop stored rows of these items, and their regions, while nobody else may."""
        stale = defaultdict(list)
        for item_id in ids:
            stale[self._known.part(item_id)].append(item_id)
        for name, gone in stale.items():
            part = None if name is None else self.path / "images" / name
            if name is not None and part is not None and part.exists():
                keep = pc.invert(pc.is_in(read_ids(part), pa.array(gone)))
                keep_rows(part, keep)
                self._part_counts[name] = pc.sum(keep).as_py() or 0
                self._drop_orphans(name)

    def _drop_orphans(self, name: str) -> None:
        """Drop regions whose image has no row in the part of the same name."""
        images, regions = (self.path / folder / name for folder in FOLDERS)
        if regions.exists():
            ids = read_ids(images) if images.exists() else pa.array([], pa.string())
            keep_rows(regions, pc.is_in(read_ids(regions), ids))


@contextmanager
def _changing(path: Path) -> Iterator[None]:
    """OutputError for whatever goes wrong with the files of an output."""
    try:
        with writing(path):
            yield
    except ResultsError as error:
        raise OutputError(str(error)) from error
