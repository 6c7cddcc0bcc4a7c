"""Parts: the Parquet files of an output folder, each of which appears, changes and goes atomically.

``images/part-0-of-1-000000.parquet`` is the first part of shard 0/1, ``images/batch-….parquet`` one
of :func:`deal.results.write`; what a part holds is told by its footer, not by its name. The
regions of its images, if any, are in the part of the same name under ``regions/``. Names that
start with ``_`` are temporary and belong to no table.
"""

from __future__ import annotations

import errno
import json
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa

from deal.machine.arrow import compute as pc
from deal.machine.files import replacing, sync_folder
from deal.pool.ids import Shard
from deal.pool.remote_path import RemotePath
from deal.results.partfile import Part, write_part, write_tables

__all__ = [
    "FOLDERS",
    "batch_name",
    "count_rows",
    "first_part",
    "footer",
    "keep_rows",
    "list_parts",
    "merged_name",
    "part_name",
    "part_number",
    "part_shard",
    "part_size",
    "publish",
    "publish_tables",
    "read_ids",
    "read_part",
    "write_json_atomic",
]

FOLDERS = ("images", "regions")
_NAME = re.compile(r"part-(\d+)-of-(\d+)-(\d{6,})(?:-[0-9a-f]{8})?\.parquet")
_BATCH = re.compile(r"batch-([0-9a-f]{16})-[0-9a-f]+\.parquet")
_LAST = 2**63 - 1


def part_name(shard: Shard, number: int, run: str = "") -> str:
    """Name of a part, in ``images/`` and ``regions/`` alike.

    In a store, where no lock keeps two runs of one shard apart, it also tells the run: 8 digits.
    """
    return f"part-{shard.index}-of-{shard.count}-{number:06d}{run and f'-{run}'}.parquet"


def batch_name() -> str:
    """Name of a part whose writer knows of no other: unique, and before all that are older."""
    return f"batch-{_LAST - time.time_ns():016x}-{uuid4().hex[:8]}.parquet"


def merged_name(root: Path, parts: Sequence[Path]) -> str:
    """Name of the part that takes the place of some parts of one shard, or of some batches."""
    first = parts[0].name
    shard = part_shard(first)
    if shard is None:
        match = _BATCH.fullmatch(first)
        return f"batch-{match[1] if match else 16 * 'f'}-{uuid4().hex[:8]}.parquet"
    names = [part.name for folder in FOLDERS for part in list_parts(root / folder)]
    number = 1 + max(part_number(name) for name in names if part_shard(name) == shard)
    return part_name(shard, number, uuid4().hex[:8] if isinstance(root, RemotePath) else "")


def part_shard(name: str) -> Shard | None:
    """The shard that wrote the part (or its temporary file), None for a foreign name."""
    match = _NAME.fullmatch(name.removeprefix("_"))
    return Shard(int(match[1]), int(match[2])) if match else None


def part_number(name: str) -> int:
    """The running number of a part."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(name)
    return int(match[3])


def part_size(part_rows: int, stored: int) -> int:
    """Rows of the next part: a 128th of those stored, from ``part_rows`` to four times that.

    So a kill costs at most ``part_rows`` rows or a 128th of the work, and a pool of millions has
    few files: to open one of 512 rows takes longer than to read a column of it. A smaller pool does
    without them, since the rows of a part wait in memory.
    """
    return min(max(part_rows, stored // 128), 4 * part_rows)


def list_parts(folder: Path) -> list[Path]:
    """Visible Parquet files of a folder, sorted by name; empty when there is no such folder."""
    parts = (path for path in folder.glob("*.parquet") if not path.name.startswith("_"))
    return sorted(parts, key=str)  # a fifth of the time that comparing paths takes


def first_part(folder: Path) -> Path | None:
    """Any visible Parquet file of a folder, found without listing all; None if there is none."""
    found = (path for path in folder.glob("*.parquet") if not path.name.startswith("_"))
    return next(found, None)


def footer(path: Path) -> dict[str, str]:
    """The ``deal.*`` metadata of a part; errors as `Part` raises them."""
    with Part(path) as part:
        return part.footer


def count_rows(path: Path) -> int:
    """Rows of a part, as its footer tells; 0 when there is none."""
    try:
        with Part(path) as part:
            return part.rows
    except FileNotFoundError:
        return 0


def read_part(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a part, with its metadata."""
    with Part(path) as part:
        return part.read(columns)


def read_ids(path: Path) -> pa.Array:
    """The ids of a part, one a row."""
    return read_part(path, ["id"]).column("id").combine_chunks()


def publish(table: pa.Table, path: Path, tag: dict[str, str] | None = None) -> None:
    """Write a part so that it is either not there (or as before) or complete and on disk.

    Parameters
    ----------
    table : pyarrow.Table
    path : Path
    tag : dict, optional
        In a store: of the version that is replaced; FileExistsError if it is no longer that.
    """
    if tag is not None and isinstance(path, RemotePath):
        with path.replacing(tag) as file:
            write_part(table, file)
        return
    with replacing(path, alone=True) as file:
        write_part(table, file)


def publish_tables(schema: pa.Schema, tables: Iterable[pa.Table], path: Path) -> None:
    """As :func:`publish`, for tables of one schema that come one after the other."""
    with replacing(path, alone=True) as file:
        write_tables(schema, tables, file)


def keep_rows(path: Path, keep: pa.Array) -> None:
    """Keep the rows of a part where ``keep`` is true; a part without rows goes."""
    if pc.all(keep).as_py():
        return
    if not pc.any(keep).as_py():
        path.unlink()
        sync_folder(path.parent)
        return
    with Part(path) as part:
        table = part.read()
    if len(table) != len(keep):
        raise FileExistsError(
            errno.EEXIST, "another process changed it meanwhile: run the same command again"
        )
    publish(table.filter(keep), path, part.tag)


def write_json_atomic(path: Path, value: Any) -> None:
    """Write JSON (sorted keys, UTF-8) so that readers see the old file or the new one."""
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    with replacing(path, alone=True) as file:
        file.write(f"{text}\n".encode())
