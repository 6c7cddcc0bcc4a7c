"""Results that engines write in parallel: batches of rows, and what is still to be scored.

Every batch becomes a part of its own, which never changes. Its name is unique and tells nothing but
when it was written, counted down: of two rows of an item that are both ok the newer one counts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from deal.errors import UsageError
from deal.machine.files import writing
from deal.pool.listing import Pool
from deal.pool.remote_path import place
from deal.results.claim import check_metadata, claim, claimed, take_over
from deal.results.known import Known
from deal.results.partfile import deal_metadata
from deal.results.parts import batch_name, first_part, list_parts, publish
from deal.results.reading import open_part
from deal.results.schema import IMAGE_COLUMNS, REQUIRED, images_schema
from deal.types import FailedItem, PoolItem

__all__ = ["StoredResults", "open", "write"]

Source = str | os.PathLike[str]
_METADATA = ("deal.schema", "deal.fingerprint", "deal.settings", "deal.classes")


def write(table: pa.Table | pa.RecordBatch, output: Source) -> str:
    """Add rows to an output, as one part that is either not there or complete.

    Any number of processes may do so at once. A row of an item that has one already does no harm
    (:mod:`deal.results.repeats`), so a batch whose writer died may be written again.

    Parameters
    ----------
    table : pyarrow.Table or RecordBatch
        Image rows as `deal.BatchScorer` gives them, with the metadata of its ``schema``; at least
        the columns ``id``, ``uri``, ``source_version`` and ``status``. Columns in any order.
    output : path
        An output folder; it is created where there is none.

    Returns
    -------
    str
        Where the part is; empty for a table without rows, which makes none.

    Raises
    ------
    UsageError
        The table lacks metadata or a column, or has one that is unknown or of another type, or an
        id stands in it twice.
    OutputError
        The output holds results of other settings, or cannot be written.
    """
    rows = _checked(table)
    root = place(output)
    with writing(root):
        (root / "images").mkdir(parents=True, exist_ok=True)
        claim(root, deal_metadata(rows.schema.metadata))
        if not len(rows):
            return ""
        path = root / "images" / batch_name()
        publish(rows, path)
    return str(path)


def open(output: Source) -> StoredResults:  # noqa: A001
    """Open an output, there or not, to ask what is missing from it."""
    return StoredResults(output)


class StoredResults:
    """An output, as far as engines need to know it. Made by :func:`deal.results.open`.

    Attributes
    ----------
    output : str
    """

    def __init__(self, output: Source) -> None:
        self._root = place(output)
        self.output = str(self._root)

    @property
    def metadata(self) -> dict[str, str] | None:
        """``deal.fingerprint``, ``deal.settings`` and so on; None for an output without results.

        Raises OutputError for what is no output, or cannot be read.
        """
        with writing(self._root):
            return claimed(self._root)

    def check(self, schema: pa.Schema) -> None:
        """Refuse, before any work, rows that do not belong into the output.

        Parameters
        ----------
        schema : pyarrow.Schema
            That of the rows to come, with its metadata: `deal.BatchScorer.schema`.

        Raises
        ------
        UsageError
            The schema has no metadata.
        OutputError
            The output holds results of other settings. One that holds no rows, but was meant for
            them, is taken over.
        """
        metadata = _metadata(schema)
        found = self.metadata
        if found is None:
            return
        if first_part(self._root / "images") is not None:
            check_metadata(self._root, found, metadata)
        else:
            with writing(self._root):
                take_over(self._root, metadata)

    def missing(
        self, pool: pa.Table | pa.RecordBatch | Pool | Source | Sequence[Source]
    ) -> pa.Table | Iterator[PoolItem | FailedItem]:
        """What of a pool is still to be scored: without a row that is ok or a duplicate.

        An item whose image has changed since (its ``source_version``) is missing, too.

        Parameters
        ----------
        pool : pyarrow.Table, RecordBatch, Pool, path or sequence of paths
            A table with a column ``id`` and, optionally, ``source_version`` (null: whatever it
            is); or sources as `deal.score_pool` takes them.

        Returns
        -------
        pyarrow.Table or iterator of PoolItem and FailedItem
            Rows of the table, or items, in their order. What cannot be listed is always missing.

        Raises
        ------
        ResultsError
            A part is damaged, or was not written by deal.
        UsageError
            The table has no column ``id``, or an id is null.
        PoolError
            As listing the pool raises it.
        """
        known = self._known()
        if isinstance(pool, pa.RecordBatch):
            pool = pa.Table.from_batches([pool])
        if isinstance(pool, pa.Table):
            return _missing_rows(pool, known)
        listed = pool if isinstance(pool, Pool) else Pool(pool)
        return (
            entry
            for entry in listed
            if isinstance(entry, FailedItem) or not known.is_done(entry.id, entry.source_version)
        )

    def _known(self) -> Known:
        known = Known()
        for path in list_parts(self._root / "images"):
            part = open_part(path)
            if part is None:
                continue  # it was merged into another one, or its last row was dropped
            with part:
                table = part.read(["id", "source_version", "status"])
            again = pc.is_in(table.column("status"), pa.array(["error", "skipped"]))
            table = table.filter(pc.invert(again))
            rows = zip(
                *(table.column(n).to_pylist() for n in ("id", "source_version")), strict=True
            )
            new = [(item_id, version) for item_id, version in rows if item_id not in known]
            known.store(path.name, [one for one, _ in new], [version for _, version in new])
        return known


def _missing_rows(table: pa.Table, known: Known) -> pa.Table:
    if "id" not in table.column_names:
        raise UsageError(
            f"the table needs a column 'id'; it has {', '.join(table.column_names) or 'none'}"
        )
    if nulls := table.column("id").null_count:
        raise UsageError(f"{nulls} items have no id: give every image one of its own")
    ids = table.column("id").cast(pa.string()).to_pylist()
    versions: Sequence[str | None] = [None] * len(ids)
    if "source_version" in table.column_names:
        versions = table.column("source_version").to_pylist()
    done = [
        item_id in known if version is None else known.is_done(item_id, version)
        for item_id, version in zip(ids, versions, strict=True)
    ]
    return table.filter(pc.invert(pa.array(done, pa.bool_())))


def _metadata(schema: pa.Schema) -> dict[str, str]:
    metadata = deal_metadata(schema.metadata)
    lacking = [name for name in _METADATA if name not in metadata]
    if lacking:
        raise UsageError(
            f"the rows say nothing of {', '.join(lacking)}: give them the metadata of their "
            "scorer, table.replace_schema_metadata(scorer.schema.metadata)"
        )
    return metadata


def _checked(table: pa.Table | pa.RecordBatch) -> pa.Table:
    """The rows in the columns of the schema; those that a table lacks are null."""
    if isinstance(table, pa.RecordBatch):
        table = pa.Table.from_batches([table])
    if not isinstance(table, pa.Table):
        raise UsageError(f"rows are a pyarrow.Table or RecordBatch, not a {type(table).__name__}")
    metadata = _metadata(table.schema)
    given = table.column_names
    unknown = [name for name in given if name not in IMAGE_COLUMNS]
    lacking = sorted(name for name in REQUIRED & set(IMAGE_COLUMNS) if name not in given)
    if unknown or lacking or len(set(given)) < len(given):
        raise UsageError(
            "results are rows of deal.BatchScorer: "
            + (f"unknown columns {', '.join(unknown)}; " if unknown else "")
            + (f"columns missing: {', '.join(lacking)}; " if lacking else "")
            + "give its tables as they are"
        )
    schema = images_schema()
    arrays = []
    for field in schema:
        if field.name not in given:
            arrays.append(pa.nulls(len(table), field.type))
            continue
        try:
            column = table.column(field.name).combine_chunks().cast(field.type)
        except (pa.ArrowException, ValueError) as error:
            raise UsageError(
                f"the column {field.name!r} is of type {table.schema.field(field.name).type}, not "
                f"{field.type}: give the tables of deal.BatchScorer as they are"
            ) from error
        if column.null_count and not field.nullable:
            raise UsageError(f"the column {field.name!r} is null in {column.null_count} rows")
        arrays.append(column)
    rows = pa.Table.from_arrays(arrays, schema=schema)
    if pc.count_distinct(rows.column("id")).as_py() < len(rows):
        raise UsageError("an id stands in two rows of one table: give every item once")
    kept: Mapping[str, str] = {name: metadata[name] for name in _METADATA}
    return rows.replace_schema_metadata(kept)
