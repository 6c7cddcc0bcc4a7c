"""Parts: the Parquet files of an output folder, each of which appears, changes and goes atomically.

``images/part-0-of-1-000000.parquet`` is the first part of shard 0/1; the regions of its images, if
any, are in the part of the same name under ``regions/``. Names that start with ``_`` are
temporary and belong to no table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from deal.errors import OutputError
from deal.machine.files import replacing, sync_folder
from deal.pool.ids import Shard
from deal.results.partfile import Part, write_part
from deal.results.schema import SCHEMA_VERSIONS, settings_difference

__all__ = [
    "FOLDERS",
    "check_part",
    "count_rows",
    "footer",
    "keep_rows",
    "list_parts",
    "part_name",
    "part_number",
    "part_shard",
    "part_size",
    "publish",
    "read_ids",
    "read_part",
    "write_json_atomic",
]

FOLDERS = ("images", "regions")
_NAME = re.compile(r"part-(\d+)-of-(\d+)-(\d{6,})\.parquet")


def part_name(shard: Shard, number: int) -> str:
    """Name of a part, in ``images/`` and ``regions/`` alike."""
    return f"part-{shard.index}-of-{shard.count}-{number:06d}.parquet"


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
    return sorted(path for path in folder.glob("*.parquet") if not path.name.startswith("_"))


def footer(path: Path) -> dict[str, str]:
    """The ``deal.*`` metadata of a part; errors as `Part` raises them."""
    with Part(path) as part:
        return part.footer


def check_part(path: Path, own: Mapping[str, str]) -> None:
    """Hold a part of an output against the metadata of those that are to be written beside it.

    Raises
    ------
    OutputError
        It is someone else's, or of another schema or other settings.
    ResultsError
        It is damaged.
    """
    try:
        found = footer(path)
    except FileNotFoundError:
        return  # another shard has just dropped its last row
    if part_shard(path.name) is None or "deal.schema" not in found:
        raise OutputError(f"{path} was not written by deal-score; choose another --output")
    root = path.parent.parent
    if found["deal.schema"] not in SCHEMA_VERSIONS:  # parts of an older one stay as they are
        raise OutputError(
            f"{root} holds results of schema {found['deal.schema']}, which this version of deal "
            "does not know; use the version that wrote them, --overwrite or another --output"
        )
    if found["deal.fingerprint"] != own["deal.fingerprint"]:
        raise OutputError(
            f"{root} holds results of other settings ({settings_difference(found, own)}); use "
            "--overwrite or another --output"
        )


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


def publish(table: pa.Table, path: Path) -> None:
    """Write a part so that it is either not there (or as before) or complete and on disk."""
    with replacing(path, alone=True) as file:
        write_part(table, file)


def keep_rows(path: Path, keep: pa.Array) -> None:
    """Keep the rows of a part where ``keep`` is true; a part without rows goes."""
    if pc.all(keep).as_py():
        return
    if not pc.any(keep).as_py():
        path.unlink()
        sync_folder(path.parent)
        return
    publish(read_part(path).filter(keep), path)


def write_json_atomic(path: Path, value: Any) -> None:
    """Write JSON (sorted keys, UTF-8) so that readers see the old file or the new one."""
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    with replacing(path, alone=True) as file:
        file.write(f"{text}\n".encode())
