"""The parts of an output as one shard sees them: which items are done, and where their rows are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa

from deal.errors import OutputError, ResultsError
from deal.machine.arrow import compute as pc
from deal.machine.files import remove_if_old
from deal.pool.ids import Shard
from deal.pool.remote_path import RemotePath
from deal.results.claim import check_metadata, check_part, claim, take_over
from deal.results.known import DESCRIPTION, Known
from deal.results.partfile import deal_metadata
from deal.results.parts import (
    FOLDERS,
    count_rows,
    footer,
    keep_rows,
    list_parts,
    part_number,
    part_shard,
    read_ids,
    read_part,
)

__all__ = ["Stock"]

_KNOWN_COLUMNS = ["id", "status", "source_version", "duplicate_of", *DESCRIPTION]
_REQUESTS = 16


class Stock:
    """What lies in an output. Whoever changes it holds the lock of the output.

    Parameters
    ----------
    path : Path
        The output.
    shard : Shard
    metadata : mapping of str to str
        Of the parts that this shard writes.
    by_rows : bool
        The shard is a range of rows of a manifest, so no hash tells which items are its own: those
        in its own parts are, and those in parts of no living shard may be.

    Attributes
    ----------
    known : Known
        Items of the shard that are done.
    next_number : int
        Of the shard's next part.
    """

    def __init__(
        self, path: Path, shard: Shard, metadata: Mapping[str, str], *, by_rows: bool = False
    ) -> None:
        self._path, self._shard, self._metadata = path, shard, metadata
        self._by_rows = by_rows
        self._others = 0  # items of other shards that are known, too
        self.known = Known()
        self.next_number = 0
        self._counts: dict[str, int] = {}  # rows of each part, of whatever shard

    def store(
        self, part: str, ids: Sequence[str], versions: Sequence[str], skipped: Sequence[bool]
    ) -> None:
        """Note a part that was written."""
        self.next_number += 1
        self._counts[part] = len(ids)  # the number of a part that is gone may come again
        self.known.store(part, ids, versions, skipped)

    @property
    def done_count(self) -> int:
        """Items of the shard that are done, as far as can be told."""
        return max(self.row_count - self.known.skipped, 0)

    @property
    def row_count(self) -> int:
        """Rows of the shard, also of items that were only screened, as far as can be told."""
        return max(len(self.known) - self._others, 0)

    def check(self) -> None:
        """Count the rows of the parts against what was stored in them; OutputError."""
        if isinstance(self._path, RemotePath):  # a part that was rewritten is not counted again
            lost = {*self._counts} - {part.name for part in list_parts(self._path / "images")}
            if lost:
                raise OutputError(
                    f"{self._path / 'images' / min(lost)} is gone: something else removed it; run "
                    "the same command again to score what is missing"
                )
            return
        for name, rows in self._counts.items():
            if not self._is_own(name):
                continue
            part = self._path / "images" / name
            found = count_rows(part)
            if found != rows:
                raise OutputError(
                    f"{part} holds {found} rows, but {rows} were stored: something else changed "
                    "it; run the same command again to score what is missing"
                )

    def clear(self) -> None:
        """Remove parts of other settings, and all rows of the shard."""
        for folder in FOLDERS:
            for part in list_parts(self._path / folder):
                foreign = part_shard(part.name) is None
                try:
                    found = footer(part)
                    foreign = foreign and "deal.schema" not in found
                    equal = found.get("deal.fingerprint") == self._metadata["deal.fingerprint"]
                except (OSError, ResultsError):
                    equal = False
                if foreign:
                    continue
                if not equal or part_shard(part.name) == self._shard:
                    part.unlink()
                elif self._concerns(part):
                    ids = read_ids(part)
                    keep_rows(
                        part, pa.array([not self._shard.contains(i) for i in ids.to_pylist()])
                    )

    def _concerns(self, part: Path) -> bool:
        """Whether rows of this shard may be in the part, and no living process owns it.

        Only shards of an equal count are written at the same time, each in its own parts. Parts of
        engines belong to no shard.
        """
        owner = part_shard(part.name)
        return owner is None or owner == self._shard or owner.count != self._shard.count

    def _is_own(self, part: str) -> bool:
        """Whether no other process may change the part while this one runs."""
        return self._shard.count == 1 or part_shard(part) == self._shard

    def recover(self) -> None:
        """Bring the parts into order, and learn what is done.

        Raises
        ------
        OutputError
            A part is of other settings or of someone else.
        """
        if isinstance(self._path, RemotePath):
            self._learn()
            return
        for folder in FOLDERS:
            for path in (self._path / folder).glob("_*"):
                if part_shard(path.name) is None:
                    remove_if_old(path)  # an engine may be writing it
                elif self._concerns(path):
                    path.unlink()
        for folder in FOLDERS:
            for part in list_parts(self._path / folder):
                check_part(part, self._metadata)
        for part in list_parts(self._path / "images"):
            if self._concerns(part):
                self._load(part)
        for part in list_parts(self._path / "regions"):
            if self._concerns(part):
                self._drop_orphans(part.name)
        self.next_number = self._number_after(
            [part.name for folder in FOLDERS for part in list_parts(self._path / folder)]
        )
        take_over(self._path, self._metadata)

    def _number_after(self, names: Sequence[str]) -> int:
        own = [part_number(name) for name in names if part_shard(name) == self._shard]
        return max(own, default=-1) + 1

    def _learn(self) -> None:
        """Learn what is done from parts in a store, many requests at once, and change nothing."""
        parts = list_parts(self._path / "images")
        self.next_number = self._number_after([part.name for part in parts])
        if parts:
            claim(self._path, self._metadata)
        else:
            take_over(self._path, self._metadata)
        wanted = [part for part in parts if self._concerns(part)]

        def read(part: Path) -> pa.Table | None:
            try:
                return read_part(part, _KNOWN_COLUMNS)
            except FileNotFoundError:
                return None  # merged into another one meanwhile, which is read as well

        with ThreadPoolExecutor(_REQUESTS) as requests:
            for part, table in zip(wanted, requests.map(read, wanted), strict=True):
                if table is None:
                    continue
                check_metadata(self._path, deal_metadata(table.schema.metadata), self._metadata)
                _, mine, gone = self._standing(part, table)
                self._counts[part.name] = len(table)
                self._know(part, table, mine, gone)

    def _load(self, part: Path) -> None:
        """Learn what is done; drop this shard's rows with status ``error``, and second rows.

        An item has two where hosts whose locks do not reach each other wrote the same folder, or
        an engine wrote it twice. Which of them counts is that of :mod:`deal.results.repeats`.
        """
        table = read_part(part, _KNOWN_COLUMNS)
        better, mine, gone = self._standing(part, table)
        self.remove(better)
        keep_rows(part, pc.invert(gone))
        self._counts[part.name] = len(table) - (pc.sum(gone).as_py() or 0)
        self._know(part, table, mine, gone)

    def _know(self, part: Path, table: pa.Table, mine: pa.Array, gone: pa.Array) -> None:
        own = part_shard(part.name) == self._shard
        if self._by_rows and not own:
            error = pc.equal(table.column("status"), "error").combine_chunks()
            table = table.filter(pc.invert(pc.or_(gone, error)))
            self._others += len(table)
        else:
            table = table.filter(pc.and_not(mine, gone))
        self.known.load(part.name, table)

    def _standing(self, part: Path, table: pa.Table) -> tuple[list[str], pa.Array, pa.Array]:
        """Hold rows of a part against what is known.

        Returns
        -------
        better : list of str
            Items of which a row is known that counts less.
        mine, gone : array of bool
            Rows of this shard; of these those that do not count.
        """
        ids = table.column("id").to_pylist()
        # All rows of its own parts; of others by hash, so that no two shards drop the same row.
        own = self._by_rows and part_shard(part.name) == self._shard
        is_mine = [own or self._shard.contains(item_id) for item_id in ids]
        mine = pa.array(is_mine, pa.bool_())
        is_ok = pc.equal(table.column("status"), "ok").to_pylist()
        better = [
            item_id
            for item_id, ok, its in zip(ids, is_ok, is_mine, strict=True)
            if ok
            and its
            and (self.known.leader(item_id) is not None or self.known.is_skipped(item_id))
        ]
        stay = {*better}
        seen = [item_id in self.known and item_id not in stay for item_id in ids]
        gone = pc.or_(pc.equal(table.column("status"), "error"), pa.array(seen, pa.bool_()))
        return better, mine, pc.and_(mine, gone.combine_chunks())

    def remove(self, ids: Sequence[str]) -> None:
        """Drop stored rows of these items, and their regions, while nobody else may."""
        stale = defaultdict(list)
        for item_id in ids:
            stale[self.known.part(item_id)].append(item_id)
        for name, gone in stale.items():
            part = None if name is None else self._path / "images" / name
            if name is not None and part is not None and part.exists():
                keep = pc.invert(pc.is_in(read_ids(part), pa.array(gone)))
                keep_rows(part, keep)
                self._drop_orphans(name)
                self._counts[name] = pc.sum(keep).as_py() or 0
                if not self._counts[name]:
                    del self._counts[name]

    def _drop_orphans(self, name: str) -> None:
        """Drop regions whose image has no row in the part of the same name."""
        images, regions = (self._path / folder / name for folder in FOLDERS)
        if regions.exists():
            ids = read_ids(images) if images.exists() else pa.array([], pa.string())
            keep_rows(regions, pc.is_in(read_ids(regions), ids))
