"""A pool as a manifest, so that later runs need not list it."""

from __future__ import annotations

import json
from pathlib import Path

from deal.errors import OutputError
from deal.machine.files import replacing
from deal.pool.ids import id_to_path
from deal.pool.listing import Pool
from deal.pool.manifest import OWN
from deal.pool.schemes import is_remote
from deal.types import FailedItem

__all__ = ["write_manifest"]

_LATER = ("sequence", "camera", "timestamp_ns")


def write_manifest(path: str, pool: Pool) -> list[str]:
    """Write the items of a pool, those that cannot be read included, as JSON lines.

    Returns
    -------
    list of str
        What the user should hear of attributes that no manifest can hold.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    left: dict[str, None] = {}  # in the order of the items
    try:
        with replacing(Path(path)) as file:
            for entry in pool:
                item = entry.item if isinstance(entry, FailedItem) else entry
                uri = item.uri if is_remote(item.uri) else id_to_path(item.uri)
                row = {"uri": uri, "id": item.id, "source_version": item.source_version}
                row |= {
                    name: value for name in _LATER if (value := getattr(item, name)) is not None
                }
                kept = {}
                for name, value in item.attributes.items():
                    # A manifest takes a name for one of its own whatever its case and blanks.
                    if name == name.strip() and name.lower() not in OWN:
                        kept[name] = value
                    else:
                        left[name] = None
                file.write(json.dumps({**kept, **row}).encode() + b"\n")
    except OSError as error:
        raise OutputError(f"--save-manifest {path}: {error.strerror or error}") from error
    if not left:
        return []
    names = ", ".join(map(repr, left))
    return [f"--save-manifest {path}: left out {names}, which a manifest takes for other columns"]
