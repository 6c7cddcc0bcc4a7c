"""A pool as a manifest, so that later runs need not list it."""

from __future__ import annotations

import json
from pathlib import Path

from deal.errors import OutputError
from deal.machine.files import replacing
from deal.pool.ids import id_to_path
from deal.pool.listing import Pool
from deal.pool.schemes import is_remote
from deal.types import FailedItem

__all__ = ["write_manifest"]

_LATER = ("sequence", "camera", "timestamp_ns")


def write_manifest(path: str, pool: Pool) -> None:
    """Write the items of a pool, those that cannot be read included, as JSON lines.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    try:
        with replacing(Path(path)) as file:
            for entry in pool:
                item = entry.item if isinstance(entry, FailedItem) else entry
                uri = item.uri if is_remote(item.uri) else id_to_path(item.uri)
                row = {"uri": uri, "id": item.id, "source_version": item.source_version}
                row |= {
                    name: value for name in _LATER if (value := getattr(item, name)) is not None
                }
                file.write(json.dumps({**item.attributes, **row}).encode() + b"\n")
    except OSError as error:
        raise OutputError(f"--save-manifest {path}: {error.strerror or error}") from error
