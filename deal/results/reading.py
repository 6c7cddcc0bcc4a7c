"""Reading stored results: one table over one or many output folders."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from deal.errors import ResultsError
from deal.machine.arrow import compute as pc
from deal.pool.remote_path import place
from deal.results.frames import Results
from deal.results.partfile import Part
from deal.results.parts import first_part, list_parts
from deal.results.repeats import NONE, SecondRows, second_rows, without
from deal.results.schema import (
    IMAGE_COLUMNS,
    REGION_COLUMNS,
    REQUIRED,
    SCHEMA_VERSION,
    SCHEMA_VERSIONS,
    STATUSES,
    settings_difference,
)

__all__ = [
    "check_alike",
    "check_without_regions",
    "iter_results",
    "list_results",
    "ok_images",
    "open_part",
    "part_batches",
    "read_regions",
    "read_results",
]

Source = str | os.PathLike[str]
_BATCH_ROWS = 65_536


def read_results(
    sources: Source | Sequence[Source],
    columns: Sequence[str] | None = None,
    status: str | None = None,
) -> Results:
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
    Results
        A table, which a notebook shows with small pictures.

    Raises
    ------
    ResultsError
        A source holds no results, another schema, other settings than the first, an unknown column
        is asked for, or an id is in two sources.

    Notes
    -----
    An id in two parts of one source is one row (:mod:`deal.results.repeats`).
    """
    batches = iter_results(sources, columns, status)
    first = next(batches)
    return Results(pa.Table.from_batches([first, *batches]))


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
    second = second_rows(parts)
    wanted = names if status is None or "status" in names else [*names, "status"]
    wanted = wanted if not second or "id" in wanted else [*wanted, "id"]
    schema = pa.schema([pa.field(name, IMAGE_COLUMNS[name][0]) for name in names], metadata)
    yield pa.RecordBatch.from_pylist([], schema=schema)
    for path in parts:
        part = open_part(path)
        if part is None:  # its rows may be in a part that was not there when parts were listed
            raise ResultsError(
                f"{path} went while the results were read, to deal compact or to a run: run the "
                "same command again"
            )
        with part:
            for batch in part_batches(part, wanted, batch_rows):
                batch = without(batch, second, path)
                if status is not None:
                    batch = batch.filter(pc.equal(batch.column("status"), status))
                arrays = [batch.column(name) for name in names]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def read_regions(
    sources: Source | Sequence[Source], columns: Sequence[str] | None = None
) -> Results:
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
    Results
        One row per region.

    Raises
    ------
    ResultsError
        As :func:`read_results`.
    """
    names = _check_columns(columns, REGION_COLUMNS)
    parts, metadata = _parts(sources, "regions")
    schema = pa.schema([pa.field(name, REGION_COLUMNS[name][0]) for name in names], metadata)
    second = second_rows(list_results(sources)) if parts else {}
    batches = []
    for path in parts:
        images = ok_images(path, second=second)
        part = open_part(path)
        if part is None:
            continue
        with part:
            for batch in part_batches(part, list(dict.fromkeys([*names, "id"])), _BATCH_ROWS):
                batch = batch.filter(pc.is_in(batch.column("id"), images.column("id")))
                arrays = [batch.column(name) for name in names]
                batches.append(pa.RecordBatch.from_arrays(arrays, schema=schema))
    return Results(pa.Table.from_batches(batches, schema))


def list_results(sources: Source | Sequence[Source], table: str = "images") -> list[Path]:
    """Parts of a table in all sources, unopened; ResultsError for a source without results."""
    if isinstance(sources, (str, os.PathLike)):
        sources = [sources]
    found: list[Path] = []
    for source in map(place, sources):
        if not list_parts(source / "images"):
            raise ResultsError(
                f"{source} holds no results; name a folder that deal-score --output wrote"
            )
        found += list_parts(source / table)
    return found


def open_part(path: Path) -> Part | None:
    """Open a part and check that it can be read; None when a run has just dropped its last row.

    Raises
    ------
    ResultsError
        The part is damaged, foreign, or of another schema.
    """
    try:
        part = Part(path)
    except FileNotFoundError:
        return None
    version = part.footer.get("deal.schema")
    if version in SCHEMA_VERSIONS:
        return part
    with part:
        if version is None:
            raise ResultsError(f"{path} was not written by deal-score; move it elsewhere")
        raise ResultsError(
            f"{path} has results schema {version}, this version of deal reads "
            f"{' and '.join(SCHEMA_VERSIONS)}; read it with the version that wrote it, or score "
            "again"
        )


def part_batches(part: Part, names: Sequence[str], batch_rows: int) -> Iterator[pa.RecordBatch]:
    """Read columns of a part; those that it lacks, of a version before them, are null."""
    # A column that every version has tells how many rows there are.
    columns = list(names) if REQUIRED & set(names) else ["id", *names]
    kinds = IMAGE_COLUMNS | REGION_COLUMNS
    for batch in part.batches(columns, batch_rows):
        present = set(batch.schema.names)
        if present.issuperset(names):
            yield batch.select(list(names)).replace_schema_metadata()
            continue
        arrays = [
            batch.column(name) if name in present else pa.nulls(batch.num_rows, kinds[name][0])
            for name in names
        ]
        yield pa.RecordBatch.from_arrays(arrays, names=list(names))


def ok_images(regions: Path, columns: Sequence[str] = (), second: SecondRows = NONE) -> pa.Table:
    """Of the images that the regions of a part belong to and that are ok: ``id`` and columns."""
    names = list(dict.fromkeys(["id", "status", *columns]))
    schema = pa.schema([pa.field(name, IMAGE_COLUMNS[name][0]) for name in names])
    path = regions.parent.parent / "images" / regions.name
    part = open_part(path)
    if part is None:
        return schema.empty_table()
    with part:
        batches = [b.cast(schema) for b in part_batches(part, names, _BATCH_ROWS)]
    table = without(pa.Table.from_batches(batches, schema), second, path)
    return table.filter(pc.equal(table.column("status"), "ok"))


def check_alike(first: tuple[Path, dict[str, str]], other: tuple[Path, dict[str, str]]) -> None:
    """ResultsError, naming what differs, if two parts were scored with different settings."""
    if other[1]["deal.fingerprint"] != first[1]["deal.fingerprint"]:
        raise ResultsError(
            f"{first[0].parent.parent} and {other[0].parent.parent} were scored with different "
            f"settings ({settings_difference(first[1], other[1])}); score both alike, or read "
            "them apart"
        )


def check_without_regions(
    sources: Sequence[Source], first: tuple[Path, dict[str, str]] | None
) -> None:
    """Hold folders that have no part of regions against ``first``, a part of one that has.

    ResultsError if the settings differ: then they lack regions since none were asked for.
    """
    for source in map(place, sources):
        part = None
        if first is not None and first_part(source / "regions") is None:
            found = first_part(source / "images")
            part = None if found is None else open_part(found)
        if first is not None and part is not None:
            with part:
                check_alike(first, (part.path, part.footer))


def _parts(
    sources: Source | Sequence[Source], table: str
) -> tuple[list[Path], dict[str, str] | None]:
    """Parts of all sources, and the metadata they share."""
    found: list[Path] = []
    first: tuple[Path, dict[str, str]] | None = None
    if isinstance(sources, (str, os.PathLike)):
        sources = [sources]
    if not sources:
        raise ResultsError("no results are named: give a folder that deal-score --output wrote")
    for path in list_results(sources, table):
        part = open_part(path)
        if part is None:
            continue
        with part:
            described = path, part.footer
        first = first or described
        check_alike(first, described)
        found.append(path)
    if table == "regions":
        check_without_regions(sources, first)
    # What is read has the columns of this version; those that a part lacks are null.
    return found, None if first is None else {**first[1], "deal.schema": SCHEMA_VERSION}


def _check_columns(columns: Sequence[str] | None, known: dict[str, Any]) -> list[str]:
    if isinstance(columns, str):
        raise ResultsError(f"columns are a list of names: give [{columns!r}]")
    names = list(known if columns is None else columns)
    for name in names:
        if name not in known:
            raise ResultsError(f"no column {name!r}; there are {', '.join(known)}")
    return names
