"""One image, for whoever wants to look at a single one."""

from __future__ import annotations

import os
from dataclasses import replace

from deal.errors import ItemError
from deal.pool.containers import PARQUET
from deal.pool.formats import CONTAINER_SUFFIXES
from deal.pool.ids import path_to_id
from deal.pool.listing import Pool
from deal.pool.locator import locate
from deal.pool.schemes import is_remote
from deal.types import FailedItem, PoolItem

__all__ = ["first_item"]


def first_item(source: str | os.PathLike[str]) -> PoolItem:
    """The image that a path or uri names, or the first one in a file that holds images.

    Raises
    ------
    ItemError
        It cannot be read, or holds none that can be.
    PoolError
        As `Pool` raises it, for a file that holds images.
    """
    name = os.fspath(source)
    if not is_remote(name) and not name.lower().endswith((*CONTAINER_SUFFIXES, PARQUET)):
        uri = path_to_id(name)
        item = PoolItem(uri, uri, locate(uri), "")
        return replace(item, source_version=item.locator.version())
    failed = None
    for entry in Pool(name):
        if isinstance(entry, PoolItem):
            return entry
        failed = failed or entry
    assert isinstance(failed, FailedItem)  # a pool without any entry raises
    raise ItemError(failed.error_code, failed.error)
