"""Reading stored results: one table over one or many output folders."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from deal.errors import ResultsError
from deal.parts import footer, list_parts, read_ids, read_part
from deal.schema import (
    IMAGE_COLUMNS,
    REGION_COLUMNS,
    SCHEMA_VERSION,
    STATUSES,
    settings_difference,
)

__all__ = ["iter_results", "read_regions", "read_results"]

Source = str | os.PathLike[str]


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
    batch_rows: int = 65536,
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
            for batch in file.iter_batches(batch_rows, columns=wanted):
                if status is not None:
                    batch = batch.filter(pc.equal(batch.column("status"), status))
                arrays = [batch.column(name) for name in names]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def read_regions(
    sources: Source | Sequence[Source], columns: Sequence[str] | None = None
) -> pa.Table:
    """Region rows of output folders, as :func:`read_results`; empty when none were kept."""
    names = _check_columns(columns, REGION_COLUMNS)
    parts, metadata = _parts(sources, "regions")
    schema = pa.schema([pa.field(name, REGION_COLUMNS[name][0]) for name in names], metadata)
    tables = [read_part(part, names).select(names).cast(schema) for part in parts]
    return pa.concat_tables([schema.empty_table(), *tables])


def _parts(
    sources: Source | Sequence[Source], table: str
) -> tuple[list[Path], dict[str, str] | None]:
    """Parts of all sources, and the metadata they share."""
    if isinstance(sources, (str, os.PathLike)):
        sources = [sources]
    found: list[Path] = []
    first: tuple[Path, dict[str, str]] | None = None
    for source in map(Path, sources):
        if not list_parts(source / "images"):
            raise ResultsError(
                f"{source} holds no results; name a folder that deal-score --output wrote"
            )
        for part in list_parts(source / table):
            metadata = _metadata(part)
            if metadata is None:
                continue
            if first is None:
                first = part, metadata
            elif metadata["deal.fingerprint"] != first[1]["deal.fingerprint"]:
                raise ResultsError(
                    f"{first[0].parent.parent} and {source} were scored with different settings "
                    f"({settings_difference(first[1], metadata)}); score both alike, or read them "
                    "apart"
                )
            found.append(part)
    return found, None if first is None else first[1]


def _metadata(part: Path) -> dict[str, str] | None:
    """Checked metadata of a part; None when a run has just dropped its last row."""
    try:
        metadata = footer(part)
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException) as error:
        raise ResultsError(
            f"{part} is damaged ({error}); delete it and run the same deal-score command again"
        ) from error
    version = metadata.get("deal.schema")
    if version is None:
        raise ResultsError(f"{part} was not written by deal-score; move it elsewhere")
    if version != SCHEMA_VERSION:
        raise ResultsError(
            f"{part} has results schema {version}, this version of deal reads {SCHEMA_VERSION}; "
            "read it with the version that wrote it, or score again"
        )
    return metadata


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
