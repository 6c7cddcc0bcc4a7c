"""One image, for whoever wants to look at a single one."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from deal.errors import ItemError
from deal.pool.formats import CONTAINER_SUFFIXES
from deal.pool.ids import path_to_id
from deal.pool.listing import Pool
from deal.pool.locator import locate
from deal.pool.manifest import MANIFEST_SUFFIXES
from deal.pool.schemes import is_remote
from deal.types import FailedItem, PoolItem

__all__ = ["first_item"]


def first_item(source: str | os.PathLike[str]) -> PoolItem:
    """The image that a path or uri names, or the first one of another source of a pool.

    Raises
    ------
    ItemError
        It cannot be read, or holds none that can be.
    PoolError
        As `Pool` raises it, for what is no image.
    """
    name = os.fspath(source)
    if not _is_pool(name):
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


def _is_pool(name: str) -> bool:
    """Whether a source is more than an image, or a place in a file, whatever its ending."""
    if is_remote(name) or name.lower().endswith((*CONTAINER_SUFFIXES, *MANIFEST_SUFFIXES)):
        return True
    if re.search(r"[*?[{]", name) and not Path(name).is_file():
        return not Path(name.rpartition("#")[0]).is_file()
    return Path(name).is_dir()
