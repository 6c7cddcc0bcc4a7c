"""Files in a store that hold images: found, and several of them indexed at once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from deal.errors import ItemError, PoolError
from deal.machine.threads import ordered
from deal.pool.containers import PARQUET, expand_braces, list_inside, require_readers
from deal.pool.formats import CONTAINER_SUFFIXES
from deal.pool.ids import id_to_path
from deal.pool.inside import Reading
from deal.pool.remote import DOWNLOADS, RemoteObject, list_store
from deal.types import FailedItem, PoolItem

__all__ = ["check_far", "list_far"]

_INDEXED = 8  # files at once


def check_far(name: str, reading: Reading) -> list[str]:
    """The files that an address with braces, or without, names.

    Raises
    ------
    PoolError
        One that is named without a wildcard is not there, or a library is missing.
    """
    require_readers(name)
    files = expand_braces(name) if "{" in name else [name]
    plain = [file for file in files if not re.search(r"[*?[]", file)]

    def problem(file: str) -> str | None:
        try:
            RemoteObject(file, reading.endpoint_url).version()
        except ItemError as error:
            return error.message
        return None

    with ThreadPoolExecutor(DOWNLOADS, "deal-head") as executor:
        found = zip(plain, executor.map(problem, plain), strict=True)
        gone = [(file, reason) for file, reason in found if reason is not None]
    if gone and len(files) == 1:
        raise PoolError(f"{name!r} cannot be read: {gone[0][1]}")
    if gone:
        raise PoolError(
            f"{name!r} names {len(files)} files, of which {len(gone)} cannot be read, the first of "
            f"them {gone[0][0]!r}: {gone[0][1]}"
        )
    return files


def list_far(
    name: str,
    files: list[str],
    reading: Reading,
    passed: Counter[str],
    say: Callable[[str], None],
) -> Iterator[PoolItem | FailedItem]:
    """List the images of files and globs of files in a store, in their order.

    Ids of files in braces begin, as on this machine, below the folder that precedes the braces.
    """
    root = f"{name[: name.index('{')].rpartition('/')[0]}/" if "{" in name else None

    def listed(file: PoolItem) -> tuple[list[PoolItem | FailedItem], Counter[str], list[str]]:
        own: Counter[str] = Counter()
        said: list[str] = []
        relative = id_to_path(file.id) if root is None else file.uri.removeprefix(root)
        entries = list_inside(file.uri, relative, reading, own, said.append)
        return list(entries), own, said

    with ThreadPoolExecutor(_INDEXED, "deal-index") as executor:
        found = (
            entry
            for one in files
            for entry in list_store(one, reading.endpoint_url, Counter(), _suffix_of(one))
        )
        for _, (entries, own, said) in ordered(executor, listed, found, 2 * _INDEXED):
            passed.update(own)
            for note in said:
                say(note)
            yield from entries


def _suffix_of(name: str) -> tuple[str, ...]:
    named = (*CONTAINER_SUFFIXES, PARQUET)
    return tuple(suffix for suffix in named if name.lower().endswith(suffix))
