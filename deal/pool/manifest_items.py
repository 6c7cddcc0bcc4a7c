"""The images of manifests, as items of a pool."""

# Names may be millions and need not be UTF-8: plain strings, not Path objects.
# ruff: noqa: PTH100, PTH113

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence

from deal.pool.containers import PARQUET, holds_images
from deal.pool.ids import Shard, path_to_id, stored_path
from deal.pool.inside import Reading
from deal.pool.locator import LocalFile, lies_inside, locate
from deal.pool.manifest import read_manifest
from deal.pool.manifest_batches import TableManifest
from deal.pool.remote import RemoteObject, check_readable
from deal.pool.schemes import is_remote
from deal.types import Locator, PoolItem

__all__ = ["is_table_manifest", "list_manifest"]


def is_table_manifest(sources: Sequence[str], reading: Reading) -> bool:
    """Whether a pool is one manifest in Parquet on this machine."""
    if len(sources) != 1 or is_remote(sources[0]) or not sources[0].lower().endswith(PARQUET):
        return False
    path = os.path.abspath(sources[0])
    return os.path.isfile(path) and not holds_images(path, reading)


def list_manifest(
    path: str, reading: Reading, say: Callable[[str], None], shard: Shard
) -> Iterator[PoolItem]:
    """List the images of a manifest; PoolError for a malformed row.

    Parameters
    ----------
    path : str
    reading : Reading
    say : callable
        Called with notes for the user.
    shard : Shard
        Of the rows of one in Parquet.

    Yields
    ------
    PoolItem
        Its ``source_version`` is empty where it has to be looked up.
    """
    if path.lower().endswith(PARQUET):
        table = TableManifest(path, shard, say)
        table.check()
        rows = table.rows()
    else:
        rows = read_manifest(path, say)
    for row in rows:
        path = row.path
        if is_remote(path):
            check_readable(path)
            uri, version = path, row.source_version or ""
            locator: Locator = RemoteObject.of_version(uri, reading.endpoint_url, version)
            if lies_inside(uri):
                locator = locate(uri, version, endpoint_url=reading.endpoint_url)
            version = version if isinstance(locator, RemoteObject) and locator.etag else ""
        else:
            path = _as_it_exists(path)
            uri, version = path_to_id(path), ""
            # Of a file, as far as can be told without looking: most are.
            is_file = "#" not in path and ".tar/" not in path.lower()
            locator = LocalFile(path) if is_file else locate(uri)
        item_id = row.id or path_to_id(row.relative)
        yield PoolItem(
            item_id,
            uri,
            locator,
            version,
            row.sequence,
            row.camera,
            row.timestamp_ns,
            row.attributes,
        )


def _as_it_exists(path: str) -> str:
    """The path; or, if nothing has that name, what it means in a selection or in results.

    There a name is written as an id, with escapes (:func:`deal.pool.ids.path_to_id`).
    """
    meant = stored_path(path)
    if meant != path and not os.path.lexists(path) and os.path.lexists(meant):
        return meant
    return path
