"""Reading stored results: one table over one or many output folders."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet
from pyarrow.fs import LocalFileSystem

from deal.errors import ResultsError
from deal.results.parts import deal_metadata, list_parts, read_ids
from deal.results.schema import (
    IMAGE_COLUMNS,
    REGION_COLUMNS,
    REQUIRED,
    SCHEMA_VERSION,
    STATUSES,
    settings_difference,
)

__all__ = [
    "check_alike",
    "iter_results",
    "list_results",
    "ok_images",
    "open_part",
    "part_batches",
    "part_footer",
    "read_regions",
    "read_results",
]

Source = str | os.PathLike[str]
_BATCH_ROWS = 65_536


def read_results(
    sources: Source | Sequence[Source],
    columns: Sequence[str] | None = None,
    status: str | None = None,
) -> pa.Table:
    """Image rows of one or many output folders, as one table in the order of sources and parts.

    Parameters
    ----------
    sources : path or sequence of paths
        Output folders that were scored with the same settings.
    columns : sequence of str, optional
        Columns wanted, in this order; all by default.
    status : str, optional
        Keep only rows of this status.

    Returns
    -------
    pyarrow.Table
        Its metadata holds ``deal.schema``, ``deal.fingerprint``, ``deal.settings`` and
        ``deal.classes``.

    Raises
    ------
    ResultsError
        A source holds no results, another schema, other settings than the first, an unknown column
        is asked for, or an id stands in two rows.
    """
    batches = iter_results(sources, columns, status)
    first = next(batches)
    return pa.Table.from_batches([first, *batches])


def iter_results(
    sources: Source | Sequence[Source],
    columns: Sequence[str] | None = None,
    status: str | None = None,
    batch_rows: int = _BATCH_ROWS,
) -> Iterator[pa.RecordBatch]:
    """Stream what :func:`read_results` gives, in batches of at most ``batch_rows`` rows.

    At least one batch comes, so that the schema is known. Memory: the ids (to check that each
    stands once) while the first batch is made, then one batch.
    """
    if status is not None and status not in STATUSES:
        raise ResultsError(f"no status {status!r}; there are {', '.join(STATUSES)}")
    names = _check_columns(columns, IMAGE_COLUMNS)
    parts, metadata = _parts(sources, "images")
    _check_unique(parts)
    wanted = names if status is None or "status" in names else [*names, "status"]
    schema = pa.schema([pa.field(name, IMAGE_COLUMNS[name][0]) for name in names], metadata)
    yield pa.RecordBatch.from_pylist([], schema=schema)
    for part in parts:
        with parquet.ParquetFile(part) as file:
            for batch in part_batches(file, wanted, batch_rows):
                if status is not None:
                    batch = batch.filter(pc.equal(batch.column("status"), status))
                arrays = [batch.column(name) for name in names]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def read_regions(
    sources: Source | Sequence[Source], columns: Sequence[str] | None = None
) -> pa.Table:
    """Region rows of one or many output folders, as one table; empty when none were kept.

    Regions of an image without a row, or whose row is not ok, are left out: a run was killed
    before the image was done.

    Parameters
    ----------
    sources : path or sequence of paths
        Output folders that were scored with the same settings.
    columns : sequence of str, optional
        Columns wanted, in this order; all by default.

    Returns
    -------
    pyarrow.Table
        One row per region; metadata as :func:`read_results`.

    Raises
    ------
    ResultsError
        As :func:`read_results`.
    """
    names = _check_columns(columns, REGION_COLUMNS)
    parts, metadata = _parts(sources, "regions")
    schema = pa.schema([pa.field(name, REGION_COLUMNS[name][0]) for name in names], metadata)
    batches = []
    for part in parts:
        images = ok_images(part)
        with parquet.ParquetFile(part) as file:
            for batch in part_batches(file, list(dict.fromkeys([*names, "id"])), _BATCH_ROWS):
                batch = batch.filter(pc.is_in(batch.column("id"), images.column("id")))
                arrays = [batch.column(name) for name in names]
                batches.append(pa.RecordBatch.from_arrays(arrays, schema=schema))
    return pa.Table.from_batches(batches, schema)


def list_results(sources: Source | Sequence[Source], table: str = "images") -> list[Path]:
    """Parts of a table in all sources, unopened; ResultsError for a source without results."""
    if isinstance(sources, (str, os.PathLike)):
        sources = [sources]
    found: list[Path] = []
    for source in map(Path, sources):
        if not list_parts(source / "images"):
            raise ResultsError(
                f"{source} holds no results; name a folder that deal-score --output wrote"
            )
        found += list_parts(source / table)
    return found


def open_part(part: Path) -> parquet.ParquetFile | None:
    """Open a part and check that it can be read; None when a run has just dropped its last row.

    Raises
    ------
    ResultsError
        The part is damaged, foreign, or of another schema.
    """
    try:
        # Said to be local and not read ahead, since most parts are small: a fifth less time.
        file = parquet.ParquetFile(part, filesystem=LocalFileSystem(), pre_buffer=False)
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException) as error:
        raise ResultsError(
            f"{part} is damaged ({error}); delete it and run the same deal-score command again"
        ) from error
    version = part_footer(file).get("deal.schema")
    if version == SCHEMA_VERSION:
        return file
    file.close()
    if version is None:
        raise ResultsError(f"{part} was not written by deal-score; move it elsewhere")
    raise ResultsError(
        f"{part} has results schema {version}, this version of deal reads {SCHEMA_VERSION}; "
        "read it with the version that wrote it, or score again"
    )


def part_footer(file: parquet.ParquetFile) -> dict[str, str]:
    """The ``deal.*`` metadata of a part that is open."""
    return deal_metadata(file.metadata.metadata)


def part_batches(
    file: parquet.ParquetFile, names: Sequence[str], batch_rows: int
) -> Iterator[pa.RecordBatch]:
    """Read columns of a part; those that it lacks, of a version before them, are null."""
    # A column that every version has tells how many rows there are.
    columns = list(names) if REQUIRED & set(names) else ["id", *names]
    if file.metadata.num_rows <= batch_rows:  # at once: half the time of a small part
        batches = file.read(columns=columns, use_threads=False).to_batches()
    else:
        batches = file.iter_batches(batch_rows, columns=columns, use_threads=False)
    kinds = IMAGE_COLUMNS | REGION_COLUMNS
    for batch in batches:
        present = set(batch.schema.names)
        arrays = [
            batch.column(name) if name in present else pa.nulls(batch.num_rows, kinds[name][0])
            for name in names
        ]
        yield pa.RecordBatch.from_arrays(arrays, names=list(names))


def ok_images(part: Path, columns: Sequence[str] = ()) -> pa.Table:
    """Of the images that the regions of a part belong to and that are ok: ``id`` and columns."""
    names = list(dict.fromkeys(["id", "status", *columns]))
    schema = pa.schema([pa.field(name, IMAGE_COLUMNS[name][0]) for name in names])
    file = open_part(part.parent.parent / "images" / part.name)
    if file is None:
        return schema.empty_table()
    with file:
        batches = [b.cast(schema) for b in part_batches(file, names, _BATCH_ROWS)]
    table = pa.Table.from_batches(batches, schema)
    return table.filter(pc.equal(table.column("status"), "ok"))


def check_alike(first: tuple[Path, dict[str, str]], other: tuple[Path, dict[str, str]]) -> None:
    """ResultsError, naming what differs, if two parts were scored with different settings."""
    if other[1]["deal.fingerprint"] != first[1]["deal.fingerprint"]:
        raise ResultsError(
            f"{first[0].parent.parent} and {other[0].parent.parent} were scored with different "
            f"settings ({settings_difference(first[1], other[1])}); score both alike, or read "
            "them apart"
        )


def _parts(
    sources: Source | Sequence[Source], table: str
) -> tuple[list[Path], dict[str, str] | None]:
    """Parts of all sources, and the metadata they share."""
    found: list[Path] = []
    first: tuple[Path, dict[str, str]] | None = None
    for part in list_results(sources, table):
        file = open_part(part)
        if file is None:
            continue
        with file:
            described = part, part_footer(file)
        first = first or described
        check_alike(first, described)
        found.append(part)
    return found, None if first is None else first[1]


def _check_columns(columns: Sequence[str] | None, known: dict[str, Any]) -> list[str]:
    names = list(known if columns is None else columns)
    for name in names:
        if name not in known:
            raise ResultsError(f"no column {name!r}; there are {', '.join(known)}")
    return names


def _check_unique(parts: Sequence[Path]) -> None:
    ids = pa.chunked_array([read_ids(part) for part in parts], pa.string())
    if pc.count_distinct(ids).as_py() == len(ids):
        return
    counts = pc.value_counts(ids)
    repeated = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")[0]
    where = [
        str(part.parent.parent) for part in parts if pc.index(read_ids(part), repeated).as_py() >= 0
    ]
    raise ResultsError(
        f"the id {repeated.as_py()!r} stands in two rows ({' and '.join(where)}); name each "
        "output once, and outputs of different pools apart"
    )
